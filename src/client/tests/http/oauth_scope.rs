//! What a session may that came by OAuth 2.0.

use crate::{
    oauth::{Browser, app, redeem, refresh, request, scope, text},
    town::{PASSWORD, Town},
};

#[tokio::test]
async fn a_session_administers_where_its_client_asked_and_its_user_administered_when_he_agreed() {
    let town = Town::new().await;
    town.user("hanako").await;
    town.admin("sora").await;
    let client = town.client(app()).await;
    for (name, device, asks, administers) in [
        ("sora", "AAAAAAAAAA", true, true),
        ("sora", "BBBBBBBBBB", false, false),
        ("hanako", "CCCCCCCCCC", true, false),
    ] {
        let plain = scope(device);
        let wide = format!("{plain} urn:synapse:admin:*");
        let mut browser = Browser::new(&town);
        browser.open(&request(&client, &[("scope", if asks { &wide } else { &plain })])).await;
        browser.sign_in(name, PASSWORD).await;
        assert_eq!(browser.page.contains("as an administrator"), administers, "{name}: {}", browser.page);
        browser.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
        let answer = redeem(&town, &client, &browser.told()["code"]).await.ok();
        assert_eq!(text(&answer, "scope"), if administers { &wide } else { &plain });
        // Who comes to administer later gives no power to what was granted before.
        let user = ruma::UserId::parse(format!("@{name}:hs1")).unwrap();
        town.accounts.set_administrator(&user, true, &account::Actor::operator("test")).await.unwrap();
        let renewed = refresh(&town, &client, text(&answer, "refresh_token")).await.ok();
        for token in [text(&answer, "access_token"), text(&renewed, "access_token")] {
            let path = "/_matrix/client/v3/capabilities";
            let told = town.raw("hs1", "GET", path, Some(token), Vec::new()).await.ok();
            assert_eq!(told["capabilities"]["m.account_moderation"]["lock"], administers, "{name} {told}");
        }
    }
}
