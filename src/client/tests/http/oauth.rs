//! Signing in by OAuth 2.0: clients, consent, codes, tokens.

use std::{collections::HashMap, time::Duration};

use base::Clock;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::{Url, form_urlencoded};
use web::Body;

use crate::town::{Answer, PASSWORD, Town, pass_on};

pub(crate) const TOKEN: &str = "/_yakuba/oauth2/token";
pub(crate) const REGISTER: &str = "/_yakuba/oauth2/register";
const METADATA: &str = "/_matrix/client/v1/auth_metadata";
const VERIFIER: &str = "abcdefghijklmnopqrstuvwxyz0123456789-._~ABC";
const REDIRECT: &str = "https://app.example.jp/callback";

/// A browser: what it was told to keep, and what it sees.
#[derive(Clone)]
pub(crate) struct Browser<'a> {
    town: &'a Town,
    pub(crate) cookies: HashMap<String, String>,
    /// The page that it shows.
    pub(crate) page: String,
    pub(crate) status: u16,
    /// Where the last answer led, once that was not followed.
    pub(crate) location: String,
    pub(crate) policy: String,
    /// Where it is, as the proxy passes it on.
    pub(crate) from: Option<&'static str>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(town: &'a Town) -> Browser<'a> {
        let (page, location, policy) = Default::default();
        Browser { town, cookies: HashMap::new(), page, status: 0, location, policy, from: None }
    }

    async fn go(&mut self, method: &str, path: &str, form: Option<&str>) {
        let path = path.strip_prefix("https://hs1").unwrap_or(path);
        let mut request = http::Request::builder().method(method).uri(path).header("host", "hs1");
        request = request.header("accept-language", "en");
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        if form.is_some() {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        let mut request = request.body(Body::from(form.unwrap_or_default().to_owned())).unwrap();
        pass_on(&mut request, self.from);
        let response = self.town.respond(request).await;
        self.status = response.status().as_u16();
        let text =
            |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        (self.location, self.policy) = (text("location"), text("content-security-policy"));
        for set in response.headers().get_all("set-cookie") {
            let (name, rest) = set.to_str().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), rest.split(';').next().unwrap().to_owned());
        }
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        self.page = String::from_utf8(bytes.to_vec()).unwrap();
    }

    /// Opens a page and follows our own redirects.
    pub(crate) async fn open(&mut self, path: &str) {
        self.go("GET", path, None).await;
        while self.location.starts_with('/') {
            let to = self.location.clone();
            self.go("GET", &to, None).await;
        }
    }

    /// Fills in the form with this action, as it stands in the page, and sends it.
    pub(crate) async fn send(&mut self, action: &str, fields: &[(&str, &str)]) {
        let form = self.page.split("<form").find(|form| form.contains(&format!("action=\"{action}")));
        let form = form.unwrap_or_else(|| panic!("no form {action}: {}", self.page)).to_owned();
        let to = unescaped(form.split("action=\"").nth(1).unwrap().split('"').next().unwrap());
        let mut sent = form_urlencoded::Serializer::new(String::new());
        for input in form.split("<input").skip(1).filter(|input| input.contains("type=\"hidden\"")) {
            let of = |name: &str| {
                let (_, rest) = input.split_once(&format!("{name}=\"")).unwrap();
                unescaped(rest.split('"').next().unwrap())
            };
            sent.append_pair(&of("name"), &of("value"));
        }
        sent.extend_pairs(fields);
        self.go("POST", &to, Some(&sent.finish())).await;
        while self.location.starts_with('/') {
            let to = self.location.clone();
            self.go("GET", &to, None).await;
        }
    }

    /// The same for the form that has a field or button of this value, where several have one action.
    pub(crate) async fn send_with(&mut self, value: &str, fields: &[(&str, &str)]) {
        let form = self.page.split("<form").find(|form| form.contains(&format!("value=\"{value}\"")));
        let form = form.unwrap_or_else(|| panic!("no form with {value}: {}", self.page)).to_owned();
        let (page, action) =
            (self.page.clone(), form.split("action=\"").nth(1).unwrap().split('"').next().unwrap());
        self.page = format!("<form{form}");
        self.send(action, fields).await;
        drop(page);
    }

    pub(crate) async fn sign_in(&mut self, name: &str, password: &str) {
        self.send("/_yakuba/sign-in", &[("name", name), ("password", password)]).await;
    }

    /// What the last redirect tells the client, in its query or fragment.
    pub(crate) fn told(&self) -> HashMap<String, String> {
        let url = Url::parse(&self.location).unwrap_or_else(|_| panic!("{} {}", self.status, self.page));
        let text = url.fragment().or(url.query()).unwrap_or_default();
        form_urlencoded::parse(text.as_bytes()).into_owned().collect()
    }
}

fn unescaped(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

impl Town {
    /// A form to an endpoint for clients.
    pub(crate) async fn send_form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = http::Request::builder().method("POST").uri(path).header("host", "hs1");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        self.answer(request.body(Body::from(form)).unwrap()).await
    }

    pub(crate) async fn client(&self, said: Value) -> String {
        let answer = self.ask("POST", REGISTER, said).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.body["client_id"].as_str().unwrap().to_owned()
    }
}

impl Answer {
    /// An error as OAuth 2.0 has it.
    #[track_caller]
    pub(crate) fn refuses(self, status: u16, error: &str) -> String {
        assert_eq!((self.status, self.body["error"].as_str()), (status, Some(error)), "{}", self.text);
        assert!(self.body.get("errcode").is_none(), "{}", self.text);
        self.body["error_description"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn app() -> Value {
    json!({
        "client_name": "My App", "client_name#ja": "アプリ", "client_name#fr": "Mon application",
        "client_uri": "https://example.jp/", "logo_uri": "https://example.jp/logo.png",
        "tos_uri": "https://example.jp/tos", "policy_uri": "https://example.jp/policy",
        "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none", "response_types": ["code"],
        "grant_types": [
            "authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ],
        "application_type": "web",
    })
}

pub(crate) fn scope(device: &str) -> String {
    format!("urn:matrix:client:api:* urn:matrix:client:device:{device}")
}

fn challenge(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

/// The path of a request for consent, with some fields instead of the usual ones; an empty one is left out.
pub(crate) fn request(client: &str, instead: &[(&str, &str)]) -> String {
    let (scope, challenge) = (scope("AAABBBCCCDDD"), challenge(VERIFIER));
    let mut fields: Vec<(&str, &str)> = vec![
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("scope", &scope),
        ("state", "s t&te"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in instead {
        fields.retain(|(known, _)| known != name);
        if !value.is_empty() {
            fields.push((name, value));
        }
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    format!("/_yakuba/oauth2/authorize?{query}")
}

/// Hanako's browser in which she has agreed to a request; the code.
pub(crate) async fn agreed(town: &Town, client: &str) -> String {
    let mut browser = Browser::new(town);
    browser.open(&request(client, &[])).await;
    browser.sign_in("hanako", PASSWORD).await;
    browser.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
    browser.told()["code"].clone()
}

pub(crate) async fn redeem(town: &Town, client: &str, code: &str) -> Answer {
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", client),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    town.send_form(TOKEN, &fields).await
}

pub(crate) async fn refresh(town: &Town, client: &str, token: &str) -> Answer {
    let fields = [("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", token)];
    town.send_form(TOKEN, &fields).await
}

async fn whoami(town: &Town, token: &str) -> u16 {
    town.raw("hs1", "GET", "/_matrix/client/v3/account/whoami", Some(token), Vec::new()).await.status
}

pub(crate) fn text<'a>(answer: &'a Value, key: &str) -> &'a str {
    answer[key].as_str().unwrap_or_else(|| panic!("{key} in {answer}"))
}

#[tokio::test]
async fn metadata_has_what_clients_demand_and_is_missing_where_it_is_not_offered() {
    let town = Town::new().await;
    for path in [METADATA, "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata"] {
        let told = town.ask("GET", path, Value::Null).await.ok();
        for (key, value) in told.as_object().unwrap() {
            if key.ends_with("_endpoint") || key.ends_with("_uri") || key == "issuer" {
                assert!(value.as_str().unwrap().starts_with("https://hs1/"), "{key}: {value}");
            }
        }
        for (key, word) in [
            ("response_types_supported", "code"),
            ("response_modes_supported", "query"),
            ("response_modes_supported", "fragment"),
            ("grant_types_supported", "authorization_code"),
            ("grant_types_supported", "refresh_token"),
            ("grant_types_supported", "urn:ietf:params:oauth:grant-type:device_code"),
            ("code_challenge_methods_supported", "S256"),
            ("prompt_values_supported", "create"),
            ("account_management_actions_supported", "org.matrix.cross_signing_reset"),
            ("account_management_actions_supported", "org.matrix.sessions_list"),
        ] {
            assert!(told[key].as_array().unwrap().contains(&json!(word)), "{key} {told}");
        }
    }
    let elsewhere = town.raw("hs2", "GET", METADATA, None, Vec::new()).await;
    elsewhere.fails(404, "M_UNRECOGNIZED");
    town.raw("hs2", "POST", TOKEN, None, Vec::new()).await.fails(404, "M_UNRECOGNIZED");
}

#[tokio::test]
async fn a_client_is_echoed_as_it_was_understood_and_the_same_one_has_one_id() {
    let town = Town::new().await;
    let first = town.ask("POST", REGISTER, app()).await;
    assert_eq!(first.status, 201);
    assert_eq!(first.body["grant_types"].as_array().unwrap().len(), 3, "{}", first.text);
    assert_eq!(first.body["client_name#ja"], "アプリ");
    assert!(first.body.get("client_name#fr").is_none() && first.body.get("client_secret").is_none());
    assert_eq!(text(&first.body, "client_id"), town.client(app()).await);
    let mut other = app();
    other["client_name"] = json!("Another");
    assert_ne!(text(&first.body, "client_id"), town.client(other).await);
}

#[tokio::test]
async fn redirect_uris_follow_the_rules_and_an_error_names_the_one_that_is_broken() {
    let town = Town::new().await;
    let native = |uri: &str| json!({ "client_uri": "https://example.com/", "redirect_uris": [uri], "application_type": "native" });
    let web = |uri: &str| json!({ "client_uri": "https://example.com/", "redirect_uris": [uri] });
    for said in [
        native("com.example.app:/callback"),
        native("com.example:/"),
        native("com.example:callback"),
        native("http://localhost/callback"),
        native("http://127.0.0.1/callback"),
        native("http://[::1]/callback"),
        native("https://app.example.com/callback"),
        web("https://example.com/callback"),
        web("https://app.example.com/callback"),
        web("https://example.com:5173/?query=value"),
        json!({
            "client_uri": "https://localhost", "redirect_uris": ["http://localhost/"],
            "application_type": "native",
        }),
        json!({
            "client_uri": "https://my-app.example.com/", "logo_uri": "https://my-app.example.com/l.png",
            "redirect_uris": ["https://my-app.example.com/callback"],
        }),
    ] {
        town.client(said).await;
    }
    for (said, rule) in [
        (native("example:/callback"), "reverse order"),
        (native("com.examplex:/callback"), "reverse order"),
        (native("com.example.app://callback"), "no authority"),
        (native("https://localhost/callback"), "host of client_uri"),
        (native("http://localhost:1234/callback"), "no port"),
        (native("http://localhost:80/callback"), "no port"),
        (native("http://localhost.evil.com/callback"), "has to be localhost"),
        (native("http://a@localhost/callback"), "user or a password"),
        (native("http://127.1/callback"), "as it is"),
        (native("http:localhost/callback"), "as it is"),
        (web("https:example.com/callback"), "as it is"),
        (web("https://example.com\\@evil.test/"), "as it is"),
        (web("https:\\\\example.com/callback"), "as it is"),
        (web("https://example.com/a\\b"), "as it is"),
        (native("http://localhost\\callback"), "as it is"),
        (web("https:///example.com/callback"), "as it is"),
        (web("https://EXAMPLE.com/callback"), "as it is"),
        (native("javascript:alert(1)"), "reverse order"),
        (
            json!({
                "client_uri": "https://javascript/", "redirect_uris": ["javascript:alert(1)//"],
                "application_type": "native",
            }),
            "with a dot",
        ),
        (web("https://example.com/callback#fragment"), "fragment"),
        (web("http://example.com/callback"), "https scheme"),
        (web("http://localhost/"), "https scheme"),
        (web("https://a:b@example.com/"), "user or a password"),
        (web("https://evilexample.com/"), "host of client_uri"),
        (web("https://example.com.evil.test/"), "host of client_uri"),
        (json!({ "client_uri": "https://example.com/", "redirect_uris": [] }), "needed"),
    ] {
        let told = town.ask("POST", REGISTER, said.clone()).await.refuses(400, "invalid_redirect_uri");
        assert!(told.contains(rule), "{said}: {told}");
    }
    for said in [
        json!({ "redirect_uris": ["https://example.com/"] }),
        json!({ "client_uri": "http://example.com/", "redirect_uris": ["https://example.com/"] }),
        json!({ "client_uri": "https://a@example.com/", "redirect_uris": ["https://example.com/"] }),
        json!({ "client_uri": "https://2130706433/", "redirect_uris": ["https://127.0.0.1/"] }),
        json!({ "client_uri": "https:example.com/", "redirect_uris": ["https://example.com/"] }),
        json!({ "client_uri": "https://example.com/", "redirect_uris": "https://example.com/" }),
        json!({
            "client_uri": "https://example.com/", "redirect_uris": ["https://example.com/"],
            "policy_uri": "https://example.net/",
        }),
        json!({
            "client_uri": "https://example.com/", "redirect_uris": ["https://example.com/"],
            "grant_types": ["implicit"],
        }),
        json!({ "client_uri": 5 }),
        json!({ "client_uri": "https://example.com\\x/", "redirect_uris": ["https://example.com/"] }),
    ] {
        town.ask("POST", REGISTER, said).await.refuses(400, "invalid_client_metadata");
    }
    // What is not seen, and turns or splits what is.
    for unseen in [
        '\u{0}',
        '\n',
        '\u{7f}',
        '\u{85}',
        '\u{ad}',
        '\u{61c}',
        '\u{200b}',
        '\u{200e}',
        '\u{2028}',
        '\u{202e}',
        '\u{2066}',
        '\u{2069}',
        '\u{feff}',
        '\u{e0041}',
    ] {
        for field in ["client_name", "client_name#ja"] {
            let mut said = web("https://example.com/callback");
            said[field] = json!(format!("役場{unseen}app"));
            town.ask("POST", REGISTER, said).await.refuses(400, "invalid_client_metadata");
        }
    }
    let broken = town.raw("hs1", "POST", REGISTER, None, b"{".to_vec()).await;
    broken.refuses(400, "invalid_client_metadata");
}

#[tokio::test]
async fn a_user_signs_in_agrees_and_the_client_gets_a_session_of_its_device() {
    let town = Town::new().await;
    town.user("hanako").await;
    let client = town.client(app()).await;
    let mut browser = Browser::new(&town);

    browser.open(&request(&client, &[("response_mode", "fragment")])).await;
    assert!(browser.page.contains("type=\"password\""), "{}", browser.page);
    browser.sign_in("hanako", "wrong").await;
    assert!(browser.status == 403 && browser.page.contains("role=\"alert\""), "{}", browser.page);
    browser.sign_in("hanako", PASSWORD).await;
    assert!(browser.page.contains("My App") && browser.page.contains("AAABBBCCCDDD"), "{}", browser.page);
    assert!(browser.policy.contains("form-action 'self' https://app.example.jp"), "{}", browser.policy);
    browser.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;

    assert!(browser.location.starts_with("https://app.example.jp/callback#"), "{}", browser.location);
    let told = browser.told();
    assert_eq!((told["state"].as_str(), told["iss"].as_str()), ("s t&te", "https://hs1/"));
    let answer = redeem(&town, &client, &told["code"]).await.ok();
    assert_eq!(text(&answer, "token_type"), "Bearer");
    assert_eq!(text(&answer, "scope"), scope("AAABBBCCCDDD"));
    assert!(answer["expires_in"].as_u64().unwrap() <= 3_600);
    let access = text(&answer, "access_token");
    let path = "/_matrix/client/v3/account/whoami";
    let me = town.raw("hs1", "GET", path, Some(access), Vec::new()).await.ok();
    assert_eq!((text(&me, "user_id"), text(&me, "device_id")), ("@hanako:hs1", "AAABBBCCCDDD"));
    // It is renewed by OAuth 2.0 alone.
    let body = json!({ "refresh_token": text(&answer, "refresh_token") });
    town.ask("POST", "/_matrix/client/v3/refresh", body).await.fails(401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn an_answer_goes_where_the_client_registered_and_in_the_way_that_it_wishes() {
    let town = Town::new().await;
    town.user("hanako").await;
    let client = town.client(app()).await;
    let mut browser = Browser::new(&town);
    // Nobody is sent anywhere as long as it is not known that the client may be.
    for instead in [
        ("client_id", "unknown"),
        ("client_id", ""),
        ("redirect_uri", ""),
        ("redirect_uri", "https://app.example.jp/callback2"),
        ("redirect_uri", "https://evil.test/"),
    ] {
        browser.open(&request(&client, &[instead])).await;
        assert_eq!((browser.status, browser.location.as_str()), (400, ""), "{instead:?}");
    }
    let refusals = [
        (("response_type", "token"), "unsupported_response_type"),
        (("response_type", ""), "invalid_request"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge_method", ""), "invalid_request"),
        (("response_mode", "form_post"), "invalid_request"),
        (("scope", "urn:matrix:client:api:*x urn:matrix:client:device:A"), "invalid_scope"),
        (("scope", "openid"), "invalid_scope"),
        (("request", "x"), "request_not_supported"),
        (("prompt", "none"), "login_required"),
    ];
    // Whoever registers a client leads nobody there by a link to us.
    let link = "href=\"https://app.example.jp/callback?error=";
    for (instead, error) in refusals {
        browser.open(&request(&client, &[instead])).await;
        assert_eq!((browser.status, browser.location.as_str()), (400, ""), "{instead:?}");
        assert!(browser.page.contains(&format!("{link}{error}")), "{instead:?} {}", browser.page);
        assert!(browser.page.contains("app.example.jp</a>"), "{}", browser.page);
    }
    // Without a wish it is the query; whoever refuses is told so as well.
    browser.open(&request(&client, &[])).await;
    browser.sign_in("@hanako:hs1", PASSWORD).await;
    for (instead, error) in &refusals[..refusals.len() - 1] {
        browser.open(&request(&client, &[*instead])).await;
        assert!(
            browser.location.starts_with("https://app.example.jp/callback?error="),
            "{}",
            browser.location
        );
        assert_eq!(browser.told()["error"], *error, "{instead:?}");
        assert_eq!(browser.told()["state"], "s t&te");
    }
    browser.open(&request(&client, &[])).await;
    browser.send("/_yakuba/oauth2/authorize", &[("decision", "refuse")]).await;
    assert!(browser.location.starts_with("https://app.example.jp/callback?"), "{}", browser.location);
    assert_eq!(browser.told()["error"], "access_denied");
    browser.open(&request(&client, &[("prompt", "none")])).await;
    assert_eq!(browser.told()["error"], "consent_required");

    let native = json!({
        "client_uri": "https://example.jp/", "redirect_uris": ["http://127.0.0.1/cb"],
        "application_type": "native",
    });
    let native = town.client(native).await;
    browser.open(&request(&native, &[("redirect_uri", "http://127.0.0.1:49152/cb")])).await;
    browser.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
    assert!(browser.location.starts_with("http://127.0.0.1:49152/cb?code="), "{}", browser.location);
    browser.open(&request(&native, &[("redirect_uri", "http://127.0.0.1:49152/other")])).await;
    assert_eq!(browser.status, 400);
}

#[tokio::test]
async fn consent_is_given_by_the_form_that_was_shown_and_by_nobody_who_is_not_signed_in() {
    let town = Town::new().await;
    town.user("hanako").await;
    let client = town.client(app()).await;
    let path = request(&client, &[]);
    let mut browser = Browser::new(&town);
    browser.open(&path).await;
    browser.sign_in("hanako", PASSWORD).await;
    let shown = browser.page.clone();
    browser.go("POST", &path, Some("decision=agree")).await;
    assert_eq!((browser.status, browser.location.as_str()), (403, ""));
    let mut stranger = Browser::new(&town);
    stranger.open("/_yakuba/sign-in").await;
    stranger.page = shown;
    stranger.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
    assert_eq!((stranger.status, stranger.location.as_str()), (403, ""));
}

#[tokio::test]
async fn a_code_is_for_its_client_its_verifier_and_one_time() {
    let (clock, hand) = Clock::manual(1_700_000_000_000);
    let town = Town::at(clock).await;
    let hanako = town.user("hanako").await;
    let client = town.client(app()).await;
    let mut other = app();
    other["client_name"] = json!("Another");
    let other = town.client(other).await;
    let code = agreed(&town, &client).await;
    redeem(&town, &other, &code).await.refuses(400, "invalid_grant");
    let with = async |instead: (&str, &str)| {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("client_id", client.as_str()),
            ("code", code.as_str()),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        fields.retain(|(name, _)| *name != instead.0);
        fields.push(instead);
        town.send_form(TOKEN, &fields).await
    };
    with(("code_verifier", &VERIFIER.replace('a', "b"))).await.refuses(400, "invalid_grant");
    // Of 42 characters.
    with(("code_verifier", &VERIFIER[1..])).await.refuses(400, "invalid_request");
    with(("redirect_uri", "https://app.example.jp/other")).await.refuses(400, "invalid_grant");
    with(("grant_type", "password")).await.refuses(400, "unsupported_grant_type");
    with(("client_id", "")).await.refuses(400, "invalid_request");
    with(("code", "yoc_unknown")).await.refuses(400, "invalid_grant");

    let answer = redeem(&town, &client, &code).await.ok();
    assert_eq!(whoami(&town, text(&answer, "access_token")).await, 200);
    // Somebody else has it as well: what it gave ends.
    redeem(&town, &client, &code).await.refuses(400, "invalid_grant");
    assert_eq!(whoami(&town, text(&answer, "access_token")).await, 401);

    // Who has changed the password meanwhile has shut out whoever got him to agree.
    let before = agreed(&town, &client).await;
    let change = json!({ "auth": hanako.proof(PASSWORD), "new_password": "another word" });
    hanako.post("/account/password", change).await.ok();
    redeem(&town, &client, &before).await.refuses(400, "invalid_grant");
    let back = json!({ "auth": hanako.proof("another word"), "new_password": PASSWORD });
    hanako.post("/account/password", back).await.ok();

    let late = agreed(&town, &client).await;
    hand.advance(Duration::from_secs(120));
    redeem(&town, &client, &late).await.refuses(400, "invalid_grant");
}

#[tokio::test]
async fn a_code_that_was_traded_is_known_for_an_hour_and_one_that_was_not_for_its_time() {
    let (clock, hand) = Clock::manual(1_700_000_000_000);
    let town = Town::at(clock).await;
    town.user("hanako").await;
    let client = town.client(app()).await;
    let code = agreed(&town, &client).await;
    let answer = redeem(&town, &client, &code).await.ok();
    // Codes of others come and go meanwhile.
    for _ in 0..12 {
        hand.advance(Duration::from_secs(240));
        agreed(&town, &client).await;
    }
    let left = town.oauth.waiting(ruma::server_name!("hs1")).await.unwrap();
    assert_eq!(left, 2, "the last one, and the one that was traded");
    redeem(&town, &client, &code).await.refuses(400, "invalid_grant");
    assert_eq!(whoami(&town, text(&answer, "access_token")).await, 401);
}

#[tokio::test]
async fn strangers_who_register_clients_take_none_from_those_who_are_signed_in_with_it() {
    let (clock, hand) = Clock::manual(1_700_000_000_000);
    let town = Town::at(clock).await;
    town.user("hanako").await;
    let used = town.client(app()).await;
    redeem(&town, &used, &agreed(&town, &used).await).await.ok();
    hand.advance(Duration::from_secs(1));
    let hs1 = ruma::server_name!("hs1");
    let mut first = None;
    for number in 0..5_010 {
        let said = json!({ "client_uri": "https://a.example/", "client_name": number.to_string(),
            "redirect_uris": ["https://a.example/"] });
        hand.advance(Duration::from_millis(1));
        let made = town.oauth.register(hs1, said.as_object().unwrap(), None).await.unwrap();
        first.get_or_insert(made.id);
    }
    assert!(town.oauth.client(hs1, &first.unwrap()).await.is_err());
    town.oauth.client(hs1, &used).await.unwrap();
    agreed(&town, &used).await;
}

#[tokio::test]
async fn one_address_makes_up_few_clients_and_registers_known_ones_as_often_as_it_likes() {
    let town = Town::new().await;
    let register = async |name: &str| {
        let mut said = app();
        said["client_name"] = json!(name);
        town.ask_from("192.0.2.1", "POST", REGISTER, said).await.status
    };
    for number in 0..30 {
        assert_eq!(register(&number.to_string()).await, 201);
    }
    assert_eq!(register("one more").await, 429);
    for _ in 0..60 {
        assert_eq!(register("0").await, 201);
    }
}

#[tokio::test]
async fn one_user_agrees_to_so_much_at_a_time_and_others_are_not_kept_from_it() {
    let (clock, _hand) = Clock::manual(1_700_000_000_000);
    let town = Town::at(clock).await;
    town.user("hanako").await;
    let client = town.client(app()).await;
    let mut browser = Browser::new(&town);
    browser.open(&request(&client, &[])).await;
    browser.sign_in("hanako", PASSWORD).await;
    let mut statuses = Vec::new();
    for _ in 0..31 {
        browser.open(&request(&client, &[])).await;
        browser.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
        statuses.push(browser.status);
    }
    assert_eq!((statuses[29], statuses[30]), (303, 429));
    town.user("taro").await;
    let mut other = Browser::new(&town);
    other.open(&request(&client, &[])).await;
    other.sign_in("taro", PASSWORD).await;
    other.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
    assert_eq!(other.status, 303);
}

#[tokio::test]
async fn a_refresh_whose_answer_was_lost_is_answered_again_and_a_stolen_token_ends_the_session() {
    let town = Town::new().await;
    town.user("hanako").await;
    let client = town.client(app()).await;
    let code = agreed(&town, &client).await;
    let first = redeem(&town, &client, &code).await.ok();
    let old = text(&first, "refresh_token").to_owned();

    let lost = refresh(&town, &client, &old).await.ok();
    let second = refresh(&town, &client, &old).await.ok();
    // Whoever was told first and whoever was told last go on together.
    assert_eq!(lost["refresh_token"], second["refresh_token"]);
    assert_eq!(lost["access_token"], second["access_token"]);
    // The first pair works until the new one is used.
    assert_eq!(whoami(&town, text(&first, "access_token")).await, 200);
    assert_eq!(whoami(&town, text(&second, "access_token")).await, 200);
    assert_eq!(whoami(&town, text(&first, "access_token")).await, 401);
    refresh(&town, "another", text(&second, "refresh_token")).await.refuses(400, "invalid_grant");
    let third = refresh(&town, &client, text(&second, "refresh_token")).await.ok();
    assert_eq!(whoami(&town, text(&third, "access_token")).await, 200);

    refresh(&town, &client, &old).await.refuses(400, "invalid_grant");
    assert_eq!(whoami(&town, text(&third, "access_token")).await, 401);
    refresh(&town, &client, text(&third, "refresh_token")).await.refuses(400, "invalid_grant");
}

#[tokio::test]
async fn two_refreshes_at_once_end_no_session() {
    let town = Town::new().await;
    town.user("hanako").await;
    let client = town.client(app()).await;
    let first = redeem(&town, &client, &agreed(&town, &client).await).await.ok();
    let old = text(&first, "refresh_token");
    let (one, two) = tokio::join!(refresh(&town, &client, old), refresh(&town, &client, old));
    for answer in [one.ok(), two.ok()] {
        assert_eq!(whoami(&town, text(&answer, "access_token")).await, 200);
    }
}

#[tokio::test]
async fn the_session_of_a_locked_account_is_kept_for_when_it_is_not_locked_any_more() {
    let town = Town::new().await;
    let (hanako, admin) = (town.user("hanako").await, town.admin("kanri").await);
    let client = town.client(app()).await;
    let first = redeem(&town, &client, &agreed(&town, &client).await).await.ok();
    let path = format!("/_matrix/client/v1/admin/lock/{}", hanako.id);
    admin.put(&path, json!({ "locked": true })).await.ok();
    let refused = refresh(&town, &client, text(&first, "refresh_token")).await;
    assert_eq!(refused.body["soft_logout"], true, "{}", refused.text);
    refused.fails(401, "M_USER_LOCKED");
    admin.put(&path, json!({ "locked": false })).await.ok();
    refresh(&town, &client, text(&first, "refresh_token")).await.ok();
}

#[tokio::test]
async fn a_client_does_not_name_the_device_of_a_session_that_came_by_password() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let client = town.client(app()).await;
    let wished = scope(&hanako.device);
    let mut browser = Browser::new(&town);
    browser.open(&request(&client, &[("scope", &wished)])).await;
    browser.sign_in("hanako", PASSWORD).await;
    browser.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
    assert_eq!((browser.status, browser.location.as_str()), (400, ""), "{}", browser.page);
    hanako.get("/account/whoami").await.ok();
    // Its own it has again.
    for _ in 0..2 {
        redeem(&town, &client, &agreed(&town, &client).await).await.ok();
    }
}

#[tokio::test]
async fn the_page_says_first_where_the_answer_goes_and_of_the_rest_that_it_is_not_verified() {
    let town = Town::new().await;
    town.user("hanako").await;
    let said = json!({
        "client_uri": "https://city.example.jp/", "client_name": "City Hall",
        "redirect_uris": ["http://127.0.0.1/cb"], "application_type": "native",
    });
    let client = town.client(said).await;
    let mut browser = Browser::new(&town);
    browser.open(&request(&client, &[("redirect_uri", "http://127.0.0.1:4000/cb")])).await;
    browser.sign_in("hanako", PASSWORD).await;
    let at = |text: &str| browser.page.find(text).unwrap_or_else(|| panic!("{text}: {}", browser.page));
    assert!(at("a program on this machine") < at("City Hall"));
    assert!(at("not verified") < at("city.example.jp"));
}

#[tokio::test]
async fn a_session_that_came_with_openid_is_refreshed_like_any_other() {
    let town = Town::new().await;
    town.user("hanako").await;
    let client = town.client(app()).await;
    let wished = "openid urn:matrix:org.matrix.msc2967.client:api:* \
                  urn:matrix:org.matrix.msc2967.client:device:PHONEPHONE";
    let mut browser = Browser::new(&town);
    browser.open(&request(&client, &[("scope", wished)])).await;
    browser.sign_in("hanako", PASSWORD).await;
    browser.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
    let answer = redeem(&town, &client, &browser.told()["code"]).await.ok();
    assert_eq!(text(&answer, "scope"), wished);
    refresh(&town, &client, text(&answer, "refresh_token")).await.ok();
}

#[tokio::test]
async fn a_revoked_token_takes_the_whole_session_along_and_an_unknown_one_nothing() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let client = town.client(app()).await;
    for which in ["access_token", "refresh_token"] {
        let code = agreed(&town, &client).await;
        let answer = redeem(&town, &client, &code).await.ok();
        let token = text(&answer, which);
        town.send_form("/_yakuba/oauth2/revoke", &[("token", token)]).await.ok();
        assert_eq!(whoami(&town, text(&answer, "access_token")).await, 401);
        refresh(&town, &client, text(&answer, "refresh_token")).await.refuses(400, "invalid_grant");
        let devices = hanako.get("/devices").await.ok();
        assert_eq!(devices["devices"].as_array().unwrap().len(), 1, "{devices}");
        town.send_form("/_yakuba/oauth2/revoke", &[("token", token)]).await.ok();
    }
    town.send_form("/_yakuba/oauth2/revoke", &[("token", "unknown")]).await.ok();
    town.send_form("/_yakuba/oauth2/revoke", &[]).await.refuses(400, "invalid_request");
    town.raw("hs1", "POST", TOKEN, None, b"{}".to_vec()).await.refuses(400, "invalid_request");
}

#[tokio::test]
async fn an_account_can_be_made_on_the_way() {
    let town = Town::new().await;
    let client = town.client(app()).await;
    let mut browser = Browser::new(&town);
    browser.open(&request(&client, &[("prompt", "create")])).await;
    let fields = |again| [("name", "Taro"), ("password", PASSWORD), ("again", again)];
    browser.send("/_yakuba/sign-up", &fields("other")).await;
    assert_eq!(browser.status, 400);
    browser.send("/_yakuba/sign-up", &fields(PASSWORD)).await;
    assert!(browser.page.contains("@taro:hs1"), "{}", browser.page);
    browser.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
    let answer = redeem(&town, &client, &browser.told()["code"]).await.ok();
    assert_eq!(whoami(&town, text(&answer, "access_token")).await, 200);
    browser.open("/_yakuba/sign-up").await;
    browser.send("/_yakuba/sign-up", &fields(PASSWORD)).await;
    assert!(browser.status == 400 && browser.page.contains("taken"), "{}", browser.page);
}

#[tokio::test]
async fn a_hint_fills_in_the_name_and_a_wish_to_sign_in_anew_is_granted_once() {
    let town = Town::new().await;
    town.user("hanako").await;
    town.user("taro").await;
    let client = town.client(app()).await;
    let mut browser = Browser::new(&town);
    browser.open(&request(&client, &[("login_hint", "mxid:@hanako:hs1")])).await;
    assert!(browser.page.contains("value=\"@hanako:hs1\""), "{}", browser.page);
    browser.sign_in("hanako", PASSWORD).await;
    browser.open(&request(&client, &[("prompt", "login")])).await;
    assert!(browser.page.contains("type=\"password\""));
    browser.sign_in("taro", PASSWORD).await;
    assert!(browser.page.contains("@taro:hs1") && browser.page.contains("AAABBBCCCDDD"), "{}", browser.page);
    browser.send("/_yakuba/sign-out", &[]).await;
    browser.sign_in("hanako", PASSWORD).await;
    assert!(browser.page.contains("@hanako:hs1"), "{}", browser.page);
}
