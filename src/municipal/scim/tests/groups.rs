//! Groups and who is in them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use store::{Backend, Batch, Interposed, MemoryBackend, MemoryDisk, Order, RawRange, RawRow, RowKey};

use super::town::{Town, kanazawa, source};
use crate::tables::MEMBERS;

/// A store in memory that counts the rows that are asked for and found.
struct Counting {
    inner: MemoryBackend,
    rows: Arc<AtomicUsize>,
}

#[async_trait]
impl Interposed for Counting {
    fn behind(&self) -> &dyn Backend {
        &self.inner
    }

    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, store::Error> {
        self.rows.fetch_add(keys.len(), Ordering::Relaxed);
        self.inner.get(keys).await
    }

    async fn scan(
        &self,
        ranges: &[RawRange],
        order: Order,
        limit: usize,
    ) -> Result<Vec<Vec<RawRow>>, store::Error> {
        let found = self.inner.scan(ranges, order, limit).await?;
        self.rows.fetch_add(ranges.len() + found.iter().map(Vec::len).sum::<usize>(), Ordering::Relaxed);
        Ok(found)
    }
}

fn members(body: &Value) -> Vec<String> {
    let all = body["members"].as_array().cloned().unwrap_or_default();
    all.iter().map(|member| member["value"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_group_holds_users_and_users_tell_their_groups() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let body = json!({ "displayName": "防災", "externalId": "g1", "members": [{ "value": hanako }, { "value": hanako }] });
    let made = town.post("/Groups", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let (group, path) = (made.id(), format!("/Groups/{}", made.id()));
    let base = "https://matrix.kanazawa.test/_yakuba/scim/v2";
    let member = json!({ "value": hanako, "$ref": format!("{base}/Users/{hanako}"), "type": "User" });
    assert_eq!(made.body["members"], json!([member]));
    let of_hanako = town.get(&format!("/Users/{hanako}")).await.body;
    let told = json!({ "value": group, "$ref": format!("{base}/Groups/{group}"), "display": "防災", "type": "direct" });
    assert_eq!(of_hanako["groups"], json!([told]));

    let add = json!([{ "op": "Add", "path": "members", "value": [{ "value": taro }] }]);
    let added = town.patch(&path, add.clone()).await;
    assert_eq!(members(&added.body).len(), 2);
    assert_ne!(added.version(), made.version());
    assert_eq!(town.patch(&path, add).await.version(), added.version());
    let without = town.get(&format!("{path}?excludedAttributes=members")).await.body;
    assert!(without.get("members").is_none());

    // As Entra ID asks whether somebody is in a group.
    let asks = |id: &str| {
        format!(
            "/Groups?excludedAttributes=members&filter=id%20eq%20%22{group}%22%20and%20members%20eq%20%22{id}%22"
        )
    };
    assert_eq!(town.get(&asks(&taro)).await.body["totalResults"], 1);
    assert_eq!(town.get(&asks("nobody")).await.body["totalResults"], 0);
    let by_group = format!("/Users?filter=groups.value%20eq%20%22{group}%22");
    assert_eq!(town.get(&by_group).await.body["totalResults"], 2);
    town.get("/Groups?filter=members%20pr").await.is_error(400, "tooMany");
    town.get("/Users?filter=not%20(groups%20pr)").await.is_error(400, "tooMany");

    // A value that names one takes away that one, and what names nobody takes away nobody.
    let remove = |value: Value| json!([{ "op": "Remove", "path": "members", "value": value }]);
    for odd in [json!(1), json!(true), json!("")] {
        town.patch(&path, remove(odd)).await.is_error(400, "invalidValue");
    }
    town.patch(&path, remove(json!("nobody"))).await;
    assert_eq!(members(&town.get(&path).await.body).len(), 2);
    assert_eq!(members(&town.patch(&path, remove(json!(taro))).await.body), [hanako.as_str()]);
    let back = json!([{ "op": "add", "path": "members", "value": [{ "value": taro }] }]);
    assert_eq!(members(&town.patch(&path, back).await.body).len(), 2);

    // Whoever is removed is in no group, and the group is another one.
    let before = town.get(&path).await.version();
    town.delete(&format!("/Users/{taro}")).await;
    let after = town.get(&path).await;
    assert_eq!(members(&after.body), [hanako.as_str()]);
    assert_ne!(after.version(), before);

    let unknown = json!([{ "op": "add", "path": "members", "value": [{ "value": taro }] }]);
    town.patch(&path, unknown).await.is_error(400, "invalidValue");
    let put = town.put(&path, json!({ "displayName": "防災班" })).await;
    assert_eq!((members(&put.body).len(), put.body.get("externalId")), (0, None));
    assert!(town.get(&format!("/Users/{hanako}")).await.body.get("groups").is_none());
    assert_eq!(town.delete(&path).await.status, 204);
    town.get(&path).await.is_error(404, "");
    assert_eq!(town.get(&format!("/Users/{hanako}")).await.status, 200);
    town.post("/Groups", json!({ "members": [] })).await.is_error(400, "invalidValue");
}

#[tokio::test]
async fn who_is_removed_while_he_is_put_into_a_group_is_in_none() {
    let town = Town::new().await;
    let group = town.post("/Groups", json!({ "displayName": "g" })).await.id();
    for turn in 0..10 {
        let user = town.user(&format!("u{turn}")).await;
        let path = format!("/Groups/{group}");
        let add = json!([{ "op": "add", "path": "members", "value": [{ "value": user }] }]);
        let user_path = format!("/Users/{user}");
        let (added, removed) = tokio::join!(town.patch(&path, add), town.delete(&user_path));
        assert_eq!(removed.status, 204, "{removed:?}");
        assert!(matches!(added.status.as_u16(), 200 | 400), "{added:?}");
        assert_eq!(members(&town.get(&path).await.body), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_group_of_a_whole_prefecture_is_written_and_changed() {
    let town = Town::new().await;
    let mut users = Vec::new();
    for number in 0..300 {
        users.push(json!({ "value": town.user(&format!("u{number}")).await }));
    }
    let made = town.post("/Groups", json!({ "displayName": "全職員", "members": users })).await;
    assert_eq!(members(&made.body).len(), 300);
    let path = format!("/Groups/{}", made.id());
    let one = users[7]["value"].as_str().unwrap();
    let left =
        town.patch(&path, json!([{ "op": "Remove", "path": format!("members[value eq \"{one}\"]") }])).await;
    assert_eq!(members(&left.body).len(), 299);
}

/// S5 and S6. Groups decide nothing, so that nobody is in any other room by what is pushed; nor does an empty one need a guard.
#[tokio::test]
async fn an_empty_group_is_pushed_and_a_member_without_a_type_is_a_user() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let group = town.post("/Groups", json!({ "displayName": "防災", "members": [{ "value": taro }] })).await;
    let path = format!("/Groups/{}", group.id());
    let value = json!([{ "value": hanako, "display": "B" }]);
    let added = town.patch(&path, json!([{ "op": "Add", "path": "members", "value": value }])).await;
    assert_eq!(added.status, 200);
    let told = added.body["members"].as_array().unwrap().iter().find(|member| member["value"] == hanako);
    assert_eq!(told.unwrap()["type"], "User");
    let of_hanako = town.get(&format!("/Users/{hanako}")).await.body;
    assert_eq!(of_hanako["groups"][0]["value"], group.body["id"]);

    let emptied = town.patch(&path, json!([{ "op": "replace", "path": "members", "value": [] }])).await;
    assert_eq!((emptied.status.as_u16(), members(&emptied.body).len()), (200, 0), "{emptied:?}");
    assert_eq!(members(&town.get(&path).await.body).len(), 0);
    for user in [hanako, taro] {
        let there = town.get(&format!("/Users/{user}")).await.body;
        assert_eq!((&there["active"], there.get("groups")), (&json!(true), None));
    }
}

/// S15.
#[tokio::test]
async fn a_group_of_twelve_thousand_is_told_without_its_members_and_these_are_not_read() {
    let rows = Arc::new(AtomicUsize::default());
    let inner = MemoryBackend::open(&MemoryDisk::default());
    let town = Town::over(Arc::new(Counting { inner, rows: rows.clone() }), vec![source("entra")]).await;
    let scope = format!("{}/entra", kanazawa());
    let mut paths = Vec::new();
    for (name, count) in [("班", 3), ("全職員", 12_000)] {
        let group = town.post("/Groups", json!({ "displayName": name })).await.id();
        let mut batch = Batch::new();
        for number in 0..count {
            batch.put(&MEMBERS, &(scope.as_str(), group.as_str(), format!("{number:05}").as_str()), &());
        }
        town.store.commit(batch).await.unwrap();
        paths.push((format!("/Groups/{group}"), count));
    }
    let mut read_for = Vec::new();
    for (path, count) in &paths {
        assert_eq!(members(&town.get(path).await.body).len(), *count);
        let before = rows.load(Ordering::Relaxed);
        let without = town.get(&format!("{path}?excludedAttributes=members")).await.body;
        read_for.push(rows.load(Ordering::Relaxed) - before);
        assert_eq!((without.get("members"), &without["id"]), (None, &json!(path.rsplit('/').next())));
    }
    assert_eq!(read_for[0], read_for[1]);
    assert!(read_for[1] < 10, "{read_for:?}");

    // A list tells of them, unless they are left out, and then it reads none.
    let list = town.get("/Groups").await.body;
    let mut counts: Vec<usize> =
        list["Resources"].as_array().unwrap().iter().map(|of| members(of).len()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [3, 12_000]);
    let before = rows.load(Ordering::Relaxed);
    let list = town.get("/Groups?excludedAttributes=members").await.body;
    assert!(list["Resources"].as_array().unwrap().iter().all(|of| of.get("members").is_none()));
    assert!(rows.load(Ordering::Relaxed) - before < 10);
}
