//! [`Syncs`]: answers, and the wait for something to answer with.

use std::{fmt, sync::Arc, time::Duration};

use account::{Accounts, State};
use base::{ByteSize, Cache, Clock, Metrics, Tasks};
use bytes::Bytes;
use encryption::Encryption;
use futures_util::{StreamExt, stream::BoxStream};
use push::Push;
use room::{
    Rooms,
    read::{
        membership::UserRooms,
        token::{Gathering, Rest, Token},
    },
};
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use store::{Moved, Position, Store, Topic};
use to_device::ToDevice;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    Error, SyncFilter,
    connections::Connections,
    data::{DirectsCache, IgnoredCache, Items},
    gathering::{self, Wave},
    groups::Groups,
    joined::RoomPart,
    lazy::LazyMemory,
    left::StrippedPart,
    rooms::{Plan, RoomPlan, Scene},
    watches::{Watched, Watches, same_joined},
    write::Out,
};

/// The longest wait that is granted.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Everything that is answered to one request.
pub enum Answer {
    /// At once.
    Whole(Bytes),
    /// Part by part, a few rooms each.
    Parts(BoxStream<'static, Bytes>),
}

/// Under which names, if any, the state after the timeline is wanted instead of that before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateAfter {
    /// `state_after`.
    pub stable: bool,
    /// `org.matrix.msc4222.state_after`: all that some clients read.
    pub unstable: bool,
}

impl StateAfter {
    /// Whether it is wanted at all.
    pub fn is_wanted(self) -> bool {
        self.stable || self.unstable
    }
}

/// What a client asks.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// The user.
    pub user: OwnedUserId,
    /// The device.
    pub device: OwnedDeviceId,
    /// Up to where the client knows everything; `None` is: nothing.
    pub since: Option<Position>,
    /// What the client knows besides.
    pub rest: Rest,
    /// How long to wait for something new.
    pub timeout: Duration,
    /// Whether all state of all joined rooms is wanted.
    pub full_state: bool,
    /// What the client asks to show its user as, if it says so.
    pub presence: Option<State>,
    /// Which state is wanted.
    pub state_after: StateAfter,
    /// What is wanted.
    pub filter: Arc<SyncFilter>,
}

/// Answers `/sync`. Cheap to clone.
#[derive(Clone)]
pub struct Syncs(Arc<Inner>);

/// A filter that a client has stored: whose, and its id.
type FilterName = (OwnedUserId, String);

struct Inner {
    rooms: Rooms,
    accounts: Accounts,
    to_device: ToDevice,
    push: Push,
    encryption: Encryption,
    store: Store,
    clock: Clock,
    stop: CancellationToken,
    lazy: LazyMemory,
    watches: Watches,
    ignored: IgnoredCache,
    directs: DirectsCache,
    connections: Arc<Connections>,
    filters: Cache<FilterName, Arc<SyncFilter>>,
    groups: Groups,
    wave: Wave,
    waiting: base::Gauge,
    answers: base::Counter,
}

impl Syncs {
    /// Answers from these rooms and accounts, with this much memory for caches: most of it for the watches of those who wait.
    #[expect(clippy::too_many_arguments, reason = "all that an answer is made of")]
    pub fn new(
        rooms: Rooms,
        accounts: Accounts,
        to_device: ToDevice,
        push: Push,
        encryption: Encryption,
        store: Store,
        clock: Clock,
        memory: ByteSize,
        tasks: &Tasks,
        metrics: &Metrics,
    ) -> Self {
        let caches = metrics.caches();
        let part = |hundredths: u64| memory.as_u64() / 100 * hundredths;
        let of_filter = |(user, id): &FilterName, filter: &Arc<SyncFilter>| {
            user.as_str().len() + id.len() + filter.memory_bytes()
        };
        Self(Arc::new(Inner {
            watches: Watches::new(caches, part(55)),
            connections: Connections::new(metrics, part(25), &clock),
            directs: DirectsCache::new(caches, part(2)),
            wave: Wave::none(&clock),
            rooms,
            accounts,
            encryption,
            push,
            to_device,
            store,
            clock,
            stop: tasks.shutdown_token(),
            lazy: LazyMemory::new(caches, part(10)),
            ignored: IgnoredCache::new(caches, part(4)),
            filters: Cache::new(caches, "sync_filters", part(4), of_filter),
            groups: Groups::new(tasks.clone()),
            waiting: metrics.gauge("yakuba_sync_requests_waiting", "Clients that wait for something new"),
            answers: metrics.counter("yakuba_sync_answers", "Answers to /sync"),
        }))
    }

    pub(crate) fn rooms(&self) -> &Rooms {
        &self.0.rooms
    }

    pub(crate) fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    pub(crate) fn to_device(&self) -> &ToDevice {
        &self.0.to_device
    }

    pub(crate) fn push(&self) -> &Push {
        &self.0.push
    }

    pub(crate) fn encryption(&self) -> &Encryption {
        &self.0.encryption
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn groups(&self) -> &Groups {
        &self.0.groups
    }

    pub(crate) fn lazy(&self) -> &LazyMemory {
        &self.0.lazy
    }

    pub(crate) fn ignored_cache(&self) -> &IgnoredCache {
        &self.0.ignored
    }

    pub(crate) fn directs_cache(&self) -> &DirectsCache {
        &self.0.directs
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.0.connections
    }

    pub(crate) fn watches(&self) -> &Watches {
        &self.0.watches
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// Counts one who waits, as long as he does.
    pub(crate) fn waiting(&self) -> Waiting<'_> {
        Waiting::new(&self.0.waiting)
    }

    /// Counts an answer.
    pub(crate) fn count_answer(&self) {
        self.0.answers.inc();
    }

    /// A filter that a client stored; filters never change.
    ///
    /// # Errors
    /// [`Error::BadFilter`] when there is none of this id.
    pub async fn stored_filter(&self, user: &OwnedUserId, id: &str) -> Result<Arc<SyncFilter>, Error> {
        let key = (user.clone(), id.to_owned());
        if let Some(filter) = self.0.filters.get(&key) {
            return Ok(filter);
        }
        let json = match self.0.accounts.filter(user, id).await {
            Ok(json) => json,
            Err(account::Error::NotFound(_)) => {
                return Err(Error::BadFilter("there is no filter of this id".to_owned()));
            }
            Err(error) => return Err(error.into()),
        };
        let filter = Arc::new(SyncFilter::parse(&json)?);
        self.0.filters.insert(key, filter.clone());
        Ok(filter)
    }

    /// Answers with what the client misses, or waits until there is something.
    ///
    /// A first answer, or one with all state, comes at once. A wait ends with an empty answer when
    /// its time is over or the process stops.
    ///
    /// # Errors
    /// See [`Error`]; [`account::Error::UnknownToken`] when the device was signed out during the wait.
    pub async fn sync(&self, request: SyncRequest) -> Result<Answer, Error> {
        self.count_answer();
        // The session was looked at before that, and before the token was given. One that is made up says of no position
        // that she was signed in there, and another process may have given that position already.
        let signed_in = request.since.unwrap_or(Position::START).min(self.0.store.head());
        let request = Arc::new(request);
        let _is_there = self.note_presence(&request.user, &request.device, request.presence).await?;
        let Some(mut since) = request.since else { return Box::pin(self.whole(request)).await };
        // Another process may have given the token. One that is still ahead then is from a time that was taken back: the
        // store was put back to an older state. What has happened from that on is not known by it.
        if since > self.0.store.reach(since).await? {
            let request = SyncRequest { since: None, rest: Rest::default(), ..SyncRequest::clone(&request) };
            return Box::pin(self.whole(Arc::new(request))).await;
        }
        if request.full_state {
            return Box::pin(self.whole(request)).await;
        }
        let Rest { mut present, mut device, mut gathering, .. } = request.rest;

        let deadline = self.0.clock.instant() + request.timeout.min(LONGEST_WAIT);
        let mut has_waited = false;
        let mut waits_with: Option<Watched> = None;
        loop {
            let known = self.0.rooms.memberships(&request.user).await?;
            // Before the read: what is committed after it must wake us.
            let with_presence = self.0.accounts.presence().is_on();
            let before = waits_with.take();
            let watched = self.0.watches.watch(&self.0.store, &request.user, &known, with_presence, before);
            let Watched { watch, .. } = waits_with.insert(watched);
            let (head, rooms) = self.rooms_at_head(&request.user).await?;
            if !same_joined(&known, &rooms) {
                continue;
            }
            let left = deadline.since(self.0.clock.instant());
            let still = |it: &Gathering| self.0.wave.left(it, &request.user, &self.0.clock);
            let is_due = gathering.is_some_and(|it| still(&it).is_zero());
            let may_gather = !is_due && !left.is_zero() && !self.0.stop.is_cancelled();
            let known = Known { since, present, device, gathering };
            let news = self.news(&request, known, head, &rooms, may_gather).await?;
            if has_waited {
                // After the read: what was read while the session was good may be told.
                self.must_be_signed_in(&request.user, &request.device, signed_in).await?;
            }
            has_waited = true;
            match news {
                News::Answer(answer) => return Ok(Answer::Whole(answer)),
                News::Gathering(it) => {
                    gathering = Some(it);
                    let _waiting = Waiting::new(&self.0.waiting);
                    let at_most = left.min(still(&it));
                    let woken = self.0.clock.timeout(at_most, watch.changed_urgently());
                    // Whatever ends it, it is looked what there is to tell now.
                    let _ended = self.0.stop.run_until_cancelled(woken).await;
                    continue;
                }
                News::Nothing { but } => {
                    // There is nothing else up to here, so there is no need to look again.
                    (since, present, device, gathering) = (head, None, None, but);
                    if gathering.is_some() {
                        continue;
                    }
                }
            }
            let left = deadline.since(self.0.clock.instant());
            if left.is_zero() || self.0.stop.is_cancelled() {
                return Ok(Answer::Whole(self.nothing(&request, head, &rooms).await?));
            }
            let _waiting = Waiting::new(&self.0.waiting);
            let woken = self.0.clock.timeout(left, watch.changed());
            if !matches!(self.0.stop.run_until_cancelled(woken).await, Some(Ok(()))) {
                return Ok(Answer::Whole(self.nothing(&request, head, &rooms).await?));
            }
        }
    }

    /// Refuses a client that waited if its device was signed out meanwhile, or its account locked: what happened since is none of its business.
    /// New tokens for a device that is still there do not end a wait. Reads the store only when something about the
    /// device has changed since it was known to be signed in.
    pub(crate) async fn must_be_signed_in(
        &self,
        user: &UserId,
        device: &DeviceId,
        signed_in: Position,
    ) -> Result<(), Error> {
        let topic = Topic::device(user.as_str(), device.as_str());
        if self.0.store.moved(topic, signed_in) == Moved::No {
            return Ok(());
        }
        let standing = async {
            self.0.accounts.device(user, device).await?;
            self.0.accounts.moderation(user).await
        };
        match standing.await {
            Ok(moderation) if moderation.locked => Err(account::Error::Locked.into()),
            Ok(_) => Ok(()),
            Err(account::Error::NotFound(_)) => {
                Err(account::Error::UnknownToken { soft_logout: false }.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The answer when nothing happened.
    async fn nothing(
        &self,
        request: &SyncRequest,
        head: Position,
        rooms: &UserRooms,
    ) -> Result<Bytes, Error> {
        let rest = Rest::default().typing(self.typed_still(request, rooms));
        let mut out = Out::with_capacity(256);
        out.head(&Token::after(head).with_rest(&rest), &Items::new());
        out.key_counts(&*self.key_counts(request).await?);
        out.raw("}");
        Ok(out.into_bytes())
    }

    /// What is new between two positions.
    async fn news(
        &self,
        request: &SyncRequest,
        known: Known,
        head: Position,
        rooms: &UserRooms,
        may_gather: bool,
    ) -> Result<News, Error> {
        let Known { since, present, device, gathering } = known;
        let told =
            self.to_device_news(request, device.map_or(since, |device| device.min(since)), head).await?;
        let knows_all = since == head && present.is_none() && device.is_none() && gathering.is_none();
        if knows_all && told.messages.is_empty() && !self.rooms().may_have_missed_typing(since) {
            // Who asks again right after an answer mostly finds nothing, and others' answers wait for the processor.
            return Ok(News::Nothing { but: None });
        }
        let data = self.new_data(&request.user, Some(since)).await?;
        let ignored = self.ignored(&request.user).await?;
        let mut scene = Scene {
            request,
            since: Some(since),
            present,
            receipts: gathering.map(|it| it.after.min(since)),
            keeps_receipts: false,
            head,
            ignored,
            recounted: self.recounted(&request.user, rooms, &data),
        };
        let plan = self.plan(&scene, rooms, data.rooms).await?;
        let (lists_moved, got_out_of) = (plan.device_lists, plan.got_out_of());
        let global = wanted(request, data.global);
        let later = plan.of_the_moment().filter(|_| may_gather).and_then(|rooms| {
            let begun = gathering::begun(&self.0.store, &request.user, rooms, since, self.0.clock.now());
            begun.map(|begun| gathering.unwrap_or(begun))
        });
        let has_nothing_else = told.messages.is_empty() && global.is_empty() && plan.has_nothing_else();
        if let Some(gathering) = later.filter(|_| has_nothing_else) {
            return Ok(News::Gathering(gathering));
        }
        scene.keeps_receipts = later.is_some();

        let mut joined = self.joined_or_less(&scene, &plan.joined).await?;
        let moved = Self::moved_in(rooms, &joined);
        joined.retain(|part| !part.is_empty(&scene));
        let (invited, knocked, left) = self.outside_parts(&scene, &plan).await?;
        self.add_missed_typing(&scene, rooms, &mut joined);
        let (present, rest) = self.presence_news(&scene, rooms, &joined).await?;
        let lists = self.list_changes(&scene, rooms, lists_moved, &got_out_of, &moved).await?;
        let no_rooms = joined.is_empty() && invited.is_empty() && knocked.is_empty() && left.is_empty();
        let nobody_told = global.is_empty() && present.is_empty() && lists.is_empty();
        if no_rooms && nobody_told && told.messages.is_empty() {
            return Ok(News::Nothing { but: later });
        }

        let now = self.0.clock.now();
        if later.is_some() {
            self.0.wave.goes_on(&self.0.clock);
        }
        let mut out = Out::with_capacity(2_048);
        let rest = Rest { present: rest, device: told.rest, gathering: later, ..Rest::default() };
        let rest = rest.typing(self.still_typing(&scene, rooms, &joined));
        out.head(&Token::after(head).with_rest(&rest), &global);
        out.device_messages(&told.messages);
        out.presence(&present);
        out.device_lists(&lists);
        out.key_counts(&*self.key_counts(request).await?);
        if !no_rooms {
            out.open("rooms");
            out.stripped("invite", "invite_state", &invited);
            out.stripped("knock", "knock_state", &knocked);
            out.left(&scene, &left, now);
            if !joined.is_empty() {
                out.open("join");
                for part in &joined {
                    out.joined(&scene, part, now);
                }
                out.raw("}");
            }
            out.raw("}");
        }
        out.raw("}");
        Ok(News::Answer(out.into_bytes()))
    }

    /// What rooms tell that the user is invited to, knocks at, and is out of.
    pub(crate) async fn outside_parts(
        &self,
        scene: &Scene<'_>,
        plan: &Plan,
    ) -> Result<(Vec<StrippedPart>, Vec<StrippedPart>, Vec<RoomPart>), Error> {
        if !plan.has_outside() {
            return Ok(Default::default());
        }
        // Apart from the answer, which is large enough to be moved about, and mostly has nothing of this.
        Box::pin(async {
            let invited = self.stripped_parts(scene, &plan.invited).await?;
            let knocked = self.stripped_parts(scene, &plan.knocked).await?;
            Ok((invited, knocked, self.left_parts(scene, plan).await?))
        })
        .await
    }

    /// What rooms tell that the user is or was in. A room that cannot be read is left out, whatever is wrong with it.
    ///
    /// # Errors
    /// Only when nothing can be read for now.
    pub(crate) async fn joined_or_less(
        &self,
        scene: &Scene<'_>,
        plans: &[RoomPlan],
    ) -> Result<Vec<RoomPart>, Error> {
        if plans.is_empty() {
            return Ok(Vec::new());
        }
        match self.joined_parts(scene, plans).await {
            Ok(parts) => return Ok(parts),
            Err(error) if error.is_of_the_store() => return Err(error),
            Err(error) => {
                warn!(%error, count = plans.len(), "rooms cannot be read together, one by one then")
            }
        }
        let mut parts = Vec::with_capacity(plans.len());
        for plan in plans {
            match self.joined_parts(scene, std::slice::from_ref(plan)).await {
                Ok(part) => parts.extend(part),
                Err(error) if error.is_of_the_store() => return Err(error),
                Err(error) => warn!(room_id = %plan.row.room_id, %error, "a room cannot be shown"),
            }
        }
        Ok(parts)
    }
}

/// What a client that waits knows.
#[derive(Clone, Copy)]
struct Known {
    /// Up to where everything, but for what is said below.
    since: Position,
    /// Up to where who came and went, if that is less.
    present: Option<Position>,
    /// Up to where what was sent to its device, if that is less.
    device: Option<Position>,
    /// Which receipts it was not told yet.
    gathering: Option<Gathering>,
}

/// What there is for a client that waits.
enum News {
    Nothing {
        /// But for what is told later.
        but: Option<Gathering>,
    },
    /// Only what may wait for more of its kind.
    Gathering(Gathering),
    Answer(Bytes),
}

/// Global account data that the filter lets through.
pub(crate) fn wanted(request: &SyncRequest, mut data: Items) -> Items {
    let filter = &request.filter.data;
    data.retain(|(kind, _)| !filter.passes_none() && filter.passes_type(kind));
    data
}

/// Counts one who waits, as long as he does.
pub(crate) struct Waiting<'a>(&'a base::Gauge);

impl<'a> Waiting<'a> {
    fn new(gauge: &'a base::Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl fmt::Debug for Syncs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Syncs").finish_non_exhaustive()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => f.debug_tuple("Whole").field(&bytes.len()).finish(),
            Self::Parts(_) => f.write_str("Parts"),
        }
    }
}

impl Answer {
    /// The whole answer, gathered; for tests and for those who want it in one piece.
    pub async fn gather(self) -> Bytes {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Parts(mut parts) => {
                let mut all = Vec::new();
                while let Some(part) = parts.next().await {
                    all.extend_from_slice(&part);
                }
                Bytes::from(all)
            }
        }
    }
}
