//! Variants: which form of a file leaves through a zone.
//!
//! A file has its original, what sanitising (無害化) made of it, and thumbnails of either. Whoever opens a file says through
//! which zone it leaves, and there is no other way to its bytes: so every path passes the choice in [`Media::for_zone`].
//!
//! A file is judged when the first asks for it through a zone that demands that, by one judgement for all who ask at that
//! time. The verdict is kept under the hash of what the file holds and under the recipe by which it was judged: the
//! engine's version, the settings of the zone, its scanners. So equal files are judged once, and a new engine judges anew.
//! Whom the policy gives sanitised files alone, wherever he is ([`FileForm`]), is given them where the zone gives more, too; where
//! there is no zone, by the engine's own settings and without scanners.
//!
//! Nothing is half believed: a verdict is one row, written when what it leads to is on the disk. What broke off is judged
//! again by the next who asks. A verdict that scanners had a part in is believed for a day: they know more by then.
//!
//! What a rebuilt file holds is kept like what any file holds, with its verdicts as its uses: it has thumbnails of its own,
//! equal ones lie there once, it can be withheld, and it goes when the last verdict does.
//!
//! Reading order: [`ZoneFiles`](crate::ZoneFiles), `plan`, `sanitising`, `judge`, `verdicts`.

mod judge;
mod verdicts;

use std::time::Duration;

use room::{FileForm, FileReader, Gives, Zone};
use ruma::ServerName;
use sanitise::{Kind, Reason, is_run_by_name};

use crate::{
    Error, Judged, Media, Opened, kinds,
    names::Called,
    plan::{Hint, Plan},
    sanitising::{Begun, Key},
    tables::{Judgement, VerdictRow},
};

/// So long whoever asked waits for a verdict; it is found by the next who asks.
const PATIENCE: Duration = Duration::from_secs(90);

/// So often a variant whose file was lost is made again before that is told.
const ATTEMPTS: u32 = 2;

impl Media {
    /// The form of a file that leaves through a zone, by whatever names it goes: that of its upload, and those that events which
    /// the reader may have seen give the id by which it was opened. Every file that is opened comes through here.
    pub(crate) async fn for_zone(
        &self,
        zone: Option<&Zone>,
        reader: FileReader<'_>,
        (server, id): (&ServerName, &str),
        original: Opened,
    ) -> Result<Opened, Error> {
        let gives = self.form_of(zone, reader);
        if gives == Gives::Originals {
            return Ok(original);
        }
        let called = match gives {
            Gives::Sanitised => self.called(reader, server, id).await?,
            Gives::Originals | Gives::Scanned => Called::default(),
        };
        // Whatever is in it: a script is a text like others.
        let is_run = called.run || original.name.as_deref().is_some_and(is_run_by_name);
        if gives == Gives::Sanitised && is_run {
            return Err(Error::Refused(Reason::Program));
        }
        // Whatever it is as it lies there, it is something else with the key.
        if called.encrypted {
            return Err(Error::Refused(Reason::Ciphertext));
        }
        let Some(plan) = self.inner.sanitising.plan(zone) else {
            return Err(Error::Unjudged("the zone has no settings".to_owned()));
        };
        let hint = match called.table {
            true => Hint::Table,
            false => Hint::of(&original.kind, original.name.as_deref()),
        };
        let key = (original.sha256, plan.recipe(gives, hint));
        for _ in 0..ATTEMPTS {
            let mut found = self.find_verdict(key).await?;
            if let Some(old) = &found
                && !plan.believes(old.judged_ms, self.inner.clock.now().millis())
            {
                self.forget_verdict(key, old).await?;
                found = None;
            }
            let row = match found {
                Some(row) => row,
                None => self.verdict(key, reader, &original, gives, hint, plan).await?,
            };
            if let Some(variant) = self.follow_verdict(&original, &row).await? {
                return Ok(variant);
            }
            // Its file was lost.
            self.forget_verdict(key, &row).await?;
        }
        Err(Error::Unjudged("a sanitised file was lost again and again".to_owned()))
    }

    /// Which form of a file this reader is given there: the narrower of what leaves to the zone, and what he is given anywhere.
    fn form_of(&self, zone: Option<&Zone>, reader: FileReader<'_>) -> Gives {
        let of_zone = zone.map_or(Gives::Originals, Zone::gives);
        let of_reader = match reader {
            FileReader::User(user) => self.inner.policy.file_form(user),
            FileReader::Server(_) | FileReader::Anybody => FileForm::OfZone,
        };
        match of_reader {
            FileForm::OfZone => of_zone,
            FileForm::Sanitised => of_zone.max(Gives::Sanitised),
        }
    }

    /// What a verdict leads to; none if that was lost.
    async fn follow_verdict(&self, original: &Opened, row: &VerdictRow) -> Result<Option<Opened>, Error> {
        let kind = row.kind.as_deref().and_then(|code| Kind::all().find(|kind| kind.extension() == code));
        match &row.judgement {
            Judgement::Clean => {
                let judged = Judged { is_rebuilt: false, removed: Vec::new(), kind };
                Ok(Some(original.judged(judged)))
            }
            Judgement::Refused { reason, .. } => {
                let reason = Reason::ALL.iter().find(|known| known.code() == reason);
                Err(Error::Refused(reason.copied().unwrap_or(Reason::Unknown)))
            }
            Judgement::Rebuilt { sha256, removed } => {
                let Some(blob) = self.find_variant(sha256).await? else { return Ok(None) };
                if blob.withheld {
                    return Err(Error::NotFound);
                }
                let judged = Judged { is_rebuilt: true, removed: removed.clone(), kind };
                Ok(Some(original.judged(judged).holding(*sha256, blob)))
            }
        }
    }

    /// The verdict of a judgement that is begun if none is under way.
    async fn verdict(
        &self,
        key: Key,
        reader: FileReader<'_>,
        original: &Opened,
        gives: Gives,
        hint: Hint,
        plan: &Plan,
    ) -> Result<VerdictRow, Error> {
        let mut ended = match self.inner.sanitising.find_or_begin(key, reader)? {
            Begun::UnderWay(ended) => ended,
            Begun::New(judging, ended) => {
                let (media, plan, original) = (self.clone(), plan.clone(), original.clone());
                self.inner.tasks.spawn("sanitising", async move {
                    let _turn = judging.turn().await;
                    judging.end(media.judge_and_keep(key, &original, gives, hint, &plan).await);
                });
                ended
            }
        };
        // The task outlives whoever asked first, and whoever does not wait so long.
        let late = Error::Limited { limit: "sanitising", retry_after: Duration::from_secs(5) };
        let waited = self.inner.clock.timeout(PATIENCE, ended.wait_for(Option::is_some)).await;
        match waited.map_err(|_| late)?.map(|ended| ended.clone()) {
            Ok(Some(Ok(row))) => Ok(row),
            Ok(Some(Err(unjudged))) => Err(unjudged.into()),
            Ok(None) | Err(_) => Err(Error::Unjudged("the judgement was given up".to_owned())),
        }
    }
}

impl Opened {
    /// The same with what a zone's rules made of it: its type is what it holds, and its name ends so.
    fn judged(&self, judged: Judged) -> Self {
        let mut opened = self.clone();
        if let Some(kind) = judged.kind {
            // What it says besides, its letters for instance, is kept where it is right at all.
            if !kinds::essence(&opened.kind).eq_ignore_ascii_case(kind.content_type()) {
                kind.content_type().clone_into(&mut opened.kind);
            }
            opened.name = opened.name.map(|name| kind.name_for(&name));
        }
        opened.judged = Some(judged);
        opened
    }
}
