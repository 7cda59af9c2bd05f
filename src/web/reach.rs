//! Which endpoints accounts reach that are locked or suspended, guests, tokens that have run out, and application services
//! that act on no device.
//!
//! Whoever is suspended reads on, verifies devices, signs in and out, leaves rooms and redacts what he said; what others
//! would see of him otherwise is refused. Redactions of what others said are refused where the event is known, and not
//! here. An endpoint that is not named is open to him: most concern nobody but himself.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#account-suspension>,
//! <https://spec.matrix.org/v1.19/client-server-api/#account-locking>,
//! <https://spec.matrix.org/v1.19/client-server-api/#soft-logout>

use http::Method;

/// Who reaches an endpoint, besides all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Those whose token has run out: what they no longer use they may still end.
    pub(crate) by_expired: bool,
    /// Those whose account is locked, or whose session is not used from where they are.
    pub(crate) by_locked: bool,
    /// Those whose account is suspended.
    pub(crate) by_suspended: bool,
    /// Whether it is about the caller's own device.
    pub(crate) needs_device: bool,
    /// Guests.
    pub(crate) by_guest: bool,
}

impl Reach {
    /// Of an endpoint by its newest path, as the specification writes it.
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let signs_out = matches!(
            segments.as_slice(),
            ["_matrix", "client", _, "logout"] | ["_matrix", "client", _, "logout", "all"]
        );
        let by_suspended = match segments.as_slice() {
            ["_matrix", "client", _version, rest @ ..] => !is_seen_by_others(method, rest),
            ["_matrix", "media", ..] => method == Method::GET,
            _ => true,
        };
        // Signing out everywhere is more than ending what has run out.
        let by_expired = signs_out && segments.last() == Some(&"logout");
        let needs_device = matches!(
            segments.as_slice(),
            ["_matrix", "client", _, "keys", "upload", ..]
                | ["_matrix", "client", _, "logout"]
                | ["_matrix", "client", _, "login", "get_token"]
        );
        let by_guest = signs_out || is_for_guests(method, &segments);
        Self { by_expired, by_locked: signs_out, by_suspended, needs_device, by_guest }
    }
}

/// Whether guests are served at an endpoint: what the specification lists, another way to join, and what anybody is told
/// of a server. Of their profile they may change the name alone, where it is known what is changed.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#guest-access>
fn is_for_guests(method: &Method, segments: &[&str]) -> bool {
    let rest = match segments {
        ["_matrix", "client", "versions"] => return method == Method::GET,
        ["_matrix", "client", "v1" | "v3", rest @ ..] => rest,
        _ => return false,
    };
    matches!(
        (method.as_str(), rest),
        ("GET", ["rooms", _, "state" | "messages" | "members" | "initialSync"])
            | ("GET", ["rooms", _, "context" | "event", _] | ["rooms", _, "state", _, _])
            | ("GET", ["sync" | "events" | "devices"] | ["devices", _] | ["account", "whoami"])
            | ("GET", ["media", "download" | "thumbnail", ..])
            | ("POST", ["rooms", _, "join" | "leave"] | ["join", _])
            | ("PUT", ["rooms", _, "send" | "state", _, _] | ["sendToDevice", _, _])
            | ("PUT", ["profile", _, _] | ["devices", _])
            | ("POST", ["keys", "upload" | "query" | "claim"])
    )
}

/// Whether others see what somebody does at an endpoint of the client-server API.
fn is_seen_by_others(method: &Method, segments: &[&str]) -> bool {
    if method == Method::GET {
        return false;
    }
    match segments {
        ["createRoom"] | ["join" | "knock", _] | ["profile" | "directory" | "presence", ..] => true,
        ["rooms", _, verb, ..] => matches!(
            *verb,
            "send" | "state" | "join" | "invite" | "kick" | "ban" | "unban" | "upgrade" | "typing"
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_locked_signs_out_and_does_nothing_else() {
        for path in ["/_matrix/client/v3/logout", "/_matrix/client/v3/logout/all"] {
            assert!(Reach::of(&Method::POST, path).by_locked, "{path}");
        }
        for path in ["/_matrix/client/v3/sync", "/_matrix/client/v3/login", "/_matrix/media/v3/logout"] {
            assert!(!Reach::of(&Method::GET, path).by_locked, "{path}");
        }
    }

    #[test]
    fn a_token_that_has_run_out_ends_its_own_session_and_nothing_else() {
        assert!(Reach::of(&Method::POST, "/_matrix/client/v3/logout").by_expired);
        for path in
            ["/_matrix/client/v3/logout/all", "/_matrix/client/v3/devices", "/_matrix/media/v3/logout"]
        {
            assert!(!Reach::of(&Method::POST, path).by_expired, "{path}");
        }
    }

    #[test]
    fn what_is_about_a_device_needs_one() {
        for path in ["keys/upload", "logout"] {
            assert!(Reach::of(&Method::POST, &format!("/_matrix/client/v3/{path}")).needs_device, "{path}");
        }
        for path in ["keys/query", "logout/all", "createRoom"] {
            assert!(!Reach::of(&Method::POST, &format!("/_matrix/client/v3/{path}")).needs_device, "{path}");
        }
    }

    #[test]
    fn guests_are_served_where_the_specification_says_so_and_nowhere_else() {
        let (get, put, post, delete) = (Method::GET, Method::PUT, Method::POST, Method::DELETE);
        for (method, path, is_open) in [
            (&get, "/_matrix/client/versions", true),
            (&get, "/_matrix/client/v3/rooms/{room_id}/state", true),
            (&get, "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}", true),
            (&get, "/_matrix/client/v3/rooms/{room_id}/event/{event_id}", true),
            (&get, "/_matrix/client/v3/rooms/{room_id}/joined_members", false),
            (&get, "/_matrix/client/v1/rooms/{room_id}/hierarchy", false),
            (&get, "/_matrix/client/v1/media/download/{server_name}/{media_id}", true),
            (&get, "/_matrix/client/v1/media/preview_url", false),
            (&post, "/_matrix/media/v3/upload", false),
            (&post, "/_matrix/client/v3/rooms/{room_id}/join", true),
            (&post, "/_matrix/client/v3/rooms/{room_id}/invite", false),
            (&post, "/_matrix/client/v3/knock/{room_id_or_alias}", false),
            (&post, "/_matrix/client/v3/createRoom", false),
            (&put, "/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{txn_id}", false),
            (&put, "/_matrix/client/v3/devices/{device_id}", true),
            (&delete, "/_matrix/client/v3/devices/{device_id}", false),
            (&get, "/_matrix/client/v3/room_keys/version", false),
            (&post, "/_matrix/client/v3/keys/device_signing/upload", false),
            (&post, "/_matrix/client/v3/account/password", false),
            (&post, "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", false),
            (&post, "/_synapse/admin/v1/send_server_notice", false),
            (&post, "/_matrix/client/v3/logout/all", true),
        ] {
            assert_eq!(Reach::of(method, path).by_guest, is_open, "{method} {path}");
        }
    }

    #[test]
    fn whoever_is_suspended_reads_and_does_not_speak() {
        let (get, put, post) = (Method::GET, Method::PUT, Method::POST);
        for (method, path, is_open) in [
            (&put, "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}", false),
            (&put, "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}", false),
            (&get, "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}", true),
            (&put, "/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{txn_id}", true),
            (&post, "/_matrix/client/v3/rooms/{room_id}/leave", true),
            (&post, "/_matrix/client/v3/rooms/{room_id}/join", false),
            (&post, "/_matrix/client/v3/rooms/{room_id}/invite", false),
            (&post, "/_matrix/client/v3/join/{room_id_or_alias}", false),
            (&post, "/_matrix/client/v3/createRoom", false),
            (&put, "/_matrix/client/v3/profile/{user_id}/{key_name}", false),
            (&get, "/_matrix/client/v3/profile/{user_id}", true),
            (&put, "/_matrix/client/v3/presence/{user_id}/status", false),
            (&post, "/_matrix/client/v3/rooms/{room_id}/receipt/{receipt_type}/{event_id}", true),
            (&put, "/_matrix/client/v3/sendToDevice/{event_type}/{txn_id}", true),
            (&post, "/_matrix/client/v3/keys/signatures/upload", true),
            (&post, "/_matrix/media/v3/upload", false),
            (&get, "/_matrix/client/v3/sync", true),
            (&post, "/_matrix/client/v3/logout", true),
        ] {
            assert_eq!(Reach::of(method, path).by_suspended, is_open, "{method} {path}");
        }
    }
}
