//! [`Settings`]: what stands under `[bot]`.

use bot_kit::{Config, Span, url::Url};
use serde::Deserialize;

/// The settings; `conf/memo.toml` explains each.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Memos go after this time; none: they stay until they are deleted.
    pub(crate) keep: Option<Span>,
    /// Memos of a user. The oldest ones make room.
    pub(crate) most: usize,
    /// The name of everybody's room.
    pub(crate) room_name: String,
    /// The bot's name.
    pub(crate) display_name: String,
    /// The homeserver's listener on LGWAN's side, by which the bot finds which files will not leave there.
    pub(crate) lgwan_url: Option<Url>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep: Some(Span::days(90)),
            most: 1_000,
            room_name: "メモ帳".to_owned(),
            display_name: "メモ帳ボット".to_owned(),
            lgwan_url: None,
        }
    }
}

/// Memos of a user at most, whatever is set: all of them are deleted within the time for an event.
const MOST: usize = 10_000;

/// What is wrong with the settings.
pub(crate) fn mistakes(config: &Config<Settings>) -> Vec<String> {
    let Settings { keep, most, room_name, lgwan_url, .. } = &config.bot;
    let mut mistakes = Vec::new();
    if keep.is_some_and(|keep| keep.0.is_zero()) {
        mistakes.push("bot.keep: 0 より長い期間が必要です / a time longer than 0 is needed".to_owned());
    }
    if !(1..=MOST).contains(most) {
        mistakes.push(format!("bot.most: 1 から {MOST} までです / from 1 to {MOST}"));
    }
    if room_name.trim().is_empty() {
        mistakes.push("bot.room_name: 空にできません / it cannot be empty".to_owned());
    }
    if lgwan_url.as_ref().is_some_and(|url| !matches!(url.scheme(), "http" | "https") || !url.has_host()) {
        mistakes.push(
            "bot.lgwan_url: http か https の URL が必要です / a URL of http or https is needed".to_owned(),
        );
    }
    mistakes
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn each_mistake_is_told_with_its_key() {
        let found = |bot: Value| {
            let whole = json!({
                "homeserver": { "url": "http://127.0.0.1:1", "server_name": "kanazawa.test" },
                "appservice": { "registration": "a", "url": "http://127.0.0.1:2" },
                "listener": { "address": "127.0.0.1:2" }, "store": { "path": "b" }, "bot": bot,
            });
            mistakes(&serde_json::from_value(whole).unwrap())
        };
        assert_eq!(found(json!({})), Vec::<String>::new());
        for good in
            [json!({ "most": 1 }), json!({ "most": 10_000 }), json!({ "lgwan_url": "http://127.0.0.1:3" })]
        {
            assert_eq!(found(good), Vec::<String>::new());
        }
        for (key, value) in [
            ("keep", json!("0s")),
            ("most", json!(0)),
            ("most", json!(10_001)),
            ("room_name", json!(" ")),
            ("lgwan_url", json!("ftp://127.0.0.1/")),
            ("lgwan_url", json!("data:text/plain,x")),
        ] {
            let told = found(json!({ key: value }));
            assert!(told.len() == 1 && told[0].starts_with(&format!("bot.{key}: ")), "{told:?}");
        }
    }
}
