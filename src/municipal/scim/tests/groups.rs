//! Groups and who is in them.

use serde_json::{Value, json};

use super::town::Town;

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
