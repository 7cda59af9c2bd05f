//! A connection to a directory: a bind, and searches one after another, each with all its pages.
//!
//! Spec: <https://www.rfc-editor.org/rfc/rfc4511#section-4.5>, <https://www.rfc-editor.org/rfc/rfc2696>

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    time::Duration,
};

use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, ResultEntry, Scope, SearchEntry,
    SearchOptions, StdStream,
    controls::{Control, ControlType, PagedResults},
};
use tokio::time::timeout;

use crate::{
    dn,
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

    /// The value of an attribute, as a text; nothing where it is none, or empty.
    ///
    /// Several values are a set, which each server and each answer may tell in another order (RFC 4511, section 4.1.7). Of
    /// them the one is taken that the entry is named by, else the first by its bytes: so nobody is called otherwise at each
    /// reading.
    pub(crate) fn text(&self, attribute: &str) -> Option<&str> {
        let texts = || self.all(attribute).iter().filter_map(|value| read(value));
        if self.all(attribute).len() < 2 {
            return texts().next();
        }
        let naming = || texts().filter(|text| dn::is_named_by(&self.dn, attribute, text)).min();
        naming().or_else(|| texts().min())
    }

    /// What was asked for of an entry: whoever sends more has nobody keep it.
    fn of(found: ResultEntry, asked: &BTreeSet<String>) -> Self {
        let SearchEntry { dn, attrs, bin_attrs, .. } = SearchEntry::construct(found);
        let texts =
            attrs.into_iter().map(|(name, all)| (name, all.into_iter().map(String::into_bytes).collect()));
        let mut values: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (name, all) in texts.chain(bin_attrs) {
            let name = name.to_ascii_lowercase();
            if asked.contains(&base_name(&name)) {
                values.entry(name).or_default().extend::<Vec<Vec<u8>>>(all);
            }
        }
        Self { dn, values }
    }

    /// How many values it has.
    fn size(&self) -> usize {
        self.values.values().map(|all| all.len() + 1).sum()
    }
}

/// A value as a text; nothing where it is none, or empty.
fn read(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?.trim();
    (!text.is_empty()).then_some(text)
}

/// What a search found, to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Entries.
    pub(crate) entries: Vec<Entry>,
    /// References to other servers, which are passed over: they are nobody.
    pub(crate) references: usize,
    /// Values of all entries.
    pub(crate) values: usize,
}

/// What is found where one entry is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Single {
    /// It.
    Entry(Entry),
    /// Nothing, with this result code: 0 where it is kept from us.
    Nothing {
        /// The code.
        code: u32,
        /// What the directory says of it.
        text: String,
    },
}

/// Asks a directory who fits a filter. What is found is all that fits, or the question failed.
///
/// # Errors
/// [`Fault`].
pub(crate) async fn ask(settings: &Settings, filter: &str) -> Result<Found, Fault> {
    let (line, mut talk) = open(settings).await?;
    line.during(async {
        talk.bind().await?;
        let found = talk.people(filter, &settings.attributes()).await?;
        talk.leave().await;
        Ok(found)
    })
    .await
}

/// Opens a connection.
///
/// # Errors
/// [`Fault::NoPassword`], and those of [`wire::connect`].
pub(crate) async fn open(settings: &Settings) -> Result<(Line, Talk<'_>), Fault> {
    if settings.bind.as_ref().is_some_and(|bind| bind.password.is_empty()) {
        return Err(Fault::NoPassword);
    }
    if settings.bind.is_some() && settings.place.security == Security::Clear && !settings.place.is_safe() {
        return Err(Fault::Tls("a password does not go over a network in the clear".to_owned()));
    }
    let bounds = settings.bounds();
    let net = wire::connect(&settings.place, &settings.tls, &bounds).await?;
    let (ours, theirs) = wire::pair()?;
    let library = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs));
    let opened = LdapConnAsync::with_settings(library, "ldapi:///").await;
    let (driver, ldap) = opened.map_err(|error| Fault::Broken(error.to_string()))?;
    let whole = bounds.whole;
    let going = async move {
        tokio::select! {
            biased;
            fault = wire::carry(net, ours, &bounds) => fault,
            _ = driver.drive() => Fault::Closed,
        }
    };
    Ok((Line { going: Box::pin(going), whole }, Talk { settings, ldap }))
}

/// What keeps a connection going.
pub(crate) struct Line {
    going: Pin<Box<dyn Future<Output = Fault> + Send>>,
    whole: Duration,
}

impl Line {
    /// Says and hears something over the connection, until that is done or the connection ends. All in one task, so that nothing
    /// of a connection outlives it.
    ///
    /// # Errors
    /// [`Fault`]; [`Fault::TooLong`] where it takes longer than all may take.
    pub(crate) async fn during<T>(self, doing: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let both = async {
            tokio::select! {
                biased;
                fault = self.going => Err(fault),
                done = doing => done,
            }
        };
        timeout(self.whole, both).await.map_err(|_| Fault::TooLong)?
    }
}

/// What is said over a connection, one question after another.
pub(crate) struct Talk<'a> {
    settings: &'a Settings,
    ldap: Ldap,
}

impl Talk<'_> {
    /// Says who we are.
    ///
    /// # Errors
    /// [`Fault::Refused`], and those of the connection.
    pub(crate) async fn bind(&mut self) -> Result<(), Fault> {
        let answering = self.settings.bounds.answering;
        let Some(bind) = &self.settings.bind else { return Ok(()) };
        let bound = timeout(answering, self.ldap.simple_bind(&bind.dn, &bind.password)).await;
        let result = bound.map_err(|_| Fault::Silent)?.map_err(of_library)?;
        match result.rc {
            0 => Ok(()),
            code => Err(Fault::Refused { code, text: result.text }),
        }
    }

    /// Who fits a filter below the base, page by page, with these attributes.
    ///
    /// # Errors
    /// [`Fault`], also where it did not come to its end.
    pub(crate) async fn people(&mut self, filter: &str, attributes: &[String]) -> Result<Found, Fault> {
        let (mut found, mut cookie) = (Found::default(), Vec::new());
        for _ in 0..MOST_PAGES {
            cookie = self.page((filter, attributes), cookie, &mut found).await?;
            if cookie.is_empty() {
                return Ok(found);
            }
        }
        Err(Fault::TooMuch("pages"))
    }

    /// The entry of a name, with these attributes. The empty name is the directory's own entry.
    ///
    /// # Errors
    /// Those of the connection.
    pub(crate) async fn entry(&mut self, dn: &str, attributes: Vec<String>) -> Result<Single, Fault> {
        let mut found = Found::default();
        let asked = (dn, Scope::Base, "(objectClass=*)");
        let LdapResult { rc, text, .. } = self.search(asked, attributes, &mut found).await?;
        match found.entries.pop() {
            Some(entry) if rc == 0 && found.entries.is_empty() => Ok(Single::Entry(entry)),
            Some(_) if rc == 0 => Err(Fault::Malformed("two entries of one name")),
            _ => Ok(Single::Nothing { code: rc, text }),
        }
    }

    /// Says farewell. Whoever does not hear it sees the end of the connection.
    pub(crate) async fn leave(mut self) {
        timeout(FAREWELL, self.ldap.unbind()).await.ok();
    }

    /// Reads a page; where the next one begins, or nothing after the last one.
    async fn page(
        &mut self,
        (filter, attributes): (&str, &[String]),
        cookie: Vec<u8>,
        found: &mut Found,
    ) -> Result<Vec<u8>, Fault> {
        let is_first = cookie.is_empty();
        self.ldap.with_controls(PagedResults { size: PAGE, cookie });
        let settings = self.settings;
        let asked = (settings.base.as_str(), Scope::Subtree, filter);
        let result = self.search(asked, attributes.to_vec(), found).await?;
        if result.rc != 0 {
            return Err(Fault::Search { code: result.rc, text: result.text });
        }
        let place = result.ctrls.iter().find_map(|control| match control {
            Control(Some(ControlType::PagedResults), raw) if raw.val.is_some() => {
                Some(raw.parse::<PagedResults>())
            }
            _ => None,
        });
        match place {
            Some(place) => Ok(place.cookie),
            // It knows no pages, and has told everything at once.
            None if is_first => Ok(Vec::new()),
            // Pages have a last one, which says so (RFC 2696, section 3): this one was cut.
            None => Err(Fault::Malformed("a page without a place")),
        }
    }

    /// One search to its end, good or not.
    async fn search(
        &mut self,
        (base, scope, filter): (&str, Scope, &str),
        attributes: Vec<String>,
        found: &mut Found,
    ) -> Result<LdapResult, Fault> {
        let bounds = &self.settings.bounds;
        let asked: BTreeSet<String> = attributes.iter().map(|name| base_name(name)).collect();
        let seconds = i32::try_from(bounds.whole.as_secs()).unwrap_or(i32::MAX);
        self.ldap.with_search_options(SearchOptions::new().timelimit(seconds));
        let begun = self.ldap.streaming_search(base, scope, filter, attributes);
        let mut stream =
            timeout(bounds.answering, begun).await.map_err(|_| Fault::Silent)?.map_err(of_library)?;
        loop {
            let next = timeout(bounds.answering, stream.next()).await.map_err(|_| Fault::Silent)?;
            match next.map_err(of_library)? {
                Some(reference) if reference.is_ref() => found.references += 1,
                Some(entry) => {
                    let entry = Entry::of(entry, &asked);
                    found.values += entry.size();
                    found.entries.push(entry);
                }
                None => return Ok(stream.finish().await),
            }
            if found.values > bounds.values {
                return Err(Fault::TooMuch("values"));
            }
            if found.entries.len() > bounds.entries {
                return Err(Fault::TooMuch("entries"));
            }
        }
    }
}

/// The name of an attribute without its options, in small letters.
fn base_name(name: &str) -> String {
    name.split(';').next().unwrap_or_default().to_ascii_lowercase()
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
