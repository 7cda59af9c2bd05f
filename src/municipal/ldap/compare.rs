//! What a directory says beside what it said last: who is new, called otherwise, elsewhere, out, or in again.
//!
//! Pure: rows and people in, steps out. Nobody is found by a name here, only by the id that nothing changes; so whoever
//! marries or moves is who he was, and whoever gets the name of one who left is somebody else.

use std::{collections::BTreeMap, time::Duration};

use base::Timestamp;

use crate::{
    dn,
    person::{People, Person},
    report::Note,
    settings::Settings,
    standing::{Standing, Why},
    tables::{Held, PersonRow},
    words::{Words, short, words},
};

/// So many may end in a day however small an authority is.
const ALWAYS_ALLOWED: usize = 5;
/// For so long endings count: who ends a few again and again has ended many.
const COUNTED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// People of a source, gone ones with them.
const MOST_PEOPLE: usize = 200_000;

/// What is to be done for somebody.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// He gets an account.
    Make(Person),
    /// His account follows.
    Follow {
        /// What he is known by.
        id: String,
        /// What was said of him last.
        before: PersonRow,
        /// What is said now.
        after: PersonRow,
    },
}

/// What is said of somebody in a row, changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Differs {
    pub(crate) is_renamed: bool,
    pub(crate) has_moved: bool,
    pub(crate) ends: bool,
    pub(crate) is_restored: bool,
}

impl Differs {
    /// What is different between two rows of somebody.
    pub(crate) fn between(before: &PersonRow, after: &PersonRow) -> Self {
        Self {
            is_renamed: (&before.name, &before.mail, &before.subject)
                != (&after.name, &after.mail, &after.subject),
            has_moved: before.dn != after.dn && dn::has_moved(&before.dn, &after.dn),
            ends: before.ended.is_none() && after.ended.is_some(),
            is_restored: before.ended.is_some() && after.ended.is_none(),
        }
    }
}

/// What is to be done, and what somebody should look at.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Steps, endings first.
    pub(crate) steps: Vec<Step>,
    /// Who is not told of any more, and was last.
    pub(crate) absent: Vec<String>,
    /// How many get an account.
    made: usize,
    /// How many end.
    pub(crate) endings: usize,
    /// How many have ended within a day, but for those of whom somebody has said that he means it.
    pub(crate) recent: usize,
    /// How many of those who are known were in.
    pub(crate) active: usize,
    /// What somebody should look at.
    pub(crate) notes: Vec<Note>,
}

/// What was said of everybody, by id.
pub(crate) type Known = BTreeMap<String, PersonRow>;

/// Compares what is said with what was said. Endings up to `accepted` are those that somebody has said that he means.
pub(crate) fn compare(
    settings: &Settings,
    known: &Known,
    people: &People,
    accepted: Timestamp,
    now: Timestamp,
) -> Plan {
    let counted = accepted.max(now.before(COUNTED_FOR));
    let is_recent =
        |row: &&PersonRow| row.held != Held::Protected && row.ended_at.is_some_and(|at| at > counted);
    let mut plan = Plan {
        active: known.values().filter(|row| row.ended.is_none()).count(),
        recent: known.values().filter(is_recent).count(),
        ..Plan::default()
    };
    let shared = shared_mails(known, people, &mut plan.notes);
    for (id, before) in known {
        match people.get(id) {
            Some(person) => plan.follow(settings, id, before, person, &shared, now),
            None => plan.miss(settings, id, before, now),
        }
    }
    plan.steps.sort_by_key(|step| match step {
        Step::Follow { before, after, .. } => !Differs::between(before, after).ends,
        Step::Make(_) => true,
    });
    let names = names_of_newcomers(known, people);
    for (id, person) in people.iter().filter(|(id, _)| !known.contains_key(*id)) {
        plan.greet(known, person, names.get(id.as_str()), &shared);
    }
    plan
}

impl Plan {
    /// Whether so many may end. `accepted` is how many somebody has said that he means.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_endings(&self, percent: u8, accepted: Option<usize>) -> Result<(), Words> {
        let Self { endings, recent, active, .. } = *self;
        let share = (active + recent).saturating_mul(usize::from(percent)) / 100;
        let is_few = endings + recent <= share.max(ALWAYS_ALLOWED);
        if endings == 0 || is_few || accepted.is_some_and(|accepted| endings <= accepted) {
            return Ok(());
        }
        Err(words!(
            "在籍 {active} 人のうち {endings} 人のアカウントが停止することになるため、何も行いませんでした(24 時間以内に停止した {recent} 人と合わせて判断しています)。正しければ `yakuba ldap run --accept-endings {endings}` で実行してください。",
            "{endings} of {active} accounts that are in would end, after {recent} within a day, so nothing was done; if that is meant, `yakuba ldap run --accept-endings {endings}` does it"
        ))
    }

    fn follow(
        &mut self,
        settings: &Settings,
        id: &str,
        before: &PersonRow,
        person: &Person,
        shared: &BTreeMap<String, usize>,
        now: Timestamp,
    ) {
        let ended = match person.standing {
            Standing::Active => None,
            Standing::Ended(why) => Some(why),
            Standing::Unclear(attribute) => {
                self.note(&before.account, unclear(attribute));
                before.ended
            }
        };
        let is_theirs =
            |mail: &str| shared.contains_key(&folded(mail)) && !is_same_mail(before.mail.as_deref(), mail);
        let after = PersonRow {
            dn: if dn::is_same(&before.dn, &person.dn) { before.dn.clone() } else { person.dn.clone() },
            name: if person.name.is_empty() { before.name.clone() } else { person.name.clone() },
            mail: person.mail.clone().filter(|mail| !is_theirs(mail)),
            subject: person.subject.clone(),
            ended,
            ..before.clone()
        };
        self.push(settings, id, before, after, now);
    }

    fn miss(&mut self, settings: &Settings, id: &str, before: &PersonRow, now: Timestamp) {
        if before.ended.is_none() {
            self.absent.push(id.to_owned());
        }
        let after = PersonRow { ended: Some(Why::Absent), ..before.clone() };
        self.push(settings, id, before, after, now);
    }

    fn push(&mut self, settings: &Settings, id: &str, before: &PersonRow, after: PersonRow, now: Timestamp) {
        // Whoever administers no more is the source's to lock: that is looked at each time.
        let is_tried_again = after.ended.is_some() && before.held == Held::Protected;
        if *before == after && !is_tried_again {
            return;
        }
        let localpart = before.account.split(':').next().unwrap_or_default().trim_start_matches('@');
        if Differs::between(before, &after).ends && !settings.excepts(localpart) {
            self.endings += 1;
        }
        let changed = if *before == after { before.changed } else { now };
        let ended_at = after.ended.and(before.ended_at.or(Some(now)));
        let after = PersonRow { changed, ended_at, ..after };
        self.steps.push(Step::Follow { id: id.to_owned(), before: before.clone(), after });
    }

    /// Somebody who was not there. Who is out from the beginning gets no account.
    fn greet(
        &mut self,
        known: &Known,
        person: &Person,
        name: Option<&Newcomer>,
        shared: &BTreeMap<String, usize>,
    ) {
        match (person.standing, &person.localpart, name) {
            (Standing::Ended(_), ..) => {}
            (Standing::Unclear(attribute), ..) => self.note(&person.dn, unclear(attribute)),
            (Standing::Active, Err(why), _) => self.note(&person.dn, why.clone()),
            (Standing::Active, Ok(localpart), Some(Newcomer { others, other })) if *others > 0 => self.note(
                &person.dn,
                words!(
                    "アカウント名 {localpart} になる人がほかにもいます({other} など)。どちらのアカウントも作りません。",
                    "others would be called {localpart} as well (such as {other}); nobody gets the account"
                ),
            ),
            (Standing::Active, Ok(_), _) if known.len() + self.made >= MOST_PEOPLE => {
                self.note(&person.dn, words!("人数の上限を超えています。", "there are too many people"));
            }
            (Standing::Active, Ok(_), _) => {
                let mut person = person.clone();
                person.mail = person.mail.filter(|mail| !shared.contains_key(&folded(mail)));
                self.made += 1;
                self.steps.push(Step::Make(person));
            }
        }
    }

    fn note(&mut self, who: &str, what: Words) {
        self.notes.push(Note { who: who.to_owned(), what });
    }
}

fn unclear(attribute: &str) -> Words {
    words!(
        "{attribute} が読めないため、在籍かどうか分かりません。今のままにします。",
        "{attribute} cannot be read, so nobody knows whether he is in; he stays as he is"
    )
}

/// Who else would have the name of somebody who is new.
#[derive(Clone, Debug)]
struct Newcomer {
    others: usize,
    other: String,
}

/// Those who are new and in, by id, with who else would be called so. A name that two want is nobody's: the first of them is
/// no better than the second.
fn names_of_newcomers<'a>(known: &Known, people: &'a People) -> BTreeMap<&'a str, Newcomer> {
    let mut by_name: BTreeMap<&str, Vec<&Person>> = BTreeMap::new();
    for person in people.values().filter(|person| !known.contains_key(&person.id)) {
        if let (Standing::Active, Ok(localpart)) = (person.standing, &person.localpart) {
            by_name.entry(localpart).or_default().push(person);
        }
    }
    let mut found = BTreeMap::new();
    for namesakes in by_name.values() {
        for person in namesakes {
            let other = namesakes.iter().find(|other| other.id != person.id);
            let other = other.map(|other| short(&other.dn)).unwrap_or_default();
            found.insert(person.id.as_str(), Newcomer { others: namesakes.len() - 1, other });
        }
    }
    found
}

/// Addresses that two people have who are in. Who has one already keeps it; nobody else gets it, so that no run takes it from
/// one for the other.
fn shared_mails(known: &Known, people: &People, notes: &mut Vec<Note>) -> BTreeMap<String, usize> {
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    let present = || people.values().filter(|person| !matches!(person.standing, Standing::Ended(_)));
    for mail in present().filter_map(|person| person.mail.as_deref()) {
        *counted.entry(folded(mail)).or_default() += 1;
    }
    counted.retain(|_, count| *count > 1);
    for person in present() {
        let Some(mail) = person.mail.as_deref().filter(|mail| counted.contains_key(&folded(mail))) else {
            continue;
        };
        let row = known.get(&person.id);
        let who = row.map_or(&person.dn, |row| &row.account);
        let keeps = row.is_some_and(|row| is_same_mail(row.mail.as_deref(), mail));
        let what = match keeps {
            true => words!(
                "メールアドレスが別の人と同じです。先に登録されていたこの人のものです。",
                "somebody else has the same address; it stays with this one, who had it first"
            ),
            false => words!(
                "メールアドレスが別の人と同じため、登録しません。",
                "somebody else has the same address, so it is not taken"
            ),
        };
        notes.push(Note { who: who.clone(), what });
    }
    counted
}

fn folded(mail: &str) -> String {
    mail.to_lowercase()
}

fn is_same_mail(one: Option<&str>, other: &str) -> bool {
    one.is_some_and(|one| folded(one) == folded(other))
}
