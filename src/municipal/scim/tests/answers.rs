//! Answers: who gets one, lists and their pages, versions, what is told of the protocol.

use http::Method;
use serde_json::{Value, json};

use super::town::Town;

#[tokio::test]
async fn a_token_opens_what_is_its_sources_and_nothing_else() {
    let town = Town::new().await;
    let id = town.user("hanako").await;
    let path = format!("/Users/{id}");
    let get = (Method::GET, path.as_str());
    for token in ["", "wrong", "token of keycloak", "token of entra ", "TOKEN OF ENTRA"] {
        let refused = town.ask_with(("kanazawa.test", token), get.clone(), &[], "").await;
        if token == "token of entra " {
            // Spaces around it are no part of it.
            assert_eq!(refused.status, 200);
            continue;
        }
        refused.is_error(401, "");
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
    }
    // Another authority of this process, another source of the same, one that has none.
    town.ask_with(("wajima.test", "token of entra"), get.clone(), &[], "").await.is_error(401, "");
    town.ask_with(("wajima.test", "token of keycloak"), get.clone(), &[], "").await.is_error(404, "");
    town.ask_with(("ishikawa.test", "token of entra"), get.clone(), &[], "").await.is_error(404, "");
    let okta = ("kanazawa.test", "token of okta");
    town.ask_with(okta, get.clone(), &[], "").await.is_error(404, "");
    town.ask_with(okta, (Method::DELETE, &path), &[], "").await.is_error(404, "");
    let all = town.ask_with(okta, (Method::GET, "/Users"), &[], "").await;
    assert_eq!(all.body["totalResults"], 0);
    let member = json!({ "displayName": "g", "members": [{ "value": id }] }).to_string();
    town.ask_with(okta, (Method::POST, "/Groups"), &[], &member).await.is_error(400, "invalidValue");
}

#[tokio::test]
async fn lists_have_pages_filters_and_bounds() {
    let town = Town::new().await;
    for number in 0..7 {
        town.clock.advance(std::time::Duration::from_millis(1));
        let title = if number % 2 == 0 { "主査" } else { "主事" };
        town.post(
            "/Users",
            json!({ "userName": format!("u{number}"), "externalId": format!("E{number}"), "title": title }),
        )
        .await
        .id();
    }
    let names = |body: &Value| {
        let all = body["Resources"].as_array().unwrap();
        all.iter().map(|user| user["userName"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let table = [
        ("", "u0 u1 u2 u3 u4 u5 u6", 7),
        ("?startIndex=3&count=2", "u2 u3", 7),
        ("?startIndex=0&count=-1", "", 7),
        ("?startIndex=8", "", 7),
        ("?count=1000", "u0 u1 u2 u3 u4 u5 u6", 7),
        ("?filter=title%20eq%20%22%E4%B8%BB%E6%9F%BB%22&startIndex=2&count=2", "u2 u4", 4),
        ("?filter=userName%20eq%20%22U5%22", "u5", 1),
        ("?filter=externalId%20eq%20%22E5%22%20and%20title%20pr", "u5", 1),
        ("?filter=externalId%20eq%20%22e5%22", "", 0),
        ("?filter=userName%20eq%20%22u5%22%20or%20userName%20eq%20%22u6%22", "u5 u6", 2),
        ("?filter=userName%20eq%20%22u5%22%20and%20userName%20eq%20%22u6%22", "", 0),
        ("?filter=meta.created%20gt%20%222020-01-01T00:00:00Z%22&count=1", "u0", 7),
        ("?filter=userName+sw+%22u%22&attributes=userName&count=1", "u0", 7),
    ];
    for (query, found, total) in table {
        let list = town.get(&format!("/Users{query}")).await;
        assert_eq!(list.status, 200, "{query} {list:?}");
        assert_eq!(
            (names(&list.body).as_str(), &list.body["totalResults"]),
            (found, &json!(total)),
            "{query}"
        );
        assert_eq!(list.body["itemsPerPage"], found.split(' ').filter(|name| !name.is_empty()).count());
    }
    let search =
        json!({ "filter": "userName eq \"u3\"", "attributes": ["title"], "startIndex": 1, "count": 5 });
    let found = town.post("/Users/.search", search).await;
    let user = found.body["Resources"][0].as_object().unwrap();
    assert_eq!(user.keys().cloned().collect::<Vec<_>>(), ["id", "schemas", "title"]);
    town.post("/Users/.search", json!({ "count": "x" })).await.is_error(400, "invalidSyntax");
    for query in ["?filter=userName", "?filter=%22"] {
        town.get(&format!("/Users{query}")).await.is_error(400, "invalidFilter");
    }
    for query in ["?startIndex=x", "?count=1&count=2", "?attributes=a&excludedAttributes=b"] {
        town.get(&format!("/Users{query}")).await.is_error(400, "invalidValue");
    }
}

/// S14.
#[tokio::test]
async fn pages_of_three_hold_each_of_eight_once() {
    let town = Town::new().await;
    for number in 0..8 {
        town.clock.advance(std::time::Duration::from_millis(1));
        town.user(&format!("u{number}")).await;
    }
    let mut seen = Vec::new();
    for (start, count) in [(1, 3), (4, 3), (7, 2), (10, 0)] {
        let list = town.get(&format!("/Users?startIndex={start}&count=3")).await.body;
        assert_eq!((&list["totalResults"], &list["itemsPerPage"]), (&json!(8), &json!(count)), "{start}");
        assert_eq!(list["startIndex"], start);
        let page = list["Resources"].as_array().unwrap();
        assert_eq!(page.len(), count);
        seen.extend(page.iter().map(|user| user["userName"].as_str().unwrap().to_owned()));
    }
    assert_eq!(seen, (0..8).map(|number| format!("u{number}")).collect::<Vec<_>>());
}

/// S12 over HTTP.
#[tokio::test]
async fn a_filter_in_capitals_finds_whom_it_means() {
    let town = Town::new().await;
    let made = town.post("/Users", json!({ "userName": "yamada@city.example" })).await;
    assert_eq!(made.status, 201);
    let query = "/Users?filter=USERNAME%20EQ%20%22Yamada@City.example%22%20AND%20ACTIVE%20EQ%20TRUE";
    let found = town.get(query).await.body;
    assert_eq!((&found["totalResults"], &found["Resources"][0]["id"]), (&json!(1), &made.body["id"]));
    assert_eq!(town.get(&query.replace("TRUE", "FALSE")).await.body["totalResults"], 0);
}

/// S16 and S17, of users and of groups: whoever changes what he has just read changes it, and of two who do so at once one.
#[tokio::test]
async fn who_changes_what_he_has_just_read_changes_it_and_of_two_at_once_one_does() {
    let town = Town::new().await;
    let entra = ("kanazawa.test", "token of entra");
    let user = town.post("/Users", json!({ "userName": "hanako", "title": "零" })).await;
    let group = town.post("/Groups", json!({ "displayName": "零" })).await;
    let changed = |path: String, version: String, attribute: &'static str, value: String| {
        let town = &town;
        async move {
            let operations = json!([{ "op": "replace", "path": attribute, "value": value }]);
            let body = json!({ "Operations": operations }).to_string();
            town.ask_with(entra, (Method::PATCH, &path), &[("if-match", &version)], &body).await
        }
    };
    for (made, kind, attribute) in [(user, "Users", "title"), (group, "Groups", "displayName")] {
        let path = format!("/{kind}/{}", made.id());
        let first = changed(path.clone(), made.version(), attribute, "一".to_owned()).await;
        assert_eq!((first.status.as_u16(), &first.body[attribute]), (200, &json!("一")));
        assert_ne!(first.version(), made.version());
        changed(path.clone(), made.version(), attribute, "二".to_owned()).await.is_error(412, "");
        let mut version = first.version();
        for round in 0..10 {
            let change =
                |who: &str| changed(path.clone(), version.clone(), attribute, format!("{round}の{who}"));
            let (one, other) = tokio::join!(change("一"), change("二"));
            let mut answers = [one, other];
            answers.sort_by_key(|answer| answer.status);
            let [done, refused] = answers;
            assert_eq!((done.status.as_u16(), refused.status.as_u16()), (200, 412), "{kind} {round}");
            refused.is_error(412, "");
            let now = town.get(&path).await;
            assert_eq!((&now.body[attribute], now.version()), (&done.body[attribute], done.version()));
            version = now.version();
        }
    }
}

#[tokio::test]
async fn a_version_is_kept_to() {
    let town = Town::new().await;
    let made = town.post("/Users", json!({ "userName": "hanako" })).await;
    let path = format!("/Users/{}", made.id());
    let entra = ("kanazawa.test", "token of entra");
    let old = made.version();
    let with = |method: Method, header: &'static str, value: String, body: Value| {
        let (town, path) = (&town, &path);
        async move { town.ask_with(entra, (method, path), &[(header, &value)], &body.to_string()).await }
    };
    assert_eq!(with(Method::GET, "if-none-match", old.clone(), Value::Null).await.status, 304);
    let body = json!({ "userName": "hanako", "title": "主査" });
    let put = with(Method::PUT, "if-match", old.clone(), body.clone()).await;
    assert_eq!(put.status, 200);
    assert_ne!(put.version(), old);
    assert_eq!(with(Method::GET, "if-none-match", old.clone(), Value::Null).await.status, 200);
    with(Method::PUT, "if-match", old.clone(), body.clone()).await.is_error(412, "");
    // What is none is not as if nothing were asked.
    with(Method::PUT, "if-match", "版".to_owned(), body.clone()).await.is_error(412, "");
    let operations = json!({ "Operations": [{ "op": "remove", "path": "title" }] });
    with(Method::PATCH, "if-match", old.clone(), operations).await.is_error(412, "");
    with(Method::DELETE, "if-match", old.clone(), Value::Null).await.is_error(412, "");
    let either = format!("{old}, {}", put.version().trim_start_matches("W/"));
    assert_eq!(with(Method::PUT, "if-match", either, body).await.status, 200);
    assert_eq!(with(Method::DELETE, "if-match", "*".to_owned(), Value::Null).await.status, 204);
}

#[tokio::test]
async fn what_there_is_can_be_read_and_not_written() {
    let town = Town::new().await;
    let config = town.get("/ServiceProviderConfig").await.body;
    assert_eq!((&config["patch"]["supported"], &config["bulk"]["supported"]), (&json!(true), &json!(false)));
    for (list, count) in [("/Schemas", 3), ("/ResourceTypes", 2)] {
        let all = town.get(list).await.body;
        assert_eq!(all["totalResults"], count);
        for one in all["Resources"].as_array().unwrap() {
            let id = one["id"].as_str().unwrap();
            assert_eq!(&town.get(&format!("{list}/{id}")).await.body, one);
        }
        town.get(&format!("{list}/nothing")).await.is_error(404, "");
    }
    for path in ["/ServiceProviderConfig", "/Schemas", "/ResourceTypes", "/Users/x", "/Groups/x"] {
        town.post(path, json!({})).await.is_error(405, "");
    }
    for path in ["/nothing", "/Users/nothing", "/Groups/nothing", "/nothing/nothing"] {
        town.get(path).await.is_error(404, "");
    }
    for path in ["/Bulk", "/.search"] {
        town.post(path, json!({})).await.is_error(501, "");
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_in_the_protocols_form() {
    let town = Town::new().await;
    let entra = ("kanazawa.test", "token of entra");
    for body in ["", "{", "[]", "\"x\"", "\u{0}", "{\"userName\":\"\\ud800\"}"] {
        town.ask_with(entra, (Method::POST, "/Users"), &[], body).await.is_error(400, "invalidSyntax");
    }
    let deep = format!("{{\"userName\":\"a\",\"x\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
    town.ask_with(entra, (Method::POST, "/Users"), &[], &deep).await.is_error(400, "invalidSyntax");
    let large = format!("{{\"userName\":\"{}\"}}", "x".repeat(5 << 20));
    town.ask_with(entra, (Method::POST, "/Users"), &[], &large).await.is_error(413, "");
    // A stranger does not get that far.
    town.ask_with(("kanazawa.test", "wrong"), (Method::POST, "/Users"), &[], &large).await.is_error(401, "");
}
