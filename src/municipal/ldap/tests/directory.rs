//! A directory that says what it is told to say, however wrong that is.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What it does when it is asked.
#[derive(Clone, Debug)]
pub(super) enum Says {
    /// These bytes, with the number of the question in the place of `ID`.
    Messages(Vec<Vec<u8>>),
    /// Nothing, ever.
    Nothing,
    /// It ends the connection.
    End,
}

/// Where the number of the question goes.
pub(super) const ID: u8 = 0x7e;

#[derive(Debug)]
struct Inner {
    /// What it says to a search that nothing else is said to.
    people: Mutex<Vec<Vec<u8>>>,
    /// Entries that are found by their names.
    named: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Groups by their names, with their members.
    groups: Mutex<BTreeMap<String, Vec<String>>>,
    /// What it says of what it is able to.
    able_to: Mutex<&'static str>,
    /// What it says to the next searches.
    next: Mutex<VecDeque<Says>>,
    /// What it says to a bind.
    bind: Mutex<Says>,
    /// The requests that came, whole.
    asked: Mutex<Vec<Vec<u8>>>,
}

/// A directory on this machine. It goes with the test's runtime.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub(super) port: u16,
    inner: Arc<Inner>,
}

pub(super) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x84], length.as_slice(), content].concat()
}

pub(super) fn sequence(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    value(tag, &parts.concat())
}

/// A message that answers the question.
pub(super) fn message(op: Vec<u8>, controls: Option<Vec<u8>>) -> Vec<u8> {
    let mut parts = vec![value(0x02, &[ID]), op];
    parts.extend(controls);
    sequence(0x30, &parts)
}

fn result(tag: u8, code: u8, text: &str) -> Vec<u8> {
    sequence(tag, &[value(0x0a, &[code]), value(0x04, b""), value(0x04, text.as_bytes())])
}

/// The end of a search.
pub(super) fn done(code: u8) -> Vec<u8> {
    message(result(0x65, code, "told by the directory"), None)
}

/// The end of a page, and where the next one begins.
pub(super) fn more(cookie: &[u8]) -> Vec<u8> {
    let place = sequence(0x30, &[value(0x02, &[0]), value(0x04, cookie)]);
    let control = sequence(0x30, &[value(0x04, b"1.2.840.113556.1.4.319"), value(0x04, &place)]);
    message(result(0x65, 0, ""), Some(sequence(0xa0, &[control])))
}

/// A reference to another server.
pub(super) fn reference(url: &str) -> Vec<u8> {
    message(sequence(0x73, &[value(0x04, url.as_bytes())]), None)
}

/// An entry with these attributes.
pub(super) fn entry(dn: &str, attributes: &[(&str, &[u8])]) -> Vec<u8> {
    let attributes: Vec<_> = attributes.iter().map(|(name, content)| (*name, vec![*content])).collect();
    entry_of(dn, &attributes)
}

/// An entry with these attributes, each with its values.
pub(super) fn entry_of(dn: &str, attributes: &[(&str, Vec<&[u8]>)]) -> Vec<u8> {
    let attribute = |(name, contents): &(&str, Vec<&[u8]>)| {
        let values: Vec<Vec<u8>> = contents.iter().map(|content| value(0x04, content)).collect();
        sequence(0x30, &[value(0x04, name.as_bytes()), sequence(0x31, &values)])
    };
    let attributes: Vec<Vec<u8>> = attributes.iter().map(attribute).collect();
    message(sequence(0x64, &[value(0x04, dn.as_bytes()), sequence(0x30, &attributes)]), None)
}

/// Somebody as Active Directory tells of him.
#[derive(Clone, Debug)]
pub(super) struct Somebody {
    pub(super) number: u8,
    pub(super) name: String,
    pub(super) shown: String,
    pub(super) unit: String,
    pub(super) mail: String,
    pub(super) control: String,
    pub(super) expires: String,
    pub(super) primary_group: String,
}

pub(super) fn somebody(number: u8, name: &str) -> Somebody {
    Somebody {
        number,
        name: name.to_owned(),
        shown: format!("{name} さん"),
        unit: "総務課".to_owned(),
        mail: format!("{name}@city.test"),
        control: "512".to_owned(),
        expires: "0".to_owned(),
        primary_group: String::new(),
    }
}

impl Somebody {
    pub(super) fn dn(&self) -> String {
        format!("CN={},OU={},DC=city,DC=test", self.shown, self.unit)
    }

    fn entry(&self) -> Vec<u8> {
        let id = [self.number; 16];
        let all = [
            ("objectGUID", id.as_slice()),
            ("sAMAccountName", self.name.as_bytes()),
            ("displayName", self.shown.as_bytes()),
            ("mail", self.mail.as_bytes()),
            ("userAccountControl", self.control.as_bytes()),
            ("accountExpires", self.expires.as_bytes()),
            ("primaryGroupID", self.primary_group.as_bytes()),
        ];
        let said: Vec<_> = all.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        entry(&self.dn(), &said)
    }
}

/// What a search says that finds these.
pub(super) fn people(all: &[Somebody]) -> Vec<Vec<u8>> {
    all.iter().map(Somebody::entry).chain([done(0)]).collect()
}

impl Directory {
    pub(super) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bound = Says::Messages(vec![message(result(0x61, 0, ""), None)]);
        let inner = Inner {
            people: Mutex::default(),
            named: Mutex::default(),
            groups: Mutex::default(),
            able_to: Mutex::new("1.2.840.113556.1.4.800"),
            next: Mutex::default(),
            bind: Mutex::new(bound),
            asked: Mutex::default(),
        };
        let directory = Self { port: listener.local_addr().unwrap().port(), inner: Arc::new(inner) };
        let served = directory.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(served.clone().serve(stream));
            }
        });
        directory
    }

    /// From now on it has these.
    pub(super) fn has(&self, people: &[Somebody]) {
        self.has_entries(people.iter().map(|of| (of.dn(), of.entry())).collect());
    }

    /// From now on it has people with these names and entries.
    pub(super) fn has_entries(&self, people: Vec<(String, Vec<u8>)>) {
        *self.inner.people.lock().unwrap() = people.iter().map(|(_, entry)| entry.clone()).collect();
        *self.inner.named.lock().unwrap() = people.into_iter().collect();
    }

    /// From now on a group of this name has these members.
    pub(super) fn has_group(&self, name: &str, members: impl IntoIterator<Item = impl Into<String>>) {
        let members = members.into_iter().map(Into::into).collect();
        self.inner.groups.lock().unwrap().insert(name.to_owned(), members);
    }

    /// From now on there is no such group.
    pub(super) fn has_no_group(&self, name: &str) {
        self.inner.groups.lock().unwrap().remove(name);
    }

    /// From now on it is one that knows this alone.
    pub(super) fn is_able_to(&self, capability: &'static str) {
        *self.inner.able_to.lock().unwrap() = capability;
    }

    /// What it says of one name.
    fn of_one(&self, request: &[u8]) -> Vec<Vec<u8>> {
        let name = base(request);
        let named = self.inner.named.lock().unwrap().get(&name).cloned();
        let able_to = *self.inner.able_to.lock().unwrap();
        let found = match self.inner.groups.lock().unwrap().get(&name) {
            Some(members) => Some(group(&name, members, asked_from(request))),
            None if name.is_empty() => Some(entry("", &[("supportedCapabilities", able_to.as_bytes())])),
            None => named,
        };
        match found {
            Some(found) => vec![found, done(0)],
            None => vec![done(32)],
        }
    }

    /// It says this to the next search.
    pub(super) fn says(&self, says: Says) {
        self.inner.next.lock().unwrap().push_back(says);
    }

    /// What it was to say next, it does not say any more.
    pub(super) fn forgets(&self) {
        self.inner.next.lock().unwrap().clear();
    }

    /// It says this to every bind.
    pub(super) fn says_to_bind(&self, says: Says) {
        *self.inner.bind.lock().unwrap() = says;
    }

    pub(super) fn refuses_bind(&self, code: u8) {
        self.says_to_bind(Says::Messages(vec![message(result(0x61, code, "no"), None)]));
    }

    /// What came of requests whose operation has this tag.
    pub(super) fn asked(&self, tag: u8) -> Vec<Vec<u8>> {
        let all = self.inner.asked.lock().unwrap();
        all.iter().filter(|request| operation(request) == tag).cloned().collect()
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            while let Ok(Some(length)) = crate::ber::length(&bytes)
                && bytes.len() >= length
            {
                let request: Vec<u8> = bytes.drain(..length).collect();
                let says = match operation(&request) {
                    0x60 => self.inner.bind.lock().unwrap().clone(),
                    0x63 if is_of_one(&request) => Says::Messages(self.of_one(&request)),
                    0x63 => {
                        let said = self.inner.next.lock().unwrap().pop_front();
                        let all = || [self.inner.people.lock().unwrap().clone(), vec![done(0)]].concat();
                        said.unwrap_or_else(|| Says::Messages(all()))
                    }
                    _ => Says::End,
                };
                let id = u8::try_from(crate::ber::request(&request).unwrap()).unwrap();
                self.inner.asked.lock().unwrap().push(request);
                match says {
                    Says::Nothing => {}
                    Says::End => return,
                    Says::Messages(all) => {
                        for message in all {
                            if stream.write_all(&numbered(message, id)).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            }
            if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                return;
            }
        }
    }
}

/// The tag of what is asked for.
fn operation(request: &[u8]) -> u8 {
    let head = if request[1] < 0x80 { 2 } else { 2 + usize::from(request[1] & 0x0f) };
    request[head + 2 + usize::from(request[head + 1])]
}

/// Members that are told at once.
pub(super) const MOST_MEMBERS: usize = 1_500;

/// A group as Active Directory tells of it, with its members from that number on.
fn group(name: &str, members: &[String], from: Option<usize>) -> Vec<u8> {
    let values = |some: &[String]| some.iter().map(|member| member.as_bytes().to_vec()).collect::<Vec<_>>();
    let mut attributes = vec![("objectClass".to_owned(), vec![b"top".to_vec(), b"group".to_vec()])];
    attributes.push(("primaryGroupToken".to_owned(), vec![b"513".to_vec()]));
    let (begin, end) = (from.unwrap_or(0), (from.unwrap_or(0) + MOST_MEMBERS).min(members.len()));
    let some = values(&members[begin..end]);
    match (from, end == members.len()) {
        (None, true) => attributes.push(("member".to_owned(), some)),
        (_, true) => attributes.push((format!("member;range={begin}-*"), some)),
        (_, false) => {
            attributes.push(("member".to_owned(), Vec::new()));
            attributes.push((format!("member;range={begin}-{}", end - 1), some));
        }
    }
    let borrowed: Vec<(&str, Vec<&[u8]>)> = attributes
        .iter()
        .map(|(name, all)| (name.as_str(), all.iter().map(Vec::as_slice).collect()))
        .collect();
    entry_of(name, &borrowed)
}

/// From which member on a request asks.
fn asked_from(request: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(request).into_owned();
    let (_, range) = text.split_once("member;range=")?;
    range.split_once('-')?.0.parse().ok()
}

/// The values of a search request: its operation without the head.
fn search_of(request: &[u8]) -> &[u8] {
    let head = if request[1] < 0x80 { 2 } else { 2 + usize::from(request[1] & 0x0f) };
    let op = &request[head + 2 + usize::from(request[head + 1])..];
    &op[if op[1] < 0x80 { 2 } else { 2 + usize::from(op[1] & 0x0f) }..]
}

/// The name at or below which it searches, and what stands behind that.
fn base_and_rest(request: &[u8]) -> (String, &[u8]) {
    let search = search_of(request);
    let (begin, length) = match search[1] {
        short @ 0..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(search[2])),
        _ => (4, usize::from(search[2]) << 8 | usize::from(search[3])),
    };
    (String::from_utf8(search[begin..begin + length].to_vec()).unwrap(), &search[begin + length..])
}

fn base(request: &[u8]) -> String {
    base_and_rest(request).0
}

/// Whether it asks for the entry of a name alone.
fn is_of_one(request: &[u8]) -> bool {
    base_and_rest(request).1.starts_with(&[0x0a, 1, 0])
}

/// A message of ours with the number in its place: it stands behind two heads of six bytes.
fn numbered(mut message: Vec<u8>, id: u8) -> Vec<u8> {
    if message.get(12) == Some(&ID) {
        message[12] = id;
    }
    message
}
