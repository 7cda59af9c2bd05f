//! Files of the authority's users.

use super::{
    operation::Operation,
    schema::{
        Field, NOTHING,
        Schema::{self, *},
        has, may,
    },
    shapes::DIRECTION,
};

const LIST: &[Field] = &[
    may("from", Number),
    may("limit", Number).about("100 where nothing is said and 1,000 at most"),
    may(
        "order_by",
        Word(&[
            "media_id",
            "upload_name",
            "created_ts",
            "last_access_ts",
            "media_length",
            "media_type",
            "quarantined_by",
            "safe_from_quarantine",
        ]),
    ),
    may("dir", DIRECTION).about("the newest first where nothing is said"),
];

const OLD: &[Field] = &[
    has("before_ts", Moment).about("uploaded before"),
    may("size_gt", Number).about("larger than so many bytes"),
    may("keep_profiles", Truth).about("false deletes also what users and rooms show as their pictures"),
];

const COUNT: Schema = Object(&[has("num_quarantined", Number)]);

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get(
        ("/_synapse/admin/v1/users/{user}/media", "listFilesOfUser"),
        ("ユーザーのファイル", "The files of a user"),
        Object(&[has("media", List(&Shape("File"))), has("total", Number), may("next_token", Number)]),
    )
    .asking(LIST),
    Operation::delete(
        ("/_synapse/admin/v1/users/{user}/media", "deleteFilesOfUser"),
        ("ユーザーのファイルの削除", "Deletes files of a user, as many as a page has"),
        Shape("DeletedFiles"),
    )
    .asking(LIST)
    .taking_if_any(NOTHING),
    Operation::get(
        ("/_synapse/admin/v1/media/{server}/{id}", "getFile"),
        ("ファイル", "One file"),
        Object(&[has("media_info", Shape("FileDetails"))]),
    ),
    Operation::delete(
        ("/_synapse/admin/v1/media/{server}/{id}", "deleteFile"),
        ("ファイルの削除", "Deletes a file"),
        Shape("DeletedFiles"),
    )
    .taking_if_any(NOTHING),
    Operation::post(
        ("/_synapse/admin/v1/media/delete", "deleteOldFiles"),
        ("古いファイルの削除", "Deletes old files, a thousand at most"),
        Shape("DeletedFiles"),
    )
    .asking(OLD)
    .taking_if_any(NOTHING),
    Operation::post(
        ("/_synapse/admin/v1/media/{server}/delete", "deleteOldFilesOf"),
        ("古いファイルの削除", "The same in its older form"),
        Shape("DeletedFiles"),
    )
    .asking(OLD)
    .taking_if_any(NOTHING),
    Operation::post(
        ("/_synapse/admin/v1/media/quarantine/{server}/{id}", "withholdFile"),
        ("ファイルを非公開にする", "Withholds a file"),
        NOTHING,
    )
    .taking_if_any(NOTHING)
    .noting("Another server's is withheld from the authority's own users."),
    Operation::post(
        ("/_synapse/admin/v1/media/unquarantine/{server}/{id}", "releaseFile"),
        ("ファイルを公開に戻す", "Shows a file again"),
        NOTHING,
    )
    .taking_if_any(NOTHING),
    Operation::post(
        ("/_synapse/admin/v1/media/protect/{id}", "protectFile"),
        ("ファイルの保護", "Protects a file from being withheld"),
        NOTHING,
    )
    .taking_if_any(NOTHING),
    Operation::post(
        ("/_synapse/admin/v1/media/unprotect/{id}", "unprotectFile"),
        ("ファイルの保護の解除", "Protects it no more"),
        NOTHING,
    )
    .taking_if_any(NOTHING),
    Operation::post(
        ("/_synapse/admin/v1/user/{user}/media/quarantine", "withholdFilesOfUser"),
        ("ユーザーの全ファイルを非公開にする", "Withholds all files of a user that are not protected"),
        COUNT,
    )
    .taking_if_any(NOTHING),
    Operation::get(
        ("/_synapse/admin/v1/room/{room}/media", "listFilesOfRoom"),
        ("ルームのファイル", "The files to which events of a room lead"),
        Object(&[has("local", List(&Text)), has("remote", List(&Text))]),
    )
    .noting("A row in the audit log says that it was read."),
    Operation::post(
        ("/_synapse/admin/v1/room/{room}/media/quarantine", "withholdFilesOfRoom"),
        ("ルームの全ファイルを非公開にする", "Withholds them, a thousand at most"),
        COUNT,
    )
    .taking_if_any(NOTHING),
    Operation::post(
        ("/_synapse/admin/v1/purge_media_cache", "letCopiesGo"),
        ("他サーバーのファイルの写しの削除", "Lets copies of other servers' files go"),
        Object(&[has("deleted", Number)]),
    )
    .asking(&[has("before_ts", Moment)])
    .taking_if_any(NOTHING)
    .noting("Refused where a process serves several authorities, which share the copies."),
    Operation::get(
        ("/_synapse/admin/v1/statistics/users/media", "listUsesOfFiles"),
        ("ファイルの利用状況", "How much users have uploaded that is still there"),
        Object(&[
            has(
                "users",
                List(&Object(&[
                    has("user_id", Text),
                    has("displayname", Maybe(&Text)),
                    has("media_count", Number),
                    has("media_length", Number),
                ])),
            ),
            has("total", Number),
            may("next_token", Number),
        ]),
    )
    .asking(&[
        may("from", Number),
        may("limit", Number),
        may("order_by", Word(&["user_id", "displayname", "media_length", "media_count"])),
        may("dir", DIRECTION),
        may("from_ts", Moment),
        may("until_ts", Moment),
        may("search_term", Text),
    ]),
];
