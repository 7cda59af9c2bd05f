//! What units and posts are responsible for (事務分掌), as somebody says it by hand.

use std::collections::BTreeSet;

use crate::{
    item::{Item, Kind},
    organisation::Key,
    reorganise::{Refused, Reorganisation},
    span::Span,
    statement::{Charge, Charged, What},
    words::words,
};

impl Reorganisation<'_> {
    /// Says what a unit or a post is responsible for from the day on; nothing takes it back.
    ///
    /// # Errors
    /// [`Refused`]; then nothing is done.
    pub fn charge(&mut self, of: Charged, matters: &[String]) -> Result<Item, Refused> {
        let about = self.name_of_charged(of).ok_or(Refused::NoUnit)?;
        self.set_charges(of, matters.to_vec());
        let (day, ja) = (self.day, self.day.in_era());
        let (matters, matters_en) = (matters.join("、"), matters.join(", "));
        let told = match matters.is_empty() {
            true => words!("担当業務なし({ja}から)", "responsible for nothing from {day} on"),
            false => words!("担当業務: {matters}({ja}から)", "responsible from {day} on for: {matters_en}"),
        };
        self.item(Kind::Changed, about, told)
    }

    fn name_of_charged(&self, of: Charged) -> Option<String> {
        let known = self.known();
        match of {
            Charged::Unit(unit) => known.unit(unit, self.day).map(|unit| unit.name.clone()),
            Charged::Post(post) => {
                let post = known.post(post, self.day)?;
                let unit = known.unit(post.unit, self.day)?;
                Some(format!("{} {}", unit.name, post.title))
            }
        }
    }

    /// What takes something's place is responsible for all that it was.
    pub(crate) fn join_charges(&mut self, from: Charged, to: Charged) {
        let old = self.known().charges(from, self.day);
        if from == to || old.is_empty() {
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
