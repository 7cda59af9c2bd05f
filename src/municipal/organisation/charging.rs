//! What units and posts are responsible for (事務分掌), and by which addresses they are reached, as somebody says it by hand.

use std::collections::BTreeSet;

use crate::{
    ids::RecordId,
    item::{Item, Kind},
    organisation::Key,
    reorganise::{Refused, Reorganisation},
    span::Span,
    statement::{Address, Charge, Charged, What},
    words::words,
};

impl Reorganisation<'_> {
    /// Says what a unit or a post is responsible for from the day on; nothing takes it back.
    ///
    /// # Errors
    /// [`Refused`]; then nothing is done.
    pub fn charge(&mut self, of: Charged, matters: &[String]) -> Result<Item, Refused> {
        let about = self.known().called(of, self.day).ok_or(Refused::NoUnit)?;
        self.set_charges(of, matters.to_vec());
        let (day, ja) = (self.day, self.day.in_era());
        let (matters, matters_en) = (matters.join("、"), matters.join(", "));
        let told = match matters.is_empty() {
            true => words!("担当業務なし({ja}から)", "responsible for nothing from {day} on"),
            false => words!("担当業務: {matters}({ja}から)", "responsible from {day} on for: {matters_en}"),
        };
        self.item(Kind::Changed, about, told)
    }

    /// Says that an address reaches a unit or a post from the day on, whomever it reached before.
    ///
    /// # Errors
    /// [`Refused`]; then nothing is done.
    pub fn address(&mut self, name: &str, of: Charged) -> Result<Item, Refused> {
        let about = self.known().called(of, self.day).ok_or(Refused::NoUnit)?;
        let what = What::Address(Address { name: name.to_owned(), of });
        match self.standing_address(name) {
            Some(record) => self.edit.turn(record, self.day, what),
            None => {
                let all = self.edit.next.addresses_under(&Key::Address(name.to_owned()));
                let later = all.filter_map(|(_, span, _)| span.from()).filter(|from| *from > self.day).min();
                if let Some(span) = Span::new(Some(self.day), later) {
                    self.edit.add(span, what);
                }
            }
        }
        let (day, ja) = (self.day, self.day.in_era());
        self.item(Kind::Changed, about, words!("宛先 {name}({ja}から)", "reached by {name} from {day} on"))
    }

    /// Says that an address reaches nobody from the day on.
    ///
    /// # Errors
    /// [`Refused`], also where it reaches nobody; then nothing is done.
    pub fn end_address(&mut self, name: &str) -> Result<Item, Refused> {
        let record = self.standing_address(name).ok_or(Refused::NoAddress)?;
        self.edit.end(record, self.day);
        let (day, ja) = (self.day, self.day.in_era());
        let told = words!("宛先の廃止({ja})", "the address ends on {day}");
        self.item(Kind::Ended, name.to_owned(), told)
    }

    fn standing_address(&self, name: &str) -> Option<RecordId> {
        let mut all = self.edit.next.addresses_under(&Key::Address(name.to_owned()));
        all.find(|(_, span, _)| span.holds(self.day)).map(|(record, ..)| record)
    }

    /// What takes something's place is reached by its addresses, and responsible for all that it was.
    pub(crate) fn hand_on(&mut self, from: Charged, to: Charged) {
        if from == to {
            return;
        }
        let addresses = self.edit.next.addresses_under(&Key::AddressesOf(from));
        let addresses: Vec<_> = addresses
            .filter(|(_, span, _)| !span.is_over(self.day))
            .map(|(record, _, address)| (record, Address { of: to, ..address.clone() }))
            .collect();
        for (record, address) in addresses {
            self.edit.turn(record, self.day, What::Address(address));
        }
        self.join_charges(from, to);
    }

    /// What takes something's place is responsible for all that it was.
    fn join_charges(&mut self, from: Charged, to: Charged) {
        let old = self.known().charges(from, self.day);
        if old.is_empty() {
            return;
        }
        let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
        for matter in self.known().charges(to, self.day).iter().chain(old) {
            if seen.insert(matter) {
                all.push(matter.clone());
            }
        }
        self.set_charges(to, all);
    }

    fn set_charges(&mut self, of: Charged, matters: Vec<String>) {
        let all = self.edit.next.charges_under(&Key::ChargesOf(of));
        let all: Vec<_> = all.map(|(record, span, _)| (record, span)).collect();
        let stands = all.iter().find(|(_, span)| span.holds(self.day)).map(|(record, _)| *record);
        let what = What::Charge(Charge { of, words: matters });
        let says_nothing = matches!(&what, What::Charge(charge) if charge.words.is_empty());
        match stands {
            Some(record) if says_nothing => self.edit.end(record, self.day),
            Some(record) => self.edit.turn(record, self.day, what),
            None if says_nothing => {}
            None => {
                // Until what is planned for later begins.
                let later = all.iter().filter_map(|(_, span)| span.from()).filter(|from| *from > self.day);
                if let Some(span) = Span::new(Some(self.day), later.min()) {
                    self.edit.add(span, what);
                }
            }
        }
    }
}
