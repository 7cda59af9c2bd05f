//! Closed accounts that are opened again.

use super::*;

const NEW: &str = "another horse";

impl Town {
    /// Waits until a closed account has left its rooms.
    async fn has_left(&self, user: &UserId) {
        while !self.rooms.joined_rooms(user).await.unwrap().is_empty()
            || !self.accounts.inner.working.lock().is_empty()
        {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn an_account_is_opened_again_within_a_week_with_its_face_another_password_and_no_old_session() {
    let town = open_town().await;
    let (user, session) = town.register("hanako", false).await;
    let accounts = &town.accounts;
    let name = serde_json::value::to_raw_value("山田 花子").unwrap();
    accounts.set_profile_field(&user, "displayname", &name).await.unwrap();
    town.engine.create(&user, CreateRoom::default()).await.unwrap();
    assert!(matches!(accounts.reopen_account(&user, None, &operator()).await, Err(Error::Forbidden(_))));
    accounts.close_account(&user, &operator()).await.unwrap();
    // Closed once more it is closed since then.
    town.clock.advance(Duration::from_secs(3 * 86_400));
    accounts.close_account(&user, &operator()).await.unwrap();
    town.has_left(&user).await;
    assert!(accounts.profile(&user).await.is_err(), "nobody sees a face meanwhile");
    let weak = accounts.reopen_account(&user, Some("short"), &operator()).await;
    assert!(matches!(weak, Err(Error::WeakPassword(_))));
    town.clock.advance(Duration::from_secs(4 * 86_400 - 1));
    accounts.reopen_account(&user, Some(NEW), &operator()).await.unwrap();

    assert_eq!(accounts.profile(&user).await.unwrap().display_name().as_deref(), Some("山田 花子"));
    let found = accounts.find_account(&user).await.unwrap().unwrap();
    assert!(!found.deactivated && !found.admin);
    assert!(accounts.authenticate(kanazawa(), &session.access).await.is_err());
    let log_in = async |password: &str| {
        let credentials =
            Credentials::NameAndPassword { name: "hanako".to_owned(), password: password.to_owned() };
        let log_in = LogIn {
            credentials,
            device_id: None,
            device_name: None,
            refresh: false,
            from: None,
            agent: None,
        };
        accounts.log_in(kanazawa(), log_in).await
    };
    assert!(log_in(PASSWORD).await.is_err());
    log_in(NEW).await.unwrap();
    assert!(town.rooms.joined_rooms(&user).await.unwrap().is_empty(), "rooms do not come back by themselves");
    assert!(accounts.reopens_until(&user).await.unwrap().is_none());
    let rows = town.audit_rows().await;
    let row = rows.iter().find(|row| row.what == "account.reopen").unwrap();
    assert_eq!((row.whom.as_str(), row.who.as_str()), (user.as_str(), operator().name()));
}

#[tokio::test]
async fn what_was_closed_too_long_ago_or_erased_stays_closed_and_is_forgotten() {
    let town = open_town().await;
    let accounts = &town.accounts;
    let (late, _) = town.register("hanako", false).await;
    let (erased, _) = town.register("taro", false).await;
    let (lately, _) = town.register("jiro", false).await;
    accounts.close_account(&late, &operator()).await.unwrap();
    accounts.erase_account(&erased, &operator()).await.unwrap();
    town.has_left(&erased).await;
    let refused = accounts.reopen_account(&erased, None, &operator()).await;
    assert!(matches!(refused, Err(Error::Deactivated(_))), "{refused:?}");
    // Erased afterwards it is gone as well.
    accounts.close_account(&lately, &operator()).await.unwrap();
    assert!(accounts.reopens_until(&lately).await.unwrap().is_some());
    accounts.erase_account(&lately, &operator()).await.unwrap();
    assert!(accounts.reopens_until(&lately).await.unwrap().is_none());
    town.clock.advance(Duration::from_secs(7 * 86_400));
    town.has_left(&late).await;
    let refused = accounts.reopen_account(&late, None, &operator()).await;
    assert!(matches!(refused, Err(Error::Deactivated(_))), "{refused:?}");
    accounts.sweep_closed().await.unwrap();
    let rows = town.store.scan(&crate::tables::CLOSED, store::Range::all(), store::Order::Ascending, 9).await;
    assert_eq!(rows.unwrap(), []);
}

#[tokio::test]
async fn an_administrator_opens_no_account_of_somebody_with_a_duty_and_nobody_who_administers_no_more() {
    let town = open_town().await;
    let accounts = &town.accounts;
    let (user, _) = town.register("hanako", false).await;
    let (chief, _) = town.register("chief", false).await;
    accounts.set_administrator(&chief, true, &operator()).await.unwrap();
    let by = Actor::user(&chief, true, None);
    let duties = duties::Duties::new(town.store.clone(), accounts.inner.clock.clone(), Random::seeded(3));
    duties.set(&user, duties::Duty::Audit, true, &operator()).await.unwrap();
    accounts.close_account(&user, &by).await.unwrap();
    town.has_left(&user).await;
    let refused = accounts.reopen_account(&user, Some(NEW), &by).await;
    assert!(matches!(refused, Err(Error::Forbidden(why)) if why.contains("duty")), "{refused:?}");
    duties.set(&user, duties::Duty::Audit, false, &operator()).await.unwrap();
    accounts.set_administrator(&chief, false, &operator()).await.unwrap();
    let refused = accounts.reopen_account(&user, Some(NEW), &by).await;
    assert!(matches!(refused, Err(Error::Forbidden(why)) if why.contains("server admin")), "{refused:?}");
    accounts.reopen_account(&user, Some(NEW), &operator()).await.unwrap();
}

#[tokio::test]
async fn closing_and_opening_again_takes_neither_a_factor_nor_a_lock_away_by_one_administrators_hand() {
    let town = open_town().await;
    let accounts = &town.accounts;
    let (hanako, _) = town.register("hanako", false).await;
    let (taro, _) = town.register("taro", false).await;
    let (chief, _) = town.register("chief", false).await;
    accounts.set_administrator(&chief, true, &operator()).await.unwrap();
    let by = Actor::user(&chief, true, None);
    town.with_app(&hanako).await;
    accounts.set_locked(&taro, true, &by).await.unwrap();
    for user in [&hanako, &taro] {
        accounts.close_account(user, &by).await.unwrap();
        town.has_left(user).await;
    }
    let refused = accounts.reopen_account(&hanako, Some(NEW), &by).await;
    assert!(matches!(refused, Err(Error::Forbidden(why)) if why.contains("second factor")), "{refused:?}");
    accounts.reopen_account(&hanako, Some(NEW), &operator()).await.unwrap();
    accounts.reopen_account(&taro, Some(NEW), &by).await.unwrap();
    let found = accounts.find_account(&taro).await.unwrap().unwrap();
    assert!(!found.deactivated && found.moderation.locked, "what it was kept from it is kept from");
}
