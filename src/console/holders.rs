//! Who has which duty.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ::account::AccountQuery;
use duties::{Held, Part};
use pages::{PageError, Visit, html};
use ruma::{OwnedUserId, UserId};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    console::{ACCOUNT, Console},
    frame::{link, page, table, text},
    powers::Powers,
    told::told,
};

/// Administrators who are listed.
const MOST_ADMINISTRATORS: usize = 500;

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, _browser: ::account::Browser, powers: Powers| {
        let administrators = AccountQuery {
            limit: MOST_ADMINISTRATORS,
            admins: Some(true),
            deactivated: Some(false),
            ..AccountQuery::default()
        };
        let administrators = console.list_accounts(&visit, &administrators).await?.accounts;
        let mut holders: Vec<(String, bool, Held)> = administrators
            .into_iter()
            .map(|account| (account.user_id.to_string(), true, Held::default()))
            .collect();
        for (user, held) in console.duties.holders(visit.authority()).await.map_err(told)? {
            match holders.iter_mut().find(|(known, ..)| *known == user) {
                Some((.., known)) => *known = held,
                None => holders.push((user, false, held)),
            }
        }
        let parts: BTreeSet<Part> =
            holders.iter().flat_map(|(.., held)| held.parts.iter().copied()).collect();
        let called = console.called(&visit, &parts).await?;
        let all = holders.iter().flat_map(|(user, _, held)| {
            let id = UserId::parse(user).ok();
            id.into_iter().flat_map(|id| held.parts.iter().map(move |part| (id.clone(), *part)))
        });
        let all: Vec<(OwnedUserId, Part)> = all.collect();
        let asked = all.iter().map(|(user, part)| (user.clone(), part.scope())).collect();
        let authority = visit.authority();
        let serve = console.personnel.serve_in(authority, authority.as_str(), asked).await.map_err(told)?;
        let serving = all.into_iter().zip(serve).filter(|(_, serves)| *serves);
        let serving: BTreeSet<_> = serving.map(|((user, part), _)| (user.to_string(), part)).collect();
        let say = |japanese, english| visit.say(japanese, english);
        let names = |user: &str, administers: bool, held: &Held| {
            let administrator = administers.then_some(say("全体管理者", "administrator")).map(str::to_owned);
            let pick = |names: (&'static str, &'static str)| visit.language().pick(names.0, names.1);
            let duties = held.duties.iter().map(|duty| pick(duty.names()).to_owned());
            let parts = held.parts.iter().map(|part| {
                let of = called
                    .get(part)
                    .map_or_else(|| say("所属が終わっています", "which is no more").to_owned(), Clone::clone);
                let is_gone = called.contains_key(part) && !serving.contains(&(user.to_owned(), *part));
                let gone = say("。職がないため無効", ", in which he has no post any more");
                // By its number as well: so it is taken away whatever it is called.
                format!("{} ({part} {of}{})", pick(Part::NAMES), if is_gone { gone } else { "" })
            });
            administrator.into_iter().chain(duties).chain(parts).collect::<Vec<_>>().join(say("、", ", "))
        };
        let rows = holders.iter().map(|(user, administers, held)| {
            let account = html! { a.id href=(link(ACCOUNT, &[("user", user)])) { (user) } };
            vec![account, text(names(user, *administers, held))]
        });
        let body = html! {
            p { (say(
                "役割の付与は、窓口で申請して全体管理者二人が承認するか（期限つき）、サーバーのコマンドで行います（一人で二人分の承認ができないようにするためです）。",
                "A duty is asked for at the counter and agreed to by two administrators, until a day, or given at the command line of the server: nobody is to make himself two people.",
            )) }
            p { code { "yakuba user duty " (say("ユーザー名", "NAME")) " --server-name " (visit.authority()) " --give personnel" } " (approval, audit, reading)" br;
                code { "yakuba user part " (say("ユーザー名", "NAME")) " --server-name " (visit.authority()) " --give " (say("所属", "UNIT")) } }
            (table(&[say("アカウント", "Account"), say("役割", "Duties")], rows))
        };
        Ok(visit.page(page(&visit, &powers, say("役割", "Duties"), body)))
    };
    console.answer(call, Powers::administers, handler).await
}

impl Console {
    /// What parts of the organisation are called today; nothing of those that are no more.
    async fn called(
        &self,
        visit: &Visit,
        parts: &BTreeSet<Part>,
    ) -> Result<BTreeMap<Part, String>, PageError> {
        if parts.is_empty() {
            return Ok(BTreeMap::new());
        }
        let scopes = parts.iter().map(|part| part.scope()).collect();
        let called = self.personnel.called(visit.authority(), scopes).await.map_err(told)?;
        Ok(parts.iter().zip(called).filter_map(|(part, called)| Some((*part, called?))).collect())
    }
}
