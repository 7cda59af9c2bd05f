//! [`Settings`]: what stands under `[bot]`.

use std::{collections::BTreeSet, net::SocketAddr};

use bot_kit::{Config, Proxies, ruma::OwnedUserId, url::Url};
use serde::Deserialize;

use crate::{render::Templates, target::Range};

/// Shorter tokens and secrets can be guessed.
const SHORTEST: usize = 24;

/// Whoever makes an alias first would get what is meant for its room.
const NEEDS_MAKER: &str = "別名で書くときは、部屋を作った人の ID が必要です（空いている別名は誰でも自分の部屋に付けられます）。部屋の ID なら要りません / \
                           an alias needs the id of who made its room, since anybody may take one that is free; a room's id needs none";

/// The settings; `conf/hook.toml` explains each.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The bot's name.
    #[serde(default = "display_name")]
    pub(crate) display_name: String,
    /// Where others' programs reach it.
    pub(crate) address: Option<SocketAddr>,
    /// Proxies of other machines in front of that, which say in `X-Forwarded-For` for whom they come.
    #[serde(default)]
    pub(crate) proxies: Proxies,
    #[serde(default)]
    pub(crate) incoming: Vec<Incoming>,
    #[serde(default)]
    pub(crate) outgoing: Vec<Outgoing>,
}

fn display_name() -> String {
    "通知ボット".to_owned()
}

/// What comes into a room.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Incoming {
    /// Its name in logs, and in what is kept.
    pub(crate) name: String,
    /// The end of its address.
    pub(crate) token: String,
    /// What it is signed with.
    pub(crate) secret: String,
    /// Room id or alias.
    pub(crate) room: String,
    /// Who made that room: needed where it is an alias, which anybody may give to a room of his own while it is free.
    #[serde(default)]
    pub(crate) made_by: Option<OwnedUserId>,
    pub(crate) form: Form,
    /// A message's text, as a template of Jinja over the JSON that came.
    #[serde(default)]
    pub(crate) template: Option<String>,
    /// What is equal in this goes into one thread; a template as well.
    #[serde(default)]
    pub(crate) thread: Option<String>,
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// A report of a form: title, text, place and photos.
    Report,
    /// JSON of any kind, shown by a template.
    Message,
}

/// What goes out of rooms.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outgoing {
    /// Its name in logs, and in what is kept.
    pub(crate) name: String,
    pub(crate) url: Url,
    /// What it is signed with.
    pub(crate) secret: String,
    /// Rooms, by id or alias.
    pub(crate) rooms: Vec<String>,
    /// Who made those that are named by an alias.
    #[serde(default)]
    pub(crate) made_by: Option<OwnedUserId>,
    /// Types of events.
    #[serde(default = "messages")]
    pub(crate) events: Vec<String>,
    /// Ranges of our own network in which the target may be.
    #[serde(default)]
    pub(crate) allow: Vec<Range>,
}

fn messages() -> Vec<String> {
    vec!["m.room.message".to_owned()]
}

// Tokens and secrets belong into no log.
impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What is wrong with the settings.
pub(crate) fn mistakes(config: &Config<Settings>) -> Vec<String> {
    let Settings { address, incoming, outgoing, .. } = &config.bot;
    let mut mistakes = Vec::new();
    if !incoming.is_empty() && address.is_none() {
        mistakes.push("bot.address: 受け取る場所が必要です / where they come to is needed".to_owned());
    }
    let mut alone = BTreeSet::new();
    for (number, Incoming { name, token, secret, room, made_by, form, template, .. }) in
        incoming.iter().enumerate()
    {
        let mut wrong =
            |key: &str, what: &str| mistakes.push(format!("bot.incoming[{number}].{key}: {what}"));
        for (key, value) in [("token", token), ("secret", secret)] {
            if value.len() < SHORTEST {
                wrong(key, &format!("{SHORTEST} 文字以上が必要です / {SHORTEST} letters or more are needed"));
            }
        }
        if !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            wrong("token", "英数字と - _ で書きます / it is made of letters, digits, - and _");
        }
        for (key, value) in [("name", name), ("token", token)] {
            if !alone.insert((key, value.clone())) {
                wrong(key, "ほかと同じです / another has the same");
            }
        }
        check_name(name, &mut wrong);
        if !room.starts_with(['!', '#']) {
            wrong("room", "部屋の ID か別名が必要です / a room's id or alias is needed");
        }
        if room.starts_with('#') && made_by.is_none() {
            wrong("made_by", NEEDS_MAKER);
        }
        if *form == Form::Message && template.is_none() {
            wrong("template", "form = \"message\" には必要です / form = \"message\" needs it");
        }
    }
    if let Err(mistake) = Templates::of(incoming) {
        mistakes.push(mistake);
    }
    let mut alone = BTreeSet::new();
    for (number, Outgoing { name, url, secret, rooms, made_by, .. }) in outgoing.iter().enumerate() {
        let mut wrong =
            |key: &str, what: &str| mistakes.push(format!("bot.outgoing[{number}].{key}: {what}"));
        if secret.len() < SHORTEST {
            wrong(
                "secret",
                &format!("{SHORTEST} 文字以上が必要です / {SHORTEST} letters or more are needed"),
            );
        }
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            wrong("url", "http か https の URL が必要です / a URL of http or https is needed");
        }
        if !alone.insert(name) {
            wrong("name", "ほかと同じです / another has the same");
        }
        check_name(name, &mut wrong);
        if rooms.is_empty() || !rooms.iter().all(|room| room.starts_with(['!', '#'])) {
            wrong("rooms", "部屋の ID か別名が必要です / rooms' ids or aliases are needed");
        }
        if rooms.iter().any(|room| room.starts_with('#')) && made_by.is_none() {
            wrong("made_by", NEEDS_MAKER);
        }
    }
    mistakes
}

/// Names stand in front of what is kept.
fn check_name(name: &str, wrong: &mut impl FnMut(&str, &str)) {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        wrong("name", "英数字と - _ で書きます / it is made of letters, digits, - and _");
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const INCOMING: &str = "[[bot.incoming]]\nname = 'road'\ntoken = 'token-of-twenty-four-letters'\n\
        secret = 'a secret of twenty-four letters'\nroom = '!a:kanazawa.test'\nform = 'message'\ntemplate = '{{ a }}'\n";
    const OUTGOING: &str = "[[bot.outgoing]]\nname = 'desk'\nurl = 'https://example.jp/'\n\
        secret = 'a secret of twenty-four letters'\nrooms = ['#a:kanazawa.test']\n\
        made_by = '@a:kanazawa.test'\n";

    /// A configuration with this under `[bot]`.
    pub(crate) fn config(bot: &str) -> Config<Settings> {
        let whole = format!(
            "[homeserver]\nurl = 'http://127.0.0.1:1'\nserver_name = 'kanazawa.test'\n[appservice]\nregistration = 'a'\n\
             url = 'http://127.0.0.1:2'\n[listener]\naddress = '127.0.0.1:2'\n[store]\npath = 'b'\n[bot]\n{bot}"
        );
        toml::from_str(&whole).unwrap()
    }

    fn found(bot: &str) -> Vec<String> {
        mistakes(&config(bot))
    }

    #[test]
    fn each_mistake_is_told_with_its_key() {
        let at = "address = '127.0.0.1:3'\n";
        assert_eq!(found(&format!("{at}{INCOMING}{OUTGOING}")), Vec::<String>::new());
        assert_eq!(found(""), Vec::<String>::new());
        let told = found(INCOMING);
        assert!(told.len() == 1 && told[0].starts_with("bot.address: "), "{told:?}");
        for (from, to, key) in [
            ("'token-of-twenty-four-letters'", "'token-of-twenty-letters'", "token"),
            ("'token-of-twenty-four-letters'", "'token/of/twenty-four/letters'", "token"),
            ("'a secret of twenty-four letters'", "'a secret of few letters'", "secret"),
            ("'road'", "''", "name"),
            ("'road'", "'道'", "name"),
            ("'!a:kanazawa.test'", "'a:kanazawa.test'", "room"),
            ("template = '{{ a }}'\n", "", "template"),
        ] {
            let told = found(&format!("{at}{}", INCOMING.replace(from, to)));
            assert!(told.len() == 1 && told[0].starts_with(&format!("bot.incoming[0].{key}: ")), "{told:?}");
        }
        for (from, to, key) in [
            ("'a secret of twenty-four letters'", "'a secret of few letters'", "secret"),
            ("'https://example.jp/'", "'ftp://example.jp/'", "url"),
            ("'https://example.jp/'", "'data:text/plain,x'", "url"),
            ("'desk'", "'de/sk'", "name"),
            ("['#a:kanazawa.test']", "[]", "rooms"),
            ("['#a:kanazawa.test']", "['!a:kanazawa.test', 'b']", "rooms"),
        ] {
            let told = found(&OUTGOING.replace(from, to));
            assert!(told.len() == 1 && told[0].starts_with(&format!("bot.outgoing[0].{key}: ")), "{told:?}");
        }
        // Names and tokens are one's alone.
        let keys = |told: Vec<String>| {
            told.iter().map(|it| it.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let twice = found(&format!("{at}{INCOMING}{INCOMING}{OUTGOING}{OUTGOING}"));
        let mut told = keys(twice);
        told.retain(|key| key != "bot.incoming[1].template");
        assert_eq!(told, ["bot.incoming[1].name", "bot.incoming[1].token", "bot.outgoing[1].name"]);
    }
}
