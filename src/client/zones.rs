//! What clients in a zone that demands sanitised files may not do: encrypt. What they encrypt between themselves cannot be
//! sanitised, so its files are withheld there, and nobody makes others' messages such by a session from there.

use room::Zone;
use serde_json::{Value, json};
use web::ApiError;

/// The state that has clients encrypt what is said in a room.
pub(crate) const ENCRYPTION: &str = "m.room.encryption";

/// Whether encryption is nothing for sessions of this zone.
pub(crate) fn is_barred(zone: Option<&Zone>) -> bool {
    zone.is_some_and(Zone::demands_sanitising)
}

/// Why.
pub(crate) fn refusal() -> ApiError {
    ApiError::forbidden(
        "この区域ではファイルを無害化するため、ルームを暗号化できません。\
         Files are sanitised in this network zone, so rooms cannot be encrypted from here.",
    )
    .with("jp.yakuba.reason", "encryption")
}

/// Refuses state that would have a room encrypted, whatever its key and content are.
///
/// # Errors
/// 403 `M_FORBIDDEN`
pub(crate) fn may_set(zone: Option<&Zone>, kind: &str) -> Result<(), ApiError> {
    if is_barred(zone) && kind == ENCRYPTION { Err(refusal()) } else { Ok(()) }
}

/// What `.well-known/matrix/client` tells Element's clients of encryption here.
///
/// Keys: <https://github.com/element-hq/element-web/blob/develop/docs/e2ee.md>
pub(crate) fn told(zone: Option<&Zone>) -> Option<Value> {
    is_barred(zone).then(|| json!({ "default": false, "force_disable": true }))
}
