//! E-mail addresses of the caller, and mails that prove that somebody reads an address.
//!
//! Telephone numbers are not taken, and identity servers are not asked.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#adding-account-administrative-contact-information>

use std::sync::Arc;

use account::{ContactError, EmailPurpose, EmailRequest, NotConfirmed};
use serde::Deserialize;
use serde_json::{Value, json};
use web::{ApiError, Open, RawCall, Response, StatusCode, User, json_response};

use crate::{ClientApi, api::actor, interactive::asked};

#[derive(Deserialize)]
struct TokenBody {
    client_secret: String,
    email: String,
    send_attempt: u64,
    next_link: Option<String>,
    id_server: Option<String>,
}

async fn request_token(
    api: &ClientApi,
    call: &RawCall<Open>,
    purpose: EmailPurpose,
) -> Result<Response, ApiError> {
    let authority = call.face.server_name();
    if !api.accounts.takes_emails(authority) {
        return Err(ContactError::NotSupported.into());
    }
    let body: TokenBody = call.json()?;
    if body.id_server.is_some() {
        return Err(ContactError::NotTrusted.into());
    }
    let request = EmailRequest {
        purpose,
        email: body.email,
        client_secret: body.client_secret,
        send_attempt: body.send_attempt,
        next_link: body.next_link,
        from: call.address,
    };
    let sid = api.accounts.request_email_token(authority, request).await?;
    Ok(json_response(StatusCode::OK, &json!({ "sid": sid })))
}

/// `POST /_matrix/client/v3/register/email/requestToken`: a mail to an address with which somebody wants to register.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3registeremailrequesttoken>
pub(crate) async fn token_to_register(
    api: Arc<ClientApi>,
    call: RawCall<Open>,
) -> Result<Response, ApiError> {
    request_token(&api, &call, EmailPurpose::Register).await
}

/// `POST /_matrix/client/v3/account/password/email/requestToken`: a mail to who has forgotten his password.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpasswordemailrequesttoken>
pub(crate) async fn token_to_reset(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    request_token(&api, &call, EmailPurpose::ResetPassword).await
}

/// `POST /_matrix/client/v3/account/3pid/email/requestToken`: a mail to an address that somebody wants to have with his account.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3account3pidemailrequesttoken>
pub(crate) async fn token_to_add(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    request_token(&api, &call, EmailPurpose::Add).await
}

/// The three endpoints that would send a short message to a telephone number.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3account3pidmsisdnrequesttoken>
pub(crate) async fn no_telephones(_api: Arc<ClientApi>, _call: RawCall<Open>) -> Result<Response, ApiError> {
    Err(ContactError::NotSupported.into())
}

/// `GET /_matrix/client/v3/account/3pid`: the caller's e-mail addresses.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3account3pid>
pub(crate) async fn list(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let emails = api.accounts.emails(&call.caller.user_id).await?;
    let shown = emails.into_iter().map(|email| {
        json!({
            "medium": "email",
            "address": email.email,
            "validated_at": email.validated.millis(),
            "added_at": email.added.millis(),
        })
    });
    // Clients read the empty list too, which ruma's type leaves out.
    Ok(json_response(StatusCode::OK, &json!({ "threepids": shown.collect::<Vec<Value>>() })))
}

/// `POST /_matrix/client/v3/account/3pid/add`: an address that was proved becomes the caller's, once the password was given.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3account3pidadd>
pub(crate) async fn add(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let asked = asked(&call)?;
    api.accounts.add_email(&call.caller.user_id, &call.caller.device_id, asked).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `POST /_matrix/client/v3/account/3pid`: the same as it was written before. The password is asked for here as well:
/// whoever may add an address may get another password.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3account3pid>
pub(crate) async fn add_as_before(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let mut asked = asked(&call)?;
    match asked.request.remove("three_pid_creds").or_else(|| asked.request.remove("threePidCreds")) {
        Some(Value::Object(shown)) => {
            if shown.contains_key("id_server") {
                return Err(ContactError::NotTrusted.into());
            }
            asked.request.extend(shown);
        }
        Some(_) => return Err(ApiError::bad_json("`three_pid_creds` is to be an object")),
        None if asked.session.is_none() => {
            return Err(ApiError::missing_param("`three_pid_creds` is missing"));
        }
        None => {}
    }
    api.accounts.add_email(&call.caller.user_id, &call.caller.device_id, asked).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

#[derive(Deserialize)]
struct Named {
    medium: String,
    address: String,
}

/// `POST /_matrix/client/v3/account/3pid/delete`: takes an address away from the caller.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3account3piddelete>
pub(crate) async fn delete(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let Named { medium, address } = call.json()?;
    if medium == "email" {
        let by = actor(&call.caller, call.address);
        api.accounts.remove_email(&call.caller.user_id, &address, &by).await?;
    }
    Ok(json_response(StatusCode::OK, &json!({ "id_server_unbind_result": "no-support" })))
}

/// `POST /_matrix/client/v3/account/3pid/bind`: would tell an identity server of an address.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3account3pidbind>
pub(crate) async fn bind(_api: Arc<ClientApi>, _call: RawCall<User>) -> Result<Response, ApiError> {
    Err(ContactError::NotTrusted.into())
}

/// `POST /_matrix/client/v3/account/3pid/unbind`: would have an identity server forget an address. None was told of any.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3account3pidunbind>
pub(crate) async fn unbind(_api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let _named: Named = call.json()?;
    Ok(json_response(StatusCode::OK, &json!({ "id_server_unbind_result": "no-support" })))
}

#[derive(Deserialize)]
struct Word {
    sid: String,
    token: String,
}

/// `POST /_yakuba/client/email/submit_token`: the word of a mail, for clients in which it is typed. In the form in which
/// identity servers take it.
///
/// Spec: <https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2validateemailsubmittoken>
pub(crate) async fn submit_token(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let Word { sid, token } = call.json()?;
    match api.accounts.confirm_email(call.face.server_name(), &sid, &token).await? {
        Ok(_) => Ok(json_response(StatusCode::OK, &json!({ "success": true }))),
        Err(NotConfirmed::WrongWord) => {
            Err(ApiError::invalid_param("The code is wrong; please try again").with("success", false))
        }
        Err(NotConfirmed::Over) => {
            let told = "This request was used already, is too old, or the code was wrong too often";
            Err(ApiError::invalid_param(told).with("success", false))
        }
    }
}
