//! Which endpoint is in which class of [`Class`].
//!
//! Endpoints are told by their newest path, as the specification writes it. One that is not named here
//! falls under reading or writing, so none is without a limit.

use http::Method;

use crate::Class;

/// The class of an endpoint; `None` for what is no one's but the administrator's.
pub(crate) fn class_of(method: &Method, path: &str) -> Option<Class> {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match segments.as_slice() {
        ["_matrix", "client", _version, rest @ ..] => Some(of_client(method, rest)),
        // Whoever shows a token there counts as a user, whoever shows none as a stranger.
        ["_matrix", "media", _version, rest @ ..] => Some(of_client(method, rest)),
        ["_matrix", "static", rest @ ..] => Some(of_client(method, rest)),
        ["_matrix", "federation", _version, rest @ ..] => Some(of_peer(rest)),
        ["_matrix", "key", _version, "query", ..] => Some(Class::PeerKeys),
        ["_synapse", "admin", _version, "register"] => Some(Class::Registration),
        ["_synapse", "admin", ..] if method == Method::GET => Some(Class::Read),
        ["_synapse", "admin", ..] => Some(Class::Write),
        ["_yakuba", .., "sign-in"] | ["_yakuba", "sign-in", _] if method == Method::POST => {
            Some(Class::Login)
        }
        ["_yakuba", .., "sign-up"] if method == Method::POST => Some(Class::Registration),
        // Whoever signs in by a client registers it, and may have it wait.
        ["_yakuba", "oauth2", "register" | "device"] => Some(Class::Registration),
        ["_matrix" | "_synapse" | "_yakuba" | ".well-known", ..] => Some(Class::Open),
        _ => None,
    }
}

fn of_client(method: &Method, segments: &[&str]) -> Class {
    let post = method == Method::POST;
    match segments {
        ["login"] | ["login", "sso", ..] | ["client", "login", ..] if post => Class::Login,
        ["register"] | ["register", "m.login.registration_token", ..] => Class::Registration,
        ["sync" | "events"] | ["org.matrix.simplified_msc3575", "sync"] => Class::Sync,
        [_, "delayed_events", _, ..] if post => Class::Delays,
        ["rooms", _, "send" | "redact", ..] => Class::Send,
        ["rooms", _, "state", ..] if method == Method::PUT => Class::Send,
        ["sendToDevice", ..] => Class::ToDevice,
        ["createRoom"] | ["join" | "knock", _] => Class::Membership,
        ["rooms", _, "join" | "leave" | "forget" | "invite" | "kick" | "ban" | "unban" | "upgrade"] => {
            Class::Membership
        }
        ["directory", ..] if method != Method::GET => Class::Directory,
        ["media", "preview_url"] | ["preview_url"] => Class::Search,
        ["publicRooms" | "search"] | ["user_directory" | "directory" | "room_summary", ..] => Class::Search,
        ["rooms", _, "hierarchy" | "summary" | "timestamp_to_event"] | [.., "mutual_rooms"] => Class::Search,
        _ if method == Method::GET => Class::Read,
        _ => Class::Write,
    }
}

fn of_peer(segments: &[&str]) -> Class {
    match segments {
        ["send", _] => Class::PeerTransactions,
        ["state" | "state_ids", ..] => Class::PeerState,
        [verb, ..] if verb.starts_with("make_") || verb.starts_with("send_") => Class::PeerMembership,
        ["invite", ..] => Class::PeerMembership,
        _ => Class::PeerQueries,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_of_the_two_interfaces_is_in_a_class_and_each_class_has_its_own() {
        for (method, path, class) in [
            ("POST", "/_matrix/client/v3/login", Class::Login),
            ("POST", "/_matrix/media/v3/upload", Class::Write),
            ("GET", "/_matrix/media/v3/download/{server_name}/{media_id}", Class::Read),
            ("GET", "/_matrix/client/v3/login", Class::Read),
            ("POST", "/_matrix/client/v1/login/get_token", Class::Write),
            ("POST", "/_matrix/client/v3/login/sso/redirect", Class::Login),
            ("POST", "/_matrix/static/client/login/", Class::Login),
            ("GET", "/_yakuba/client/email", Class::Open),
            ("POST", "/_matrix/client/v3/register", Class::Registration),
            ("GET", "/_matrix/client/v1/register/m.login.registration_token/validity", Class::Registration),
            ("GET", "/_matrix/client/v3/register/available", Class::Read),
            ("GET", "/_matrix/client/v3/sync", Class::Sync),
            ("POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", Class::Sync),
            ("GET", "/_matrix/client/v3/events", Class::Sync),
            ("PUT", "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}", Class::Send),
            ("PUT", "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}", Class::Send),
            ("GET", "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}", Class::Read),
            ("PUT", "/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{txn_id}", Class::Send),
            ("PUT", "/_matrix/client/v3/sendToDevice/{event_type}/{txn_id}", Class::ToDevice),
            ("POST", "/_matrix/client/v3/createRoom", Class::Membership),
            ("POST", "/_matrix/client/v3/join/{room_id_or_alias}", Class::Membership),
            ("POST", "/_matrix/client/v3/rooms/{room_id}/invite", Class::Membership),
            ("POST", "/_matrix/client/v3/user_directory/search", Class::Search),
            ("GET", "/_matrix/client/v3/directory/room/{room_alias}", Class::Search),
            ("PUT", "/_matrix/client/v3/directory/room/{room_alias}", Class::Directory),
            ("DELETE", "/_matrix/client/v3/directory/room/{room_alias}", Class::Directory),
            ("PUT", "/_matrix/client/v3/directory/list/room/{room_id}", Class::Directory),
            ("GET", "/_matrix/client/v3/publicRooms", Class::Search),
            ("GET", "/_matrix/client/v1/media/preview_url", Class::Search),
            ("GET", "/_matrix/media/v3/preview_url", Class::Search),
            ("GET", "/_matrix/client/v1/rooms/{room_id}/hierarchy", Class::Search),
            ("GET", "/_matrix/client/v3/rooms/{room_id}/messages", Class::Read),
            ("PUT", "/_matrix/client/v3/rooms/{room_id}/typing/{user_id}", Class::Write),
            ("POST", "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{id}/send", Class::Delays),
            ("POST", "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{id}", Class::Delays),
            ("GET", "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{id}", Class::Read),
            ("PUT", "/_matrix/federation/v1/send/{transaction_id}", Class::PeerTransactions),
            ("PUT", "/_matrix/federation/v2/send_join/{room_id}/{event_id}", Class::PeerMembership),
            ("GET", "/_matrix/federation/v1/make_knock/{room_id}/{user_id}", Class::PeerMembership),
            ("PUT", "/_matrix/federation/v2/invite/{room_id}/{event_id}", Class::PeerMembership),
            ("GET", "/_matrix/federation/v1/state/{room_id}", Class::PeerState),
            ("GET", "/_matrix/federation/v1/backfill/{room_id}", Class::PeerQueries),
            ("POST", "/_matrix/key/v2/query", Class::PeerKeys),
            ("GET", "/_matrix/key/v2/server", Class::Open),
            ("GET", "/.well-known/matrix/client", Class::Open),
            ("POST", "/_synapse/admin/v1/register", Class::Registration),
            ("PUT", "/_synapse/admin/v1/send_server_notice/{txn_id}", Class::Write),
            ("GET", "/_synapse/admin/v2/users", Class::Read),
            ("DELETE", "/_synapse/admin/v2/rooms/{room}", Class::Write),
            ("POST", "/_yakuba/sign-in", Class::Login),
            ("POST", "/_yakuba/sign-in/second", Class::Login),
            ("POST", "/_yakuba/sign-in/first", Class::Login),
            ("POST", "/_yakuba/sign-up", Class::Registration),
            ("GET", "/_yakuba/sign-in", Class::Open),
            ("POST", "/_yakuba/oauth2/register", Class::Registration),
            ("POST", "/_yakuba/oauth2/token", Class::Open),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            assert_eq!(class_of(&method, path), Some(class), "{method} {path}");
        }
        assert_eq!(class_of(&Method::GET, "/health"), None);
    }
}
