//! The pages where users see to their own accounts.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#oauth-20-account-management>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ::account::{Actor, Browser, DeviceInfo, Grant};
use pages::{Markup, Page, PageError, Visit, html};
use ruma::OwnedDeviceId;
use serde_json::value::to_raw_value;
use web::{ApiError, Open, RawCall, Response};

use super::{
    account_parts::{others, worth_another_try},
    api::{ACCOUNT, OAuthApi, sign_in_first},
    factors, password, upstream,
};

/// What can be done here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Profile,
    Password,
    Factors,
    Devices,
    Device,
    SignOut,
    Close,
    Reset,
}

/// What clients may ask for by name; the last ones are what some were called before.
pub(crate) const ACTIONS: [(&str, Part); 9] = [
    ("org.matrix.profile", Part::Profile),
    ("org.matrix.devices_list", Part::Devices),
    ("org.matrix.device_view", Part::Device),
    ("org.matrix.device_delete", Part::SignOut),
    ("org.matrix.account_deactivate", Part::Close),
    ("org.matrix.cross_signing_reset", Part::Reset),
    ("org.matrix.sessions_list", Part::Devices),
    ("org.matrix.session_view", Part::Device),
    ("org.matrix.session_end", Part::SignOut),
];

/// What our own pages ask for besides.
const OWN_ACTIONS: [(&str, Part); 2] = [(password::ACTION, Part::Password), (factors::ACTION, Part::Factors)];

/// Shows the part that is asked for, once somebody is signed in.
pub(crate) async fn show(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let query = visit.query()?;
        let Some(browser) = visit.browser() else { return Ok(sign_in_first(&visit, visit.here(), None)) };
        let asked = query.find("action");
        let part =
            ACTIONS.iter().chain(&OWN_ACTIONS).find(|(name, _)| Some(*name) == asked).map(|(_, part)| *part);
        let device = query.find("device_id").map(OwnedDeviceId::from);
        let page = match (part.unwrap_or(Part::Profile), device) {
            (Part::Password, _) => password::page(&api, &visit, browser, None).await?,
            (Part::Factors, _) => factors::page(&api, &visit, browser, None).await?,
            (Part::Profile, _) => profile(&api, &visit, browser, false).await?,
            (Part::Device | Part::SignOut, Some(device)) => {
                one_device(&api, &visit, browser, &device).await?
            }
            (Part::Devices | Part::Device | Part::SignOut, _) => devices(&api, &visit, browser).await?,
            (Part::Close, _) => close(&api, &visit, browser, None).await?,
            (Part::Reset, _) => reset(&api, &visit, browser, None).await?,
        };
        Ok(visit.page(page))
    };
    api.pages.answer(call, answer).await
}

/// Does what a form asks for.
pub(crate) async fn change(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |mut visit: Visit| {
        let form = visit.form()?;
        let browser = visit.signed_in()?.clone();
        let from = visit.address();
        match form.get("do") {
            "rename" => {
                if browser.suspended {
                    return Err(ApiError::suspended().into());
                }
                let name = to_raw_value(form.get("name").trim()).map_err(ApiError::internal)?;
                api.accounts.set_profile_field(&browser.user_id, "displayname", &name).await?;
                let page = profile(&api, &visit, &browser, true).await?;
                Ok(visit.page(page))
            }
            "password" => password::change(&api, visit, &browser, &form).await,
            "begin_factor" | "add_factor" | "rename_factor" | "remove_factor" | "renew_codes" => {
                factors::change(&api, visit, &browser, &form).await
            }
            "sign_out" => {
                let device = OwnedDeviceId::from(form.get("device_id"));
                let by = Actor::user(&browser.user_id, browser.admin, from);
                api.accounts.log_out(&browser.user_id, &device, &by).await?;
                Ok(visit.redirect(&format!("{ACCOUNT}?action=org.matrix.devices_list")))
            }
            "vouch" => {
                let device = OwnedDeviceId::from(form.get("device_id"));
                match api.accounts.vouch_for_device(&browser, &device, from).await {
                    Ok(()) => Ok(visit.redirect(&format!("{ACCOUNT}?action=org.matrix.devices_list"))),
                    Err(error) => Err(worth_another_try(error)?),
                }
            }
            "close" => {
                let erase = form.get("erase") == "yes";
                match api.accounts.close_own(&browser, form.get("password"), erase, from).await {
                    Ok(()) => {
                        visit.end(&api.pages).await?;
                        let text = visit.say("アカウントを閉鎖しました。", "Your account is closed.");
                        let title = visit.say("閉鎖しました", "Closed");
                        Ok(visit.page(Page::new(title, html! { p { (text) } })))
                    }
                    Err(error) => {
                        let error = worth_another_try(error)?;
                        let page = close(&api, &visit, &browser, Some(&error)).await?;
                        Ok(visit.page(page))
                    }
                }
            }
            // From here on the browser is on its way to the provider, and what comes back is this account's.
            "link" => match api.accounts.confirm_own(&browser, form.get("password"), from).await {
                Ok(()) => upstream::link(&api, &visit).await,
                Err(error) => Err(worth_another_try(error)?),
            },
            "reset" => match api.accounts.agree_to_reset(&browser, form.get("password"), from).await {
                Ok(()) => {
                    let text = visit.say(
                        "アプリに戻り、10 分以内に操作を続けてください。",
                        "Please go back to your app and continue within ten minutes.",
                    );
                    Ok(visit.page(Page::new(visit.say("承認しました", "Approved"), html! { p { (text) } })))
                }
                Err(error) => {
                    let error = worth_another_try(error)?;
                    let page = reset(&api, &visit, &browser, Some(&error)).await?;
                    Ok(visit.page(page))
                }
            },
            _ => Err(PageError::not_found()),
        }
    };
    api.pages.answer(call, answer).await
}

async fn profile(api: &OAuthApi, visit: &Visit, browser: &Browser, is_kept: bool) -> Result<Page, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let name = api.accounts.profile(&browser.user_id).await?.display_name().unwrap_or_default();
    let is_given = api.accounts.is_given(&browser.user_id).await?;
    let body = html! {
        @if is_kept { p.card role="status" { (say("保存しました。", "Saved.")) } }
        div.card { dl { dt { (say("アカウント", "Account")) } dd.id { (browser.user_id) } } }
        @if is_given {
            div.card {
                dl { dt { (say("表示名", "Display name")) } dd { (name) } }
                p.note { (say(
                    "人事情報に従って表示されます。誤りがあるときは人事担当へお知らせください。",
                    "It is shown as the organisation has it. If it is wrong, please tell your personnel office.",
                )) }
            }
        } @else {
            form.card method="post" action=(ACCOUNT) {
                (visit.proof())
                label for="name" { (say("表示名", "Display name")) }
                input id="name" name="name" value=(name) maxlength="255" autocomplete="name";
                div.actions { button name="do" value="rename" { (say("保存", "Save")) } }
            }
        }
        (link(api, visit, browser).await?)
        (others(visit))
    };
    Ok(Page::new(say("アカウント", "Your account"), body))
}

/// At which providers the account is known, and the way to link it with that of the authority.
async fn link(api: &OAuthApi, visit: &Visit, browser: &Browser) -> Result<Markup, PageError> {
    let Some(settings) = api.upstream.settings(visit.authority()) else { return Ok(html! {}) };
    let say = |japanese, english| visit.say(japanese, english);
    let known = api.accounts.identities(&browser.user_id).await?;
    Ok(html! {
        @if known.is_empty() {
            form.card method="post" action=(ACCOUNT) {
                (visit.proof())
                p { (say(
                    "認証基盤と結び付けると、次からは認証基盤でこのアカウントにサインインできます。",
                    "Link your account with the identity provider to sign in there from now on.",
                )) }
                (password_field(api, visit, browser).await?)
                div.actions { button.second name="do" value="link" {
                    (say("認証基盤と結び付ける", "Link with the identity provider"))
                } }
            }
        } @else {
            div.card { dl {
                dt { (say("認証基盤", "Identity provider")) }
                @for issuer in &known { dd.id { (issuer) } }
            } }
        }
        @if known.iter().all(|issuer| *issuer != settings.issuer) && !known.is_empty() {
            p.note { (say("現在の認証基盤とは結び付いていません。", "It is not linked with the provider of today.")) }
        }
    })
}

async fn devices(api: &OAuthApi, visit: &Visit, browser: &Browser) -> Result<Page, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let all = api.accounts.devices(&browser.user_id).await?;
    let grants = api.accounts.grants(&browser.user_id).await?;
    let grants: HashMap<_, _> = grants.iter().map(|grant| (&grant.device_id, grant)).collect();
    let heads =
        [say("端末", "Device"), say("アプリ", "App"), say("最後の利用", "Last used"), say("操作", "Action")];
    let most = api.accounts.most_devices(&browser.user_id);
    let unproved = api.accounts.unproved_devices(&browser.user_id).await?;
    let body = html! {
        @if let Some(most) = most {
            p.note {
                (say("同時に使える端末の数：", "Devices that you may have: ")) (most)
                (say("（ブラウザーのこの画面は数えません）", " (this page in a browser is none)"))
            }
        }
        @if !unproved.is_empty() {
            p.card role="note" { (say(
                "二要素認証を設定する前にサインインした端末があります。覚えのないものはサインアウトさせ、自分の端末は確認してください。確認するまで、二要素認証の要るネットワークからは使えません。",
                "Some devices signed in before you had a second factor. Sign out those that you do not know, and confirm those that are yours: until then they are not used from networks where a second factor is needed.",
            )) }
        }
        @if all.is_empty() {
            p { (say("サインインしている端末はありません。", "No device is signed in.")) }
        } @else { table role="table" {
            thead role="rowgroup" { tr role="row" {
                @for head in heads { th scope="col" role="columnheader" { (head) } }
            } }
            tbody role="rowgroup" {
                @for device in all.iter().take(MOST_SHOWN) {
                    tr role="row" {
                        td role="cell" data-label=(heads[0]) {
                            (device.display_name.as_deref().unwrap_or_default()) " " small.id { (device.device_id) }
                        }
                        td role="cell" data-label=(heads[1]) { (app(grants.get(&device.device_id).copied())) }
                        td role="cell" data-label=(heads[2]) { (last_used(visit, device)) }
                        td role="cell" { (acts(visit, device, &unproved)) }
                    }
                }
            }
        } }
        @if all.len() > MOST_SHOWN {
            p.note { (say("ほかにもあります。", "There are more.")) }
        }
        (others(visit))
    };
    Ok(Page::new(say("端末", "Your devices"), body).wide())
}

/// Rows of the list of devices.
const MOST_SHOWN: usize = 500;

async fn one_device(
    api: &OAuthApi,
    visit: &Visit,
    browser: &Browser,
    id: &OwnedDeviceId,
) -> Result<Page, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let device = match api.accounts.device(&browser.user_id, id).await {
        Ok(device) => device,
        Err(::account::Error::NotFound(_)) => {
            let text = say("この端末はサインインしていません。", "This device is not signed in.");
            let body = html! { p { (text) } (others(visit)) };
            return Ok(Page::new(say("端末", "Device"), body));
        }
        Err(error) => return Err(error.into()),
    };
    let grant = api.accounts.find_grant(&browser.user_id, id).await?;
    let body = html! {
        div.card { dl {
            dt { (say("名前", "Name")) } dd { (device.display_name.as_deref().unwrap_or_default()) }
            dt { (say("端末 ID", "Device ID")) } dd.id { (device.device_id) }
            dt { (say("アプリ", "App")) } dd { (app(grant.as_ref())) }
            dt { (say("最後の利用", "Last used")) } dd { (last_used(visit, &device)) }
        } }
        (acts(visit, &device, &api.accounts.unproved_devices(&browser.user_id).await?))
        (others(visit))
    };
    Ok(Page::new(say("端末", "Device"), body))
}

fn app(grant: Option<&Grant>) -> Markup {
    html! {
        @if let Some(grant) = grant {
            (grant.client_name.as_deref().unwrap_or(&grant.client_uri))
        }
    }
}

fn last_used(visit: &Visit, device: &DeviceInfo) -> Markup {
    html! {
        @match device.last_seen {
            Some(at) => (audit::written(at).get(..16).unwrap_or_default().replace('T', " ")),
            None => (visit.say("なし", "never")),
        }
        @if let Some(ip) = &device.last_seen_ip { " " small { (ip) } }
    }
}

/// What can be done with a device: it is signed out, or confirmed where it was signed in before there was a factor.
fn acts(visit: &Visit, device: &DeviceInfo, unproved: &HashSet<OwnedDeviceId>) -> Markup {
    html! {
        form method="post" action=(ACCOUNT) {
            (visit.proof())
            input type="hidden" name="device_id" value=(device.device_id);
            @if unproved.contains(&device.device_id) {
                button name="do" value="vouch" { (visit.say("自分の端末です", "This one is mine")) } " "
            }
            button.second name="do" value="sign_out" { (visit.say("サインアウトさせる", "Sign out")) }
        }
    }
}

/// The password again, for those who have one.
async fn password_field(api: &OAuthApi, visit: &Visit, browser: &Browser) -> Result<Markup, PageError> {
    if !api.accounts.has_password(&browser.user_id).await? {
        return Ok(html! {});
    }
    Ok(html! {
        label for="password" { (visit.say("パスワード", "Password")) }
        input id="password" name="password" type="password" autocomplete="current-password" required
            maxlength="1024";
    })
}

async fn close(
    api: &OAuthApi,
    visit: &Visit,
    browser: &Browser,
    error: Option<&PageError>,
) -> Result<Page, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        (visit.problem(error))
        p { (say(
            "アカウントを閉鎖すると、すべての端末がサインアウトされ、すべてのルームから退出します。端末とルームは元に戻りません。データを消さなければ、7 日間は管理者がアカウントを復元できます。そのあとは、ユーザー名は二度と使えません。",
            "Closing the account signs out all devices and leaves all rooms, which do not come back. Unless your data is taken away, your administrators can open the account again for a week. After that nobody can have the user name again.",
        )) }
        form.card method="post" action=(ACCOUNT) {
            (visit.proof())
            dl { dt { (say("アカウント", "Account")) } dd.id { (browser.user_id) } }
            label.check { input type="checkbox" name="erase" value="yes";
                span { (say("サーバーにある自分のデータも消す", "Also take away my data on the server")) } }
            (password_field(api, visit, browser).await?)
            div.actions { button.danger name="do" value="close" { (say("閉鎖する", "Close the account")) } }
        }
        (others(visit))
    };
    Ok(with_status(Page::new(say("アカウントの閉鎖", "Close the account"), body), error))
}

async fn reset(
    api: &OAuthApi,
    visit: &Visit,
    browser: &Browser,
    error: Option<&PageError>,
) -> Result<Page, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        (visit.problem(error))
        p { (say(
            "暗号化に使う本人確認の鍵を作り直します。ほかの端末や回復キーをすべて失った場合だけ行ってください。連絡相手は、あなたをもう一度確認する必要があります。",
            "This replaces the keys by which others know you in encrypted rooms. Do it only if you have lost all other devices and your recovery key. Those you talk with have to verify you again.",
        )) }
        form.card method="post" action=(ACCOUNT) {
            (visit.proof())
            dl { dt { (say("アカウント", "Account")) } dd.id { (browser.user_id) } }
            (password_field(api, visit, browser).await?)
            div.actions { button.danger name="do" value="reset" { (say("作り直しを承認する", "Approve")) } }
        }
    };
    Ok(with_status(
        Page::new(say("暗号化の本人確認のリセット", "Reset your encryption identity"), body),
        error,
    ))
}

fn with_status(page: Page, error: Option<&PageError>) -> Page {
    match error {
        Some(error) => page.status(error.status()),
        None => page,
    }
}
