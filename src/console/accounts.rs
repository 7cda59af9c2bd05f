//! Accounts: who has one, how it stands, and what an administrator does to it.

use std::sync::Arc;

use ::account::{Account, AccountChange, AccountOrder, AccountPage, AccountQuery, Browser};
use audit::Action;
use base::Timestamp;
use duties::{Held, Part};
use pages::{Markup, PageError, Visit, html};
use ruma::{OwnedUserId, UserId};
use store::Batch;
use web::{ApiError, Open, RawCall, Response, StatusCode};

use crate::{
    console::{ACCOUNT, ACCOUNTS, Console, actor, not_yours},
    csv,
    frame::{field, link, moment, page, password_field, table, text},
    powers::Powers,
    recovery,
    told::{of_password, told},
};

/// Accounts on one page.
const PAGE: usize = 100;
/// Days after which an account counts as not used for long, if nothing else is asked.
const DORMANT_DAYS: u32 = 90;
/// Accounts in one file.
const IN_FILE: usize = 100_000;
/// What is told once something was done.
const DONE: [(&str, (&str, &str)); 6] = [
    ("reopen", ("アカウントを復元しました。", "The account is open again.")),
    (
        "sign_out",
        ("すべての端末とブラウザーをサインアウトさせました。", "All devices and browsers are signed out."),
    ),
    ("lock", ("ロックしました。", "The account is locked.")),
    ("unlock", ("ロックを解除しました。", "The account is unlocked.")),
    ("suspend", ("利用を停止しました。", "The account is suspended.")),
    ("resume", ("利用停止を解除しました。", "The account may speak again.")),
];

/// Longest text that is looked for, in letters.
const LONGEST: usize = 100;

/// What a department administrator does to accounts: what stops something, and nothing that lets it go on, which may have been
/// stopped by others.
const OF_A_PART: [&str; 3] = ["sign_out", "suspend", "lock"];

impl Console {
    /// Accounts of the visited authority, in turn.
    pub(crate) async fn list_accounts(
        &self,
        visit: &Visit,
        query: &AccountQuery,
    ) -> Result<AccountPage, PageError> {
        let _turn = self.turn(visit).await?;
        Ok(self.accounts.list_accounts(visit.authority(), query).await?)
    }

    /// Refuses accounts that are not of a visitor's part of the organisation, as if there were none, if he does not administer.
    async fn must_be_within(
        &self,
        visit: &Visit,
        (browser, powers): (&Browser, &Powers),
        user: &UserId,
    ) -> Result<(), PageError> {
        let is_within =
            powers.administers() || self.personnel.is_within(user, powers.scope()).await.map_err(told)?;
        match is_within {
            true => Ok(()),
            false => Err(self.refuse(visit, (browser, powers), PageError::not_found()).await?),
        }
    }

    /// Whether an account is no department's: of who has a say of his own, or of nobody. A part without effect is none.
    async fn is_apart(&self, account: &Account, held: Held) -> Result<bool, PageError> {
        let held = self.standing(&account.user_id, held).await?;
        Ok(account.admin || account.guest || held.has_more || !held.is_empty())
    }

    /// What a batch demands by which somebody does something to another's account, if he does not administer: that he still
    /// sees to a part, and that the other one has no say of his own.
    ///
    /// # Errors
    /// 403.
    async fn demand_over(
        &self,
        visit: &Visit,
        (browser, powers): (&Browser, &Powers),
        user: &UserId,
    ) -> Result<Box<dyn Fn(&mut Batch) + Send + Sync>, PageError> {
        if powers.administers() {
            // Accounts ask that themselves.
            return Ok(Box::new(|_| {}));
        }
        let account = self.accounts.find_account(user).await?.ok_or_else(PageError::not_found)?;
        let (held, has_none) = self.duties.demand(user).await.map_err(told)?;
        let stands = self.accounts.demand_account(user).await?;
        if self.is_apart(&account, held).await? {
            return Err(self.refuse(visit, (browser, powers), not_yours()).await?);
        }
        let same = |now: &Powers| now.scope() == powers.scope();
        let (_, still) = self.demand(browser, &same).await?;
        Ok(Box::new(move |batch| {
            has_none(batch);
            stands(batch);
            still(batch);
        }))
    }
}

pub(crate) async fn list(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let asked = visit.query()?;
        let say = |japanese, english| visit.say(japanese, english);
        let sought: String = asked.get("q").trim().chars().take(LONGEST).collect();
        let state = asked.get("state");
        let is_file = asked.get("as") == "csv";
        let from = if is_file { 0 } else { asked.get("from").parse().unwrap_or(0) };
        let days: u32 = asked.get("days").trim().parse().unwrap_or(DORMANT_DAYS);
        let is_dormant = state == "dormant";
        let query = AccountQuery {
            from,
            limit: if is_file { IN_FILE } else { PAGE },
            // As the list itself writes them.
            user_id: sought.starts_with('@').then(|| sought.clone()),
            name: (!sought.is_empty() && !sought.starts_with('@')).then(|| sought.clone()),
            deactivated: Some(state == "closed"),
            locked: (state == "locked").then_some(true),
            suspended: (state == "suspended").then_some(true),
            admins: (state == "administrators").then_some(true),
            unseen_since: is_dormant.then(|| ::account::days_before(console.clock.now(), days)),
            // Whoever was there longest ago first.
            order: if is_dormant { AccountOrder::Seen } else { AccountOrder::Name },
            ..AccountQuery::default()
        };
        let found = console.list_accounts(&visit, &query).await?;
        let heads = [
            say("アカウント", "Account"),
            say("表示名", "Display name"),
            say("状態", "State"),
            say("作成", "Made"),
            say("最後の利用", "Last used"),
        ];
        if is_file {
            console.note(&visit, (&browser, &powers), (Action::ExportTable, "", "accounts")).await?;
            let heads = [&[say("ユーザー名", "User name")], &heads[..]].concat();
            let rows = found.accounts.iter().map(|account| {
                let mut row = vec![account.user_id.localpart().to_owned()];
                row.extend(cells(&visit, account));
                row
            });
            return Ok(visit.file("accounts.csv", csv::KIND, csv::written(&heads, rows)));
        }
        let rows = found.accounts.iter().map(|account| {
            let [id, rest @ ..] = cells(&visit, account);
            let id = html! { a.id href=(link(ACCOUNT, &[("user", &id)])) { (id) } };
            std::iter::once(id).chain(rest.into_iter().map(text)).collect()
        });
        let written_days = if is_dormant { days.to_string() } else { String::new() };
        let same = [("q", &*sought), ("state", state), ("days", &*written_days)];
        let at = |from: usize| {
            let from = if from == 0 { String::new() } else { from.to_string() };
            link(ACCOUNTS, &[&same[..], &[("from", &*from)]].concat())
        };
        let body = html! {
            form.card method="get" action=(ACCOUNTS) role="search" {
                (field("q", say("ユーザー名か表示名の一部", "Part of the user name or display name"), "", html! {
                    input id="q" name="q" type="search" value=(sought) maxlength="100";
                }))
                (field("state", say("状態", "State"), "", html! {
                    select id="state" name="state" { @for (word, name) in [
                        ("", say("閉鎖されていないもの", "not closed")),
                        ("locked", say("ロック中", "locked")),
                        ("suspended", say("利用停止中", "suspended")),
                        ("administrators", say("全体管理者", "administrators")),
                        ("dormant", say("長く使われていないもの", "not used for long")),
                        ("closed", say("閉鎖済み", "closed")),
                    ] { option value=(word) selected[word == state] { (name) } } }
                }))
                (field("days", say("使われていない日数", "Days without use"), say(
                    "「長く使われていないもの」を選んだときに使います。サインインも利用もなかった日数で、一度も使われていないものは作成からの日数です。",
                    "For those not used for long: days in which nobody signed in or did anything; of accounts that were never used, since they were made.",
                ), html! {
                    input id="days" name="days" type="number" min="1" max="36500" value=(days);
                }))
                div.actions { button { (say("探す", "Find")) } }
            }
            p role="status" { (found.total) (say(" 件", " accounts")) }
            @if !found.accounts.is_empty() { (table(&heads, rows)) }
            p {
                @if from > 0 { a href=(at(from.saturating_sub(PAGE))) { (say("前の 100 件", "The 100 before")) } " " }
                @if from.saturating_add(PAGE) < found.total {
                    a href=(at(from.saturating_add(PAGE))) { (say("次の 100 件", "The next 100")) } " "
                }
                a href=(link(ACCOUNTS, &[&same[..], &[("as", "csv")]].concat())) {
                    (say("CSV ダウンロード（Excel 用）", "As a file for spreadsheets (CSV)"))
                }
            }
        };
        Ok(visit.page(page(&visit, &powers, say("アカウント", "Accounts"), body)))
    };
    console.answer(call, Powers::administers, handler).await
}

fn cells(visit: &Visit, account: &Account) -> [String; 5] {
    let seen = account.seen.map(|at| moment(visit, at)).unwrap_or_default();
    [
        account.user_id.to_string(),
        account.profile.displayname.clone().unwrap_or_default(),
        state(visit, account),
        moment(visit, account.created),
        seen,
    ]
}

fn state(visit: &Visit, account: &Account) -> String {
    let say = |japanese, english| visit.say(japanese, english);
    let facts = [
        (account.deactivated, say("閉鎖済み", "closed")),
        (account.moderation.locked, say("ロック中", "locked")),
        (account.moderation.suspended, say("利用停止中", "suspended")),
        (account.admin, say("全体管理者", "administrator")),
        (account.guest, say("ゲスト", "guest")),
    ];
    let facts: Vec<_> = facts.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
    if facts.is_empty() { say("有効", "open").to_owned() } else { facts.join(say("、", ", ")) }
}

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let query = visit.query()?;
        let user = meant(&visit, query.get("user"))?;
        console.must_be_within(&visit, (&browser, &powers), &user).await?;
        // Nobody's account was read where there is none.
        console.accounts.find_account(&user).await?.ok_or_else(PageError::not_found)?;
        console.note(&visit, (&browser, &powers), (Action::ReadAccount, user.as_str(), "account")).await?;
        one(&console, &visit, (&browser, &powers), &user, query.get("done"), None).await
    };
    console.answer(call, Powers::sees_accounts, handler).await
}

/// Whose account is meant: one of the visited authority's.
pub(crate) fn meant(visit: &Visit, text: &str) -> Result<OwnedUserId, PageError> {
    let user = UserId::parse(text.trim()).map_err(|_| PageError::not_found())?;
    if user.server_name() == visit.authority() { Ok(user) } else { Err(PageError::not_found()) }
}

pub(crate) async fn one(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    user: &UserId,
    done: &str,
    error: Option<&PageError>,
) -> Result<Response, PageError> {
    let account = console.accounts.find_account(user).await?.ok_or_else(PageError::not_found)?;
    let devices = console.accounts.devices(user).await?;
    let held = console.duties.held(user).await.map_err(told)?;
    let duties =
        held.duties.iter().map(|duty| duty.names()).chain((!held.parts.is_empty()).then_some(Part::NAMES));
    let duties: Vec<_> = duties.map(|names| visit.language().pick(names.0, names.1)).collect();
    let administers = powers.administers();
    let is_apart = !administers && console.is_apart(&account, held).await?;
    let say = |japanese, english| visit.say(japanese, english);
    let heads = [say("端末", "Device"), say("最後の利用", "Last used")];
    let rows = devices.iter().take(PAGE).map(|device| {
        let name = device.display_name.as_deref().unwrap_or_default();
        let name = html! { (name) " " small.id { (device.device_id) } };
        vec![name, text(device.last_seen.map(|at| moment(visit, at)).unwrap_or_default())]
    });
    let [_, name, state, created, seen] = cells(visit, &account);
    let reopens = match account.deactivated {
        true => console.accounts.reopens_until(user).await?,
        false => None,
    };
    let body = html! {
        (visit.problem(error))
        @if let Some((_, told)) = DONE.iter().find(|(word, _)| *word == done) {
            p.card role="status" { (say(told.0, told.1)) }
        }
        div.card { dl {
            dt { (say("アカウント", "Account")) } dd.id { (account.user_id) }
            dt { (say("表示名", "Display name")) } dd { (name) }
            dt { (say("状態", "State")) } dd { (state) }
            dt { (say("役割", "Duties")) } dd { (duties.join(say("、", ", "))) }
            dt { (say("作成", "Made")) } dd { (created) }
            dt { (say("最後の利用", "Last used")) } dd { (seen) }
        } }
        @if !account.deactivated && *account.user_id != *browser.user_id && !is_apart {
            (deeds(console, visit, (browser, powers), &account).await?)
        }
        @if is_apart {
            p.note { (say(
                "役割のある人や管理者のアカウントを止められるのは、全体管理者だけです。",
                "The account of somebody with a duty, or who administers, is stopped by administrators alone.",
            )) }
        }
        @if let Some(until) = reopens.filter(|_| administers) {
            (reopening(visit, &account, until, &password_field(&console.accounts, visit, browser).await?))
        }
        @if administers { (recovery::section(console, visit, (browser, powers), &account).await?) }
        h2 { (say("サインインしているアプリの端末", "Devices of apps that are signed in")) " (" (devices.len()) ")" }
        @if devices.is_empty() {
            p { (say("ありません。", "There are none.")) }
        } @else {
            (table(&heads, rows))
        }
    };
    let again = link(ACCOUNT, &[("user", user.as_str())]);
    let page = page(visit, powers, say("アカウント", "Account"), body).status_of(error).again_at(again);
    Ok(visit.page(page))
}

/// The way to open a closed account again, as long as there is one.
fn reopening(visit: &Visit, account: &Account, until: Timestamp, password: &Markup) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    html! {
        form.card method="post" action=(ACCOUNT) {
            (visit.proof())
            input type="hidden" name="user" value=(account.user_id);
            p { (say("閉鎖した日から 7 日間は、同じユーザー名で復元できます。期限: ",
                "For a week after it was closed, the account can be opened again under its name. Until: "))
                (moment(visit, until)) }
            p.note { (say(
                "端末や二要素認証、登録済みのメールアドレス、全体管理者の権限、ルームへの参加は戻りません。規則によるルームには、あらためて入ります。",
                "Devices, second factors, addresses, the right to administer and rooms do not come back; rooms by rule take him in again.",
            )) }
            (field(
                "new_password",
                say("新しいパスワード", "New password"),
                say("本人に渡してください。認証基盤でサインインする人は空欄でかまいません。",
                    "To be handed over; empty for who signs in at the identity provider."),
                html! { input id="new_password" name="new_password" type="password" autocomplete="new-password"
                    maxlength="1024" aria-describedby="new_password-remark"; },
            ))
            (password)
            div.actions { button name="do" value="reopen" { (say("復元する", "Open it again")) } }
        }
    }
}

async fn deeds(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    account: &Account,
) -> Result<Markup, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let (locked, suspended) = (account.moderation.locked, account.moderation.suspended);
    // Nothing is chosen before somebody chooses, so that no key by itself does any of it.
    let mut choices = vec![
        ("sign_out", say("すべての端末をサインアウトさせる", "Sign all devices out")),
        if suspended {
            ("resume", say("利用停止を解除する", "Let it speak again"))
        } else {
            ("suspend", say("利用を停止する（閲覧だけができます）", "Suspend it: it reads only"))
        },
        if locked {
            ("unlock", say("ロックを解除する", "Unlock it"))
        } else {
            ("lock", say("ロックする（すべての端末で使えなくなります）", "Lock it: no device works any more"))
        },
    ];
    choices.retain(|(word, _)| powers.administers() || OF_A_PART.contains(word));
    Ok(html! {
        form.card method="post" action=(ACCOUNT) {
            (visit.proof())
            input type="hidden" name="user" value=(account.user_id);
            @if !powers.administers() { p.note { (say(
                "端末の紛失などのときに、すぐに止めるためのものです。解除は全体管理者が行います。",
                "For when something has to be stopped at once, such as after a lost device; an administrator lets it go on.",
            )) } }
            (password_field(&console.accounts, visit, browser).await?)
            (field("do", say("何を行うか", "What to do"), "", html! {
                select id="do" name="do" required {
                    option value="" { (say("選んでください", "Please choose")) }
                    @for (word, name) in choices { option value=(word) { (name) } }
                }
            }))
            div.actions { button.danger { (say("実行する", "Do it")) } }
        }
    })
}

/// Does something to an account. What it is already, it stays.
pub(crate) async fn change(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let form = visit.form()?;
        let user = meant(&visit, form.get("user"))?;
        if user == browser.user_id {
            return Err(PageError::new(
                StatusCode::CONFLICT,
                "自分のアカウントには行えません。",
                "You cannot do this to your own account.",
            ));
        }
        console.must_be_within(&visit, (&browser, &powers), &user).await?;
        if form.get("do").is_empty() {
            let error = PageError::bad_request("何を行うかを選んでください。", "Please choose what to do.");
            return one(&console, &visit, (&browser, &powers), &user, "", Some(&error)).await;
        }
        if !powers.administers() && !OF_A_PART.contains(&form.get("do")) {
            return Err(console.refuse(&visit, (&browser, &powers), not_yours()).await?);
        }
        if let Err(error) =
            console.accounts.confirm_own(&browser, form.get("password"), visit.address()).await
        {
            let error = of_password(error)?;
            return one(&console, &visit, (&browser, &powers), &user, "", Some(&error)).await;
        }
        let (accounts, by) = (&console.accounts, actor(&visit, &browser, &powers));
        accounts.refuse_own(&user).await?;
        let is_closed = accounts.find_account(&user).await?.map(|account| account.deactivated);
        // What is closed is opened again, and nothing else is done to it.
        if is_closed != Some(form.get("do") == "reopen") {
            return Err(PageError::not_found());
        }
        let demand = console.demand_over(&visit, (&browser, &powers), &user).await?;
        let change = |locked, suspended| AccountChange { locked, suspended, ..AccountChange::default() };
        let change = match form.get("do") {
            "lock" => Some(change(Some(true), None)),
            "unlock" => Some(change(Some(false), None)),
            "suspend" => Some(change(None, Some(true))),
            "resume" => Some(change(None, Some(false))),
            _ => None,
        };
        let done = match (change, form.get("do")) {
            (Some(change), _) => accounts.change_account_while(&user, &change, &by, &*demand).await,
            (None, "reopen") => accounts.reopen_account(&user, form.find("new_password"), &by).await,
            (None, "sign_out") => accounts.log_out_everywhere_while(&user, &by, &*demand).await,
            _ => return Err(PageError::not_found()),
        };
        match done {
            Ok(()) => {
                Ok(visit.redirect(&link(ACCOUNT, &[("user", user.as_str()), ("done", form.get("do"))])))
            }
            Err(error) => {
                let error = match error {
                    ::account::Error::Forbidden(_) if form.get("do") == "reopen" => PageError::forbidden(
                        "いまは復元できません。ルームからの退出が終わるまで一分ほどお待ちください。役割のある人や、二要素認証を設定していた人のアカウントは、コマンドで復元します。",
                        "It cannot be opened now. Please wait a minute until it has left its rooms; the account of somebody with a duty, or who had a second factor, is opened again at the command line.",
                    ),
                    ::account::Error::Forbidden(_) => PageError::forbidden(
                        "全体管理者のアカウントには行えません。先に全体管理者から外してください。",
                        "This cannot be done to an administrator's account; it has to be a user's first.",
                    ),
                    error => error.into(),
                };
                if error.status().is_server_error() {
                    return Err(error);
                }
                one(&console, &visit, (&browser, &powers), &user, "", Some(&error)).await
            }
        }
    };
    console.answer(call, Powers::sees_accounts, handler).await
}
