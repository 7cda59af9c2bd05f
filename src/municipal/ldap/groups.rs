//! Who is in a group, and in the groups in it.
//!
//! Groups are walked here and not by the directory: the rule by which Active Directory does it (`LDAP_MATCHING_RULE_IN_CHAIN`)
//! others do not know, and answer as if nobody were a member. A group is read whole or the reading failed: to the end of its
//! ranges, with all groups in it, bounded in number and depth. Groups that are in each other are gone through once, and told of.
//!
//! Reading order: [`walk`], [`Group::has`], `members`, `circles`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    dn::{self, Dn},
    fault::Fault,
    guid,
    person::{Absurd, Person},
    session::{Entry, Single, Talk},
    settings::{Kind, Settings},
};

/// Members that are read, of all groups together.
const MOST_MEMBERS: usize = 200_000;
/// Circles that are told of.
const MOST_CIRCLES: usize = 20;
/// What groups are to directories.
const CLASSES: [&str; 5] =
    ["group", "groupofnames", "groupofuniquenames", "groupofmembers", "groupofentries"];
/// By what groups name their members. `uniqueMember` may have a number behind the name (RFC 4517, section 3.3.21).
const MEMBERS: [&str; 2] = ["member", "uniqueMember"];
/// By what they name them where they do so by names of accounts, which several entries may have.
const BY_ACCOUNT: &str = "memberUid";
/// By what people name the groups that they are in, where a directory tells that.
const MEMBER_OF: &str = "memberOf";
/// People who are asked for at once.
const ASKED_FOR: usize = 50;
/// The number by which members know a group whose `member` they are not (MS-ADA3, 2.120).
const TOKEN: &str = "primaryGroupToken";

/// A group, with all that is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// Members among the people, by their names.
    names: BTreeSet<Dn>,
    /// Members that had other names when people were read, by their ids.
    ids: BTreeSet<String>,
    /// Numbers of the groups, each in its domain, by which those know them who are members without being told of as such.
    tokens: BTreeSet<(Dn, String)>,
    /// The groups that were walked, itself first.
    pub(crate) walked: Vec<String>,
    /// Groups that are in each other, each with its way back to itself.
    pub(crate) circles: Vec<Vec<String>>,
    /// Members that are not there, or not shown to us.
    pub(crate) missing: Vec<String>,
}

impl Group {
    /// Whether somebody is in it.
    pub(crate) fn has(&self, person: &Person) -> bool {
        self.names.contains(&dn::key(&person.dn))
            || self.ids.contains(&person.id)
            || person
                .primary_group
                .as_ref()
                .is_some_and(|number| self.tokens.contains(&(dn::domain(&person.dn), number.clone())))
    }

    /// Whether somebody of this id is in it, whatever his name.
    #[cfg(test)]
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Adds what another walk of the same group found: somebody may have been moved, or a member have been taken out in front of
    /// him, while the first one read.
    pub(crate) fn add(&mut self, other: Self) {
        self.names.extend(other.names);
        self.ids.extend(other.ids);
        self.tokens.extend(other.tokens);
        self.missing.extend(other.missing);
    }
}

/// The groups that a source asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Groups {
    /// That of the people.
    pub(crate) people: Option<Group>,
    /// That of administrators.
    pub(crate) administrators: Option<Group>,
}

impl Groups {
    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Group> {
        self.people.iter().chain(&self.administrators)
    }

    /// Adds what another walk found.
    pub(crate) fn add(&mut self, other: Self) {
        let pairs = [(&mut self.people, other.people), (&mut self.administrators, other.administrators)];
        for (ours, theirs) in pairs {
            if let Some((ours, theirs)) = ours.as_mut().zip(theirs) {
                ours.add(theirs);
            }
        }
    }
}

/// Walks the groups that are asked for, where these are the people.
///
/// # Errors
/// [`Fault`] where one cannot be read whole; [`Absurd`] where one is not there or names nobody.
pub(crate) async fn walk_all(
    talk: &mut Talk<'_>,
    settings: &Settings,
    people: &[Entry],
) -> Result<Result<Groups, Absurd>, Fault> {
    let mut groups = Groups::default();
    if settings.groups().next().is_none() {
        return Ok(Ok(groups));
    }
    let names: BTreeSet<Dn> = people.iter().map(|entry| dn::key(&entry.dn)).collect();
    for (name, group) in [
        (&settings.people_group, &mut groups.people),
        (&settings.administrators_group, &mut groups.administrators),
    ] {
        let Some(name) = name else { continue };
        match walk(talk, settings, name, &names).await? {
            Ok(walked) => *group = Some(walked),
            Err(absurd) => return Ok(Err(absurd)),
        }
    }
    Ok(Ok(groups))
}

/// Walks a group.
async fn walk(
    talk: &mut Talk<'_>,
    settings: &Settings,
    name: &str,
    people: &BTreeSet<Dn>,
) -> Result<Result<Group, Absurd>, Fault> {
    let bounds = &settings.bounds;
    let attributes = attributes(settings);
    let first = match talk.entry(name, attributes.clone()).await? {
        Single::Entry(entry) => entry,
        Single::Nothing { code: 0 | 32, .. } => return Ok(Err(Absurd::NoGroup { name: name.to_owned() })),
        Single::Nothing { code, text } => return Err(Fault::Search { code, text }),
    };
    if MEMBERS.iter().all(|attribute| !has(&first, attribute)) && has(&first, BY_ACCOUNT) {
        return Ok(Err(Absurd::ByAccount { name: name.to_owned() }));
    }
    let mut group = Group { walked: vec![name.to_owned()], ..Group::default() };
    let mut numbers = BTreeMap::from([(dn::key(name), 0)]);
    let mut within: Vec<Vec<usize>> = vec![Vec::new()];
    let mut others = BTreeSet::new();
    let (mut read, mut looked_at) = (0, 0);
    let mut open = VecDeque::from([(0, 0, name.to_owned(), first)]);
    while let Some((number, depth, name, entry)) = open.pop_front() {
        group.tokens.extend(entry.text(TOKEN).map(|number| (dn::domain(&name), number.to_owned())));
        let members = members(talk, &name, entry, &mut read).await?;
        for member in members {
            let key = dn::key(&member);
            if people.contains(&key) {
                group.names.insert(key);
                continue;
            }
            if let Some(known) = numbers.get(&key) {
                within.iter_mut().skip(number).take(1).for_each(|inner| inner.push(*known));
                continue;
            }
            if !others.insert(key.clone()) {
                continue;
            }
            looked_at += 1;
            if looked_at > bounds.strangers {
                return Err(Fault::TooMuch("members that the filter does not find"));
            }
            match talk.entry(&member, attributes.clone()).await? {
                Single::Entry(entry) if is_group(&entry) => {
                    if depth >= bounds.depth {
                        return Err(Fault::TooMuch("groups in groups"));
                    }
                    if group.walked.len() >= bounds.groups {
                        return Err(Fault::TooMuch("groups"));
                    }
                    let inner = group.walked.len();
                    numbers.insert(key, inner);
                    group.walked.push(member.clone());
                    within.push(Vec::new());
                    within.iter_mut().skip(number).take(1).for_each(|all| all.push(inner));
                    open.push_back((inner, depth + 1, member, entry));
                }
                // Whoever is moved after people were read has another name, and is who he is.
                Single::Entry(entry) => {
                    let id = entry.all(&settings.id).first().and_then(|value| guid::id(&settings.id, value));
                    group.ids.extend(id);
                }
                // Not there, kept from us, no name, or at another server.
                Single::Nothing { code: 0 | 10 | 32 | 34, .. } => group.missing.push(member),
                Single::Nothing { code, text } => return Err(Fault::Search { code, text }),
            }
        }
    }
    let named = |circle: Vec<usize>| circle.iter().filter_map(|at| group.walked.get(*at)).cloned().collect();
    group.circles = circles(&within).into_iter().map(named).collect();
    Ok(Ok(group))
}

/// Adds those among these people, by their ids, whom their own `memberOf` has in one of the groups: what of a group was not shown
/// to us, ends nobody. A directory that does not tell it adds nobody.
///
/// # Errors
/// [`Fault`].
pub(crate) async fn ask_members(
    talk: &mut Talk<'_>,
    settings: &Settings,
    groups: &mut Groups,
    doubted: &[String],
) -> Result<(), Fault> {
    for ids in doubted.chunks(ASKED_FOR) {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let filter = format!("(&{}{})", settings.filter, guid::filter(&settings.id, &ids));
        let found = talk.people(&filter, &[settings.id.clone(), MEMBER_OF.to_owned()]).await?;
        for entry in found.entries {
            let Some(id) = entry.all(&settings.id).first().and_then(|value| guid::id(&settings.id, value))
            else {
                continue;
            };
            let told =
                entry.values.iter().filter(|(name, _)| is_of(name, MEMBER_OF)).flat_map(|(_, all)| all);
            let named: BTreeSet<Dn> =
                told.filter_map(|name| Some(dn::key(std::str::from_utf8(name).ok()?))).collect();
            for group in groups.people.iter_mut().chain(&mut groups.administrators) {
                if group.walked.iter().any(|name| named.contains(&dn::key(name))) {
                    group.ids.insert(id.clone());
                }
            }
        }
    }
    Ok(())
}

/// What is asked of a member.
fn attributes(settings: &Settings) -> Vec<String> {
    let mut all = vec!["objectClass".to_owned(), BY_ACCOUNT.to_owned(), settings.id.clone()];
    all.extend(MEMBERS.map(str::to_owned));
    if settings.kind == Kind::ActiveDirectory {
        // It is computed, and told only to whoever asks for it.
        all.push(TOKEN.to_owned());
    }
    all
}

fn is_group(entry: &Entry) -> bool {
    let classes = entry.all("objectClass").iter().filter_map(|class| std::str::from_utf8(class).ok());
    let is_of_class = classes.into_iter().any(|class| CLASSES.contains(&class.to_ascii_lowercase().as_str()));
    is_of_class || MEMBERS.iter().any(|attribute| has(entry, attribute))
}

/// Whether an entry has an attribute, whole or a range of it.
fn has(entry: &Entry, attribute: &str) -> bool {
    entry.values.keys().any(|name| is_of(name, attribute))
}

/// Whether a name is that of an attribute, with options or without.
fn is_of(name: &str, attribute: &str) -> bool {
    name.split(';').next().is_some_and(|name| name.eq_ignore_ascii_case(attribute))
}

/// All members of a group by their names. Active Directory tells 1,500 at once, with where they stand among all, and is asked
/// on until it says that these were the last (MS-ADTS, 3.1.1.3.1.3.3).
async fn members(
    talk: &mut Talk<'_>,
    name: &str,
    first: Entry,
    read: &mut usize,
) -> Result<Vec<String>, Fault> {
    let mut members = Vec::new();
    for attribute in MEMBERS {
        let (mut next, mut rest) = (0, None::<Entry>);
        loop {
            let range = range(rest.as_ref().unwrap_or(&first), attribute, next)?;
            *read += range.values.len();
            if *read > MOST_MEMBERS {
                return Err(Fault::TooMuch("members"));
            }
            for value in range.values {
                members.push(member_name(value).ok_or(Fault::Malformed("a member that is no name"))?);
            }
            let Some(after) = range.after else { break };
            next = after;
            let asked = vec![format!("{attribute};range={next}-*")];
            rest = match talk.entry(name, asked).await? {
                Single::Entry(entry) => Some(entry),
                Single::Nothing { code, text } => return Err(Fault::Search { code, text }),
            };
        }
    }
    Ok(members)
}

/// Values of an attribute, all or some.
#[derive(Debug, PartialEq, Eq)]
struct Part<'a> {
    values: &'a [Vec<u8>],
    /// Where the next ones begin, unless these are the last.
    after: Option<usize>,
}

/// The values of an attribute from that number on.
///
/// # Errors
/// [`Fault::Malformed`] where they are others.
fn range<'a>(entry: &'a Entry, attribute: &str, next: usize) -> Result<Part<'a>, Fault> {
    let begins = format!("{};range=", attribute.to_ascii_lowercase());
    let mut ranges = entry.values.iter().filter_map(|(name, all)| Some((name.strip_prefix(&begins)?, all)));
    let Some((told, values)) = ranges.next() else {
        return match next {
            0 => Ok(Part { values: entry.all(attribute), after: None }),
            _ => Err(Fault::Malformed("members without their rest")),
        };
    };
    let wrong = Fault::Malformed("a range of members that is not the next");
    let (first, last) = told.split_once('-').ok_or(wrong.clone())?;
    if ranges.next().is_some() || first.parse() != Ok(next) {
        return Err(wrong);
    }
    let after = match last {
        "*" => None,
        last => Some(last.parse::<usize>().ok().and_then(|last| last.checked_add(1)).ok_or(wrong.clone())?),
    };
    // What it tells is what it says that it tells, and some of it.
    if after.is_some_and(|after| values.is_empty() || next.checked_add(values.len()) != Some(after)) {
        return Err(wrong);
    }
    Ok(Part { values, after })
}

/// The name of a member, without the number that may stand behind it.
fn member_name(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let name = match text.rsplit_once("#'") {
        Some((name, bits)) if bits.strip_suffix("'B").is_some_and(is_bits) => name,
        _ => text,
    };
    Some(name.to_owned())
}

fn is_bits(text: &str) -> bool {
    text.bytes().all(|bit| matches!(bit, b'0' | b'1'))
}

/// The ways from a group back to itself, through the groups that each has in it; each way once, and the first of them.
fn circles(within: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let (mut done, mut found) = (BTreeSet::new(), Vec::new());
    // The way to where we are, with how many of each one's groups were gone through.
    let mut way: Vec<(usize, usize)> = vec![(0, 0)];
    while let Some((at, gone)) = way.last_mut() {
        let Some(inner) = within.get(*at).and_then(|inner| inner.get(*gone)).copied() else {
            done.insert(*at);
            way.pop();
            continue;
        };
        *gone += 1;
        match way.iter().position(|(on_way, _)| *on_way == inner) {
            Some(begins) if found.len() < MOST_CIRCLES => {
                let circle = way.iter().skip(begins).map(|(at, _)| *at);
                found.push(circle.chain([inner]).collect());
            }
            Some(_) => {}
            None if done.contains(&inner) => {}
            None => way.push((inner, 0)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn entry(values: &[(&str, &[&str])]) -> Entry {
        let values = values.iter().map(|(name, all)| {
            (name.to_ascii_lowercase(), all.iter().map(|value| value.as_bytes().to_vec()).collect())
        });
        Entry { dn: String::new(), values: values.collect() }
    }

    #[test]
    fn a_range_is_the_next_one_or_none() {
        let after =
            |entry: &Entry, next| range(entry, "member", next).map(|part| (part.values.len(), part.after));
        assert_eq!(after(&entry(&[("member", &["a", "b"])]), 0), Ok((2, None)));
        assert_eq!(after(&entry(&[]), 0), Ok((0, None)));
        // Active Directory tells the attribute itself without values beside a range of it.
        assert_eq!(after(&entry(&[("member", &[]), ("member;range=0-1", &["a", "b"])]), 0), Ok((2, Some(2))));
        assert_eq!(after(&entry(&[("member;Range=2-*", &["c"])]), 2), Ok((1, None)));
        for (told, next) in [
            ("member", 2),
            ("member;range=0-0", 2),
            ("member;range=3-3", 2),
            ("member;range=2-7", 2),
            ("member;range=2", 2),
            ("member;range=2-1", 2),
            ("member;range=x-y", 2),
            ("member;range=2-18446744073709551615", 2),
        ] {
            assert!(after(&entry(&[(told, &["a"])]), next).is_err(), "{told}");
        }
        assert!(after(&entry(&[("member;range=2-2", &[])]), 2).is_err());
        assert!(after(&entry(&[("member;range=0-0", &["a"]), ("member;range=1-1", &["b"])]), 0).is_err());
    }

    #[test]
    fn circles_are_found_and_named_from_where_they_are_met() {
        assert_eq!(circles(&[vec![1], vec![2], vec![]]), Vec::<Vec<usize>>::new());
        assert_eq!(circles(&[vec![1], vec![0]]), [vec![0, 1, 0]]);
        assert_eq!(circles(&[vec![0]]), [vec![0, 0]]);
        // Two ways to one group are no circle.
        assert_eq!(circles(&[vec![1, 2], vec![3], vec![3], vec![]]), Vec::<Vec<usize>>::new());
        assert_eq!(circles(&[vec![1, 2], vec![2], vec![1]]), [vec![1, 2, 1]]);
        let all: Vec<usize> = (0..40).collect();
        assert_eq!(circles(&vec![all; 40]).len(), MOST_CIRCLES);
    }

    #[test]
    fn a_name_of_a_member_may_have_a_number_behind_it() {
        assert_eq!(member_name(b"cn=a,dc=x#'0101'B").as_deref(), Some("cn=a,dc=x"));
        assert_eq!(member_name(b"cn=a#'b,dc=x").as_deref(), Some("cn=a#'b,dc=x"));
        assert_eq!(member_name(&[0xff]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_ranges_break_it(told: String, next: usize) {
            let _read = range(&entry(&[(&format!("member;range={told}"), &["a"])]), "member", next);
        }

        #[test]
        fn no_groups_in_groups_keep_it_going(
            within in proptest::collection::vec(proptest::collection::vec(0_usize..8, 0..8), 1..8),
        ) {
            for circle in circles(&within) {
                proptest::prop_assert!(circle.len() > 1 && circle.first() == circle.last());
                let is_way = circle.windows(2).all(|step| within.get(step[0]).unwrap().contains(&step[1]));
                proptest::prop_assert!(is_way);
            }
        }
    }
}
