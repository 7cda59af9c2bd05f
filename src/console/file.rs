//! One file: what is known of it, withheld, protected, deleted. Files of other servers are withheld from the people of the
//! authority alone, whether there is such a file or not.

use std::sync::Arc;

use ::account::Browser;
use media::FileInfo;
use pages::{Markup, PageError, Visit, html};
use ruma::{OwnedMxcUri, OwnedServerName};
use web::{ApiError, Open, RawCall, Response, StatusCode};

use crate::{
    console::{Console, FILE, FILES, OWN_FILES, actor},
    files::state,
    frame::{link, moment, page, password_field, size},
    powers::Powers,
    told::{refused, told},
};

/// Longest address of a file, in bytes.
const LONGEST: usize = 400;

/// What is told once something was done.
const DONE: [(&str, (&str, &str)); 4] = [
    ("withhold", ("非公開にしました。", "It is withheld.")),
    ("release", ("公開に戻しました。", "It is shown again.")),
    ("protect", ("保護しました。", "It is protected.")),
    ("unprotect", ("保護を解除しました。", "It is protected no more.")),
];

/// Which file is meant, and what is known of it.
struct Meant {
    uri: OwnedMxcUri,
    server: OwnedServerName,
    id: String,
    /// Nothing of other servers'.
    own: Option<FileInfo>,
    withheld_by: Option<String>,
}

impl Console {
    async fn file(&self, visit: &Visit, uri: &str) -> Result<Meant, PageError> {
        let uri = OwnedMxcUri::from(uri.trim());
        if uri.as_str().len() > LONGEST {
            return Err(PageError::not_found());
        }
        let (server, id) = uri.parts().map_err(|_| PageError::not_found())?;
        let (server, id) = (server.to_owned(), id.to_owned());
        let authority = visit.authority();
        if server == authority {
            let file = self.media.find_file(authority, &id).await.map_err(told)?;
            let file = file.ok_or_else(PageError::not_found)?;
            return Ok(Meant { uri, server, id, withheld_by: file.withheld_by.clone(), own: Some(file) });
        }
        // Whether the other server is one of ours, too, or has such a file, is not looked at.
        let withheld_by = self.media.find_withheld(authority, (&server, &id)).await.map_err(told)?;
        Ok(Meant { uri, server, id, own: None, withheld_by })
    }
}

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let query = visit.query()?;
        let file = console.file(&visit, query.get("uri")).await?;
        one(&console, &visit, (&browser, &powers), &file, (query.get("done"), None)).await
    };
    console.answer(call, Powers::administers, handler).await
}

async fn one(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    file: &Meant,
    (done, error): (&str, Option<&PageError>),
) -> Result<Response, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        (visit.problem(error))
        @if let Some((_, told)) = DONE.iter().find(|(word, _)| *word == done) {
            p.card role="status" { (say(told.0, told.1)) }
        }
        div.card { dl {
            dt { (say("アドレス", "Address")) } dd.id { (file.uri) }
            @if let Some(own) = &file.own { (known(visit, own)) }
            @if let Some(by) = &file.withheld_by {
                dt { (say("非公開にした人", "Withheld by")) } dd.id { (by) }
            }
        } }
        @if file.own.is_none() {
            p { (say(
                "他のサーバーのファイルです。非公開にすると、この組織の人には表示されません。ほかの組織には影響しません。",
                "This is another server's file. Withheld, it is not shown to people of this authority; others are shown it all the same.",
            )) }
        }
        (deeds(visit, file))
        @if file.own.is_some() {
            h2 { (say("削除", "Deleting it")) }
            form.card method="post" action=(FILE) {
                (visit.proof())
                input type="hidden" name="uri" value=(file.uri);
                p { (say(
                    "ファイルを完全に削除します。取り消せません。他のサーバーにある写しは残ることがあります。",
                    "It goes for good; copies at other servers may stay.",
                )) }
                (password_field(&console.accounts, visit, browser).await?)
                div.actions { button.danger name="do" value="delete" { (say("削除する", "Delete it")) } }
            }
        }
        p { a href=(FILES) { (say("一覧に戻る", "Back to the list")) } }
    };
    let page = page(visit, powers, say("ファイル", "File"), body).status_of(error);
    Ok(visit.page(page.again_at(link(FILE, &[("uri", file.uri.as_str())]))))
}

fn known(visit: &Visit, file: &FileInfo) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    html! {
        dt { (say("名前", "Name")) } dd { (file.name.as_deref().unwrap_or_default()) }
        dt { (say("種類", "Type")) } dd.id { (file.kind) }
        dt { (say("容量", "Size")) } dd { (size(file.size)) }
        dt { (say("アップロード", "Uploaded")) } dd { (moment(visit, file.created)) }
        @if let Some(by) = &file.by {
            dt { (say("アップロードした人", "Uploaded by")) }
            dd.id { a href=(link(OWN_FILES, &[("user", by)])) { (by) } }
        }
        dt { (say("状態", "State")) } dd { (state(visit, file)) }
        dt { "SHA-256" } dd.id { (file.hash()) }
    }
}

fn deeds(visit: &Visit, file: &Meant) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    let withheld = match file.withheld_by {
        Some(_) => ("release", say("公開に戻す", "Show it again")),
        None => ("withhold", say("非公開にする", "Withhold it")),
    };
    let is_protected = file.own.as_ref().map(|own| own.protected);
    let protected = is_protected.map(|is| match is {
        true => ("unprotect", say("保護を解除する", "Protect it no more")),
        false => ("protect", say("保護する（非公開にされないようにする）", "Protect it from being withheld")),
    });
    html! {
        form.card method="post" action=(FILE) {
            (visit.proof())
            input type="hidden" name="uri" value=(file.uri);
            div.actions { @for (word, name) in std::iter::once(withheld).chain(protected) {
                button.second[word != "withhold"] name="do" value=(word) { (name) }
            } }
        }
    }
}

/// Does something to a file. What it is already, it stays.
pub(crate) async fn change(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let form = visit.form()?;
        let file = console.file(&visit, form.get("uri")).await?;
        let (media, by, authority) = (&console.media, actor(&visit, &browser, &powers), visit.authority());
        let place = (&*file.server, file.id.as_str());
        let what = form.get("do");
        let own = file.own.as_ref();
        let done = match what {
            "withhold" if own.is_some_and(|own| own.protected) => Err(is_protected()),
            "withhold" | "release" => {
                let done = media.withhold_for(authority, place, what == "withhold", &by).await;
                done.map(|known| known.is_some()).map_err(told)
            }
            "protect" | "unprotect" if own.is_some() => {
                media.protect(authority, &file.id, what == "protect", &by).await.map_err(told)
            }
            "delete" if own.is_some() => match console.unconfirmed(&visit, &browser, &form).await? {
                Some(error) => Err(error),
                None => media.take_away(authority, &file.id, &by).await.map_err(told),
            },
            _ => return Err(PageError::not_found()),
        };
        match (done, own.and_then(|own| own.by.as_deref())) {
            (Ok(false), _) => Err(PageError::not_found()),
            (Ok(true), Some(by)) if what == "delete" => Ok(visit.redirect(&link(OWN_FILES, &[("user", by)]))),
            (Ok(true), None) if what == "delete" => Ok(visit.redirect(FILES)),
            (Ok(true), _) => Ok(visit.redirect(&link(FILE, &[("uri", file.uri.as_str()), ("done", what)]))),
            (Err(error), _) => {
                let error = refused(error)?;
                one(&console, &visit, (&browser, &powers), &file, ("", Some(&error))).await
            }
        }
    };
    console.answer(call, Powers::administers, handler).await
}

fn is_protected() -> PageError {
    PageError::new(
        StatusCode::CONFLICT,
        "保護されているため、非公開にできません。先に保護を解除してください。",
        "It is protected, so it is not withheld; protect it no more first.",
    )
}
