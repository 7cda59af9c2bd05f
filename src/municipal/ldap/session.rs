//! One question to a directory: a connection, a bind, a search with all its pages.
//!
//! Spec: <https://www.rfc-editor.org/rfc/rfc4511#section-4.5>, <https://www.rfc-editor.org/rfc/rfc2696>

use std::{collections::BTreeMap, time::Duration};

use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, ResultEntry, Scope, SearchEntry, SearchOptions,
    StdStream,
    controls::{Control, ControlType, PagedResults},
};
use tokio::time::timeout;

use crate::{
    fault::Fault,
    settings::{Security, Settings},
    wire,
};

/// Entries of a page. Active Directory gives a thousand at most.
const PAGE: i32 = 500;
/// Pages of a search, so that a directory that gives empty ones comes to an end.
const MOST_PAGES: usize = 2_000;
/// How long a farewell may take, on which nothing depends.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a directory says of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its name, as the directory writes it.
    pub(crate) dn: String,
    /// The values of its attributes, by their names in small letters.
    pub(crate) values: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Entry {
    /// The values of an attribute.
    pub(crate) fn all(&self, attribute: &str) -> &[Vec<u8>] {
        self.values.get(&attribute.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// The first value of an attribute, as a text; nothing where it is none, or empty.
    pub(crate) fn text(&self, attribute: &str) -> Option<&str> {
        let text = std::str::from_utf8(self.all(attribute).first()?).ok()?.trim();
        (!text.is_empty()).then_some(text)
    }

    fn of(found: ResultEntry) -> Self {
        let SearchEntry { dn, attrs, bin_attrs, .. } = SearchEntry::construct(found);
        let texts =
            attrs.into_iter().map(|(name, all)| (name, all.into_iter().map(String::into_bytes).collect()));
        let mut values: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (name, all) in texts.chain(bin_attrs) {
            values.entry(name.to_ascii_lowercase()).or_default().extend::<Vec<Vec<u8>>>(all);
        }
        Self { dn, values }
    }
}

/// What a search found, to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Entries.
    pub(crate) entries: Vec<Entry>,
    /// References to other servers, which are passed over: they are nobody.
    pub(crate) references: usize,
}

/// Asks a directory who fits a filter. What is found is all that fits, or the question failed.
///
/// # Errors
/// [`Fault`].
pub(crate) async fn ask(settings: &Settings, filter: &str) -> Result<Found, Fault> {
    let bounds = &settings.bounds;
    if settings.bind.as_ref().is_some_and(|bind| bind.password.is_empty()) {
        return Err(Fault::NoPassword);
    }
    if settings.bind.is_some() && settings.place.security == Security::Clear && !settings.place.is_safe() {
        return Err(Fault::Tls("a password does not go over a network in the clear".to_owned()));
    }
    let asking = async {
        let net = wire::connect(&settings.place, &settings.tls, bounds).await?;
        let (ours, theirs) = wire::pair()?;
        let library = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs));
        let opened = LdapConnAsync::with_settings(library, "ldapi:///").await;
        let (driver, ldap) = opened.map_err(|error| Fault::Broken(error.to_string()))?;
        // All in one task, so that nothing of a connection outlives the question, whichever of them ends it.
        tokio::select! {
            biased;
            fault = wire::carry(net, ours, bounds) => Err(fault),
            _ = driver.drive() => Err(Fault::Closed),
            found = converse(settings, ldap, filter) => found,
        }
    };
    timeout(bounds.whole, asking).await.map_err(|_| Fault::TooLong)?
}

async fn converse(settings: &Settings, mut ldap: Ldap, filter: &str) -> Result<Found, Fault> {
    let answering = settings.bounds.answering;
    if let Some(bind) = &settings.bind {
        let bound = timeout(answering, ldap.simple_bind(&bind.dn, &bind.password)).await;
        let result = bound.map_err(|_| Fault::Silent)?.map_err(of_library)?;
        if result.rc != 0 {
            return Err(Fault::Refused { code: result.rc, text: result.text });
        }
    }
    let (mut found, mut cookie) = (Found::default(), Vec::new());
    for _ in 0..MOST_PAGES {
        cookie = page(settings, &mut ldap, filter, cookie, &mut found).await?;
        if cookie.is_empty() {
            // Whoever hears no farewell sees the end of the connection.
            timeout(FAREWELL, ldap.unbind()).await.ok();
            return Ok(found);
        }
    }
    Err(Fault::TooMuch("pages"))
}

/// Reads a page; where the next one begins, or nothing after the last one.
async fn page(
    settings: &Settings,
    ldap: &mut Ldap,
    filter: &str,
    cookie: Vec<u8>,
    found: &mut Found,
) -> Result<Vec<u8>, Fault> {
    let bounds = &settings.bounds;
    let seconds = i32::try_from(bounds.whole.as_secs()).unwrap_or(i32::MAX);
    ldap.with_search_options(SearchOptions::new().timelimit(seconds));
    ldap.with_controls(PagedResults { size: PAGE, cookie });
    let begun = ldap.streaming_search(&settings.base, Scope::Subtree, filter, settings.attributes());
    let mut stream =
        timeout(bounds.answering, begun).await.map_err(|_| Fault::Silent)?.map_err(of_library)?;
    loop {
        let next = timeout(bounds.answering, stream.next()).await.map_err(|_| Fault::Silent)?;
        match next.map_err(of_library)? {
            Some(reference) if reference.is_ref() => found.references += 1,
            Some(entry) => found.entries.push(Entry::of(entry)),
            None => break,
        }
        if found.entries.len() > bounds.entries {
            return Err(Fault::TooMuch("entries"));
        }
    }
    let result = stream.finish().await;
    if result.rc != 0 {
        return Err(Fault::Search { code: result.rc, text: result.text });
    }
    let place = result.ctrls.iter().find_map(|control| match control {
        Control(Some(ControlType::PagedResults), raw) if raw.val.is_some() => {
            Some(raw.parse::<PagedResults>())
        }
        _ => None,
    });
    Ok(place.map(|place| place.cookie).unwrap_or_default())
}

fn of_library(error: LdapError) -> Fault {
    match error {
        LdapError::EndOfStream
        | LdapError::ResultRecv { .. }
        | LdapError::OpSend { .. }
        | LdapError::IdScrubSend { .. }
        | LdapError::Io { .. } => Fault::Closed,
        LdapError::Timeout { .. } => Fault::Silent,
        other => Fault::Broken(other.to_string()),
    }
}
