//! What clients are told when the graph of a room forks: of members whom only the resolution of states brings back, and of
//! those whom a merge brings in.
#![expect(clippy::unwrap_used, reason = "tests")]

use http::Method;
use serde_json::{Value, json};
use testkit::{Hosted, Net, User};

const SLIDING: &str = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";
const LAZY: &str = r#"{"room":{"state":{"lazy_load_members":true}}}"#;

/// A client that goes on from answer to answer.
struct Reader<'a> {
    user: &'a User,
    filter: &'a str,
    since: String,
}

impl<'a> Reader<'a> {
    async fn new(user: &'a User, filter: &'a str) -> Self {
        let mut reader = Self { user, filter, since: String::new() };
        reader.sync().await;
        reader
    }

    async fn sync(&mut self) -> Value {
        let since = if self.since.is_empty() { String::new() } else { format!("&since={}", self.since) };
        let filter: String = self.filter.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/sync?timeout=0&filter={filter}{since}");
        let answer = self.user.call(Method::GET, &path, None).await;
        answer["next_batch"].as_str().unwrap().clone_into(&mut self.since);
        answer
    }
}

/// What an answer makes of somebody in a room, in state or timeline.
fn memberships(answer: &Value, room: &Hosted, user: &str) -> Vec<String> {
    let part = &answer["rooms"]["join"][room.id.as_str()];
    let lists = [&part["state"]["events"], &part["timeline"]["events"]];
    members(lists.into_iter().filter_map(Value::as_array).flatten(), user)
}

fn members<'a>(events: impl Iterator<Item = &'a Value>, user: &str) -> Vec<String> {
    let own = events.filter(|event| event["type"] == "m.room.member" && event["state_key"] == user);
    own.map(|event| event["content"]["membership"].as_str().unwrap().to_owned()).collect()
}

/// 花子's room, in which eve may do much, bob may kick, and mary is: all three of a server that forks the graph.
async fn room_with_three(net: &Net, hanako: &User) -> (testkit::Hostile, Hosted) {
    let mallory = net.hostile("mallory.test").await;
    let users = json!({ "@eve:mallory.test": 100, "@bob:mallory.test": 50, hanako.id().as_str(): 100 });
    let room = hanako
        .create_room_with(&json!({
            "preset": "public_chat", "room_version": "11", "power_level_content_override": { "users": users },
        }))
        .await;
    let mut hosted = None;
    for user in ["eve", "bob", "mary"] {
        // The state that the last one is told has the others.
        hosted = Some(mallory.join(&net.outside(), "kanazawa.test", &room, user).await);
    }
    (mallory, hosted.unwrap())
}

#[tokio::test]
async fn who_comes_back_by_the_resolution_of_states_alone_is_told_of() {
    let net = Net::new();
    let kanazawa = net.server("kanazawa.test").await;
    let hanako = kanazawa.user("hanako").await;
    let (mallory, mut room) = room_with_three(&net, &hanako).await;
    let mary = "@mary:mallory.test";

    // At the same time bob kicks mary, and eve takes his right to do so.
    let levels = room.state[&("m.room.power_levels".to_owned(), String::new())].1["content"].clone();
    let mut demoted = levels;
    demoted["users"]["@bob:mallory.test"] = json!(0);
    let demotion = room.draft("eve", "m.room.power_levels", Some(""), demoted);
    let demotion = mallory.sign(&room.version, demotion);
    let kick = room.event("bob", "m.room.member", Some(mary), json!({ "membership": "leave" }));
    let answer = mallory.send(&net.outside(), "kanazawa.test", &[kick.json]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    hanako.sync_until(|seen| seen.room(&room.id).membership(mary) == Some("leave")).await;

    let (mut all, mut lazy) = (Reader::new(&hanako, "{}").await, Reader::new(&hanako, LAZY).await);
    let required = json!([["m.room.member", "$LAZY"]]);
    let body = json!({ "lists": { "all": { "timeline_limit": 5, "required_state": required } } });
    let slide = async |pos: &str| -> Value {
        let (_, text) = hanako.ask(Method::POST, &format!("{SLIDING}{pos}"), Some(&body)).await;
        serde_json::from_str(&text).unwrap()
    };
    let sliding = slide("").await;
    let sliding = format!("?pos={}", sliding["pos"].as_str().unwrap());

    let answer = mallory.send(&net.outside(), "kanazawa.test", &[demotion.json]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    hanako
        .sync_until(|seen| {
            let levels = seen.room(&room.id);
            let levels = levels.state("m.room.power_levels", "").cloned().unwrap_or_default();
            levels["users"]["@bob:mallory.test"] == 0
        })
        .await;
    let now = hanako.state(&room.id).await;
    assert_eq!(members(now.iter(), mary), ["join"], "the state of the room has her again");

    assert_eq!(memberships(&all.sync().await, &room, mary), ["join"]);
    assert_eq!(memberships(&lazy.sync().await, &room, mary), ["join"]);
    let answer = slide(&sliding).await;
    let told = answer["rooms"][room.id.as_str()]["required_state"].as_array().cloned().unwrap_or_default();
    assert_eq!(members(told.iter(), mary), ["join"], "{answer}");
    // And once.
    hanako.send(&room.id, "後で").await;
    assert!(memberships(&all.sync().await, &room, mary).is_empty());
    assert!(memberships(&lazy.sync().await, &room, mary).is_empty());
}

#[tokio::test]
async fn a_member_of_a_branch_that_is_merged_between_two_syncs_reaches_the_client() {
    let net = Net::new();
    let kanazawa = net.server("kanazawa.test").await;
    let hanako = kanazawa.user("hanako").await;
    let (mallory, mut room) = room_with_three(&net, &hanako).await;
    let nina = "@nina:mallory.test";
    let join = room.event("nina", "m.room.member", Some(nina), json!({ "membership": "join" }));
    let said = room.message("nina", "枝で");
    let mut readers = [Reader::new(&hanako, LAZY).await, Reader::new(&hanako, "{}").await];

    // The branch begins before what is said here.
    hanako.send(&room.id, "幹で").await;
    for event in [join, said] {
        let answer = mallory.send(&net.outside(), "kanazawa.test", &[event.json]).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    hanako.sync_until(|seen| seen.has_message(&room.id, "枝で")).await;
    hanako.send(&room.id, "合わせる").await;
    for reader in &mut readers {
        let answer = reader.sync().await;
        let part = &answer["rooms"]["join"][room.id.as_str()];
        assert_eq!(part["timeline"]["limited"], false, "{part}");
        assert_eq!(memberships(&answer, &room, nina), ["join"], "{}", reader.filter);
    }
}
