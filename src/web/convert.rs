//! The one table from errors to statuses and errcodes.
//!
//! Every `match` is exhaustive without `_`: a new variant does not compile until somebody has
//! chosen its answer.

use std::time::Duration;

use account::Barred;
use factor::Refused;
use http::StatusCode;
use ruma::api::error::{DeserializationError, FromHttpRequestError, HeaderDeserializationError};
use store::CommitError;

use crate::{ApiError, SignatureError, TokenError, json::bad_body};

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> ApiError {
        let unauthorized = |errcode, message| ApiError::new(StatusCode::UNAUTHORIZED, errcode, message);
        match error {
            TokenError::Missing => unauthorized("M_MISSING_TOKEN", "Missing access token"),
            TokenError::Unknown { soft_logout } => {
                unauthorized("M_UNKNOWN_TOKEN", "Unknown access token").with("soft_logout", soft_logout)
            }
            TokenError::Locked => {
                unauthorized("M_USER_LOCKED", "This account is locked").with("soft_logout", true)
            }
            TokenError::Failed(cause) => cause.into(),
        }
    }
}

impl From<SignatureError> for ApiError {
    fn from(error: SignatureError) -> ApiError {
        match error {
            SignatureError::Missing => ApiError::unauthorized("The request is not signed"),
            SignatureError::Malformed(_) => ApiError::unauthorized("The authorization header cannot be read"),
            SignatureError::WrongDestination => {
                ApiError::unauthorized("The request is meant for another server")
            }
            SignatureError::BadBody(message) => ApiError::not_json(message),
            SignatureError::Unverified(_) => {
                ApiError::unauthorized("The signature of the request does not hold")
            }
            SignatureError::Denied(_) => ApiError::forbidden("This server does not talk with yours"),
            SignatureError::Failed(cause) => cause.into(),
        }
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> ApiError {
        match error {
            store::Error::Backend { .. }
            | store::Error::Corrupt { .. }
            | store::Error::NotACounter(_)
            | store::Error::NewerSchema { .. }
            | store::Error::InUse { .. }
            | store::Error::Trimmed { .. }
            | store::Error::Refused(_) => ApiError::internal(error),
            store::Error::Full(_) => ApiError::no_room(error),
            // The store says once, for all, that it cannot be used.
            store::Error::Unavailable { .. } => ApiError::unavailable(error).known(),
            store::Error::Closed => ApiError::unavailable(error),
        }
    }
}

impl From<CommitError> for ApiError {
    fn from(error: CommitError) -> ApiError {
        match error {
            CommitError::Conflict { .. } => ApiError::internal(error),
            CommitError::Busy | CommitError::Unknown => ApiError::unavailable(error),
            CommitError::Store(cause) => cause.into(),
        }
    }
}

impl From<audit::Error> for ApiError {
    fn from(error: audit::Error) -> ApiError {
        match error {
            audit::Error::Store(cause) => cause.into(),
            audit::Error::Commit(cause) => cause.into(),
            audit::Error::Wrong(_) => ApiError::internal(error),
            audit::Error::Moving => ApiError::new(
                StatusCode::CONFLICT,
                "M_UNKNOWN",
                "That was changed meanwhile; please try again",
            ),
        }
    }
}

impl From<personnel::Error> for ApiError {
    fn from(error: personnel::Error) -> ApiError {
        use organisation::Error as Organisation;
        use personnel::Error;
        let (status, errcode) = match error {
            Error::NoAuthority | Error::Organisation(Organisation::NoSet) => {
                (StatusCode::NOT_FOUND, "M_NOT_FOUND")
            }
            Error::File(_) | Error::Refused(_) => (StatusCode::BAD_REQUEST, "M_INVALID_PARAM"),
            Error::Organisation(Organisation::TooLarge(..)) => (StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE"),
            Error::Organisation(Organisation::Refused(_)) => (StatusCode::FORBIDDEN, "M_FORBIDDEN"),
            Error::Organisation(Organisation::Changed) => (StatusCode::CONFLICT, "M_UNKNOWN"),
            Error::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN"),
            Error::Crowded => (StatusCode::SERVICE_UNAVAILABLE, "M_LIMIT_EXCEEDED"),
            Error::Organisation(Organisation::Store(cause)) | Error::Store(cause) => return cause.into(),
            Error::Organisation(Organisation::Commit(cause)) | Error::Commit(cause) => return cause.into(),
            Error::Failed(cause) => return ApiError::internal(cause),
            Error::Names(cause) => return ApiError::internal(cause),
        };
        let words = error.words().map(|words| (words.ja, words.en)).unwrap_or_default();
        let (ja, en) = words;
        ApiError::new(status, errcode, format!("{ja} / {en}")).with("ja", ja).with("en", en)
    }
}

impl From<oversight::Error> for ApiError {
    fn from(error: oversight::Error) -> ApiError {
        use oversight::Error;
        match error {
            Error::NoServer => ApiError::not_found("Unknown destination"),
            Error::NotFailing => {
                ApiError::bad_request("The retry timing does not need to be reset for this destination.")
            }
            Error::Account(cause) => cause.into(),
            Error::Room(cause) => cause.into(),
            Error::Store(cause) => cause.into(),
            Error::Commit(cause) => cause.into(),
        }
    }
}

impl From<cases::Error> for ApiError {
    fn from(error: cases::Error) -> ApiError {
        use cases::Error;
        use organisation::Error as Organisation;
        let (status, errcode) = match error {
            Error::NoAuthority | Error::NoCase => (StatusCode::NOT_FOUND, "M_NOT_FOUND"),
            Error::NotYours => (StatusCode::FORBIDDEN, "M_FORBIDDEN"),
            Error::Refused(_) => (StatusCode::BAD_REQUEST, "M_INVALID_PARAM"),
            Error::Changed => (StatusCode::CONFLICT, "M_UNKNOWN"),
            Error::Crowded => (StatusCode::SERVICE_UNAVAILABLE, "M_LIMIT_EXCEEDED"),
            Error::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN"),
            Error::Organisation(Organisation::Store(cause))
            | Error::Duties(duties::Error::Store(cause))
            | Error::Store(cause) => return cause.into(),
            Error::Organisation(Organisation::Commit(cause))
            | Error::Duties(duties::Error::Commit(cause))
            | Error::Commit(cause) => return cause.into(),
            Error::Organisation(_) | Error::Duties(_) | Error::Port(_) => return ApiError::internal(error),
            Error::Failed(cause) => return ApiError::internal(cause),
        };
        let words = error.words().map(|words| (words.ja, words.en)).unwrap_or_default();
        let (ja, en) = words;
        ApiError::new(status, errcode, format!("{ja} / {en}")).with("ja", ja).with("en", en)
    }
}

impl From<domains::Error> for ApiError {
    fn from(error: domains::Error) -> ApiError {
        use domains::Error;
        match error {
            Error::Refused(words) => {
                let (ja, en) = (words.ja, words.en);
                let text = format!("{ja} / {en}");
                ApiError::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", text).with("ja", ja).with("en", en)
            }
            Error::Account(cause) => cause.into(),
            Error::Personnel(cause) => cause.into(),
            Error::Store(cause) => cause.into(),
            Error::Commit(cause) => cause.into(),
            Error::Organisation(_) | Error::Telling(_) | Error::NoDay | Error::Failed(_) => {
                ApiError::internal(error)
            }
        }
    }
}

impl From<rules::Error> for ApiError {
    fn from(error: rules::Error) -> ApiError {
        use organisation::Error as Organisation;
        use rules::{Error, VerbError};
        let (status, errcode) = match error {
            Error::NoAuthority => (StatusCode::NOT_FOUND, "M_NOT_FOUND"),
            Error::Refused(_) => (StatusCode::BAD_REQUEST, "M_INVALID_PARAM"),
            Error::Verb(VerbError::Refused(_)) => (StatusCode::FORBIDDEN, "M_FORBIDDEN"),
            Error::Changed => (StatusCode::CONFLICT, "M_UNKNOWN"),
            Error::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN"),
            Error::Organisation(Organisation::Store(cause)) | Error::Store(cause) => return cause.into(),
            Error::Organisation(Organisation::Commit(cause)) | Error::Commit(cause) => return cause.into(),
            Error::Organisation(cause) => return ApiError::internal(cause),
            Error::Verb(VerbError::Failed(_)) | Error::Unreadable(..) => return ApiError::internal(error),
            Error::Failed(cause) => return ApiError::internal(cause),
        };
        let words = error.words().map(|words| (words.ja, words.en)).unwrap_or_default();
        let (ja, en) = words;
        ApiError::new(status, errcode, format!("{ja} / {en}")).with("ja", ja).with("en", en)
    }
}

impl From<push::Error> for ApiError {
    fn from(error: push::Error) -> ApiError {
        match error {
            push::Error::BadToken => ApiError::invalid_param("`from` is not a token of this list"),
            push::Error::NotInThread => ApiError::new(
                StatusCode::BAD_REQUEST,
                "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD",
                "The event is not in the thread",
            ),
            push::Error::Invalid(message) => ApiError::invalid_param(message),
            push::Error::TooLarge(message) => ApiError::too_large(message),
            push::Error::Room(cause) => cause.into(),
            push::Error::Account(cause) => cause.into(),
            push::Error::Store(cause) => cause.into(),
        }
    }
}

impl From<search::Error> for ApiError {
    fn from(error: search::Error) -> ApiError {
        match error {
            search::Error::BadToken => ApiError::invalid_param("`next_batch` is not a token of a search"),
            // Nothing is wrong with the server, and its metrics count it.
            error @ search::Error::Busy => ApiError::unavailable(error).known(),
            search::Error::Room(cause) => cause.into(),
            search::Error::Store(cause) => cause.into(),
            search::Error::Commit(cause) => cause.into(),
        }
    }
}

impl From<room::Error> for ApiError {
    fn from(error: room::Error) -> ApiError {
        use room::Error;
        let bad = |errcode, message: String| ApiError::new(StatusCode::BAD_REQUEST, errcode, message);
        match error {
            Error::NoRoom(room) => ApiError::not_found(format!("There is no room {room} here")),
            Error::NoEvent(event) => ApiError::not_found(format!("There is no event {event} here")),
            Error::NoState => ApiError::not_found("There is no such state"),
            Error::NotFound(message) => ApiError::not_found(message),
            Error::NotJoined { .. } => ApiError::forbidden("You are not in this room"),
            Error::NotOurs(user) => ApiError::forbidden(format!("{user} is not a user of this server")),
            Error::Forbidden(failure) => ApiError::forbidden(failure.to_string()),
            Error::NotAllowed(message) => ApiError::forbidden(message),
            Error::Denied(denial) => {
                let room::Denial { public, private } = denial;
                ApiError::forbidden(public).because(private)
            }
            Error::AclDenied(server) => {
                ApiError::forbidden(format!("{server} is kept out of this room by its server ACL"))
            }
            Error::Format(failure) => failure.into(),
            Error::Unverified(failure) => ApiError::forbidden(failure.to_string()),
            Error::TooLarge => ApiError::too_large("The event is larger than 65,536 bytes"),
            Error::Invalid(message) => ApiError::invalid_param(message),
            Error::BadRoomState(message) => bad("M_INVALID_ROOM_STATE", message),
            Error::UnsupportedVersion(version) => {
                bad("M_UNSUPPORTED_ROOM_VERSION", format!("Room version {version} is not supported here"))
            }
            Error::IncompatibleVersion(version) => bad(
                "M_INCOMPATIBLE_ROOM_VERSION",
                format!("Your server does not know room version {version}"),
            )
            .with("room_version", version.as_str()),
            Error::BadAlias(alias) => {
                bad("M_BAD_ALIAS", format!("The alias {alias} does not lead to this room"))
            }
            Error::BadThread => {
                ApiError::bad_request("A thread cannot begin with an event that relates to another one")
            }
            Error::DuplicateAnnotation => {
                bad("M_DUPLICATE_ANNOTATION", "You have said the same of this event before".to_owned())
            }
            Error::AliasTaken => ApiError::new(StatusCode::CONFLICT, "M_UNKNOWN", "The alias is taken"),
            Error::UnableToAuthoriseJoin => {
                bad("M_UNABLE_TO_AUTHORISE_JOIN", "This server cannot tell whether you may join".to_owned())
            }
            Error::UnableToGrantJoin => {
                bad("M_UNABLE_TO_GRANT_JOIN", "Nobody of this server may grant the join".to_owned())
            }
            Error::Remote(failure) => failure.into(),
            Error::InviteBlocked(user) => ApiError::new(
                StatusCode::FORBIDDEN,
                "M_INVITE_BLOCKED",
                format!("{user} does not take this invite"),
            ),
            Error::NoGuests => ApiError::guest_forbidden("This room takes no guests"),
            Error::NotForGuests => ApiError::guest_forbidden("Guests may not do this"),
            Error::ServerNotices => ApiError::new(
                StatusCode::FORBIDDEN,
                "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM",
                "In this room your server tells you what you have to know; the invite cannot be refused",
            ),
            Error::DelayTooLong(longest) => {
                let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
                bad("M_UNKNOWN", "The delay is longer than this server allows".to_owned())
                    .with("org.matrix.msc4140.errcode", "M_MAX_DELAY_EXCEEDED")
                    .with("org.matrix.msc4140.max_delay", longest_ms)
            }
            Error::TooManyDelays(Some(retry_after)) => {
                ApiError::over("delayed_events", retry_after.max(Duration::from_secs(1)))
                    .with("org.matrix.msc4140.errcode", "M_MAX_DELAYED_EVENTS_EXCEEDED")
            }
            Error::TooManyDelays(None) => ApiError::forbidden("This server delays no events"),
            Error::DelayEnded => ApiError::new(
                StatusCode::CONFLICT,
                "M_UNKNOWN",
                "The delayed event has been sent or cancelled already",
            ),
            Error::Busy => ApiError::limited(Duration::from_secs(1)).because(error),
            Error::BeingPurged(_) => ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "M_UNKNOWN",
                "The room is being removed from this server; it can be joined again in a while",
            )
            .after(Duration::from_secs(30))
            .known(),
            // The errcode of MSC3895, which is a draft: no other says it, and who does not know it reads the status.
            Error::MembersLacking(_) => ApiError::new(
                StatusCode::NOT_FOUND,
                "M_UNABLE_DUE_TO_PARTIAL_STATE",
                "Not all members of the room are known here yet; ask again in a while",
            )
            .known(),
            Error::Contended | Error::Interrupted => ApiError::unavailable(error),
            Error::Inconsistent(_) | Error::Resolution(_) => ApiError::internal(error),
            Error::Store(cause) => cause.into(),
            Error::Commit(cause) => cause.into(),
        }
    }
}

impl From<pdu::FormatError> for ApiError {
    fn from(error: pdu::FormatError) -> ApiError {
        use pdu::FormatError;
        match error {
            FormatError::TooLarge { .. } => ApiError::too_large(error.to_string()),
            FormatError::Json(_)
            | FormatError::Missing { .. }
            | FormatError::WrongType { .. }
            | FormatError::TooLong { .. }
            | FormatError::OutOfRange { .. }
            | FormatError::TooMany { .. }
            | FormatError::Id { .. }
            | FormatError::Unexpected { .. } => ApiError::bad_json(error.to_string()),
        }
    }
}

impl From<room::RemoteError> for ApiError {
    fn from(error: room::RemoteError) -> ApiError {
        use room::RemoteError;
        // Another server's trouble is no error of ours, and anybody may have us ask one that is not there: it
        // is known, for the log.
        match error {
            RemoteError::Unreachable { ref server, .. } => {
                let message = format!("{server} cannot be reached");
                ApiError::new(StatusCode::BAD_GATEWAY, "M_UNREACHABLE", message).because(error).known()
            }
            RemoteError::Refused { ref server, ref code, ref message, ref room_version, .. } => {
                let told = format!("{server} refused: {}", beginning(message, MOST_OF_A_SENTENCE));
                let Some((status, code)) = refusal_for_clients(code) else {
                    return ApiError::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", told).because(error).known();
                };
                let answer = ApiError::new(status, code, told);
                let answer = match status {
                    StatusCode::TOO_MANY_REQUESTS => answer.after(Duration::from_secs(5)),
                    _ => answer,
                };
                match room_version {
                    Some(version) => answer.with("room_version", beginning(version, MOST_OF_A_VERSION)),
                    None => answer,
                }
            }
            RemoteError::BadAnswer { ref server, .. } => {
                let message = format!("{server} gave a bad answer");
                ApiError::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", message).because(error).known()
            }
            RemoteError::Off => ApiError::forbidden("This server does not talk with others"),
        }
    }
}

/// How much of another server's sentence is told, in characters.
const MOST_OF_A_SENTENCE: usize = 300;

/// How much of what another server calls a room version.
const MOST_OF_A_VERSION: usize = 32;

/// What our client is told when another server refused with this errcode, if the refusal is a matter of
/// the client's request. All others are between that server and us: a client that heard of a token
/// which the other server does not know would sign its user out here, and one that heard of a limit would
/// send its user to our administrators.
///
/// The status goes with the errcode and not with what the other server sent.
fn refusal_for_clients(code: &str) -> Option<(StatusCode, &'static str)> {
    Some(match code {
        "M_FORBIDDEN" => (StatusCode::FORBIDDEN, "M_FORBIDDEN"),
        "M_NOT_FOUND" => (StatusCode::NOT_FOUND, "M_NOT_FOUND"),
        "M_LIMIT_EXCEEDED" => (StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED"),
        "M_INCOMPATIBLE_ROOM_VERSION" => (StatusCode::BAD_REQUEST, "M_INCOMPATIBLE_ROOM_VERSION"),
        "M_UNSUPPORTED_ROOM_VERSION" => (StatusCode::BAD_REQUEST, "M_UNSUPPORTED_ROOM_VERSION"),
        "M_UNABLE_TO_AUTHORISE_JOIN" => (StatusCode::BAD_REQUEST, "M_UNABLE_TO_AUTHORISE_JOIN"),
        "M_UNABLE_TO_GRANT_JOIN" => (StatusCode::BAD_REQUEST, "M_UNABLE_TO_GRANT_JOIN"),
        "M_INVITE_BLOCKED" => (StatusCode::FORBIDDEN, "M_INVITE_BLOCKED"),
        _ => return None,
    })
}

fn beginning(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

/// Where an account is signed in to that is asked for a second factor, in Japanese and in English.
/// Where something is done, as it stands in a sentence in Japanese and in English.
fn at_page(page: Option<&str>) -> (String, String) {
    match page {
        Some(page) => (format!("（{page}）"), format!(" ({page})")),
        None => Default::default(),
    }
}

fn factor_needed(page: Option<&str>) -> (String, String) {
    let (at_ja, at_en) = at_page(page);
    (
        format!(
            "このアカウントには二要素認証が必要です。アプリで「SSO」または「続ける」を選び、ブラウザーの画面{at_ja}でサインインしてください。"
        ),
        format!(
            "This account needs a second factor: choose to sign in with SSO, or on a page of your browser{at_en}, in your app."
        ),
    )
}

/// What somebody is told who has to have a second factor and does not set it up from where he is.
pub const FACTOR_ELSEWHERE: (&str, &str) = (
    "このネットワークからの利用には二要素認証が必要ですが、まだ設定されていません。パスワードだけでサインインできるネットワーク（庁内など）で、先に設定してください。",
    "From this network a second factor is needed, and you have none yet. Please set it up first from a network where your password is enough.",
);

impl From<&Barred> for ApiError {
    fn from(barred: &Barred) -> ApiError {
        match barred {
            Barred::Denied(denial) => ApiError::forbidden(denial.public.clone()),
            Barred::NoFactor { page } => {
                let (at_ja, at_en) = at_page(page.as_deref());
                ApiError::forbidden(format!(
                    "このネットワークからの利用には二要素認証の設定が必要です。アカウントの画面{at_ja}で設定すると、この端末も続けて使えます。 / \
                     From this network a second factor is needed: set it up on your account page{at_en}, and this device goes on."
                ))
            }
            Barred::BegunBefore { page } => {
                let (at_ja, at_en) = at_page(page.as_deref());
                ApiError::forbidden(format!(
                    "この端末は二要素認証を設定する前にサインインしたため、このネットワークからは使えません。アカウントの画面{at_ja}で自分の端末であることを確認するか、サインインし直してください。 / \
                     This device signed in before you had a second factor, and is not used from this network: confirm on your account page{at_en} that it is yours, or sign in anew."
                ))
            }
        }
    }
}

/// Why a second factor is not taken, in Japanese and in English.
#[must_use]
pub const fn refused_factor(why: Refused) -> (&'static str, &'static str) {
    match why {
        Refused::Wrong => ("コードまたはパスキーが違います。", "The code or the passkey is wrong."),
        Refused::Again => (
            "このコードはすでに使われました。次のコードが表示されるまで待って、入力してください。",
            "This code was used already. Please wait for the next one.",
        ),
        Refused::Off => (
            "アプリの時計がずれているようです。次に表示されるコードも入力してください。",
            "The clock of your app seems to be wrong. Please enter the next code that it shows as well.",
        ),
        Refused::Over => (
            "このコードの有効期限が切れています。管理者にもう一度再設定を依頼してください。",
            "This code has run out. Please ask your administrators to recover your account once more.",
        ),
        Refused::Known => ("このパスキーはすでに登録されています。", "This passkey is set up already."),
        Refused::Copied => (
            "このパスキーは複製されたおそれがあるため、使えません。別の方法でサインインし、削除してください。",
            "This passkey may have been copied and is not taken. Please sign in in another way and remove it.",
        ),
        Refused::TooMany => ("これ以上は登録できません。", "You have as many as you may have."),
        Refused::NotFound => ("見つかりません。", "There is no such factor."),
    }
}

impl From<account::Error> for ApiError {
    fn from(error: account::Error) -> ApiError {
        use account::Error;
        let bad = |errcode, message: String| ApiError::new(StatusCode::BAD_REQUEST, errcode, message);
        match error {
            Error::UserInUse => bad("M_USER_IN_USE", "The user name is taken".to_owned()),
            Error::Exclusive => bad(
                "M_EXCLUSIVE",
                "The name is kept for an application service, or not for this one".to_owned(),
            ),
            Error::UnknownDevice => bad("M_UNKNOWN_DEVICE", "The user has no such device".to_owned()),
            Error::InvalidUsername(why) => bad("M_INVALID_USERNAME", why.to_owned()),
            Error::WeakPassword(why) => bad("M_WEAK_PASSWORD", why.to_owned()),
            Error::RegistrationClosed => ApiError::forbidden("Registration is closed on this server"),
            Error::Interactive(info) => ApiError::interactive(&info),
            Error::WrongCredentials => ApiError::forbidden("The user name or the password is wrong"),
            Error::FactorNeeded { page } => {
                let (ja, en) = factor_needed(page.as_deref());
                ApiError::forbidden(format!("{ja} / {en}"))
            }
            Error::FactorElsewhere => {
                let (ja, en) = FACTOR_ELSEWHERE;
                ApiError::forbidden(format!("{ja} / {en}"))
            }
            // Spec: <https://spec.matrix.org/v1.19/client-server-api/#other-error-codes>; it has to lead somewhere.
            Error::TooManyDevices { denial, page: Some(page) } => {
                let text = format!("{}\n{page}", denial.public);
                ApiError::new(StatusCode::FORBIDDEN, "M_USER_LIMIT_EXCEEDED", text).with("info_uri", page)
            }
            Error::TooManyDevices { denial, page: None } => ApiError::forbidden(denial.public),
            Error::Factor(why) => ApiError::forbidden(refused_factor(why).1),
            Error::Stale => ApiError::forbidden("This was begun too long ago; please begin again"),
            Error::Deactivated(_) => {
                ApiError::new(StatusCode::FORBIDDEN, "M_USER_DEACTIVATED", "This account is deactivated")
            }
            Error::Locked => TokenError::Locked.into(),
            Error::EndedAtProvider => {
                ApiError::forbidden("The sign-in was ended at the identity provider; sign in once more")
            }
            Error::UnknownToken { soft_logout } => TokenError::Unknown { soft_logout }.into(),
            Error::Forbidden(why) => ApiError::forbidden(why),
            Error::NoGuests(why) => ApiError::guest_forbidden(why),
            Error::NotFound(what) => ApiError::not_found(what),
            Error::MissingParam(what) => ApiError::missing_param(what),
            Error::InvalidParam(why) => ApiError::invalid_param(why),
            Error::BadRequest(why) => ApiError::bad_json(format!("The body has an unexpected shape: {why}")),
            Error::UnsubscribedSince => ApiError::new(
                StatusCode::CONFLICT,
                "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION",
                "The thread was left after that event",
            ),
            Error::TooLarge(what) => ApiError::too_large(what),
            Error::KeyTooLarge => bad("M_KEY_TOO_LARGE", "A field's name has at most 255 bytes".to_owned()),
            Error::ProfileTooLarge => bad("M_PROFILE_TOO_LARGE", "The profile would be too large".to_owned()),
            Error::Managed(kind) => ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "M_BAD_JSON",
                format!("{kind} cannot be set through account data"),
            ),
            Error::Limited { limit, retry_after } => ApiError::over(limit, retry_after),
            Error::Contact(cause) => cause.into(),
            Error::Room(cause) => cause.into(),
            Error::Contended => ApiError::unavailable(error),
            Error::Store(cause) => cause.into(),
            Error::Commit(cause) => cause.into(),
        }
    }
}

/// When a device may have fetched what fills its inbox.
const FULL_INBOX: Duration = Duration::from_secs(60);

impl From<oauth::Error> for ApiError {
    fn from(error: oauth::Error) -> ApiError {
        use oauth::Error;
        match error {
            // To clients this is told as OAuth 2.0 has it; here whoever opened a page reads it.
            Error::Refused { code, text } => ApiError::bad_request(format!("{}: {text}", code.word())),
            Error::NoRendezvous => ApiError::not_found("There is no such rendezvous, or it has run out"),
            Error::Overtaken(_) => ApiError::new(
                StatusCode::PRECONDITION_FAILED,
                "M_UNKNOWN",
                "Somebody else has written meanwhile",
            )
            .with("org.matrix.msc4108.errcode", "M_CONCURRENT_WRITE"),
            Error::TooLarge(what) => ApiError::too_large(what),
            Error::Full => ApiError::over("waiting_sign_ins", Duration::from_secs(60)),
            Error::Account(cause) => cause.into(),
            Error::Store(cause) => cause.into(),
            Error::Commit(cause) => cause.into(),
            Error::Contended => ApiError::unavailable(error),
        }
    }
}

impl From<to_device::Error> for ApiError {
    fn from(error: to_device::Error) -> ApiError {
        use to_device::Error;
        match error {
            Error::BadMessage(why) => ApiError::bad_json(why),
            Error::InvalidParam(why) => ApiError::invalid_param(why),
            Error::TooLarge(what) => ApiError::too_large(what),
            Error::ShareFull => ApiError::over("to_device_inbox", FULL_INBOX),
            Error::Contended => ApiError::unavailable(error),
            Error::Account(cause) => cause.into(),
            Error::Store(cause) => cause.into(),
            Error::Commit(cause) => cause.into(),
        }
    }
}

impl From<media::Error> for ApiError {
    fn from(error: media::Error) -> ApiError {
        use media::Error;
        match error {
            Error::NotFound => ApiError::not_found("There is no such media here"),
            Error::NotYetUploaded => ApiError::new(
                StatusCode::GATEWAY_TIMEOUT,
                "M_NOT_YET_UPLOADED",
                "The media has not been uploaded yet",
            )
            .known(),
            Error::AlreadyUploaded => ApiError::new(
                StatusCode::CONFLICT,
                "M_CANNOT_OVERWRITE_MEDIA",
                "This media has been uploaded already",
            ),
            Error::NotTheirs => ApiError::forbidden("This media id is not yours"),
            Error::Denied(denial) => {
                let room::Denial { public, private } = denial;
                ApiError::forbidden(public).because(private)
            }
            // Forbidden and not unknown: it is a rule that says no, and asking again changes nothing.
            Error::Refused(reason) => ApiError::forbidden(format!("{} {}", reason.ja(), reason.en()))
                .with("jp.yakuba.reason", reason.code()),
            Error::NotScanned(why) => not_now(
                "ウイルス検査がまだできないため、お渡しできません。しばらくしてからお試しください。\
                 The file could not be scanned for viruses yet. Please try again later.",
                why,
            ),
            Error::Unjudged(why) => not_now(
                "無害化がまだできないため、お渡しできません。しばらくしてからお試しください。\
                 The file could not be sanitised yet. Please try again later.",
                why,
            ),
            Error::TooLarge(limit) => ApiError::too_large(format!("The file is larger than {limit}")),
            Error::TooManyWithheld => ApiError::too_large("Very many files are withheld already"),
            Error::TooLargeElsewhere(limit) => ApiError::new(
                StatusCode::BAD_GATEWAY,
                "M_TOO_LARGE",
                format!("The media is larger than the {limit} that this server fetches"),
            ),
            Error::Elsewhere(cause) => {
                ApiError::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", "The media's server did not give it")
                    .because(cause)
                    .known()
            }
            Error::NoPreviews => ApiError::not_found("Previews of links are switched off on this server"),
            Error::TooManyPoints(most) => ApiError::too_large(format!(
                "The picture has more than the {most} points of which thumbnails are made"
            )),
            Error::NoThumbnail(why) => ApiError::bad_request(why),
            Error::Quota { of: media::QuotaOf::User, bound } => {
                ApiError::forbidden(format!("Your files would be more than the {bound} that you may keep"))
            }
            Error::Quota { of: media::QuotaOf::Authority, bound } => ApiError::forbidden(format!(
                "The files of all users would be more than the {bound} that may be kept here"
            )),
            Error::Limited { limit, retry_after } => ApiError::over(limit, retry_after),
            Error::Invalid(why) => ApiError::invalid_param(why),
            Error::NoRoom(_) => ApiError::no_room(error),
            Error::Away { .. } => ApiError::unavailable(error),
            Error::FileGone(_) | Error::Files { .. } | Error::Foreign => ApiError::internal(error),
            Error::Contended => ApiError::unavailable(error),
            Error::Store(cause) => cause.into(),
            Error::Commit(cause) => cause.into(),
        }
    }
}

/// 503 `M_UNKNOWN` with a sentence of its own. The cause was logged where it was noticed.
fn not_now(message: &'static str, cause: String) -> ApiError {
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", message);
    error.after(Duration::from_secs(30)).because(cause).known()
}

impl From<encryption::Error> for ApiError {
    fn from(error: encryption::Error) -> ApiError {
        use encryption::Error;
        let bad = |errcode, message: String| ApiError::new(StatusCode::BAD_REQUEST, errcode, message);
        match error {
            Error::KeyExists(message) => bad("M_UNKNOWN", message),
            Error::Invalid(message) => ApiError::invalid_param(message),
            Error::BadJson(message) => ApiError::bad_json(message),
            Error::BadSignature(message) => bad("M_INVALID_SIGNATURE", message),
            Error::Missing(what) => ApiError::missing_param(what),
            Error::TooLarge(what) => ApiError::too_large(what),
            Error::NotFound(what) => ApiError::not_found(what),
            Error::WrongVersion { current } => ApiError::new(
                StatusCode::FORBIDDEN,
                "M_WRONG_ROOM_KEYS_VERSION",
                "Keys are backed up in another version by now",
            )
            .with("current_version", current),
            Error::Contended => ApiError::unavailable(error),
            Error::Account(cause) => cause.into(),
            Error::Room(cause) => cause.into(),
            Error::Store(cause) => cause.into(),
            Error::Commit(cause) => cause.into(),
        }
    }
}

/// What is wrong with a request that ruma could not read.
pub(crate) fn bad_request(error: FromHttpRequestError, body: &[u8]) -> ApiError {
    match error {
        FromHttpRequestError::Deserialization(DeserializationError::Json(error)) => bad_body(&error, body),
        FromHttpRequestError::Deserialization(DeserializationError::Query(error)) => bad_parameter(&error),
        FromHttpRequestError::Deserialization(DeserializationError::Header(
            HeaderDeserializationError::MissingHeader(name),
        )) => ApiError::missing_param(format!("The header {name} is missing")),
        FromHttpRequestError::Deserialization(error) => ApiError::invalid_param(error.to_string()),
        error => ApiError::invalid_param(error.to_string()),
    }
}

/// What is wrong with a query or a path.
pub(crate) fn bad_parameter(error: &ruma::exports::serde_html_form::de::Error) -> ApiError {
    let message = error.to_string();
    if message.starts_with("missing field") {
        return ApiError::missing_param(message);
    }
    ApiError::invalid_param(message)
}

impl From<account::ContactError> for ApiError {
    fn from(error: account::ContactError) -> ApiError {
        use account::ContactError;
        let bad = |errcode, message| ApiError::new(StatusCode::BAD_REQUEST, errcode, message);
        let forbidden = |errcode, message| ApiError::new(StatusCode::FORBIDDEN, errcode, message);
        match error {
            ContactError::InUse => bad("M_THREEPID_IN_USE", "This address belongs to an account already"),
            ContactError::NotFound => bad("M_THREEPID_NOT_FOUND", "No account has this address"),
            ContactError::Denied => forbidden("M_THREEPID_DENIED", "This server does not take this address"),
            ContactError::NotSupported => {
                bad("M_THREEPID_MEDIUM_NOT_SUPPORTED", "This server takes no such addresses")
            }
            ContactError::NotProved => {
                bad("M_THREEPID_AUTH_FAILED", "The address is not confirmed, or not any more")
            }
            ContactError::NotTrusted => {
                forbidden("M_SERVER_NOT_TRUSTED", "This server asks no identity servers")
            }
        }
    }
}
