//! Whose an account is, by the address that its owner has shown to be his: a pure function of both.

use std::collections::{BTreeMap, BTreeSet};

use intake::Date;
use mail::EmailAddress;
use organisation::{Organisation, PersonId, What};
use ruma::OwnedUserId;

/// Somebody of the organisation, as he is told from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Which.
    pub id: PersonId,
    /// 職員番号
    pub number: String,
    /// The name by which others know him.
    pub name: String,
    /// Where he is, if he has a post.
    pub unit: Option<String>,
}

/// Whose an account is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// The one person's who has the address.
    One(Person),
    /// Nobody has the address today who has a post.
    Nobody,
    /// Several people have it, or the account has addresses of several people: nobody is guessed.
    Several,
    /// The person who has it has another account.
    HasAccount(Person, String),
}

/// The people of a day by their addresses.
fn people_by_mail(organisation: &Organisation, day: Date) -> BTreeMap<String, Vec<&organisation::Person>> {
    let mut by_mail: BTreeMap<String, Vec<&organisation::Person>> = BTreeMap::new();
    for (_, said) in organisation.records() {
        let What::Person(person) = &said.what else { continue };
        if !said.span.holds(day) || !organisation.serves(person.person, day) {
            continue;
        }
        if let Some(Ok(mail)) = person.mail.as_deref().map(str::parse::<EmailAddress>) {
            by_mail.entry(mail.as_str().to_owned()).or_default().push(person);
        }
    }
    by_mail
}

/// Whose these accounts are, by their addresses; of those alone that are nobody's yet. An account is named once, with the first
/// address by which it is somebody's.
pub(crate) fn matched(
    organisation: &Organisation,
    day: Date,
    addresses: &[(OwnedUserId, String)],
) -> BTreeMap<OwnedUserId, (String, Match)> {
    let by_mail = people_by_mail(organisation, day);
    let told = |person: &organisation::Person| {
        let post = organisation.posts_of(person.person, day).into_iter().next();
        let unit = post.and_then(|holder| organisation.unit(holder.post.unit, day));
        Person {
            id: person.person,
            number: person.number.clone(),
            name: person.called().to_owned(),
            unit: unit.map(|unit| unit.name.clone()),
        }
    };
    let mut found: BTreeMap<OwnedUserId, (String, Match)> = BTreeMap::new();
    let mut people: BTreeMap<&OwnedUserId, BTreeSet<PersonId>> = BTreeMap::new();
    for (user, address) in addresses {
        if organisation.owner(user.localpart()).is_some() {
            continue;
        }
        let those = by_mail.get(address).map_or(&[][..], Vec::as_slice);
        people.entry(user).or_default().extend(those.iter().map(|person| person.person));
        let is_whose = match those {
            [] => Match::Nobody,
            [person] => match &person.account {
                Some(account) => Match::HasAccount(told(person), account.clone()),
                None => Match::One(told(person)),
            },
            _ => Match::Several,
        };
        let is_better = found.get(user).is_none_or(|(_, known)| *known == Match::Nobody);
        if is_better {
            found.insert(user.clone(), (address.clone(), is_whose));
        }
    }
    for (user, of_whom) in people {
        if let Some((_, is_whose)) = found.get_mut(user).filter(|_| of_whom.len() > 1) {
            *is_whose = Match::Several;
        }
    }
    found
}
