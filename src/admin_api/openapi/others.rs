//! Reports, notices, registration by the shared secret, and the server itself.

use super::{
    DOCUMENT,
    operation::Operation,
    schema::{
        NOTHING,
        Schema::{self, *},
        has, may,
    },
    shapes::DIRECTION,
};

const NOTICE: Schema = Object(&[
    has("user_id", Text),
    has("content", Map(&Any)),
    may("type", Maybe(&Text)),
    may("state_key", Maybe(&Text)).about("refused: a notice is a message"),
]);

const EVENT: Schema = Object(&[has("event_id", Text)]);

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get(
        ("/_synapse/admin/v1/event_reports", "listReports"),
        ("通報の一覧", "Lists what users have reported"),
        Object(&[
            has("event_reports", List(&Shape("Report"))),
            has("total", Number),
            may("next_token", Number),
        ]),
    )
    .asking(&[
        may("from", Number),
        may("limit", Number),
        may("dir", DIRECTION).about("the newest first where nothing is said"),
        may("user_id", Text).about("who reported"),
        may("room_id", Text),
        may("event_sender_user_id", Text),
    ]),
    Operation::get(
        ("/_synapse/admin/v1/event_reports/{report}", "getReport"),
        ("通報", "One report, with the event"),
        Shape("ReportDetails"),
    )
    .noting("A row in the audit log says that it was read."),
    Operation::delete(
        ("/_synapse/admin/v1/event_reports/{report}", "removeReport"),
        ("通報の削除", "Removes a report"),
        NOTHING,
    )
    .taking_if_any(NOTHING),
    Operation::post(
        ("/_synapse/admin/v1/send_server_notice", "sendNotice"),
        ("お知らせの送信", "Tells a user something in the name of the authority"),
        EVENT,
    )
    .taking(NOTICE),
    Operation::put(
        ("/_synapse/admin/v1/send_server_notice/{txn_id}", "sendNoticeOnce"),
        ("お知らせの送信（一度だけ）", "The same, once"),
        EVENT,
    )
    .taking(NOTICE),
    Operation::get(
        ("/_synapse/admin/v1/register", "getNonce"),
        ("登録用の使い捨ての値", "A nonce to sign with the shared secret"),
        Object(&[has("nonce", Text)]),
    )
    .for_anybody()
    .noting("Not there (404) where no shared secret is set."),
    Operation::post(
        ("/_synapse/admin/v1/register", "registerBySecret"),
        ("共有の秘密による登録", "Makes an account by the shared secret, and signs in to it"),
        Object(&[
            has("access_token", Text),
            has("user_id", Text),
            has("home_server", Text),
            has("device_id", Text),
        ]),
    )
    .for_anybody()
    .taking(Object(&[
        has("nonce", Text),
        has("username", Text),
        may("displayname", Maybe(&Text)),
        has("password", Text),
        may("admin", Truth),
        may("user_type", Maybe(&Text)),
        has("mac", Text).about("HMAC-SHA1 of these by the secret, as hexadecimal"),
    ])),
    Operation::get(
        ("/_synapse/admin/v1/server_version", "getServerVersion"),
        ("サーバーの版", "Which program this is"),
        Object(&[has("server_version", Text), has("python_version", Text).about("empty")]),
    )
    .for_anybody(),
    Operation::get(
        ("/_synapse/admin/v1/background_updates/status", "getUpdates"),
        ("保存データの更新", "Changes of stored data: there are none"),
        Object(&[has("enabled", Truth), has("current_updates", Map(&Any))]),
    ),
    Operation::get(
        ("/_synapse/admin/v1/background_updates/enabled", "areUpdatesEnabled"),
        ("保存データの更新が有効か", "Whether they go on"),
        Object(&[has("enabled", Truth)]),
    ),
    Operation::get((DOCUMENT, "getDescription"), ("この文書", "This document"), Map(&Any)),
];
