//! What several answers have in common, by its name.

use super::schema::{
    Field,
    Schema::{self, *},
    has, may,
};

const TEXT: Schema = Maybe(&Text);
const NEVER: Schema = Maybe(&Text);

/// Which way a list goes.
pub(super) const DIRECTION: Schema = Word(&["f", "b"]);

const LISTED_USER: &[Field] = &[
    has("name", Text).about("the user id"),
    has("displayname", TEXT),
    has("avatar_url", TEXT),
    has("is_guest", Truth),
    has("admin", Truth),
    has("deactivated", Truth),
    has("locked", Truth),
    has("suspended", Truth),
    has("erased", Truth).about("whether its words are redacted for who comes later"),
    has("shadow_banned", Truth).about("never"),
    has("user_type", NEVER).about("there are none"),
    has("creation_ts", Number).about("in milliseconds in lists, in seconds of one user alone"),
    has("last_seen_ts", Maybe(&Moment)),
];

const USER: &[Field] = &[
    has("threepids", List(&Shape("ThreePid"))),
    has("external_ids", List(&Shape("ExternalId"))),
    has("appservice_id", TEXT),
    has("consent_server_notice_sent", NEVER),
    has("consent_version", NEVER),
    has("consent_ts", NEVER),
];

pub(super) const ROOM: &[Field] = &[
    has("room_id", Text),
    has("name", TEXT),
    has("canonical_alias", TEXT),
    has("joined_members", Number),
    has("joined_local_members", Number).about("of the administrator's authority"),
    has("version", Text),
    has("creator", TEXT),
    has("encryption", TEXT).about("the algorithm"),
    has("federatable", Truth),
    has("public", Truth).about("in the authority's directory"),
    has("join_rules", TEXT),
    has("guest_access", TEXT),
    has("history_visibility", TEXT),
    has("state_events", Number),
    has("room_type", TEXT),
];

const FILE: &[Field] = &[
    has("media_id", Text),
    has("created_ts", Moment),
    has("last_access_ts", Maybe(&Moment)).about("not kept"),
    has("media_length", Number).about("bytes"),
    has("media_type", Text),
    has("upload_name", TEXT),
    has("quarantined_by", TEXT).about("who withholds it"),
    has("safe_from_quarantine", Truth).about("whether it is protected"),
    has("user_id", TEXT),
];

const REPORT: &[Field] = &[
    has("id", Number),
    has("received_ts", Moment),
    has("room_id", Text),
    has("event_id", Text),
    has("user_id", Text).about("who reported"),
    has("sender", Text).about("who said it"),
    has("reason", TEXT),
    has("score", Maybe(&Number)).about("clients say none"),
    has("name", TEXT).about("of the room, while the authority is in it"),
    has("canonical_alias", TEXT),
];

const SHUT_DOWN: &[Field] = &[
    has("kicked_users", List(&Text)),
    has("failed_to_kick_users", List(&Text)),
    has("local_aliases", List(&Text)).about("none is moved"),
    has("new_room_id", TEXT),
];

/// All of them.
pub(super) const SHAPES: &[(&str, Schema)] = &[
    ("Error", Object(&[has("errcode", Text), has("error", Text)])),
    ("ListedUser", Object(LISTED_USER)),
    ("User", More(LISTED_USER, USER)),
    (
        "ThreePid",
        Object(&[
            has("medium", Word(&["email"])),
            has("address", Text),
            may("added_at", Moment),
            may("validated_at", Moment),
        ]),
    ),
    ("ExternalId", Object(&[has("auth_provider", Text), has("external_id", Text)])),
    (
        "Device",
        Object(&[
            has("device_id", Text),
            has("display_name", TEXT),
            has("last_seen_ip", TEXT),
            has("last_seen_ts", Maybe(&Moment)),
            has("last_seen_user_agent", NEVER).about("not kept"),
            has("user_id", Text),
            has("dehydrated", Truth),
        ]),
    ),
    (
        "RegistrationToken",
        Object(&[
            has("token", Text),
            has("uses_allowed", Maybe(&Number)).about("null is any number"),
            has("pending", Number).about("a use is counted with the account that it makes, so none is"),
            has("completed", Number),
            has("expiry_time", Maybe(&Moment)).about("null is never"),
        ]),
    ),
    ("Room", Object(ROOM)),
    ("Event", Map(&Any)),
    ("ShutDown", Object(SHUT_DOWN)),
    (
        "Deletion",
        Object(&[
            has("delete_id", Text),
            has("room_id", Text),
            has("status", Word(&["active", "complete", "failed"])),
            has("shutdown_room", Shape("ShutDown")),
            may("error", Text),
        ]),
    ),
    ("File", Object(FILE)),
    (
        "FileDetails",
        More(
            FILE,
            &[
                has("media_origin", NEVER),
                has("filesystem_id", NEVER),
                has("url_cache", NEVER),
                has("authenticated", Truth),
                has("sha256", Text),
            ],
        ),
    ),
    ("DeletedFiles", Object(&[has("deleted_media", List(&Text)), has("total", Number)])),
    (
        "Destination",
        Object(&[
            has("destination", Text),
            has("retry_last_ts", Number).about("since when it fails; 0 where it does not"),
            has("retry_interval", Number).about("not told"),
            has("failure_ts", Maybe(&Moment)),
            has("last_successful_stream_ordering", Maybe(&Number)).about("there is none"),
        ]),
    ),
    ("Report", Object(REPORT)),
    (
        "ReportDetails",
        More(
            REPORT,
            &[has("event_json", Maybe(&Any)).about("the event, where the authority may still see it")],
        ),
    ),
];
