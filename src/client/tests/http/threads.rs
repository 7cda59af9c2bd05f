//! Subscriptions to threads over HTTP.

use serde_json::{Value, json};

use super::{
    relations::relate,
    town::{Answer, Person, Town},
};

const NOT_IN_THREAD: &str = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD";
const CONFLICTING: &str = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION";

/// A thread, as somebody asks for his subscription to it.
struct Thread<'a> {
    person: &'a Person<'a>,
    path: String,
}

impl<'a> Thread<'a> {
    fn of(person: &'a Person<'a>, room: &str, root: &str) -> Self {
        let path =
            format!("/_matrix/client/unstable/io.element.msc4306/rooms/{room}/thread/{root}/subscription");
        Self { person, path }
    }

    async fn subscribe(&self, body: Value) -> Answer {
        self.person.put(&self.path, body).await
    }

    async fn automatic(&self, cause: &str) -> Answer {
        self.subscribe(json!({ "automatic": cause })).await
    }

    async fn leave(&self) -> Answer {
        self.person.ask("DELETE", &self.path, Value::Null).await
    }

    async fn get(&self) -> Answer {
        self.person.get(&self.path).await
    }
}

/// The steps of Complement's TestThreadSubscriptions.
#[tokio::test]
async fn threads_are_subscribed_to_and_left() {
    let town = Town::new().await;
    let alice = town.user("alice").await;
    let room = alice.create_room(json!({})).await;
    let root = alice.say(&room, "root", "what do you think?").await;
    let thread = Thread::of(&alice, &room, &root);
    thread.leave().await.ok();
    thread.get().await.fails(404, "M_NOT_FOUND");
    thread.subscribe(json!({})).await.ok();
    assert_eq!(thread.get().await.ok(), json!({ "automatic": false }));
    thread.leave().await.ok();
    thread.get().await.fails(404, "M_NOT_FOUND");

    let root = alice.say(&room, "second", "and now?").await;
    let thread = Thread::of(&alice, &room, &root);
    thread.automatic(&root).await.fails(400, NOT_IN_THREAD);
    let elsewhere = alice.say(&room, "third", "another").await;
    let in_another = relate(&alice, &room, "another", ("m.thread", &elsewhere)).await;
    thread.automatic(&in_another).await.fails(400, NOT_IN_THREAD);
    thread.automatic("$nothing:hs1").await.fails(400, NOT_IN_THREAD);
    let reply = relate(&alice, &room, "reply", ("m.thread", &root)).await;
    thread.automatic(&reply).await.ok();
    assert_eq!(thread.get().await.ok(), json!({ "automatic": true }));
    thread.subscribe(json!({})).await.ok();
    assert_eq!(thread.get().await.ok(), json!({ "automatic": false }), "the choice of the user");
    thread.automatic(&reply).await.ok();
    assert_eq!(thread.get().await.ok(), json!({ "automatic": false }), "no client takes it back");

    let nothing = Thread::of(&alice, &room, "$notathread:example.org");
    nothing.subscribe(json!({})).await.fails(404, "M_NOT_FOUND");
    nothing.get().await.fails(404, "M_NOT_FOUND");
    nothing.leave().await.fails(404, "M_NOT_FOUND");
    thread.subscribe(json!({ "automatic": 5 })).await.fails(400, "M_BAD_JSON");
    let other = alice.create_room(json!({})).await;
    Thread::of(&alice, &other, &root).subscribe(json!({})).await.fails(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn who_left_a_thread_is_not_subscribed_anew_for_what_was_said_before() {
    let town = Town::new().await;
    let alice = town.user("alice").await;
    let room = alice.create_room(json!({})).await;
    let root = alice.say(&room, "root", "root").await;
    let thread = Thread::of(&alice, &room, &root);
    let first = relate(&alice, &room, "1", ("m.thread", &root)).await;
    thread.automatic(&first).await.ok();
    let second = relate(&alice, &room, "2", ("m.thread", &root)).await;
    thread.leave().await.ok();
    let third = relate(&alice, &room, "3", ("m.thread", &root)).await;
    for before in [&first, &second] {
        thread.automatic(before).await.fails(409, CONFLICTING);
        thread.get().await.fails(404, "M_NOT_FOUND");
    }
    thread.automatic(&third).await.ok();
    assert_eq!(thread.get().await.ok(), json!({ "automatic": true }));
}

#[tokio::test]
async fn who_does_not_see_a_thread_has_nothing_to_do_with_it() {
    let town = Town::new().await;
    let (alice, bob) = (town.user("alice").await, town.user("bob").await);
    let room = alice.create_room(json!({ "preset": "private_chat" })).await;
    let root = alice.say(&room, "root", "root").await;
    let thread = Thread::of(&bob, &room, &root);
    thread.subscribe(json!({})).await.fails(404, "M_NOT_FOUND");
    thread.leave().await.fails(404, "M_NOT_FOUND");
    thread.get().await.fails(404, "M_NOT_FOUND");
    Thread::of(&alice, &room, &root).subscribe(json!({})).await.ok();
    thread.get().await.fails(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn rules_about_threads_are_there_once_somebody_subscribes_and_he_sets_them() {
    let town = Town::new().await;
    let alice = town.user("alice").await;
    let room = alice.create_room(json!({})).await;
    let root = alice.say(&room, "root", "root").await;
    let rule = "/pushrules/global/postcontent/.io.element.msc4306.rule.unsubscribed_thread";
    alice.get(rule).await.fails(404, "M_NOT_FOUND");
    alice.put(&format!("{rule}/enabled"), json!({ "enabled": false })).await.fails(404, "M_NOT_FOUND");
    let before = alice.get("/pushrules/").await.ok();
    assert!(before["global"].get("postcontent").is_none());
    Thread::of(&alice, &room, &root).leave().await.ok();
    assert_eq!(alice.get("/pushrules/").await.ok(), before);

    Thread::of(&alice, &room, &root).subscribe(json!({})).await.ok();
    let rules = alice.get("/pushrules/").await.ok();
    let ids: Vec<&Value> =
        rules["global"]["postcontent"].as_array().unwrap().iter().map(|rule| &rule["rule_id"]).collect();
    assert_eq!(
        ids,
        [".io.element.msc4306.rule.unsubscribed_thread", ".io.element.msc4306.rule.subscribed_thread"]
    );
    let data = format!("/user/{}/account_data/m.push_rules", alice.id);
    assert_eq!(alice.get(&data).await.ok(), rules);
    let told = alice.get(rule).await.ok();
    let condition = json!({ "kind": "io.element.msc4306.thread_subscription", "subscribed": false });
    assert_eq!((&told["conditions"][0], &told["enabled"]), (&condition, &json!(true)));

    alice.put(&format!("{rule}/enabled"), json!({ "enabled": false })).await.ok();
    alice.put(&format!("{rule}/actions"), json!({ "actions": ["notify"] })).await.ok();
    assert_eq!(alice.get(&format!("{rule}/enabled")).await.ok(), json!({ "enabled": false }));
    assert_eq!(alice.get(&format!("{rule}/actions")).await.ok(), json!({ "actions": ["notify"] }));
    // Rules of other kinds and another subscription leave them as they are set.
    alice.put("/pushrules/global/room/!a:hs1", json!({ "actions": [] })).await.ok();
    let second = alice.say(&room, "second", "second").await;
    Thread::of(&alice, &room, &second).subscribe(json!({})).await.ok();
    assert_eq!(alice.get(&format!("{rule}/enabled")).await.ok(), json!({ "enabled": false }));

    let own = json!({ "actions": ["notify"], "conditions": [] });
    alice.put("/pushrules/global/postcontent/mine", own).await.fails(400, "M_INVALID_PARAM");
    alice.ask("DELETE", rule, Value::Null).await.fails(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn the_list_of_notifications_follows_subscriptions() {
    let town = Town::new().await;
    let (alice, bob) = (town.user("alice").await, town.user("bob").await);
    let room = alice.create_room(json!({ "preset": "public_chat" })).await;
    bob.post(&format!("/join/{room}"), json!({})).await.ok();
    let (heard, unheard) = (alice.say(&room, "a", "a").await, alice.say(&room, "b", "b").await);
    let in_heard = relate(&alice, &room, "in_heard", ("m.thread", &heard)).await;
    let in_unheard = relate(&alice, &room, "in_unheard", ("m.thread", &unheard)).await;
    let beside = relate(&alice, &room, "beside", ("m.reference", &in_unheard)).await;
    let ids = async || -> Vec<String> {
        let answer = bob.get("/notifications").await.ok();
        let events = answer["notifications"].as_array().unwrap().iter();
        events.map(|told| told["event"]["event_id"].as_str().unwrap().to_owned()).collect()
    };
    let all = [&beside, &in_unheard, &in_heard, &unheard, &heard];
    assert_eq!(ids().await.iter().collect::<Vec<_>>(), all, "nobody has subscribed to anything");
    Thread::of(&bob, &room, &heard).subscribe(json!({})).await.ok();
    // A room that is silent else.
    bob.put(&format!("/pushrules/global/room/{room}"), json!({ "actions": [] })).await.ok();
    assert_eq!(ids().await, [in_heard.as_str()]);
    Thread::of(&bob, &room, &unheard).subscribe(json!({})).await.ok();
    Thread::of(&bob, &room, &heard).leave().await.ok();
    assert_eq!(ids().await, [beside.as_str(), &in_unheard]);
}
