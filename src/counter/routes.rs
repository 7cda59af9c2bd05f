//! Which handler answers what.

use std::sync::Arc;

use web::{Method, Routes};

use crate::{
    ask, case,
    counter::{AGAIN, ASK, ASK_FOR, CASE, CASES, Counter, DEPUTIES, HOME, RIGHTS},
    deputies, home, rights,
};

/// The routes of the counter. The pages on which people sign in are the client interface's, and have to be on the same
/// listener.
pub fn routes(counter: Arc<Counter>) -> Routes<()> {
    Routes::new(counter)
        .raw(Method::GET, HOME, home::show)
        .raw(Method::GET, "/_yakuba/counter/", home::lead)
        .raw(Method::GET, CASES, home::own)
        .raw(Method::GET, ASK, ask::kinds)
        .raw(Method::GET, ASK_FOR, ask::show)
        .raw(Method::POST, ASK_FOR, ask::send)
        .raw(Method::GET, CASE, case::show)
        .raw(Method::POST, CASE, case::decide)
        .raw(Method::GET, AGAIN, ask::show_again)
        .raw(Method::POST, AGAIN, ask::send_again)
        .raw(Method::GET, DEPUTIES, deputies::show)
        .raw(Method::POST, DEPUTIES, deputies::change)
        .raw(Method::GET, RIGHTS, rights::show)
        .erase()
}
