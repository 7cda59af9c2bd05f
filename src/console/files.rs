//! Files: how much users keep, and the files of one.

use std::{cmp::Reverse, sync::Arc};

use ::account::Browser;
use audit::Action;
use media::{FileInfo, Uploaded};
use pages::{PageError, Visit, html};
use ruma::{OwnedUserId, UserId};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    accounts::meant,
    console::{Console, FILE, FILES, OWN_FILES, actor},
    csv,
    frame::{field, link, moment, page, password_field, size, table, text},
    powers::Powers,
    told::told,
};

/// Users or files on one page.
const PAGE: usize = 100;

/// Users whose names are read at a time.
const NAMES_AT_A_TIME: usize = 500;

/// Longest text that is looked for, in letters.
const LONGEST: usize = 100;

/// How much somebody keeps.
struct Keeper {
    user: OwnedUserId,
    uploaded: Uploaded,
}

pub(crate) async fn list(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let query = visit.query()?;
        let say = |japanese, english| visit.say(japanese, english);
        let sought: String = query.get("q").trim().chars().take(LONGEST).collect();
        let by_size = query.get("order") == "size";
        let uploaded = {
            let _turn = console.turn(&visit).await?;
            console.media.uploaded(visit.authority(), (0, u64::MAX)).await.map_err(told)?
        };
        let mut keepers: Vec<Keeper> = uploaded
            .into_iter()
            .filter(|(user, _)| user.contains(&sought))
            .filter_map(|(user, uploaded)| Some(Keeper { user: user.try_into().ok()?, uploaded }))
            .collect();
        let rank = |keeper: &Keeper| {
            let bytes = if by_size { keeper.uploaded.bytes } else { 0 };
            (Reverse(bytes), keeper.user.to_string())
        };
        keepers.sort_by_cached_key(rank);
        let heads = [
            say("アカウント", "Account"),
            say("表示名", "Display name"),
            say("ファイル数", "Files"),
            say("容量", "Size"),
        ];
        if query.get("as") == "csv" {
            console.note(&visit, (&browser, &powers), (Action::ExportTable, "", "files by user")).await?;
            let heads = [&heads[..], &[say("バイト数", "Bytes")]].concat();
            let mut rows = Vec::with_capacity(keepers.len());
            for some in keepers.chunks(NAMES_AT_A_TIME) {
                let cells = cells(&console, some).await?.into_iter().zip(some);
                rows.extend(cells.map(|(cells, keeper)| {
                    let mut row = cells.to_vec();
                    row.push(keeper.uploaded.bytes.to_string());
                    row
                }));
            }
            return Ok(visit.file("files-by-user.csv", csv::KIND, csv::written(&heads, rows)));
        }
        let total = keepers.len();
        if let Some((bytes, user)) = query.get("after").split_once('-') {
            let bytes = if by_size { bytes.parse().unwrap_or(u64::MAX) } else { 0 };
            let after = (Reverse(bytes), user.to_owned());
            keepers.retain(|keeper| rank(keeper) > after);
        }
        let more = keepers.len() > PAGE;
        keepers.truncate(PAGE);
        let rows = cells(&console, &keepers).await?.into_iter().map(|[user, rest @ ..]| {
            let user = html! { a.id href=(link(OWN_FILES, &[("user", &user)])) { (user) } };
            std::iter::once(user).chain(rest.into_iter().map(text)).collect()
        });
        let last = keepers.last().filter(|_| more);
        let last = last.map(|last| format!("{}-{}", last.uploaded.bytes, last.user));
        let order = if by_size { "size" } else { "" };
        let kept = [("q", sought.as_str()), ("order", order)];
        let body = html! {
            form.card method="get" action=(FILES) role="search" {
                (field("q", say("ユーザー名の一部", "Part of the user name"), "", html! {
                    input id="q" name="q" type="search" value=(sought) maxlength="100";
                }))
                (field("order", say("並び順", "Order"), "", html! {
                    select id="order" name="order" { @for (word, name) in [
                        ("", say("アカウント順", "by account")),
                        ("size", say("容量の大きい順", "largest first")),
                    ] { option value=(word) selected[word == order] { (name) } } }
                }))
                div.actions { button { (say("探す", "Find")) } }
            }
            p role="status" { (total) (say(" 人", " people")) }
            @if !keepers.is_empty() { (table(&heads, rows)) }
            p {
                @if let Some(last) = &last {
                    a href=(link(FILES, &[kept[0], kept[1], ("after", last)])) { (say("次の 100 人", "The next 100")) } " "
                }
                a href=(link(FILES, &[kept[0], kept[1], ("as", "csv")])) {
                    (say("CSV ダウンロード（Excel 用）", "As a file for spreadsheets (CSV)"))
                }
            }
            h2 { (say("ファイルを指定する", "One file by its address")) }
            form.card method="get" action=(FILE) {
                (field("uri", say("ファイルのアドレス", "Address of the file"), say(
                    "mxc:// で始まります。他のサーバーのファイルも、この組織の人に対して非公開にできます。",
                    "It begins with mxc://. Files of other servers can be withheld from this authority's people as well.",
                ), html! {
                    input id="uri" name="uri" required maxlength="400" pattern="mxc://.+" aria-describedby="uri-remark";
                }))
                div.actions { button.second { (say("表示", "Show")) } }
            }
        };
        Ok(visit.page(page(&visit, &powers, say("ファイル", "Files"), body)))
    };
    console.answer(call, Powers::administers, handler).await
}

async fn cells(console: &Console, keepers: &[Keeper]) -> Result<Vec<[String; 4]>, PageError> {
    let ids: Vec<&UserId> = keepers.iter().map(|keeper| &*keeper.user).collect();
    let profiles = console.accounts.member_profiles(&ids).await?;
    let both = keepers.iter().zip(profiles);
    Ok(both
        .map(|(keeper, profile)| {
            let Uploaded { count, bytes } = keeper.uploaded;
            [keeper.user.to_string(), profile.displayname.unwrap_or_default(), count.to_string(), size(bytes)]
        })
        .collect())
}

/// The files of a user. Their names are his words, so that is read as his account is.
pub(crate) async fn of_user(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let query = visit.query()?;
        let user = meant(&visit, query.get("user"))?;
        let is_file = query.get("as") == "csv";
        let action = if is_file { Action::ExportTable } else { Action::ReadAccount };
        console.accounts.find_account(&user).await?.ok_or_else(PageError::not_found)?;
        console.note(&visit, (&browser, &powers), (action, user.as_str(), "files")).await?;
        if is_file {
            let files = console.files_of(&visit, &user).await?;
            let heads = heads(&visit);
            let rows = files.iter().map(|file| {
                let mut row = cells_of(&visit, file).to_vec();
                row.push(file.size.to_string());
                row
            });
            let heads = [&heads[..], &[visit.say("バイト数", "Bytes")]].concat();
            return Ok(visit.file("files.csv", csv::KIND, csv::written(&heads, rows)));
        }
        one(&console, &visit, (&browser, &powers), &user, query.get("before"), (query.get("done"), None))
            .await
    };
    console.answer(call, Powers::administers, handler).await
}

impl Console {
    /// The files of a user of the visited authority, newest first.
    async fn files_of(&self, visit: &Visit, user: &UserId) -> Result<Vec<FileInfo>, PageError> {
        let _turn = self.turn(visit).await?;
        let mut files = self.media.files_of_user(user).await.map_err(told)?;
        files.sort_by_cached_key(rank);
        Ok(files)
    }
}

/// Newest first.
fn rank(file: &FileInfo) -> (Reverse<u64>, String) {
    (Reverse(file.created.millis()), file.id.clone())
}

fn heads(visit: &Visit) -> [&'static str; 6] {
    [
        visit.say("ID", "Id"),
        visit.say("名前", "Name"),
        visit.say("種類", "Type"),
        visit.say("容量", "Size"),
        visit.say("アップロード", "Uploaded"),
        visit.say("状態", "State"),
    ]
}

fn cells_of(visit: &Visit, file: &FileInfo) -> [String; 6] {
    [
        file.id.clone(),
        file.name.clone().unwrap_or_default(),
        file.kind.clone(),
        size(file.size),
        moment(visit, file.created),
        state(visit, file).to_owned(),
    ]
}

/// Whether a file is shown.
pub(crate) fn state(visit: &Visit, file: &FileInfo) -> &'static str {
    match (file.withheld_by.is_some(), file.protected) {
        (true, _) => visit.say("非公開", "withheld"),
        (false, true) => visit.say("公開（保護中）", "shown, protected"),
        (false, false) => visit.say("公開", "shown"),
    }
}

async fn one(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    user: &UserId,
    before: &str,
    (done, error): (&str, Option<&PageError>),
) -> Result<Response, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let mut files = console.files_of(visit, user).await?;
    let (count, bytes) = (files.len(), files.iter().map(|file| file.size).fold(0, u64::saturating_add));
    let shown_before = before.split_once('-').and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned())));
    if let Some((at, id)) = shown_before {
        let before = (Reverse(at), id);
        files.retain(|file| rank(file) > before);
    }
    let more = files.len() > PAGE;
    files.truncate(PAGE);
    let rows = files.iter().map(|file| {
        let [id, rest @ ..] = cells_of(visit, file);
        let here = link(FILE, &[("uri", &format!("mxc://{}/{id}", visit.authority()))]);
        let id = html! { a.id href=(here) { (id) } };
        std::iter::once(id).chain(rest.into_iter().map(text)).collect()
    });
    let last = files.last().filter(|_| more).map(|last| format!("{}-{}", last.created.millis(), last.id));
    let body = html! {
        (visit.problem(error))
        @if let Ok(number) = done.parse::<u64>() {
            p.card role="status" { (number) (say(" 件のファイルを非公開にしました。", " files are withheld now that were not.")) }
        }
        div.card { dl {
            dt { (say("アカウント", "Account")) } dd.id { (user) }
            dt { (say("ファイル数", "Files")) } dd { (count) }
            dt { (say("容量", "Size")) } dd { (size(bytes)) }
        } }
        @if !files.is_empty() { (table(&heads(visit), rows)) }
        p {
            @if let Some(last) = &last {
                a href=(link(OWN_FILES, &[("user", user.as_str()), ("before", last)])) { (say("それより前", "Earlier ones")) } " "
            }
            a href=(link(OWN_FILES, &[("user", user.as_str()), ("as", "csv")])) {
                (say("CSV ダウンロード（Excel 用）", "As a file for spreadsheets (CSV)"))
            }
        }
        @if count > 0 {
            h2 { (say("すべて非公開にする", "Withholding all of them")) }
            form.card method="post" action=(OWN_FILES) {
                (visit.proof())
                input type="hidden" name="user" value=(user);
                p { (say(
                    "このユーザーのファイルを、保護されているものを除いてすべて、だれにも表示されないようにします。一つずつ公開に戻せます。",
                    "Nobody is shown any of them but those that are protected. Each can be shown again by itself.",
                )) }
                (password_field(&console.accounts, visit, browser).await?)
                div.actions { button.danger name="do" value="withhold" { (say("すべて非公開にする", "Withhold all")) } }
            }
        }
        p { a href=(FILES) { (say("一覧に戻る", "Back to the list")) } }
    };
    let page = page(visit, powers, say("ユーザーのファイル", "Files of a user"), body).status_of(error);
    Ok(visit.page(page.again_at(link(OWN_FILES, &[("user", user.as_str())]))))
}

/// Withholds all files of a user. It takes many clicks to be undone, so the password is asked for.
pub(crate) async fn withhold_all(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let form = visit.form()?;
        let user = meant(&visit, form.get("user"))?;
        if form.get("do") != "withhold" {
            return Err(PageError::not_found());
        }
        console.accounts.find_account(&user).await?.ok_or_else(PageError::not_found)?;
        if let Some(error) = console.unconfirmed(&visit, &browser, &form).await? {
            return one(&console, &visit, (&browser, &powers), &user, "", ("", Some(&error))).await;
        }
        let by = actor(&visit, &browser, &powers);
        let count = {
            let _turn = console.turn(&visit).await?;
            console.media.withhold_all_of(&user, &by).await.map_err(told)?
        };
        let count = count.to_string();
        Ok(visit.redirect(&link(OWN_FILES, &[("user", user.as_str()), ("done", &count)])))
    };
    console.answer(call, Powers::administers, handler).await
}
