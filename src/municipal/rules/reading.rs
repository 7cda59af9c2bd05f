//! Reading what rules, places and people there are, and putting that together for a day.

use std::collections::{BTreeMap, BTreeSet};

use intake::Date;
use organisation::{Organisation, PersonId, What};
use ruma::{OwnedUserId, RoomId, ServerName};
use store::{Order, Range};

use crate::{
    book::{Book, Entry, RuleId},
    error::Error,
    places::{Places, Settled, settle},
    roster::Accounts,
    rule::Rule,
    rules::{Print, Rules},
    tables::{BOOKS, BROUGHT, BookRow, ENTRIES, PLACES},
    wanted::{Place, Wanted, wanted},
};

/// How many rows are read at a time.
const PAGE: usize = 10_000;

/// How many accounts are asked for at a time.
const ASKED: usize = 1_000;

/// What is wanted on a day, and what there is.
pub(crate) struct View {
    pub(crate) day: Date,
    pub(crate) steward: OwnedUserId,
    pub(crate) book: Book,
    pub(crate) wanted: Wanted,
    pub(crate) settled: Settled,
    pub(crate) places: Places,
}

impl Rules {
    /// Reads the book of an authority, as it was at one moment.
    pub(crate) async fn book(&self, authority: &ServerName) -> Result<(Book, Option<BookRow>), Error> {
        let row = self.inner.store.get(&BOOKS, authority.as_str()).await?;
        let entries = row.map_or(0, |row| row.entries);
        let mut said: BTreeMap<u64, (RuleId, Entry)> = BTreeMap::new();
        let mut range = Range::prefix(authority.as_str());
        loop {
            let rows = self.inner.store.scan(&ENTRIES, range, Order::Ascending, PAGE).await?;
            let last = rows.last().map(|(key, _)| key.clone()).filter(|_| rows.len() == PAGE);
            for ((_, rule, number), entry) in rows {
                if number >= entries {
                    continue;
                }
                let says = entry.json.as_deref().map(serde_json::from_str::<Rule>).transpose();
                let says = says.map_err(|error| Error::Unreadable(rule.0, error))?;
                said.insert(number, (rule, Entry { at: entry.at, by: entry.by, span: entry.span, says }));
            }
            match last {
                Some(last) => range = Range::prefix(authority.as_str()).after(&last),
                None => break,
            }
        }
        let mut book = Book::default();
        said.into_values().for_each(|(rule, entry)| book.say(rule, entry));
        Ok((book, row))
    }

    /// Which room is whose.
    pub(crate) async fn places(&self, authority: &ServerName) -> Result<Places, Error> {
        let mut places = Places::new();
        let mut range = Range::prefix(authority.as_str());
        loop {
            let rows = self.inner.store.scan(&PLACES, range, Order::Ascending, PAGE).await?;
            let last = rows.last().map(|(key, _)| key.clone()).filter(|_| rows.len() == PAGE);
            let rows = rows.into_iter().map(|((_, rule, unit, key), row)| (Place { rule, unit, key }, row));
            places.extend(rows);
            match last {
                Some(last) => range = Range::prefix(authority.as_str()).after(&last),
                None => return Ok(places),
            }
        }
    }

    /// Whom rules brought into a room.
    pub(crate) async fn brought(
        &self,
        authority: &ServerName,
        room: &RoomId,
    ) -> Result<BTreeSet<OwnedUserId>, Error> {
        let range = Range::prefix(&(authority.as_str(), room.as_str()));
        let rows = self.inner.store.scan(&BROUGHT, range, Order::Ascending, usize::MAX).await?;
        Ok(rows.into_iter().filter_map(|((.., user), _)| OwnedUserId::try_from(user).ok()).collect())
    }

    /// The open accounts of all people, as they are named on a day.
    async fn accounts(
        &self,
        authority: &ServerName,
        organisation: &Organisation,
        day: Date,
    ) -> Result<Accounts, Error> {
        let mut names: BTreeMap<PersonId, (bool, &str)> = BTreeMap::new();
        for (_, said) in organisation.records() {
            let What::Person(person) = &said.what else { continue };
            let Some(account) = person.account.as_deref() else { continue };
            let holds = said.span.holds(day);
            // What he is called on the day goes before what he was called at other times.
            let known = names.entry(person.person).or_insert((holds, account));
            if holds {
                *known = (true, account);
            }
        }
        let names: Vec<(PersonId, &str)> =
            names.into_iter().map(|(person, (_, account))| (person, account)).collect();
        let mut accounts = Accounts::new();
        for some in names.chunks(ASKED) {
            accounts.extend(self.inner.rooms.open_accounts(authority, some).await?);
        }
        Ok(accounts)
    }

    /// What the wanted rooms of today follow from.
    pub(crate) async fn print(&self, authority: &ServerName) -> Result<Print, Error> {
        let book = self.inner.store.get(&BOOKS, authority.as_str()).await?.map_or(0, |row| row.entries);
        let organisation = self.inner.organisations.progress(authority).await?;
        Ok(Print { organisation, book, day: self.today()? })
    }

    /// What is wanted on a day, by the rules that there are and one more or in the place of one.
    pub(crate) async fn view(
        &self,
        authority: &ServerName,
        day: Date,
        more: Option<(RuleId, Entry)>,
    ) -> Result<View, Error> {
        let (mut book, _) = self.book(authority).await?;
        if let Some((rule, entry)) = more {
            book.say(rule, entry);
        }
        let steward = self.inner.rooms.steward(authority).await?;
        let organisation = self.inner.organisations.load(authority).await?.organisation;
        let mut accounts = self.accounts(authority, &organisation, day).await?;
        // Whoever gives himself out as the steward in a personnel file is nobody's member.
        accounts.retain(|_, account| account.user != steward);
        let wanted = wanted(&organisation, &book, &accounts, day);
        let places = self.places(authority).await?;
        let mut settled = settle(&wanted, &places, &organisation, day);
        // Rooms of a rule that is yet to come are left alone until it does.
        settled.unwanted.retain(|place| book.begins(place.rule, day).is_none());
        Ok(View { day, steward, book, wanted, settled, places })
    }
}
