//! [`Settings`]: what stands under `[bot]` in the configuration file.

use std::path::PathBuf;

use base::ByteSize;
use bot_kit::{Proxies, Span, ruma::OwnedServerName};
use serde::Deserialize;

/// Most links of all rooms that are good at once, if the configuration says nothing.
const MOST_LINKS: u32 = 1_000;

/// `[bot]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What the page calls whom files are sent to: the authority's name, and nothing of the room.
    pub place: String,
    /// Where people outside reach the page, as links begin: `https://files.example.lg.jp`.
    pub public_url: url::Url,
    /// Where the page listens; whoever is in front of it speaks TLS.
    pub page_address: std::net::SocketAddr,
    /// Who may say in `X-Forwarded-For` whom a request comes from, and has as many connections as it wants.
    #[serde(default)]
    pub proxies: Proxies,
    /// Where files lie until they are in the room.
    pub files_path: PathBuf,
    /// The record of all that was done: a file that lines are appended to.
    pub audit_path: PathBuf,
    /// Members of these servers may make links; without it those of the authority alone.
    #[serde(default)]
    pub makers: Vec<OwnedServerName>,
    /// Who has less power in the room makes no links.
    #[serde(default)]
    pub least_power: i64,
    /// For how long a link is good where nothing is said.
    #[serde(default = "defaults::lasts")]
    pub lasts: Span,
    /// The longest.
    #[serde(default = "defaults::longest")]
    pub longest: Span,
    /// For how long a link to download by is good where nothing is said.
    #[serde(default = "defaults::hand_over_lasts")]
    pub hand_over_lasts: Span,
    /// How often its file may be fetched where nothing is said.
    #[serde(default = "defaults::hand_over_times")]
    pub hand_over_times: u32,
    /// The homeserver's listener through which those files are fetched: its zone says in which form. Without it, that of the bot.
    #[serde(default)]
    pub hand_over_through: Option<url::Url>,
    /// So long before the end the maker is told that nothing came.
    #[serde(default = "defaults::remind_before")]
    pub remind_before: Span,
    /// What was begun before the end may come to its own within so long.
    #[serde(default = "defaults::grace")]
    pub grace: Span,
    /// What was begun and not gone on with for so long is given up.
    #[serde(default = "defaults::abandon_after")]
    pub abandon_after: Span,
    /// Rows of links that ended are kept for so long; the record keeps all.
    #[serde(default = "defaults::keep")]
    pub keep: Span,
    /// Files of a link where nothing is said.
    #[serde(default = "defaults::files")]
    pub files: u32,
    /// Most of them.
    #[serde(default = "defaults::most_files")]
    pub most_files: u32,
    /// Bytes of a link's files together where nothing is said.
    #[serde(default = "defaults::bytes")]
    pub bytes: ByteSize,
    /// Most of them.
    #[serde(default = "defaults::most_bytes")]
    pub most_bytes: ByteSize,
    /// Every link has a code, asked for or not.
    #[serde(default)]
    pub always_code: bool,
    /// Bytes of all that lies on the disk, and of what was begun as long as it will be.
    #[serde(default = "defaults::disk_budget")]
    pub disk_budget: ByteSize,
    /// Links of all rooms that are good at once.
    #[serde(default = "defaults::most_links")]
    pub most_links: u32,
    /// Of either kind of links, of one room.
    #[serde(default = "defaults::most_links_per_room")]
    pub most_links_per_room: usize,
    /// Uploads under way at once by one link.
    #[serde(default = "defaults::uploads_per_link")]
    pub uploads_per_link: u32,
    /// Uploads under way at once from one address.
    #[serde(default = "defaults::uploads_per_address")]
    pub uploads_per_address: u32,
    /// Most bytes of a file that is sent as a form, without a script.
    #[serde(default = "defaults::form_bytes")]
    pub form_bytes: ByteSize,
}

mod defaults {
    use base::ByteSize;
    use bot_kit::Span;

    pub(super) fn lasts() -> Span {
        Span::days(7)
    }

    pub(super) fn longest() -> Span {
        Span::days(30)
    }

    pub(super) fn hand_over_lasts() -> Span {
        Span::days(3)
    }

    pub(super) fn hand_over_times() -> u32 {
        3
    }

    pub(super) fn remind_before() -> Span {
        Span::days(1)
    }

    pub(super) fn grace() -> Span {
        Span(std::time::Duration::from_secs(6 * 3_600))
    }

    pub(super) fn abandon_after() -> Span {
        Span::days(3)
    }

    pub(super) fn keep() -> Span {
        Span::days(90)
    }

    pub(super) fn most_links_per_room() -> usize {
        100
    }

    pub(super) fn files() -> u32 {
        10
    }

    pub(super) fn most_files() -> u32 {
        100
    }

    pub(super) fn bytes() -> ByteSize {
        ByteSize::bytes(2_000_000_000)
    }

    pub(super) fn most_bytes() -> ByteSize {
        ByteSize::bytes(20_000_000_000)
    }

    pub(super) fn disk_budget() -> ByteSize {
        ByteSize::bytes(50_000_000_000)
    }

    pub(super) fn most_links() -> u32 {
        super::MOST_LINKS
    }

    pub(super) fn uploads_per_link() -> u32 {
        4
    }

    pub(super) fn uploads_per_address() -> u32 {
        8
    }

    pub(super) fn form_bytes() -> ByteSize {
        ByteSize::mib(32)
    }
}

impl Settings {
    /// What types do not say.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut wrong = |is_wrong: bool, text: &str| is_wrong.then(|| mistakes.push(text.to_owned()));
        let is_https = self.public_url.scheme() == "https";
        let is_near = self.page_address.ip().is_loopback() && self.public_url.scheme() == "http";
        wrong(
            !is_https && !is_near,
            "bot.public_url: https:// で始めます（手元で試すときだけ http://） / begin with https:// (http:// beside a loopback address only)",
        );
        wrong(
            self.public_url.query().is_some() || self.public_url.fragment().is_some(),
            "bot.public_url: ? や # は書けません / no query and no fragment",
        );
        wrong(self.place.trim().is_empty(), "bot.place: 空です / is empty");
        wrong(
            self.lasts.0 > self.longest.0 || self.hand_over_lasts.0 > self.longest.0,
            "bot.lasts, bot.hand_over_lasts: bot.longest を超えています / longer than bot.longest",
        );
        wrong(
            self.files == 0 || self.files > self.most_files || self.most_files > 1_000,
            "bot.files, bot.most_files: 1 から 1000 まで / from 1 to 1000",
        );
        wrong(
            self.hand_over_times == 0 || self.hand_over_times > self.most_files,
            "bot.hand_over_times: 1 から bot.most_files まで / from 1 to bot.most_files",
        );
        wrong(
            self.bytes > self.most_bytes || self.most_bytes > self.disk_budget,
            "bot.bytes, bot.most_bytes, bot.disk_budget: この順に大きくします / each at most the next one",
        );
        wrong(
            self.uploads_per_link == 0 || self.uploads_per_address == 0 || self.most_links == 0,
            "bot.uploads_per_link, bot.uploads_per_address, bot.most_links: 1 以上 / at least 1",
        );
        mistakes
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        toml::from_str(
            "place = '金沢市'\npublic_url = 'https://files.kanazawa.test'\npage_address = '127.0.0.1:0'\n\
             files_path = 'files'\naudit_path = 'audit.jsonl'\n",
        )
        .expect("settings")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commented_reference_is_read_with_every_key_and_without() {
        let text = include_str!("../../conf/dropbox.toml");
        // A comment that begins like a setting is one that is left out.
        let is_setting = |line: &str| {
            line.split_once(" = ")
                .is_some_and(|(key, _)| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        };
        let all = text.lines().map(|line| match line.strip_prefix("# ") {
            Some(rest) if is_setting(rest) => rest,
            _ => line,
        });
        let all = all.collect::<Vec<_>>().join("\n");
        for text in [text, &all] {
            let config: bot_kit::Config<Settings> = toml::from_str(text).expect("settings");
            assert_eq!(config.bot.mistakes(), Vec::<String>::new());
        }
        let keys = |text: &str| text.lines().filter(|line| is_setting(line)).count();
        assert_eq!(keys(&all), 36, "a setting is not shown");
    }

    #[test]
    fn what_cannot_be_meant_is_a_mistake() {
        let mut settings = Settings::for_tests();
        settings.public_url = url::Url::parse("http://files.kanazawa.test/?a").expect("a URL");
        settings.page_address = "0.0.0.0:443".parse().expect("an address");
        settings.files = 0;
        settings.most_bytes = ByteSize::bytes(1);
        assert_eq!(settings.mistakes().len(), 4);
    }
}
