//! The demo's bots, as somebody tries them who reads what the demo prints: a file over the drop link and a report over
//! the webhook come into the room of the desk, from both networks, and what is prepared outlives the demo.

#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared modules")]

mod demo;

use std::{
    io::{BufRead as _, BufReader, Cursor},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use demo::{Demo, is_running, signal, yakuba};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

/// In real time: what takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a photo says of where it was taken.
const PLACE: &[u8] = b"GPS 36.5611 N 136.6564 E";

/// Has the bots lie beside the program. A build of the whole workspace put them there; one of this package alone did not.
fn build_bots() {
    let own = Path::new(env!("CARGO_BIN_EXE_yakuba"));
    if ["memo", "dropbox", "hook"].iter().all(|bot| own.with_file_name(format!("yakuba-{bot}")).exists()) {
        return;
    }
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--locked", "-p", "memo_bot", "-p", "dropbox", "-p", "hook_bot"]);
    if own.parent().is_some_and(|directory| directory.ends_with("release")) {
        build.arg("--release");
    }
    assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
}

/// Somebody of 金沢市 at one of its listeners.
struct Person {
    client: Client,
    url: String,
    token: String,
}

impl Person {
    async fn log_in(demo: &Demo, url: &str) -> Self {
        let client = Client::new();
        let account = demo.account("kanazawa.test");
        let order = json!({
            "type": "m.login.password", "password": account.password,
            "identifier": { "type": "m.id.user", "user": account.user_id },
        });
        let answer = client.post(format!("{url}/_matrix/client/v3/login")).body(order.to_string());
        let answer: Value =
            serde_json::from_slice(&answer.send().await.unwrap().bytes().await.unwrap()).unwrap();
        let token = answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        Self { client, url: url.to_owned(), token }
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        let request = self.client.get(format!("{}/_matrix/client{path}", self.url));
        request.bearer_auth(&self.token).send().await.unwrap()
    }

    /// Waits for a message.
    async fn finds(&self, room: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/v3/rooms/{}/messages?dir=b&limit=50", room.replace('!', "%21"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen: Value = serde_json::from_slice(&self.get(&path).await.bytes().await.unwrap()).unwrap();
            let events = seen["chunk"].as_array().unwrap_or_else(|| panic!("{seen}"));
            if let Some(event) = events.iter().find(|event| is_it(&event["content"])) {
                return event["content"].clone();
            }
            assert!(Instant::now() < deadline, "{seen:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A file, and what is said of its form.
    async fn downloads(&self, uri: &str) -> (Vec<u8>, String) {
        let answer = self.get(&format!("/v1/media/download/{}", uri.strip_prefix("mxc://").unwrap())).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let form = answer.headers().get("x-yakuba-sanitised").map(|form| form.to_str().unwrap().to_owned());
        (answer.bytes().await.unwrap().to_vec(), form.unwrap_or_default())
    }
}

/// A JPEG that says where it was taken.
fn photo() -> Vec<u8> {
    let mut bytes = Vec::new();
    let picture = image::RgbImage::from_fn(60, 40, |x, y| {
        image::Rgb([x, y, 22].map(|shade| shade.to_le_bytes()[0] * 4))
    });
    picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Jpeg).unwrap();
    let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x0f\0\x02".to_vec();
    exif.extend(u32::try_from(PLACE.len()).unwrap().to_be_bytes());
    exif.extend(26_u32.to_be_bytes());
    exif.extend(0_u32.to_be_bytes());
    exif.extend(PLACE);
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&bytes[..2], b"\xff\xe1", &length, &exif, &bytes[2..]].concat()
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// Sends a file as the page of a drop link does that runs no script: as a form.
async fn send_over(link: &str, name: &str, bytes: &[u8]) {
    let border = "----demo";
    let head = format!(
        "--{border}\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\n能登 次郎\r\n\
         --{border}\r\nContent-Disposition: form-data; name=\"files\"; filename=\"{name}\"\r\n\
         Content-Type: image/jpeg\r\n\r\n"
    );
    let body = [head.as_bytes(), bytes, format!("\r\n--{border}--\r\n").as_bytes()].concat();
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let sent = client.post(format!("{link}/form")).body(body);
    let sent = sent.header("content-type", format!("multipart/form-data; boundary={border}"));
    let sent = sent.send().await.unwrap();
    let (status, text) = (sent.status(), sent.text().await.unwrap());
    assert!(status.is_success() || status.is_redirection(), "{status}: {text}");
}

/// Posts the report as the demo says.
fn post(demo: &Demo) {
    let command = demo.bot("hook").webhook_command.clone().unwrap();
    let said = Command::new("sh").arg("-c").arg(&command).stdin(Stdio::null()).output().unwrap();
    let answer = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.status.success() && answer.contains("taken"),
        "{answer} {}",
        String::from_utf8_lossy(&said.stderr)
    );
}

#[tokio::test]
async fn what_the_demo_prints_to_try_works_from_both_networks_and_outlives_it() {
    build_bots();
    let place = tempfile::tempdir().unwrap();
    let demo = Demo::start_in(place.path(), Stdio::null());
    let town = demo.server("kanazawa.test");
    let (link, room) = (town.drop_link.clone().unwrap(), demo.ready.desk_room_id.clone().unwrap());
    let internet = Person::log_in(&demo, &town.client_url).await;
    let lgwan = Person::log_in(&demo, town.lgwan_url.as_ref().unwrap()).await;

    let photo = photo();
    send_over(&link, "現場.jpg", &photo).await;
    let is_photo = |content: &Value| content["msgtype"] == "m.image" && content["body"] == "現場.jpg";
    let shown = internet.finds(&room, is_photo).await;
    assert_eq!(lgwan.finds(&room, is_photo).await, shown);
    let uri = shown["url"].as_str().unwrap();
    assert_eq!(internet.downloads(uri).await, (photo.clone(), String::new()));
    let (on_lgwan, form) = lgwan.downloads(uri).await;
    assert!(form.starts_with("rebuilt"), "{form}");
    assert!(holds(&photo, PLACE) && !holds(&on_lgwan, PLACE));
    assert_eq!(image::load_from_memory(&on_lgwan).unwrap().width(), 60);

    post(&demo);
    let is_report =
        |content: &Value| content["body"].as_str().is_some_and(|text| text.starts_with("【通報】道路の陥没"));
    for person in [&internet, &lgwan] {
        person.finds(&room, is_report).await;
    }

    // The link of before is good at another port, and nothing is made twice.
    let pids: Vec<u32> = demo.pids();
    drop(demo);
    assert!(!pids.into_iter().any(is_running), "a child was left behind");
    let demo = Demo::start_in(place.path(), Stdio::null());
    let again = demo.server("kanazawa.test").drop_link.clone().unwrap();
    let path = |link: &str| link.rsplit_once("/r/").unwrap().1.to_owned();
    assert_eq!((path(&again), demo.ready.desk_room_id.as_ref()), (path(&link), Some(&room)));
    assert_ne!(again, link);
    assert_eq!(reqwest::get(&again).await.unwrap().status(), StatusCode::OK);
    post(&demo);
}

#[test]
fn a_bot_that_dies_is_told_and_the_children_end_with_the_demo() {
    build_bots();
    let place = tempfile::tempdir().unwrap();
    let mut demo = Demo::start_in(place.path(), Stdio::piped());
    let bot = demo.bot("dropbox").clone();
    let errors = BufReader::new(demo.errors());
    signal(bot.pid, "KILL");
    let told = errors.lines().map(Result::unwrap).find(|line| line.contains(&bot.user_id)).unwrap();
    assert!(told.contains("ended") && told.contains("SIGKILL"), "{told}");
    let pids = demo.pids();
    drop(demo);
    assert!(!pids.into_iter().any(is_running), "a child was left behind");

    // Without a directory of its own, nothing stays behind either.
    let mut process = yakuba()
        .args(["demo", "--json", "--base-port", &demo::base_port().to_string()])
        .env("TMPDIR", place.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let directory = Path::new(ready["dir"].as_str().unwrap()).to_owned();
    assert!(directory.starts_with(place.path()) && directory.exists());
    signal(process.id(), "INT");
    assert!(process.wait().unwrap().success());
    assert!(!directory.exists());
}
