//! What a directory, or somebody in it, may try.

use std::time::Duration;

use account::{Actor, NewUser};
use ruma::server_name;

use super::{
    directory::{Directory, Says, Somebody, done, entry, entry_of, more, somebody},
    town::{Town, kanazawa, note, source},
};
use crate::{Bounds, Counts, Outcome, Settings, fault::Fault, session};

async fn beside(directory: &Directory) -> Town {
    Town::with(vec![source(directory.port)]).await
}

fn disabled(of: &Somebody) -> Somebody {
    Somebody { control: "514".to_owned(), ..of.clone() }
}

/// A localpart that is a whole user id would be somebody of another authority of this process.
#[tokio::test]
async fn nobody_of_another_authority_is_reached_by_a_name_that_is_a_whole_user_id() {
    let directory = Directory::open().await;
    let mayor = somebody(1, "@mayor:komatsu.test");
    directory.has(&[mayor.clone(), somebody(2, "taro")]);
    for adopts_accounts in [true, false] {
        let town = Town::with(vec![Settings { adopts_accounts, ..source(directory.port) }]).await;
        let komatsu = server_name!("komatsu.test");
        let new = NewUser { localpart: "mayor".to_owned(), ..NewUser::default() };
        let user = town.accounts.create_user(komatsu, new, &Actor::operator("uid 0")).await.unwrap();
        let report = town.run().await;
        assert_eq!(report.counts, Counts { made: 1, ..Counts::default() }, "{report:?}");
        assert!(note(&report, "mayor").unwrap().contains("cannot be called"), "{report:?}");
        directory.has(&[disabled(&mayor), somebody(2, "taro")]);
        town.run().await;
        assert!(!town.accounts.moderation(&user).await.unwrap().locked);
        assert!(!town.is_there("mayor").await);
        directory.has(&[mayor.clone(), somebody(2, "taro")]);
    }
}

#[tokio::test]
async fn the_servers_own_users_are_not_taken_over() {
    let directory = Directory::open().await;
    directory.has(&[somebody(1, "_server"), somebody(2, "_rooms"), somebody(3, "taro")]);
    let town = Town::with(vec![Settings { adopts_accounts: true, ..source(directory.port) }]).await;
    town.accounts.steward(kanazawa()).await.unwrap();
    let hanako = town.account("hanako", false).await;
    let content = serde_json::value::to_raw_value(&serde_json::json!({ "msgtype": "m.text", "body": "x" }));
    let notice = account::Notice { kind: "m.room.message".into(), content: content.unwrap(), txn: None };
    town.accounts.send_notice(&hanako, notice, &Actor::operator("uid 0")).await.unwrap();
    let report = town.run().await;
    assert_eq!(report.counts, Counts { made: 1, ..Counts::default() }, "{report:?}");
    for name in ["_server", "_rooms"] {
        assert!(town.is_there(name).await, "{name}");
        assert!(note(&report, name).unwrap().contains("server's own"), "{report:?}");
        assert_ne!(town.shown_name(name).await, format!("{name} さん"));
    }
}

/// Two servers behind one name, of which one has lost some: everybody would be out of all sessions by evening, a few at a time.
#[tokio::test]
async fn a_directory_that_tells_two_things_by_turns_ends_a_few_in_a_day() {
    let directory = Directory::open().await;
    let all: Vec<Somebody> = (1..=40).map(|number| somebody(number, &format!("u{number}"))).collect();
    directory.has(&all);
    let town = beside(&directory).await;
    town.run().await;
    let mut ended = 0;
    for turn in 0..8 {
        let missing = turn * 5..turn * 5 + 5;
        let told: Vec<Somebody> = all
            .iter()
            .enumerate()
            .filter(|(at, _)| !missing.contains(at))
            .map(|(_, of)| of.clone())
            .collect();
        directory.has(&told);
        let report = town.run().await;
        ended += report.counts.ended;
        directory.has(&all);
        assert_eq!(town.run().await.outcome, Outcome::Followed);
    }
    assert_eq!(ended, 5);
    // The same ones again are no more than they were.
    directory.has(&all[5..]);
    assert_eq!(town.run().await.counts.ended, 5);
}

/// Two servers behind one name, of which one is empty: the audit log is for good, and says it once.
#[tokio::test]
async fn a_directory_that_is_refused_by_turns_does_not_fill_the_audit_log() {
    let directory = Directory::open().await;
    directory.has(&[somebody(1, "hanako")]);
    let town = beside(&directory).await;
    town.run().await;
    let refusals = async || town.deeds().await.iter().filter(|deed| deed.contains("refuse_reading")).count();
    for _ in 0..5 {
        directory.says(Says::Messages(vec![done(0)]));
        assert_eq!(town.run().await.outcome, Outcome::Refused);
        assert_eq!(town.run().await.outcome, Outcome::Followed);
    }
    assert_eq!(refusals().await, 1);
    // Another reason each time.
    for number in 0..30 {
        let dn = format!("cn={number}");
        directory.says(Says::Messages(vec![entry(&dn, &[("cn", b"x")]), done(0)]));
        assert_eq!(town.run().await.outcome, Outcome::Refused);
    }
    assert_eq!(refusals().await, 10);
    town.clock.advance(Duration::from_secs(60 * 60));
    directory.says(Says::Messages(vec![done(0)]));
    town.run().await;
    assert_eq!(refusals().await, 11);
}

/// A slip in a filter ends nobody, however few they are, until somebody says that it was meant.
#[tokio::test]
async fn whoever_is_missed_once_the_question_is_another_ends_only_when_somebody_means_it() {
    let directory = Directory::open().await;
    let all: Vec<Somebody> = (1..=3).map(|number| somebody(number, &format!("u{number}"))).collect();
    directory.has(&all);
    let town = beside(&directory).await;
    town.run().await;
    let filter = "(&(objectClass=user)(department=x))".to_owned();
    let town = town.reopened(vec![Settings { filter, ..source(directory.port) }]);
    directory.has(&all[1..]);
    let report = town.run().await;
    assert_eq!((report.outcome, report.endings), (Outcome::Refused, Some(1)), "{report:?}");
    assert!(report.why.unwrap().ja.contains("設定"));
    assert!(!town.is_locked("u1").await);
    assert_eq!(town.preview().await.counts.ended, 1);
    assert_eq!(town.accept(1).await.counts.ended, 1);
    // From then on it is the question.
    directory.has(&all[2..]);
    assert_eq!(town.run().await.counts.ended, 1);
}

#[tokio::test]
async fn a_last_page_that_does_not_say_that_it_is_the_last_is_cut() {
    let directory = Directory::open().await;
    directory.says(Says::Messages(vec![entry("cn=a", &[("cn", b"x")]), more(b"next")]));
    directory.says(Says::Messages(vec![done(0)]));
    let fault = session::ask(&source(directory.port), "(cn=*)").await.unwrap_err();
    assert_eq!(fault, Fault::Malformed("a page without a place"));
}

#[tokio::test]
async fn what_nobody_asked_for_is_not_kept_and_values_are_bounded() {
    let directory = Directory::open().await;
    let photo = vec![b'x'; 50_000];
    directory.says(Says::Messages(vec![
        entry("cn=a", &[("cn", b"x"), ("jpegPhoto", &photo), ("mail;lang-ja", b"y")]),
        done(0),
    ]));
    let found = session::ask(&source(directory.port), "(cn=*)").await.unwrap();
    let kept: Vec<&String> = found.entries[0].values.keys().collect();
    assert_eq!(kept, ["cn", "mail;lang-ja"]);
    // Empty values, which are two bytes on the way.
    directory.says(Says::Messages(vec![entry_of("cn=a", &[("mail", vec![b""; 100])]), done(0)]));
    let bounds = Bounds { values: 50, ..Bounds::default() };
    let settings = Settings { bounds, ..source(directory.port) };
    assert_eq!(session::ask(&settings, "(cn=*)").await.unwrap_err(), Fault::TooMuch("values"));
}

#[tokio::test]
async fn names_are_shown_in_one_line_and_turn_nothing_round() {
    let directory = Directory::open().await;
    let evil = "花子\u{202e}otihs\r\n【市長】\u{2028}\u{0}\u{2066}";
    let family = "👨\u{200d}👩\u{200d}👧 葛\u{e0100}城";
    directory.has(&[
        Somebody { shown: evil.to_owned(), ..somebody(1, "hanako") },
        Somebody { shown: "\u{202e}\n\u{0}".to_owned(), ..somebody(2, "taro") },
        Somebody { shown: family.to_owned(), ..somebody(3, "jiro") },
    ]);
    let town = beside(&directory).await;
    assert_eq!(town.run().await.counts.made, 3);
    assert_eq!(town.shown_name("hanako").await, "花子otihs  【市長】");
    assert_eq!(town.shown_name("taro").await, "taro");
    assert_eq!(town.shown_name("jiro").await, family);
}

/// What somebody writes into his own entry does not open another one's account, nor keep him out of it.
#[tokio::test]
async fn what_the_identity_provider_calls_one_is_nobody_elses() {
    let directory = Directory::open().await;
    let issuer = "https://id.city.test";
    let identity = Some((issuer.to_owned(), "{mail}".parse().unwrap()));
    let mayor = Somebody { mail: "mayor@city.test".to_owned(), ..somebody(9, "mayor") };
    let thief = Somebody { mail: mayor.mail.clone(), ..somebody(1, "thief") };
    let town = Town::with(vec![Settings { identity, email: None, ..source(directory.port) }]).await;
    // Both are new: nobody is the first.
    directory.has(&[thief.clone(), mayor.clone(), somebody(2, "taro")]);
    let report = town.run().await;
    assert_eq!(report.counts.made, 1, "{report:?}");
    assert!(note(&report, "thief").unwrap().contains("same subject"), "{report:?}");
    let owner = async || town.accounts.find_identity(kanazawa(), issuer, &mayor.mail).await.unwrap();
    assert_eq!(owner().await, None);
    // The mayor was there first.
    directory.has(&[somebody(1, "thief"), mayor.clone(), somebody(2, "taro")]);
    assert_eq!(town.run().await.counts.made, 2);
    assert_eq!(owner().await, Some(town.user("mayor")));
    directory.has(&[thief.clone(), mayor.clone(), somebody(2, "taro")]);
    assert!(note(&town.run().await, "@thief").unwrap().contains("not taken"));
    assert_eq!(owner().await, Some(town.user("mayor")));
    // Nor does it come to him once the mayor is called otherwise, while both say it.
    assert!(!note(&town.run().await, "@mayor").unwrap().contains("not taken"));
}

/// Values of an attribute are a set; servers tell them in the order that they like.
#[tokio::test]
async fn whoever_has_several_names_is_called_by_the_same_one_each_time() {
    let directory = Directory::open().await;
    let town = beside(&directory).await;
    let says = |names: [&str; 2]| {
        let all = [
            ("objectGUID", vec![[1_u8; 16].as_slice()]),
            ("sAMAccountName", vec![b"hanako"]),
            ("userAccountControl", vec![b"512"]),
            ("cn", names.map(str::as_bytes).to_vec()),
            ("mail", names.map(str::as_bytes).to_vec()),
        ];
        Says::Messages(vec![entry_of("CN=花子,DC=city,DC=test", &all), done(0)])
    };
    directory.says(says(["Hanako", "花子"]));
    town.run().await;
    assert_eq!(town.shown_name("hanako").await, "花子");
    directory.says(says(["花子", "Hanako"]));
    assert_eq!(town.run().await.counts, Counts::default());
}

#[tokio::test]
async fn whoever_is_excepted_is_so_however_his_name_is_written() {
    let directory = Directory::open().await;
    directory.has(&[somebody(1, "helpdesk"), somebody(2, "taro"), somebody(3, "jiro")]);
    for name in ["HelpDesk", "@helpdesk:kanazawa.test"] {
        directory.has(&[somebody(1, "helpdesk"), somebody(2, "taro"), somebody(3, "jiro")]);
        let excepted = [name.to_owned()].into();
        let town = Town::with(vec![Settings { excepted, ..source(directory.port) }]).await;
        town.run().await;
        directory.has(&[somebody(3, "jiro")]);
        assert_eq!(town.run().await.counts.ended, 1, "{name}");
        assert!(!town.is_locked("helpdesk").await && town.is_locked("taro").await, "{name}");
    }
}
