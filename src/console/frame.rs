//! What the pages of the console have in common: the links above, tables, moments, the password asked again.

use base::Timestamp;
use intake::{Date, Words};
use organisation::{Told, user_named};
use pages::{Language, Markup, Page, Visit, html};
pub(crate) use pages::{field, link, password_field, table, text};

use crate::{
    console::{
        ACCOUNT, ACCOUNTS, AUDIT, CASES, CHANGES, COUNTER, DOMAINS, DUTIES, FILES, HOME, IMPORT,
        ORGANISATION, PEERS, PEOPLE, REPORTS, ROOMS, STORAGE, TOKENS,
    },
    powers::Powers,
};

/// A page with the links that its visitor may follow.
pub(crate) fn page(visit: &Visit, powers: &Powers, title: &str, body: Markup) -> Page {
    let here = visit.call.parts.uri.path();
    let links = links(visit, powers);
    let nav = html! {
        nav.top aria-label=(visit.say("管理画面のページ", "Pages of the console")) {
            ul.plain { @for (path, name) in &links {
                li { a href=(path) aria-current=[(*path == here).then_some("page")] { (name) } }
            } }
        }
    };
    Page::new(title, body).wide().nav(nav)
}

/// The pages that somebody may see.
pub(crate) fn links(visit: &Visit, powers: &Powers) -> Vec<(&'static str, &'static str)> {
    let all = [
        (true, HOME, visit.say("管理画面", "Console")),
        (true, COUNTER, visit.say("窓口", "Counter")),
        (powers.reads_a_part(), ORGANISATION, visit.say("組織", "Organisation")),
        (powers.reads_a_part(), PEOPLE, visit.say("職員を探す", "Find people")),
        (powers.reads_a_part(), CHANGES, visit.say("変更案", "Change sets")),
        (
            powers.changes_organisation(),
            IMPORT,
            visit.say("人事ファイルの取り込み", "Bring in a personnel file"),
        ),
        (powers.changes_organisation(), DOMAINS, visit.say("関連ドメイン", "Mail domains")),
        (powers.reads_a_part(), ROOMS, visit.say("ルームの規則", "Rooms by rule")),
        (powers.administers(), ACCOUNTS, visit.say("アカウント", "Accounts")),
        (powers.administers(), DUTIES, visit.say("役割", "Duties")),
        (powers.administers(), TOKENS, visit.say("登録トークン", "Registration tokens")),
        (powers.administers(), REPORTS, visit.say("通報", "Reports")),
        (powers.administers(), FILES, visit.say("ファイル", "Files")),
        (powers.administers(), PEERS, visit.say("連合", "Federation")),
        (powers.administers(), STORAGE, visit.say("保存と待ち行列", "Storage and queues")),
        (powers.reads_audit(), CASES, visit.say("案件", "Cases")),
        (powers.reads_audit(), AUDIT, visit.say("監査ログ", "Audit log")),
    ];
    all.into_iter().filter(|(may, ..)| *may).map(|(_, path, name)| (path, name)).collect()
}

/// Somebody's account, and the way to its page for who may see that.
pub(crate) fn account_link(visit: &Visit, account: Option<&str>, may_see: bool) -> Markup {
    let account = account.unwrap_or_default();
    match user_named(account, visit.authority()).filter(|_| may_see && !account.is_empty()) {
        Some(user) => html! { a href=(link(ACCOUNT, &[("user", user.as_str())])) { (account) } },
        None => text(account),
    }
}

/// A size as people read it.
pub(crate) fn size(bytes: u64) -> String {
    let mut size = bytes;
    let mut tenths = 0;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if size < 1_024 {
            return if unit == "B" { format!("{size} B") } else { format!("{size}.{tenths} {unit}") };
        }
        (tenths, size) = (size % 1_024 * 10 / 1_024, size / 1_024);
    }
    format!("{size}.{tenths} PiB")
}

/// A moment in Japan.
pub(crate) fn moment(visit: &Visit, at: Timestamp) -> String {
    say(visit, personnel::moment(at))
}

/// A day.
pub(crate) fn day(visit: &Visit, day: Date) -> String {
    visit.language().pick(day.in_era(), day.to_string())
}

/// The one of both that is in the visitor's language.
pub(crate) fn say(visit: &Visit, words: Words) -> String {
    visit.language().pick(words.ja, words.en)
}

/// The same of what is kept.
pub(crate) fn said(language: Language, told: &Told) -> &str {
    language.pick(&told.ja, &told.en)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read_by_people() {
        for (bytes, read) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(size(bytes), read);
        }
    }
}
