//! Visits: languages, secrets, forms, errors.

use std::time::Duration;

use account::MOST_BROWSERS;

use super::{PASSWORD, Town, kanazawa, nowhere};

#[tokio::test]
async fn a_page_speaks_japanese_unless_the_browser_or_its_user_prefers_english() {
    let town = Town::new().await;
    let title = |shown: super::Shown| shown.text.contains("<h1>試験</h1>");
    for (wished, is_japanese) in [
        ("", true),
        ("fr", true),
        ("en-GB,en;q=0.9,ja;q=0.8", false),
        ("en;q=0.5, ja;q=0.9", true),
        ("en;q=0", true),
        ("ja,en", true),
        (";;;,,q=x", true),
    ] {
        let shown = town.open("/_yakuba/test", &[("accept-language", wished)]).await;
        assert_eq!(title(shown), is_japanese, "{wished}");
    }
    let chosen = town.open("/_yakuba/language/en?back=%2F_yakuba%2Ftest%3Fsaid%3Da", &[]).await;
    assert_eq!((chosen.status, chosen.header("location")), (303, "/_yakuba/test?said=a"));
    let cookies: Vec<_> = chosen.head.get_all("set-cookie").iter().collect();
    assert!(cookies.iter().any(|value| value.to_str().unwrap().starts_with("yakuba-language=en;")));
    let shown = town.open("/_yakuba/test", &[("cookie", "a=b; yakuba-language=en")]).await;
    assert!(shown.text.contains("<h1>Test</h1>") && shown.text.contains(r#"<html lang="en">"#));
    assert_eq!(town.open("/_yakuba/language/fr", &[]).await.status, 404);
}

#[tokio::test]
async fn nobody_is_led_elsewhere_by_a_way_back() {
    let town = Town::new().await;
    for back in ["https://evil.test/", "//evil.test", "/\\evil.test", "/_yakuba/%0d%0aX:%20y", "javascript:x"]
    {
        let back = crate::Form::escape(&back.replace("%0d%0a", "\r\n"));
        let led = town.open(&format!("/_yakuba/language/en?back={back}"), &[]).await;
        assert_eq!(led.header("location"), "/_yakuba/account", "{back}");
    }
}

#[tokio::test]
async fn what_is_shown_is_escaped_framed_by_nobody_and_loads_nothing_of_others() {
    let town = Town::new().await;
    let shown = town.open("/_yakuba/test?said=%3Cscript%3E%22", &[]).await;
    assert!(shown.text.contains("&lt;script&gt;") && !shown.text.contains("<script>"), "{}", shown.text);
    let policy = shown.header("content-security-policy");
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
    assert_eq!((shown.header("cache-control"), shown.header("x-frame-options")), ("no-store", "DENY"));
    assert!(!shown.text.contains("http://") && !shown.text.contains("https://"), "{}", shown.text);
    // The icon and the look.
    let paths = shown.text.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let mut kinds = Vec::new();
    for path in paths.take(2) {
        let part = town.open(path, &[]).await;
        assert_eq!(part.status, 200, "{path}");
        assert!(!part.text.contains("url(") && !part.text.contains("@import"));
        kinds.push(part.header("content-type").to_owned());
    }
    assert_eq!(kinds, ["image/svg+xml", "text/css; charset=utf-8"]);
}

#[tokio::test]
async fn who_signs_in_gets_another_secret_and_the_one_before_is_worth_nothing() {
    let town = Town::new().await;
    let stranger = town.open("/_yakuba/test", &[]).await;
    assert!(stranger.text.contains("here is nobody"));
    let set = stranger.head.get("set-cookie").unwrap().to_str().unwrap();
    for attribute in ["Path=/", "HttpOnly", "SameSite=Lax", "Secure"] {
        assert!(set.contains(attribute), "{set}");
    }
    let (before, proof) = (stranger.cookie().unwrap(), stranger.proof());
    let form = format!("proof={proof}&name=hanako&password=correct+horse");
    let answer = town.send("/_yakuba/test", &[("cookie", &before)], &form).await;
    let after = answer.cookie().unwrap();
    assert_ne!(before, after);

    let shown = town.open("/_yakuba/test", &[("cookie", &after)]).await;
    assert!(shown.text.contains("here is @hanako:kanazawa.test"), "{}", shown.text);
    assert!(shown.cookie().is_none());
    assert!(town.open("/_yakuba/test", &[("cookie", &before)]).await.text.contains("here is nobody"));
    // The form of the time before does nothing any more.
    assert_eq!(town.send("/_yakuba/test", &[("cookie", &after)], &form).await.status, 403);
}

#[tokio::test]
async fn a_form_of_another_site_or_browser_is_refused() {
    let town = Town::new().await;
    let mine = town.open("/_yakuba/test", &[]).await;
    let theirs = town.open("/_yakuba/test", &[]).await;
    let (cookie, fields) = (mine.cookie().unwrap(), "name=hanako&password=correct+horse");
    let with = |proof: String| format!("proof={proof}&{fields}");
    for (headers, form) in [
        (vec![("cookie", cookie.as_str())], fields.to_owned()),
        (vec![("cookie", cookie.as_str())], with(theirs.proof())),
        (vec![], with(mine.proof())),
        (vec![("cookie", cookie.as_str()), ("sec-fetch-site", "cross-site")], with(mine.proof())),
    ] {
        let refused = town.send("/_yakuba/test", &headers, &form).await;
        assert_eq!(refused.status, 403, "{form}");
        assert!(refused.text.contains("role=\"alert\""));
    }
    let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(town.send("/_yakuba/test", &headers, &with(mine.proof())).await.status, 303);
    let twice = format!("{}&name=taro", with(mine.proof()));
    assert_eq!(town.send("/_yakuba/test", &headers, &twice).await.status, 400);
}

#[tokio::test]
async fn a_session_ends_by_itself_by_another_password_and_by_wish() {
    let town = Town::new().await;
    let is_in = async |cookie: &str| {
        let shown = town.open("/_yakuba/closed", &[("cookie", cookie)]).await;
        assert!(matches!(shown.status, 200 | 401));
        shown.status == 200
    };
    let cookie = town.signed_in().await;
    assert!(is_in(&cookie).await);
    assert!(!is_in("__Host-yakuba=somethingelse").await);
    // Of another authority of this process.
    let secret = cookie.split_once('=').unwrap().1;
    let elsewhere =
        town.accounts.find_browser(ruma::server_name!("wajima.test"), secret, None).await.unwrap();
    assert_eq!(elsewhere, None);

    let shown = town.open("/_yakuba/test", &[("cookie", &cookie)]).await;
    let form = format!("proof={}", shown.proof());
    let out = town.send("/_yakuba/sign-out", &[("cookie", &cookie)], &form).await;
    assert_eq!(out.status, 303);
    assert!(!is_in(&cookie).await);

    let cookie = town.signed_in().await;
    town.accounts.set_password(&town.hanako, "another one", &account::Actor::operator("x")).await.unwrap();
    assert!(!is_in(&cookie).await);
    town.accounts.set_password(&town.hanako, PASSWORD, &account::Actor::operator("x")).await.unwrap();

    let cookie = town.signed_in().await;
    let by = account::Actor::user(&town.hanako, false, None);
    town.accounts.log_out_everywhere(&town.hanako, &by).await.unwrap();
    assert!(!is_in(&cookie).await);

    let cookie = town.signed_in().await;
    town.advance(Duration::from_secs(12 * 60 * 60 - 1)).await;
    assert!(is_in(&cookie).await);
    town.advance(Duration::from_secs(1)).await;
    assert!(!is_in(&cookie).await);
}

#[tokio::test]
async fn so_many_browsers_and_no_more() {
    let town = Town::new().await;
    let mut secrets = Vec::new();
    for _ in 0..=MOST_BROWSERS {
        town.advance(Duration::from_secs(1)).await;
        let begun = town.accounts.begin_browser(&town.hanako, "test", &nowhere()).await.unwrap();
        secrets.push(begun.done().unwrap().1.0);
    }
    let mut alive = Vec::new();
    for secret in &secrets {
        alive.push(town.accounts.find_browser(kanazawa(), secret, None).await.unwrap().is_some());
    }
    assert!(!alive[0] && alive[1..].iter().all(|alive| *alive), "{alive:?}");
}

#[tokio::test]
async fn errors_are_pages_and_a_script_runs_by_its_hash_alone() {
    let town = Town::new().await;
    let cookie = town.signed_in().await;
    let shown = town.open("/_yakuba/closed", &[("cookie", &cookie)]).await;
    let policy = shown.header("content-security-policy");
    assert!(policy.contains("form-action 'self' app.x:; script-src 'sha256-"), "{policy}");
    assert!(shown.text.contains("<script>done()</script>"));
    let failed = town.open("/_yakuba/closed?fail=1", &[("cookie", &cookie)]).await;
    assert_eq!((failed.status, failed.header("content-type")), (500, "text/html; charset=utf-8"));
    assert!(!failed.text.contains("disk"));
    let wrong = format!("proof={}&name=hanako&password=x", {
        let shown = town.open("/_yakuba/test", &[("cookie", &cookie)]).await;
        shown.proof()
    });
    let refused = town.send("/_yakuba/test", &[("cookie", &cookie)], &wrong).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text.contains("ユーザー名またはパスワードが違います。"));
}
