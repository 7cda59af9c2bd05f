//! What is wrong with what authorities say of classes of employment, and of the domains of their mail.

use super::{AuthorityConfig, ClassFactor, ClassFiles, Config, found::Found};
use crate::texts::tr;

/// So many days back somebody may be bound to read: an hour of each is kept for as long.
const MOST_HISTORY_DAYS: u16 = 3_660;

/// What is wrong with what the authority of this number says of classes.
pub(super) fn check_classes(config: &Config, authority: &AuthorityConfig, index: usize, found: &mut Found) {
    for (class, rights) in &authority.classes {
        let key = |part: &str| format!("authorities.{index}.classes.{}.{part}", class_key(*class));
        let mut zones_of = |part: &str, zones: &[String]| {
            for zone in zones.iter().filter(|zone| !config.zones.contains_key(*zone)) {
                found.wrong(key(part), tr!("[zones.{zone}] がありません", "there is no [zones.{zone}]"));
            }
        };
        zones_of("sign_in_from", rights.sign_in_from.as_deref().unwrap_or_default());
        zones_of("no_factor_from", &rights.no_factor_from);
        if rights.files != ClassFiles::Originals && config.media.unauthenticated {
            found.contradiction(
                key("files"),
                vec!["media.unauthenticated".to_owned()],
                tr!(
                    "サインインなしでファイルを渡す設定では、任用区分ごとの形式を守れません",
                    "where files are given to whoever is not signed in, no class is held to a form of them"
                ),
            );
        }
        if rights.history_days.is_some_and(|days| days.get() > MOST_HISTORY_DAYS) {
            found.wrong(
                key("history_days"),
                tr!("{MOST_HISTORY_DAYS} 日以下にしてください", "it is {MOST_HISTORY_DAYS} at most"),
            );
        }
        if rights.factor == ClassFactor::None && !rights.no_factor_from.is_empty() {
            found.contradiction(
                key("no_factor_from"),
                vec![key("factor")],
                tr!(
                    "`factor = \"required\"` のときだけ意味があります",
                    "it means something with `factor = \"required\"` alone"
                ),
            );
        }
        if rights.factor == ClassFactor::Required && authority.account_page().is_none() {
            found.contradiction(
                key("factor"),
                vec![format!("authorities.{index}.client_url"), format!("authorities.{index}.oauth")],
                factors_need_pages(),
            );
        }
    }
}

/// Most domains of mail of an authority: each is asked for again and again.
const MOST_DOMAINS: usize = 50;

/// What is wrong with the domains of mail that the authority of this number names.
pub(super) fn check_domains(authority: &AuthorityConfig, index: usize, found: &mut Found) {
    let key = || format!("authorities.{index}.domains");
    if authority.domains.len() > MOST_DOMAINS {
        found.wrong(key(), tr!("{MOST_DOMAINS} 件までです", "there are {MOST_DOMAINS} at most"));
    }
    for text in authority.domains.iter().filter(|text| text.parse::<domains::MailDomain>().is_err()) {
        found.wrong(
            key(),
            tr!("{text} はメールのドメインではありません", "{text} is no domain that mails are sent to"),
        );
    }
}

pub(super) fn factors_need_pages() -> String {
    tr!(
        "二要素認証はブラウザーの画面で行うため、https:// で始まる `client_url` と `oauth` が必要です",
        "second factors are shown on pages: `client_url` with https:// and `oauth` are needed"
    )
}

/// The word for a class in a configuration.
fn class_key(class: intake::Class) -> String {
    let word = serde_json::to_value(class).ok();
    word.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
