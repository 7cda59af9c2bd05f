//! What others do between the look at an account and the commit that follows from it.

use base::Turn;
use store::{Order, Range};

use super::*;
use crate::{password::Memory, tables};

/// The word that the owner changes to, and the one that somebody else would like.
const OWNERS: &str = "another word";
const THIEFS: &str = "a thief's word";

impl Town {
    /// Somebody's wish to have another password, confirmed with the first one.
    fn change_password(&self, user: &UserId, word: &str) -> impl Future<Output = Result<(), Error>> + use<> {
        let asked = asked(json!({ "new_password": word }), Some(password(user, PASSWORD)));
        let (accounts, user) = (self.accounts.clone(), user.to_owned());
        async move { accounts.change_password(&user, "OWN".into(), asked).await }
    }

    fn close(&self, user: &UserId) -> impl Future<Output = Result<(), Error>> + use<> {
        let asked = asked(json!({ "erase": true }), Some(password(user, PASSWORD)));
        let (accounts, user) = (self.accounts.clone(), user.to_owned());
        async move { accounts.deactivate(&user, "OWN".into(), asked).await }
    }

    /// Waits in line to hash; `behind` are there already. Whoever has the turn does not work.
    pub(super) async fn queue(&self, behind: usize) -> tokio::task::JoinHandle<Turn<Memory>> {
        let turns = self.accounts.inner.passwords.turns().clone();
        let place = tokio::spawn({
            let turns = turns.clone();
            async move { turns.wait(0).await.unwrap() }
        });
        until(|| turns.waiting() == behind + 1).await;
        place
    }

    pub(super) async fn queued(&self, count: usize) {
        until(|| self.accounts.inner.passwords.turns().waiting() == count).await;
    }
}

#[tokio::test]
async fn a_password_confirmed_before_the_account_was_closed_opens_it_no_more() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let turn = town.accounts.inner.passwords.turns().wait(0).await.unwrap();
    let change = tokio::spawn(town.change_password(&user, THIEFS));
    town.queued(1).await;
    let next = town.queue(1).await;
    drop(turn);
    let turn = next.await.unwrap();
    // The old password was right; the new one waits to be hashed.
    town.queued(1).await;

    town.accounts.close_account(&user, &operator()).await.unwrap();

    drop(turn);
    let refused = change.await.unwrap();
    assert!(matches!(refused, Err(Error::Deactivated(_))), "{refused:?}");
    let set = town.accounts.set_password(&user, THIEFS, &operator()).await;
    assert!(matches!(set, Err(Error::Deactivated(_))), "{set:?}");
    assert!(matches!(town.log_in("hanako", THIEFS, None).await, Err(Error::Deactivated(_))));
    assert_eq!(town.accounts.get_user_row(&user).await.unwrap().password, None);
}

#[tokio::test]
async fn a_password_that_was_just_changed_is_not_overwritten_by_what_the_old_one_confirmed() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let turn = town.accounts.inner.passwords.turns().wait(0).await.unwrap();
    let thief = tokio::spawn(town.change_password(&user, THIEFS));
    town.queued(1).await;
    let owner = tokio::spawn({
        let (accounts, user) = (town.accounts.clone(), user.clone());
        async move { accounts.set_password(&user, OWNERS, &operator()).await }
    });
    town.queued(2).await;
    let next = town.queue(2).await;
    drop(turn);
    let turn = next.await.unwrap();
    // The thief has shown the old password and stands behind the owner.
    town.queued(2).await;
    let next = town.queue(2).await;
    drop(turn);
    owner.await.unwrap().unwrap();
    drop(next.await.unwrap());

    let refused = thief.await.unwrap();

    assert!(matches!(refused, Err(Error::Interactive(info)) if info.auth_error.is_some()));
    assert!(matches!(town.log_in("hanako", THIEFS, None).await, Err(Error::WrongCredentials)));
    town.log_in("hanako", OWNERS, None).await.unwrap();
}

#[tokio::test]
async fn an_account_is_not_closed_by_a_password_that_was_changed_meanwhile() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let mut held = town.disk.hold(&tables::DEVICES);
    let close = tokio::spawn(town.close(&user));
    held.reached().await;

    town.accounts.set_password(&user, OWNERS, &operator()).await.unwrap();

    held.let_go();
    let refused = close.await.unwrap();
    assert!(matches!(refused, Err(Error::Interactive(info)) if info.auth_error.is_some()));
    town.log_in("hanako", OWNERS, None).await.unwrap();
}

#[tokio::test]
async fn who_logs_in_while_all_sessions_end_is_out_as_well() {
    for end in ["closing", "closing by an administrator", "changing", "setting", "logging out everywhere"] {
        let town = open_town().await;
        let (user, _) = town.register("hanako", false).await;
        let mut held = town.disk.hold(&tables::DEVICES);
        let (accounts, of) = (town.accounts.clone(), user.clone());
        let ending = match end {
            "closing" => tokio::spawn(town.close(&user)),
            "closing by an administrator" => {
                tokio::spawn(async move { accounts.close_account(&of, &operator()).await })
            }
            "changing" => tokio::spawn(town.change_password(&user, OWNERS)),
            "setting" => tokio::spawn(async move { accounts.set_password(&of, OWNERS, &operator()).await }),
            _ => tokio::spawn(async move { accounts.log_out_everywhere(&of, &itself(&of)).await }),
        };
        held.reached().await;

        let tokens = town.log_in("hanako", PASSWORD, Some("LATE")).await.unwrap();
        town.session(&tokens).await.unwrap();

        held.let_go();
        ending.await.unwrap().unwrap();
        assert!(is_unknown(town.session(&tokens).await), "{end}");
        assert!(town.accounts.devices(&user).await.unwrap().is_empty(), "{end}");
    }
}

#[tokio::test]
async fn who_logs_in_to_a_device_that_is_removed_meanwhile_has_a_session() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    town.log_in("hanako", PASSWORD, Some("PHONE")).await.unwrap();
    let mut held = town.disk.hold(&tables::DEVICES);
    let (accounts, request) = (town.accounts.clone(), log_in_to("hanako", "PHONE"));
    let again = tokio::spawn(async move { accounts.log_in(kanazawa(), request).await });
    held.reached().await;

    town.accounts.log_out(&user, "PHONE".into(), &itself(&user)).await.unwrap();

    held.let_go();
    let (_, _, tokens) = again.await.unwrap().unwrap();
    assert_eq!(town.session(&tokens).await.unwrap().device_id, "PHONE");
}

fn log_in_to(name: &str, device: &str) -> LogIn {
    LogIn {
        credentials: Credentials::NameAndPassword { name: name.to_owned(), password: PASSWORD.to_owned() },
        device_id: Some(device.into()),
        device_name: None,
        refresh: false,
        from: None,
        agent: None,
    }
}

#[tokio::test]
async fn what_a_session_was_about_to_write_leaves_nothing_on_an_erased_account() {
    let room = room_id!("!a:kanazawa.test");
    for what in ["profile", "data", "data of a room", "filter", "push rules"] {
        let town = open_town().await;
        let (user, _) = town.register("hanako", false).await;
        let mut held = match what {
            "profile" => town.disk.hold(&tables::PROFILES),
            "data of a room" => town.disk.hold(&tables::ROOM_DATA),
            "filter" => town.disk.hold(&tables::FILTERS),
            _ => town.disk.hold(&tables::DATA),
        };
        let (accounts, of, some) = (town.accounts.clone(), user.clone(), Bytes::from_static(b"{}"));
        let write = tokio::spawn(async move {
            let value = serde_json::value::to_raw_value("花子").unwrap();
            match what {
                "profile" => accounts.set_profile_field(&of, "displayname", &value).await,
                "data" => accounts.set_account_data(&of, "test.note", some).await,
                "data of a room" => accounts.set_room_account_data(&of, room, "test.note", some).await,
                "filter" => accounts.put_filter(&of, some).await.map(drop),
                _ => accounts.change_push_rules(&of, |_| Ok(())).await,
            }
        });
        held.reached().await;

        town.close(&user).await.unwrap();

        held.let_go();
        assert!(write.await.unwrap().is_err(), "{what}");
        let store = &town.store;
        let (all, order) = (Range::all, Order::Ascending);
        assert!(store.scan(&tables::PROFILES, all(), order, 9).await.unwrap().is_empty());
        assert!(store.scan(&tables::FILTERS, all(), order, 9).await.unwrap().is_empty());
        assert!(store.scan(&tables::DATA_USE, Range::all(), order, 9).await.unwrap().is_empty());
        assert!(town.accounts.account_data_since(&user, Position::START).await.unwrap().is_empty(), "{what}");
        if what != "profile" && what != "filter" {
            let later = town.accounts.set_account_data(&user, "test.note", Bytes::from_static(b"{}")).await;
            assert!(matches!(later, Err(Error::Deactivated(_))), "{what}: {later:?}");
        }
    }
}

#[tokio::test]
async fn a_token_that_was_given_out_before_the_account_was_closed_names_nobody() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let token = town.accounts.request_openid_token(&user).await.unwrap();
    town.accounts.close_account(&user, &operator()).await.unwrap();
    assert!(is_unknown(town.accounts.openid_user(kanazawa(), &token.token).await));
}
