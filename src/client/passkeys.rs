//! Passkeys on pages: what a browser is asked, the script that asks its authenticators, and what it sends.
//!
//! A form for a passkey is hidden until the script has seen that the browser knows passkeys; everything else on these pages goes
//! without it. What the browser is asked is data of the form, and what it answers are fields of it.

use account::{InBrowser, NewFactor};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use factor::{Asserted, Challenge, Made, Party, handle_of};
use pages::{Form, Markup, PageError, Pages, Visit, html};
use ruma::{ServerName, UserId};
use serde_json::{Value, json};

/// How long a browser lets its user look for the passkey, in milliseconds.
const PATIENCE: u32 = 5 * 60 * 1_000;

/// What is sent of an answer.
const FIELDS: [&str; 6] =
    ["credential", "client_data", "authenticator_data", "signature", "user_handle", "attestation"];

/// Asks the authenticators of the browser when the form is sent, and sends what they answer instead.
pub(crate) const SCRIPT: &str = r#"(function () {
  var form = document.getElementById("passkey");
  if (!form || !window.PublicKeyCredential || !navigator.credentials) { return; }
  function bytes(text) {
    return Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), function (c) { return c.charCodeAt(0); });
  }
  function text(buffer) {
    var all = "";
    new Uint8Array(buffer).forEach(function (byte) { all += String.fromCharCode(byte); });
    return btoa(all).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  }
  form.hidden = false;
  form.addEventListener("submit", function (event) {
    event.preventDefault();
    var problem = document.getElementById("passkey-problem");
    problem.hidden = true;
    var asked = JSON.parse(form.dataset.asked), fields = form.elements, done;
    asked.challenge = bytes(asked.challenge);
    (asked.excludeCredentials || asked.allowCredentials).forEach(function (one) { one.id = bytes(one.id); });
    if (asked.user) {
      asked.user.id = bytes(asked.user.id);
      done = navigator.credentials.create({ publicKey: asked });
    } else {
      done = navigator.credentials.get({ publicKey: asked });
    }
    done.then(function (made) {
      var answer = made.response;
      fields.namedItem("credential").value = text(made.rawId);
      fields.namedItem("client_data").value = text(answer.clientDataJSON);
      if (answer.signature) {
        fields.namedItem("authenticator_data").value = text(answer.authenticatorData);
        fields.namedItem("signature").value = text(answer.signature);
        fields.namedItem("user_handle").value = answer.userHandle ? text(answer.userHandle) : "";
      } else {
        fields.namedItem("attestation").value = text(answer.attestationObject);
      }
      form.submit();
    }).catch(function (error) {
      problem.textContent = error.name === "InvalidStateError" ? form.dataset.known : form.dataset.failed;
      problem.hidden = false;
    });
  });
})();"#;

/// Who we are to browsers at an authority, where they know passkeys at all.
pub(crate) fn party(pages: &Pages, authority: &ServerName) -> Option<Party> {
    Party::of_url(pages.base_url(authority)?)
}

fn written(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn named(credentials: &[Vec<u8>]) -> Value {
    credentials.iter().map(|id| json!({ "type": "public-key", "id": written(id) })).collect()
}

/// What a browser is asked that is to show a passkey: one of these, or any where there are none.
pub(crate) fn to_show(party: &Party, challenge: &Challenge, credentials: &[Vec<u8>]) -> Value {
    json!({
        "rpId": party.id, "challenge": written(challenge), "allowCredentials": named(credentials),
        "userVerification": "required", "timeout": PATIENCE,
    })
}

/// What a browser is asked that is to make a passkey, where none of these is.
pub(crate) fn to_make(party: &Party, challenge: &Challenge, user: &UserId, credentials: &[Vec<u8>]) -> Value {
    // ES256, EdDSA and RS256.
    let kinds: Value =
        [-7, -8, -257].map(|alg| json!({ "type": "public-key", "alg": alg })).into_iter().collect();
    json!({
        "rp": { "id": party.id, "name": user.server_name() },
        "user": { "id": written(&handle_of(user)), "name": user, "displayName": user.localpart() },
        "challenge": written(challenge), "pubKeyCredParams": kinds, "excludeCredentials": named(credentials),
        "authenticatorSelection": { "residentKey": "preferred", "userVerification": "required" },
        "attestation": "none", "timeout": PATIENCE,
    })
}

/// A form that is sent with what an authenticator answers; the page runs [`SCRIPT`].
pub(crate) fn form(visit: &Visit, action: &str, asked: &Value, fields: &Markup, button: &str) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    let failed = say(
        "パスキーを使えませんでした。もう一度お試しください。",
        "The passkey could not be used. Please try again.",
    );
    let known =
        say("この端末のパスキーはすでに登録されています。", "This device has a passkey of yours already.");
    html! {
        form.card id="passkey" method="post" action=(action) hidden data-asked=(asked.to_string())
            data-failed=(failed) data-known=(known) {
            (visit.proof())
            (fields)
            @for name in FIELDS { input type="hidden" name=(name) value=""; }
            p.problem id="passkey-problem" role="alert" hidden {}
            div.actions { button { (button) } }
        }
    }
}

/// What a browser has sent of an authenticator's answer.
pub(crate) struct Sent([Vec<u8>; 6]);

impl Sent {
    /// Reads it; nothing where the form holds none.
    pub(crate) fn of(form: &Form) -> Result<Option<Sent>, PageError> {
        if form.find("credential").is_none() {
            return Ok(None);
        }
        let bad = |_| {
            PageError::bad_request("送信された内容を読み取れませんでした。", "What was sent cannot be read.")
        };
        let mut parts: [Vec<u8>; 6] = Default::default();
        for (part, name) in parts.iter_mut().zip(FIELDS) {
            *part = BASE64_URL_SAFE_NO_PAD.decode(form.get(name)).map_err(bad)?;
        }
        Ok(Some(Sent(parts)))
    }

    /// What a passkey has signed.
    pub(crate) fn asserted(&self) -> Asserted<'_> {
        let [credential, client_data, authenticator_data, signature, user_handle, _] = &self.0;
        let user_handle = (!user_handle.is_empty()).then_some(user_handle.as_slice());
        Asserted { credential, client_data, authenticator_data, signature, user_handle }
    }

    /// What an authenticator has made.
    pub(crate) fn made<'a>(&'a self, party: &'a Party) -> NewFactor<'a> {
        let [_, client_data, .., attestation] = &self.0;
        NewFactor::Passkey { party, made: Made { client_data, attestation } }
    }
}

/// A form to sign in with a passkey and nothing else. The page runs [`SCRIPT`].
pub(crate) fn alone(
    visit: &Visit,
    (party, challenge, ticket): (&Party, &Challenge, &str),
    (action, back): (&str, &str),
) -> Markup {
    let fields = html! {
        input type="hidden" name="back" value=(back);
        input type="hidden" name="ticket" value=(ticket);
    };
    let button = visit.say("パスキーでサインイン", "Sign in with a passkey");
    form(visit, action, &to_show(party, challenge, &[]), &fields, button)
}

/// What a browser's key is for, by which a ticket is its own.
const KEY: &str = "second step of signing in";

/// The browser in which somebody signs in.
pub(crate) fn in_browser<'a>(visit: &Visit, agent: Option<&'a str>) -> InBrowser<'a> {
    InBrowser { key: visit.key(KEY), from: visit.address(), agent }
}
