//! A run: the directory is read to its end, compared with what it said last, and followed, or nothing is done at all.
//!
//! Each step is a batch of its own, so what a crash cuts the next run finds left. Several processes over one store may run at
//! once: a row that another one has replaced meanwhile is left to him.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use audit::{Action, Actor};
use futures_util::StreamExt;
use ruma::ServerName;
use store::Batch;
use tracing::{info, warn};

use crate::{
    administering::leaving,
    compare::{Differs, Known, Plan, Step, compare},
    error::Error,
    fault::Fault,
    groups::Groups,
    guid,
    ldap::{Ldap, Source},
    membership::{self, check_walked, sort_by_groups},
    order::{Answer, Order},
    person::{Absurd, Person, people},
    reading::{self, Reading},
    report::{Counts, Note, Outcome, Report},
    session,
    standing::{Standing, Why},
    tables::{ASKED, LAST, LAST_ACCEPTED, LAST_GOOD, RUNS, RunRow, WALKED},
    words::{Words, words},
};

/// Steps that are taken at once. Those that wait together share a write to the disk.
const AT_ONCE: usize = 16;
/// Steps that may fail before the rest is left to the next run.
const MOST_FAILURES: usize = 20;
/// After so long a run is written down that tells nothing new.
const WRITTEN_EVERY: Duration = Duration::from_secs(600);
/// How long a password that was refused is not tried again: a directory locks whoever tries it too often.
const AFTER_REFUSAL: Duration = Duration::from_secs(600);
/// After so long a refusal stands in the audit log again.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);
/// Refusals in the audit log within that.
const MOST_REFUSALS: usize = 10;
/// People who are looked for at once.
const LOOKED_FOR: usize = 50;

/// What a run is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// Accounts follow; so many endings are meant.
    Follow { accepted: Option<usize> },
    /// It is shown what would be done.
    Preview,
}

impl Ldap {
    /// Reads each directory now and once in its interval, and has the accounts follow, until the tasks are stopped.
    pub fn start(&self) {
        for source in &self.inner.sources {
            let (ldap, source) = (self.clone(), source.clone());
            let stop = self.inner.tasks.shutdown_token();
            self.inner.tasks.spawn_restarting("ldap", move || {
                let (ldap, source, stop) = (ldap.clone(), source.clone(), stop.clone());
                async move {
                    // The loop never ends by itself.
                    stop.run_until_cancelled(ldap.keep_reading(&source)).await;
                }
            });
        }
    }

    async fn keep_reading(&self, source: &Arc<Source>) {
        loop {
            let mut pause = source.settings.interval;
            match self.run(source, Mode::Follow { accepted: None }, &source.actor()).await {
                Ok((_, Some(fault))) if fault.is_of_the_password() => pause = pause.max(AFTER_REFUSAL),
                Ok(_) => {}
                Err(error) => {
                    let source = &source.scope;
                    warn!(%source, %error, "a directory was not followed, it is tried again later");
                }
            }
            // A run that somebody asks for counts: the next one is an interval after it.
            while tokio::select! {
                () = source.look.notified() => true,
                () = self.inner.clock.sleep(pause) => false,
            } {
                pause = source.settings.interval;
            }
        }
    }

    /// Does what somebody wants. Whoever calls has made sure that `by` may want it.
    ///
    /// What it writes is on disk when it returns, with a row in the audit log of the authority in the same commit.
    ///
    /// # Errors
    /// [`Error`]; what people are told of it is [`Error::words`]. A directory that cannot be read is no error, but what the
    /// report says.
    pub async fn carry_out(&self, authority: &ServerName, order: Order, by: &Actor) -> Result<Answer, Error> {
        let (source, mode) = match order {
            Order::Status => return Ok(Answer::Status(self.status(authority).await?)),
            Order::Run { source, accept_endings } => (source, Mode::Follow { accepted: accept_endings }),
            Order::Preview { source } => (source, Mode::Preview),
        };
        let source = self.source(authority, source.as_deref())?;
        // A task of its own: who asks may go away, and what has begun comes to its end.
        let (ldap, by) = (self.clone(), by.clone());
        let running = async move {
            let ran = ldap.run(&source, mode, &by).await;
            if matches!(mode, Mode::Follow { .. }) {
                source.look.notify_one();
            }
            ran
        };
        let (report, _) = self.inner.tasks.spawn("ldap run", running).await??;
        Ok(Answer::Ran(Box::new(report)))
    }

    /// Reads a directory and does what follows from it, once nobody else does.
    pub(crate) async fn run(
        &self,
        source: &Source,
        mode: Mode,
        by: &Actor,
    ) -> Result<(Report, Option<Fault>), Error> {
        let mut written = source.turn.lock().await;
        if written.is_none() {
            // What an earlier process wrote is no news.
            let last = self.report(source, LAST).await?;
            *written = last.map(|last| (self.inner.clock.instant(), last));
        }
        let began = self.inner.clock.instant();
        let report = Report::begun(self.inner.clock.now(), Outcome::Followed);
        // On the heap, as is what it awaits last: together they would be much of a thread's stack.
        let (mut report, fault) =
            match Box::pin(self.read_and_follow(source, mode, by, report.clone())).await? {
                Ok(report) => (report, None),
                Err(fault) => (report.stopped(Outcome::Failed, fault.words()), Some(fault)),
            };
        let took = self.inner.clock.instant().since(began);
        report.took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.inner.runs.with(&[("outcome", report.outcome.word())]).inc();
        if matches!(mode, Mode::Preview) {
            return Ok((report, fault));
        }
        let labels = [("authority", source.authority.as_str()), ("source", source.settings.name.as_str())];
        self.inner.failing.with(&labels).set(i64::from(report.outcome != Outcome::Followed));
        let is_new = !written.as_ref().is_some_and(|(_, last)| report.is_like(last));
        let is_late =
            written.as_ref().is_none_or(|(at, _)| self.inner.clock.instant().since(*at) >= WRITTEN_EVERY);
        if is_new || is_late {
            self.write_down(source, &report, is_new).await?;
            *written = Some((self.inner.clock.instant(), report.clone()));
        }
        *source.last.lock().await = Some(report.clone());
        Ok((report, fault))
    }

    async fn write_down(&self, source: &Source, report: &Report, is_new: bool) -> Result<(), Error> {
        let scope = source.scope.as_str();
        let row = RunRow { says: serde_json::to_string(report).map_err(|_| Error::Damaged)? };
        let mut batch = Batch::new();
        batch.put(&RUNS, &(scope, LAST), &row);
        if report.outcome == Outcome::Followed {
            batch.put(&RUNS, &(scope, LAST_GOOD), &row);
        }
        let why = report.why.as_ref().map(|why| why.en.as_str()).unwrap_or_default();
        if is_new && report.outcome == Outcome::Refused && self.is_news(source, why).await {
            self.deed(Action::RefuseReading, &source.actor(), &source.settings.name)
                .after("why", why)
                .write(&mut batch, &source.authority);
        }
        self.inner.store.commit(batch).await?;
        if is_new {
            let Counts { made, renamed, moved, ended, restored, promoted, demoted, left } = report.counts;
            match report.outcome {
                Outcome::Refused | Outcome::Failed => {
                    warn!(source = %scope, reason = %why, "a directory is not followed, nobody's account changes by it");
                }
                _ => info!(
                    source = %scope, found = report.found, made, renamed, moved, ended, restored,
                    promoted, demoted, left,
                    noted = report.noted, elapsed_ms = report.took_ms, "accounts follow a directory"
                ),
            }
        }
        Ok(())
    }

    /// Whether a refusal is to stand in the audit log: one that does not stand there since an hour, of a few each hour. A
    /// directory that is read well and badly by turns, or that gives another reason each time, fills no log.
    async fn is_news(&self, source: &Source, why: &str) -> bool {
        let now = self.inner.clock.instant();
        let mut refusals = source.refusals.lock().await;
        refusals.retain(|(at, _)| now.since(*at) < TOLD_AGAIN_AFTER);
        let is_news = refusals.len() < MOST_REFUSALS && !refusals.iter().any(|(_, told)| told == why);
        if is_news {
            refusals.push((now, why.to_owned()));
        }
        is_news
    }

    async fn read_and_follow(
        &self,
        source: &Source,
        mode: Mode,
        by: &Actor,
        mut report: Report,
    ) -> Result<Result<Report, Fault>, Error> {
        // Before the directory is read: what another process writes of a later reading must not be undone by this one.
        let known = Arc::new(self.known(source).await?);
        let appointed = self.administrators(source).await?;
        let settings = source.settings.clone();
        let mut read = match self.apart(async move { reading::read(&settings).await }).await {
            Ok(Ok(read)) => read,
            Ok(Err(absurd)) => return Ok(Ok(report.stopped(Outcome::Refused, absurd.words()))),
            Err(fault) => return Ok(Err(fault)),
        };
        report.references = read.found.references;
        if let Err(absurd) = check_walked(&read.groups, &self.walked(source).await?) {
            return Ok(Ok(report.stopped(Outcome::Refused, absurd.words())));
        }
        let mut plan = match self.plan(source, &known, &mut read, &mut report).await? {
            Ok(plan) => plan.with(appointed),
            Err(absurd) => return Ok(Ok(report.stopped(Outcome::Refused, absurd.words()))),
        };
        let accepted = match mode {
            Mode::Follow { accepted } => accepted,
            Mode::Preview => Some(usize::MAX),
        };
        let percent = source.settings.most_endings_percent;
        if let Err(why) = plan.check_endings(percent, accepted) {
            report.endings = Some(plan.endings);
            return Ok(Ok(report.stopped(Outcome::Refused, why)));
        }
        match self.look_again(source, &plan, &mut read).await {
            Ok(false) => {}
            Ok(true) => {
                let appointed = std::mem::take(&mut plan.appointed);
                plan = match self.plan(source, &known, &mut read, &mut report).await? {
                    Ok(plan) => plan.with(appointed),
                    Err(absurd) => return Ok(Ok(report.stopped(Outcome::Refused, absurd.words()))),
                };
            }
            Err(fault) => return Ok(Err(fault)),
        }
        let is_other = self.is_asked_otherwise(source).await?;
        if let Err(why) = plan.check_missed(is_other, accepted) {
            report.endings = Some(plan.endings);
            return Ok(Ok(report.stopped(Outcome::Refused, why)));
        }
        let notes = std::mem::take(&mut plan.notes).into_iter();
        notes.chain(membership::notes(&read.groups)).for_each(|note| report.note(note));
        match mode {
            Mode::Preview => self.foretell(source, &known, &plan, report).await.map(Ok),
            Mode::Follow { .. } => {
                if plan.check_endings(percent, None).is_err() || plan.check_missed(is_other, None).is_err() {
                    self.write_acceptance(source, &plan, &report, by).await?;
                }
                // Before accounts follow: whoever administers is not ended.
                Box::pin(self.withdraw_all(source, &plan, &mut report)).await?;
                let steps = std::mem::take(&mut plan.steps);
                let mut report = self.take_all(source, steps, report).await;
                // Behind them: whoever is new has his account now.
                Box::pin(self.appoint_all(source, &plan, &mut report)).await?;
                // Behind all: where some are left, somebody has to mean them again.
                if report.counts.left == 0 {
                    self.write_asked(source, &read.groups).await?;
                }
                Ok(Ok(report))
            }
        }
    }

    /// Looks once more before somebody ends or administers no more: for those who were not found, and into the groups. Whether
    /// that found anything.
    async fn look_again(&self, source: &Source, plan: &Plan, read: &mut Reading) -> Result<bool, Fault> {
        let mut is_more = false;
        if !plan.absent.is_empty() {
            let missed = self.look_for(source, &plan.absent).await?;
            is_more |= !missed.is_empty();
            read.found.entries.extend(missed);
        }
        let mut doubted = plan.outside();
        doubted.extend(leaving(source, plan).into_iter().map(|(id, _)| id));
        if !doubted.is_empty() {
            let (settings, people) = (source.settings.clone(), std::mem::take(&mut read.found.entries));
            let asking =
                async move { Ok((reading::read_groups(&settings, &people, &doubted).await?, people)) };
            let (groups, people) = self.apart(asking).await?;
            read.found.entries = people;
            // What is gone meanwhile was there a moment ago; the next reading tells of it.
            let groups = groups.map_err(|_| Fault::Changing)?;
            is_more |= groups != read.groups;
            read.groups.add(groups);
        }
        Ok(is_more)
    }

    /// Asks a directory. What in the library should panic ends the question alone.
    async fn apart<T: Send + 'static>(
        &self,
        asking: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        let stop = self.inner.tasks.shutdown_token();
        let asking = async move { stop.run_until_cancelled(asking).await };
        match self.inner.tasks.spawn("ldap reading", asking).await {
            Ok(Some(found)) => found,
            Ok(None) => Err(Fault::Broken("the process is about to end".to_owned())),
            Err(failed) => Err(Fault::Broken(failed.to_string())),
        }
    }

    /// Makes people of what was found, and steps of them, away from the async threads.
    async fn plan(
        &self,
        source: &Source,
        known: &Arc<Known>,
        read: &mut Reading,
        report: &mut Report,
    ) -> Result<Result<Plan, Absurd>, Error> {
        let (settings, known, now) = (source.settings.clone(), known.clone(), self.inner.clock.now());
        let accepted = self.report(source, LAST_ACCEPTED).await?.map(|report| report.at).unwrap_or_default();
        let taken = std::mem::take(read);
        let work = move || {
            let planned = people(&settings, &taken.found, now).and_then(|mut people| {
                let administrators = sort_by_groups(&settings, &mut people, &taken.groups)?;
                let plan = compare(&settings, &known, &people, accepted, now);
                let is_inside = |person: &&Person| person.standing != Standing::Ended(Why::Outside);
                Ok((plan, people.values().filter(is_inside).count(), administrators))
            });
            (planned, taken)
        };
        let (planned, taken) = self.inner.tasks.spawn_blocking("ldap comparing", work).await?;
        *read = taken;
        Ok(planned.map(|(mut plan, count, administrators)| {
            (report.found, report.administrators) = (count, administrators.as_ref().map(BTreeSet::len));
            plan.administrators = administrators.unwrap_or_default();
            plan
        }))
    }

    /// Looks once more for those who were not among what was found: whoever is moved while pages are read may stand on none
    /// of them.
    async fn look_for(&self, source: &Source, absent: &[String]) -> Result<Vec<session::Entry>, Fault> {
        let settings = &source.settings;
        let mut found = Vec::new();
        for ids in absent.chunks(LOOKED_FOR) {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let filter = format!("(&{}{})", settings.filter, guid::filter(&settings.id, &ids));
            let asked: BTreeSet<&str> = ids.into_iter().collect();
            let is_asked = |entry: &session::Entry| {
                let id = entry.all(&settings.id).first().and_then(|value| guid::id(&settings.id, value));
                id.is_some_and(|id| asked.contains(id.as_str()))
            };
            let asked = settings.clone();
            let missed = self.apart(async move { session::ask(&asked, &filter).await }).await?;
            found.extend(missed.entries.into_iter().filter(is_asked));
        }
        Ok(found)
    }

    /// Whether the directory is asked something else than when it was followed last.
    async fn is_asked_otherwise(&self, source: &Source) -> Result<bool, Error> {
        let row = self.inner.store.get(&RUNS, &(source.scope.as_str(), ASKED)).await?;
        Ok(row.is_some_and(|row| row.says != source.settings.asked()))
    }

    /// The groups that were walked when the directory was followed last.
    async fn walked(&self, source: &Source) -> Result<Vec<String>, Error> {
        let row = self.inner.store.get(&RUNS, &(source.scope.as_str(), WALKED)).await?;
        let walked =
            row.map(|row| serde_json::from_str(&row.says).map_err(|_| Error::Damaged)).transpose()?;
        Ok(walked.unwrap_or_default())
    }

    /// Writes down what was asked, and which groups were walked.
    async fn write_asked(&self, source: &Source, groups: &Groups) -> Result<(), Error> {
        let walked: BTreeSet<&String> = groups.all().flat_map(|group| &group.walked).collect();
        let walked = serde_json::to_string(&walked).map_err(|_| Error::Damaged)?;
        let mut batch = Batch::new();
        for (which, says) in [(ASKED, source.settings.asked()), (WALKED, walked)] {
            let (key, row) = ((source.scope.as_str(), which), RunRow { says });
            if self.inner.store.get(&RUNS, &key).await?.as_ref() != Some(&row) {
                batch.put(&RUNS, &key, &row);
            }
        }
        if !batch.is_empty() {
            self.inner.store.commit(batch).await?;
        }
        Ok(())
    }

    /// Writes down that somebody meant so many endings, before they are.
    async fn write_acceptance(
        &self,
        source: &Source,
        plan: &Plan,
        report: &Report,
        by: &Actor,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        // What has ended up to now is meant, and counts no more.
        let report = Report { at: self.inner.clock.now(), notes: Vec::new(), ..report.clone() };
        let row = RunRow { says: serde_json::to_string(&report).map_err(|_| Error::Damaged)? };
        batch.put(&RUNS, &(source.scope.as_str(), LAST_ACCEPTED), &row);
        self.deed(Action::AcceptEndings, by, &source.settings.name)
            .before("active", plan.active.to_string())
            .after("endings", plan.endings.to_string())
            .write(&mut batch, &source.authority);
        self.inner.store.commit(batch).await?;
        Ok(())
    }

    /// Takes all steps; what fails is left to the next run. Where many fail no more are begun, but those that were come to their
    /// end: what a commit ends is forgotten behind it.
    async fn take_all(&self, source: &Source, steps: Vec<Step>, mut report: Report) -> Report {
        let (count, mut taken) = (steps.len(), 0);
        let failures = AtomicUsize::new(0);
        let failures = &failures;
        let take = |step: Step| async move {
            if failures.load(Ordering::Relaxed) >= MOST_FAILURES {
                return None;
            }
            let done = self.take(source, &step).await;
            if done.is_err() {
                failures.fetch_add(1, Ordering::Relaxed);
            }
            Some((step, done))
        };
        let mut under_way = futures_util::stream::iter(steps).map(take).buffer_unordered(AT_ONCE);
        while let Some(next) = under_way.next().await {
            match next {
                Some((_, Ok(done))) => {
                    taken += 1;
                    report.counts = sum(report.counts, done.counts);
                    done.note.into_iter().for_each(|note| report.note(note));
                }
                Some((step, Err(error))) => {
                    let what = words!(
                        "処理に失敗しました。次の読み取りでやり直します({error})。",
                        "it failed, and is tried again with the next reading: {error}"
                    );
                    report.note(Note { who: whose(&step).to_owned(), what });
                }
                None => {}
            }
        }
        report.counts.left = count - taken;
        report
    }

    /// Tells what would be done.
    async fn foretell(
        &self,
        source: &Source,
        known: &Known,
        plan: &Plan,
        mut report: Report,
    ) -> Result<Report, Error> {
        report.outcome = Outcome::Previewed;
        for step in &plan.steps {
            let what = match step {
                Step::Make(person) => match self.entitled(source, person).await? {
                    Ok(crate::following::Entitled::New(user)) => {
                        report.counts.made += 1;
                        words!("{user} を作ります", "{user} is made")
                    }
                    Ok(crate::following::Entitled::Known(user)) => {
                        report.counts.made += 1;
                        words!("{user} を引き継ぎます", "{user} is taken over")
                    }
                    Err(why) => why,
                },
                Step::Follow { before, after, .. } => foretold(before, after, &mut report),
            };
            report.note(Note { who: whose(step).to_owned(), what });
        }
        Box::pin(self.foretell_administrators(source, known, plan, &mut report)).await?;
        Ok(report)
    }
}

/// What would be done to an account.
fn foretold(
    before: &crate::tables::PersonRow,
    after: &crate::tables::PersonRow,
    report: &mut Report,
) -> Words {
    let differs = Differs::between(before, after);
    let counts = &mut report.counts;
    counts.renamed += usize::from(differs.is_renamed);
    counts.moved += usize::from(differs.has_moved);
    counts.ended += usize::from(differs.ends);
    counts.restored += usize::from(differs.is_restored);
    let why = after.ended.map(crate::standing::Why::words).unwrap_or_default();
    let (ja, en) = (why.ja, why.en);
    match differs {
        Differs { ends: true, .. } => words!("停止します({ja})", "is ended: {en}"),
        Differs { is_restored: true, .. } => words!("再開します", "is let in again"),
        Differs { is_renamed: true, has_moved: true, .. } => {
            words!("名前・メールと所属が変わります", "is called otherwise and stands elsewhere")
        }
        Differs { is_renamed: true, .. } => words!("名前・メールが変わります", "is called otherwise"),
        Differs { has_moved: true, .. } => words!("所属が変わります", "stands elsewhere"),
        _ => words!("記録を改めます", "what is kept of it changes"),
    }
}

/// Whom a step is about.
fn whose(step: &Step) -> &str {
    match step {
        Step::Make(person) => &person.dn,
        Step::Follow { before, .. } => &before.account,
    }
}

fn sum(one: Counts, other: Counts) -> Counts {
    Counts {
        made: one.made + other.made,
        renamed: one.renamed + other.renamed,
        moved: one.moved + other.moved,
        ended: one.ended + other.ended,
        restored: one.restored + other.restored,
        promoted: one.promoted + other.promoted,
        demoted: one.demoted + other.demoted,
        left: one.left + other.left,
    }
}
