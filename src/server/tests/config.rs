//! The configuration and its reference.

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use crate::{
    commands::init::reference_for,
    config::{Config, PeersSetting, REFERENCE, Serves},
};

fn parse(text: &str) -> Result<Config, Vec<String>> {
    Config::parse(text, [], Path::new("/etc/yakuba"))
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

/// The reference with every key that is shown in a comment taken as set.
fn all_keys_set() -> String {
    let lines = REFERENCE.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if !key.starts_with([' ', '#']) && !key.is_empty() => key,
        _ => line,
    });
    // `url` and `url_file` exclude each other, as do a token's file and its hash.
    let excluded = ["url_file", "token_sha256"];
    lines.filter(|line| !excluded.iter().any(|key| line.starts_with(key))).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reference_is_a_good_configuration_with_the_defaults() {
    let config = parse(REFERENCE).unwrap();
    assert_eq!(config.authorities[0].name, "example.test");
    assert_eq!(config.federation.peers, PeersSetting::Nobody);

    let shown: toml::Table = toml::from_str(&all_keys_set()).unwrap();
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    for table in [
        "store",
        "passwords",
        "proxies",
        "limits",
        "rooms",
        "media",
        "push",
        "presence",
        "federation",
        "log",
        "admin",
    ] {
        for (key, default) in defaults[table].as_table().unwrap() {
            let shown =
                &shown[table].get(key).unwrap_or_else(|| panic!("{table}.{key} is not in the reference"));
            if key != "fixed" {
                assert_eq!(*shown, default, "{table}.{key} is shown with another value than its default");
            }
        }
    }
}

#[test]
fn every_key_that_the_reference_shows_is_a_key() {
    let config = parse(&all_keys_set()).unwrap();
    assert_eq!(config.federation.fixed.len(), 1);
    assert_eq!(config.listeners.len(), 3);
    assert!(config.authorities[0].tls.is_some() && config.authorities[0].client_url.is_some());
    assert_eq!(config.authorities[0].old_keys.len(), 1);
    assert!(config.authorities[0].registration.shared_secret_file.is_some());
    assert_eq!(config.listeners[2].serves, [Serves::Federation]);
}

#[test]
fn a_new_configuration_carries_the_name_everywhere() {
    let text = reference_for("wajima.test:8448");
    let config = parse(&text).unwrap();
    assert_eq!(config.authorities[0].name, "wajima.test:8448");
    assert_eq!(config.authorities[0].key_file, Path::new("keys/wajima.test_8448.key"));
    assert!(text.contains("\"pref.example.test\""));
}

#[test]
fn an_identity_system_has_a_name_of_its_own_and_one_token() {
    let with = |sources: &str| {
        let listener = "[[listeners]]\naddress = \"127.0.0.1:1\"\nserves = [\"client\"]\n";
        parse(&format!("[[authorities]]\nname = \"a.test\"\nkey_file = \"a.key\"\n{sources}\n{listener}"))
    };
    let source = |keys: &str| format!("[[authorities.scim]]\n{keys}\n");
    let hash = format!("token_sha256 = \"{}\"", "0f".repeat(32));
    let good = source(&format!("name = \"entra\"\n{hash}"));
    let config = with(&good).unwrap();
    assert_eq!(config.authorities[0].scim[0].localpart, "{userName@}");
    assert_eq!(config.scim().unwrap().len(), 1);
    let secret = source("name = \"okta\"\ntoken_file = \"okta.token\"");
    let named = with(&secret).unwrap().secret_files();
    assert!(named.iter().any(|file| file.ends_with("okta.token")), "{named:?}");
    for (sources, problem) in [
        (source("name = \"entra\""), "token_sha256"),
        (source(&format!("name = \"entra\"\ntoken_file = \"x\"\n{hash}")), "token_sha256"),
        (source("name = \"entra\"\ntoken_sha256 = \"12\""), "token_sha256"),
        (source(&format!("name = \"A/B\"\n{hash}")), "scim.0.name"),
        (format!("{good}{good}"), "scim.1.name"),
        (source(&format!("name = \"entra\"\nlocalpart = \"x\"\n{hash}")), "localpart"),
        (source(&format!("name = \"entra\"\nlinks_upstream = true\n{hash}")), "links_upstream"),
    ] {
        let problems = with(&sources).unwrap_err();
        assert!(problems.iter().any(|told| told.contains(problem)), "{sources}: {problems:#?}");
    }
    // Two systems with one token could not be told apart.
    let other = source(&format!("name = \"okta\"\n{hash}"));
    assert!(with(&format!("{good}{other}")).unwrap().scim().is_err());
}

#[test]
fn an_organisation_names_people_by_a_template_that_names_them_and_nobody_where_none_is_set() {
    let with = |section: &str| {
        let listener = "[[listeners]]\naddress = \"127.0.0.1:1\"\nserves = [\"client\"]\n";
        let authority = "[[authorities]]\nname = \"a.test\"\nkey_file = \"a.key\"\n";
        let text = format!("{listener}{authority}{section}\n");
        Config::parse(&text, [], std::path::Path::new("/"))
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let named =
        |section: &str| with(section).unwrap().names_of_staff().unwrap().into_values().next().unwrap();
    assert_eq!(named(""), None);
    assert_eq!(named("[authorities.organisation]"), None);
    let section = |template: &str| format!("[authorities.organisation]\ndisplay_name = \"{template}\"");
    assert_eq!(named(&section("{name}({unit})")), Some(staff::Template::default()));
    for template in ["{unit}", "{name", "{name}{number}", ""] {
        let problems = with(&section(template)).unwrap_err();
        let is_told = |told: &String| told.contains("authorities.0.organisation.display_name");
        assert!(problems.iter().any(is_told), "{template}: {problems:#?}");
    }
}

#[test]
fn a_class_signs_in_from_zones_that_there_are_and_may_what_nothing_is_said_of() {
    let with = |section: &str| {
        let listener = "[[listeners]]\naddress = \"127.0.0.1:1\"\nserves = [\"client\"]\n[zones.lgwan]\n";
        let authority = "[[authorities]]\nname = \"a.test\"\nkey_file = \"a.key\"\n";
        let text = format!("{listener}{authority}{section}\n");
        Config::parse(&text, [], std::path::Path::new("/"))
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert!(with("").unwrap().classes().is_empty());
    let said = with("[authorities.classes.fiscal_year]\nsign_in_from = [\"lgwan\"]").unwrap().classes();
    let rights = &said[ruma::server_name!("a.test")][&intake::Class::FiscalYear];
    let zones = std::collections::BTreeSet::from(["lgwan".to_owned()]);
    assert_eq!(*rights, classes::Rights { signs_in_from: Some(zones), ..classes::Rights::default() });
    let url = "client_url = \"https://a.test\"\n";
    let said = "factor = \"required\"\nno_factor_from = [\"lgwan\"]\ndevices = 2";
    let said = with(&format!("{url}[authorities.classes.fiscal_year]\n{said}")).unwrap().classes();
    let rights = &said[ruma::server_name!("a.test")][&intake::Class::FiscalYear];
    let but_from = std::collections::BTreeSet::from(["lgwan".to_owned()]);
    assert_eq!(rights.needs_factor, classes::NeedsFactor::Yes { but_from });
    assert_eq!(rights.devices.map(std::num::NonZeroUsize::get), Some(2));
    let said =
        with("[authorities.classes.fiscal_year]\nfiles = \"none\"\nhistory_days = 30").unwrap().classes();
    let rights = &said[ruma::server_name!("a.test")][&intake::Class::FiscalYear];
    assert_eq!(rights.gives_files, classes::GivesFiles::Nothing);
    assert_eq!(rights.reads_back.map(std::num::NonZeroU16::get), Some(30));
    for (section, problem) in [
        (
            "fiscal_year]\nsign_in_from = [\"lgwan\", \"wan\"]",
            "authorities.0.classes.fiscal_year.sign_in_from",
        ),
        ("fiscal_year]\nmake_rooms = \"some\"", "make_rooms"),
        ("fiscal_year]\ndevices = 0", "devices"),
        ("fiscal_year]\nfiles = \"some\"", "files"),
        ("fiscal_year]\nhistory_days = 0", "history_days"),
        ("fiscal_year]\nhistory_days = 4000", "authorities.0.classes.fiscal_year.history_days"),
        // Whoever is not signed in is of no class.
        (
            "fiscal_year]\nfiles = \"sanitised\"\n[media]\nunauthenticated = true",
            "authorities.0.classes.fiscal_year.files",
        ),
        ("fiscal_year]\nfactor = \"some\"", "factor"),
        // Without pages nobody sets one up.
        ("fiscal_year]\nfactor = \"required\"", "authorities.0.classes.fiscal_year.factor"),
        (
            "fiscal_year]\nfactor = \"required\"\nno_factor_from = [\"wan\"]",
            "authorities.0.classes.fiscal_year.no_factor_from",
        ),
        ("fiscal_year]\nno_factor_from = [\"lgwan\"]", "authorities.0.classes.fiscal_year.no_factor_from"),
        ("yearly]", "yearly"),
    ] {
        let problems = with(&format!("[authorities.classes.{section}")).unwrap_err();
        assert!(problems.iter().any(|told| told.contains(problem)), "{section}: {problems:#?}");
    }
}

#[test]
fn a_directory_is_spoken_to_over_tls_and_never_with_an_empty_password() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("good"), "secret\n").unwrap();
    std::fs::write(directory.path().join("empty"), "\n").unwrap();
    let with = |keys: &str| {
        let listener = "[[listeners]]\naddress = \"127.0.0.1:1\"\nserves = [\"client\"]\n";
        let authority = "[[authorities]]\nname = \"a.test\"\nkey_file = \"a.key\"\n";
        let text = format!(
            "{listener}{authority}[[authorities.ldap]]\nname = \"ad\"\nbase = \"DC=a,DC=test\"\n{keys}\n"
        );
        Config::parse(&text, [], directory.path())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let ad = "kind = \"active_directory\"\nurl = \"ldaps://dc1.a.test\"";
    let settings =
        |keys: &str| with(keys).unwrap().ldap().map(|all| all.into_values().next().unwrap().remove(0));
    let usual = settings(ad).unwrap();
    assert_eq!((usual.id.as_str(), usual.localpart.to_string().as_str()), ("objectGUID", "{sAMAccountName}"));
    assert_eq!((usual.place.port, usual.interval.as_secs()), (636, 30));
    assert!(usual.bind.is_none() && usual.email.is_some() && usual.people_group.is_none());
    let group = "CN=Chat,OU=Groups,DC=a,DC=test";
    let grouped =
        settings(&format!("{ad}\npeople_group = \"{group}\"\nadministrators_group = \"{group}\"")).unwrap();
    assert_eq!(
        (grouped.people_group.as_deref(), grouped.administrators_group.as_deref()),
        (Some(group), Some(group))
    );
    let openldap = settings("kind = \"openldap\"\nurl = \"ldap://ldap.a.test\"\nemails = false").unwrap();
    assert_eq!((openldap.id.as_str(), openldap.place.security), ("entryUUID", ldap::Security::StartTls));
    assert!(openldap.email.is_none());

    // L15.
    let bind = |file: &str| format!("{ad}\nbind_dn = \"yakuba@a.test\"\npassword_file = \"{file}\"");
    assert_eq!(settings(&bind("good")).unwrap().bind.unwrap().password, "secret");
    assert!(settings(&bind("empty")).is_err() && settings(&bind("missing")).is_err());
    assert!(with(&bind("good")).unwrap().secret_files().iter().any(|file| file.ends_with("good")));

    let chain = "filter = \"(memberOf:1.2.840.113556.1.4.1941:=CN=x)\"";
    for (keys, problem) in [
        ("kind = \"active_directory\"\nurl = \"dc1\"".to_owned(), "ldap.0.url"),
        ("kind = \"openldap\"\nurl = \"ldap://ldap.a.test\"\nstarttls = false".to_owned(), "ldap.0.starttls"),
        (format!("{ad}\nbind_dn = \"CN=x\""), "bind_dn"),
        (format!("{ad}\nfilter = \"(uid=\""), "filter"),
        // L7.
        (format!("kind = \"openldap\"\nurl = \"ldaps://ldap.a.test\"\n{chain}"), "filter"),
        (format!("{ad}\nid = \"a b\""), "ldap.0.id"),
        (format!("{ad}\npeople_group = \"Chat\""), "ldap.0.people_group"),
        (format!("{ad}\nadministrators_group = \"\""), "ldap.0.administrators_group"),
        (
            format!(
                "{ad}\nadministrators_group = \"CN=x\"\nadopts_accounts = true\n[authorities.registration]\nmode = \"open\""
            ),
            "ldap.0.administrators_group",
        ),
        (format!("{ad}\nlocalpart = \"{{a.b}}\""), "localpart"),
        (format!("{ad}\ndisplay_name = \"x\""), "display_name"),
        (format!("{ad}\nsubject = \"{{objectGUID}}\""), "subject"),
        (format!("{ad}\ninterval_seconds = 1"), "interval_seconds"),
        (format!("{ad}\nmost_endings_percent = 101"), "most_endings_percent"),
        (format!("{ad}\n[[authorities.ldap]]\nname = \"ad\"\nbase = \"x\"\n{ad}"), "ldap.1.name"),
        (format!("{ad}\n[[authorities.ldap]]\nname = \"b\"\nbase = \"x\"\n{ad}"), "ldap.1.base"),
        (
            format!("{ad}\nadopts_accounts = true\n[[authorities.scim]]\nname = \"x\"\ntoken_file = \"x\""),
            "adopts_accounts",
        ),
    ] {
        let problems = with(&keys).unwrap_err();
        assert!(problems.iter().any(|told| told.contains(problem)), "{keys}: {problems:#?}");
    }
    assert!(with(&format!("{ad}\n{chain}")).is_ok());
}

#[test]
fn contradictions_are_reported_all_at_once() {
    let text = r#"
[[authorities]]
name = "a.test"
key_file = "a.key"
hosts = ["x.test"]
client_url = "a.test"
livekit_url = "a.test"

[[authorities]]
name = "a.test"
key_file = "b.key"
hosts = ["X.test"]

[[listeners]]
address = "0.0.0.0:8448"
serves = ["federation"]

[[listeners]]
address = "0.0.0.0:8448"
serves = []
tls = true
authority = "c.test"

[store]
backend = "postgres"
memory = "1 MiB"
log_days = 5000
log_days_at_most = 0

[proxies]
trusted = ["10.0.0.0/99"]

[limits]
bodies = "1 MiB"
login = { per_second = -1.0, burst = 1 }

[rooms]
default_version = "99"

[federation]
allow_ranges = ["10.0.0.0/99"]

[push.gateway]
subject = "push@a.test"
[[push.gateway.apps]]
id = "test.web"
kind = "webpush"
[[push.gateway.apps]]
id = "test.web"
kind = "unifiedpush"
[[push.gateway.apps]]
id = "test.android"
kind = "fcm"
[[push.gateway.apps]]
id = "test.ios"
kind = "apns"
key_file = "k.p8"
key_id = "A\nB"
team_id = "T"
sandbox = true
service = "https://a.test"
[[push.gateway.apps]]
id = "test.other"
kind = "fcm"
account_file = "a.json"
service = "http://a.test/x"
topic = "t"

[push.mails]
first_pause_seconds = 90
longest_pause_seconds = 60
"#;
    let problems = parse(text).unwrap_err();
    for key in [
        "authorities.1.name",
        "authorities.1.hosts",
        "authorities.0.client_url",
        "authorities.0.livekit_url",
        "listeners.0.tls",
        "listeners.1.address",
        "listeners.1.serves",
        "listeners.1.tls",
        "listeners.1.authority",
        "store.url",
        "store.memory",
        "store.log_days",
        "store.log_days_at_most",
        "proxies.trusted",
        "limits.bodies",
        "limits.login",
        "rooms.default_version",
        "federation.allow_ranges",
        "push.gateway.subject",
        "push.gateway.apps.1.id",
        "push.gateway.apps.2.kind",
        "push.gateway.apps.3.kind",
        "push.gateway.apps.3.key_id",
        "push.gateway.apps.3.sandbox",
        "push.gateway.apps.4.kind",
        "push.gateway.apps.4.service",
        "push.mails.first_pause_seconds",
    ] {
        assert!(
            problems
                .iter()
                .any(|problem| { problem.starts_with("line ") && problem.contains(&format!(": {key}: ")) }),
            "{key}: {problems:#?}"
        );
    }
}

#[test]
fn federation_is_heard_in_the_clear_only_from_this_machine_or_from_a_proxy_that_is_named() {
    let problems = |address: &str, tls: &str, trusted: &str| {
        let listener =
            format!("[[listeners]]\naddress = \"{address}\"\nserves = [\"federation\"]\ntls = {tls}\n");
        let proxies = format!("[proxies]\ntrusted = [{trusted}]\n");
        let text = REFERENCE.replace("[proxies]\n", &format!("{listener}{proxies}"));
        parse(&text).err().unwrap_or_default()
    };
    let (everywhere, here) = ("0.0.0.0:8448", "127.0.0.1:8448");
    let (loopback, container) = ("\"127.0.0.0/8\", \"::1/128\"", "\"127.0.0.0/8\", \"172.18.0.0/16\"");
    assert!(problems(everywhere, "\"proxy\"", container).is_empty());
    assert!(problems(here, "false", loopback).is_empty());
    assert!(problems(here, "\"proxy\"", loopback).is_empty());
    for (tls, trusted) in [("false", container), ("\"proxy\"", loopback), ("\"proxies\"", container)] {
        let problems = problems(everywhere, tls, trusted);
        assert_eq!(problems.len(), 1, "{tls} {problems:?}");
        assert!(problems[0].contains("listeners.2.tls: "), "{problems:?}");
    }
}

#[test]
fn a_misspelt_key_is_named_with_its_line() {
    let problems = parse("[store]\ndurabilty = \"fsync\"\n").unwrap_err();
    assert_eq!(problems, ["line 2: store.durabilty: there is no such key; did you mean `durability`?"]);
}

#[test]
fn what_is_wrong_with_a_value_is_said_in_plain_words() {
    let problems = parse("[passwords]\nwrong_allowed = \"many\"\n").unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with("line 2: passwords.wrong_allowed: a whole number from 0"),
        "{problems:?}"
    );
    assert!(problems[0].ends_with("is needed, not the text \"many\""), "{problems:?}");
}

#[test]
fn a_server_name_in_japanese_is_told_in_the_form_of_dns() {
    let problems = parse("[[authorities]]\nname = \"金沢.example.jp\"\nkey_file = \"k\"\n").unwrap_err();
    assert!(problems.iter().any(|problem| problem.contains("ASCII: xn--6uw360f.example.jp")), "{problems:?}");

    let problems = parse("[rooms]\ndefault_version = 11\n[store]\nbackend = \"公開\"\n").unwrap_err();
    assert!(!problems.iter().any(|problem| problem.contains("ASCII")), "{problems:?}");
}

#[test]
fn the_environment_overrides_keys_but_may_name_the_file() {
    let environment = [("YAKUBA_STORE__MEMORY", "64 MiB"), ("YAKUBA_CONFIG", "/etc/yakuba/yakuba.toml")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::parse(REFERENCE, environment, Path::new("")).unwrap();
    assert_eq!(config.store.memory, base::ByteSize::mib(64));
}

#[test]
fn secrets_are_not_printed() {
    let text = REFERENCE.replace("#tokens = [\"a-long-random-word\"]", "tokens = [\"a-long-random-word\"]");
    let config = parse(&text).unwrap();
    assert_eq!(config.authorities[0].registration.tokens.len(), 1);
    assert!(!format!("{config:?}").contains("a-long-random-word"));
}

#[test]
fn a_configuration_that_tells_secrets_is_to_be_read_by_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("yakuba.toml");
    let token = "[authorities.registration]\ntokens = [\"a-long-random-word\"]\n";
    let url = "[store]\nurl = \"postgres://yakuba:secret@localhost/yakuba\"\n";
    let exposed = |text: &str, mode: u32| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        Config::read(&file).unwrap().exposed_secrets().contains(&file)
    };
    for (part, of) in [("[authorities.registration]\n", token), ("[store]\n", url)] {
        let text = REFERENCE.replace(part, of);
        assert!(exposed(&text, 0o644), "{text}");
        assert!(!exposed(&text, 0o600), "{text}");
    }
    assert!(!exposed(REFERENCE, 0o644), "there is no secret in it");

    // What the environment gives does not stand in the file.
    let variable = [("YAKUBA_STORE__URL".to_owned(), "postgres://yakuba:secret@localhost".to_owned())];
    let config = Config::parse(REFERENCE, variable, directory.path()).unwrap();
    assert!(config.store.url.is_some() && !config.tells_secrets);
}

#[test]
fn limits_are_switched_off_one_by_one_or_all_at_once() {
    let limits =
        |text: &str| parse(&REFERENCE.replace("[limits]\n", &format!("[limits]\n{text}\n"))).unwrap();
    let rate = |config: &Config, class| config.rate(class);
    let default = limits("");
    for class in web::Class::ALL {
        assert_eq!(rate(&default, class), class.default_rate());
        let name = class.name();
        let one_off = limits(&format!("{name} = {{ per_second = 0.0, burst = 0 }}"));
        assert!(rate(&one_off, class).is_unlimited());
    }
    assert!(default.account_config().unwrap().guesses.is_some());
    let off = limits("enabled = false");
    assert!(web::Class::ALL.iter().all(|class| rate(&off, *class).is_unlimited()));
    assert!(off.account_config().unwrap().guesses.is_none());
}

#[test]
fn half_a_rate_keeps_the_other_half_of_its_class_in_the_file_and_in_the_environment() {
    for class in web::Class::ALL {
        let (name, default) = (class.name(), class.default_rate());
        let read = |line: &str, variable: Option<(&str, &str)>| {
            let text = REFERENCE.replace("[limits]\n", &format!("[limits]\n{line}\n"));
            let variable = variable.map(|(half, value)| {
                (format!("YAKUBA_LIMITS__{}__{half}", name.to_uppercase()), value.to_owned())
            });
            Config::parse(&text, variable, Path::new("/etc/yakuba")).unwrap().rate(class)
        };
        let burst = web::Rate { burst: 7777, ..default };
        assert_eq!(read(&format!("{name} = {{ burst = 7777 }}"), None), burst);
        assert_eq!(read("", Some(("BURST", "7777"))), burst);
        let per_second = web::Rate { per_second: 0.5, ..default };
        assert_eq!(read(&format!("{name} = {{ per_second = 0.5 }}"), None), per_second);
        assert_eq!(read("", Some(("PER_SECOND", "0.5"))), per_second);
    }
}

#[test]
fn wrong_values_from_the_environment_are_told_as_they_were_written() {
    let told = |name: &str, value: &str| {
        let variable = [(name.to_owned(), value.to_owned())];
        let problems = Config::parse(REFERENCE, variable, Path::new("/etc/yakuba")).unwrap_err();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let address = told("YAKUBA_LISTENERS__0__ADDRESS", "127.0.0.1");
    assert!(address.contains("an address with a port such as") && !address.contains("syntax"), "{address}");
    let burst = told("YAKUBA_LIMITS__LOGIN__BURST", "1.5");
    assert!(burst.contains("not the number 1.5"), "{burst}");
}

#[test]
fn apps_of_one_key_at_apple_show_its_tokens_together() {
    let directory = tempfile::tempdir().unwrap();
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway/tests/apns.p8");
    std::fs::copy(key, directory.path().join("k.p8")).unwrap();
    let app = |id: &str, key_id: &str, more: &str| {
        format!(
            "[[push.gateway.apps]]\nid = \"{id}\"\nkind = \"apns\"\nkey_file = \"k.p8\"\nkey_id = \"{key_id}\"\n\
             team_id = \"T\"\ntopic = \"jp.example.{id}\"\n{more}\n"
        )
    };
    let apps = [
        app("one", "K", ""),
        app("two", "K", "sandbox = true"),
        app("three", "L", "service = \"https://push.test:8443\""),
    ];
    let text = format!("{REFERENCE}\n[push.gateway]\nsubject = \"mailto:a@a.test\"\n{}", apps.concat());
    let config = Config::parse(&text, [], directory.path()).unwrap();
    assert!(config.secret_files().contains(&directory.path().join("k.p8")));
    let apps = config.push_apps().unwrap().into_iter().map(|app| match app.kind {
        gateway::Kind::Apns(app) => app,
        other => panic!("{other:?}"),
    });
    let [one, two, three] = <[_; 3]>::try_from(apps.collect::<Vec<_>>()).unwrap();
    assert!(Arc::ptr_eq(&one.key, &two.key) && !Arc::ptr_eq(&one.key, &three.key));
    assert_eq!(
        [&*one.service, &*two.service, &*three.service],
        ["https://api.push.apple.com", "https://api.sandbox.push.apple.com", "https://push.test:8443"]
    );
    std::fs::write(directory.path().join("k.p8"), "no key").unwrap();
    assert!(config.push_apps().is_err());
}

#[test]
fn log_servers_are_read_and_what_is_wrong_with_them_is_named() {
    let with = |keys: &str| {
        let text = format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\nserves = [\"client\"]\n[[authorities]]\nname = \"a.test\"\n\
             key_file = \"a.key\"\n[[authorities.syslog]]\nname = \"siem\"\n{keys}\n"
        );
        Config::parse(&text, [], Path::new("/etc/yakuba"))
    };
    let all = with("address = \"log.a.test:6514\"").unwrap().log_servers().unwrap();
    let siem = all.into_values().next().unwrap().remove(0);
    assert_eq!((siem.place.to_string().as_str(), siem.enterprise), ("log.a.test:6514", 32_473));
    assert!(siem.tls.is_some());
    let relay = with("address = \"[::1]:514\"\nsecurity = \"none\"").unwrap().log_servers().unwrap();
    assert!(relay.into_values().next().unwrap().remove(0).tls.is_none());
    let good = "address = \"log.a.test:6514\"";
    for (keys, key) in [
        ("address = \"log.a.test\"".to_owned(), "syslog.0.address"),
        ("address = \"log.a.test:0\"".to_owned(), "syslog.0.address"),
        ("address = \"https://log.a.test:6514\"".to_owned(), "syslog.0.address"),
        // In the clear over a network.
        ("address = \"log.a.test:514\"\nsecurity = \"none\"".to_owned(), "syslog.0.security"),
        ("address = \"192.0.2.1:514\"\nsecurity = \"none\"".to_owned(), "syslog.0.security"),
        (format!("{good}\nkey_file = \"k\""), "syslog.0.certificate_file"),
        (format!("{good}\nenterprise = 0"), "syslog.0.enterprise"),
        (format!("{good}\n[[authorities.syslog]]\nname = \"siem\"\n{good}"), "syslog.1.name"),
        (format!("{good}\n[[authorities.syslog]]\nname = \"S I\"\n{good}"), "syslog.1.name"),
    ] {
        let problems = with(&keys).unwrap_err();
        let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(told.contains(key), "{keys}: {told}");
    }
}

#[test]
fn the_audit_log_is_kept_for_a_year_at_least() {
    let with = |keys: &str| {
        let text = format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\nserves = [\"client\"]\n[[authorities]]\nname = \"a.test\"\n\
             key_file = \"a.key\"\n{keys}\n"
        );
        Config::parse(&text, [], Path::new("/etc/yakuba"))
    };
    let name = ruma::server_name!("a.test");
    assert_eq!(with("").unwrap().audit_years(name), audit::Years::FIRST);
    let set = with("[authorities.audit]\nreads = 1\ncases = 30").unwrap().audit_years(name);
    assert_eq!(set, audit::Years { reads: 1, cases: 30, ..audit::Years::FIRST });
    for (keys, key) in [("sign_ins = 0", "audit.sign_ins"), ("rooms = 101", "audit.rooms")] {
        let problems = with(&format!("[authorities.audit]\n{keys}")).unwrap_err();
        let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(told.contains(key) && told.contains("not less than one"), "{keys}: {told}");
    }
}

#[test]
fn an_identity_provider_is_told_two_addresses_and_no_way_of_authentication_is_demanded_that_is_none() {
    let with = |keys: &str| {
        let listener = "[[listeners]]\naddress = \"127.0.0.1:1\"\nserves = [\"client\"]\n";
        let authority = "[[authorities]]\nname = \"a.test\"\nkey_file = \"a.key\"\nclient_url = \"https://chat.a.test/\"\n";
        let provider = "[authorities.upstream]\nissuer = \"https://id.a.test\"\nclient_id = \"yakuba\"\n";
        parse(&format!("{authority}{provider}{keys}\n{listener}"))
    };
    let config = with("required_amr = [\"mfa\", \"pwd otp\"]").unwrap();
    let told = config.addresses_for_providers();
    let (name, back, sign_out) = &told[0];
    assert_eq!((told.len(), name.as_str()), (1, "a.test"));
    assert_eq!(back, "https://chat.a.test/_yakuba/upstream/callback");
    assert_eq!(sign_out, "https://chat.a.test/_yakuba/upstream/sign-out");
    assert_eq!(config.upstream().unwrap()[name].required_amr, ["mfa", "pwd otp"]);
    let staff = "[authorities.upstream.staff]\nnumber = \"{employee_number}\"\nunit = \"{department}\"";
    let said = with(staff).unwrap().upstream().unwrap()[name].staff.clone().unwrap();
    assert_eq!((said.name, said.title), ("{name}".parse().unwrap(), None));
    for (wrong, key) in [("unit = \"{a\"", "staff.unit"), ("unit = \"{a}\"\ntitle = \"}\"", "staff.title")] {
        let problems =
            with(&format!("[authorities.upstream.staff]\nnumber = \"{{n}}\"\n{wrong}")).unwrap_err();
        assert!(problems.iter().any(|told| told.contains(key)), "{key}: {problems:#?}");
    }
    for keys in ["required_amr = [\"\"]", "required_amr = [\"mfa\", \" \"]"] {
        let problems = with(keys).unwrap_err();
        assert!(problems.iter().any(|told| told.contains("upstream.required_amr")), "{problems:#?}");
    }
}
