//! [`Registration`]: what a homeserver is told of the service, in a file that both read.

use std::path::Path;

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{bot::Namespaces, files::write_new};

/// Largest registration that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// Bytes of chance in a token.
const TOKEN: usize = 32;

/// What of a registration file the service itself needs.
///
/// Spec: <https://spec.matrix.org/v1.19/application-service-api/#registration>
#[derive(Clone, Deserialize)]
pub struct Registration {
    /// By which the service is known to the homeserver.
    pub as_token: String,
    /// By which the homeserver is known to the service.
    pub hs_token: String,
    /// The localpart of its user.
    pub sender_localpart: String,
}

// Its tokens belong into no log.
impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration")
            .field("sender_localpart", &self.sender_localpart)
            .finish_non_exhaustive()
    }
}

impl Registration {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let wrong = || {
            format!(
                "登録ファイル {shown} を読めません。registration コマンドで作ります / \
                 the registration {shown} cannot be read; the command `registration` makes it"
            )
        };
        if std::fs::metadata(path).with_context(wrong)?.len() > LARGEST {
            anyhow::bail!("{shown} は 1 MiB を超えています / {shown} is larger than 1 MiB");
        }
        let text = std::fs::read_to_string(path).with_context(wrong)?;
        serde_saphyr::from_str(&text).with_context(wrong)
    }

    /// Writes a registration with new tokens where none is, readable for its owner alone.
    ///
    /// # Errors
    /// When there is one already, whose tokens the homeserver knows, or it cannot be written.
    pub(crate) fn write(
        path: &Path,
        id: &str,
        url: &str,
        sender: &str,
        namespaces: &Namespaces,
    ) -> anyhow::Result<()> {
        let shown = path.display();
        write_new(path, &text(id, url, sender, namespaces, &token(), &token())).with_context(|| {
            format!(
                "{shown} を書けません。すでにある登録は上書きしません / \
                 {shown} cannot be written; a registration that is there is not overwritten"
            )
        })
    }
}

fn token() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN]>())
}

/// YAML whose values are all written as JSON, which is YAML.
fn text(id: &str, url: &str, sender: &str, namespaces: &Namespaces, own: &str, theirs: &str) -> String {
    let list = |expressions: &[String], exclusive: bool| -> Value {
        expressions.iter().map(|regex| json!({ "exclusive": exclusive, "regex": regex })).collect()
    };
    let lines = [
        ("id", json!(id)),
        // The last slash would stand twice in front of paths.
        ("url", json!(url.trim_end_matches('/'))),
        ("as_token", json!(own)),
        ("hs_token", json!(theirs)),
        ("sender_localpart", json!(sender)),
        // It answers at most what it is told, and keeps to 429 where others limit it.
        ("rate_limited", json!(false)),
        ("receive_ephemeral", json!(false)),
    ];
    let mut text =
        "# アプリケーションサービスの登録。トークンは秘密です / an application service's registration; \
                    its tokens are secrets\n"
            .to_owned();
    for (key, value) in lines {
        text.push_str(&format!("{key}: {value}\n"));
    }
    text.push_str("namespaces:\n");
    for (key, value) in [
        ("users", list(&namespaces.users, true)),
        ("aliases", list(&namespaces.aliases, true)),
        ("rooms", list(&namespaces.rooms, false)),
    ] {
        text.push_str(&format!("  {key}: {value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_as_yaml() {
        let namespaces =
            Namespaces { aliases: vec![r"#_memo_.*:kanazawa\.test".to_owned()], ..Default::default() };
        let text = text("memo", "http://127.0.0.1:8460/", "memo", &namespaces, "own", "theirs");
        let read: Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(read["url"], "http://127.0.0.1:8460");
        assert_eq!(read["namespaces"]["aliases"][0]["regex"], r"#_memo_.*:kanazawa\.test");
        let read: Registration = serde_saphyr::from_str(&text).expect("a registration");
        assert_eq!((&*read.as_token, &*read.hs_token), ("own", "theirs"));
        assert!(!format!("{read:?}").contains("own"));
    }
}
