//! A personnel file becomes a change set.
//!
//! Nothing of the organisation changes here: what is stored is for people to look at and to approve.

use std::collections::BTreeMap;

use audit::Action;
use base::{Timestamp, folded};
use intake::{Date, How, Intake, Sheet};
use organisation::{
    BodyId, ChangeSet, Draft, Error as OrganisationError, Ids, Item, Kind, Known as KnownOrganisation,
    NewUnits, Organisation, Proposal, Reorganisation, SetId, Source, Terms, Which, calendar::begin_of,
    compare,
};
use ruma::ServerName;

use crate::{
    answer::{Answer, Imported},
    by::By,
    error::Error,
    mappings::{guessed, named},
    order::Import,
    personnel::Personnel,
    problems,
    words::{moment, names, words},
};

/// How often it is compared anew because somebody else changed something meanwhile.
pub(crate) const MOST_ATTEMPTS: usize = 5;

/// Most letters of a body's name that are compared.
const LONGEST_NAME: usize = 100;

impl Personnel {
    pub(crate) async fn import(
        &self,
        authority: &ServerName,
        import: &Import,
        by: &By,
    ) -> Result<Answer, Error> {
        let intake = self.read(authority, import).await?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.propose(authority, import, &intake, by).await {
                Err(Error::Organisation(OrganisationError::Changed)) if attempts < MOST_ATTEMPTS => {}
                done => return done,
            }
        }
    }

    /// Reads the file by its mapping.
    async fn read(&self, authority: &ServerName, import: &Import) -> Result<Intake, Error> {
        let saved = match &import.mapping {
            Some(name) => Some(self.mapping(authority, name).await?),
            None => None,
        };
        let usual = saved.as_ref().map(|mapping| mapping.how).unwrap_or_default();
        let how = How {
            encoding: import.how.encoding.or(usual.encoding),
            separator: import.how.separator.or(usual.separator),
        };
        let sheet = Sheet::read(import.file.as_bytes(), how)?;
        let mapping = match saved {
            Some(mapping) => mapping,
            None => guessed(&sheet)?,
        };
        Ok(Intake::of(&sheet, &mapping)?)
    }

    /// Compares what was read with what stands, and stores what that changes.
    async fn propose(
        &self,
        authority: &ServerName,
        import: &Import,
        intake: &Intake,
        by: &By,
    ) -> Result<Answer, Error> {
        let day = match import.day {
            Some(day) => day,
            None => self.today()?,
        };
        let known = self.inner.organisations.load(authority).await?;
        let mut ids = known.ids();
        let spoken_of = body(&known.organisation, import, day, &mut ids)?;
        let organisation = spoken_of.with.as_ref().unwrap_or(&known.organisation);
        let source = Source { name: named(&import.source)?.to_owned(), body: spoken_of.body };
        let mut draft = compare(organisation, &source, intake, &terms(import, day), &mut ids);
        problems::tell(&mut draft, intake);
        let unchanged = draft.count(Kind::Unchanged);
        if unchanged == draft.items.len() && draft.guards.is_empty() {
            return Ok(Answer::Imported(Box::new(Imported { set: None, unchanged })));
        }
        if let Some(item) = spoken_of.item {
            draft.items.insert(0, item);
        }

        let (source, body, at) = (Some(source.name), Some(spoken_of.name), import.at);
        let forward = Forward { draft, ids, source, body, day, at };
        let set = self.put_forward(authority, &known, forward, by).await?;
        Ok(Answer::Imported(Box::new(Imported { set: Some(set), unchanged })))
    }

    /// Stores a draft as a change set, with the row of who puts it forward.
    pub(crate) async fn put_forward(
        &self,
        authority: &ServerName,
        known: &KnownOrganisation,
        forward: Forward,
        by: &By,
    ) -> Result<(SetId, ChangeSet), Error> {
        let Forward { draft, ids, source, body, day, at } = forward;
        let now = self.inner.clock.now();
        let at = at.unwrap_or_else(|| begin_of(day).map_or(now, |begin| begin.max(now)));
        // The number that the proposal takes next.
        let id = SetId(ids.next());
        let mut deed = self.deed(Action::ProposeChanges, by, id);
        for (what, name) in [("source", &source), ("body", &body)] {
            if let Some(name) = name {
                deed = deed.after(what, name);
            }
        }
        let deed = deed
            .after("day", day.to_string())
            .after("at", moment(at).en)
            .after("lines", counted(&draft))
            .after("warnings", warned(&draft));
        let proposal = Proposal { source, day, at, by: by.name().to_owned(), now };
        let deed = by.written(&deed, authority);
        let id = self.inner.organisations.propose(authority, known, ids, draft, proposal, deed).await?;
        Ok((id, self.inner.organisations.change_set(authority, id).await?))
    }
}

/// What is put forward for others to approve.
pub(crate) struct Forward {
    pub(crate) draft: Draft,
    /// What the draft left of its numbers.
    pub(crate) ids: Ids,
    /// Whose file it comes from, and of which body that tells; none if somebody wrote it here.
    pub(crate) source: Option<String>,
    pub(crate) body: Option<String>,
    pub(crate) day: Date,
    /// When it is applied; else when the day begins, or as soon as it is approved.
    pub(crate) at: Option<Timestamp>,
}

fn terms(import: &Import, day: Date) -> Terms {
    let which = |numbers: &[String], which| {
        numbers.iter().map(|number| (number.clone(), which)).collect::<BTreeMap<_, _>>()
    };
    let mut said = which(&import.same, Which::Same);
    said.extend(which(&import.other, Which::Other));
    let new_units = if import.makes_new { NewUnits::Made } else { NewUnits::Refused };
    Terms { day, new_units, which: said, is_part: import.is_part }
}

/// The body of whose people a file tells.
struct SpokenOf {
    body: BodyId,
    name: String,
    /// Where it is to be made: the organisation with it, and the line that makes it.
    with: Option<Organisation>,
    item: Option<Item>,
}

fn body(known: &Organisation, import: &Import, day: Date, ids: &mut Ids) -> Result<SpokenOf, Error> {
    let bodies: Vec<_> = known.bodies(day).collect();
    let is = |body: BodyId, name: &str| SpokenOf { body, name: name.to_owned(), with: None, item: None };
    let all: Vec<_> = bodies.iter().map(|body| body.name.as_str()).collect();
    let all = names(&all);
    let Some(wanted) = &import.body else {
        return match bodies[..] {
            [only] => Ok(is(only.body, &only.name)),
            [] => Err(Error::Refused(words!(
                "機関(首長部局、教育委員会など)がまだありません。最初の取り込みでは機関に名前を付け、新しく作ることを選んでください(コマンドでは --body と --new)。",
                "There is no body yet; please name the first one, and say that it is to be made (--body and --new)."
            ))),
            _ => Err(Error::Refused(words!(
                "機関が複数あります。選んでください(コマンドでは --body): {all}",
                "There are several bodies; please choose one (--body): {all}"
            ))),
        };
    };
    let key = |name: &str| folded(name, LONGEST_NAME);
    if let Some(found) = bodies.iter().find(|body| key(&body.name) == key(wanted)) {
        return Ok(is(found.body, &found.name));
    }
    if !import.makes_new {
        return Err(Error::Refused(words!(
            "「{wanted}」という機関はありません(ある機関: {all})。新しく作るときは、新しく登録することを選んでください(コマンドでは --new)。",
            "There is no body \"{wanted}\" (there are: {all}); to make it, please say so (--new)."
        )));
    }
    let mut by_hand = Reorganisation::of(known, day, ids);
    let (body, item) =
        by_hand.make_body(named(wanted)?).map_err(|refused| Error::Refused(refused.words()))?;
    let with = Some(by_hand.known().clone());
    Ok(SpokenOf { body, name: wanted.clone(), with, item: Some(item) })
}

/// How many lines there are of which kind, for the audit log.
fn counted(draft: &Draft) -> String {
    let counts = Kind::ALL.into_iter().map(|kind| (kind.words().en, draft.count(kind)));
    let counts = counts.filter(|(_, count)| *count > 0).map(|(kind, count)| format!("{kind} {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// What somebody will have to say he means, for the audit log.
fn warned(draft: &Draft) -> String {
    draft.guards.iter().map(|guard| guard.kind.word()).collect::<Vec<_>>().join(", ")
}
