//! 渡しURL: links by which people outside fetch one file of a room.
//!
//! Who asks for one does not get it alone: another member has to agree. The link is good from then on, for a time and a number of
//! downloads.

use base::Timestamp;
use bot_kit::ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId};

use super::{Drops, Error, GUESSES, PASSES};
use crate::{
    command::Handing,
    end::{End, Why},
    language::Language,
    moment,
    rows::{Code, Deed, FileOfDeed, HANDS, Hand, HandState, QUESTIONS, ROOM_HANDS, What, room_key},
    secret::{Token, same},
};

/// An agreement comes within this, or the link is asked for anew.
pub(crate) const TIME_TO_AGREE: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);

/// Downloads of a link that broke off and do not count; those beyond do, or all but a file's end could be fetched for ever.
pub(crate) const MOST_GIVEN_BACK: u32 = 20;

/// A download of which not all went out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BrokenOff {
    /// Whether anything of the file did: it is the homeserver's doing or ours else, and costs whoever has the link nothing.
    pub(crate) has_begun: bool,
    /// When it was taken.
    pub(crate) at: Option<Timestamp>,
    /// When the one before was.
    pub(crate) before: Option<Timestamp>,
}

/// Links to download by that are kept; more are not asked for.
const MOST_ROWS: usize = 10_000;

/// The file that a link is for.
#[derive(Clone, Debug)]
pub(crate) struct Handed {
    pub(crate) uri: String,
    pub(crate) name: String,
    pub(crate) bytes: Option<u64>,
    pub(crate) event: OwnedEventId,
}

/// What came of an agreement.
#[derive(Clone, Debug)]
pub(crate) enum Agreement {
    /// The link is good now; its code, if it has one.
    Good(Hand, Token, Option<String>),
    /// Who asked cannot agree.
    Own(Hand),
    /// There is nothing to agree to.
    Nothing,
}

pub(super) fn deed(hand: &Hand, at: Timestamp, who: &str, what: What) -> Deed {
    Deed {
        at,
        who: who.to_owned(),
        address: String::new(),
        what,
        room: hand.room.to_string(),
        link: hand.number,
        file: Some(FileOfDeed {
            id: hand.event.to_string(),
            original_name: hand.name.clone(),
            name: hand.name.clone(),
            bytes: hand.size.unwrap_or_default(),
            sha256: String::new(),
        }),
        details: hand.uri.clone(),
    }
}

/// That a file may be fetched now, or why not.
fn is_open(hand: &Hand, now: Timestamp) -> Result<(), Error> {
    match hand.state {
        HandState::Good { left: 0, .. } => Err(Error::UsedUp(hand.fetched)),
        HandState::Good { ends, .. } if now >= ends => Err(Error::Over),
        HandState::Good { .. } => Ok(()),
        HandState::Ended => Err(Error::Cancelled(hand.why_ended())),
        // Nobody was told of it.
        HandState::Asked => Err(Error::NoLink),
    }
}

impl Drops {
    /// Notes that a member asks for a link, or finds what he asked for before.
    pub(crate) async fn ask_to_hand_over(
        &self,
        room: OwnedRoomId,
        asker: OwnedUserId,
        cause: OwnedEventId,
        language: Language,
        handing: Handing,
        file: Handed,
    ) -> Result<Hand, Error> {
        let (hash, now) = (self.0.key.token(&cause).hash(), self.now());
        let is_full = self.hands_of_room(&room).await?.len() >= self.0.settings.most_links_per_room;
        self.change(move |rows, writing, settings| {
            if let Some(hand) = rows.get(&HANDS, &hash)? {
                return Ok(hand);
            }
            if is_full {
                return Err(Error::LinksOfRoom(settings.most_links_per_room));
            }
            if rows.count(&HANDS, "", MOST_ROWS)? >= MOST_ROWS {
                return Err(Error::Links);
            }
            let last = rows.last_key(&ROOM_HANDS, &format!("{room} "))?;
            let last = last.and_then(|key| key.rsplit(' ').next()?.parse().ok()).unwrap_or(0_u32);
            let hand = Hand {
                room: room.clone(),
                number: last.saturating_add(1),
                asker,
                cause,
                language,
                asked: now,
                lasts: handing.lasts,
                times: handing.times,
                with_code: handing.with_code,
                code: None,
                event: file.event,
                lies_in: None,
                uri: file.uri,
                name: file.name,
                size: file.bytes,
                state: HandState::Asked,
                fetched: None,
                given_back: 0,
                agreement: None,
                closed_by: None,
                end: None,
            };
            writing.batch.put(&HANDS, &hash, &hand);
            writing.batch.put(&ROOM_HANDS, &room_key(room.as_str(), hand.number), &hash);
            writing.note(&deed(&hand, now, hand.asker.as_str(), What::HandoverAsked));
            Ok(hand)
        })
        .await
    }

    /// Notes under which event others may agree.
    pub(crate) async fn note_question(&self, hand: &Hand, question: &OwnedEventId) -> Result<(), Error> {
        let (hash, question) = (self.0.key.token(&hand.cause).hash(), question.clone());
        self.change(move |_, writing, _| {
            writing.batch.put(&QUESTIONS, question.as_str(), &hash);
            Ok(())
        })
        .await
    }

    /// The link that an event asks others about.
    pub(crate) async fn find_question(&self, question: &OwnedEventId) -> Result<Option<Hand>, Error> {
        let Some(hash) = self.0.store.get(&QUESTIONS, question.as_str()).await? else { return Ok(None) };
        Ok(self.0.store.get(&HANDS, &hash).await?)
    }

    /// A member agrees. Told again after a crash, it says the same.
    pub(crate) async fn agree(
        &self,
        question: &OwnedEventId,
        by: OwnedUserId,
        agreement: OwnedEventId,
    ) -> Result<Agreement, Error> {
        let Some(hand) = self.find_question(question).await? else { return Ok(Agreement::Nothing) };
        let token = self.0.key.token(&hand.cause);
        let code = hand.with_code.then(|| self.0.key.code(&hand.cause));
        let hash_of_code = code.as_deref().map(|code| token.hash_of_code(code));
        let (hash, now) = (token.hash(), self.now());
        let agreed = self.change(move |rows, writing, _| {
            let Some(mut hand) = rows.get(&HANDS, &hash)? else { return Ok(Agreed::Nothing) };
            if hand.asker == by {
                return Ok(Agreed::Own(hand));
            }
            match &hand.state {
                HandState::Asked if now.since(hand.asked) < TIME_TO_AGREE => {}
                HandState::Good { by: before, .. } if *before == by => return Ok(Agreed::Good(hand)),
                HandState::Asked | HandState::Good { .. } | HandState::Ended => return Ok(Agreed::Nothing),
            }
            hand.state = HandState::Good { by: by.clone(), ends: now + hand.lasts, left: hand.times };
            hand.agreement = Some(agreement);
            hand.code = hash_of_code.map(|hash| Code { hash, guesses_left: GUESSES, passes: 0 });
            writing.batch.put(&HANDS, &hash, &hand);
            let details = format!(
                "{} {} times until {}{}",
                hand.uri,
                hand.times,
                moment::recorded(now + hand.lasts),
                if hand.with_code { ", with a code" } else { "" }
            );
            writing.note(&Deed { details, ..deed(&hand, now, by.as_str(), What::HandoverAgreed) });
            Ok(Agreed::Good(hand))
        });
        Ok(match agreed.await? {
            Agreed::Good(hand) => Agreement::Good(hand, token, code),
            Agreed::Own(hand) => Agreement::Own(hand),
            Agreed::Nothing => Agreement::Nothing,
        })
    }

    /// The link of a token, if it is good.
    pub(crate) async fn find_hand(&self, token: &Token) -> Result<Hand, Error> {
        let hand: Hand = self.0.store.get(&HANDS, &token.hash()).await?.ok_or(Error::NoLink)?;
        is_open(&hand, self.now())?;
        Ok(hand)
    }

    /// Tries a code of a link to download by. What a browser is given that told the right one.
    pub(crate) async fn enter_hand(
        &self,
        token: &Token,
        code: &str,
        address: String,
    ) -> Result<String, Error> {
        let (hash, tried, now) = (token.hash(), token.hash_of_entered(code), self.now());
        let entered = self.change(move |rows, writing, _| {
            let mut hand: Hand = rows.get(&HANDS, &hash)?.ok_or(Error::NoLink)?;
            is_open(&hand, now)?;
            let Some(code) = hand.code.as_mut() else { return Err(Error::NoLink) };
            let outcome = code.try_one(tried.as_deref())?;
            let what = if outcome.is_ok() { What::CodeRight } else { What::CodeWrong };
            writing.note(&Deed { address, ..deed(&hand, now, "", what) });
            writing.batch.put(&HANDS, &hash, &hand);
            Ok(outcome)
        });
        match entered.await? {
            Ok(number) => Ok(token.pass(&self.0.key, number)),
            Err(left) => Err(Error::WrongCode(left)),
        }
    }

    /// Takes one download of those that are left, before any byte goes out.
    pub(crate) async fn take_download(&self, token: &Token, address: String) -> Result<Hand, Error> {
        let (hash, now) = (token.hash(), self.now());
        self.change(move |rows, writing, _| {
            let mut hand: Hand = rows.get(&HANDS, &hash)?.ok_or(Error::NoLink)?;
            is_open(&hand, now)?;
            if let HandState::Good { left, .. } = &mut hand.state {
                *left -= 1;
            }
            hand.fetched = Some(now);
            writing.batch.put(&HANDS, &hash, &hand);
            writing.note(&Deed { address, ..deed(&hand, now, "", What::HandoverDownloaded) });
            Ok(hand)
        })
        .await
    }

    /// Gives a download back of which not all went out, unless that happened too often.
    pub(crate) async fn give_download_back(&self, token: &Token, broken: BrokenOff) -> Result<(), Error> {
        let (hash, now) = (token.hash(), self.now());
        self.change(move |rows, writing, _| {
            let Some(mut hand): Option<Hand> = rows.get(&HANDS, &hash)? else { return Ok(()) };
            if let HandState::Good { left, .. } = &mut hand.state {
                if !broken.has_begun || hand.given_back < MOST_GIVEN_BACK {
                    *left += 1;
                    hand.given_back += u32::from(broken.has_begun);
                    // Unless another was taken meanwhile.
                    if hand.fetched == broken.at {
                        hand.fetched = broken.before;
                    }
                    writing.batch.put(&HANDS, &hash, &hand);
                }
                writing.note(&deed(&hand, now, "", What::HandoverFailed));
            }
            Ok(())
        })
        .await
    }

    /// Ends a room's link to download by before its time.
    pub(crate) async fn end_hand(
        &self,
        room: &RoomId,
        number: u32,
        by: OwnedUserId,
    ) -> Result<Option<Hand>, Error> {
        self.close_hand(room, number, by, Why::Cancelled, None).await
    }

    /// The same for a reason, maybe because of an event, by which it is found again ([`Drops::closed_by`]).
    pub(crate) async fn close_hand(
        &self,
        room: &RoomId,
        number: u32,
        by: OwnedUserId,
        why: Why,
        closed_by: Option<OwnedEventId>,
    ) -> Result<Option<Hand>, Error> {
        let (key, now) = (room_key(room.as_str(), number), self.now());
        self.change(move |rows, writing, _| {
            let Some(hash) = rows.get(&ROOM_HANDS, &key)? else { return Ok(None) };
            let Some(mut hand) = rows.get(&HANDS, &hash)? else { return Ok(None) };
            if hand.state == HandState::Ended {
                return Ok(None);
            }
            hand.state = HandState::Ended;
            (hand.closed_by, hand.end) = (closed_by, Some(End { why, at: now }));
            writing.batch.put(&HANDS, &hash, &hand);
            let details = format!("{} {}", hand.uri, why.recorded());
            writing.note(&Deed { details, ..deed(&hand, now, by.as_str(), What::HandoverEnded) });
            Ok(Some(hand))
        })
        .await
    }

    /// The links to download by of a room that are good, or wait for an agreement.
    pub(crate) async fn hands_of_room(&self, room: &RoomId) -> Result<Vec<Hand>, Error> {
        let now = self.now();
        let mut hands = self.all_hands_of_room(room).await?;
        hands.retain(|hand| hand.is_good(now) || hand.waits(now));
        Ok(hands)
    }

    /// All links to download by of a room that are kept; of all rooms there are no more than one read brings.
    pub(super) async fn all_hands_of_room(&self, room: &RoomId) -> Result<Vec<Hand>, Error> {
        let mut found = Vec::new();
        for (_, hash) in self.0.store.scan(&ROOM_HANDS, &format!("{room} "), None, MOST_ROWS).await? {
            found.extend(self.0.store.get(&HANDS, &hash).await?);
        }
        Ok(found)
    }

    /// Forgets links to download by that were over long ago.
    pub(crate) async fn forget_hands(&self) -> Result<(), Error> {
        let (now, keep) = (self.now(), self.0.settings.keep.0);
        let questions = self.0.store.scan(&QUESTIONS, "", None, MOST_ROWS).await?;
        for (hash, hand) in self.0.store.scan(&HANDS, "", None, MOST_ROWS).await? {
            // At the latest; one that was agreed to late lasts as long from then on.
            let over = hand.asked + TIME_TO_AGREE + hand.lasts + keep;
            // Of one to which nobody agreed nothing is left to tell.
            let is_forgotten = hand.state == HandState::Asked && !hand.waits(now);
            if now < over && !is_forgotten {
                continue;
            }
            let question = questions.iter().find(|(_, of)| *of == hash).map(|(question, _)| question.clone());
            self.change(move |rows, writing, _| {
                writing.batch.delete(&HANDS, &hash);
                if let Some(question) = question {
                    writing.batch.delete(&QUESTIONS, &question);
                }
                // The room's last number stays, so that none is given twice.
                let key = room_key(hand.room.as_str(), hand.number);
                if rows.last_key(&ROOM_HANDS, &format!("{} ", hand.room))? != Some(key.clone()) {
                    writing.batch.delete(&ROOM_HANDS, &key);
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Whether a browser has told the code of a link to download by, or need not.
    pub(crate) fn may_fetch(&self, token: &Token, hand: &Hand, pass: Option<&str>) -> bool {
        self.has_passed(token, hand.code.as_ref(), pass)
    }
}

/// What came of an agreement, in the change.
enum Agreed {
    Good(Hand),
    Own(Hand),
    Nothing,
}

impl Code {
    /// Tries a code by its hash: the number of the browser that is let in, or how many may still be tried. What can be no code
    /// costs nothing.
    pub(super) fn try_one(&mut self, tried: Option<&str>) -> Result<Result<u8, u8>, Error> {
        if self.guesses_left == 0 || self.passes >= PASSES {
            return Err(Error::Locked);
        }
        let tried = tried.ok_or(Error::NoCode)?;
        Ok(if same(&self.hash, tried) {
            self.passes += 1;
            Ok(self.passes)
        } else {
            self.guesses_left -= 1;
            Err(self.guesses_left)
        })
    }
}
