//! What is wrong with the identity providers, identity systems and directories of authorities.

use std::collections::HashMap;

use super::{
    AuthorityConfig, LdapConfig, RegistrationMode, UpstreamConfig, found::Found, upstream::StaffClaimsConfig,
};
use crate::texts::tr;

/// What is wrong with the identity provider of the authority of this number.
pub(super) fn check_upstream(
    authority: &AuthorityConfig,
    upstream: &UpstreamConfig,
    index: usize,
    found: &mut Found,
) {
    let key = |part: &str| format!("authorities.{index}.upstream.{part}");
    if !upstream.is_safe() {
        found.wrong(key("issuer"), tr!("https:// で始まる URL が必要です", "a URL with https:// is needed"));
    }
    for (part, text) in upstream.templates() {
        if let Err(error) = text.parse::<::upstream::Template>() {
            found.wrong(key(part), tr!("{text} はひな形ではありません: {error}", "{text}: {error}"));
        }
    }
    for (part, text) in upstream.staff.iter().flat_map(StaffClaimsConfig::templates) {
        if let Err(error) = text.parse::<::upstream::Template>() {
            let key = key(&format!("staff.{part}"));
            found.wrong(key, tr!("{text} はひな形ではありません: {error}", "{text}: {error}"));
        }
    }
    if upstream.required_amr.iter().any(|methods| methods.trim().is_empty()) {
        found.wrong(
            key("required_amr"),
            tr!(
                "空の要素があります。これでは誰でも条件を満たします",
                "an element is empty, which everybody would satisfy"
            ),
        );
    }
    if authority.client_url.is_none() {
        found.contradiction(
            key("issuer"),
            vec![format!("authorities.{index}.client_url")],
            tr!(
                "認証基盤からは `client_url` に戻るため、`client_url` が必要です",
                "browsers come back from the provider to `client_url`, which is needed"
            ),
        );
    }
}

/// What is wrong with the identity systems of the authority of this number.
pub(super) fn check_sources(authority: &AuthorityConfig, index: usize, found: &mut Found) {
    let mut names = HashMap::new();
    for (number, source) in authority.scim.iter().enumerate() {
        let key = |part: &str| format!("authorities.{index}.scim.{number}.{part}");
        if !source.has_good_name() {
            found.wrong(
                key("name"),
                tr!(
                    "英小文字・数字・- ・_ で 32 文字以内にしてください",
                    "a name has at most 32 of a-z, 0-9, - and _"
                ),
            );
        }
        if let Some(first) = names.insert(&source.name, key("name")) {
            found.contradiction(
                key("name"),
                vec![first],
                tr!("{name} が二度あります", "{name} is there twice", name = source.name),
            );
        }
        if !source.has_good_token() {
            found.contradiction(
                key("name"),
                vec![key("token_file"), key("token_sha256")],
                tr!(
                    "`token_file` か、64 桁の 16 進数の `token_sha256` の、どちらか一つが必要です",
                    "either `token_file` or `token_sha256` with 64 hexadecimal digits is needed"
                ),
            );
        }
        if let Err(error) = source.localpart.parse::<::upstream::Template>() {
            let text = &source.localpart;
            found.wrong(key("localpart"), tr!("{text} はひな形ではありません: {error}", "{text}: {error}"));
        }
        if source.links_upstream && authority.upstream.is_none() {
            found.contradiction(
                key("links_upstream"),
                vec![format!("authorities.{index}.upstream")],
                tr!(
                    "認証基盤 [authorities.upstream] がありません",
                    "there is no identity provider ([authorities.upstream])"
                ),
            );
        }
    }
}

/// What is wrong with the directories of the authority of this number.
pub(super) fn check_directories(authority: &AuthorityConfig, index: usize, found: &mut Found) {
    let mut names = HashMap::new();
    for (number, source) in authority.ldap.iter().enumerate() {
        let key = |part: &str| format!("authorities.{index}.ldap.{number}.{part}");
        if !source.has_good_name() {
            found.wrong(
                key("name"),
                tr!(
                    "英小文字・数字・- ・_ で 32 文字以内にしてください",
                    "a name has at most 32 of a-z, 0-9, - and _"
                ),
            );
        }
        if let Some(first) = names.insert(&source.name, key("name")) {
            found.contradiction(
                key("name"),
                vec![first],
                tr!("{name} が二度あります", "{name} is there twice", name = source.name),
            );
        }
        check_directory(authority, source, &key, found);
        if authority.scim.iter().any(|scim| scim.adopts_accounts)
            || source.adopts_accounts && !authority.scim.is_empty()
        {
            found.contradiction(
                key("adopts_accounts"),
                vec![format!("authorities.{index}.scim")],
                tr!(
                    "SCIM と LDAP を併用する機関では、どちらも既存のアカウントを引き継げません (互いのアカウントを取り合うため)",
                    "where an authority has SCIM and LDAP, neither takes accounts over: they would take each other's"
                ),
            );
        }
    }
}

/// What is wrong with one directory; `key` names its keys.
fn check_directory(
    authority: &AuthorityConfig,
    source: &LdapConfig,
    key: &impl Fn(&str) -> String,
    found: &mut Found,
) {
    match ldap::Place::parse(&source.url, source.starttls) {
        Err(_) => found.wrong(
            key("url"),
            tr!(
                "ldaps://dc1.example.lg.jp や ldap://dc1.example.lg.jp:389 のような URL が必要です",
                "a URL such as ldaps://dc1.example.lg.jp or ldap://dc1.example.lg.jp:389 is needed"
            ),
        ),
        Ok(place) if !place.is_safe() => found.contradiction(
            key("starttls"),
            vec![key("url")],
            tr!(
                "職員の情報とパスワードを平文でネットワークに流すことはできません",
                "neither people nor a password go over a network in the clear"
            ),
        ),
        Ok(_) => {}
    }
    if source.bind_dn.is_some() != source.password_file.is_some() {
        found.contradiction(
            key("bind_dn"),
            vec![key("password_file")],
            tr!(
                "`bind_dn` と `password_file` は両方必要です",
                "`bind_dn` needs `password_file`, and the other way round"
            ),
        );
    }
    if !ldap::is_dn(&source.base) {
        found.wrong(
            key("base"),
            tr!(
                "DC=example,DC=lg,DC=jp のような DN が必要です",
                "a DN such as DC=example,DC=lg,DC=jp is needed"
            ),
        );
    }
    if !ldap::is_filter(source.filter()) {
        found.wrong(
            key("filter"),
            tr!(
                "(objectClass=inetOrgPerson) のような LDAP のフィルターが必要です",
                "a filter of LDAP is needed, such as (objectClass=inetOrgPerson)"
            ),
        );
    }
    let groups =
        [("people_group", &source.people_group), ("administrators_group", &source.administrators_group)];
    for (part, group) in groups {
        if group.as_ref().is_some_and(|group| !ldap::is_dn(group)) {
            found.wrong(
                key(part),
                tr!(
                    "CN=Chat,OU=Groups,DC=example,DC=lg,DC=jp のような、グループの DN が必要です",
                    "the DN of a group is needed, such as CN=Chat,OU=Groups,DC=example,DC=lg,DC=jp"
                ),
            );
        }
    }
    if source.administrators_group.is_some()
        && source.adopts_accounts
        && authority.registration.mode != RegistrationMode::Closed
    {
        found.contradiction(
            key("administrators_group"),
            vec![key("adopts_accounts"), "authorities.registration".to_owned()],
            tr!(
                "自分で登録できる機関で既存のアカウントを引き継ぐと、先に同じ名前で登録した他人が管理者になります",
                "where people register themselves and accounts are taken over, somebody else who has registered the name before would administer"
            ),
        );
    }
    if source.asks_for_chains_in_vain() {
        found.contradiction(
            key("filter"),
            vec![key("kind")],
            tr!(
                "グループをたどる照合規則 (1.2.840.113556.1.4.1941) は Active Directory だけのものです",
                "the rule that goes through groups in groups (1.2.840.113556.1.4.1941) is Active Directory's alone"
            ),
        );
    }
    if !ldap::is_attribute(source.id()) {
        found.wrong(key("id"), tr!("属性の名前が必要です", "the name of an attribute is needed"));
    }
    for (part, text) in source.templates() {
        match text.parse::<::upstream::Template>() {
            Err(error) => {
                found.wrong(key(part), tr!("{text} はひな形ではありません: {error}", "{text}: {error}"));
            }
            Ok(template) => {
                if let Some(name) = template.claims().find(|name| !ldap::is_attribute(name)) {
                    found.wrong(
                        key(part),
                        tr!("{name} は属性の名前ではありません", "{name} is no name of an attribute"),
                    );
                }
            }
        }
    }
    if source.subject.is_some() && authority.upstream.is_none() {
        found.contradiction(
            key("subject"),
            vec![key("name")],
            tr!(
                "認証基盤 [authorities.upstream] がありません",
                "there is no identity provider ([authorities.upstream])"
            ),
        );
    }
    if !(10..=86_400).contains(&source.interval_seconds) {
        found.wrong(
            key("interval_seconds"),
            tr!("10 から 86400 までの秒数です", "a number of seconds from 10 to 86400"),
        );
    }
    if source.most_endings_percent > 100 {
        found.wrong(key("most_endings_percent"), tr!("0 から 100 までです", "a number from 0 to 100"));
    }
}
