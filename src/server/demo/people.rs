//! Accounts and the shared room, made through the client interface like any client does.

use anyhow::Context;
use base::Random;
use http::Method;
use serde_json::{Value, json};

use super::{
    place::{Account, Place, World},
    story::{PEOPLE, Person, ROOM_NAME, ROOM_TOPIC},
};
use crate::{ask::Asker, texts::tr};

/// Letters of a password: 71 bits.
const PASSWORD_LENGTH: usize = 12;

/// The transaction of what somebody says first.
const FIRST: &str = "first";

/// The device by which the demonstration itself logs in: the same each time, so that it stays one.
const DEVICE: &str = "DEMO";

/// Somebody who is logged in.
pub(super) struct Member {
    asker: Asker,
    token: String,
    pub(super) user_id: String,
}

/// The accounts and the room of an earlier start, or new ones.
pub(super) async fn find_or_make(place: &Place) -> anyhow::Result<World> {
    if let Some(world) = place.known_world()? {
        return Ok(world);
    }
    let random = Random::os();
    let mut accounts = Vec::new();
    let mut members = Vec::new();
    for person in &PEOPLE {
        let server = &place.servers[person.town];
        let password = random.token(PASSWORD_LENGTH);
        let member = Member::register(Asker::new(server.client_url()), person, &password).await?;
        accounts.push(Account { user_id: member.user_id.clone(), password, server: server.name.to_owned() });
        members.push(member);
    }
    let room_id = make_room(&members).await?;
    let world = World { accounts, room_id, desk: None };
    place.remember(&world)?;
    Ok(world)
}

async fn make_room(members: &[Member]) -> anyhow::Result<String> {
    let (first, others) = members.split_first().with_context(|| tr!("だれもいません", "nobody is there"))?;
    let (opening, answers) = (PEOPLE[0].words, PEOPLE[1..].iter().map(|person| person.words));
    let invited: Vec<&str> = others.iter().map(|member| member.user_id.as_str()).collect();
    let order = json!({
        "preset": "private_chat",
        "name": ROOM_NAME,
        "topic": ROOM_TOPIC,
        "invite": invited,
    });
    let room = first.ask(Method::POST, "/_matrix/client/v3/createRoom", &order).await?;
    let room_id = room["room_id"]
        .as_str()
        .with_context(|| tr!("答えに room_id がありません", "no room_id in the answer"))?
        .to_owned();
    first.say(&room_id, FIRST, opening).await?;
    for (member, words) in others.iter().zip(answers) {
        member.join(&room_id).await?;
        member.say(&room_id, FIRST, words).await?;
    }
    Ok(room_id)
}

impl Member {
    async fn register(asker: Asker, person: &Person, password: &str) -> anyhow::Result<Member> {
        let order = json!({
            "auth": { "type": "m.login.dummy" },
            "username": person.localpart,
            "password": password,
            "initial_device_display_name": "yakuba demo",
        });
        let answer = asker.must(Method::POST, "/_matrix/client/v3/register", None, Some(&order)).await?;
        let member = Member::of(asker, &answer)?;
        let path = format!("/_matrix/client/v3/profile/{}/displayname", escaped(&member.user_id));
        member.ask(Method::PUT, &path, &json!({ "displayname": person.display_name })).await?;
        Ok(member)
    }

    /// Somebody who has an account.
    pub(super) async fn log_in(asker: Asker, account: &Account) -> anyhow::Result<Member> {
        let order = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": account.user_id },
            "password": account.password,
            "device_id": DEVICE,
            "initial_device_display_name": "yakuba demo",
        });
        let answer = asker.must(Method::POST, "/_matrix/client/v3/login", None, Some(&order)).await?;
        Member::of(asker, &answer)
    }

    fn of(asker: Asker, answer: &Value) -> anyhow::Result<Member> {
        Ok(Member { asker, token: text(answer, "access_token")?, user_id: text(answer, "user_id")? })
    }

    pub(super) async fn log_out(&self) -> anyhow::Result<()> {
        self.ask(Method::POST, "/_matrix/client/v3/logout", &json!({})).await?;
        Ok(())
    }

    pub(super) async fn join(&self, room_id: &str) -> anyhow::Result<()> {
        let path = format!("/_matrix/client/v3/join/{}", escaped(room_id));
        self.ask(Method::POST, &path, &json!({})).await?;
        Ok(())
    }

    /// Says something; the event's id.
    pub(super) async fn say(&self, room_id: &str, txn: &str, words: &str) -> anyhow::Result<String> {
        let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/{txn}", escaped(room_id));
        text(&self.ask(Method::PUT, &path, &json!({ "msgtype": "m.text", "body": words })).await?, "event_id")
    }

    pub(super) async fn ask(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.asker.must(method, path, Some(&self.token), Some(body)).await
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.asker.must(Method::GET, path, Some(&self.token), None).await
    }
}

fn text(answer: &Value, key: &str) -> anyhow::Result<String> {
    let text = answer[key].as_str().map(str::to_owned);
    text.with_context(|| tr!("答えに {key} がありません", "no {key} in the answer"))
}

/// A path segment: ids have nothing to escape but these.
pub(super) fn escaped(id: &str) -> String {
    id.replace('%', "%25").replace('/', "%2F").replace('?', "%3F").replace('#', "%23")
}
