//! Which handler answers what.

use std::sync::Arc;

use base::ByteSize;
use futures_util::future::BoxFuture;
use pages::{Door, PageError, Visit};
use web::{ApiError, LateCall, Method, Response, Routes};

use crate::{
    accounts, agreeing, audit_kept, audit_log, cases, changes, columns,
    console::{
        ACCOUNT, ACCOUNTS, AUDIT, AUDIT_FILE, AUDIT_HOLD, CASES, CHANGE, CHANGES, Console, DOMAINS, DUTIES,
        EDIT, FILE, FILES, HOME, IMPORT, MAPPINGS, ORGANISATION, OWN_FILES, PEER, PEERS, PEOPLE, RECOVERY,
        REPORT, REPORTS, ROOMS, STORAGE, TOKEN, TOKENS, UNDO,
    },
    domains, editing, file, files, holders, home, organisation, peers, people,
    powers::Powers,
    reports, rooms, set, storage, tokens,
};

/// A personnel file as large as they may be, with the fields beside it.
const LARGEST_UPLOAD: ByteSize = ByteSize::mib(17);

/// The routes of the console. The pages on which people sign in are the client interface's, and have to be on the same
/// listener.
pub fn routes(console: Arc<Console>) -> Routes<()> {
    Routes::new(console)
        .raw(Method::GET, HOME, home::show)
        .raw(Method::GET, "/_yakuba/console/", home::lead)
        .raw(Method::GET, ORGANISATION, organisation::show)
        .raw(Method::GET, EDIT, editing::ask)
        .raw(Method::POST, EDIT, editing::gather)
        .raw(Method::GET, PEOPLE, people::show)
        .raw(Method::GET, CHANGES, changes::show)
        .raw(Method::GET, IMPORT, changes::ask)
        .raw(Method::POST, MAPPINGS, columns::save)
        .raw(Method::GET, CHANGE, set::show)
        .raw(Method::POST, CHANGE, set::decide)
        .raw(Method::GET, UNDO, set::ask_to_undo)
        .raw(Method::POST, UNDO, set::undo)
        .raw(Method::GET, DOMAINS, domains::show)
        .raw(Method::POST, DOMAINS, domains::change)
        .raw(Method::GET, ROOMS, rooms::show)
        .raw(Method::GET, ACCOUNTS, accounts::list)
        .raw(Method::GET, ACCOUNT, accounts::show)
        .raw(Method::POST, ACCOUNT, accounts::change)
        .raw(Method::GET, TOKENS, tokens::list)
        .raw(Method::POST, TOKENS, tokens::add)
        .raw(Method::GET, TOKEN, tokens::show)
        .raw(Method::POST, TOKEN, tokens::change)
        .raw(Method::GET, REPORTS, reports::list)
        .raw(Method::GET, REPORT, reports::show)
        .raw(Method::POST, REPORT, reports::remove)
        .raw(Method::GET, FILES, files::list)
        .raw(Method::GET, OWN_FILES, files::of_user)
        .raw(Method::POST, OWN_FILES, files::withhold_all)
        .raw(Method::GET, FILE, file::show)
        .raw(Method::POST, FILE, file::change)
        .raw(Method::GET, PEERS, peers::list)
        .raw(Method::GET, PEER, peers::show)
        .raw(Method::POST, PEER, peers::retry)
        .raw(Method::GET, STORAGE, storage::show)
        .raw(Method::GET, CASES, cases::show)
        .raw(Method::POST, RECOVERY, agreeing::change)
        .raw(Method::GET, AUDIT, audit_log::show)
        .raw(Method::POST, AUDIT_FILE, audit_log::export)
        .raw(Method::POST, AUDIT_HOLD, audit_kept::hold)
        .raw(Method::GET, DUTIES, holders::show)
        .body_limit(LARGEST_UPLOAD)
        .late(Method::POST, IMPORT, import)
        .erase()
}

/// Takes a personnel file of somebody who may bring one in; of others nothing is read.
async fn import(console: Arc<Console>, late: LateCall) -> Result<Response, ApiError> {
    let door = Importing(console.clone());
    console.pages.answer_late(late, &door, |visit| changes::import(console.clone(), visit)).await
}

/// The door of personnel files.
struct Importing(Arc<Console>);

impl Door for Importing {
    fn admit<'a>(&'a self, visit: &'a Visit) -> BoxFuture<'a, Result<(), PageError>> {
        Box::pin(async move { self.0.admit_to(visit, Powers::changes_organisation).await.map(|_| ()) })
    }
}
