//! What types cannot see: keys that contradict each other, names that are none.

use std::collections::HashSet;

use base::config::Problem;

use super::{Backend, Config, Serves, StoreConfig};

/// Every contradiction in a configuration. Files are not opened here; `yakuba check` does that.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut wrong = |key: String, message: String| problems.push(Problem::of_key(key, message));

    if config.authorities.is_empty() {
        wrong("authorities".into(), "at least one [[authorities]] with a name is needed".into());
    }
    if config.listeners.is_empty() {
        wrong("listeners".into(), "at least one [[listeners]] is needed".into());
    }

    let mut names = HashSet::new();
    for (index, authority) in config.authorities.iter().enumerate() {
        if !names.insert(&authority.name) {
            wrong(format!("authorities.{index}.name"), format!("{} is there twice", authority.name));
        }
        if let Some(url) = &authority.client_url
            && !(url.starts_with("https://") || url.starts_with("http://"))
        {
            wrong(format!("authorities.{index}.client_url"), "a URL with https:// is needed".into());
        }
    }
    let mut hosts = HashSet::new();
    for (index, authority) in config.authorities.iter().enumerate() {
        for host in &authority.hosts {
            if !hosts.insert(host.to_ascii_lowercase()) {
                wrong(format!("authorities.{index}.hosts"), format!("{host} stands for two authorities"));
            }
        }
    }

    let mut addresses = HashSet::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        if listener.serves.is_empty() {
            wrong(
                format!("listeners.{index}.serves"),
                "name what is answered: client, federation or admin".into(),
            );
        }
        if listener.address.port() != 0 && !addresses.insert(listener.address) {
            wrong(format!("listeners.{index}.address"), format!("{} is there twice", listener.address));
        }
        if listener.serves.contains(&Serves::Federation)
            && !listener.tls
            && !listener.address.ip().is_loopback()
        {
            wrong(
                format!("listeners.{index}.tls"),
                "federation needs TLS; without it, listen on loopback only, behind a proxy that speaks it"
                    .into(),
            );
        }
        if listener.tls && !config.authorities.iter().any(|authority| authority.tls.is_some()) {
            wrong(format!("listeners.{index}.tls"), "no authority has [authorities.tls] files".into());
        }
        if let Some(name) = &listener.authority
            && !names.contains(name)
        {
            wrong(format!("listeners.{index}.authority"), format!("{name} is none of the authorities"));
        }
    }

    let StoreConfig { backend, url, url_file, .. } = &config.store;
    match (backend, url, url_file) {
        (Backend::Postgres, None, None) => {
            wrong("store.url".into(), "PostgreSQL needs `url` or `url_file`".into());
        }
        (Backend::Postgres, Some(_), Some(_)) => {
            wrong("store.url".into(), "either `url` or `url_file`, not both".into());
        }
        _ => {}
    }
    if config.store.memory < base::ByteSize::mib(16) {
        wrong("store.memory".into(), "at least 16 MiB are needed".into());
    }

    for network in &config.proxies.trusted {
        if let Err(error) = network.parse::<web::Network>() {
            wrong("proxies.trusted".into(), error.to_string());
        }
    }
    if config.limits.bodies < base::ByteSize::mib(24) {
        wrong("limits.bodies".into(), "at least 24 MiB are needed for one large transaction".into());
    }

    for class in web::Class::ALL {
        let rate = config.limits.rate(class);
        let key = || format!("limits.{}", class.name());
        if !rate.per_second.is_finite() || rate.per_second < 0.0 {
            wrong(key(), "per_second is a number of 0 (no limit) or more".into());
        } else if rate.per_second > 0.0 && rate.burst == 0 {
            wrong(key(), "with a burst of 0 nobody could ask; at least 1".into());
        }
    }

    if config.passwords.wrong_allowed == 0 {
        wrong("passwords.wrong_allowed".into(), "with 0 nobody could log in; at least 1".into());
    }
    if config.passwords.pause_seconds == 0 {
        wrong("passwords.pause_seconds".into(), "at least 1".into());
    }
    if let Err(error) = pdu::RoomVersion::parse(&config.rooms.default_version) {
        wrong("rooms.default_version".into(), error.to_string());
    }
    for (key, ranges) in
        [("allow_ranges", &config.federation.allow_ranges), ("deny_ranges", &config.federation.deny_ranges)]
    {
        for range in ranges {
            if let Err(error) = range.parse::<federation::AddressRange>() {
                wrong(format!("federation.{key}"), error.to_string());
            }
        }
    }
    problems
}
