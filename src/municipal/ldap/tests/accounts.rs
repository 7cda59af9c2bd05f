//! What follows for accounts.

use std::time::Duration;

use account::{Actor, InBrowser};

use super::{
    directory::{Directory, Says, Somebody, done, people, somebody},
    town::{Town, kanazawa, note, source},
};
use crate::{Answer, Counts, Order, Outcome, Settings, standing::Why};

async fn beside(directory: &Directory) -> Town {
    Town::with(vec![source(directory.port)]).await
}

fn disabled(of: &Somebody) -> Somebody {
    Somebody { control: "514".to_owned(), ..of.clone() }
}

#[tokio::test]
async fn people_get_accounts_and_are_called_as_the_directory_calls_them() {
    let directory = Directory::open().await;
    let hanako = Somebody { shown: "山田 花子".to_owned(), ..somebody(1, "Hanako") };
    directory.has(&[hanako.clone(), somebody(2, "taro")]);
    let town = beside(&directory).await;

    // First it is shown, and nothing is done.
    let shown = town.preview().await;
    assert_eq!((shown.outcome, shown.counts.made, shown.notes.len()), (Outcome::Previewed, 2, 2));
    assert!(!town.is_there("hanako").await);

    let report = town.run().await;
    let counts = Counts { made: 2, ..Counts::default() };
    assert_eq!((report.outcome, report.found, report.counts), (Outcome::Followed, 2, counts), "{report:?}");
    assert_eq!(town.shown_name("hanako").await, "山田 花子");
    // Nobody signs in to it with a password.
    assert!(town.log_in("hanako").await.is_err());

    // L11 and L12: everything but the id is another, and he is who he was.
    let married = Somebody {
        name: "sato".to_owned(),
        shown: "佐藤 花子".to_owned(),
        unit: "防災課".to_owned(),
        mail: "sato@city.test".to_owned(),
        ..hanako
    };
    directory.has(&[married.clone(), somebody(2, "taro")]);
    let report = town.run().await;
    assert_eq!(report.counts, Counts { renamed: 1, moved: 1, ..Counts::default() });
    assert_eq!(town.shown_name("hanako").await, "佐藤 花子");
    assert!(!town.is_there("sato").await);
    // What is so already changes nothing and leaves no row.
    let deeds = town.deeds().await;
    let report = town.run().await;
    assert!(!report.counts.is_something());
    assert_eq!(town.deeds().await, deeds);
    let of_hanako: Vec<&String> =
        deeds.iter().filter(|deed| deed.ends_with("@hanako:kanazawa.test")).collect();
    assert_eq!(
        of_hanako,
        [
            "source source.put_user @hanako:kanazawa.test",
            "source account.create @hanako:kanazawa.test",
            "source source.put_user @hanako:kanazawa.test",
        ]
    );
    // Whoever gets the name of somebody else later is not him.
    directory.has(&[married, somebody(2, "taro"), somebody(3, "hanako")]);
    let report = town.run().await;
    assert_eq!(report.counts, Counts::default());
    assert!(note(&report, "hanako").unwrap().contains("somebody else"), "{report:?}");
}

/// L8. That a `/sync` that waits ends with the session is the accounts' work, and tested with SCIM over HTTP.
#[tokio::test]
async fn whoever_is_disabled_is_out_of_every_session_and_comes_back_to_what_he_left() {
    let directory = Directory::open().await;
    let hanako = somebody(1, "hanako");
    directory.has(&[hanako.clone(), somebody(2, "taro")]);
    let town = Town::with(vec![Settings { adopts_accounts: true, ..source(directory.port) }]).await;
    town.account("hanako", false).await;
    let sessions = [town.log_in("hanako").await.unwrap(), town.log_in("hanako").await.unwrap()];
    assert_eq!(town.run().await.counts.made, 2);
    for session in &sessions {
        assert!(town.accounts.authenticate(kanazawa(), &session.access).await.is_ok());
    }

    directory.has(&[disabled(&hanako), somebody(2, "taro")]);
    assert_eq!(town.run().await.counts, Counts { ended: 1, ..Counts::default() });
    for session in &sessions {
        assert!(town.accounts.authenticate(kanazawa(), &session.access).await.is_err());
        assert!(town.accounts.refresh(kanazawa(), session.refresh.as_deref().unwrap()).await.is_err());
    }
    assert!(town.accounts.devices(&town.user("hanako")).await.unwrap().is_empty());
    assert!(matches!(town.log_in("hanako").await, Err(account::Error::Locked)));
    assert!(!town.is_locked("taro").await);

    directory.has(&[hanako.clone(), somebody(2, "taro")]);
    assert_eq!(town.run().await.counts, Counts { restored: 1, ..Counts::default() });
    assert!(town.log_in("hanako").await.is_ok());

    // Whoever is not in the directory any more is out like that, and comes back likewise.
    directory.has(&[somebody(2, "taro")]);
    assert_eq!(town.run().await.counts.ended, 1);
    assert!(town.is_locked("hanako").await);
    directory.has(&[hanako, somebody(2, "taro")]);
    assert_eq!(town.run().await.counts.restored, 1);
    assert!(town.log_in("hanako").await.is_ok());
    let deeds = town.deeds().await.join("\n");
    for deed in ["account.lock", "account.unlock", "source.remove_user"] {
        assert!(deeds.contains(&format!("source {deed} @hanako:kanazawa.test")), "{deeds}");
    }
}

/// L9: by the hour, though the directory says nothing new.
#[tokio::test]
async fn whoever_expires_is_out_when_his_hour_comes() {
    let directory = Directory::open().await;
    // 2026-04-01T00:01 in Japan.
    let expires = "134194428600000000".to_owned();
    directory.has(&[Somebody { expires, ..somebody(1, "hanako") }]);
    let town = beside(&directory).await;
    assert_eq!(town.run().await.counts.made, 1);
    assert_eq!(town.run().await.counts, Counts::default());
    town.clock.advance(Duration::from_secs(60));
    assert_eq!(town.run().await.counts.ended, 1);
    assert!(town.is_locked("hanako").await);
}

/// L1, L2, L3.
#[tokio::test]
async fn a_reading_that_is_not_whole_ends_nobody() {
    let directory = Directory::open().await;
    let all: Vec<Somebody> = (1..=12).map(|number| somebody(number, &format!("u{number}"))).collect();
    directory.has(&all);
    let town = beside(&directory).await;
    assert_eq!(town.run().await.counts.made, 12);
    let deeds = town.deeds().await;

    // It finds nobody, and says that this is all.
    directory.says(Says::Messages(vec![done(0)]));
    let report = town.run().await;
    assert_eq!(report.outcome, Outcome::Refused);
    assert!(report.why.unwrap().ja.contains("一人も見つかりません"));
    // Nor does it help to mean that.
    directory.says(Says::Messages(vec![done(0)]));
    assert_eq!(town.accept(12).await.outcome, Outcome::Refused);
    // It finds some, and says that there were more.
    directory.has(&all[..4]);
    for code in [3, 4, 10] {
        directory.says(Says::Messages(vec![done(code)]));
        assert_eq!(town.run().await.outcome, Outcome::Failed);
    }
    // It does not let us in, or is not there.
    directory.has(&all);
    directory.refuses_bind(49);
    assert_eq!(town.run().await.outcome, Outcome::Failed);
    let away = Town::with(vec![source(1)]).await;
    let report = away.run().await;
    assert_eq!(report.outcome, Outcome::Failed);
    assert!(report.why.unwrap().ja.contains("接続できません"));

    for number in 1..=12 {
        assert!(!town.is_locked(&format!("u{number}")).await);
    }
    // What was refused is written down, once for each reason.
    let after = town.deeds().await;
    assert_eq!(after[deeds.len()..], ["source source.refuse_reading ad"]);
    // And told, with when it was well the last time.
    let Answer::Status(status) = town.ask(Order::Status).await else { panic!("no status") };
    assert_eq!((status[0].people, status[0].ended), (12, 0));
    assert_eq!(status[0].last.as_ref().unwrap().outcome, Outcome::Failed);
    assert!(status[0].last_good.is_some());
}

#[tokio::test]
async fn many_end_only_when_somebody_means_it() {
    let directory = Directory::open().await;
    let all: Vec<Somebody> = (1..=12).map(|number| somebody(number, &format!("u{number}"))).collect();
    directory.has(&all);
    let town = beside(&directory).await;
    town.run().await;
    directory.has(&all[6..]);
    let refused = town.run().await;
    assert_eq!((refused.outcome, refused.endings), (Outcome::Refused, Some(6)), "{refused:?}");
    assert_eq!(town.accept(5).await.outcome, Outcome::Refused);
    assert!(!town.is_locked("u1").await);
    let shown = town.preview().await;
    assert_eq!((shown.outcome, shown.counts.ended), (Outcome::Previewed, 6));

    let accepted = town.accept(6).await;
    assert_eq!((accepted.outcome, accepted.counts.ended), (Outcome::Followed, 6));
    assert!(town.is_locked("u1").await && town.is_locked("u6").await && !town.is_locked("u7").await);
    let deeds = town.deeds().await;
    assert!(deeds.contains(&"operator source.accept_endings ad".to_owned()), "{deeds:?}");
    // It was meant once: the next time it is to be said again.
    directory.has(&all[..6]);
    assert_eq!(town.run().await.outcome, Outcome::Refused);
}

/// L20.
#[tokio::test]
async fn administrators_and_excepted_accounts_are_not_ended_and_that_is_told() {
    let directory = Directory::open().await;
    let all = [somebody(1, "admin"), somebody(2, "helpdesk"), somebody(3, "taro")];
    directory.has(&all);
    let adopting = Settings { adopts_accounts: true, ..source(directory.port) };
    let town = Town::with(vec![adopting.clone()]).await;
    // An administrator's account is not taken over, so there is nothing by which it would end.
    town.account("admin", true).await;
    let report = town.run().await;
    assert_eq!(report.counts.made, 2);
    assert!(note(&report, "admin").unwrap().contains("administrator"), "{report:?}");
    directory.has(&[disabled(&all[0]), disabled(&all[1]), all[2].clone()]);
    for _ in 0..2 {
        let report = town.run().await;
        assert_eq!(report.counts.ended, 0, "{report:?}");
        assert!(!town.is_locked("admin").await && !town.is_locked("helpdesk").await);
        assert!(note(&report, "@helpdesk:").unwrap().contains("not ended"), "{report:?}");
    }
    // Once he is excepted no more, the next reading ends him.
    let town = town.reopened(vec![Settings { excepted: [].into(), ..adopting }]);
    assert_eq!(town.run().await.counts.ended, 1);
    assert!(town.is_locked("helpdesk").await && !town.is_locked("admin").await);
}

#[tokio::test]
async fn an_account_that_is_there_is_taken_over_where_that_is_set() {
    let directory = Directory::open().await;
    directory.has(&[somebody(1, "hanako"), somebody(2, "taro")]);
    let town = beside(&directory).await;
    town.account("hanako", false).await;
    let report = town.run().await;
    assert_eq!(report.counts.made, 1);
    assert!(note(&report, "hanako").unwrap().contains("adopts_accounts"), "{report:?}");
    assert!(town.log_in("hanako").await.is_ok());
}

#[tokio::test]
async fn an_administrators_lock_is_not_taken_away_by_a_directory() {
    let directory = Directory::open().await;
    let hanako = somebody(1, "hanako");
    directory.has(std::slice::from_ref(&hanako));
    let town = beside(&directory).await;
    town.run().await;
    let admin = Actor::operator("uid 0");
    town.accounts.set_locked(&town.user("hanako"), true, &admin).await.unwrap();
    for says in [disabled(&hanako), hanako] {
        directory.has(&[says]);
        town.run().await;
        assert!(town.is_locked("hanako").await);
    }
}

#[tokio::test]
async fn an_account_is_found_by_what_the_identity_provider_calls_its_user() {
    let directory = Directory::open().await;
    directory.has(&[somebody(1, "hanako"), somebody(2, "j.suzuki")]);
    let issuer = "https://id.city.test";
    let identity = Some((issuer.to_owned(), "{objectGUID}".parse().unwrap()));
    let town = Town::with(vec![Settings { identity, ..source(directory.port) }]).await;
    // Who signed in there before is who he is, though nothing is adopted.
    let jiro = town.account("jiro", false).await;
    let subject = "02020202-0202-0202-0202-020202020202";
    town.accounts.link_identity(&jiro, (issuer, subject), &Actor::operator("uid 0")).await.unwrap();
    assert_eq!(town.run().await.counts.made, 2);
    assert_eq!(town.shown_name("jiro").await, "j.suzuki さん");
    assert!(!town.is_there("j.suzuki").await);
    let subject = "01010101-0101-0101-0101-010101010101";
    let owner = town.accounts.find_identity(kanazawa(), issuer, subject).await.unwrap();
    assert_eq!(owner, Some(town.user("hanako")));
}

#[tokio::test]
async fn whoever_signs_in_while_he_is_ended_is_out_with_the_others() {
    let directory = Directory::open().await;
    let hanako = somebody(1, "hanako");
    directory.has(std::slice::from_ref(&hanako));
    let town = Town::with(vec![Settings { adopts_accounts: true, ..source(directory.port) }]).await;
    town.account("hanako", false).await;
    town.run().await;
    for _ in 0..5 {
        directory.has(&[disabled(&hanako)]);
        let (ended, signed_in) = tokio::join!(town.run(), town.log_in("hanako"));
        assert_eq!(ended.counts.ended, 1, "{ended:?}");
        if let Ok(session) = signed_in {
            let session = town.accounts.authenticate(kanazawa(), &session.access).await;
            assert!(session.is_err() || session.unwrap().moderation.locked);
        }
        directory.has(std::slice::from_ref(&hanako));
        town.run().await;
    }
}

/// Whoever is moved while pages are read may stand on none of them; he is looked for before he is ended.
#[tokio::test]
async fn whoever_was_missed_between_two_pages_is_looked_for() {
    let directory = Directory::open().await;
    directory.has(&[somebody(1, "hanako"), somebody(2, "taro")]);
    let town = beside(&directory).await;
    town.run().await;
    // The search finds one, the look for the other finds both.
    directory.says(Says::Messages(people(&[somebody(2, "taro")])));
    let report = town.run().await;
    assert_eq!((report.found, report.counts), (2, Counts::default()), "{report:?}");
    let asked = directory.asked(0x63);
    let id = [[0xa3, 0x1e, 0x04, 0x0a].as_slice(), b"objectGUID", &[0x04, 0x10], &[1; 16]].concat();
    let last = asked.last().unwrap();
    assert!(last.windows(id.len()).any(|part| part == id), "{last:x?}");
}

#[tokio::test]
async fn of_a_closed_account_nothing_is_left_to_follow() {
    let directory = Directory::open().await;
    let hanako = somebody(1, "hanako");
    directory.has(&[hanako.clone(), somebody(2, "taro")]);
    let town = beside(&directory).await;
    town.run().await;
    town.accounts.close_account(&town.user("hanako"), &Actor::operator("uid 0")).await.unwrap();
    for says in [disabled(&hanako), hanako] {
        directory.has(&[says, somebody(2, "taro")]);
        let report = town.run().await;
        assert_eq!((report.outcome, report.counts), (Outcome::Followed, Counts::default()));
    }
}

/// A running server reads by itself, at once and when its interval is over.
#[tokio::test]
async fn a_directory_is_read_again_when_its_interval_is_over() {
    let directory = Directory::open().await;
    let hanako = somebody(1, "hanako");
    directory.has(&[hanako.clone(), somebody(2, "taro")]);
    let town = beside(&directory).await;
    town.ldap.start();
    while !town.is_there("hanako").await {
        tokio::task::yield_now().await;
    }
    directory.has(&[disabled(&hanako), somebody(2, "taro")]);
    while !town.is_locked("hanako").await {
        town.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    let known = town.ldap.known(&town.ldap.source(kanazawa(), None).unwrap()).await.unwrap();
    let why: Vec<Option<Why>> = known.values().map(|row| row.ended).collect();
    assert_eq!(why, [Some(Why::Disabled), None]);
    town.tasks.stop(Duration::from_secs(5)).await;
}

/// L3: whoever is in stays in, by whatever way he comes in that asks no directory, and those who watch the server see it.
#[tokio::test]
async fn a_directory_that_is_away_ends_nobody_and_the_gauge_says_so_until_it_is_back() {
    let directory = Directory::open().await;
    directory.has(&[somebody(1, "hanako"), somebody(2, "taro")]);
    let here = Settings { adopts_accounts: true, ..source(directory.port) };
    let town = Town::with(vec![here.clone()]).await;
    town.account("hanako", false).await;
    assert_eq!(town.is_failing(), None);
    assert_eq!(town.run().await.counts.made, 2);
    assert_eq!(town.is_failing(), Some(false));
    let session = town.log_in("hanako").await.unwrap();
    let deeds = town.deeds().await;

    // A port that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away = Settings {
        place: crate::Place::parse(&format!("ldap://127.0.0.1:{port}"), false).unwrap(),
        ..here.clone()
    };
    let town = town.reopened(vec![away]);
    for _ in 0..3 {
        let report = town.run().await;
        assert_eq!(report.outcome, Outcome::Failed);
        assert!(report.why.unwrap().ja.contains("接続できません"));
        assert_eq!(town.is_failing(), Some(true));
    }
    assert!(!town.is_locked("hanako").await && !town.is_locked("taro").await);
    assert_eq!(town.deeds().await, deeds);
    assert!(town.accounts.authenticate(kanazawa(), &session.access).await.is_ok());
    assert!(town.accounts.refresh(kanazawa(), session.refresh.as_deref().unwrap()).await.is_ok());
    // A browser in which a passkey was shown; and a password.
    let way = InBrowser { key: [0; 32], from: None, agent: None };
    let hanako = town.user("hanako");
    let shown = town.accounts.begin_browser(&hanako, "passkey", &way).await.unwrap().done().unwrap().1;
    assert!(town.accounts.find_browser(kanazawa(), &shown.0, None).await.unwrap().is_some());
    assert!(town.log_in("hanako").await.is_ok());

    let town = town.reopened(vec![here]);
    assert_eq!(town.run().await.outcome, Outcome::Followed);
    assert_eq!(town.is_failing(), Some(false));
}

/// L16: one that takes the connection and says nothing holds up no other, and nobody who asks how things are.
#[tokio::test]
async fn a_directory_that_says_nothing_holds_up_no_other_one() {
    let (silent, other) = (Directory::open().await, Directory::open().await);
    silent.says_to_bind(Says::Nothing);
    other.has(&[somebody(1, "hanako"), somebody(2, "taro")]);
    let bounds = crate::Bounds {
        answering: Duration::from_secs(3_600),
        whole: Duration::from_secs(3_600),
        ..crate::Bounds::default()
    };
    let first = Settings { name: "silent".to_owned(), bounds, ..source(silent.port) };
    let town = Town::with(vec![first, source(other.port)]).await;
    town.ldap.start();
    let followed = async {
        while silent.asked(0x60).is_empty() || !town.is_there("hanako").await {
            tokio::task::yield_now().await;
        }
        // It is followed again as well, while the first one still waits.
        other.has(&[disabled(&somebody(1, "hanako")), somebody(2, "taro")]);
        while !town.is_locked("hanako").await {
            town.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), followed).await.expect("the other one is followed");
    let Answer::Status(status) = town.ask(Order::Status).await else { panic!("no status") };
    let of = |name: &str| status.iter().find(|of| of.source == name).unwrap();
    assert!(of("silent").last.is_none());
    assert_eq!((of("ad").people, of("ad").ended), (2, 1));
    assert_eq!(silent.asked(0x60).len(), 1);
    town.tasks.stop(Duration::from_secs(5)).await;
}
