//! Which servers a room lets in: `m.room.server_acl`.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#server-access-control-lists-acls-for-rooms>

use ruma::{ServerName, events::room::server_acl::RoomServerAclEventContent};
use serde::Deserialize;

/// The content of an ACL, read as other servers read it, so that all keep the same servers out: an entry that is no
/// text counts for nothing, a list that is none is empty, and a flag that is none is not set.
///
/// So a wrong `deny` bars nobody, and a wrong `allow` lets nobody in, as an absent one does.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Content {
    #[serde(deserialize_with = "pdu::lenient::field")]
    allow_ip_literals: Option<bool>,
    #[serde(deserialize_with = "pdu::lenient::list")]
    allow: Vec<String>,
    #[serde(deserialize_with = "pdu::lenient::list")]
    deny: Vec<String>,
}

/// Whether an ACL of this content lets a server in.
pub fn admits(content: &str, server: &ServerName) -> bool {
    let Content { allow_ip_literals, allow, deny } = pdu::lenient::read(content);
    RoomServerAclEventContent::new(allow_ip_literals.unwrap_or(true), allow, deny).is_allowed(server)
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::admits;

    #[test]
    fn an_odd_field_of_an_acl_costs_that_field_alone() {
        let (good, bad, ip) = (server_name!("good.test"), server_name!("bad.test"), server_name!("10.0.0.1"));
        for (content, admitted) in [
            (r#"{"allow":["*"],"deny":["bad.test",5,null,{}]}"#, [true, false, true]),
            (r#"{"allow":["*"],"deny":["bad.test"],"allow_ip_literals":null}"#, [true, false, true]),
            (r#"{"allow":["*"],"deny":["bad.test"],"allow_ip_literals":"no"}"#, [true, false, true]),
            (r#"{"allow":["*"],"deny":"bad.test","allow_ip_literals":false}"#, [true, true, false]),
            (r#"{"allow":[5,"good.test"],"deny":[]}"#, [true, false, false]),
            // What names nobody lets nobody in, by the specification.
            (r#"{"allow":"*"}"#, [false, false, false]),
            (r#"{"deny":["bad.test"]}"#, [false, false, false]),
            ("{}", [false, false, false]),
            (r#"{"allow":["*"],"deny":["*.test"]}"#, [false, false, true]),
        ] {
            assert_eq!([good, bad, ip].map(|server| admits(content, server)), admitted, "{content}");
        }
    }
}
