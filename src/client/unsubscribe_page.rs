//! Where a mail of unread messages leads to whoever wants no more of them.
//!
//! It asks for a press of a button, as programs that look through mails open what is in them; a program that acts for its user sends
//! the same POST without being asked (RFC 8058), with nothing but the link to show.

use std::sync::Arc;

use pages::{Form, Page, Visit, html};
use web::{ApiError, Open, RawCall, Response};

use crate::ClientApi;

const PATH: &str = "/_yakuba/client/unsubscribe";

/// `GET /_yakuba/client/unsubscribe`: what a press of the button does.
pub(crate) async fn show(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let token = Form::escape(visit.query()?.get("token"));
        let path = format!("{PATH}?token={token}");
        let say = |japanese, english| visit.say(japanese, english);
        let body = html! {
            p { (say(
                "未読メッセージのメール通知を停止します。",
                "You will get no more mails about unread messages.",
            )) }
            form.card method="post" action=(path) {
                div.actions { button { (say("配信を停止する", "Unsubscribe")) } }
            }
            p.note { (say(
                "アプリの通知設定で、いつでも再開できます。",
                "You can switch them on again in the settings of your app.",
            )) }
        };
        Ok(visit.page(Page::new(title(&visit), body).again_at(path)))
    };
    api.pages.answer(call, answer).await
}

/// `POST /_yakuba/client/unsubscribe`: no more mails come. What is in the body says nothing more.
///
/// See RFC 8058, section 3.2.
pub(crate) async fn end(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        api.push.end_mails(visit.authority(), visit.query()?.get("token")).await?;
        let text = visit.say(
            "このアドレスへのメール通知を停止しました。",
            "No more mails about unread messages are sent to this address.",
        );
        Ok(visit.page(Page::new(title(&visit), html! { p role="status" { (text) } })))
    };
    api.pages.answer(call, answer).await
}

fn title(visit: &Visit) -> &'static str {
    visit.say("メール通知の停止", "Unsubscribe")
}
