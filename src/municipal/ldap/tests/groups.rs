//! What groups are for: who is a person, and who administers.

use account::Actor;

use super::{
    directory::{Directory, MOST_MEMBERS, Says, Somebody, entry, somebody},
    town::{Town, kanazawa, note, source},
};
use crate::{Bounds, Counts, Outcome, Settings, fault::Fault, reading};

const STAFF: &str = "CN=staff,DC=city,DC=test";
const ADMINS: &str = "CN=admins,DC=city,DC=test";
const INNER: &str = "CN=inner,DC=city,DC=test";

fn of_people(port: u16) -> Settings {
    Settings { people_group: Some(STAFF.to_owned()), ..source(port) }
}

fn of_administrators(port: u16) -> Settings {
    Settings { administrators_group: Some(ADMINS.to_owned()), adopts_accounts: true, ..source(port) }
}

fn disabled(of: &Somebody) -> Somebody {
    Somebody { control: "514".to_owned(), ..of.clone() }
}

fn people_of(count: u8) -> Vec<Somebody> {
    (1..=count).map(|number| somebody(number, &format!("u{number}"))).collect()
}

fn dns(of: &[Somebody]) -> Vec<String> {
    of.iter().map(Somebody::dn).collect()
}

async fn administers(town: &Town, name: &str) -> bool {
    town.accounts.find_user(&town.user(name)).await.unwrap().is_some_and(|known| known.admin)
}

async fn set_by_hand(town: &Town, name: &str, administers: bool) {
    let by = Actor::operator("uid 0");
    town.accounts.set_administrator(&town.user(name), administers, &by).await.unwrap();
}

/// L5.
#[tokio::test]
async fn a_group_of_more_than_is_told_at_once_is_read_to_its_end_and_one_more_removes_nobody() {
    let directory = Directory::open().await;
    let one = |number: usize| {
        let (dn, name) = (format!("CN=u{number},DC=city,DC=test"), format!("u{number}"));
        let id = [[7_u8; 8], number.to_be_bytes()].concat();
        let said = [
            ("objectGUID", id.as_slice()),
            ("sAMAccountName", name.as_bytes()),
            ("userAccountControl", b"512".as_slice()),
        ];
        (dn.clone(), entry(&dn, &said))
    };
    let all: Vec<_> = (0..2 * MOST_MEMBERS + 1).map(one).collect();
    let names: Vec<String> = all.iter().map(|(dn, _)| dn.clone()).collect();
    directory.has_entries(all);
    let town = Town::with(vec![of_people(directory.port)]).await;
    directory.has_group(STAFF, names[..MOST_MEMBERS].iter());
    let report = town.run().await;
    assert_eq!((report.found, report.counts.made), (MOST_MEMBERS, MOST_MEMBERS), "{:?}", report.why);
    for count in [MOST_MEMBERS + 1, 2 * MOST_MEMBERS, 2 * MOST_MEMBERS + 1] {
        directory.has_group(STAFF, names[..count].iter());
        let report = town.run().await;
        assert_eq!((report.found, report.counts.ended), (count, 0), "{:?}", report.why);
    }
    assert!(town.is_there("u3000").await && !town.is_locked("u0").await);
}

/// L6.
#[tokio::test]
async fn groups_in_groups_are_walked_and_a_circle_is_named() {
    let directory = Directory::open().await;
    let all = people_of(4);
    let (bousai, kiki) = ("CN=防災課,DC=city,DC=test", "CN=危機管理局,DC=city,DC=test");
    directory.has(&all);
    directory.has_group(STAFF, [all[0].dn(), bousai.to_owned()]);
    directory.has_group(bousai, [kiki.to_owned(), all[1].dn(), all[0].dn()]);
    directory.has_group(kiki, [bousai.to_lowercase(), all[2].dn()]);
    let town = Town::with(vec![of_people(directory.port)]).await;
    let report = town.run().await;
    assert_eq!((report.found, report.counts.made), (3, 3), "{report:?}");
    assert!(!town.is_there("u4").await);
    let told = report.notes.iter().find(|note| note.what.ja.contains("循環")).unwrap();
    assert!(told.what.ja.contains(&format!("{bousai} → {kiki} → {bousai}")), "{told:?}");
    // Each reading says so, and nobody ends by it.
    assert_eq!(town.run().await.counts, Counts::default());
}

/// L7.
#[tokio::test]
async fn a_rule_that_the_directory_does_not_know_is_a_fault_and_not_nobody() {
    let directory = Directory::open().await;
    let all = people_of(2);
    directory.has(&all);
    let filter = format!("(memberOf:1.2.840.113556.1.4.1941:={STAFF})");
    let town = Town::with(vec![Settings { filter, ..source(directory.port) }]).await;
    assert_eq!(town.run().await.counts.made, 2);
    directory.is_able_to("1.3.6.1.4.1.4203.1.5.1");
    directory.has(&all[..1]);
    let report = town.run().await;
    assert_eq!(report.outcome, Outcome::Refused);
    assert!(report.why.unwrap().ja.contains("Active Directory ではなく"));
    assert!(!town.is_locked("u2").await);
}

#[tokio::test]
async fn who_is_in_no_group_of_people_is_none_and_ends_when_he_leaves_it() {
    let directory = Directory::open().await;
    let all = people_of(3);
    directory.has(&all);
    directory.has_group(STAFF, dns(&all[..2]));
    let town = Town::with(vec![of_people(directory.port)]).await;
    assert_eq!(town.run().await.counts.made, 2);
    directory.has_group(STAFF, dns(&all[1..]));
    let report = town.run().await;
    assert_eq!(report.counts, Counts { made: 1, ended: 1, ..Counts::default() }, "{report:?}");
    assert!(town.is_locked("u1").await);
    directory.has_group(STAFF, dns(&all));
    assert_eq!(town.run().await.counts, Counts { restored: 1, ..Counts::default() });
    // Whom the primary group alone names is a member, too.
    let first = Somebody { primary_group: "513".to_owned(), ..all[0].clone() };
    directory.has(&[first, all[1].clone(), all[2].clone()]);
    directory.has_group(STAFF, dns(&all[1..]));
    assert_eq!(town.run().await.counts, Counts::default());
}

/// A group that cannot be read whole, is gone or is empty ends and demotes nobody.
#[tokio::test]
async fn a_group_that_is_not_whole_ends_nobody() {
    let directory = Directory::open().await;
    let all = people_of(3);
    directory.has(&all);
    directory.has_group(STAFF, [INNER.to_owned(), all[2].dn()]);
    directory.has_group(INNER, dns(&all[..2]));
    directory.has_group(ADMINS, dns(&all[..1]));
    let administrators_group = Some(ADMINS.to_owned());
    let settings = Settings { administrators_group, ..of_people(directory.port) };
    let town = Town::with(vec![settings.clone()]).await;
    town.account("operator", true).await;
    assert_eq!(town.run().await.counts, Counts { made: 3, promoted: 1, ..Counts::default() });
    let is_refused = async |town: &Town, word: &str| {
        let report = town.run().await;
        assert_eq!(report.outcome, Outcome::Refused, "{word}: {report:?}");
        let why = report.why.unwrap();
        assert!(why.ja.contains(word), "{why}");
        for name in ["u1", "u2", "u3"] {
            assert!(!town.is_locked(name).await);
        }
        assert!(administers(town, "u1").await);
    };
    let nobody: [String; 0] = [];
    for name in [STAFF, ADMINS] {
        let before = if name == STAFF { vec![INNER.to_owned(), all[2].dn()] } else { dns(&all[..1]) };
        directory.has_group(name, nobody.clone());
        is_refused(&town, "一人もいません").await;
        directory.has_group(name, ["CN=nobody,DC=city,DC=test"]);
        is_refused(&town, "一人もいません").await;
        directory.has_no_group(name);
        is_refused(&town, "がないか").await;
        directory.has_group(name, before);
    }
    // One in it is gone, though it is named as a member.
    directory.has_no_group(INNER);
    is_refused(&town, "メンバーとして残っている").await;
    directory.has_group(INNER, dns(&all[..2]));
    assert_eq!(town.run().await.outcome, Outcome::Followed);
    // Too many, too deep, too many who are nobody: the reading fails.
    for bounds in [
        Bounds { groups: 1, ..Bounds::default() },
        Bounds { depth: 0, ..Bounds::default() },
        Bounds { strangers: 0, ..Bounds::default() },
    ] {
        let settings = Settings { bounds, ..settings.clone() };
        assert!(matches!(reading::read(&settings).await, Err(Fault::TooMuch(_))));
    }
    // A member that never was there is told of, and no more.
    directory.has_group(STAFF, [INNER.to_owned(), all[2].dn(), "CN=gone,DC=city,DC=test".to_owned()]);
    let report = town.run().await;
    assert_eq!((report.outcome, report.counts), (Outcome::Followed, Counts::default()));
    assert!(report.notes.iter().any(|note| note.what.ja.contains("1 件のメンバー")), "{report:?}");
}

/// What of a group is not shown to us ends nobody, where his own entry says that he is in it.
#[tokio::test]
async fn whose_own_entry_has_him_in_the_group_is_in_it() {
    let directory = Directory::open().await;
    let all = people_of(3);
    directory.has(&all);
    directory.has_group(STAFF, dns(&all));
    let town = Town::with(vec![of_people(directory.port)]).await;
    town.run().await;
    directory.has_group(STAFF, dns(&all[1..]));
    let said = |group: &str| {
        let id = [1_u8; 16];
        let entry = entry(&all[0].dn(), &[("objectGUID", id.as_slice()), ("memberOf", group.as_bytes())]);
        Says::Messages(vec![entry, super::directory::done(0)])
    };
    for (group, ended) in [(STAFF.to_lowercase(), 0), ("CN=other,DC=city,DC=test".to_owned(), 1)] {
        directory.says(Says::Messages(super::directory::people(&all)));
        directory.says(said(&group));
        let report = town.run().await;
        assert_eq!(report.counts.ended, ended, "{report:?}");
    }
}

/// A group of everybody in the place of the administrators' is a slip.
#[tokio::test]
async fn more_administrators_than_can_be_meant_are_none() {
    let directory = Directory::open().await;
    let all = people_of(201);
    directory.has(&all);
    directory.has_group(ADMINS, dns(&all));
    let town = Town::with(vec![of_administrators(directory.port)]).await;
    let report = town.run().await;
    assert_eq!(report.outcome, Outcome::Refused);
    assert!(report.why.unwrap().ja.contains("201 人"));
    assert!(!town.is_there("u1").await);
    directory.has_group(ADMINS, dns(&all[1..]));
    assert_eq!(town.run().await.counts.promoted, 200);
}

/// The same number in another domain is another group.
#[tokio::test]
async fn a_primary_group_is_one_of_its_own_domain() {
    let directory = Directory::open().await;
    let of = |number| Somebody { primary_group: "513".to_owned(), ..somebody(number, &format!("u{number}")) };
    directory.has(&[of(1), of(2)]);
    for (name, found) in [("CN=staff,DC=city,DC=test", 2), ("CN=staff,DC=other,DC=test", 1)] {
        directory.has_group(name, [of(1).dn()]);
        let settings = Settings { people_group: Some(name.to_owned()), ..source(directory.port) };
        assert_eq!(Town::with(vec![settings]).await.preview().await.found, found, "{name}");
    }
}

/// Whoever is moved between two questions has another name in the group than among the people.
#[tokio::test]
async fn whoever_is_moved_while_a_group_is_read_is_who_he_is() {
    let directory = Directory::open().await;
    let all = people_of(2);
    directory.has(&all);
    directory.has_group(STAFF, dns(&all));
    let town = Town::with(vec![of_people(directory.port)]).await;
    town.run().await;
    let moved = Somebody { unit: "防災課".to_owned(), ..all[0].clone() };
    // The people are those of before, the group knows the new name.
    directory.has(&[moved.clone(), all[1].clone()]);
    directory.has_group(STAFF, [moved.dn(), all[1].dn()]);
    directory.says(Says::Messages(super::directory::people(&all)));
    let report = town.run().await;
    assert_eq!((report.outcome, report.counts), (Outcome::Followed, Counts::default()), "{report:?}");
}

#[tokio::test]
async fn members_of_a_group_administer_until_they_leave_it() {
    let directory = Directory::open().await;
    let all = people_of(3);
    directory.has(&all);
    directory.has_group(ADMINS, [INNER.to_owned(), all[1].dn()]);
    directory.has_group(INNER, dns(&all[..1]));
    let town = Town::with(vec![of_administrators(directory.port)]).await;
    town.account("operator", true).await;
    let shown = town.preview().await;
    assert_eq!((shown.counts.made, shown.administrators), (3, Some(2)));
    // Whoever is new has his account and administers with one reading.
    let report = town.run().await;
    assert_eq!(report.counts, Counts { made: 3, promoted: 2, ..Counts::default() }, "{report:?}");
    assert!(administers(&town, "u1").await && administers(&town, "u2").await);
    assert!(!administers(&town, "u3").await);
    assert_eq!(town.run().await.counts, Counts::default());

    directory.has_group(INNER, dns(&all[2..]));
    let shown = town.preview().await;
    assert_eq!(shown.counts, Counts { promoted: 1, demoted: 1, ..Counts::default() });
    assert!(administers(&town, "u1").await);
    assert_eq!(town.run().await.counts, shown.counts);
    assert!(!administers(&town, "u1").await && administers(&town, "u3").await);
    // The source did it, by the audit log.
    let deeds = town.deeds().await.join("\n");
    assert!(deeds.contains("source account.grant_administration @u1:kanazawa.test"), "{deeds}");
    assert!(deeds.contains("source account.revoke_administration @u1:kanazawa.test"), "{deeds}");

    // Whoever is disabled administers no more, though he is in the group, and ends as anybody does.
    directory.has(&[all[0].clone(), disabled(&all[1]), all[2].clone()]);
    let report = town.run().await;
    assert_eq!(report.counts, Counts { ended: 1, demoted: 1, ..Counts::default() }, "{report:?}");
    assert!(town.is_locked("u2").await && !administers(&town, "u2").await);
    // And he does again when he is back.
    directory.has(&all);
    assert_eq!(town.run().await.counts, Counts { restored: 1, promoted: 1, ..Counts::default() });
    // Of whom nobody knows whether he is in, nothing is taken.
    let unclear = Somebody { control: String::new(), ..all[1].clone() };
    directory.has(&[all[0].clone(), unclear, all[2].clone()]);
    assert_eq!(town.run().await.counts, Counts::default());
    assert!(administers(&town, "u2").await);
}

#[tokio::test]
async fn what_was_given_or_taken_by_hand_is_not_the_sources() {
    let directory = Directory::open().await;
    let all = people_of(3);
    directory.has(&all);
    directory.has_group(ADMINS, dns(&all[1..]));
    let town = Town::with(vec![of_administrators(directory.port)]).await;
    town.account("operator", true).await;
    town.run().await;
    // Given by hand to one who is in no group, and then is, and then is not.
    set_by_hand(&town, "u1", true).await;
    for members in [&all[1..], &all[..], &all[1..]] {
        directory.has_group(ADMINS, dns(members));
        assert_eq!(town.run().await.counts, Counts::default());
        assert!(administers(&town, "u1").await);
    }
    // Taken by hand from one who is in it.
    set_by_hand(&town, "u2", false).await;
    for _ in 0..2 {
        let report = town.run().await;
        assert_eq!(report.counts, Counts::default());
        assert!(note(&report, "@u2:").unwrap().contains("by hand"), "{report:?}");
        assert!(!administers(&town, "u2").await);
    }
    // Given again by hand: not the source's to take.
    set_by_hand(&town, "u2", true).await;
    assert_eq!(note(&town.run().await, "@u2:"), None);
    directory.has_group(ADMINS, dns(&all[2..]));
    assert_eq!(town.run().await.counts, Counts::default());
    assert!(administers(&town, "u2").await);
    // Where no group is set any more, nothing is given or taken.
    let town = town.reopened(vec![source(directory.port)]);
    assert_eq!(town.run().await.counts, Counts::default());
    assert!(administers(&town, "u3").await);
}

/// L20.
#[tokio::test]
async fn the_last_administrator_who_can_sign_in_goes_on_and_each_reading_says_so() {
    let directory = Directory::open().await;
    let all = people_of(3);
    directory.has(&all);
    directory.has_group(ADMINS, dns(&all[..2]));
    let town = Town::with(vec![of_administrators(directory.port)]).await;
    // Two who can sign in, one who has neither password nor identity.
    town.account("u1", false).await;
    town.account("u2", false).await;
    assert_eq!(town.run().await.counts.promoted, 2);
    directory.has_group(ADMINS, dns(&all[2..]));
    for demoted in [1, 0, 0] {
        let report = town.run().await;
        assert_eq!(report.counts.demoted, demoted, "{report:?}");
        assert!(note(&report, "@u2:").unwrap().contains("last administrator"), "{report:?}");
        assert!(!administers(&town, "u1").await && administers(&town, "u2").await);
    }
    assert!(note(&town.preview().await, "@u2:").unwrap().contains("last administrator"));
    // Nor does he end as long as he is the last.
    directory.has(&[all[0].clone(), disabled(&all[1]), all[2].clone()]);
    assert_eq!(town.run().await.counts, Counts::default());
    assert!(!town.is_locked("u2").await);
    // Once another one can sign in he loses it, and ends with it.
    town.account("operator", true).await;
    assert_eq!(town.run().await.counts, Counts { ended: 1, demoted: 1, ..Counts::default() });
    assert!(town.is_locked("u2").await);
}

/// Of two who would lose it at once one keeps it, whoever takes it from them.
#[tokio::test]
async fn the_last_two_administrators_do_not_lose_it_at_once() {
    let directory = Directory::open().await;
    let town = Town::with(vec![of_administrators(directory.port)]).await;
    let by = Actor::source("ad", None);
    let follows = account::Following { administers: Some(false), ..account::Following::default() };
    let mut taken = Vec::new();
    for name in ["u1", "u2"] {
        town.account(name, true).await;
    }
    for name in ["u1", "u2"] {
        let (mut batch, user) = (store::Batch::new(), town.user(name));
        assert!(town.accounts.put_another_administrator(&mut batch, &user).await.unwrap());
        let put = town.accounts.put_following(&mut batch, &user, &follows, &by).await.unwrap();
        taken.push((batch, put));
    }
    let mut done = Vec::new();
    for (batch, put) in taken {
        done.push(town.accounts.commit_provisioned(batch, put).await);
    }
    assert!(done[0].is_ok() && matches!(done[1], Err(account::Error::Contended)), "{done:?}");
    assert!(!administers(&town, "u1").await && administers(&town, "u2").await);
}

/// Of two processes the one that has read before gives nobody what the other one has taken.
#[tokio::test]
async fn an_older_reading_gives_nobody_what_a_later_one_has_taken() {
    let directory = Directory::open().await;
    let all = people_of(2);
    directory.has(&all);
    directory.has_group(ADMINS, dns(&all));
    let town = Town::with(vec![of_administrators(directory.port)]).await;
    town.account("operator", true).await;
    assert_eq!(town.run().await.counts.promoted, 2);
    let source = town.ldap.source(kanazawa(), None).unwrap();
    let mut older = crate::compare::Plan::default().with(town.ldap.administrators(&source).await.unwrap());
    older.administrators = town.ldap.known(&source).await.unwrap().into_keys().collect();
    directory.has_group(ADMINS, dns(&all[1..]));
    assert_eq!(town.run().await.counts.demoted, 1);
    let mut report = crate::report::Report::begun(base::Timestamp(0), Outcome::Followed);
    town.ldap.appoint_all(&source, &older, &mut report).await.unwrap();
    assert_eq!(report.counts, Counts::default());
    assert!(!administers(&town, "u1").await && administers(&town, "u2").await);
}

/// Where the group is set, or is another one, nobody ends by that alone.
#[tokio::test]
async fn a_group_that_is_set_ends_nobody_until_somebody_means_it() {
    let directory = Directory::open().await;
    let all = people_of(3);
    directory.has(&all);
    directory.has_group(STAFF, dns(&all[1..]));
    let town = Town::with(vec![source(directory.port)]).await;
    town.run().await;
    let town = town.reopened(vec![of_people(directory.port)]);
    let report = town.run().await;
    assert_eq!((report.outcome, report.endings), (Outcome::Refused, Some(1)), "{report:?}");
    assert!(!town.is_locked("u1").await);
    assert_eq!(town.accept(1).await.counts.ended, 1);
}
