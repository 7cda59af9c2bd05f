//! What groups say of people: who is one, and who is to administer.

use std::collections::BTreeSet;

use crate::{
    dn,
    groups::{Group, Groups},
    person::{Absurd, MOST_ADMINISTRATORS, People, Person},
    report::Note,
    settings::Settings,
    standing::{Standing, Why},
    words::{Words, short, words},
};

/// Says of people what the groups say of them: whoever is not in that of the people is out, whatever else is said of him. Who
/// is to administer, where that is asked.
///
/// # Errors
/// [`Absurd::EmptyGroup`], [`Absurd::ManyAdministrators`].
pub(crate) fn sort_by_groups(
    settings: &Settings,
    people: &mut People,
    groups: &Groups,
) -> Result<Option<BTreeSet<String>>, Absurd> {
    let empty = |name: &Option<String>| Absurd::EmptyGroup { name: name.clone().unwrap_or_default() };
    if let Some(group) = &groups.people {
        let (mut inside, mut outside) = (0, Vec::new());
        for person in people.values_mut() {
            match group.has(person) {
                true => inside += 1,
                // He is not found by a name of which we kept a part.
                false if person.standing == Standing::Unclear("dn") => {}
                false => outside.push(person),
            }
        }
        if inside == 0 {
            return Err(empty(&settings.people_group));
        }
        for person in outside.into_iter().filter(|person| !matches!(person.standing, Standing::Ended(_))) {
            person.standing = Standing::Ended(Why::Outside);
        }
    }
    let Some(group) = &groups.administrators else { return Ok(None) };
    let members: Vec<&Person> = people.values().filter(|person| group.has(person)).collect();
    if members.is_empty() {
        return Err(empty(&settings.administrators_group));
    }
    if members.len() > MOST_ADMINISTRATORS {
        return Err(Absurd::ManyAdministrators { count: members.len() });
    }
    let is_in = |person: &&&Person| person.standing == Standing::Active;
    Ok(Some(members.iter().filter(is_in).map(|person| person.id.clone()).collect()))
}

/// A group in a group that was walked the last time, is still named as a member, and was not found this time. Nobody knows who
/// is in it.
///
/// # Errors
/// [`Absurd::GroupGone`].
pub(crate) fn check_walked(groups: &Groups, walked: &[String]) -> Result<(), Absurd> {
    let walked: BTreeSet<_> = walked.iter().map(|name| dn::key(name)).collect();
    let mut missing = groups.all().flat_map(|group| &group.missing);
    match missing.find(|name| walked.contains(&dn::key(name))) {
        Some(name) => Err(Absurd::GroupGone { name: name.clone() }),
        None => Ok(()),
    }
}

/// What somebody should look at in groups.
pub(crate) fn notes(groups: &Groups) -> Vec<Note> {
    groups.all().flat_map(notes_of).collect()
}

fn notes_of(group: &Group) -> Vec<Note> {
    let name = group.walked.first().cloned().unwrap_or_default();
    let note = |what: Words| Note { who: name.clone(), what };
    let mut notes: Vec<Note> = group
        .circles
        .iter()
        .map(|circle| {
            let way = circle.iter().map(|name| short(name)).collect::<Vec<_>>().join(" → ");
            note(words!(
                "グループが循環しています: {way}。それぞれ一度だけ読みました。",
                "these groups are in each other: {way}; each was read once"
            ))
        })
        .collect();
    if let Some(first) = group.missing.first() {
        let (count, first) = (group.missing.len(), short(first));
        notes.push(note(words!(
            "{count} 件のメンバーが見つからないか、読み取れません(例: {first})。",
            "{count} members are not there or cannot be read (such as {first})"
        )));
    }
    notes
}
