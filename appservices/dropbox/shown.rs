//! [`look`]: which file an event of a room shows, so that what goes out is what those who agreed saw.

use bot_kit::{
    Failure, Homeserver,
    ruma::{EventId, RoomId},
};
use serde_json::Value;

use crate::{drops::handover::Handed, name, rows::Hand};

/// What an event of a room shows.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    /// This file.
    File(Handed),
    /// By an edit, another file than it came with; people have seen the one or the other.
    Edited,
    /// No file, or none that can be fetched; or the event is deleted, or not to be seen.
    Nothing,
}

impl Shown {
    /// Whether it is still the file that a link is for.
    pub(crate) fn is_of(&self, hand: &Hand) -> bool {
        matches!(self, Self::File(file) if file.uri == hand.uri)
    }
}

/// Looks at an event of a room.
///
/// # Errors
/// [`Failure`] that may pass.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#server-side-aggregation-of-mreplace-relationships>
pub(crate) async fn look(homeserver: &Homeserver, room: &RoomId, event: &EventId) -> Result<Shown, Failure> {
    let path = ["client", "v3", "rooms", room.as_str(), "event", event.as_str()];
    match homeserver.call(http::Method::GET, &path, &[], None).await {
        // It is not there, or was before the bot came, or the bot is not there.
        Err(Failure::Refused(_)) => Ok(Shown::Nothing),
        found => Ok(shown_by(&found?, event)),
    }
}

fn shown_by(found: &Value, event: &EventId) -> Shown {
    let Some(uri) = file_of(&found["content"]).filter(|_| found["type"] == "m.room.message") else {
        return Shown::Nothing;
    };
    let edit = &found["unsigned"]["m.relations"]["m.replace"];
    let newest = if edit.is_null() { &found["content"] } else { &edit["content"]["m.new_content"] };
    // Other words beside the same file are no other file.
    if file_of(newest) != Some(uri) {
        return Shown::Edited;
    }
    let name = name::harmless(text(newest, "filename").or_else(|| text(newest, "body")).unwrap_or_default());
    let bytes = newest["info"]["size"].as_u64();
    Shown::File(Handed { uri: uri.to_owned(), name, bytes, event: event.to_owned() })
}

fn text<'a>(content: &'a Value, key: &str) -> Option<&'a str> {
    content[key].as_str().filter(|text| !text.is_empty())
}

/// Where the file of a message is. Beside an encrypted one, which people are shown, nothing else is meant.
fn file_of(content: &Value) -> Option<&str> {
    let is_file = matches!(text(content, "msgtype"), Some("m.file" | "m.image" | "m.video" | "m.audio"));
    let is_plain = is_file && content.get("file").is_none();
    text(content, "url").filter(|uri| is_plain && uri.starts_with("mxc://"))
}

#[cfg(test)]
mod tests {
    use bot_kit::ruma::event_id;
    use serde_json::json;

    use super::*;

    fn shown(content: Value, edit: Option<Value>) -> Shown {
        let mut event = json!({ "type": "m.room.message", "content": content });
        if let Some(new) = edit {
            event["unsigned"] =
                json!({ "m.relations": { "m.replace": { "content": { "m.new_content": new } } } });
        }
        shown_by(&event, event_id!("$file"))
    }

    #[test]
    fn an_edit_may_change_the_words_beside_a_file_and_not_the_file() {
        let file = |url: &str, body: &str| json!({ "msgtype": "m.file", "body": body, "url": url });
        let a = || file("mxc://x/a", "a.txt");
        assert!(
            matches!(shown(a(), None), Shown::File(file) if file.uri == "mxc://x/a" && file.name == "a.txt")
        );
        let renamed = shown(a(), Some(file("mxc://x/a", "b.txt")));
        assert!(matches!(renamed, Shown::File(file) if file.uri == "mxc://x/a" && file.name == "b.txt"));
        for edit in [file("mxc://x/b", "a.txt"), json!({ "msgtype": "m.text", "body": "-" }), json!(5)] {
            assert!(matches!(shown(a(), Some(edit.clone())), Shown::Edited), "{edit}");
        }
    }

    #[test]
    fn what_people_are_not_shown_as_a_file_is_none() {
        for content in [
            json!({}),
            json!({ "msgtype": "m.text", "body": "a", "url": "mxc://x/a" }),
            json!({ "msgtype": "m.file", "body": "a", "url": "https://x/a" }),
            json!({ "msgtype": "m.file", "body": "a", "url": "mxc://x/a", "file": { "url": "mxc://x/b" } }),
        ] {
            assert!(matches!(shown(content.clone(), None), Shown::Nothing), "{content}");
        }
        let other =
            json!({ "type": "x", "content": { "msgtype": "m.file", "body": "a", "url": "mxc://x/a" } });
        assert!(matches!(shown_by(&other, event_id!("$file")), Shown::Nothing));
    }
}
