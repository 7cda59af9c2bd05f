//! The state of the pages, where they are, and who comes in.

use std::{fmt, sync::Arc};

use ::account::{Accounts, Browser};
use ::cases::Cases;
use audit::{Action, Actor, Deed};
use base::{Clock, Crowded, Random, Turn, Turns, lane_of};
use domains::Domains;
use duties::{Duties, Held};
use mail::Mails;
use media::Media;
use oversight::Oversight;
use pages::{Form, PageError, Pages, Visit};
use personnel::{Answer, By, Order, Personnel};
use room::Rooms;
use rules::Rules;
use ruma::UserId;
use store::{Batch, Store};
use syslog::Forwarder;
use web::{ApiError, Method, Open, RawCall, Response, RouteName, StatusCode};

use crate::{
    powers::Powers,
    told::{of_password, told},
};

pub(crate) const HOME: &str = "/_yakuba/console";
/// The pages of all staff, which are wherever these are.
pub(crate) const COUNTER: &str = "/_yakuba/counter";
pub(crate) const ORGANISATION: &str = "/_yakuba/console/organisation";
pub(crate) const EDIT: &str = "/_yakuba/console/organisation/edit";
pub(crate) const PEOPLE: &str = "/_yakuba/console/people";
pub(crate) const CHANGES: &str = "/_yakuba/console/changes";
pub(crate) const DOMAINS: &str = "/_yakuba/console/domains";
pub(crate) const IMPORT: &str = "/_yakuba/console/import";
pub(crate) const MAPPINGS: &str = "/_yakuba/console/mappings";
pub(crate) const CHANGE: &str = "/_yakuba/console/changes/{id}";
pub(crate) const UNDO: &str = "/_yakuba/console/changes/{id}/undo";
pub(crate) const ROOMS: &str = "/_yakuba/console/rooms";
pub(crate) const ACCOUNTS: &str = "/_yakuba/console/accounts";
pub(crate) const ACCOUNT: &str = "/_yakuba/console/account";
pub(crate) const TOKENS: &str = "/_yakuba/console/tokens";
pub(crate) const TOKEN: &str = "/_yakuba/console/token";
pub(crate) const REPORTS: &str = "/_yakuba/console/reports";
pub(crate) const REPORT: &str = "/_yakuba/console/reports/{id}";
pub(crate) const FILES: &str = "/_yakuba/console/files";
pub(crate) const OWN_FILES: &str = "/_yakuba/console/files/user";
pub(crate) const FILE: &str = "/_yakuba/console/file";
pub(crate) const PEERS: &str = "/_yakuba/console/federation";
pub(crate) const PEER: &str = "/_yakuba/console/federation/server";
pub(crate) const STORAGE: &str = "/_yakuba/console/storage";
pub(crate) const CASES: &str = "/_yakuba/console/cases";
pub(crate) const RECOVERY: &str = "/_yakuba/console/recovery";
pub(crate) const AUDIT: &str = "/_yakuba/console/audit";
pub(crate) const AUDIT_FILE: &str = "/_yakuba/console/audit/file";
pub(crate) const AUDIT_HOLD: &str = "/_yakuba/console/audit/hold";
pub(crate) const DUTIES: &str = "/_yakuba/console/duties";

/// Where somebody signs in; the page is the client interface's.
const SIGN_IN: &str = "/_yakuba/sign-in";

/// So many look through much at once.
const LOOKS: usize = 2;

/// So many may wait for that, of all authorities.
const MOST_WAITING: usize = 64;

/// What the console is made of.
pub struct Parts {
    /// The kit of pages, which knows who is signed in.
    pub pages: Arc<Pages>,
    /// The accounts.
    pub accounts: Accounts,
    /// The personnel desk.
    pub personnel: Personnel,
    /// Rooms by rule.
    pub rules: Rules,
    /// What needs the consent of others.
    pub cases: Cases,
    /// Mail domains, and the accounts that people there have made for themselves.
    pub domains: Domains,
    /// Who has which duty.
    pub duties: Duties,
    /// The rooms, to be read.
    pub rooms: Rooms,
    /// Files of users.
    pub media: Media,
    /// Mails that wait.
    pub mails: Mails,
    /// What administrators see and do that is no single crate's.
    pub oversight: Oversight,
    /// Who sends audit logs to their log servers.
    pub log_servers: Forwarder,
    /// What removes rows of audit logs that were kept long enough.
    pub retirer: Arc<audit::Retirer>,
    /// The store, of which the audit log is read.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
}

/// The state of the pages.
pub struct Console {
    pub(crate) pages: Arc<Pages>,
    pub(crate) accounts: Accounts,
    pub(crate) personnel: Personnel,
    pub(crate) rules: Rules,
    pub(crate) cases: Cases,
    pub(crate) domains: Domains,
    pub(crate) duties: Duties,
    pub(crate) rooms: Rooms,
    pub(crate) media: Media,
    pub(crate) mails: Mails,
    pub(crate) oversight: Oversight,
    pub(crate) log_servers: Forwarder,
    pub(crate) retirer: Arc<audit::Retirer>,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    /// Whose turn it is to look through all accounts, rooms or rows.
    looking: Turns<()>,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl Console {
    /// The console of all authorities of a process.
    pub fn new(parts: Parts) -> Console {
        let Parts {
            pages,
            accounts,
            personnel,
            rules,
            cases,
            domains,
            duties,
            rooms,
            media,
            mails,
            oversight,
            log_servers,
            retirer,
            store,
            clock,
            random,
        } = parts;
        Console {
            pages,
            accounts,
            personnel,
            rules,
            cases,
            domains,
            duties,
            rooms,
            media,
            mails,
            oversight,
            log_servers,
            retirer,
            store,
            clock,
            random,
            looking: Turns::new(LOOKS, MOST_WAITING),
        }
    }

    /// Who is signed in, and what he may. Asked anew for each request.
    ///
    /// # Errors
    /// 401 where nobody is; 403 for who has nothing to do here.
    pub(crate) async fn admit(&self, visit: &Visit) -> Result<(Browser, Powers), PageError> {
        let browser = visit.signed_in()?.clone();
        let held = self.duties.held(&browser.user_id).await.map_err(told)?;
        let powers = Powers::of(&browser, self.standing(&browser.user_id, held).await?);
        if powers.is_any() {
            return Ok((browser, powers));
        }
        Err(PageError::forbidden(
            "このアカウントは管理画面を使えません。必要な場合は、全体管理者に役割の付与を依頼してください。",
            "This account has nothing to do on the console. Ask an administrator of your authority for a duty if you need one.",
        ))
    }

    /// What somebody has, with those parts of the organisation alone in which he has a post today: whoever is transferred
    /// sees to his old department no more, without anybody having to think of it.
    pub(crate) async fn standing(&self, user: &UserId, held: Held) -> Result<Held, PageError> {
        if held.parts.is_empty() {
            return Ok(held);
        }
        let all = held.parts.iter().map(|part| (user.to_owned(), part.scope())).collect();
        let serves = self.personnel.serve_in(user.server_name(), user.as_str(), all).await.map_err(told)?;
        let parts = held.parts.iter().zip(serves).filter(|(_, serves)| *serves).map(|(part, _)| *part);
        Ok(Held { parts: parts.collect(), ..held })
    }

    /// The same for what `may` says. A try at what changes something is told of in the audit log.
    ///
    /// # Errors
    /// 401 where nobody is signed in; 403 for who may not.
    pub(crate) async fn admit_to(
        &self,
        visit: &Visit,
        may: fn(&Powers) -> bool,
    ) -> Result<(Browser, Powers), PageError> {
        let (powers, refused) = match self.admit(visit).await {
            Ok((browser, powers)) if may(&powers) => return Ok((browser, powers)),
            Ok((_, powers)) => (powers, not_yours()),
            Err(refused) if refused.status() == StatusCode::FORBIDDEN => (Powers::default(), refused),
            Err(error) => return Err(error),
        };
        let browser = visit.signed_in()?;
        Err(self.refuse(visit, (browser, &powers), refused).await?)
    }

    /// What somebody is told who wanted what is for others; where that would have changed something, the audit log tells of it.
    pub(crate) async fn refuse(
        &self,
        visit: &Visit,
        (browser, powers): (&Browser, &Powers),
        refused: PageError,
    ) -> Result<PageError, PageError> {
        if visit.call.parts.method != Method::GET {
            let route = visit.call.parts.extensions.get::<RouteName>();
            let route = route.map_or("", |route| &*route.0);
            let by = actor(visit, browser, powers);
            self.accounts.note_refusal(&browser.user_id, &by, route).await?;
        }
        Ok(refused)
    }

    /// Answers a visit of somebody who may do what `may` says. Who is not signed in is led to where he signs in.
    pub(crate) async fn answer<F>(
        &self,
        call: RawCall<Open>,
        may: fn(&Powers) -> bool,
        handler: impl FnOnce(Visit, Browser, Powers) -> F,
    ) -> Result<Response, ApiError>
    where
        F: Future<Output = Result<Response, PageError>>,
    {
        let answer = async |visit: Visit| {
            if visit.browser().is_none() && visit.call.parts.method == Method::GET {
                return Ok(visit.redirect(&format!("{SIGN_IN}?back={}", Form::escape(visit.here()))));
            }
            let (browser, powers) = self.admit_to(&visit, may).await?;
            handler(visit, browser, powers).await
        };
        self.pages.answer(call, answer).await
    }

    /// Has an order carried out for whoever is signed in, who may give it: `may` is asked once more of what he has now, and
    /// that stands when it is written, however long his turn takes to come.
    pub(crate) async fn order(
        &self,
        visit: &Visit,
        browser: &Browser,
        may: impl Fn(&Powers) -> bool + Sync,
        order: Order,
    ) -> Result<Answer, PageError> {
        let (powers, demands) = self.demand(browser, &may).await?;
        let by = By::demanding(actor(visit, browser, &powers), Arc::new(demands));
        self.personnel.carry_out_for(visit.authority(), order, by).await.map_err(told)
    }

    /// What whoever is signed in may do by now, and what a batch demands of him: that he may still do what `may` says.
    ///
    /// # Errors
    /// 403 where he may not by now.
    pub(crate) async fn demand(
        &self,
        browser: &Browser,
        may: &(dyn Fn(&Powers) -> bool + Sync),
    ) -> Result<(Powers, impl Fn(&mut Batch) + Send + Sync + use<>), PageError> {
        let user = &browser.user_id;
        let account = self.accounts.demand_account(user).await?;
        let (held, stands) = self.duties.demand(user).await.map_err(told)?;
        let now = self.accounts.find_account(user).await?.ok_or_else(not_yours)?;
        let browser = Browser { admin: now.admin, suspended: now.moderation.suspended, ..browser.clone() };
        let powers = Powers::of(&browser, self.standing(&browser.user_id, held).await?);
        if now.moderation.locked || !may(&powers) {
            return Err(not_yours());
        }
        let demands = move |batch: &mut Batch| {
            account(batch);
            stands(batch);
        };
        Ok((powers, demands))
    }

    /// Has an order carried out that changes nothing.
    pub(crate) async fn ask(
        &self,
        visit: &Visit,
        browser: &Browser,
        order: Order,
    ) -> Result<Answer, PageError> {
        // What changes nothing leaves no row.
        let by = actor(visit, browser, &Powers::default());
        self.personnel.carry_out(visit.authority(), order, &by).await.map_err(told)
    }

    /// The password again, as a form sends it: what its page is shown with once more where it is not right.
    ///
    /// # Errors
    /// Our own, which are not.
    pub(crate) async fn unconfirmed(
        &self,
        visit: &Visit,
        browser: &Browser,
        form: &Form,
    ) -> Result<Option<PageError>, PageError> {
        match self.accounts.confirm_own(browser, form.get("password"), visit.address()).await {
            Ok(()) => Ok(None),
            Err(error) => of_password(error).map(Some),
        }
    }

    /// Notes in the audit log that somebody read what is not his, before it is shown.
    pub(crate) async fn note(
        &self,
        visit: &Visit,
        (browser, powers): (&Browser, &Powers),
        deed: (Action, &str, &'static str),
    ) -> Result<(), PageError> {
        let (action, whom, what) = deed;
        let deed =
            Deed::new(action, &actor(visit, browser, powers), whom, self.clock.now()).after("what", what);
        let mut batch = Batch::new();
        deed.write(&mut batch, visit.authority());
        self.store.commit(batch).await.map_err(|error| PageError::from(ApiError::from(error)))?;
        Ok(())
    }

    /// The right to look through much, in turn, authorities in rotation.
    pub(crate) async fn turn(&self, visit: &Visit) -> Result<Turn<()>, PageError> {
        self.looking.wait(lane_of(visit.authority().as_str())).await.map_err(|Crowded(_)| {
            PageError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ただいま混み合っています。しばらく待ってから、もう一度お試しください。",
                "Too many look through everything already; please try again in a while.",
            )
        })
    }
}

/// Whoever is signed in, for the audit log, with the duties that he has.
pub(crate) fn actor(visit: &Visit, browser: &Browser, powers: &Powers) -> Actor {
    Actor::user(&browser.user_id, browser.admin, visit.address()).having(powers.duties())
}

/// 403: the page is for others.
pub(crate) fn not_yours() -> PageError {
    PageError::forbidden(
        "この画面を表示する権限がありません。",
        "This page is for people with another duty than yours.",
    )
}

/// An answer to what was not asked: a mistake in the program.
pub(crate) fn unexpected() -> PageError {
    PageError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "サーバーでエラーが起きました。",
        "An error occurred on the server.",
    )
}
