//! Rooms in which the authority has members.

use super::{
    operation::Operation,
    schema::{
        NOTHING,
        Schema::{self, *},
        has, may,
    },
    shapes::{DIRECTION, ROOM},
};

const ORDER: Schema = Word(&[
    "name",
    "alphabetical",
    "canonical_alias",
    "joined_members",
    "size",
    "joined_local_members",
    "version",
    "creator",
    "encryption",
    "federatable",
    "public",
    "join_rules",
    "guest_access",
    "history_visibility",
    "state_events",
]);

const EVENTS: Schema = List(&Shape("Event"));

const DELETE: Schema = Object(&[
    may("block", Truth).about("keeps the authority's users from coming in again"),
    may("purge", Maybe(&Truth)).about("false leaves what is stored"),
    may("new_room_user_id", Maybe(&Text)).about("who makes another room in its place"),
    may("room_name", Maybe(&Text)),
    may("message", Maybe(&Text)),
]);

const BLOCK: Schema = Object(&[has("block", Truth)]);

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get(
        ("/_synapse/admin/v1/rooms", "listRooms"),
        ("ルームの一覧", "Lists rooms"),
        Object(&[
            has("rooms", List(&Shape("Room"))),
            has("offset", Number),
            has("total_rooms", Number),
            may("next_batch", Number),
            may("prev_batch", Number),
        ]),
    )
    .asking(&[
        may("from", Number),
        may("limit", Number).about("100 where nothing is said and 1,000 at most"),
        may("order_by", ORDER),
        may("dir", DIRECTION),
        may("search_term", Text),
        may("public_rooms", Truth),
        may("empty_rooms", Truth).about("rooms that all of the authority have left: alone, or not at all"),
    ]),
    Operation::get(
        ("/_synapse/admin/v1/rooms/{room}", "getRoom"),
        ("ルーム", "One room"),
        More(
            ROOM,
            &[
                has("topic", Maybe(&Text)),
                has("avatar", Maybe(&Text)),
                has("joined_local_devices", Number),
                has("forgotten", Truth),
                has("tombstoned", Truth),
                has("replacement_room", Maybe(&Text)),
            ],
        ),
    ),
    Operation::get(
        ("/_synapse/admin/v1/rooms/{room}/members", "listMembers"),
        ("参加者", "The members, of all servers"),
        Object(&[has("members", List(&Text)), has("total", Number)]),
    ),
    Operation::get(
        ("/_synapse/admin/v1/rooms/{room}/state", "getState"),
        ("現在の状態", "The current state"),
        Object(&[has("state", EVENTS)]),
    )
    .asking(&[may("type", Text)]),
    Operation::get(
        ("/_synapse/admin/v1/rooms/{room}/messages", "getMessages"),
        ("発言", "What was said"),
        Object(&[has("start", Text), may("end", Text), has("chunk", EVENTS), has("state", EVENTS)]),
    )
    .asking(&[
        may("from", Text),
        may("to", Text),
        may("dir", DIRECTION),
        may("limit", Number).about("10 where nothing is said and 500 at most"),
        may("filter", Text).about("a filter of Matrix, as JSON"),
    ])
    .noting("A row in the audit log says that it was read."),
    Operation::get(
        ("/_synapse/admin/v1/rooms/{room}/context/{event}", "getContext"),
        ("発言とその前後", "An event and what is around it"),
        Object(&[
            has("start", Text),
            has("end", Text),
            has("event", Shape("Event")),
            has("events_before", EVENTS),
            has("events_after", EVENTS),
            has("state", EVENTS),
        ]),
    )
    .asking(&[may("limit", Number)])
    .noting("A row in the audit log says that it was read."),
    Operation::get(
        ("/_synapse/admin/v1/rooms/{room}/forward_extremities", "listForwardExtremities"),
        ("前方端点", "The forward extremities"),
        Object(&[
            has("count", Number),
            has(
                "results",
                List(&Object(&[
                    has("event_id", Text),
                    has("depth", Number),
                    has("received_ts", Maybe(&Moment)),
                    has("state_group", Maybe(&Number)).about("there are none"),
                ])),
            ),
        ]),
    ),
    Operation::get(
        ("/_synapse/admin/v1/rooms/{room}/block", "isBlocked"),
        ("参加を禁止しているか", "Whether the authority's users are kept from coming in"),
        Object(&[has("block", Truth), may("user_id", Text)]),
    ),
    Operation::put(
        ("/_synapse/admin/v1/rooms/{room}/block", "blockRoom"),
        ("参加の禁止・解除", "Keeps them from coming in, or no more"),
        BLOCK,
    )
    .taking(BLOCK),
    Operation::post(
        ("/_synapse/admin/v1/join/{room}", "joinRoom"),
        ("ユーザーを参加させる", "Brings a user into a room"),
        Object(&[has("room_id", Text)]),
    )
    .taking(Object(&[has("user_id", Text)])),
    Operation::post(
        ("/_synapse/admin/v1/rooms/{room}/make_room_admin", "makeRoomAdmin"),
        ("ルームの権限を与える", "Gives a user as much power as the authority has in a room"),
        NOTHING,
    )
    .taking_if_any(Object(&[may("user_id", Maybe(&Text)).about("oneself where nobody is named")])),
    Operation::delete(
        ("/_synapse/admin/v1/rooms/{room}", "deleteRoomAndWait"),
        ("ルームの削除（完了を待つ）", "Deletes a room, and answers when that is done"),
        Shape("ShutDown"),
    )
    .taking(DELETE),
    Operation::post(
        ("/_synapse/admin/v1/rooms/{room}/delete", "deleteRoomAndWaitByPost"),
        ("ルームの削除（完了を待つ）", "The same"),
        Shape("ShutDown"),
    )
    .taking(DELETE),
    Operation::delete(
        ("/_synapse/admin/v2/rooms/{room}", "deleteRoom"),
        ("ルームの削除", "Deletes a room, and answers at once"),
        Object(&[has("delete_id", Text)]),
    )
    .taking(DELETE),
    Operation::get(
        ("/_synapse/admin/v2/rooms/{room}/delete_status", "listDeletions"),
        ("ルームの削除の状況", "How far deletions of a room are"),
        Object(&[has("results", List(&Shape("Deletion")))]),
    ),
    Operation::get(
        ("/_synapse/admin/v2/rooms/delete_status/{delete_id}", "getDeletion"),
        ("削除の状況", "How far a deletion is"),
        Shape("Deletion"),
    ),
    Operation::get(
        ("/_synapse/admin/v1/federation/destinations", "listDestinations"),
        ("他のサーバーの一覧", "Lists the servers in the authority's rooms"),
        Object(&[
            has("destinations", List(&Shape("Destination"))),
            has("total", Number),
            may("next_token", Number),
        ]),
    )
    .asking(&[
        may("from", Number),
        may("limit", Number),
        may(
            "order_by",
            Word(&[
                "destination",
                "failure_ts",
                "retry_last_ts",
                "retry_interval",
                "last_successful_stream_ordering",
            ]),
        ),
        may("dir", DIRECTION),
        may("destination", Text).about("a part of the name"),
    ]),
    Operation::get(
        ("/_synapse/admin/v1/federation/destinations/{destination}", "getDestination"),
        ("他のサーバー", "One of them"),
        Shape("Destination"),
    ),
    Operation::get(
        ("/_synapse/admin/v1/federation/destinations/{destination}/rooms", "listRoomsInCommon"),
        ("共通のルーム", "The rooms in common"),
        Object(&[
            has("rooms", List(&Object(&[has("room_id", Text), has("stream_ordering", Number)]))),
            has("total", Number),
            may("next_token", Number),
        ]),
    )
    .asking(&[may("from", Number), may("limit", Number), may("dir", DIRECTION)]),
    Operation::post(
        ("/_synapse/admin/v1/federation/destinations/{destination}/reset_connection", "resetConnection"),
        ("再接続", "Tries a server again that does not answer"),
        NOTHING,
    )
    .taking_if_any(NOTHING),
];
