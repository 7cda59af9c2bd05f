//! In which form people of a class are given files, with whole servers and the worker's real process.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use intake::Class;
use serde_json::Value;
use server::config::{ClassConfig, ClassFiles, FilesSetting, ZoneConfig};
use testkit::{Net, User, Zones};

use crate::classes::take;

/// A table with a cell that Excel would compute.
const TABLE: &str = "氏名,式\r\n花子,=1+1\r\n";

fn net() -> Net {
    let zone = |files| ZoneConfig { files, ..ZoneConfig::default() };
    let zones = [("lgwan", zone(FilesSetting::Sanitised)), ("internet", zone(FilesSetting::Originals))];
    let net = Net::with_zones(Zones {
        of: zones.map(|(name, zone)| (name.to_owned(), zone)).into_iter().collect::<BTreeMap<_, _>>(),
        worker: env!("CARGO_BIN_EXE_testkit-sanitise-worker").into(),
        // It looks for orders there, and there are none.
        arguments: vec![env!("CARGO_MANIFEST_DIR").to_owned()],
    });
    let of = |files| ClassConfig { files, ..ClassConfig::default() };
    net.say_of_class(Class::FiscalYear, of(ClassFiles::Sanitised));
    net.say_of_class(Class::CorpsMember, of(ClassFiles::None));
    net
}

async fn upload(user: &User, name: &str, kind: &str, bytes: &str) -> String {
    let path = format!("/_matrix/media/v3/upload?filename={name}");
    let body = Bytes::from(bytes.to_owned());
    let answer = user.ask_bytes(Method::POST, &path, &[("content-type", kind)], body).await;
    let json: Value = serde_json::from_slice(answer.body()).unwrap();
    json["content_uri"].as_str().unwrap().strip_prefix("mxc://").unwrap().to_owned()
}

async fn download(user: &User, id: &str) -> Response<Bytes> {
    let path = format!("/_matrix/client/v1/media/download/{id}");
    user.ask_bytes(Method::GET, &path, &[], Bytes::new()).await
}

fn said(answer: &Response<Bytes>) -> String {
    String::from_utf8_lossy(answer.body()).into_owned()
}

fn is_original(answer: &Response<Bytes>) -> bool {
    answer.status() == StatusCode::OK && *answer.body() == TABLE
}

fn is_made_anew(answer: &Response<Bytes>) -> bool {
    let made = answer.headers().get("x-yakuba-sanitised").map_or("", |value| value.to_str().unwrap());
    answer.status() == StatusCode::OK && made.starts_with("rebuilt") && *answer.body() != TABLE
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_is_given_files_as_narrow_as_its_own_form_and_never_wider_than_the_zone_s() {
    let net = net();
    let server = net.server("kanazawa.test").await;
    let (lgwan, internet) = (server.listen_in(Some("lgwan")).await, server.listen_in(Some("internet")).await);
    let (hanako, taro, jiro) =
        (server.user("hanako").await, server.user("taro").await, server.user("jiro").await);
    let table = upload(&hanako, "a.csv", "text/csv", TABLE).await;
    let program = upload(&hanako, "a.exe", "application/octet-stream", "MZ").await;
    // Nobody is of a class yet.
    for user in [&hanako, &taro, &jiro] {
        assert!(is_original(&download(user, &table).await));
    }
    let people = [("hanako", "正規職員"), ("taro", "会計年度任用職員"), ("jiro", "消防団員")];
    take(&server, &people, "2026-04-01").await;

    // Where a zone gives originals, and where there is none.
    for (regular, sanitised, nothing) in [
        (hanako.through(internet), taro.through(internet), jiro.through(internet)),
        (hanako.clone(), taro.clone(), jiro.clone()),
    ] {
        assert!(is_original(&download(&regular, &table).await));
        let shown = download(&sanitised, &table).await;
        assert!(is_made_anew(&shown), "{shown:?}");
        let shown = download(&sanitised, &program).await;
        assert!(shown.status() == StatusCode::FORBIDDEN && said(&shown).contains("program"), "{shown:?}");
        for id in [&table, &program] {
            let shown = download(&nothing, id).await;
            assert_eq!(shown.status(), StatusCode::FORBIDDEN);
            assert!(said(&shown).contains("任用区分「"), "{}", said(&shown));
        }
    }
    // And where it gives sanitised ones alone.
    for user in [&hanako, &taro] {
        assert!(is_made_anew(&download(&user.through(lgwan), &table).await));
    }
    assert_eq!(download(&jiro.through(lgwan), &table).await.status(), StatusCode::FORBIDDEN);
    // Also in small: no byte of a picture of his.
    let path = format!("/_matrix/client/v1/media/thumbnail/{table}?width=32&height=32");
    let small = jiro.ask_bytes(Method::GET, &path, &[], Bytes::new()).await;
    assert_eq!(small.status(), StatusCode::FORBIDDEN);
}
