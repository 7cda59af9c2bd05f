//! Every route, asked by an administrator with everything that is wrong: no answer is a fault of ours, and each refusal has
//! its errcode.

use http::Method;
use serde_json::Value;
use testkit::Net;

use crate::{administrator, escaped, open_room, routes};

const PARAMETERS: [&str; 13] = [
    "nonsense",
    "%ff%fe",
    "%00",
    "%2e%2e%2f",
    "!a:b:c:d",
    "@:",
    "%24",
    "%F0%9F%98%80",
    "-1",
    "@hanako:kanazawa.test",
    "@HANAKO:kanazawa.test",
    "%23none:kanazawa.test",
    "!none:kanazawa.test",
];

const QUERIES: [&str; 16] = [
    "from=-1",
    "from=99999999999999999999",
    "from=18446744073709551615&limit=18446744073709551615",
    "limit=-1",
    "limit=0",
    "limit=%00",
    "order_by=x&dir=x",
    "dir=b&from=s1_99999999999",
    "dir=b&limit=1000000&filter=%7B",
    "before_ts=-1",
    "before_ts=18446744073709551615&size_gt=18446744073709551615&keep_profiles=3",
    "from_ts=9&until_ts=1",
    "name=%00&user_id=%ff&search_term=%ff",
    "valid=x&username=%00",
    "type=%00",
    "a&&&=&%",
];

const BODIES: [&str; 20] = [
    "",
    "{",
    "[]",
    "3",
    "null",
    "\"text\"",
    "{}",
    "{\"a\":NaN}",
    "{\"admin\":3,\"suspend\":3,\"block\":3,\"erase\":3}",
    "{\"user_id\":3}",
    "{\"user_id\":\"@:\"}",
    "{\"devices\":{\"x\":null}}",
    "{\"devices\":[\"\\u0000\"]}",
    "{\"new_password\":\"\",\"password\":\"\"}",
    "{\"displayname\":[],\"avatar_url\":{}}",
    "{\"displayname\":\"\\u0000\\u202e\",\"display_name\":\"\\u0000\"}",
    "{\"threepids\":[{}],\"external_ids\":[{}]}",
    "{\"token\":\"\\u0000\",\"length\":-1}",
    "{\"uses_allowed\":4294967296,\"expiry_time\":18446744073709551615}",
    "{\"length\":99999999999999999999}",
];

#[tokio::test]
async fn nothing_wrong_is_a_fault_of_ours() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let hanako = server.user("hanako").await;
    let room = open_room(&hanako, "広場").await;
    let long = "a".repeat(6_000);
    let mut bodies: Vec<String> = BODIES.map(ToOwned::to_owned).to_vec();
    bodies.push("[".repeat(100_000));
    bodies.push(format!("{{\"displayname\":\"{}\",\"display_name\":\"{0}\"}}", "あ".repeat(70_000 / 3)));
    let mut asked = 0;
    let mut ask = async |method: &Method, path: &str, body: &str| {
        let (status, text) = admin.ask_text(method.clone(), path, Some(body)).await;
        let what = format!("{method} {path} {:?}: {status} {text}", body.get(..80).unwrap_or(body));
        assert!(!status.is_server_error(), "{what}");
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}"));
        let is_refusal = json["errcode"].as_str().is_some_and(|code| code.starts_with("M_"));
        assert!(status.is_success() || is_refusal, "{what}");
        asked += 1;
    };
    for (method, path) in routes(&server) {
        let right = path
            .replace("{user}", &escaped(hanako.id().as_str()))
            .replace("{room}", &escaped(room.as_str()))
            .replace("{server}", "kanazawa.test");
        let right = right.replace(['{', '}'], "");
        for query in QUERIES {
            ask(&method, &format!("{right}?{query}"), "{}").await;
        }
        if method != Method::GET {
            for body in &bodies {
                ask(&method, &right, body).await;
            }
        }
        if path.contains('{') {
            for wrong in PARAMETERS.into_iter().chain([long.as_str()]) {
                let mut wronged = String::new();
                let mut rest = path.as_str();
                while let Some((before, after)) = rest.split_once('{') {
                    wronged.extend([before, wrong]);
                    rest = after.split_once('}').unwrap().1;
                }
                ask(&method, &(wronged + rest), "{}").await;
            }
        }
    }
    assert!(asked > 2_000, "{asked}");
    // Whoever asked is still there, and so is whom nobody meant.
    crate::get(&admin, &format!("{}/server_version", crate::V1)).await;
}
