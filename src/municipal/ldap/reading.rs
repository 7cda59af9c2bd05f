//! A reading: all people that a directory tells of, and the groups that are asked for, over one connection.
//!
//! People are read first, so that groups are never older than they are.

use crate::{
    fault::Fault,
    groups::{Groups, ask_members, walk_all},
    person::Absurd,
    session::{self, Entry, Found, Single, Talk},
    settings::Settings,
};

/// What Active Directory says of itself (`LDAP_CAP_ACTIVE_DIRECTORY_OID` of MS-ADTS, 3.1.1.3.4.3.1), and its lesser kind for
/// applications, which has the rule as well.
const CAPABILITIES: [&str; 2] = ["1.2.840.113556.1.4.800", "1.2.840.113556.1.4.1851"];
/// Where a directory says what it is able to.
const CAPABLE_OF: &str = "supportedCapabilities";

/// What a directory told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// People.
    pub(crate) found: Found,
    /// Groups.
    pub(crate) groups: Groups,
}

/// Reads people and groups.
///
/// # Errors
/// [`Fault`] where not all of it could be read; [`Absurd`] where it is nothing to go by.
pub(crate) async fn read(settings: &Settings) -> Result<Result<Reading, Absurd>, Fault> {
    let (line, mut talk) = session::open(settings).await?;
    line.during(async {
        talk.bind().await?;
        if settings.asks_for_chains() && !knows_chains(&mut talk).await? {
            return Ok(Err(Absurd::NoChains));
        }
        let found = talk.people(&settings.filter, &settings.attributes()).await?;
        let groups = walk_all(&mut talk, settings, &found.entries).await?;
        talk.leave().await;
        Ok(groups.map(|groups| Reading { found, groups }))
    })
    .await
}

/// Reads the groups once more, where these are the people, and asks of those who are in doubt, by their ids, what they are
/// members of by their own entries.
///
/// # Errors
/// As with [`read`].
pub(crate) async fn read_groups(
    settings: &Settings,
    people: &[Entry],
    doubted: &[String],
) -> Result<Result<Groups, Absurd>, Fault> {
    let (line, mut talk) = session::open(settings).await?;
    line.during(async {
        talk.bind().await?;
        let mut groups = walk_all(&mut talk, settings, people).await?;
        if let Ok(groups) = &mut groups {
            ask_members(&mut talk, settings, groups, doubted).await?;
        }
        talk.leave().await;
        Ok(groups)
    })
    .await
}

/// Whether the directory goes through groups in groups by itself. One that does not may answer as if nobody were in them.
async fn knows_chains(talk: &mut Talk<'_>) -> Result<bool, Fault> {
    let said = talk.entry("", vec![CAPABLE_OF.to_owned()]).await?;
    let Single::Entry(entry) = said else { return Ok(false) };
    let is_one = |value: &Vec<u8>| CAPABILITIES.iter().any(|known| known.as_bytes() == value.as_slice());
    Ok(entry.all(CAPABLE_OF).iter().any(is_one))
}
