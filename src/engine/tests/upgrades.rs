//! Replacing a room, with what can come in between.

use std::collections::HashSet;

use audit::Actor;
use futures_util::future::join_all;
use pdu::RoomVersion;
use room::{
    Error,
    tables::{HEADS, Membership},
};
use ruma::{OwnedRoomId, RoomAliasId, RoomId, UserId};
use store::CommitError;

use super::{
    net::{Net, Server, user},
    troubles::{broken, id, troubled},
};
use crate::{CreateRoom, Preset, Profile, Upgrade, Upgraded, upgrade::UPGRADES};

fn to(version: RoomVersion, user: &UserId) -> Upgrade {
    Upgrade {
        version,
        additional_creators: Vec::new(),
        profile: Profile::default(),
        by: Actor::user(user, false, None),
    }
}

/// The rooms of a user that say they take the place of this one.
async fn successors(server: &Server, user: &UserId, old: &RoomId) -> HashSet<OwnedRoomId> {
    let memberships = server.rooms.memberships(user).await.unwrap();
    let mut found = HashSet::new();
    for row in memberships.with(Membership::Join) {
        if server.engine.predecessor(&row.room_id).await.unwrap().is_some_and(|room| room == old) {
            found.insert(row.room_id.clone());
        }
    }
    found
}

async fn with_alias(server: &Server, user: &UserId) -> OwnedRoomId {
    let alias = RoomAliasId::parse("#saigai:a.test").unwrap();
    let wishes = CreateRoom {
        version: Some(RoomVersion::V10),
        preset: Preset::PublicChat,
        alias: Some(alias),
        publish: true,
        ..CreateRoom::default()
    };
    server.engine.create(user, wishes).await.unwrap()
}

/// The same once more. After a write of unknown outcome the store looks at what it did first.
async fn again(server: &Server, user: &UserId, old: &RoomId) -> Upgraded {
    loop {
        match server.engine.upgrade(user, old, to(RoomVersion::V11, user)).await {
            Ok(upgraded) => return upgraded,
            Err(error) => assert!(error.is_passing(), "{error:?}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_upgrade_that_ended_anywhere_goes_on_with_the_room_that_it_made() {
    let hanako = user("@hanako:a.test");
    for trouble in [CommitError::Store(broken()), CommitError::Unknown] {
        let mut at = 1;
        loop {
            let net = Net::default();
            let (a, troubles) = troubled(&net, "a.test").await;
            let old = with_alias(&a, &hanako).await;
            *troubles.write.lock() = Some((id(&HEADS), at, trouble.clone()));
            let first = a.engine.upgrade(&hanako, &old, to(RoomVersion::V11, &hanako)).await;
            let was_disturbed = troubles.write.lock().take().is_none();
            let again = again(&a, &hanako, &old).await;

            assert_eq!(
                successors(&a, &hanako, &old).await,
                HashSet::from([again.room_id.clone()]),
                "at {at}"
            );
            assert!(first.is_err() || first.is_ok_and(|first| first.room_id == again.room_id));
            let alias = RoomAliasId::parse("#saigai:a.test").unwrap();
            assert_eq!(a.rooms.find_alias(&alias).await.unwrap().as_ref(), Some(&again.room_id), "at {at}");
            let listed = a.rooms.is_published(hanako.server_name(), &again.room_id).await.unwrap();
            assert!(listed && !a.rooms.is_published(hanako.server_name(), &old).await.unwrap());
            if !was_disturbed {
                break;
            }
            at += 1;
        }
        assert_eq!(at, 4, "the new room, the tombstone, the levels were each disturbed once");
    }
}

#[tokio::test]
async fn of_many_upgrades_at_once_in_two_processes_one_makes_a_room() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let other = net.server_over(&["a.test"], &a.disk, a.store.clone()).await;
    let hanako = user("@hanako:a.test");
    let old = with_alias(&a, &hanako).await;

    let upgrades = (0..8).map(|number| {
        let engine = if number % 2 == 0 { &a.engine } else { &other.engine };
        engine.upgrade(&hanako, &old, to(RoomVersion::V11, &hanako))
    });
    let made: HashSet<OwnedRoomId> =
        join_all(upgrades).await.into_iter().map(|upgraded| upgraded.unwrap().room_id).collect();

    assert_eq!(made.len(), 1);
    assert_eq!(successors(&a, &hanako, &old).await, made);
}

#[tokio::test]
async fn another_wish_and_a_room_that_was_left_make_another_room() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let old = with_alias(&a, &hanako).await;
    let first = a.engine.upgrade(&hanako, &old, to(RoomVersion::V11, &hanako)).await.unwrap().room_id;
    let second = a.engine.upgrade(&hanako, &old, to(RoomVersion::V12, &hanako)).await.unwrap().room_id;
    assert_ne!(first, second);
    a.engine.leave(&hanako, &second, None).await.unwrap();
    let third = a.engine.upgrade(&hanako, &old, to(RoomVersion::V12, &hanako)).await.unwrap().room_id;
    assert!(third != first && third != second);
}

#[tokio::test]
async fn who_may_not_replace_a_room_makes_none() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:a.test"), user("@jiro:a.test"));
    let old = with_alias(&a, &hanako).await;
    a.join(&taro, &old, "a.test").await.unwrap();
    let refused = a.engine.upgrade(&taro, &old, to(RoomVersion::V11, &taro)).await;
    assert!(matches!(refused, Err(Error::NotAllowed(_))), "{refused:?}");
    let refused = a.engine.upgrade(&jiro, &old, to(RoomVersion::V11, &jiro)).await;
    assert!(matches!(refused, Err(Error::NotJoined { .. })), "{refused:?}");
    let unknown = RoomId::parse("!nothing:a.test").unwrap();
    let refused = a.engine.upgrade(&jiro, &unknown, to(RoomVersion::V11, &jiro)).await;
    assert!(matches!(refused, Err(Error::NotJoined { .. } | Error::NoRoom(_))), "{refused:?}");
    assert!(successors(&a, &taro, &old).await.is_empty());
}

#[tokio::test]
async fn an_upgrade_of_which_there_is_no_row_yet_is_found_by_what_the_rooms_say() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let old = with_alias(&a, &hanako).await;
    let first = a.engine.upgrade(&hanako, &old, to(RoomVersion::V11, &hanako)).await.unwrap();
    let info = a.rooms.room(&old).await.unwrap().unwrap();
    let mut batch = store::Batch::new();
    batch.delete(&UPGRADES, &(info.serial, hanako.as_str()));
    a.store.commit(batch).await.unwrap();

    let again = a.engine.upgrade(&hanako, &old, to(RoomVersion::V11, &hanako)).await.unwrap();

    assert_eq!(again.room_id, first.room_id);
    assert_eq!(successors(&a, &hanako, &old).await.len(), 1);
}
