//! Mails of a whole process, as its configuration says, to a mail server on this machine.

use std::time::Duration;

use http::Request;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::JoinHandle,
};
use tower::ServiceExt;
use web::Body;

use crate::{
    commands::init::write_key,
    config::{Config, Serves},
    house::{Foundation, House},
    storage::Data,
};

fn config(port: u16, more: &str) -> String {
    format!(
        r#"
[[authorities]]
name = "kanazawa.test"
key_file = "kanazawa.key"
client_url = "https://matrix.kanazawa.test/"

[authorities.mail]
host = "127.0.0.1"
port = {port}
security = "none"
from = "noreply@kanazawa.test"
{more}

[[listeners]]
address = "127.0.0.1:0"
serves = ["client"]

[store]
backend = "memory"
"#
    )
}

/// Takes one mail: who it is to, and what it says.
async fn sink() -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = tokio::spawn(async move {
        let mut socket = BufReader::new(listener.accept().await.unwrap().0);
        let (mut heard, mut in_data) = (String::new(), false);
        socket.write_all(b"220 sink\r\n").await.unwrap();
        loop {
            let mut line = String::new();
            assert!(socket.read_line(&mut line).await.unwrap() > 0, "{heard}");
            heard.push_str(&line);
            let answer: &[u8] = match line.trim_end() {
                "." if in_data => {
                    socket.write_all(b"250 taken\r\n").await.unwrap();
                    return heard;
                }
                _ if in_data => continue,
                "DATA" => {
                    in_data = true;
                    b"354 go on\r\n"
                }
                _ => b"250 ok\r\n",
            };
            socket.write_all(answer).await.unwrap();
        }
    });
    (port, taken)
}

#[tokio::test]
async fn a_mail_goes_out_by_the_server_that_the_configuration_names() {
    let directory = tempfile::tempdir().unwrap();
    write_key(&directory.path().join("kanazawa.key"), ruma::server_name!("kanazawa.test")).unwrap();
    let (port, taken) = sink().await;
    let config = Config::parse(&config(port, "from_name = \"Kanazawa\""), [], directory.path()).unwrap();
    let house = House::open(&config, Foundation::of(&config, Data::MayBegin).await.unwrap()).await.unwrap();
    house.start_upkeep();
    let router = house.router(&[Serves::Client]).unwrap();
    let body = json!({ "email": "hanako@example.jp", "client_secret": "a", "send_attempt": 1 }).to_string();
    let request = Request::post("/_matrix/client/v3/register/email/requestToken")
        .header("host", "kanazawa.test")
        .body(Body::from(body))
        .unwrap();

    let answer = router.oneshot(request).await.unwrap();

    assert_eq!(answer.status(), 200);
    let heard = tokio::time::timeout(Duration::from_secs(60), taken).await.unwrap().unwrap();
    assert!(
        heard.contains("MAIL FROM:<noreply@kanazawa.test>") && heard.contains("RCPT TO:<hanako@example.jp>")
    );
    assert!(
        heard.contains("From: Kanazawa <noreply@kanazawa.test>") && heard.contains("=?utf-8?"),
        "{heard}"
    );
    house.close(Duration::from_secs(10)).await;
}

#[test]
fn what_contradicts_itself_about_mails_is_named() {
    let problems = |more: &str, from: &str| {
        let text = config(25, more)
            .replace("127.0.0.1\"\nport", "smtp.example.jp\"\nport")
            .replace("noreply@kanazawa.test", from);
        let problems = Config::parse(&text, [], std::path::Path::new("")).unwrap_err();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let told = problems(
        "user = \"yakuba\"\n[[authorities.terms]]\nid = \"a\"\nversion = \"1\"\ntexts = {}",
        "no address",
    );
    for key in ["mail.from", "mail.user", "mail.security", "terms.0.texts"] {
        assert!(told.contains(&format!("authorities.0.{key}")), "{key}: {told}");
    }
}
