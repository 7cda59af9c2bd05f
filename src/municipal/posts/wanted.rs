//! Which addresses there are on a day, and whom they reach. Pure.

use std::collections::BTreeSet;

use intake::Date;
use organisation::{Charged, Holder, Organisation, user_named};
use ruma::{OwnedUserId, ServerName};

use crate::limits::MOST_REACHED;

/// An address on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) address: String,
    /// Whom it reaches and as what it is shown; nothing, where it is of no use on that day.
    pub(crate) reaches: Option<Reaches>,
}

/// Whom an address reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reaches {
    /// 防災課 課長
    pub(crate) shown: String,
    /// Accounts, whether or not they are open.
    pub(crate) people: BTreeSet<OwnedUserId>,
    /// Who answers for the unit, where none of these has an account that is open.
    pub(crate) instead: BTreeSet<OwnedUserId>,
}

/// The addresses of an authority, also those that were or will be: what came to them is seen to.
pub(crate) fn wanted(known: &Organisation, authority: &ServerName, day: Date) -> Vec<Wanted> {
    let all = known.addresses(day).into_iter().map(|(address, of)| {
        let reaches = of.and_then(|of| {
            let users = |people: Vec<Holder<'_>>| -> BTreeSet<OwnedUserId> {
                let named = |holder: &Holder<'_>| user_named(holder.person.account.as_deref()?, authority);
                people.iter().filter_map(named).take(MOST_REACHED).collect()
            };
            let unit = match of {
                Charged::Unit(unit) => unit,
                Charged::Post(post) => known.post(post, day)?.unit,
            };
            Some(Reaches {
                shown: known.called(of, day)?,
                people: users(known.reached(of, day)),
                instead: users(known.responsible(unit, day)),
            })
        });
        Wanted { address: address.to_owned(), reaches }
    });
    all.collect()
}
