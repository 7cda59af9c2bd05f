//! Who has which duty.

use std::{collections::BTreeSet, sync::Arc};

use ::account::AccountQuery;
use duties::Duty;
use pages::{Visit, html};
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
        let mut holders: Vec<(String, bool, BTreeSet<Duty>)> = administrators
            .into_iter()
            .map(|account| (account.user_id.to_string(), true, BTreeSet::new()))
            .collect();
        for (user, duties) in console.duties.holders(visit.authority()).await.map_err(told)? {
            match holders.iter_mut().find(|(known, ..)| *known == user) {
                Some((.., known)) => *known = duties,
                None => holders.push((user, false, duties)),
            }
        }
        let say = |japanese, english| visit.say(japanese, english);
        let names = |administers: bool, duties: &BTreeSet<Duty>| {
            let administrator = administers.then_some(say("全体管理者", "administrator"));
            let duties = duties.iter().map(|duty| visit.language().pick(duty.names().0, duty.names().1));
            administrator.into_iter().chain(duties).collect::<Vec<_>>().join(say("、", ", "))
        };
        let rows = holders.iter().map(|(user, administers, duties)| {
            let account = html! { a.id href=(link(ACCOUNT, &[("user", user)])) { (user) } };
            vec![account, text(names(*administers, duties))]
        });
        let body = html! {
            p { (say(
                "役割の付与は、窓口で申請して全体管理者二人が承認するか（期限つき）、サーバーのコマンドで行います（一人で二人分の承認ができないようにするためです）。",
                "A duty is asked for at the counter and agreed to by two administrators, until a day, or given at the command line of the server: nobody is to make himself two people.",
            )) }
            p { code { "yakuba user duty " (say("ユーザー名", "NAME")) " --server-name " (visit.authority()) " --give personnel" } " (audit, reading)" }
            (table(&[say("アカウント", "Account"), say("役割", "Duties")], rows))
        };
        Ok(visit.page(page(&visit, &powers, say("役割", "Duties"), body)))
    };
    console.answer(call, Powers::administers, handler).await
}
