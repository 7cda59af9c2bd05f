//! Whether a directory can be read as it is set, for whoever sets it.

use base::{Tasks, Timestamp};

use crate::{
    person::people,
    session,
    settings::Settings,
    standing::Standing,
    words::{Words, words},
};

/// What a look at a directory found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// People.
    pub people: usize,
    /// Those among them who are in.
    pub active: usize,
    /// References to other servers.
    pub references: usize,
}

/// Reads a directory, and does nothing about it.
///
/// # Errors
/// The sentence for who set it, where it cannot be read or tells something absurd.
pub async fn look(settings: &Settings, now: Timestamp, tasks: &Tasks) -> Result<Looked, Words> {
    let asked = settings.clone();
    let reading = async move { session::ask(&asked, &asked.filter).await };
    let found = tasks.spawn("ldap reading", reading).await;
    let found = found.map_err(|failed| words!("{failed}", "{failed}"))?.map_err(|fault| fault.words())?;
    let people = people(settings, &found, now).map_err(|absurd| absurd.words())?;
    let active = people.values().filter(|person| person.standing == Standing::Active).count();
    Ok(Looked { people: people.len(), active, references: found.references })
}
