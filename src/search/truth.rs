//! The truth about candidates: what the events say now, and whether the one who asks may see it.
//!
//! The index only says where to look. An event is found if he may see it as a page of the history would show it to him, if it was not
//! emptied, and if what it says now fits: one that was edited is found by its newest edit, and shown itself.

use std::{collections::HashMap, sync::Arc};

use room::{
    ids::RoomSerial,
    read::{
        event::StoredEvent,
        view::{Look, Viewer},
    },
    tables::Membership,
};
use ruma::OwnedEventId;

use crate::{
    Error, Search,
    asked::Asked,
    candidates::Candidate,
    text::{Said, said},
    token::Key,
};

/// About so many bytes of contents are looked through in one go.
const COMPARED_AT_ONCE: usize = 16_384;

/// Something that is found.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    pub(crate) key: Key,
    /// The event that is shown.
    pub(crate) event: Arc<StoredEvent>,
    /// What the viewer was in the room at it.
    pub(crate) membership: Option<Membership>,
    /// What it says now.
    pub(crate) text: String,
    pub(crate) score: f64,
}

/// A candidate that says what is looked for.
struct Fitting {
    key: Key,
    event: Arc<StoredEvent>,
    said: Said,
    score: f64,
    /// The event in whose place it is said.
    edited: Option<OwnedEventId>,
}

impl Search {
    /// Those of the candidates that are found, in their order; adds how many bytes were looked through.
    pub(crate) async fn true_of(
        &self,
        asked: &Asked<'_>,
        candidates: Vec<(Candidate, Option<Arc<StoredEvent>>)>,
        bytes: &mut usize,
    ) -> Result<Vec<Match>, Error> {
        let mut fitting = Vec::new();
        let mut in_one_go = 0;
        for ((key, _), event) in candidates {
            let Some(event) = event else { continue };
            in_one_go += event.pdu().content_str().len();
            fitting.extend(fits(asked, key, event));
            if in_one_go >= COMPARED_AT_ONCE {
                // Long texts are not to hold up others.
                tokio::task::yield_now().await;
                *bytes += std::mem::take(&mut in_one_go);
            }
        }
        *bytes += in_one_go;
        let found = self.seen(asked.viewer, fitting).await?;
        self.in_their_last_words(asked.viewer, found).await
    }

    /// Those that the viewer may see whole, each as the event that is shown.
    async fn seen(
        &self,
        viewer: &Viewer<'_>,
        fitting: Vec<Fitting>,
    ) -> Result<Vec<(Match, Option<OwnedEventId>)>, Error> {
        if fitting.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<OwnedEventId> = fitting.iter().filter_map(|it| it.edited.clone()).collect();
        let originals: HashMap<OwnedEventId, Arc<StoredEvent>> = ids
            .iter()
            .cloned()
            .zip(self.rooms().events_by_id(&ids).await?)
            .filter_map(|(id, it)| Some((id, it?)))
            .collect();

        // Whatever is looked at, each once or twice: what is said, and what is shown.
        let mut all: Vec<Arc<StoredEvent>> = Vec::with_capacity(2 * fitting.len());
        let mut kept = Vec::with_capacity(fitting.len());
        for it in fitting {
            let shown = match &it.edited {
                None => it.event.clone(),
                Some(id) => match originals.get(id).filter(|original| may_be_edited(original, &it.event)) {
                    Some(original) => original.clone(),
                    None => continue,
                },
            };
            all.extend([it.event.clone(), shown.clone()]);
            kept.push((it, shown));
        }
        let sights = self.rooms().sights(viewer.user, &all).await?;
        // What somebody said whose account was erased, who came later is not told.
        let copies = self.rooms().shown_to(viewer.user, all).await?;
        let mut found = Vec::with_capacity(kept.len());
        for (number, (it, shown)) in kept.into_iter().enumerate() {
            let both = 2 * number..2 * number + 2;
            let is_seen = sights.get(both.clone()).is_some_and(|two| two.iter().all(|sight| sight.visible));
            let is_whole =
                copies.get(both.clone()).is_some_and(|two| two.iter().all(|copy| !copy.is_redacted_copy()));
            if !is_seen || !is_whole || viewer.is_spared(&it.event) || viewer.is_spared(&shown) {
                continue;
            }
            let membership = sights.get(both.start + 1).and_then(|sight| sight.membership);
            let edit = it.edited.is_some().then(|| it.event.event_id().to_owned());
            let found_one =
                Match { key: it.key, event: shown, membership, text: it.said.text, score: it.score };
            found.push((found_one, edit));
        }
        Ok(found)
    }

    /// Those that were not edited since.
    async fn in_their_last_words(
        &self,
        viewer: &Viewer<'_>,
        found: Vec<(Match, Option<OwnedEventId>)>,
    ) -> Result<Vec<Match>, Error> {
        let mut rooms: Vec<RoomSerial> = found.iter().map(|(it, _)| it.event.room()).collect();
        rooms.sort_unstable();
        rooms.dedup();
        let have = self.rooms().have_relations(&rooms).await?;
        let with: Vec<RoomSerial> =
            rooms.into_iter().zip(have).filter(|(_, have)| *have).map(|(room, _)| room).collect();
        let is_with = |it: &Match| with.binary_search(&it.event.room()).is_ok();
        let mut looks: Vec<Look> =
            found.iter().filter(|(it, _)| is_with(it)).map(|(it, _)| Look::bare(it.event.clone())).collect();
        self.rooms().aggregate(viewer, &mut looks).await?;
        let mut looks = looks.into_iter();
        let last = found.into_iter().filter(|(it, edit)| {
            let look = if is_with(it) { looks.next() } else { None };
            let newest = look.and_then(|look| look.aggregations).and_then(|told| told.edit);
            newest.map(|look| look.event.event_id().to_owned()) == *edit
        });
        Ok(last.map(|(it, _)| it).collect())
    }
}

/// An event that stands where the index says, passes the filter and says what is looked for.
fn fits(asked: &Asked<'_>, key: Key, event: Arc<StoredEvent>) -> Option<Fitting> {
    if event.order() != Some(key.0) || !event.is_shown() || !asked.passes(&event) {
        return None;
    }
    let said = said(&event).filter(|said| asked.fields.contains(&said.field))?;
    let score = asked.query.score(&said.text, said.field)?;
    let edited = match said.is_edit {
        true => Some(event.relation()?.event_id),
        false => None,
    };
    Some(Fitting { key, event, said, score, edited })
}

/// Whether an event may be edited by another one at all; which edit is its newest is looked at where they are told.
fn may_be_edited(original: &StoredEvent, edit: &StoredEvent) -> bool {
    original.room() == edit.room() && original.meta().redacted_by.is_none() && original.state_key().is_none()
}
