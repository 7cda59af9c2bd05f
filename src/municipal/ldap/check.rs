//! Whether a directory can be read as it is set, for whoever sets it.

use base::{Tasks, Timestamp};

use crate::{
    membership::sort_by_groups,
    person::people,
    reading::{self, Reading},
    settings::Settings,
    standing::{Standing, Why},
    words::{Words, words},
};

/// What a look at a directory found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// People.
    pub people: usize,
    /// Those among them who are in.
    pub active: usize,
    /// Those among them who are in the group of administrators, where one is set.
    pub administrators: Option<usize>,
    /// References to other servers.
    pub references: usize,
}

/// Reads a directory, and does nothing about it.
///
/// # Errors
/// The sentence for who set it, where it cannot be read or tells something absurd.
pub async fn look(settings: &Settings, now: Timestamp, tasks: &Tasks) -> Result<Looked, Words> {
    let asked = settings.clone();
    let reading = async move { reading::read(&asked).await };
    let read = tasks.spawn("ldap reading", reading).await;
    let read = read.map_err(|failed| words!("{failed}", "{failed}"))?.map_err(|fault| fault.words())?;
    let Reading { found, groups } = read.map_err(|absurd| absurd.words())?;
    let mut people = people(settings, &found, now).map_err(|absurd| absurd.words())?;
    let administrators = sort_by_groups(settings, &mut people, &groups).map_err(|absurd| absurd.words())?;
    people.retain(|_, person| person.standing != Standing::Ended(Why::Outside));
    let active = people.values().filter(|person| person.standing == Standing::Active).count();
    let administrators = administrators.map(|all| all.len());
    Ok(Looked { people: people.len(), active, administrators, references: found.references })
}
