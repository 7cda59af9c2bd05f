//! What people are shown of cases, and who is shown which.

use std::sync::Arc;

use organisation::UnitId;
use ruma::{OwnedUserId, ServerName, UserId};
use store::{Order as Direction, Range};

use crate::{
    answer::{Answer, KindTold, Line, Meant, Named, Shown, ShownField},
    case::{Case, Deed, Event, State},
    cases::{By, Cases},
    deciders::Context,
    error::Error,
    field::{FieldKind, Fields, path_of},
    ids::CaseId,
    kind::{Kind, KindError},
    limits::{MOST_FIELDS, MOST_LISTED, MOST_OPEN, MOST_SEARCHED, MOST_TOLD, RESERVED},
    tables::{ASKED, CASES, HISTORY, OPEN},
    words::{Told, moment, words},
};

/// Those who may decide that are named.
const NAMED: usize = 10;

/// Rows that are read at a time where many are looked through.
const PAGE: usize = 200;

impl Cases {
    pub(crate) async fn list_kinds(&self, authority: &ServerName, by: &By) -> Result<Answer, Error> {
        let mut told = Vec::new();
        for kind in self.kinds_for(authority, by).await? {
            told.push(Self::kind_told(&**kind, authority).await?);
        }
        Ok(Answer::Kinds(told))
    }

    /// The kind of a case that somebody has asked for: what was returned to him is asked for again also where he could not ask
    /// for another one of it.
    pub(crate) async fn kind_of(&self, authority: &ServerName, id: CaseId, by: &By) -> Result<Answer, Error> {
        let case = self.get(authority, id).await?;
        if by.account()? != case.asker {
            return Err(Error::NoCase);
        }
        let kind = self.kind(&case.kind).ok_or(Error::NoCase)?;
        Ok(Answer::Kinds(vec![Self::kind_told(&**kind, authority).await?]))
    }

    async fn kind_told(kind: &dyn Kind, authority: &ServerName) -> Result<KindTold, Error> {
        Ok(KindTold {
            word: kind.word().to_owned(),
            name: kind.names(),
            about: kind.about(),
            fields: kind.fields(authority).await?,
            asking_agrees: kind.asking_agrees(),
        })
    }

    /// The kinds that somebody can ask for; all of them, at the command line.
    async fn kinds_for(&self, authority: &ServerName, by: &By) -> Result<Vec<&Arc<dyn Kind>>, Error> {
        let all = self.inner.kinds.iter();
        let Some(user) = by.user.as_deref() else { return Ok(all.collect()) };
        let context = self.context(authority, &[], &[user]).await?;
        let Some(standing) = context.standing.get(user).copied() else { return Ok(Vec::new()) };
        let duties = context.duties(user);
        Ok(all.filter(|kind| kind.is_for(standing, &duties)).collect())
    }

    /// What who asks for this has to say that he means; nothing where that cannot be asked for.
    pub(crate) async fn list_meant(
        &self,
        authority: &ServerName,
        kind: &str,
        typed: &[(String, String)],
        by: &By,
    ) -> Result<Answer, Error> {
        let kinds = self.kinds_for(authority, by).await?;
        let Some(kind) = kinds.into_iter().find(|one| one.word() == kind) else {
            return Ok(Answer::Meant(Vec::new()));
        };
        let context = self.context(authority, &[], by.user.as_deref().as_slice()).await?;
        let all = kind.fields(authority).await?;
        let place = (authority, &context.known.organisation, context.day);
        let read = Fields::read(typed.get(..MOST_FIELDS.min(typed.len())).unwrap_or_default(), &all, place);
        let meant = match read {
            Ok(fields) => self.meant(&**kind, authority, &fields).await?,
            Err(_) => Vec::new(),
        };
        Ok(Answer::Meant(meant))
    }

    /// What has to be meant; nothing of what cannot be done anyway.
    async fn meant(
        &self,
        kind: &dyn Kind,
        authority: &ServerName,
        fields: &Fields,
    ) -> Result<Vec<Meant>, Error> {
        match kind.meant(authority, fields).await {
            Ok(all) => Ok(all.into_iter().map(|(word, told)| Meant { word, told }).collect()),
            Err(KindError::Refused(_)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn list_own(
        &self,
        authority: &ServerName,
        by: &By,
        before: Option<CaseId>,
        limit: usize,
    ) -> Result<Answer, Error> {
        let (user, limit) = (by.account()?, limit.clamp(1, MOST_LISTED));
        let (name, store) = (authority.as_str(), &self.inner.store);
        let mut range = Range::prefix(&(name, user.as_str()));
        if let Some(before) = before {
            range = range.before(&(name, user.as_str(), before));
        }
        let rows = store.scan(&ASKED, range, Direction::Descending, limit + 1).await?;
        let keys: Vec<_> = rows.iter().take(limit).map(|((_, _, id), ())| (name, *id)).collect();
        let cases = store.get_many(&CASES, &keys).await?;
        let both = keys.iter().zip(cases).filter_map(|((_, id), case)| Some((*id, case?)));
        let lines = both.map(|(id, case)| self.line(id, &case, None)).collect();
        let before = keys.last().filter(|_| rows.len() > limit).map(|(_, id)| *id);
        Ok(Answer::List { lines, before })
    }

    pub(crate) async fn list_waiting(
        &self,
        authority: &ServerName,
        by: &By,
        after: Option<CaseId>,
    ) -> Result<Answer, Error> {
        let (user, now) = (by.account()?, self.inner.clock.now());
        let (name, store) = (authority.as_str(), &self.inner.store);
        let mut range = Range::prefix(name);
        if let Some(after) = after {
            range = range.after(&(name, after));
        }
        let rows = store.scan(&OPEN, range, Direction::Ascending, MOST_OPEN + RESERVED).await?;
        let keys: Vec<_> = rows.iter().map(|((_, id), ())| (name, *id)).collect();
        let cases = store.get_many(&CASES, &keys).await?;
        let both = keys.iter().zip(cases).filter_map(|((_, id), case)| Some((*id, case?)));
        let cases: Vec<(CaseId, Case)> =
            both.filter(|(_, case)| case.state == State::Asked && case.expires > now).collect();
        let all: Vec<&Case> = cases.iter().map(|(_, case)| case).collect();
        let context = self.context(authority, &all, &[user]).await?;
        let (mut lines, mut last) = (Vec::<Line>::new(), None);
        for (id, case) in &cases {
            let mut case = case.clone();
            self.void(&context, &mut case);
            let Some(at) = case.step() else { continue };
            if let Some(decider) = context.deciders(&case, at, None).find(user) {
                // One more there is: so the page is not the last one.
                if lines.len() >= MOST_LISTED {
                    last = lines.last().map(|line| line.id);
                    break;
                }
                lines.push(self.line(*id, &case, decider.for_whom.clone()));
            }
        }
        Ok(Answer::List { lines, before: last })
    }

    pub(crate) async fn search(
        &self,
        authority: &ServerName,
        by: &By,
        (kind, state, text): (Option<String>, Option<String>, &str),
        before: Option<CaseId>,
        limit: usize,
    ) -> Result<Answer, Error> {
        if let Some(user) = by.user.as_deref() {
            let context = self.context(authority, &[], &[user]).await?;
            if !context.sees_all(user) {
                return Err(Error::NotYours);
            }
        }
        let (name, store, limit) = (authority.as_str(), &self.inner.store, limit.clamp(1, MOST_LISTED));
        let (sought, number) = (text.trim().to_lowercase(), text.trim().trim_start_matches('#').parse().ok());
        let fits = |id: CaseId, case: &Case| {
            let is_sought = || {
                number == Some(id.0)
                    || [&case.title.ja, &case.title.en, case.asker.as_str()]
                        .iter()
                        .any(|text| text.to_lowercase().contains(&sought))
            };
            kind.as_ref().is_none_or(|kind| case.kind == *kind)
                && state.as_ref().is_none_or(|state| case.state.word() == state)
                && (sought.is_empty() || is_sought())
        };
        let (mut lines, mut at, mut looked_at) = (Vec::new(), before, 0);
        loop {
            let mut range = Range::prefix(name);
            if let Some(at) = at {
                range = range.before(&(name, at));
            }
            let rows = store.scan(&CASES, range, Direction::Descending, PAGE).await?;
            let is_last = rows.len() < PAGE;
            for ((_, id), case) in rows {
                if lines.len() >= limit || looked_at >= MOST_SEARCHED {
                    return Ok(Answer::List { lines, before: at });
                }
                at = Some(id);
                looked_at += 1;
                if fits(id, &case) {
                    lines.push(self.line(id, &case, None));
                }
            }
            if is_last {
                return Ok(Answer::List { lines, before: None });
            }
        }
    }

    fn line(&self, id: CaseId, case: &Case, for_whom: Option<OwnedUserId>) -> Line {
        Line {
            id,
            kind: self.name_of_kind(case),
            title: case.title.clone(),
            asker: case.asker.clone(),
            state: case.state.clone(),
            asked_at: case.asked_at,
            expires: case.expires,
            for_whom,
        }
    }

    fn name_of_kind(&self, case: &Case) -> Told {
        let none = || Told { ja: case.kind.clone(), en: case.kind.clone() };
        self.kind(&case.kind).map_or_else(none, |kind| kind.names())
    }

    pub(crate) async fn show(&self, authority: &ServerName, id: CaseId, by: &By) -> Result<Answer, Error> {
        let case = self.get(authority, id).await?;
        let user = by.user.as_deref();
        let context = self.context(authority, &[&case], user.as_slice()).await?;
        let history = self.history(authority, id).await?;
        if !self.sees(authority, &context, (&case, &history), by).await? {
            return Err(Error::NoCase);
        }
        let mut current = case.clone();
        if case.state == State::Asked {
            self.void(&context, &mut current);
        }
        let is_over = case.expires <= context.now;
        let at = current.step().filter(|_| case.state == State::Asked && !is_over);
        let deciders = at.map(|at| context.deciders(&current, at, None)).unwrap_or_default();
        let own = user.and_then(|user| deciders.find(user));
        let mut may: Vec<&str> = Vec::new();
        if own.is_some() {
            may.extend(["approve", "return", "refuse"]);
        }
        let is_asker = user.is_some_and(|user| case.asker == user);
        if is_asker && case.state == State::Returned && !is_over {
            may.push("ask_again");
        }
        if (is_asker || user.is_none())
            && matches!(case.state, State::Asked | State::Returned | State::Failed(_))
        {
            may.push("withdraw");
        }
        let can_be_undone = self.kind(&case.kind).is_some_and(|kind| kind.can_be_undone());
        let ends = match &case.state {
            State::Failed(_) if !is_over => Some("retry"),
            State::Done if can_be_undone => Some("undo"),
            _ => None,
        };
        if let Some(ends) = ends
            && self.may_end(authority, &case, by).await?
        {
            may.push(ends);
        }
        let decided = user.is_some_and(|user| case.approvals.iter().any(|approval| approval.user == user));
        let named = |user: &UserId, for_whom: Option<OwnedUserId>| Named {
            user: user.to_owned(),
            for_whom,
            name: name_of(&context, user),
        };
        let meant = match self.kind(&case.kind).filter(|_| own.is_some()) {
            Some(kind) => self.meant(&**kind, authority, &Fields::of(&case.fields)).await?,
            None => Vec::new(),
        };
        let since = match self.kind(&case.kind) {
            Some(kind) => match kind.since(authority, &Fields::of(&case.fields)).await {
                Ok(since) => since,
                Err(KindError::Refused(why)) => Some(why),
                Err(error) => return Err(error.into()),
            },
            None => None,
        };
        let people = deciders.people.iter().take(NAMED);
        let shown = Shown {
            id,
            kind: self.name_of_kind(&case),
            asker: named(&case.asker, None),
            fields: self.fields_of(&context, &case).await?,
            deciders: people.map(|decider| named(&decider.user, decider.for_whom.clone())).collect(),
            more_deciders: deciders.people.len().saturating_sub(NAMED),
            fell: deciders.fell,
            missing: at.map_or(0, |at| current.missing(at)),
            may: may.into_iter().map(str::to_owned).collect(),
            since,
            page: self.kind(&case.kind).and_then(|kind| kind.page(&Fields::of(&case.fields))),
            meant,
            for_whom: own.and_then(|decider| decider.for_whom.clone()),
            decided,
            history,
            case,
        };
        Ok(Answer::Case(Box::new(shown)))
    }

    pub(crate) async fn history(&self, authority: &ServerName, id: CaseId) -> Result<Vec<Event>, Error> {
        let range = Range::prefix(&(authority.as_str(), id));
        let rows = self.inner.store.scan(&HISTORY, range, Direction::Ascending, MOST_TOLD).await?;
        Ok(rows.into_iter().map(|(_, event)| event).collect())
    }

    /// Whether somebody may see a case: who has a part in it, and who may try it again or undo it, since nobody does so unseen.
    async fn sees(
        &self,
        authority: &ServerName,
        context: &Context,
        (case, history): (&Case, &[Event]),
        by: &By,
    ) -> Result<bool, Error> {
        if self.may_see(context, (case, history), by) {
            return Ok(true);
        }
        let can_be_ended = match &case.state {
            State::Failed(_) => true,
            State::Done => self.kind(&case.kind).is_some_and(|kind| kind.can_be_undone()),
            _ => false,
        };
        Ok(can_be_ended && self.may_end(authority, case, by).await?)
    }

    /// Whether somebody has a part in a case: who asked, whom it is about, who decides or has decided, whoever sees all of them.
    fn may_see(&self, context: &Context, (case, history): (&Case, &[Event]), by: &By) -> bool {
        let Some(user) = by.user.as_deref() else { return true };
        let is_his = case.asker == user || case.subjects.iter().any(|subject| subject == user);
        if is_his || context.sees_all(user) {
            return true;
        }
        let decided = |deed| {
            matches!(deed, Deed::Approved | Deed::Returned | Deed::Refused | Deed::Retried | Deed::Undone)
        };
        if history.iter().any(|event| event.by == user.as_str() && decided(event.deed)) {
            return true;
        }
        let mut case = case.clone();
        if case.state != State::Asked {
            return false;
        }
        self.void(context, &mut case);
        case.step().is_some_and(|at| context.deciders(&case, at, None).find(user).is_some())
    }

    /// Why somebody does not do something: for who may not see the case, there is none.
    pub(crate) async fn hidden_or(
        &self,
        authority: &ServerName,
        id: CaseId,
        case: &Case,
        by: &By,
        error: Error,
    ) -> Result<Error, Error> {
        let context = self.context(authority, &[case], by.user.as_deref().as_slice()).await?;
        let history = self.history(authority, id).await?;
        Ok(if self.sees(authority, &context, (case, &history), by).await? { error } else { Error::NoCase })
    }

    /// Whether what somebody wants is what he has just done: a form that is sent twice is answered with how things stand.
    ///
    /// # Errors
    /// [`Error::Changed`] where another version was seen than there is.
    pub(crate) async fn was_done(
        &self,
        authority: &ServerName,
        (id, case): (CaseId, &Case),
        (seen, deed): (Option<u32>, Deed),
        by: &By,
    ) -> Result<bool, Error> {
        let Some(seen) = seen.filter(|seen| *seen != case.version) else { return Ok(false) };
        let name = by.name();
        let history = self.history(authority, id).await?;
        let since = history.get(usize::try_from(seen).unwrap_or(usize::MAX)..).unwrap_or_default();
        if since.iter().any(|event| event.by == name && event.deed == deed) {
            return Ok(true);
        }
        // That others have agreed meanwhile changes nothing of what is agreed to.
        let is_same = |event: &Event| matches!(event.deed, Deed::Approved | Deed::Voided);
        match !since.is_empty() && since.iter().all(is_same) {
            true => Ok(false),
            false => Err(self.hidden_or(authority, id, case, by, Error::Changed).await?),
        }
    }

    /// The fields of a case as people read them.
    async fn fields_of(&self, context: &Context, case: &Case) -> Result<Vec<ShownField>, Error> {
        let fields = match self.kind(&case.kind) {
            Some(kind) => kind.fields(&context.authority).await?,
            None => Vec::new(),
        };
        let kept = Fields::of(&case.fields);
        let plain = |value: &str| Told { ja: value.to_owned(), en: value.to_owned() };
        let shown = case.fields.iter().map(|(word, value)| {
            let field = fields.iter().find(|field| field.word == *word);
            let label = field.map_or_else(|| plain(word), |field| field.label.clone());
            let shown = match field.map(|field| &field.kind) {
                Some(FieldKind::Choice(all)) => {
                    all.iter().find(|(one, _)| one == value).map(|(_, told)| told.clone())
                }
                Some(FieldKind::Unit) => kept.unit(word).map(|unit| unit_named(context, unit)),
                Some(FieldKind::Date { .. }) => {
                    kept.day(word).map(|day| Told { ja: day.in_era(), en: day.to_string() })
                }
                Some(FieldKind::Minute) => kept.minute(word).map(moment),
                Some(FieldKind::Person) => kept.user(word).and_then(|user| {
                    let name = name_of(context, &user)?;
                    Some(plain(&format!("{name} ({user})")))
                }),
                _ => None,
            };
            let shown = shown.unwrap_or_else(|| plain(value));
            ShownField { word: word.clone(), label, value: value.clone(), shown }
        });
        Ok(shown.collect())
    }
}

/// A unit as it is called today; one that is there no more, by what became of it.
fn unit_named(context: &Context, unit: UnitId) -> Told {
    let organisation = &context.known.organisation;
    let path = path_of(organisation, unit, context.day);
    if !path.is_empty() {
        return Told { ja: path.clone(), en: path };
    }
    let successors = organisation.successors(unit, context.day);
    let names: Vec<_> = successors.iter().map(|unit| path_of(organisation, *unit, context.day)).collect();
    let (UnitId(number), names) = (unit, names.join("、"));
    match names.is_empty() {
        true => words!("廃止された所属(番号 {number})", "a unit that is there no more (number {number})"),
        false => words!("廃止された所属(現在: {names})", "a unit that became {names}"),
    }
}

/// Somebody's unit, title and name today.
pub(crate) fn name_of(context: &Context, user: &UserId) -> Option<String> {
    let (organisation, person) = (&context.known.organisation, context.known.owner(user)?);
    let called = organisation.person(person, context.day)?.called().to_owned();
    let post = organisation.posts_of(person, context.day).into_iter().next();
    let Some(post) = post else { return Some(called) };
    let unit = organisation.unit(post.post.unit, context.day).map_or("", |unit| unit.name.as_str());
    Some(format!("{unit} {} {called}", post.post.title).split_whitespace().collect::<Vec<_>>().join(" "))
}
