//! Users, their devices, and registration tokens.

use super::{
    operation::Operation,
    schema::{
        Field, NOTHING,
        Schema::{self, *},
        has, may,
    },
    shapes::DIRECTION,
};

const ORDER: Schema = Word(&[
    "name",
    "is_guest",
    "admin",
    "deactivated",
    "locked",
    "displayname",
    "avatar_url",
    "creation_ts",
    "last_seen_ts",
    "user_type",
    "shadow_banned",
]);

const LIST: &[Field] = &[
    may("from", Number).about("how many are passed over"),
    may("limit", Number).about("how many are told, 100 where nothing is said and 1,000 at most"),
    may("user_id", Text).about("a part of the user id"),
    may("name", Text).about("a part of the user name or the display name"),
    may("guests", Truth).about("false leaves guests out"),
    may("admins", Truth).about("administrators alone, or others alone"),
    may("deactivated", Truth),
    may("locked", Truth).about("true takes locked accounts in"),
    may("order_by", ORDER),
    may("dir", DIRECTION),
];

const USERS: Schema =
    Object(&[has("users", List(&Shape("ListedUser"))), has("total", Number), may("next_token", Text)]);

const WISH: Schema = Object(&[
    may("password", Maybe(&Text)),
    may("logout_devices", Maybe(&Truth)).about("false leaves devices signed in where a password is set"),
    may("displayname", Maybe(&Text)),
    may("avatar_url", Maybe(&Text)).about("an mxc URI"),
    may("threepids", Maybe(&List(&Shape("ThreePid"))))
        .about("addresses of e-mail, in the place of those that there are"),
    may("external_ids", Maybe(&List(&Shape("ExternalId"))))
        .about("identities, in the place of those that there are"),
    may("admin", Maybe(&Truth)),
    may("deactivated", Maybe(&Truth)).about("true closes it for good"),
    may("locked", Maybe(&Truth)),
    may("suspended", Maybe(&Truth)),
    may("user_type", Maybe(&Text)).about("refused: there are none"),
]);

const TOKEN_WISH: Schema = Object(&[may("uses_allowed", Maybe(&Number)), may("expiry_time", Maybe(&Moment))]);

const CONNECTIONS: Schema = Object(&[has(
    "connections",
    List(&Object(&[
        has("ip", Maybe(&Text)),
        has("last_seen", Moment),
        has("user_agent", Maybe(&Text)).about("not kept"),
    ])),
)]);

const MEMBERSHIP: Schema = Word(&["join", "invite", "knock", "leave", "ban"]);

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get(("/_synapse/admin/v2/users", "listUsers"), ("ユーザーの一覧", "Lists users"), USERS)
        .asking(LIST)
        .noting("Closed accounts are among them where `deactivated` is true."),
    Operation::get(("/_synapse/admin/v3/users", "listUsersV3"), ("ユーザーの一覧", "Lists users"), USERS)
        .asking(LIST)
        .noting("`deactivated` says which of both: closed accounts alone, or the others alone."),
    Operation::get(("/_synapse/admin/v2/users/{user}", "getUser"), ("ユーザー", "One user"), Shape("User")),
    Operation::put(
        ("/_synapse/admin/v2/users/{user}", "putUser"),
        ("ユーザーの作成・変更", "Makes an account, or changes one"),
        Shape("User"),
    )
    .taking(WISH)
    .answering(&[200, 201])
    .noting("All of it is done in one commit, or nothing."),
    Operation::get(
        ("/_synapse/admin/v1/users/{user}/admin", "isAdministrator"),
        ("全体管理者かどうか", "Whether somebody administers the authority"),
        Object(&[has("admin", Truth)]),
    ),
    Operation::put(
        ("/_synapse/admin/v1/users/{user}/admin", "setAdministrator"),
        ("全体管理者にする・外す", "Has somebody administer the authority, or no more"),
        NOTHING,
    )
    .taking(Object(&[has("admin", Truth)])),
    Operation::post(
        ("/_synapse/admin/v1/deactivate/{user}", "closeUser"),
        ("アカウントの閉鎖", "Closes an account for good"),
        Object(&[has("id_server_unbind_result", Word(&["success"]))]),
    )
    .taking_if_any(Object(&[
        may("erase", Truth).about("whether its words are redacted for who comes later")
    ])),
    Operation::post(
        ("/_synapse/admin/v1/reset_password/{user}", "resetPassword"),
        ("パスワードの再設定", "Sets a password"),
        NOTHING,
    )
    .taking(Object(&[has("new_password", Text), may("logout_devices", Maybe(&Truth))])),
    Operation::put(
        ("/_synapse/admin/v1/suspend/{user}", "suspendUser"),
        ("利用停止・解除", "Suspends an account, or no more"),
        Map(&Truth),
    )
    .taking(Object(&[has("suspend", Truth)])),
    Operation::get(
        ("/_synapse/admin/v1/whois/{user}", "whois"),
        ("接続元", "From where somebody was seen"),
        Object(&[has("user_id", Text), has("devices", Map(&Object(&[has("sessions", List(&CONNECTIONS))])))]),
    ),
    Operation::get(
        ("/_synapse/admin/v1/users/{user}/joined_rooms", "listJoinedRooms"),
        ("参加中のルーム", "The rooms in which somebody is"),
        Object(&[has("joined_rooms", List(&Text)), has("total", Number)]),
    ),
    Operation::get(
        ("/_synapse/admin/v1/users/{user}/memberships", "listMemberships"),
        ("ルームとの関係", "What somebody is in which room"),
        Object(&[has("memberships", Map(&MEMBERSHIP))]),
    ),
    Operation::get(
        ("/_synapse/admin/v1/users/{user}/accountdata", "getAccountData"),
        ("アカウントデータ", "What somebody's clients keep"),
        Object(&[has("account_data", Object(&[has("global", Map(&Any)), has("rooms", Map(&Map(&Any)))]))]),
    ),
    Operation::get(
        ("/_synapse/admin/v1/users/{user}/pushers", "listPushers"),
        ("通知の送り先", "Where somebody is notified"),
        Object(&[has("pushers", List(&Map(&Any))), has("total", Number)]),
    ),
    Operation::get(
        ("/_synapse/admin/v1/username_available", "isUsernameAvailable"),
        ("ユーザー名が使えるか", "Whether a user name can be had"),
        Object(&[has("available", Truth)]),
    )
    .asking(&[has("username", Text)]),
    Operation::get(
        ("/_synapse/admin/v1/threepid/{medium}/users/{address}", "findUserByAddress"),
        ("メールアドレスの持ち主", "Whose an address is"),
        Object(&[has("user_id", Text)]),
    ),
    Operation::get(
        ("/_synapse/admin/v1/auth_providers/{provider}/users/{external_id}", "findUserByIdentity"),
        ("認証基盤の利用者", "Whose an identity is"),
        Object(&[has("user_id", Text)]),
    ),
    Operation::get(
        ("/_synapse/admin/v2/users/{user}/devices", "listDevices"),
        ("端末の一覧", "Lists the devices of somebody"),
        Object(&[has("devices", List(&Shape("Device"))), has("total", Number)]),
    ),
    Operation::get(
        ("/_synapse/admin/v2/users/{user}/devices/{device}", "getDevice"),
        ("端末", "One device"),
        Shape("Device"),
    ),
    Operation::put(
        ("/_synapse/admin/v2/users/{user}/devices/{device}", "renameDevice"),
        ("端末の名前", "Names a device"),
        NOTHING,
    )
    .taking(Object(&[may("display_name", Maybe(&Text))])),
    Operation::delete(
        ("/_synapse/admin/v2/users/{user}/devices/{device}", "removeDevice"),
        ("端末のサインアウト", "Ends a session"),
        NOTHING,
    ),
    Operation::post(
        ("/_synapse/admin/v2/users/{user}/delete_devices", "removeDevices"),
        ("複数の端末のサインアウト", "Ends sessions"),
        NOTHING,
    )
    .taking(Object(&[has("devices", List(&Text))])),
    Operation::get(
        ("/_synapse/admin/v1/registration_tokens", "listRegistrationTokens"),
        ("登録トークンの一覧", "Lists registration tokens"),
        Object(&[has("registration_tokens", List(&Shape("RegistrationToken")))]),
    )
    .asking(&[may("valid", Truth).about("those alone that let somebody in now, or the others alone")]),
    Operation::post(
        ("/_synapse/admin/v1/registration_tokens/new", "addRegistrationToken"),
        ("登録トークンの作成", "Makes a registration token"),
        Shape("RegistrationToken"),
    )
    .taking(Object(&[
        may("token", Maybe(&Text)).about("made up where nothing is said"),
        may("uses_allowed", Maybe(&Number)),
        may("expiry_time", Maybe(&Moment)),
        may("length", Maybe(&Number)).about("of one that is made up: 1 to 64"),
    ])),
    Operation::get(
        ("/_synapse/admin/v1/registration_tokens/{token}", "getRegistrationToken"),
        ("登録トークン", "One registration token"),
        Shape("RegistrationToken"),
    ),
    Operation::put(
        ("/_synapse/admin/v1/registration_tokens/{token}", "changeRegistrationToken"),
        ("登録トークンの変更", "Changes a registration token"),
        Shape("RegistrationToken"),
    )
    .taking(TOKEN_WISH),
    Operation::delete(
        ("/_synapse/admin/v1/registration_tokens/{token}", "removeRegistrationToken"),
        ("登録トークンの削除", "Removes a registration token"),
        NOTHING,
    ),
];
