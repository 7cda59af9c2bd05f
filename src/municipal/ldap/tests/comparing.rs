//! What a directory says beside what it said last.

use base::Timestamp;

use super::{
    directory::{Somebody, somebody},
    town::{NOW, source},
};
use crate::{
    Kind, Settings,
    compare::{Differs, Known, Plan, Step, compare},
    person::{Absurd, People, people},
    session::{Entry, Found},
    standing::Why,
    tables::{Held, PersonRow},
};

const AT: Timestamp = Timestamp(NOW);

fn settings() -> Settings {
    source(1)
}

fn entry(of: &Somebody) -> Entry {
    let id = vec![of.number; 16];
    let texts = [
        ("samaccountname", &of.name),
        ("displayname", &of.shown),
        ("mail", &of.mail),
        ("useraccountcontrol", &of.control),
        ("accountexpires", &of.expires),
    ];
    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let mut values: std::collections::BTreeMap<String, Vec<Vec<u8>>> =
        texts.map(|(name, text)| (name.to_owned(), vec![text.clone().into_bytes()])).collect();
    values.insert("objectguid".to_owned(), vec![id]);
    Entry { dn: of.dn(), values }
}

fn found(all: &[Somebody]) -> Result<People, Absurd> {
    let found = Found { entries: all.iter().map(entry).collect(), ..Found::default() };
    people(&settings(), &found, AT)
}

/// What is kept of these once their accounts were made.
fn known(all: &[Somebody]) -> Known {
    let row = |of: &Somebody| {
        let people = found(std::slice::from_ref(of)).unwrap();
        let (id, person) = people.into_iter().next().unwrap();
        let row = PersonRow {
            account: format!("@{}:kanazawa.test", of.name),
            dn: person.dn,
            name: person.name,
            mail: person.mail,
            subject: None,
            ended: None,
            ended_at: None,
            held: Held::Open,
            changed: AT,
        };
        (id, row)
    };
    all.iter().map(row).collect()
}

fn plan(before: &[Somebody], after: &[Somebody]) -> Plan {
    compare(&settings(), &known(before), &found(after).unwrap(), Timestamp(0), AT)
}

fn people_of(count: u8) -> Vec<Somebody> {
    (0..count).map(|number| somebody(number, &format!("u{number}"))).collect()
}

fn only(plan: &Plan) -> (&PersonRow, &PersonRow) {
    match plan.steps.as_slice() {
        [Step::Follow { before, after, .. }] => (before, after),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_said_again_is_nothing_to_do() {
    let all = people_of(20);
    let plan = plan(&all, &all);
    assert!(plan.steps.is_empty() && plan.notes.is_empty() && plan.absent.is_empty(), "{plan:?}");
    assert_eq!((plan.active, plan.endings), (20, 0));
}

/// L11.
#[test]
fn whoever_stands_elsewhere_has_moved_and_is_who_he_was() {
    let before = somebody(1, "hanako");
    let after = Somebody { unit: "防災課".to_owned(), ..before.clone() };
    let plan = plan(&[before], &[after]);
    let (before, after) = only(&plan);
    let differs = Differs { is_renamed: false, has_moved: true, ends: false, is_restored: false };
    assert_eq!(Differs::between(before, after), differs);
    assert_eq!(before.account, after.account);
}

/// L12.
#[test]
fn whoever_marries_is_called_otherwise_and_is_who_he_was() {
    let before = somebody(1, "yamada");
    let mail = "sato@city.test".to_owned();
    let after =
        Somebody { name: "sato".to_owned(), shown: "佐藤 花子".to_owned(), mail, ..before.clone() };
    let plan = plan(&[before], &[after]);
    let (before, after) = only(&plan);
    let differs = Differs { is_renamed: true, has_moved: false, ends: false, is_restored: false };
    assert_eq!(Differs::between(before, after), differs);
    assert_eq!((after.account.as_str(), after.name.as_str()), ("@yamada:kanazawa.test", "佐藤 花子"));
    assert_eq!(after.mail.as_deref(), Some("sato@city.test"));
}

/// L14: another spelling of a name is no change, and the name is kept as it was written.
#[test]
fn a_name_that_is_written_otherwise_is_the_same() {
    let before = Somebody { shown: r"山田\, 花子".to_owned(), ..somebody(1, "hanako") };
    let mut people = found(std::slice::from_ref(&before)).unwrap();
    people
        .values_mut()
        .for_each(|person| person.dn = r"cn=山田\2C 花子, ou=総務課,dc=CITY,dc=test".to_owned());
    let plan = compare(&settings(), &known(&[before]), &people, Timestamp(0), AT);
    assert!(plan.steps.is_empty(), "{plan:?}");
}

#[test]
fn whoever_is_not_told_of_is_out_and_whoever_is_told_of_again_is_in() {
    let all = people_of(3);
    let plan = plan(&all, &all[1..]);
    let (before, after) = only(&plan);
    assert_eq!((before.ended, after.ended), (None, Some(Why::Absent)));
    assert_eq!((plan.endings, plan.absent.len()), (1, 1));
    let mut gone = known(&all);
    let first = gone.values_mut().next().unwrap();
    (first.ended, first.held) = (Some(Why::Absent), Held::Locked);
    let back = compare(&settings(), &gone, &found(&all).unwrap(), Timestamp(0), AT);
    let (before, after) = only(&back);
    assert!(Differs::between(before, after).is_restored);
}

#[test]
fn more_than_a_share_do_not_end_at_once_but_a_few_always_may() {
    let all = people_of(200);
    let after = |out: usize| plan(&all, &all[out..]);
    // Five in a hundred of 200.
    assert!(after(10).check_endings(5, None).is_ok());
    let refused = after(11).check_endings(5, None).unwrap_err();
    assert!(refused.ja.contains("在籍 200 人のうち 11 人"), "{refused}");
    assert!(refused.en.contains("--accept-endings 11"), "{refused}");
    // Whoever means eleven does not mean twelve.
    assert!(after(11).check_endings(5, Some(11)).is_ok());
    assert!(after(12).check_endings(5, Some(11)).is_err());
    // Disabled ones count like absent ones.
    let disabled: Vec<Somebody> =
        all.iter().map(|of| Somebody { control: "514".to_owned(), ..of.clone() }).collect();
    assert!(plan(&all, &disabled).check_endings(5, None).is_err());
    // Of few people a few may always end, of whom nobody else is to say that it is meant.
    let few = people_of(6);
    assert!(plan(&few, &few[5..]).check_endings(0, None).is_ok());
    let seven = people_of(7);
    assert!(plan(&seven, &seven[6..]).check_endings(5, None).is_err());
}

#[test]
fn who_ends_a_few_again_and_again_has_ended_many() {
    let all = people_of(40);
    let mut rows = known(&all);
    let day = 24 * 60 * 60 * 1_000;
    let out = |rows: &mut Known, count: usize, at: u64| {
        rows.values_mut().take(count).for_each(|row| {
            (row.ended, row.ended_at, row.held) = (Some(Why::Absent), Some(Timestamp(at)), Held::Locked);
        });
    };
    let of = |rows: &Known, accepted: u64, left: &[Somebody]| {
        let plan = compare(&settings(), rows, &found(left).unwrap(), Timestamp(accepted), AT);
        (plan.endings, plan.check_endings(5, None).is_ok())
    };
    out(&mut rows, 5, NOW - day + 1);
    assert_eq!(of(&rows, 0, &all[5..]), (0, true));
    assert_eq!(of(&rows, 0, &all[6..]), (1, false));
    // What somebody meant counts no more, nor what is a day ago.
    assert_eq!(of(&rows, NOW - day + 1, &all[6..]), (1, true));
    out(&mut rows, 5, NOW - day);
    assert_eq!(of(&rows, 0, &all[6..]), (1, true));
}

/// L1.
#[test]
fn a_reading_that_finds_nobody_is_absurd() {
    assert_eq!(found(&[]).unwrap_err(), Absurd::Nobody);
}

#[test]
fn whoever_cannot_be_known_makes_a_reading_absurd() {
    let mut without =
        Found { entries: vec![entry(&somebody(1, "a")), entry(&somebody(2, "b"))], ..Found::default() };
    without.entries[1].values.remove("objectguid");
    let absurd = people(&settings(), &without, AT).unwrap_err();
    assert!(matches!(&absurd, Absurd::NoId { count: 1, dn, .. } if dn.contains("b さん")), "{absurd:?}");
    // Two with one id are two people by a wrong attribute, or one who moved meanwhile.
    let twice = [somebody(1, "a"), somebody(1, "b")];
    assert!(matches!(found(&twice).unwrap_err(), Absurd::SameId { .. }));
    // The same entry on two pages is one.
    assert_eq!(found(&[somebody(1, "a"), somebody(1, "a")]).unwrap().len(), 1);
}

/// L18.
#[test]
fn an_address_of_two_stays_with_who_had_it_and_no_run_takes_it_from_him() {
    let one = Somebody { mail: "Desk@city.test".to_owned(), ..somebody(1, "one") };
    let other = Somebody { mail: "desk@city.test".to_owned(), ..somebody(2, "other") };
    // Both are new: nobody gets it, and both are told of.
    let both = plan(&[], &[one.clone(), other.clone()]);
    let mails = both.steps.iter().map(|step| match step {
        Step::Make(person) => person.mail.clone(),
        Step::Follow { .. } => panic!("nobody is known"),
    });
    assert_eq!(mails.collect::<Vec<_>>(), [None, None]);
    assert_eq!(both.notes.len(), 2);
    // One had it before.
    let mut kept = known(&[one.clone(), other.clone()]);
    kept.values_mut().last().unwrap().mail = None;
    let again = compare(&settings(), &kept, &found(&[one.clone(), other.clone()]).unwrap(), Timestamp(0), AT);
    assert!(again.steps.is_empty(), "{again:?}");
    assert_eq!(again.notes.len(), 2);
    // Once it is one's alone, he gets it.
    let moved = Somebody { mail: "one@city.test".to_owned(), ..one };
    let freed = compare(&settings(), &kept, &found(&[moved, other]).unwrap(), Timestamp(0), AT);
    assert_eq!((freed.steps.len(), freed.notes.len()), (2, 0));
}

/// L19: there is no signing in by LDAP here; where a name is looked for, which is when accounts are made, the first of
/// several is no better than the others.
#[test]
fn a_name_that_several_have_is_nobodys() {
    let units = ["総務課", "防災課", "税務課", "水道課"];
    let four: Vec<Somebody> = (1..=4_u8)
        .zip(units)
        .map(|(number, unit)| Somebody { unit: unit.to_owned(), ..somebody(number, "sato") })
        .collect();
    let plan = plan(&[], &four);
    assert!(plan.steps.is_empty(), "{plan:?}");
    let noted: Vec<&str> = plan.notes.iter().map(|note| note.who.as_str()).collect();
    assert!(units.iter().all(|unit| noted.iter().any(|who| who.contains(unit))), "{noted:?}");
}

#[test]
fn whoever_is_out_from_the_beginning_gets_no_account_and_one_who_cannot_be_read_stays_as_he_is() {
    let disabled = Somebody { control: "514".to_owned(), ..somebody(1, "a") };
    assert!(plan(&[], &[disabled]).steps.is_empty());
    let unclear = Somebody { control: String::new(), ..somebody(1, "a") };
    let new = plan(&[], std::slice::from_ref(&unclear));
    assert!(new.steps.is_empty() && new.notes.len() == 1, "{new:?}");
    // The right to read an attribute is lost: nobody ends by that, and nobody comes back.
    let kept = plan(&[somebody(1, "a")], std::slice::from_ref(&unclear));
    assert!(kept.steps.is_empty() && kept.notes.len() == 1, "{kept:?}");
    let mut gone = known(&[somebody(1, "a")]);
    gone.values_mut().for_each(|row| (row.ended, row.held) = (Some(Why::Disabled), Held::Locked));
    assert!(compare(&settings(), &gone, &found(&[unclear]).unwrap(), Timestamp(0), AT).steps.is_empty());
}

#[test]
fn whoever_is_excepted_does_not_count_among_those_who_end() {
    let all = [somebody(1, "helpdesk"), somebody(2, "hanako")];
    let plan = plan(&all, &all[1..]);
    assert_eq!((plan.endings, plan.steps.len()), (0, 1));
}

#[test]
fn names_are_made_of_what_there_is() {
    let mut nameless = Found { entries: vec![entry(&somebody(1, "Hanako"))], ..Found::default() };
    nameless.entries[0].values.remove("displayname");
    let of = |found: &Found, settings: &Settings| {
        people(settings, found, AT).unwrap().into_values().next().unwrap()
    };
    let person = of(&nameless, &settings());
    assert_eq!((person.localpart.unwrap().as_str(), person.name.as_str()), ("hanako", "hanako"));
    nameless.entries[0].values.insert("cn".to_owned(), vec!["山田 花子".into()]);
    assert_eq!(of(&nameless, &settings()).name, "山田 花子");
    nameless.entries[0].values.remove("samaccountname");
    let why = of(&nameless, &settings()).localpart.unwrap_err();
    assert!(why.ja.contains("sAMAccountName"), "{why}");
    // The id can be part of a template, in the form in which it is kept.
    let identity = Some(("https://id.city.test".to_owned(), "{ObjectGUID}".parse().unwrap()));
    let settings = Settings { identity, kind: Kind::OpenLdap, ..settings() };
    assert_eq!(of(&nameless, &settings).subject.as_deref(), Some("01010101-0101-0101-0101-010101010101"));
}

proptest::proptest! {
    /// Whatever a directory says, nobody who is told of as in is ended, and a second look at the same finds nothing to do.
    #[test]
    fn who_is_in_is_not_ended(
        before in proptest::collection::vec((0_u8..20, proptest::bool::ANY), 0..20),
        after in proptest::collection::vec((0_u8..20, proptest::bool::ANY), 1..20),
    ) {
        let all = |said: &[(u8, bool)]| -> Vec<Somebody> {
            let last: std::collections::BTreeMap<u8, bool> = said.iter().copied().collect();
            let one = |(number, is_in): (u8, bool)| {
                let control = if is_in { "512" } else { "514" }.to_owned();
                Somebody { control, ..somebody(number, &format!("u{number}")) }
            };
            last.into_iter().map(one).collect()
        };
        let mut kept = known(&all(&before));
        let people = found(&all(&after)).unwrap();
        for step in compare(&settings(), &kept, &people, Timestamp(0), AT).steps {
            if let Step::Follow { id, before, after } = step {
                let is_in = people.get(&id).is_some_and(|person| person.standing == crate::standing::Standing::Active);
                proptest::prop_assert!(!(is_in && Differs::between(&before, &after).ends));
                kept.insert(id, after);
            }
        }
        let again = compare(&settings(), &kept, &people, Timestamp(0), AT);
        let follows = again.steps.iter().any(|step| matches!(step, Step::Follow { .. }));
        proptest::prop_assert!(!follows, "{again:?}");
    }
}
