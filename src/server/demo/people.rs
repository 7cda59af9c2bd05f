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

/// Somebody who is logged in.
struct Member {
    asker: Asker,
    token: String,
    user_id: String,
    words: &'static str,
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
    let world = World { accounts, room_id };
    place.remember(&world)?;
    Ok(world)
}

async fn make_room(members: &[Member]) -> anyhow::Result<String> {
    let (first, others) = members.split_first().with_context(|| tr!("だれもいません", "nobody is there"))?;
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
    first.say(&room_id).await?;
    for member in others {
        let path = format!("/_matrix/client/v3/join/{}", escaped(&room_id));
        member.ask(Method::POST, &path, &json!({})).await?;
        member.say(&room_id).await?;
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
        let text = |key: &str| {
            let text = answer[key].as_str().map(str::to_owned);
            text.with_context(|| tr!("答えに {key} がありません", "no {key} in the answer"))
        };
        let member =
            Member { asker, token: text("access_token")?, user_id: text("user_id")?, words: person.words };
        let path = format!("/_matrix/client/v3/profile/{}/displayname", escaped(&member.user_id));
        member.ask(Method::PUT, &path, &json!({ "displayname": person.display_name })).await?;
        Ok(member)
    }

    async fn say(&self, room_id: &str) -> anyhow::Result<()> {
        let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/first", escaped(room_id));
        self.ask(Method::PUT, &path, &json!({ "msgtype": "m.text", "body": self.words })).await?;
        Ok(())
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.asker.must(method, path, Some(&self.token), Some(body)).await
    }
}

/// A path segment: ids have nothing to escape but these.
fn escaped(id: &str) -> String {
    id.replace('%', "%25").replace('/', "%2F").replace('?', "%3F").replace('#', "%23")
}
