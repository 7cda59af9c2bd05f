//! Where backups may be kept.

use std::{fs::create_dir_all, os::unix::fs::symlink, path::Path, time::Duration};

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;
use web::Body;

use crate::{
    commands::init::write_key,
    config::{Config, Serves},
    house::{Foundation, House},
    storage::{Data, apart},
};

#[test]
fn a_backup_is_kept_neither_in_the_data_nor_around_them() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let data = root.join("data");
    create_dir_all(&data).unwrap();
    symlink(&data, root.join("link")).unwrap();
    for wrong in ["data", "data/backup", "data/new/backup", "link", "link/new", "", "new/../data"] {
        let refused = apart(&data, &root.join(wrong)).unwrap_err().to_string();
        assert!(refused.contains("kept apart"), "{wrong}: {refused}");
    }
    for good in ["backup", "new/backup", "data-backup", "data/../backup"] {
        apart(&data, &root.join(good)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_server_too_keeps_backups_apart_from_its_data() {
    let directory = tempfile::tempdir().unwrap();
    write_key(&directory.path().join("key"), ruma::server_name!("kanazawa.test")).unwrap();
    let text = r#"
        [[authorities]]
        name = "kanazawa.test"
        key_file = "key"
        [[listeners]]
        address = "127.0.0.1:0"
        serves = ["admin"]
    "#;
    let config = Config::parse(text, [], directory.path()).unwrap();
    let house = House::open(&config, Foundation::of(&config, Data::MayBegin).await.unwrap()).await.unwrap();
    let (router, token) = (house.router(&[Serves::Admin]).unwrap(), house.admin_token().to_owned());
    let back_up = async |to: &Path| {
        let request = Request::post("/_yakuba/v1/backup")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::from(json!({ "to": to }).to_string()))
            .unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    };
    let inside = directory.path().join("data/backup");
    let (status, said) = back_up(&inside).await;
    assert!(status == StatusCode::BAD_REQUEST && said.contains("kept apart"), "{status}: {said}");
    assert!(!inside.exists());
    assert_eq!(back_up(&directory.path().join("backup")).await.0, StatusCode::OK);
    house.close(Duration::from_secs(10)).await;
}
