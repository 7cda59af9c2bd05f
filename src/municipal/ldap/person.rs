//! Somebody as a directory tells of him.

use std::collections::BTreeMap;

use base::Timestamp;
use serde_json::{Map, Value};
use upstream::{Error as TemplateError, Template};

use crate::{
    dn, guid,
    session::{Entry, Found},
    settings::{PRIMARY_GROUP, Settings},
    standing::{Standing, standing},
    words::{Words, short, words},
};

/// Longest name of an entry that is read, in bytes.
const LONGEST_DN: usize = 2_048;
/// Longest name of somebody, in letters.
const LONGEST_NAME: usize = 256;

/// Administrators of a source: a group of everybody is a slip.
pub(crate) const MOST_ADMINISTRATORS: usize = 200;

/// Somebody as a directory tells of him.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    /// What he is known by.
    pub(crate) id: String,
    /// Where he stands there.
    pub(crate) dn: String,
    /// What a new account of his is called, or why it has no name.
    pub(crate) localpart: Result<String, Words>,
    /// The name that he shows.
    pub(crate) name: String,
    /// His address.
    pub(crate) mail: Option<String>,
    /// What the identity provider calls him.
    pub(crate) subject: Option<String>,
    /// The number of the group that he is in without being its member, where Active Directory tells one.
    pub(crate) primary_group: Option<String>,
    /// Whether he is to come in.
    pub(crate) standing: Standing,
}

/// Why what a directory told is not acted on, though it told it to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Absurd {
    /// Nobody is there.
    Nobody,
    /// Somebody cannot be known by anything.
    NoId {
        /// How many.
        count: usize,
        /// One of them.
        dn: String,
        /// By what they should be known.
        attribute: String,
    },
    /// Two entries are known by the same.
    SameId {
        /// These.
        dns: [String; 2],
    },
    /// A group is not there, or kept from us.
    NoGroup {
        /// Its name.
        name: String,
    },
    /// No member of a group, or of the groups in it, is one of the people.
    EmptyGroup {
        /// Its name.
        name: String,
    },
    /// A group that was in another one is not there any more, or kept from us, and is still named as a member.
    GroupGone {
        /// Its name.
        name: String,
    },
    /// More would administer than can be meant.
    ManyAdministrators {
        /// How many.
        count: usize,
    },
    /// A group names its members by their accounts, not by their entries.
    ByAccount {
        /// Its name.
        name: String,
    },
    /// The filter has a rule that the directory does not know.
    NoChains,
}

impl Absurd {
    /// The sentence for who looks after it.
    pub(crate) fn words(&self) -> Words {
        match self {
            Self::Nobody => words!(
                "検索は成功しましたが、一人も見つかりませんでした。読み取り権限、base、filter を確かめてください。誰も停止していません。",
                "the search succeeded and found nobody; look at the right to read, base and filter; nobody was ended"
            ),
            Self::NoId { count, dn, attribute } => {
                let dn = short(dn);
                words!(
                    "{count} 件のエントリーに、識別に使う {attribute} がないか、読めません(例: {dn})。",
                    "{count} entries have no {attribute} that can be read, by which people are known (such as {dn})"
                )
            }
            Self::SameId { dns: [one, other] } => {
                let (one, other) = (short(one), short(other));
                words!(
                    "二つのエントリーの識別子が同じです: {one} と {other}",
                    "two entries have the same id: {one} and {other}"
                )
            }
            Self::NoGroup { name } => {
                let name = short(name);
                words!(
                    "グループ {name} がないか、読み取る権限がありません。誰も停止せず、誰の管理者権限も外していません。",
                    "the group {name} is not there, or there is no right to read it; nobody was ended and nobody lost his administration"
                )
            }
            Self::EmptyGroup { name } => {
                let name = short(name);
                words!(
                    "グループ {name} と、その中のグループのメンバーに、filter で見つかる人が一人もいません。誰も停止せず、誰の管理者権限も外していません。",
                    "no member of the group {name}, or of the groups in it, is one of those whom the filter finds; nobody was ended and nobody lost his administration"
                )
            }
            Self::GroupGone { name } => {
                let name = short(name);
                words!(
                    "グループ {name} は、メンバーとして残っているのに、見つからないか、読み取れなくなりました。そのメンバーの扱いが決まらないため、何も行いませんでした。不要なら、上のグループから外してください。",
                    "the group {name} is still named as a member, and is not found or cannot be read any more, so nobody knows of its members and nothing was done; if it is gone for good, take it out of the group above"
                )
            }
            Self::ManyAdministrators { count } => words!(
                "管理者のグループに {count} 人います(上限 {MOST_ADMINISTRATORS} 人)。グループを確かめてください。誰も管理者にしていません。",
                "{count} people are in the group of administrators ({MOST_ADMINISTRATORS} at most); look at which group it is; nobody was made an administrator"
            ),
            Self::ByAccount { name } => {
                let name = short(name);
                words!(
                    "グループ {name} はメンバーを memberUid (アカウント名) で持っています。member か uniqueMember (DN) のグループが必要です。",
                    "the group {name} names its members by memberUid, their accounts; a group with member or uniqueMember, their DNs, is needed"
                )
            }
            Self::NoChains => words!(
                "filter にグループをたどる照合規則 (1.2.840.113556.1.4.1941) がありますが、このディレクトリは Active Directory ではなく、対応していません。代わりに people_group を設定してください。",
                "the filter has the rule that goes through groups in groups (1.2.840.113556.1.4.1941), and the directory is no Active Directory and does not know it; set people_group instead"
            ),
        }
    }
}

/// Everybody of whom a directory tells, by id.
pub(crate) type People = BTreeMap<String, Person>;

/// The people among what was found.
///
/// # Errors
/// [`Absurd`].
pub(crate) fn people(settings: &Settings, found: &Found, now: Timestamp) -> Result<People, Absurd> {
    let (mut people, mut without) = (People::new(), Vec::new());
    for entry in &found.entries {
        let id = match entry.all(&settings.id) {
            [one] => guid::id(&settings.id, one),
            _ => None,
        };
        let Some(id) = id else {
            without.push(&entry.dn);
            continue;
        };
        let person = Person::of(settings, id.clone(), entry, now);
        if let Some(other) = people.insert(id, person)
            // Pages of a directory that changes meanwhile may tell of somebody twice.
            && !dn::is_same(&other.dn, &entry.dn)
        {
            return Err(Absurd::SameId { dns: [other.dn, entry.dn.clone()] });
        }
    }
    if let Some(dn) = without.first() {
        let attribute = settings.id.clone();
        return Err(Absurd::NoId { count: without.len(), dn: (*dn).clone(), attribute });
    }
    if people.is_empty() { Err(Absurd::Nobody) } else { Ok(people) }
}

impl Person {
    fn of(settings: &Settings, id: String, entry: &Entry, now: Timestamp) -> Self {
        let fill = |template: &Template| template.fill(&claims(settings, template, &id, entry));
        let localpart = match fill(&settings.localpart) {
            Ok(localpart) => Ok(localpart.to_ascii_lowercase()),
            Err(TemplateError::MissingClaim { claim }) => Err(words!(
                "アカウント名に使う {claim} がありません。",
                "{claim} is missing, of which the account's name is made"
            )),
            Err(_) => Err(words!("アカウント名が長すぎます。", "the account's name is too long")),
        };
        let shown = |name: String| Some(shown(&name)).filter(|name| !name.is_empty());
        let name = fill(&settings.display_name).ok().and_then(shown);
        let name = name.or_else(|| shown(entry.text("cn")?.to_owned()));
        Self {
            name: name.or_else(|| localpart.clone().ok()).unwrap_or_default(),
            mail: settings.email.as_ref().and_then(|email| fill(email).ok()).filter(|mail| !mail.is_empty()),
            primary_group: entry.text(PRIMARY_GROUP).map(str::to_owned),
            subject: settings.identity.as_ref().and_then(|(_, subject)| fill(subject).ok()),
            standing: match entry.dn.len() {
                0..=LONGEST_DN => standing(entry, settings.kind, now),
                _ => Standing::Unclear("dn"),
            },
            localpart,
            dn: match entry.dn.len() {
                0..=LONGEST_DN => entry.dn.clone(),
                _ => short(&entry.dn),
            },
            id,
        }
    }
}

/// A name as everybody sees it: in one line, and without marks by which it would read as another's or turn what stands behind
/// it. Joiners and selectors stay, of which emoji and variants of kanji are made.
fn shown(name: &str) -> String {
    let is_turning = |letter: &char| matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let in_line = |letter: char| match letter {
        letter if letter.is_control() => ' ',
        '\u{2028}' | '\u{2029}' => ' ',
        letter => letter,
    };
    let letters: String = name.chars().filter(|letter| !is_turning(letter)).map(in_line).collect();
    letters.trim().chars().take(LONGEST_NAME).collect()
}

/// What a template may name of an entry, in the template's spelling.
fn claims(settings: &Settings, template: &Template, id: &str, entry: &Entry) -> Map<String, Value> {
    let claim = |name: String| {
        let is_id = name.eq_ignore_ascii_case(&settings.id);
        let value = if is_id { Some(id) } else { entry.text(&name) }.map(Value::from)?;
        Some((name, value))
    };
    template.claims().filter_map(claim).collect()
}
