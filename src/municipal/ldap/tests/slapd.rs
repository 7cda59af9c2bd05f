//! With a real directory: OpenLDAP's slapd, with the schema of Active Directory that it brings, as a process of the test.
//!
//! `src/municipal/ldap/slapd` runs these; where slapd is not there they are left out.

use std::{
    collections::HashSet,
    fmt::Write as _,
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ldap3::{Ldap, LdapConnAsync, Mod};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{
    directory::{Somebody, somebody},
    town::{Town, believing, kanazawa, note, source},
};
use crate::{
    Bind, Bounds, Counts, Kind, Outcome, Place, Settings,
    fault::Fault,
    groups::{Group, Groups, ask_members},
    reading, session,
};

const BASE: &str = "dc=city,dc=test";
const READER: &str = "cn=yakuba,dc=city,dc=test";
const ROOT: &str = "cn=root,dc=city,dc=test";

/// A directory of its own. It ends with the test.
struct Slapd {
    process: Child,
    port: u16,
    tls_port: u16,
    home: tempfile::TempDir,
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Somebody with what has to be there of a user of Active Directory.
fn ldif(of: &Somebody) -> String {
    let mut text = String::new();
    let base64 = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    writeln!(
        text,
        "dn:: {}\nobjectClass: user\nobjectClass: city\ninstanceType: 4",
        base64(of.dn().as_bytes())
    )
    .unwrap();
    writeln!(text, "objectCategory: cn=person,cn=schema\nnTSecurityDescriptor:: AA==").unwrap();
    writeln!(text, "sn:: {0}\ndisplayName:: {0}", base64(of.shown.as_bytes())).unwrap();
    writeln!(text, "objectGUID:: {}\nmail: {}", base64(&guid(of.number)), of.mail).unwrap();
    writeln!(text, "sAMAccountName: {}\nuserAccountControl: {}", of.name, of.control).unwrap();
    writeln!(text, "accountExpires: {}\n", of.expires).unwrap();
    text
}

/// L13's bytes, of which the last is the number.
fn guid(number: u8) -> [u8; 16] {
    let mut bytes =
        [0xd3, 0xa3, 0xda, 0x69, 0x0f, 0xe1, 0x1f, 0x42, 0x9c, 0xcc, 0xb1, 0xc5, 0x86, 0x44, 0x4e, 0x14];
    bytes[15] = number;
    bytes
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Slapd {
    /// A directory with these people, further entries, and lines of configuration.
    fn with(people: &[Somebody], more: &str, lines: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(path("cert.pem"), made.cert.pem()).unwrap();
        fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        fs::create_dir(path("data")).unwrap();
        let at = home.path().display();
        // Active Directory finds an `objectGUID`; the schema as it is shipped has no rule by which slapd would.
        let shipped = fs::read_to_string("/etc/ldap/schema/msuser.schema").unwrap();
        let has_no_rule = "NAME 'objectGUID'\n";
        assert!(shipped.contains(has_no_rule));
        let schema = shipped.replace(has_no_rule, "NAME 'objectGUID' EQUALITY octetStringMatch\n");
        fs::write(path("msuser.schema"), schema).unwrap();
        let schemas = ["core", "cosine", "inetorgperson", "nis"];
        let schemas = schemas.map(|name| format!("include /etc/ldap/schema/{name}.schema\n")).concat();
        let schemas = format!("{schemas}include {at}/msuser.schema\n");
        let configuration = format!(
            "{schemas}objectclass ( 1.1.2.1 NAME 'city' SUP top AUXILIARY MAY ( sAMAccountName $ objectGUID ) )\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {at}/pid\n\
             TLSCertificateFile {at}/cert.pem\nTLSCertificateKeyFile {at}/key.pem\n\
             database mdb\nsuffix \"{BASE}\"\nrootdn \"{ROOT}\"\nrootpw root-secret\ndirectory {at}/data\n\
             maxsize 268435456\nindex objectClass,objectGUID,entryUUID eq\n{lines}\n"
        );
        fs::write(path("slapd.conf"), configuration).unwrap();
        let mut units: Vec<String> =
            vec![format!("dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: x\ndc: city\n\n")];
        units.push(format!("dn: {READER}\nobjectClass: person\nsn: x\nuserPassword: secret\n\n"));
        let mut known: Vec<&str> = people.iter().map(|of| of.unit.as_str()).collect();
        known.extend(["総務課", "防災課"]);
        known.sort_unstable();
        known.dedup();
        let base64 = |text: String| BASE64_STANDARD.encode(text);
        units.extend(known.iter().map(|unit| {
            format!("dn:: {}\nobjectClass: organizationalUnit\n\n", base64(format!("OU={unit},{BASE}")))
        }));
        let everything = units.concat() + &people.iter().map(ldif).collect::<String>() + more;
        fs::write(path("people.ldif"), everything).unwrap();
        let mut adding = tool("slapadd");
        adding.arg("-q").arg("-f").arg(path("slapd.conf")).arg("-l").arg(path("people.ldif"));
        let added = adding.output().unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        let (port, tls_port) = (free_port(), free_port());
        let process = Self::start(home.path(), port, tls_port);
        Self { process, port, tls_port, home }
    }

    fn start(home: &Path, port: u16, tls_port: u16) -> Child {
        let urls = format!("ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}");
        let mut command = tool("slapd");
        command.args(["-d", "0", "-h", &urls]).arg("-f").arg(home.join("slapd.conf"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// A source that reads it, once it answers.
    async fn source(&mut self) -> Settings {
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(self.process.try_wait().unwrap().is_none(), "slapd has ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        source(self.port)
    }

    /// Whoever changes it.
    async fn root(&self) -> Ldap {
        let (driver, mut ldap) =
            LdapConnAsync::new(&format!("ldap://127.0.0.1:{}", self.port)).await.unwrap();
        tokio::spawn(driver.drive());
        ldap.simple_bind(ROOT, "root-secret").await.unwrap().success().unwrap();
        ldap
    }

    /// Stops it where it stands, or lets it go on.
    fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

/// A program of OpenLDAP. Debian keeps them where only root looks.
fn tool(name: &str) -> Command {
    let path = format!("/usr/sbin/{name}");
    Command::new(if Path::new(&path).exists() { path } else { name.to_owned() })
}

async fn set(ldap: &mut Ldap, dn: &str, attribute: &str, value: &str) {
    let set = Mod::Replace(attribute, HashSet::from([value]));
    ldap.modify(dn, vec![set]).await.unwrap().success().unwrap();
}

fn people_of(count: u16) -> Vec<Somebody> {
    let one = |number: u16| Somebody {
        number: u8::try_from(number).unwrap(),
        ..somebody(0, &format!("u{number}"))
    };
    (0..count).map(one).collect()
}

/// L8, L9, L11, L12, L13, L14 and L20 in one life.
#[tokio::test]
#[ignore = "needs slapd: src/municipal/ldap/slapd"]
async fn accounts_follow_a_real_directory() {
    let mut all = people_of(30);
    let comma = Somebody { shown: r"山田\, 花子".to_owned(), ..somebody(200, "hanako") };
    all.push(comma.clone());
    let mut slapd = Slapd::with(&all, "", "");
    let settings = Settings { adopts_accounts: true, ..slapd.source().await };
    let town = Town::with(vec![settings]).await;
    town.account("hanako", false).await;
    town.account("u1", true).await;
    let session = town.log_in("hanako").await.unwrap();
    let report = town.run().await;
    assert_eq!((report.outcome, report.found, report.counts.made), (Outcome::Followed, 31, 30), "{report:?}");
    assert!(note(&report, "u1 ").unwrap().contains("administrator"), "{report:?}");
    assert_eq!(town.run().await.counts, Counts::default());
    let known = town.ldap.known(&town.ldap.source(kanazawa(), None).unwrap()).await.unwrap();
    assert!(known.contains_key("69daa3d3-e10f-421f-9ccc-b1c586444ec8"), "{known:?}");

    let mut root = slapd.root().await;
    let dn = comma.dn();
    // Moved, and called otherwise: he is who he was.
    root.modifydn(&dn, r"CN=佐藤\, 花子", true, Some("OU=防災課,dc=city,dc=test"))
        .await
        .unwrap()
        .success()
        .unwrap();
    let dn = r"CN=佐藤\, 花子,OU=防災課,dc=city,dc=test";
    set(&mut root, dn, "displayName", "佐藤 花子").await;
    set(&mut root, dn, "sAMAccountName", "sato").await;
    let report = town.run().await;
    assert_eq!(report.counts, Counts { renamed: 1, moved: 1, ..Counts::default() }, "{report:?}");
    assert_eq!(town.shown_name("hanako").await, "佐藤 花子");
    assert!(!town.is_there("sato").await);

    // Disabled, and let in again.
    set(&mut root, dn, "userAccountControl", "514").await;
    assert_eq!(town.run().await.counts, Counts { ended: 1, ..Counts::default() });
    assert!(town.accounts.authenticate(kanazawa(), &session.access).await.is_err());
    assert!(town.is_locked("hanako").await);
    set(&mut root, dn, "userAccountControl", "512").await;
    assert_eq!(town.run().await.counts, Counts { restored: 1, ..Counts::default() });
    assert!(town.log_in("hanako").await.is_ok());

    // Expired, never, and expired.
    for (expires, is_out) in [
        ("134194428000000000", true),
        ("0", false),
        ("9223372036854775807", false),
        ("1", true),
        ("0", false),
    ] {
        set(&mut root, dn, "accountExpires", expires).await;
        town.run().await;
        assert_eq!(town.is_locked("hanako").await, is_out, "{expires}");
    }

    // Gone, and the administrator with him.
    root.delete(dn).await.unwrap().success().unwrap();
    root.delete(&all[1].dn()).await.unwrap().success().unwrap();
    assert_eq!(town.run().await.counts, Counts { ended: 1, ..Counts::default() });
    assert!(town.is_locked("hanako").await && !town.is_locked("u1").await);

    // More than may: nothing.
    for of in &all[2..10] {
        root.delete(&of.dn()).await.unwrap().success().unwrap();
    }
    let report = town.run().await;
    assert_eq!((report.outcome, report.endings), (Outcome::Refused, Some(8)), "{report:?}");
    assert_eq!(town.accept(8).await.counts.ended, 8);

    // L16 and L3: it stands still, and is gone.
    slapd.signal("-STOP");
    let bounds = Bounds { answering: Duration::from_millis(300), ..Bounds::default() };
    let town = town.reopened(vec![Settings { bounds, ..source(slapd.port) }]);
    assert_eq!(town.run().await.outcome, Outcome::Failed);
    slapd.signal("-CONT");
    let town = town.reopened(vec![source(slapd.port)]);
    assert_eq!(town.run().await.outcome, Outcome::Followed);
    slapd.process.kill().unwrap();
    slapd.process.wait().unwrap();
    assert_eq!(town.run().await.outcome, Outcome::Failed);
    assert!(!town.is_locked("u20").await);
}

/// Pages of a real directory, and its own limits: L1 and L2.
#[tokio::test]
#[ignore = "needs slapd: src/municipal/ldap/slapd"]
async fn a_real_directory_is_read_to_its_end_or_not_at_all() {
    let many: Vec<Somebody> = (0..1_200_u16)
        .map(|number| Somebody {
            number: u8::try_from(number % 256).unwrap(),
            ..somebody(0, &format!("u{number}"))
        })
        .collect();
    // There are more people than numbers, so they are known by what slapd gives.
    let by_uuid =
        |settings: Settings| Settings { id: "entryUUID".to_owned(), kind: Kind::OpenLdap, ..settings };
    let limits = format!("limits dn.exact=\"{READER}\" size.prtotal=unlimited\n");
    let mut slapd = Slapd::with(&many, "", &limits);
    let settings = by_uuid(slapd.source().await);
    let town = Town::with(vec![settings.clone()]).await;
    let report = town.run().await;
    assert_eq!((report.found, report.counts.made), (1_200, 1_200), "{report:?}");
    assert_eq!(town.run().await.counts, Counts::default());

    let mut bounded = Slapd::with(&many, "", "sizelimit size.soft=500 size.hard=500 size.prtotal=500\n");
    let fault = session::ask(&by_uuid(bounded.source().await), "(objectClass=user)").await.unwrap_err();
    assert!(matches!(fault, Fault::Search { code: 4 | 11, .. }), "{fault:?}");

    // The right to read is lost: the bind is good, the search succeeds, and nobody is there.
    let mut blind = Slapd::with(
        &many,
        "",
        &format!(
            "access to dn.base=\"{BASE}\" by * read\naccess to attrs=userPassword by anonymous auth\naccess to * by * none\n"
        ),
    );
    let report = town.reopened(vec![by_uuid(blind.source().await)]).run().await;
    assert_eq!(report.outcome, Outcome::Refused, "{report:?}");
    assert!(report.why.unwrap().ja.contains("一人も見つかりません"));
    // And of one attribute: nobody can be known.
    let mut half = Slapd::with(
        &many[..10],
        "",
        "access to attrs=userPassword by anonymous auth\naccess to attrs=entryUUID by * none\naccess to * by * read\n",
    );
    let mut reader = by_uuid(half.source().await);
    let report = Town::with(vec![reader.clone()]).await.run().await;
    assert_eq!(report.outcome, Outcome::Refused, "{report:?}");
    // A base that is not there, a wrong password, and an empty one.
    reader.base = "ou=nowhere,dc=city,dc=test".to_owned();
    let fault = session::ask(&reader, "(objectClass=user)").await.unwrap_err();
    assert!(matches!(fault, Fault::Search { code: 32, .. }), "{fault:?}");
    for (password, code) in [("wrong", Some(49)), ("", None)] {
        reader.bind = Some(Bind { dn: READER.to_owned(), password: password.to_owned() });
        let fault = session::ask(&reader, "(objectClass=user)").await.unwrap_err();
        let told = if let Fault::Refused { code, .. } = fault { Some(code) } else { None };
        assert_eq!(told, code, "{fault:?}");
    }
}

/// L4 and L7.
#[tokio::test]
#[ignore = "needs slapd: src/municipal/ldap/slapd"]
async fn references_of_a_real_directory_are_nobody_and_a_rule_that_it_does_not_know_ends_nobody() {
    let references: String = ["Forest", "Domain", "Configuration"]
        .map(|name| {
            format!("dn: cn={name},{BASE}\nobjectClass: referral\nobjectClass: extensibleObject\ncn: {name}\nref: ldap://{name}.city.test/dc=x\n\n")
        })
        .concat();
    let mut slapd = Slapd::with(&people_of(1), &references, "");
    let settings = slapd.source().await;
    let found = session::ask(&settings, &settings.filter).await.unwrap();
    assert_eq!((found.entries.len(), found.references), (1, 3));
    let town = Town::with(vec![settings.clone()]).await;
    assert_eq!(town.run().await.counts.made, 1);
    let rule = "(memberOf:1.2.840.113556.1.4.1941:=cn=staff,dc=city,dc=test)".to_owned();
    let town = town.reopened(vec![Settings { filter: rule, ..settings }]);
    let report = town.run().await;
    assert_eq!(report.outcome, Outcome::Refused, "{report:?}");
    assert!(report.why.unwrap().ja.contains("Active Directory ではなく"));
    assert!(!town.is_locked("u0").await);
}

/// A group with these members.
fn group(dn: &str, class: &str, attribute: &str, members: &[String]) -> String {
    let members = members.iter().map(|member| format!("{attribute}:: {}\n", BASE64_STANDARD.encode(member)));
    format!("dn: {dn}\nobjectClass: {class}\n{}\n", members.collect::<String>())
}

async fn change(ldap: &mut Ldap, dn: &str, change: Mod<&str>) {
    ldap.modify(dn, vec![change]).await.unwrap().success().unwrap();
}

/// L6 and L20, with what becomes of groups.
#[tokio::test]
#[ignore = "needs slapd: src/municipal/ldap/slapd"]
async fn groups_of_a_real_directory_are_walked_through_a_circle_and_say_who_administers() {
    let all = people_of(4);
    let [staff, inner, admins] = ["staff", "inner", "admins"].map(|name| format!("cn={name},{BASE}"));
    let (spelt, gone) = (inner.to_uppercase(), format!("cn=nobody,{BASE}"));
    let groups = [
        group(&staff, "groupOfNames", "member", &[all[0].dn(), spelt, gone]),
        group(&inner, "groupOfNames", "member", &[all[1].dn(), staff.clone(), all[2].dn()]),
        group(&admins, "groupOfUniqueNames", "uniqueMember", &[format!("{}#'0101'B", all[0].dn())]),
    ];
    let mut slapd = Slapd::with(&all, &groups.concat(), "");
    let settings = Settings {
        people_group: Some(staff.clone()),
        administrators_group: Some(admins.clone()),
        adopts_accounts: true,
        ..slapd.source().await
    };
    let town = Town::with(vec![settings]).await;
    town.account("u0", false).await;
    let report = town.run().await;
    let counts = Counts { made: 3, promoted: 1, ..Counts::default() };
    assert_eq!((report.outcome, report.found, report.counts), (Outcome::Followed, 3, counts), "{report:?}");
    let circle = report.notes.iter().find(|note| note.what.en.contains("in each other")).unwrap();
    assert!(circle.what.en.to_lowercase().contains(&format!("{staff} → {inner} → {staff}")), "{circle:?}");
    assert!(report.notes.iter().any(|note| note.what.en.contains("1 members are not there")), "{report:?}");
    let administers = async || town.accounts.find_user(&town.user("u0")).await.unwrap().unwrap().admin;
    assert!(administers().await && !town.is_there("u3").await);
    assert_eq!(town.run().await.counts, Counts::default());

    // One leaves the group in the group, and is back.
    let mut root = slapd.root().await;
    let second = all[1].dn();
    change(&mut root, &inner, Mod::Delete("member", HashSet::from([second.as_str()]))).await;
    assert_eq!(town.run().await.counts, Counts { ended: 1, ..Counts::default() });
    assert!(town.is_locked("u1").await);
    change(&mut root, &inner, Mod::Add("member", HashSet::from([second.as_str()]))).await;
    assert_eq!(town.run().await.counts, Counts { restored: 1, ..Counts::default() });

    // The group in the group is gone, and named still: nobody ends, until it is taken out.
    root.delete(&inner).await.unwrap().success().unwrap();
    let report = town.run().await;
    assert_eq!(report.outcome, Outcome::Refused);
    assert!(report.why.unwrap().ja.contains("メンバーとして残っている"));
    assert!(!town.is_locked("u1").await && !town.is_locked("u2").await);
    change(&mut root, &staff, Mod::Delete("member", HashSet::from([inner.as_str()]))).await;
    assert_eq!(town.run().await.counts, Counts { ended: 2, ..Counts::default() });

    // Nobody but him can sign in, so he goes on as he is out of the group; with another one he does not.
    let (first, third) = (format!("{}#'0101'B", all[0].dn()), all[2].dn());
    change(&mut root, &admins, Mod::Add("uniqueMember", HashSet::from([third.as_str()]))).await;
    change(&mut root, &admins, Mod::Delete("uniqueMember", HashSet::from([first.as_str()]))).await;
    let report = town.run().await;
    assert_eq!(report.counts.demoted, 0, "{report:?}");
    assert!(note(&report, "@u0:").unwrap().contains("last administrator"), "{report:?}");
    assert!(administers().await);
    town.account("operator", true).await;
    assert_eq!(town.run().await.counts, Counts { demoted: 1, ..Counts::default() });
    assert!(!administers().await);

    // It cannot be read, or is not there.
    root.delete(&staff).await.unwrap().success().unwrap();
    let report = town.run().await;
    assert_eq!(report.outcome, Outcome::Refused, "{report:?}");
    assert!(!town.is_locked("u0").await);
}

/// What people's own entries say of the groups that they are in, where a directory has that.
#[tokio::test]
#[ignore = "needs slapd: src/municipal/ldap/slapd"]
async fn the_groups_that_a_real_directory_has_somebody_in_are_asked_for() {
    let all = people_of(2);
    let staff = format!("cn=staff,{BASE}");
    let more = group(&staff, "groupOfNames", "member", &[all[0].dn()]);
    let mut slapd = Slapd::with(&all, &more, "moduleload memberof\noverlay memberof\n");
    let settings = slapd.source().await;
    let second = all[1].dn();
    change(&mut slapd.root().await, &staff, Mod::Add("member", HashSet::from([second.as_str()]))).await;
    let (line, mut talk) = session::open(&settings).await.unwrap();
    let mut walked = Group::default();
    walked.walked.push(staff.to_uppercase());
    let mut groups = Groups { people: Some(walked), ..Groups::default() };
    let ids = ["00", "01"].map(|last| format!("69daa3d3-e10f-421f-9ccc-b1c586444e{last}"));
    let asking = async {
        talk.bind().await?;
        ask_members(&mut talk, &settings, &mut groups, &ids).await
    };
    line.during(asking).await.unwrap();
    // The overlay knows of what was changed since it is there.
    let known: Vec<&String> = ids.iter().filter(|id| groups.people.as_ref().unwrap().knows(id)).collect();
    assert_eq!(known, [&ids[1]]);
}

#[tokio::test]
#[ignore = "needs slapd: src/municipal/ldap/slapd"]
async fn a_real_directory_is_spoken_to_over_tls() {
    let mut slapd = Slapd::with(&people_of(1), "", "security tls=1\n");
    let settings = slapd.source().await;
    let certificate = CertificateDer::from_pem_file(slapd.home.path().join("cert.pem")).unwrap();
    let (trusting, believed) = (believing(&[certificate]), believing(&[]));
    let at = |url: String, tls: &std::sync::Arc<_>| Settings {
        place: Place::parse(&url, true).unwrap(),
        tls: std::sync::Arc::clone(tls),
        ..settings.clone()
    };
    let tls = format!("ldaps://localhost:{}", slapd.tls_port);
    let start_tls = format!("ldap://localhost:{}", slapd.port);
    for url in [&tls, &start_tls] {
        let found = session::ask(&at(url.clone(), &trusting), "(objectClass=user)").await.unwrap();
        assert_eq!(found.entries.len(), 1, "{url}");
        let fault = session::ask(&at(url.clone(), &believed), "(objectClass=user)").await.unwrap_err();
        assert!(matches!(fault, Fault::Tls(_)), "{url}: {fault:?}");
    }
    // In the clear it says nothing.
    let fault = session::ask(&settings, "(objectClass=user)").await.unwrap_err();
    assert!(matches!(fault, Fault::Refused { code: 13, .. }), "{fault:?}");
}

/// What a prefecture costs: prints how long a reading takes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs slapd: src/municipal/ldap/slapd"]
#[expect(clippy::print_stdout, reason = "figures")]
async fn twelve_thousand_people_are_read_within_their_interval() {
    let all: Vec<Somebody> = (0..12_000_u32)
        .map(|number| Somebody {
            number: u8::try_from(number % 256).unwrap(),
            ..somebody(0, &format!("u{number}"))
        })
        .collect();
    let limits = format!("limits dn.exact=\"{READER}\" size.prtotal=unlimited\n");
    // All of them in a group, which tells its members at once.
    let staff = format!("cn=staff,{BASE}");
    let members: Vec<String> = all.iter().map(Somebody::dn).collect();
    let mut slapd = Slapd::with(&all, &group(&staff, "groupOfNames", "member", &members), &limits);
    let settings = Settings { id: "entryUUID".to_owned(), kind: Kind::OpenLdap, ..slapd.source().await };
    let begun = std::time::Instant::now();
    let found = session::ask(&settings, &settings.filter).await.unwrap();
    println!("{} people read in {:?}", found.entries.len(), begun.elapsed());
    let settings = Settings { people_group: Some(staff), ..settings };
    let begun = std::time::Instant::now();
    assert!(reading::read(&settings).await.unwrap().is_ok());
    println!("read with a group of all of them in {:?}", begun.elapsed());
    let town = Town::with(vec![settings]).await;
    let begun = std::time::Instant::now();
    assert_eq!(town.run().await.counts.made, 12_000);
    println!("12,000 accounts made in {:?}", begun.elapsed());
    let begun = std::time::Instant::now();
    assert_eq!(town.run().await.counts, Counts::default());
    println!("read again, with nothing to do, in {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(30));
}
