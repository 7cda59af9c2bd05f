//! What types cannot see: keys that contradict each other, names that are none.

use std::collections::HashMap;

use base::config::Problem;

use super::{
    Backend, Config, GatewayConfig, GatewayKind, ListenerTls, MailSecurity, MediaSettings, RequiredFactors,
    Serves, StoreConfig,
    audit_years::check_audit,
    check_classes::{check_classes, check_domains, factors_need_pages},
    check_sources::{check_directories, check_sources, check_upstream},
    found::Found,
    gateway::{is_name, is_service, is_subject},
    log_servers::check_log_servers,
    zones::{FilesSetting, has_port, icap_parts},
};
use crate::texts::tr;

/// Nobody follows a log for longer than this.
const MOST_LOG_DAYS: u32 = 3_650;

/// What is wrong with the built-in push gateway.
fn check_gateway(config: &Config, gateway: &GatewayConfig, found: &mut Found) {
    let no_subject = || {
        tr!(
            "プッシュサービスへの連絡先には mailto: または https:// で始まるアドレスが必要です",
            "push services need an address of whom to write to, with mailto: or https://"
        )
    };
    match &gateway.subject {
        Some(subject) if !is_subject(subject) => found.wrong("push.gateway.subject".into(), no_subject()),
        None if !is_subject(&config.contact()) => {
            found.contradiction("push.gateway".into(), vec!["admin.contact".into()], no_subject());
        }
        _ => {}
    }
    let mut ids = std::collections::BTreeSet::new();
    for (index, app) in gateway.apps.iter().enumerate() {
        if app.id.is_empty() || app.id.len() > 64 || !ids.insert(app.id.as_str()) {
            found.wrong(
                format!("push.gateway.apps.{index}.id"),
                tr!(
                    "アプリごとに異なる、64 バイト以内の app_id が必要です",
                    "each app needs an app_id of its own, with at most 64 bytes"
                ),
            );
        }
        let key = |part: &str| format!("push.gateway.apps.{index}.{part}");
        if (app.kind == GatewayKind::Fcm) != app.account_file.is_some() {
            found.contradiction(
                key("kind"),
                vec![key("account_file")],
                tr!(
                    "`kind` = \"fcm\" と `account_file` は両方必要です",
                    "`kind` = \"fcm\" needs `account_file`, and the other way round"
                ),
            );
        }
        for (part, value) in app.apple() {
            if (app.kind == GatewayKind::Apns) != value.is_some() {
                found.contradiction(
                    key("kind"),
                    vec![key(part)],
                    tr!(
                        "`kind` = \"apns\" と `{part}` は両方必要です",
                        "`kind` = \"apns\" needs `{part}`, and the other way round"
                    ),
                );
            }
        }
        for (part, value) in [("key_id", &app.key_id), ("team_id", &app.team_id), ("topic", &app.topic)] {
            if value.as_ref().is_some_and(|value| !is_name(value)) {
                found.wrong(
                    key(part),
                    tr!("英数字と - . _ だけが使えます", "only letters, digits and - . _ can stand here"),
                );
            }
        }
        if app.sandbox && (app.kind != GatewayKind::Apns || app.service.is_some()) {
            found.contradiction(
                key("sandbox"),
                vec![key("kind"), key("service")],
                tr!(
                    "`sandbox` は `kind` = \"apns\" で、`service` がないときだけ使えます",
                    "`sandbox` goes with `kind` = \"apns\" alone, and not with `service`"
                ),
            );
        }
        if let Some(service) = &app.service
            && !(is_service(service) && matches!(app.kind, GatewayKind::Fcm | GatewayKind::Apns))
        {
            found.contradiction(
                key("service"),
                vec![key("kind")],
                tr!(
                    "`service` は https:// とホスト名、必要ならポート番号だけで書き、`kind` が \"fcm\" か \"apns\" のときに使えます",
                    "`service` is https:// with a host and perhaps a port, for the kinds \"fcm\" and \"apns\""
                ),
            );
        }
    }
}

/// What is wrong with zones, and with listeners' words for them.
fn check_zones(config: &Config, found: &mut Found) {
    for (index, listener) in config.listeners.iter().enumerate() {
        if let Some(name) = &listener.zone
            && !config.zones.contains_key(name)
        {
            found.wrong(
                format!("listeners.{index}.zone"),
                tr!("[zones.{name}] がありません", "there is no [zones.{name}]"),
            );
        }
    }
    for (name, zone) in &config.zones {
        let key = |part: &str| format!("zones.{name}.{part}");
        if name.is_empty() || name.len() > base::LONGEST_ZONE {
            found.wrong(
                format!("zones.{name}"),
                tr!("名前は 30 バイト以内にしてください", "a name of a zone has at most 30 bytes"),
            );
        }
        if zone.clamd.as_deref().is_some_and(|place| !place.starts_with('/') && !has_port(place)) {
            found.wrong(
                key("clamd"),
                tr!(
                    "ソケットの絶対パスか、ホスト:ポートが必要です",
                    "the absolute path of a socket is needed, or host:port"
                ),
            );
        }
        if zone.icap.as_deref().is_some_and(|url| icap_parts(url).is_none()) {
            found.wrong(
                key("icap"),
                tr!("icap://ホスト:ポート/サービス の形が必要です", "icap://host:port/service is needed"),
            );
        }
        let has_scanner = zone.clamd.is_some() || zone.icap.is_some();
        match zone.files {
            FilesSetting::Scanned if !has_scanner => found.contradiction(
                key("files"),
                vec![key("clamd"), key("icap")],
                tr!(
                    "検査するものがありません: `clamd` か `icap` が必要です",
                    "nobody scans: `clamd` or `icap` is needed"
                ),
            ),
            FilesSetting::Originals if has_scanner => found.contradiction(
                key("files"),
                vec![key(if zone.clamd.is_some() { "clamd" } else { "icap" })],
                tr!(
                    "`files` が \"originals\" では検査しません。\"scanned\" か \"sanitised\" としてください",
                    "with `files` = \"originals\" nothing is scanned; say \"scanned\" or \"sanitised\""
                ),
            ),
            FilesSetting::Originals | FilesSetting::Scanned | FilesSetting::Sanitised => {}
        }
        if zone.scan_seconds == 0 {
            found.wrong(key("scan_seconds"), tr!("少なくとも 1 です", "at least 1"));
        }
        if let Some(kind) = zone.unchecked.iter().find(|kind| !kind.is_unchecked()) {
            let kind = kind.extension();
            found.wrong(
                key("unchecked"),
                tr!(
                    "{kind} は中身を確かめられる形式です。書けるのは \"dwg\"、\"jtd\"、\"jww\" です",
                    "the inside of {kind} is checked; \"dwg\", \"jtd\" and \"jww\" can be named"
                ),
            );
        }
    }
}

/// Every contradiction in a configuration. Files are not opened here; `yakuba check` does that.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Found::default();

    if config.authorities.is_empty() {
        found.wrong(
            "authorities".into(),
            tr!(
                "名前のある [[authorities]] が少なくとも一つ必要です",
                "at least one [[authorities]] with a name is needed"
            ),
        );
    }
    if config.listeners.is_empty() {
        found.wrong(
            "listeners".into(),
            tr!("[[listeners]] が少なくとも一つ必要です", "at least one [[listeners]] is needed"),
        );
    }

    let mut names = HashMap::new();
    for (index, authority) in config.authorities.iter().enumerate() {
        let key = format!("authorities.{index}.name");
        if let Some(first) = names.insert(&authority.name, key.clone()) {
            found.contradiction(
                key,
                vec![first],
                tr!("{name} が二度あります", "{name} is there twice", name = authority.name),
            );
        }
        for (setting, url) in [("client_url", &authority.client_url), ("livekit_url", &authority.livekit_url)]
        {
            if let Some(url) = url
                && !(url.starts_with("https://") || url.starts_with("http://"))
            {
                found.wrong(
                    format!("authorities.{index}.{setting}"),
                    tr!("https:// で始まる URL が必要です", "a URL with https:// is needed"),
                );
            }
        }
    }
    for (index, authority) in config.authorities.iter().enumerate() {
        let Some(support) = &authority.support else { continue };
        let key = |part: &str| format!("authorities.{index}.support.{part}");
        if support.page.as_ref().is_some_and(|page| !page.starts_with("https://")) {
            found
                .wrong(key("page"), tr!("https:// で始まる URL が必要です", "a URL with https:// is needed"));
        }
        if support.page.is_none() && support.contacts.is_empty() {
            found.wrong(
                key("contacts"),
                tr!("`page` か `contacts` が必要です", "`page` or `contacts` is needed"),
            );
        }
        if support.contacts.iter().any(|contact| contact.matrix_id.is_none() && contact.email.is_none()) {
            found.wrong(
                key("contacts"),
                tr!(
                    "`matrix_id` か `email` のない連絡先があります",
                    "a contact has neither `matrix_id` nor `email`"
                ),
            );
        }
    }
    for (index, authority) in config.authorities.iter().enumerate() {
        for (number, terms) in authority.terms.iter().enumerate() {
            let key = |part: &str| format!("authorities.{index}.terms.{number}.{part}");
            if terms.texts.is_empty() || terms.texts.values().any(|text| !text.url.starts_with("https://")) {
                found.wrong(
                    key("texts"),
                    tr!("https:// で始まる URL が必要です", "a URL with https:// is needed"),
                );
            }
        }
        if let Some(upstream) = &authority.upstream {
            check_upstream(authority, upstream, index, &mut found);
        }
        if authority.factors.required != RequiredFactors::None && authority.account_page().is_none() {
            found.contradiction(
                format!("authorities.{index}.factors.required"),
                vec![format!("authorities.{index}.client_url"), format!("authorities.{index}.oauth")],
                factors_need_pages(),
            );
        }
        check_classes(config, authority, index, &mut found);
        check_domains(authority, index, &mut found);
        check_sources(authority, index, &mut found);
        check_directories(authority, index, &mut found);
        check_log_servers(authority, index, &mut found);
        check_audit(authority, index, &mut found);
        let template = authority.organisation.as_ref().and_then(|one| one.display_name.as_ref());
        if let Some(Err(error)) = template.map(|text| text.parse::<staff::Template>()) {
            let text = template.map_or("", String::as_str);
            let staff::BadTemplate { ja, en } = error;
            found.wrong(
                format!("authorities.{index}.organisation.display_name"),
                tr!("{text} はひな形ではありません: {ja}", "{text}: {en}"),
            );
        }
        let Some(mail) = &authority.mail else { continue };
        let key = |part: &str| format!("authorities.{index}.mail.{part}");
        if mail.from.parse::<mail::EmailAddress>().is_err() {
            found.wrong(
                key("from"),
                tr!("{from} はメールアドレスではありません", "{from} is no e-mail address", from = mail.from),
            );
        }
        if let Some(web_client) = &mail.web_client
            && !web_client.starts_with("https://")
        {
            found.wrong(
                key("web_client"),
                tr!("https:// で始まるアドレスが必要です", "an address with https:// is needed"),
            );
        }
        if mail.user.is_some() != mail.password_file.is_some() {
            found.contradiction(
                key("user"),
                vec![key("password_file")],
                tr!(
                    "`user` と `password_file` は両方必要です",
                    "`user` needs `password_file`, and the other way round"
                ),
            );
        }
        let is_here =
            mail.host == "localhost" || mail.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        if mail.security == MailSecurity::None && mail.user.is_some() && !is_here {
            found.contradiction(
                key("security"),
                vec![key("host"), key("user")],
                tr!(
                    "パスワードを平文でネットワークに流すことはできません",
                    "a password does not go over a network in the clear"
                ),
            );
        }
    }
    let mut hosts = HashMap::new();
    for (index, authority) in config.authorities.iter().enumerate() {
        for host in &authority.hosts {
            let key = format!("authorities.{index}.hosts");
            if let Some(first) = hosts.insert(host.to_ascii_lowercase(), key.clone()) {
                found.contradiction(
                    key,
                    vec![first],
                    tr!("{host} が二つの機関にあります", "{host} stands for two authorities"),
                );
            }
        }
    }

    let mut addresses = HashMap::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        if listener.serves.is_empty() {
            found.wrong(
                format!("listeners.{index}.serves"),
                tr!(
                    "答えるものを書いてください: client, federation, admin",
                    "name what is answered: client, federation or admin"
                ),
            );
        }
        let key = format!("listeners.{index}.address");
        if listener.address.port() != 0
            && let Some(first) = addresses.insert(listener.address, key.clone())
        {
            found.contradiction(
                key,
                vec![first],
                tr!("{address} が二度あります", "{address} is there twice", address = listener.address),
            );
        }
        if listener.serves.contains(&Serves::Federation)
            && listener.tls == ListenerTls::Nobody
            && !listener.address.ip().is_loopback()
        {
            found.contradiction(
                format!("listeners.{index}.tls"),
                vec![format!("listeners.{index}.address"), format!("listeners.{index}.serves")],
                tr!(
                    "連合には TLS が必要です。プロキシが TLS を話すなら、ループバックで待ち受けるか、tls = \"proxy\" としてください",
                    "federation needs TLS; where a proxy speaks it, listen on loopback or say tls = \"proxy\""
                ),
            );
        }
        let has_pages =
            [Serves::Console, Serves::Counter].iter().any(|pages| listener.serves.contains(pages));
        if has_pages && !listener.serves.contains(&Serves::Client) {
            found.contradiction(
                format!("listeners.{index}.serves"),
                Vec::new(),
                tr!(
                    "管理画面と窓口にはサインインの画面が要ります。\"console\" や \"counter\" には \"client\" も加えてください",
                    "people sign in to console and counter on pages of \"client\"; add that beside \"console\" or \"counter\""
                ),
            );
        }
        if listener.tls == ListenerTls::Proxy
            && !listener.address.ip().is_loopback()
            && !trusts_others_than_this_machine(config)
        {
            found.contradiction(
                format!("listeners.{index}.tls"),
                vec!["proxies.trusted".into()],
                tr!(
                    "TLS を話すプロキシのアドレスを [proxies] trusted に書いてください",
                    "name the address of the proxy that speaks TLS in `trusted` of [proxies]"
                ),
            );
        }
        if listener.tls == ListenerTls::Ourselves
            && !config.authorities.iter().any(|authority| authority.tls.is_some())
        {
            found.wrong(
                format!("listeners.{index}.tls"),
                tr!(
                    "[authorities.tls] のファイルを持つ機関がありません",
                    "no authority has [authorities.tls] files"
                ),
            );
        }
        if let Some(name) = &listener.authority
            && !names.contains_key(name)
        {
            found.wrong(
                format!("listeners.{index}.authority"),
                tr!("{name} はどの機関でもありません", "{name} is none of the authorities"),
            );
        }
    }

    check_zones(config, &mut found);

    let StoreConfig { backend, url, url_file, .. } = &config.store;
    match (backend, url, url_file) {
        (Backend::Postgres, None, None) => {
            found.contradiction(
                "store.url".into(),
                vec!["store.backend".into()],
                tr!("PostgreSQL には `url` か `url_file` が必要です", "PostgreSQL needs `url` or `url_file`"),
            );
        }
        (Backend::Postgres, Some(_), Some(_)) => {
            found.contradiction(
                "store.url".into(),
                vec!["store.url_file".into(), "store.backend".into()],
                tr!("`url` と `url_file` はどちらか一方だけです", "either `url` or `url_file`, not both"),
            );
        }
        _ => {}
    }
    if config.store.memory < base::ByteSize::mib(16) {
        found.wrong("store.memory".into(), tr!("少なくとも 16 MiB 必要です", "at least 16 MiB are needed"));
    }
    let StoreConfig { log_days, log_days_at_most, device_message_days, .. } = &config.store;
    for (key, days) in [
        ("store.log_days", *log_days),
        ("store.log_days_at_most", *log_days_at_most),
        ("store.device_message_days", *device_message_days),
    ] {
        if !(1..=MOST_LOG_DAYS).contains(&days) {
            found.wrong(
                key.into(),
                tr!("1 から {MOST_LOG_DAYS} までの日数です", "a number of days from 1 to {MOST_LOG_DAYS}"),
            );
        }
    }
    if log_days > log_days_at_most {
        found.contradiction(
            "store.log_days".into(),
            vec!["store.log_days_at_most".into()],
            tr!(
                "`log_days_at_most` ({log_days_at_most}) より長くはできません",
                "not more than `log_days_at_most` ({log_days_at_most})"
            ),
        );
    }

    for network in &config.proxies.trusted {
        if let Err(error) = network.parse::<web::Network>() {
            found.wrong("proxies.trusted".into(), no_range(network, &error));
        }
    }
    if config.limits.bodies < base::ByteSize::mib(24) {
        found.wrong(
            "limits.bodies".into(),
            tr!(
                "大きなトランザクション一つのために少なくとも 24 MiB 必要です",
                "at least 24 MiB are needed for one large transaction"
            ),
        );
    }

    if config.limits.connections_by_address == 0 {
        found.wrong(
            "limits.connections_by_address".into(),
            tr!("0 では誰も接続できません。少なくとも 1 です", "with 0 nobody could connect; at least 1"),
        );
    }

    for class in web::Class::ALL {
        let rate = config.limits.rate(class);
        let key = || format!("limits.{}", class.name());
        if !rate.per_second.is_finite() || rate.per_second < 0.0 {
            found.wrong(
                key(),
                tr!(
                    "per_second は 0 (制限なし) 以上の数です",
                    "per_second is a number of 0 (no limit) or more"
                ),
            );
        } else if rate.per_second > 0.0 && rate.burst == 0 {
            found.wrong(
                key(),
                tr!(
                    "burst が 0 では誰も使えません。少なくとも 1 です",
                    "with a burst of 0 nobody could ask; at least 1"
                ),
            );
        }
    }

    if config.passwords.wrong_allowed == 0 {
        found.wrong(
            "passwords.wrong_allowed".into(),
            tr!("0 では誰もログインできません。少なくとも 1 です", "with 0 nobody could log in; at least 1"),
        );
    }
    if config.passwords.pause_seconds == 0 {
        found.wrong("passwords.pause_seconds".into(), tr!("少なくとも 1 です", "at least 1"));
    }
    let MediaSettings { largest_upload, kept_by_user, .. } = &config.media;
    if largest_upload.as_u64() == 0 {
        found.wrong(
            "media.largest_upload".into(),
            tr!("0 では何も受け取れません", "with 0 nothing could be uploaded"),
        );
    }
    if kept_by_user.as_u64() > 0 && kept_by_user < largest_upload {
        found.contradiction(
            "media.kept_by_user".into(),
            vec!["media.largest_upload".into()],
            tr!(
                "一つのファイルの上限 ({largest_upload}) より小さくはできません",
                "not less than the largest file ({largest_upload})"
            ),
        );
    }
    if let Some(bucket) = &config.media.s3
        && !(bucket.endpoint.starts_with("https://") || bucket.endpoint.starts_with("http://"))
    {
        found.wrong(
            "media.s3.endpoint".into(),
            tr!("https:// で始まる URL が必要です", "a URL with https:// is needed"),
        );
    }
    if config.presence.largest_room < 2 {
        found.wrong(
            "presence.largest_room".into(),
            tr!(
                "1 人の部屋では誰にも知らせません。少なくとも 2 です",
                "in rooms of one nobody is told of anybody; at least 2"
            ),
        );
    }
    let version = &config.rooms.default_version;
    if let Err(error) = pdu::RoomVersion::parse(version) {
        found.wrong(
            "rooms.default_version".into(),
            tr!("部屋のバージョン `{version}` は使えません", "{error}"),
        );
    }
    let (peers, previews) = (&config.federation, &config.media.previews);
    for (key, ranges) in [
        ("federation.allow_ranges", &peers.allow_ranges),
        ("federation.deny_ranges", &peers.deny_ranges),
        ("media.previews.allow_ranges", &previews.allow_ranges),
        ("media.previews.deny_ranges", &previews.deny_ranges),
        ("push.allow_ranges", &config.push.allow_ranges),
        ("push.deny_ranges", &config.push.deny_ranges),
    ] {
        for range in ranges {
            if let Err(error) = range.parse::<federation::AddressRange>() {
                found.wrong(key.into(), no_range(range, &error));
            }
        }
    }
    let mails = &config.push.mails;
    if mails.first_pause_seconds > mails.longest_pause_seconds {
        found.contradiction(
            "push.mails.first_pause_seconds".into(),
            vec!["push.mails.longest_pause_seconds".into()],
            tr!("最初の間隔は最長の間隔を超えられません", "the first pause is longer than the longest one"),
        );
    }
    if let Some(gateway) = &config.push.gateway {
        check_gateway(config, gateway, &mut found);
    }
    if base::telemetry::check(&config.log.filter).is_err() {
        found.wrong(
            "log.filter".into(),
            tr!(
                "\"info\" や \"info,room=debug\" のようなレベルのリストが必要です",
                "a list of levels is needed, such as \"info\" or \"info,room=debug\""
            ),
        );
    }
    found.0
}

/// Whether a proxy is believed that is not on this machine.
fn trusts_others_than_this_machine(config: &Config) -> bool {
    let loopback = |network: &str| {
        let address = network.split('/').next().unwrap_or_default();
        address.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    };
    config.proxies.trusted.iter().any(|network| !loopback(network))
}

fn no_range(given: &str, error: &dyn std::error::Error) -> String {
    tr!("`{given}` は 10.0.0.0/8 や fd00::/8 のようなアドレスの範囲ではありません", "{error}")
}
