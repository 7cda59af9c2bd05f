//! What the visitor may, where he is now, and why.

use std::sync::Arc;

use classes::Asked;
use pages::{Visit, html, table, text};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    counter::Counter,
    frame::{page, said},
};

pub(crate) async fn show(counter: Arc<Counter>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: ::account::Browser| {
        let user = &*browser.user_id;
        let address = visit.address();
        let zone = address.as_ref().and_then(|address| address.zone());
        let needs_factor = counter.accounts.is_set_to_need_factor(user, browser.admin).await?;
        let asked = Asked { user, zone, needs_factor };
        let explained = counter.classes.explain(&asked).with_files(visit.call.zone.as_ref());
        let say = |japanese, english| visit.say(japanese, english);
        let heads = [say("内容", "What"), say("できること", "How far"), say("理由", "Why")];
        let rows = explained.lines.iter().map(|line| {
            let may = said(&visit, &line.may);
            let may = if line.is_bounded {
                html! { strong { (may) } }
            } else {
                text(may)
            };
            vec![text(said(&visit, &line.what)), may, text(said(&visit, &line.why))]
        });
        let body = html! {
            div.card { dl {
                dt { (say("アカウント", "Account")) } dd.id { (user) }
                dt { (say("任用区分", "Class of employment")) } dd {
                    @match &explained.class {
                        Some(class) => (said(&visit, class)),
                        None => (say("制限のある区分ではありません", "none of which something is said")),
                    }
                }
                dt { (say("現在のネットワーク区域", "Network zone in which you are")) } dd {
                    @match &explained.zone {
                        Some(zone) => span.id { (zone) },
                        None => (say("区域の設定なし", "none that is known")),
                    }
                }
            } }
            (table(&heads, rows))
            p.note { (say(
                "区分は人事情報に従います。誤りがあるときは人事担当へ、制限の変更は管理者にご相談ください。",
                "Your class is as the organisation has it: if it is wrong, please tell your personnel office. Administrators can change what it may.",
            )) }
            p { a href="/_yakuba/account?action=org.matrix.devices_list" { (say("自分の端末", "My devices")) } }
        };
        Ok(visit.page(page(&visit, say("私の権限", "What I may"), body)))
    };
    counter.answer(call, handler).await
}
