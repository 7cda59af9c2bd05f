//! `[[authorities.ldap]]` with the binary and a real directory, OpenLDAP's slapd: a stream that ends when its user is disabled,
//! and what `yakuba check` and `yakuba ldap` tell.
//!
//! `src/municipal/ldap/slapd` runs this; where slapd is not there it is left out.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests; their figures are printed")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared modules")]

mod alone;
mod demo;

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{alone::Server, demo::yakuba};

const BASE: &str = "dc=city,dc=test";
const ROOT: &str = "cn=root,dc=city,dc=test";
const HANAKO: &str = "uid=hanako,dc=city,dc=test";
const PASSWORD: &str = "a-long-password";

/// A directory of its own. It ends with the test.
struct Slapd(Child, u16);

impl Drop for Slapd {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A program of OpenLDAP. Debian keeps some where only root looks.
fn tool(name: &str) -> Command {
    let path = format!("/usr/sbin/{name}");
    Command::new(if Path::new(&path).exists() { path } else { name.to_owned() })
}

impl Slapd {
    /// With two people, and somebody who may read them.
    fn begin(home: &Path) -> Self {
        fs::create_dir_all(home.join("data")).unwrap();
        let at = home.display();
        let schemas = ["core", "cosine", "nis", "inetorgperson"];
        let schemas = schemas.map(|name| format!("include /etc/ldap/schema/{name}.schema\n")).concat();
        let configuration = format!(
            "{schemas}modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {at}/pid\ndatabase mdb\nsuffix \"{BASE}\"\n\
             rootdn \"{ROOT}\"\nrootpw root-secret\ndirectory {at}/data\n"
        );
        fs::write(home.join("slapd.conf"), configuration).unwrap();
        let person = |uid: &str| {
            format!(
                "dn: uid={uid},{BASE}\nobjectClass: inetOrgPerson\nobjectClass: shadowAccount\nuid: {uid}\nsn: {uid}\n\
                 cn: {uid} of the city\nmail: {uid}@city.test\nshadowExpire: -1\n\n"
            )
        };
        let people = format!(
            "dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: x\ndc: city\n\n\
             dn: cn=yakuba,{BASE}\nobjectClass: person\nsn: x\nuserPassword: secret\n\n{}{}",
            person("hanako"),
            person("taro")
        );
        fs::write(home.join("people.ldif"), people).unwrap();
        let mut adding = tool("slapadd");
        adding.arg("-q").arg("-f").arg(home.join("slapd.conf")).arg("-l").arg(home.join("people.ldif"));
        assert!(adding.status().unwrap().success());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut serve = tool("slapd");
        serve
            .args(["-d", "0", "-h", &format!("ldap://127.0.0.1:{port}")])
            .arg("-f")
            .arg(home.join("slapd.conf"));
        let mut process = serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(process.try_wait().unwrap().is_none(), "slapd has ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self(process, port)
    }

    /// Has it say that somebody's last day is this one, counted from 1970; -1 is none.
    fn expires(&self, dn: &str, day: i64) {
        let mut modify = tool("ldapmodify");
        modify.args(["-x", "-D", ROOT, "-w", "root-secret", "-H", &format!("ldap://127.0.0.1:{}", self.1)]);
        let mut process = modify.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let change = format!("dn: {dn}\nchangetype: modify\nreplace: shadowExpire\nshadowExpire: {day}\n");
        process.stdin.take().unwrap().write_all(change.as_bytes()).unwrap();
        assert!(process.wait().unwrap().success());
    }
}

/// What a command says in English, and whether it succeeded.
fn say(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = yakuba();
    command.args(arguments).arg("--config").arg(directory.join("yakuba.toml")).env("YAKUBA_LANG", "C");
    let output = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn done(directory: &Path, arguments: &[&str]) -> String {
    let (done, said) = say(directory, arguments);
    assert!(done, "{arguments:?}: {said}");
    said
}

async fn log_in(server: &Server, user: &str) -> (StatusCode, Value) {
    let body = json!({
        "type": "m.login.password", "password": PASSWORD, "identifier": { "type": "m.id.user", "user": user },
    });
    server.call(Method::POST, "/_matrix/client/v3/login", "", Some(body)).await.unwrap()
}

/// L8: whoever is disabled in the directory is out of every session within a minute, though one of them waits for a sync.
#[tokio::test]
#[ignore = "needs slapd: src/municipal/ldap/slapd"]
async fn a_stream_ends_when_its_user_is_disabled_in_a_real_directory() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("yakuba");
    let slapd = Slapd::begin(&home.path().join("slapd"));
    let keys = format!(
        r#"
        [[authorities.ldap]]
        name = "openldap"
        kind = "openldap"
        url = "ldap://127.0.0.1:{}"
        starttls = false
        bind_dn = "cn=yakuba,{BASE}"
        password_file = "keys/ldap.password"
        base = "{BASE}"
        interval_seconds = 10
        adopts_accounts = true
        "#,
        slapd.1
    );
    let mut server = Server::with(&directory, &keys);
    fs::write(directory.join("keys/ldap.password"), "secret\n").unwrap();
    fs::write(directory.join("password"), PASSWORD).unwrap();
    let password = directory.join("password").display().to_string();
    done(&directory, &["user", "create", "hanako", "--password-file", &password]);

    let said = done(&directory, &["check"]);
    assert!(said.contains("LDAP openldap of kanazawa.test: 2 people, 2 of them in"), "{said}");
    let said = done(&directory, &["ldap", "preview"]);
    assert!(said.contains("@hanako:kanazawa.test is taken over"), "{said}");
    assert!(said.contains("@taro:kanazawa.test is made"), "{said}");

    server.start().await;
    done(&directory, &["ldap", "run"]);
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let (status, session) = log_in(&server, "hanako").await;
        assert_eq!(status, StatusCode::OK, "{session}");
        sessions.push(session["access_token"].as_str().unwrap().to_owned());
    }
    // L8: the second session has a pusher, and a token for another one.
    let body = json!({
        "type": "m.login.password", "password": PASSWORD, "refresh_token": true,
        "identifier": { "type": "m.id.user", "user": "hanako" },
    });
    let (_, second) = server.call(Method::POST, "/_matrix/client/v3/login", "", Some(body)).await.unwrap();
    sessions[1] = second["access_token"].as_str().unwrap().to_owned();
    let pusher = json!({
        "pushkey": "key", "kind": "http", "app_id": "app", "app_display_name": "App", "lang": "ja",
        "device_display_name": "Phone", "data": { "url": "https://push.example.test/_matrix/push/v1/notify" },
    });
    let pushers = "/_matrix/client/v3/pushers";
    let set = format!("{pushers}/set");
    let (status, answer) = server.call(Method::POST, &set, &sessions[1], Some(pusher)).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (_, shown) = server.call(Method::GET, pushers, &sessions[1], None).await.unwrap();
    assert_eq!(shown["pushers"].as_array().unwrap().len(), 1);
    let sync = "/_matrix/client/v3/sync?timeout=0";
    let (_, first) = server.call(Method::GET, sync, &sessions[0], None).await.unwrap();
    let since = first["next_batch"].as_str().unwrap().replace('~', "%7E");
    slapd.expires(HANAKO, 1);
    let begun = Instant::now();
    let path = format!("/_matrix/client/v3/sync?timeout=15000&since={since}");
    let status = loop {
        // A stream that came to its time begins anew, as clients do.
        let (status, _) = server.call(Method::GET, &path, &sessions[0], None).await.unwrap();
        if status != StatusCode::OK || begun.elapsed() > Duration::from_secs(60) {
            break status;
        }
    };
    eprintln!("the stream ended {:?} after the directory was changed", begun.elapsed());
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let whoami = "/_matrix/client/v3/account/whoami";
    let (status, _) = server.call(Method::GET, whoami, &sessions[1], None).await.unwrap();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let refresh = json!({ "refresh_token": second["refresh_token"] });
    let (status, answer) =
        server.call(Method::POST, "/_matrix/client/v3/refresh", "", Some(refresh)).await.unwrap();
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{answer}");
    assert_eq!(log_in(&server, "hanako").await.1["errcode"], "M_USER_LOCKED");
    // Locked, and neither closed nor erased: who she is stays.
    let said = done(&directory, &["audit", "list", "--what", "account"]);
    assert!(said.contains("locked an account") && !said.contains("closed an account"), "{said}");
    let said = done(&directory, &["ldap", "status"]);
    assert!(said.contains("2 people, of whom 1 are out"), "{said}");

    slapd.expires(HANAKO, -1);
    let said = done(&directory, &["ldap", "run"]);
    assert!(said.contains("1 restored"), "{said}");
    let (status, back) = log_in(&server, "hanako").await;
    assert_eq!(status, StatusCode::OK);
    let token = back["access_token"].as_str().unwrap();
    let (_, shown) = server.call(Method::GET, pushers, token, None).await.unwrap();
    assert_eq!(shown["pushers"], json!([]));
    let profile = "/_matrix/client/v3/profile/@hanako:kanazawa.test";
    let (status, answer) = server.call(Method::GET, profile, token, None).await.unwrap();
    assert!(status == StatusCode::OK && answer["displayname"] == "hanako of the city", "{answer}");

    // The directory is gone: that is told, and ends nobody.
    drop(slapd);
    let (is_done, said) = say(&directory, &["ldap", "run"]);
    assert!(!is_done && said.contains("no account has changed"), "{said}");
    assert_eq!(log_in(&server, "hanako").await.0, StatusCode::OK);
    let said = done(&directory, &["audit", "list", "--what", "source"]);
    assert!(said.contains("followed what a source says of somebody"), "{said}");
    server.end("TERM");
}
