//! What follows in rooms.

use super::*;

#[tokio::test]
async fn a_new_name_is_shown_in_the_users_rooms() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let profile = town.accounts.member_profile(&user).await.unwrap();
    let wishes = CreateRoom { profile, ..CreateRoom::default() };
    let room_id = town.rooms.create(&user, wishes).await.unwrap();
    let mut watch = town.store.watch(vec![store::Topic::room(room_id.as_str())]);

    let name = serde_json::value::to_raw_value("花子").unwrap();
    town.accounts.set_profile_field(&user, "displayname", &name).await.unwrap();

    watch.changed().await;
    assert_eq!(town.shown_name(&user, &room_id).await.as_deref(), Some("花子"));
}

#[tokio::test]
async fn a_closed_account_leaves_its_rooms() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let room_id = town.rooms.create(&user, CreateRoom::default()).await.unwrap();
    let mut watch = town.store.watch(vec![store::Topic::room(room_id.as_str())]);

    town.accounts.close_account(&user).await.unwrap();

    watch.changed().await;
    assert!(town.rooms.joined_rooms(&user).await.unwrap().is_empty());
}
