//! What a directory says beside what it said last: who is new, called otherwise, elsewhere, out, or in again.
//!
//! Pure: rows and people in, steps out. Nobody is found by a name here, only by the id that nothing changes; so whoever
//! marries or moves is who he was, and whoever gets the name of one who left is somebody else.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base::Timestamp;

use crate::{
    dn,
    person::{People, Person},
    report::Note,
    settings::Settings,
    standing::{Standing, Why},
    tables::{AdministratorRow, Held, PersonRow},
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

impl Step {
    /// By what somebody is known whose account follows.
    fn id(&self) -> Option<&str> {
        match self {
            Self::Follow { id, .. } => Some(id),
            Self::Make(_) => None,
        }
    }
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
    /// How many of these would end.
    missed: usize,
    /// How many get an account.
    made: usize,
    /// How many end.
    pub(crate) endings: usize,
    /// How many have ended within a day, but for those of whom somebody has said that he means it.
    pub(crate) recent: usize,
    /// How many of those who are known were in.
    pub(crate) active: usize,
    /// These, and those who have ended within a day and are out.
    population: usize,
    /// Who administered by the source's word before the directory was read, by id.
    pub(crate) appointed: BTreeMap<String, AdministratorRow>,
    /// Who is to administer, by id.
    pub(crate) administrators: BTreeSet<String>,
    /// Of whom nobody knows whether he is to: he stays as he is.
    pub(crate) unclear: BTreeSet<String>,
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
        |row: &PersonRow| row.held != Held::Protected && row.ended_at.is_some_and(|at| at > counted);
    let active = known.values().filter(|row| row.ended.is_none()).count();
    let mut plan = Plan { active, ..Plan::default() };
    let shared = Shared::of(known, people, &mut plan.notes);
    for (id, before) in known {
        match people.get(id) {
            Some(person) => plan.follow(settings, id, before, person, &shared, now),
            None => plan.miss(settings, id, before, now),
        }
    }
    // Whoever ended today and is back counts as well: of a directory that tells two things by turns everybody could be out of
    // all his sessions by evening. One who ends once more is counted once.
    let is_ending = |step: &Step| match step {
        Step::Follow { before, after, .. } => Differs::between(before, after).ends,
        Step::Make(_) => false,
    };
    let ending: BTreeSet<&str> =
        plan.steps.iter().filter(|step| is_ending(step)).filter_map(Step::id).collect();
    let recent = known.iter().filter(|(id, row)| is_recent(row) && !ending.contains(id.as_str()));
    let (back, out): (Vec<_>, Vec<_>) = recent.partition(|(_, row)| row.ended.is_none());
    (plan.recent, plan.population) = (back.len() + out.len(), active + out.len());
    plan.steps.sort_by_key(|step| !is_ending(step));
    let names = names_of_newcomers(known, people);
    for (id, person) in people.iter().filter(|(id, _)| !known.contains_key(*id)) {
        plan.greet(known, person, names.get(id.as_str()), &shared);
    }
    plan
}

impl Plan {
    /// The same, beside these who administered by the source's word before the directory was read.
    pub(crate) fn with(mut self, appointed: BTreeMap<String, AdministratorRow>) -> Self {
        self.appointed = appointed;
        self
    }

    /// Whether so many may end. `accepted` is how many somebody has said that he means.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_endings(&self, percent: u8, accepted: Option<usize>) -> Result<(), Words> {
        let Self { endings, recent, active, population, .. } = *self;
        let share = population.saturating_mul(usize::from(percent)) / 100;
        let is_few = endings + recent <= share.max(ALWAYS_ALLOWED);
        if endings == 0 || is_few || accepted.is_some_and(|accepted| endings <= accepted) {
            return Ok(());
        }
        Err(words!(
            "在籍 {active} 人のうち {endings} 人のアカウントが停止することになるため、何も行いませんでした(24 時間以内に停止した {recent} 人と合わせて判断しています)。正しければ `yakuba ldap run --accept-endings {endings}` で実行してください。",
            "{endings} of {active} accounts that are in would end, after {recent} within a day, so nothing was done; if that is meant, `yakuba ldap run --accept-endings {endings}` does it"
        ))
    }

    /// Whether whoever is missed may end, where the directory is asked something else than the last time that it was followed:
    /// a slip in a filter is no leaving. `accepted` is how many somebody has said that he means.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_missed(&self, is_other: bool, accepted: Option<usize>) -> Result<(), Words> {
        let Self { missed, endings, .. } = *self;
        if !is_other || missed == 0 || accepted.is_some_and(|accepted| endings <= accepted) {
            return Ok(());
        }
        Err(words!(
            "設定 (base、filter、id、グループ) が前回反映したときと変わり、{missed} 人が見つからなくなったため、何も行いませんでした。正しければ `yakuba ldap run --accept-endings {endings}` で実行してください。",
            "base, filter, id or groups are not those of the last reading that was followed, and {missed} people are not found any more, so nothing was done; if that is meant, `yakuba ldap run --accept-endings {endings}` does it"
        ))
    }

    fn follow(
        &mut self,
        settings: &Settings,
        id: &str,
        before: &PersonRow,
        person: &Person,
        shared: &Shared,
        now: Timestamp,
    ) {
        let ended = match person.standing {
            Standing::Active => None,
            Standing::Ended(why) => Some(why),
            Standing::Unclear(attribute) => {
                self.note(&before.account, unclear(attribute));
                self.unclear.insert(id.to_owned());
                before.ended
            }
        };
        let is_theirs = |mail: &str| shared.has_mail(mail) && !is_same_mail(before.mail.as_deref(), mail);
        let is_their_subject =
            |subject: &String| shared.subjects.contains(subject) && before.subject.as_ref() != Some(subject);
        let after = PersonRow {
            dn: if dn::is_same(&before.dn, &person.dn) { before.dn.clone() } else { person.dn.clone() },
            name: if person.name.is_empty() { before.name.clone() } else { person.name.clone() },
            mail: person.mail.clone().filter(|mail| !is_theirs(mail)),
            subject: person.subject.clone().filter(|subject| !is_their_subject(subject)),
            ended,
            ..before.clone()
        };
        let is_missed = after.ended == Some(Why::Outside) && before.ended.is_none();
        self.missed += usize::from(is_missed && !settings.excepts(&before.account));
        self.push(settings, id, before, after, now);
    }

    /// Those who would end as they are not in the group of the people, by id.
    pub(crate) fn outside(&self) -> Vec<String> {
        let is_outside = |step: &&Step| match step {
            Step::Follow { before, after, .. } => before.ended.is_none() && after.ended == Some(Why::Outside),
            Step::Make(_) => false,
        };
        self.steps.iter().filter(is_outside).filter_map(Step::id).map(str::to_owned).collect()
    }

    fn miss(&mut self, settings: &Settings, id: &str, before: &PersonRow, now: Timestamp) {
        if before.ended.is_none() {
            self.absent.push(id.to_owned());
            self.missed += usize::from(!settings.excepts(&before.account));
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
        let ends = Differs::between(before, &after).ends;
        if ends && !settings.excepts(&before.account) {
            self.endings += 1;
        }
        let changed = if *before == after { before.changed } else { now };
        let ended_at = if ends { Some(now) } else { before.ended_at };
        let after = PersonRow { changed, ended_at, ..after };
        self.steps.push(Step::Follow { id: id.to_owned(), before: before.clone(), after });
    }

    /// Somebody who was not there. Who is out from the beginning gets no account.
    fn greet(&mut self, known: &Known, person: &Person, name: Option<&Newcomer>, shared: &Shared) {
        match (person.standing, &person.localpart, name) {
            (Standing::Ended(_), ..) => {}
            (Standing::Unclear(attribute), ..) => self.note(&person.dn, unclear(attribute)),
            // He is told of already. An account without it would be a second one of whoever it is.
            (Standing::Active, ..) if person.subject.as_ref().is_some_and(|it| shared.subjects.contains(it)) => {}
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
                person.mail = person.mail.filter(|mail| !shared.has_mail(mail));
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

/// What several people have who are in, and one alone can have. Who has it already keeps it; nobody else gets it, so that no
/// run takes it from one for the other, and nobody gets what is another's by writing it into his own entry.
#[derive(Debug, Default)]
struct Shared {
    /// Addresses, folded.
    mails: BTreeSet<String>,
    /// What the identity provider calls people.
    subjects: BTreeSet<String>,
}

impl Shared {
    /// Looks at everybody, and notes those who have the same.
    fn of(known: &Known, people: &People, notes: &mut Vec<Note>) -> Self {
        let present = || people.values().filter(|person| !matches!(person.standing, Standing::Ended(_)));
        let mails = present().filter_map(|person| person.mail.as_deref()).map(folded);
        let subjects = present().filter_map(|person| person.subject.clone());
        let shared = Self { mails: twice(mails), subjects: twice(subjects) };
        for person in present() {
            let row = known.get(&person.id);
            let who = row.map_or(&person.dn, |row| &row.account);
            if let Some(mail) = person.mail.as_deref().filter(|mail| shared.has_mail(mail)) {
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
            if person.subject.as_ref().is_some_and(|subject| shared.subjects.contains(subject)) {
                let what = match row.is_some_and(|row| row.subject == person.subject) {
                    true => words!(
                        "認証基盤での識別子 (subject) が別の人と同じです。先に登録されていたこの人のものです。",
                        "somebody else has the same subject; it stays with this one, who had it first"
                    ),
                    false => words!(
                        "認証基盤での識別子 (subject) が別の人と同じため、登録しません。",
                        "somebody else has the same subject, so it is not taken"
                    ),
                };
                notes.push(Note { who: who.clone(), what });
            }
        }
        shared
    }

    fn has_mail(&self, mail: &str) -> bool {
        self.mails.contains(&folded(mail))
    }
}

/// Those among texts that are there more than once.
fn twice(all: impl Iterator<Item = String>) -> BTreeSet<String> {
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    all.for_each(|text| *counted.entry(text).or_default() += 1);
    counted.into_iter().filter(|(_, count)| *count > 1).map(|(text, _)| text).collect()
}

fn folded(mail: &str) -> String {
    mail.to_lowercase()
}

fn is_same_mail(one: Option<&str>, other: &str) -> bool {
    one.is_some_and(|one| folded(one) == folded(other))
}
