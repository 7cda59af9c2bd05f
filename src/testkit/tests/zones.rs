//! Zones: through a listener that demands sanitised files no byte of another leaves, whatever is asked.
//!
//! All over real listeners in HTTP, with the worker's real process: only a listener says in which zone a request is.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests, and figures of long ones")]

#[path = "zones/icap.rs"]
mod icap;
#[path = "zones/names.rs"]
mod names;
#[path = "zones/samples.rs"]
mod samples;
#[path = "zones/scanners.rs"]
mod scanners;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base::Random;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use parking_lot::Mutex;
use samples::{Fate, HARM, Sample};
use scanners::Scanner;
use serde_json::{Value, json};
use server::config::{FilesSetting, Serves, ZoneConfig};
use tempfile::TempDir;
use testkit::{Net, Preset, Server, User, Zones};

/// In real time: what takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(60);

fn zone(files: FilesSetting) -> ZoneConfig {
    ZoneConfig { files, ..ZoneConfig::default() }
}

struct World {
    net: Net,
    kanazawa: Server,
    hanako: User,
    /// What the worker is told.
    orders: TempDir,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl World {
    async fn new() -> Self {
        Self::with([("lgwan", zone(FilesSetting::Sanitised)), ("internet", zone(FilesSetting::Originals))])
            .await
    }

    async fn with<const N: usize>(zones: [(&str, ZoneConfig); N]) -> Self {
        let orders = tempfile::tempdir().unwrap();
        let of: BTreeMap<_, _> = zones.into_iter().map(|(name, zone)| (name.to_owned(), zone)).collect();
        let worker = std::env::var_os("YAKUBA_TEST_WORKER")
            .unwrap_or_else(|| env!("CARGO_BIN_EXE_testkit-sanitise-worker").into());
        let arguments = vec![orders.path().to_str().unwrap().to_owned()];
        let net = Net::with_zones(Zones { of, worker: worker.into(), arguments });
        let kanazawa = net.server("kanazawa.test").await;
        let hanako = kanazawa.user("hanako").await;
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { net, kanazawa, hanako, orders, client }
    }

    async fn in_zone(&self, zone: &str) -> User {
        self.hanako.through(self.kanazawa.listen_in(Some(zone)).await)
    }

    async fn upload(&self, sample: &Sample) -> String {
        upload(&self.hanako, sample).await
    }

    fn order(&self, order: &str) {
        std::fs::write(self.orders.path().join("order"), order).unwrap();
    }

    /// Waits for a worker that hangs; its process.
    async fn hanging(&self) -> i32 {
        let file = self.orders.path().join("pid");
        let found = async {
            loop {
                if let Ok(text) = std::fs::read_to_string(&file) {
                    std::fs::remove_file(&file).unwrap();
                    return text.parse().unwrap();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    }
}

async fn upload(user: &User, sample: &Sample) -> String {
    let path = format!("/_matrix/media/v3/upload?filename={}", percent(sample.name));
    let body = Bytes::from(sample.bytes.clone());
    let answer = user.ask_bytes(Method::POST, &path, &[("content-type", sample.kind)], body).await;
    let json: Value = serde_json::from_slice(answer.body()).unwrap();
    json["content_uri"].as_str().unwrap().strip_prefix("mxc://").unwrap().to_owned()
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn get(user: &User, path: &str) -> Response<Bytes> {
    user.ask_bytes(Method::GET, path, &[], Bytes::new()).await
}

async fn download(user: &User, id: &str) -> Response<Bytes> {
    get(user, &format!("/_matrix/client/v1/media/download/{id}")).await
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// Whether any eight bytes of the harm are there.
fn harms(bytes: &[u8]) -> bool {
    bytes.windows(8).any(|window| HARM.as_bytes().windows(8).any(|harm| harm == window))
}

fn header<'a>(answer: &'a Response<Bytes>, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn said(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_default()
}

#[track_caller]
fn is_refused(answer: &Response<Bytes>, reason: &str) {
    let said = said(answer);
    let sentence = said["error"].as_str().unwrap_or_default();
    assert_eq!(
        (answer.status().as_u16(), said["errcode"].as_str(), said["jp.yakuba.reason"].as_str()),
        (403, Some("M_FORBIDDEN"), Some(reason)),
        "{said}"
    );
    assert!(sentence.contains('。') && sentence.contains(". ") || sentence.ends_with('.'), "{sentence}");
}

#[tokio::test]
async fn each_zone_is_given_the_form_of_a_file_that_its_rules_demand() {
    let world = World::new().await;
    let (lgwan, internet) = (world.in_zone("lgwan").await, world.in_zone("internet").await);
    for sample in samples::all(1) {
        let id = world.upload(&sample).await;
        for outside in [&world.hanako, &internet] {
            let shown = download(outside, &id).await;
            assert_eq!((shown.status(), shown.body()), (StatusCode::OK, &Bytes::from(sample.bytes.clone())));
            assert_eq!(header(&shown, "content-type"), sample.kind);
            assert!(header(&shown, "x-yakuba-sanitised").is_empty());
            assert!(header(&shown, "cache-control").contains("immutable"));
        }
        let shown = download(&lgwan, &id).await;
        let made = header(&shown, "x-yakuba-sanitised").to_owned();
        match sample.fate {
            Fate::Refused => {
                assert_eq!(shown.status(), StatusCode::FORBIDDEN, "{}", sample.name);
                continue;
            }
            Fate::Clean => assert_eq!((shown.body(), &*made), (&Bytes::from(sample.bytes), "clean")),
            Fate::Rebuilt => {
                assert!(made.starts_with("rebuilt, "), "{}: {made} {:?}", sample.name, said(&shown))
            }
        }
        assert!(!harms(shown.body()), "{}", sample.name);
        assert_eq!(header(&shown, "cache-control"), "private, no-cache");
        if sample.name == "案内.docm" {
            assert!(made.contains("macro"), "{made}");
            assert!(header(&shown, "content-type").ends_with("wordprocessingml.document"));
            assert!(header(&shown, "content-disposition").ends_with(".docx"));
            let named = get(&lgwan, &format!("/_matrix/client/v1/media/download/{id}/x.exe")).await;
            assert!(header(&named, "content-disposition").ends_with("x.exe.docx\""));
        }
        if sample.kind.starts_with("image/") {
            let path = format!("/_matrix/client/v1/media/thumbnail/{id}?width=32&height=32&method=crop");
            let small = image::load_from_memory(get(&lgwan, &path).await.body()).unwrap();
            assert_eq!((small.width(), small.height()), (32, 32));
        }
    }
}

#[tokio::test]
async fn a_refusal_tells_its_reason_in_both_languages() {
    let world = World::new().await;
    let lgwan = world.in_zone("lgwan").await;
    for (name, reason) in [
        ("a.exe", "program"),
        ("run.bat", "program"),
        ("a.svg", "svg"),
        ("a.html", "page"),
        ("encrypted", "unknown"),
    ] {
        let sample = samples::all(2).into_iter().find(|sample| sample.name == name).unwrap();
        let id = world.upload(&sample).await;
        is_refused(&download(&lgwan, &id).await, reason);
        let path = format!("/_matrix/client/v1/media/thumbnail/{id}?width=32&height=32");
        is_refused(&get(&lgwan, &path).await, reason);
    }
}

#[tokio::test]
async fn what_another_server_gives_and_what_it_asks_for_obey_the_zones_as_well() {
    let world = World::new().await;
    let wajima = world.net.server("wajima.test").await;
    let taro = wajima.user("taro").await;
    let door = wajima.listen_in(Some("lgwan")).await;
    for sample in samples::all(3) {
        let id = world.upload(&sample).await;
        // A copy is fetched as the original, for federation has no zone, and judged where it leaves.
        let shown = download(&taro.through(door), &id).await;
        match sample.fate {
            Fate::Refused => assert_eq!(shown.status(), StatusCode::FORBIDDEN, "{}", sample.name),
            Fate::Clean => assert_eq!(shown.body(), &sample.bytes),
            Fate::Rebuilt => assert!(shown.status() == 200 && !harms(shown.body()), "{}", sample.name),
        }
        assert_eq!(download(&taro, &id).await.body(), &sample.bytes);
    }
    world.kanazawa.federate_in("lgwan");
    for sample in samples::all(4) {
        let id = world.upload(&sample).await;
        let shown = download(&taro, &id).await;
        match sample.fate {
            Fate::Refused => assert!(!shown.status().is_success(), "{}", sample.name),
            Fate::Clean => assert_eq!(shown.body(), &sample.bytes),
            Fate::Rebuilt => assert!(shown.status() == 200 && !harms(shown.body()), "{}", sample.name),
        }
    }
}

#[tokio::test]
async fn a_worker_that_breaks_or_is_killed_costs_its_file_alone() {
    let world = World::new().await;
    let lgwan = world.in_zone("lgwan").await;
    let [one, other, third] = [5, 6, 7].map(|number| samples::all(number).swap_remove(0));
    let id = world.upload(&one).await;
    world.order("abort");
    is_refused(&download(&lgwan, &id).await, "worker-died");
    world.order("");
    let counted = world.kanazawa.look(|house| house.metrics.render());
    assert!(counted.contains(r#"yakuba_media_verdicts_total{verdict="worker-died"} 1"#), "{counted}");
    let next = download(&lgwan, &world.upload(&other).await).await;
    assert_eq!(next.status(), 200, "{:?}", said(&next));

    world.order("hang");
    let killed = world.upload(&third).await;
    let (shown, ()) = tokio::join!(download(&lgwan, &killed), async {
        let pid = world.hanging().await;
        world.order("");
        kill(pid);
        assert_eq!(download(&lgwan, &world.upload(&other).await).await.status(), 200);
    });
    is_refused(&shown, "worker-died");

    // It is not taken apart again at once; it may have been the worker's fault all the same.
    is_refused(&download(&lgwan, &id).await, "worker-died");
    world.net.advance(Duration::from_secs(601));
    assert_eq!(download(&lgwan, &id).await.status(), 200);
}

/// Ends a process as the kernel does that has no memory left.
fn kill(pid: i32) {
    let ended = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(ended.success());
}

#[tokio::test]
async fn verdicts_outlive_the_process_and_what_broke_off_is_judged_again() {
    let world = World::new().await;
    let [judged, other] = [8, 9].map(|number| samples::all(number).swap_remove(0));
    let (judged, refused) = (world.upload(&judged).await, world.upload(&samples::all(8)[6]).await);
    let lgwan = world.in_zone("lgwan").await;
    let before = download(&lgwan, &judged).await;
    is_refused(&download(&lgwan, &refused).await, "program");

    let begun = world.upload(&other).await;
    world.order("hang");
    let asked = tokio::spawn({
        let (lgwan, begun) = (lgwan.clone(), begun.clone());
        async move { download(&lgwan, &begun).await.status() }
    });
    world.hanging().await;
    // Its worker goes with it.
    world.kanazawa.crash().await;
    asked.abort();
    world.kanazawa.start().await;

    // Nothing is judged twice that was judged: there is no worker now that could.
    world.order("abort");
    let lgwan = world.in_zone("lgwan").await;
    assert_eq!(download(&lgwan, &judged).await.body(), before.body());
    is_refused(&download(&lgwan, &refused).await, "program");
    world.order("");
    assert_eq!(download(&lgwan, &begun).await.status(), 200);
}

#[tokio::test]
async fn equal_files_are_judged_once_and_what_was_made_of_them_goes_with_the_last() {
    let scanner = Scanner::new().await;
    let clamd = Some(scanner.address.to_string());
    let world = World::with([("lgwan", ZoneConfig { clamd, ..zone(FilesSetting::Sanitised) })]).await;
    let lgwan = world.in_zone("lgwan").await;
    let sample = samples::all(10).swap_remove(0);
    let ids = [world.upload(&sample).await, world.upload(&sample).await];
    let many = (0..10).map(|number| {
        let (lgwan, id) = (lgwan.clone(), ids[number % 2].clone());
        tokio::spawn(async move { download(&lgwan, &id).await.status() })
    });
    for shown in many.collect::<Vec<_>>() {
        assert_eq!(shown.await.unwrap(), 200);
    }
    assert_eq!(scanner.asked.load(Ordering::Relaxed), 1);

    let media = world.kanazawa.look(|house| house.media.clone());
    for (left, id) in [(true, &ids[0]), (false, &ids[1])] {
        let (server, id) = id.split_once('/').unwrap();
        assert!(media.remove(server.try_into().unwrap(), id).await.unwrap());
        assert_eq!(files_of(&world), if left { 2 } else { 0 });
    }
}

/// How many files a server keeps.
fn files_of(world: &World) -> usize {
    fn count(directory: &Path) -> usize {
        let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
        entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    count(&world.kanazawa.files())
}

/// Twenty megabytes of photographs in a document with a macro, from the request to the last byte.
///
/// `YAKUBA_TEST_WORKER` names a worker that was built with `--release`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement; its worker is to be built with --release"]
async fn a_document_of_twenty_megabytes_is_given_within_three_seconds() {
    let chance = Random::seeded(20);
    let mut noise = vec![0; 4_000 * 3_000];
    chance.fill(&mut noise);
    let photo = image::RgbImage::from_fn(4_000, 3_000, |x, y| {
        let noise = u32::from(noise[usize::try_from(y * 4_000 + x).unwrap()]) / 8;
        let shade = |value: u32| (value / 16 + noise).to_le_bytes()[0];
        image::Rgb([shade(x), shade(y), shade(x + y)])
    });
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 88).encode_image(&photo).unwrap();
    let count = (20 << 20) / jpeg.len() + 1;
    let photos: Vec<_> = (0..count).map(|n| (format!("media/image{n}.jpg"), jpeg.clone())).collect();
    let bytes = samples::word_with(HARM, &photos);
    let size = bytes.len();
    assert!(size > 20 << 20);

    let world = World::new().await;
    let lgwan = world.in_zone("lgwan").await;
    let sample = Sample { name: "案内.docx", kind: "application/octet-stream", bytes, fate: Fate::Rebuilt };
    let id = world.upload(&sample).await;
    for first in [true, false] {
        let begun = std::time::Instant::now();
        let shown = download(&lgwan, &id).await;
        let taken = begun.elapsed();
        println!("{size} bytes to {} in {taken:?}, first: {first}", shown.body().len());
        assert!(shown.status() == 200 && !harms(&shown.body()[..1 << 20]), "{:?}", said(&shown));
        assert!(shown.body().len() > size / 2 && taken < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn nobody_turns_encryption_on_from_a_zone_that_demands_sanitised_files() {
    let world = World::new().await;
    let (lgwan, internet) = (world.in_zone("lgwan").await, world.in_zone("internet").await);
    let algorithm = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    let encrypted =
        json!({ "initial_state": [{ "type": "m.room.encryption", "state_key": "", "content": algorithm }] });
    let already = internet.create_room_with(&encrypted).await;
    let plain = lgwan.create_room(Preset::PrivateChat).await;
    let state = format!("/rooms/{plain}/state/m.room.encryption");
    let delayed = format!("{state}?org.matrix.msc4140.delay=1000");
    let upgrade = format!("/rooms/{already}/upgrade");
    let version = json!({ "new_version": "11" });
    for (method, path, body) in [
        (Method::POST, "/createRoom", &encrypted),
        (Method::PUT, &state, &algorithm),
        (Method::PUT, &delayed, &algorithm),
        (Method::POST, &upgrade, &version),
    ] {
        let refusal = lgwan.try_call(method, path, Some(body)).await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), &*refusal.code), (403, "M_FORBIDDEN"), "{path}");
        assert_eq!(refusal.answer["jp.yakuba.reason"], "encryption");
    }
    // What is not encrypted goes on there, and what was refused is nothing elsewhere.
    lgwan
        .call(Method::PUT, &format!("/rooms/{plain}/state/m.room.topic"), Some(&json!({ "topic": "a" })))
        .await;
    internet.call(Method::PUT, &state, Some(&algorithm)).await;
    internet.call(Method::POST, &upgrade, Some(&version)).await;

    let told = |user: User| async move { said(&get(&user, "/.well-known/matrix/client").await) };
    let in_zone = told(lgwan).await;
    assert_eq!(in_zone["io.element.e2ee"], json!({ "default": false, "force_disable": true }));
    assert_eq!(in_zone["m.homeserver"]["base_url"], "http://kanazawa.test");
    assert_eq!(told(internet).await["io.element.e2ee"], Value::Null);
}

/// A file that the walk asks for.
#[derive(Clone)]
struct Asked {
    id: String,
    sample: Arc<Sample>,
    tag: String,
}

/// Everybody who walks, and what they walk over.
struct Walk {
    world: World,
    lgwan: SocketAddr,
    outside: SocketAddr,
    paths: Vec<String>,
    files: Mutex<Vec<Asked>>,
    /// What a plain download in the zone gave.
    made: Mutex<BTreeMap<String, Option<Bytes>>>,
    given: AtomicUsize,
    refused: AtomicUsize,
}

impl Walk {
    async fn new() -> Arc<Self> {
        let world = World::new().await;
        let (lgwan, outside) =
            (world.kanazawa.listen_in(Some("lgwan")).await, world.kanazawa.listen_in(None).await);
        let endpoints = world.kanazawa.look(|house| house.routes(&[Serves::Client]).endpoints());
        let of_media = |path: &String| path.contains("/media/") && path.contains("{media_id}");
        let reads = endpoints.into_iter().filter(|(method, _)| *method == Method::GET);
        let paths: Vec<String> = reads.map(|(_, path)| path).filter(of_media).collect();
        assert_eq!(paths.len(), 6, "{paths:?}");
        // By their newest names; here are the older ones.
        let older = [
            ("/_matrix/media/v3/", "/_matrix/media/r0/"),
            ("/_matrix/media/v3/", "/_matrix/media/v1/"),
            ("/client/v1/media/", "/client/unstable/org.matrix.msc3916/media/"),
            ("/client/v1/media/", "/client/unstable/org.matrix.msc3916.v2/media/"),
        ];
        let of_before = paths.iter().flat_map(|path| older.map(|(new, old)| path.replace(new, old)));
        let paths: std::collections::BTreeSet<String> = of_before.chain(paths.clone()).collect();
        let walk = Self {
            world,
            lgwan,
            outside,
            paths: paths.into_iter().collect(),
            files: Mutex::default(),
            made: Mutex::default(),
            given: AtomicUsize::default(),
            refused: AtomicUsize::default(),
        };
        let wajima = walk.world.net.server("wajima.test").await;
        let taro = wajima.user("taro").await;
        for (number, user) in [(100, &walk.world.hanako), (101, &taro), (102, &walk.world.hanako)] {
            for sample in samples::all(number) {
                walk.add(user, sample).await;
            }
        }
        Arc::new(walk)
    }

    async fn add(&self, user: &User, sample: Sample) {
        let id = upload(user, &sample).await;
        let plain = get(user, &format!("/_matrix/client/v1/media/download/{id}")).await;
        assert_eq!(plain.body(), &sample.bytes);
        let tag = header(&plain, "etag").to_owned();
        self.files.lock().push(Asked { id, sample: Arc::new(sample), tag });
    }

    /// An id first and its file later, by another's request in between.
    async fn add_late(&self, sample: Sample) {
        let hanako = &self.world.hanako;
        let made = hanako.ask_bytes(Method::POST, "/_matrix/media/v1/create", &[], Bytes::new()).await;
        let id = said(&made)["content_uri"].as_str().unwrap().strip_prefix("mxc://").unwrap().to_owned();
        let path = format!("/_matrix/client/v1/media/download/{id}");
        let early = self.ask(self.lgwan, Method::GET, &path, &[]);
        let put = async {
            let path = format!("/_matrix/media/v3/upload/{id}");
            let kind = [("content-type", sample.kind)];
            hanako.ask_bytes(Method::PUT, &path, &kind, sample.bytes.clone().into()).await
        };
        let (early, put) = tokio::join!(early, put);
        assert_eq!(put.status(), 200);
        let file = Asked { id, sample: Arc::new(sample), tag: "none".to_owned() };
        self.check(&path, &early, &file).await;
        self.files.lock().push(file);
    }

    async fn ask(
        &self,
        door: SocketAddr,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
    ) -> Response<Bytes> {
        let mut request = Request::builder().method(method).uri(format!("http://{door}{path}"));
        request = request.header("authorization", format!("Bearer {}", self.world.hanako.token()));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = self.world.client.request(request.body(Full::default()).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    /// What a plain request for a file gives in the zone; nothing where it is refused.
    async fn made_of(&self, file: &Asked) -> Option<Bytes> {
        if let Some(made) = self.made.lock().get(&file.id) {
            return made.clone();
        }
        let path = format!("/_matrix/client/v1/media/download/{}", file.id);
        let answer = self.ask(self.lgwan, Method::GET, &path, &[]).await;
        let made = (answer.status() == 200).then(|| answer.body().clone());
        match (&made, file.sample.fate) {
            (None, Fate::Refused) => {}
            (Some(made), Fate::Clean) => assert_eq!(made, &file.sample.bytes),
            (Some(made), Fate::Rebuilt) => assert!(!harms(made) && *made != file.sample.bytes),
            (made, fate) => panic!("{} {fate:?} {:?} {:?}", file.sample.name, made.is_some(), said(&answer)),
        }
        self.made.lock().insert(file.id.clone(), made.clone());
        made
    }

    /// Sees that nothing left but of what was made.
    async fn check(&self, path: &str, answer: &Response<Bytes>, file: &Asked) {
        let (status, body) = (answer.status(), answer.body());
        let about = || format!("{path} {} {status} {:?}", file.sample.name, answer.headers());
        assert!(!harms(body) || file.sample.fate == Fate::Clean, "{}", about());
        if !status.is_success() {
            assert!(!status.is_redirection() || status == 304, "{}", about());
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let made = self.made_of(file).await.unwrap_or_else(|| panic!("refused, and given: {}", about()));
        self.given.fetch_add(1, Ordering::Relaxed);
        if path.contains("/thumbnail/") {
            // A part of one is no picture.
            if status == 200 && !body.is_empty() {
                image::load_from_memory(body).unwrap();
            }
            return;
        }
        let part = match header(answer, "content-range") {
            "" => 0..made.len(),
            told => {
                let (part, size) = told.strip_prefix("bytes ").unwrap().split_once('/').unwrap();
                assert_eq!(size.parse::<usize>().unwrap(), made.len(), "{}", about());
                let (first, last) = part.split_once('-').unwrap();
                first.parse().unwrap()..last.parse::<usize>().unwrap() + 1
            }
        };
        assert!(body.is_empty() || body[..] == made[part], "{}", about());
    }

    /// One request as chance makes it.
    async fn step(&self, chance: &Random) {
        let one_of = |count: usize| usize::try_from(chance.range(0..u64::try_from(count).unwrap())).unwrap();
        if one_of(25) == 0 {
            let sample = samples::all(1_000 + chance.u64() % 1_000_000).swap_remove(one_of(10));
            return match one_of(2) {
                0 => self.add(&self.world.hanako, sample).await,
                _ => self.add_late(sample).await,
            };
        }
        let file = {
            let files = self.files.lock();
            files[one_of(files.len())].clone()
        };
        let (server, media) = file.id.split_once('/').unwrap();
        let names = ["a.csv", "x.exe", "%E8%A1%A8.docm", "..%2F..%2Fa", "index.html"];
        let path = self.paths[one_of(self.paths.len())].replace("{server_name}", server);
        let path = path.replace("{media_id}", media).replace("{filename}", names[one_of(names.len())]);
        let sizes = ["1", "32", "96", "640", "4000"];
        let methods = ["crop", "scale"];
        let mut query = match path.contains("/thumbnail/") {
            true => format!(
                "width={}&height={}&method={}&animated={}",
                sizes[one_of(5)],
                sizes[one_of(5)],
                methods[one_of(2)],
                one_of(2) == 0
            ),
            false => "x=1".to_owned(),
        };
        for more in [
            "&allow_remote=true",
            "&allow_remote=false",
            "&allow_redirect=true",
            "&timeout_ms=1",
            "&zone=internet",
        ] {
            if one_of(4) == 0 {
                query.push_str(more);
            }
        }
        let path = format!("{path}?{query}");
        let (first, last) = (one_of(400), one_of(60_000));
        let headers = [
            ("range", format!("bytes={first}-{last}")),
            ("range", format!("bytes=-{last}")),
            ("range", format!("bytes={first}-")),
            ("range", "bytes=0-1,5-9".to_owned()),
            ("if-range", file.tag.clone()),
            ("if-none-match", file.tag.clone()),
            ("if-none-match", "*".to_owned()),
            ("host", "internet.kanazawa.test".to_owned()),
            ("x-forwarded-for", "192.0.2.1".to_owned()),
            ("forwarded", "for=192.0.2.1;host=internet".to_owned()),
            ("x-forwarded-host", "internet".to_owned()),
            ("x-yakuba-zone", "internet".to_owned()),
            ("zone", "internet".to_owned()),
            ("accept", "image/svg+xml, */*".to_owned()),
        ];
        let mut sent: Vec<(&str, String)> = Vec::new();
        for (name, value) in headers {
            if one_of(6) == 0 && !sent.iter().any(|(before, _)| *before == name) {
                sent.push((name, value));
            }
        }
        if one_of(10) == 0 {
            // What is given where no zone is is at hand then, and in no way given here.
            self.ask(self.outside, Method::GET, &path, &sent).await;
        }
        let method = if one_of(20) == 0 { Method::HEAD } else { Method::GET };
        let answer = self.ask(self.lgwan, method, &path, &sent).await;
        self.check(&path, &answer, &file).await;
    }
}

async fn walk(steps: usize) {
    const WALKERS: usize = 8;
    let mut walk = Walk::new().await;
    // Every path is one: without a zone it gives the original. Of the older ones some were never served.
    let plain = walk.files.lock()[0].clone();
    let (server, media) = plain.id.split_once('/').unwrap();
    let mut served = Vec::new();
    for name in &walk.paths {
        let path =
            name.replace("{server_name}", server).replace("{media_id}", media).replace("{filename}", "a");
        let answer = walk.ask(walk.outside, Method::GET, &format!("{path}?width=32&height=32"), &[]).await;
        if said(&answer)["errcode"] == "M_UNRECOGNIZED" {
            continue;
        }
        assert_eq!(answer.status(), 200, "{path}");
        assert!(path.contains("/thumbnail/") || answer.body() == &plain.sample.bytes, "{path}");
        served.push(name.clone());
    }
    assert!(served.len() >= 9, "{served:?}");
    Arc::get_mut(&mut walk).unwrap().paths = served;
    let walkers = (0..WALKERS).map(|walker| {
        let walk = walk.clone();
        tokio::spawn(async move {
            let chance = Random::seeded(u64::try_from(walker).unwrap());
            for _ in 0..steps / WALKERS {
                walk.step(&chance).await;
            }
        })
    });
    for walker in walkers.collect::<Vec<_>>() {
        walker.await.unwrap();
    }
    let (given, refused) = (walk.given.load(Ordering::Relaxed), walk.refused.load(Ordering::Relaxed));
    println!("{} paths, {given} answers with a file, {refused} without", walk.paths.len());
    assert!(given > steps / 10 && refused > steps / 10, "{given} {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_in_a_zone_that_demands_sanitised_files_yields_another() {
    walk(400).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten thousand requests"]
async fn no_request_of_ten_thousand_yields_an_original() {
    walk(10_000).await;
}
