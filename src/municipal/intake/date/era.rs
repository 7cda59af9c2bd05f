//! The eras by which years are counted in Japan (元号), with the days on which they began.
//!
//! Days of Meiji count from 1873 on, when the calendar of today came into use.

use super::Date;

/// An era.
#[derive(Debug)]
pub(super) struct Era {
    pub(super) name: &'static str,
    /// Its first day.
    pub(super) first: Date,
    /// Its first year, which is 元年.
    year_one: u16,
    /// How else it is written at the begin of a day.
    short: &'static [&'static str],
    /// Its digit in the systems of authorities: 5070401 is 1 April of 令和7年.
    pub(super) digit: char,
}

impl Era {
    /// The year of the common calendar.
    pub(super) fn year(&self, of_era: u16) -> Option<u16> {
        self.year_one.checked_add(of_era.checked_sub(1)?)
    }
}

/// Newest first.
pub(super) static ERAS: [Era; 5] = [
    Era {
        name: "令和",
        first: Date { year: 2019, month: 5, day: 1 },
        year_one: 2019,
        short: &["令", "㋿", "R"],
        digit: '5',
    },
    Era {
        name: "平成",
        first: Date { year: 1989, month: 1, day: 8 },
        year_one: 1989,
        short: &["平", "㍻", "H"],
        digit: '4',
    },
    Era {
        name: "昭和",
        first: Date { year: 1926, month: 12, day: 25 },
        year_one: 1926,
        short: &["昭", "㍼", "S"],
        digit: '3',
    },
    Era {
        name: "大正",
        first: Date { year: 1912, month: 7, day: 30 },
        year_one: 1912,
        short: &["大", "㍽", "T"],
        digit: '2',
    },
    Era {
        name: "明治",
        first: Date { year: 1873, month: 1, day: 1 },
        year_one: 1868,
        short: &["明", "㍾", "M"],
        digit: '1',
    },
];

/// The era of a day, and the year in it.
pub(super) fn of(date: Date) -> Option<(&'static Era, u16)> {
    let era = ERAS.iter().find(|era| era.first <= date)?;
    Some((era, date.year - era.year_one + 1))
}

/// The era with whose name a text begins, and the rest of the text.
pub(super) fn named(text: &str) -> Option<(&'static Era, &str)> {
    ERAS.iter().find_map(|era| {
        let names = std::iter::once(&era.name).chain(era.short);
        let rest = names.filter_map(|name| {
            let begin = text.get(..name.len()).filter(|begin| begin.eq_ignore_ascii_case(name))?;
            Some(&text[begin.len()..])
        });
        rest.min_by_key(|rest| rest.len()).map(|rest| (era, rest))
    })
}
