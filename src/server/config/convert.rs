//! The configuration in the words of the crates that it is for.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{anyhow, bail};
use base::ByteSize;
use pdu::{Authorities, Authority, RoomVersion};
use room::Zone;
use ruma::OwnedServerName;

use super::{
    AuthorityConfig, Config, EmailSetting, GatewayAppConfig, GatewayKind, Listener, MailConfig, MailSecurity,
    PeersSetting, PrivateAddresses, ProxyHeaderSetting, RateSetting, RegistrationMode, RequiredFactors,
    TermsConfig, TermsTextConfig, TrustSetting,
};
use crate::{causes, places::Bounds, texts::tr};

/// How `[store] memory` is divided, in hundredths: the store's blocks and write buffers, the room engine, what is
/// unread, `/sync`, sessions, who is to be sent what. Each divides its part among its caches. The store's is small: its blocks are in the
/// system's memory for files as well, while an event that has to be made of them anew costs some microseconds.
const STORE: u64 = 20;
const ROOMS: u64 = 60;
const PUSH: u64 = 2;
const SYNC: u64 = 9;
const TO_DEVICE: u64 = 1;
const ENCRYPTION: u64 = 1;
const ACCOUNTS: u64 = 4;
const FEDERATION: u64 = 3;

impl Config {
    /// Our server names with their keys, read from their files.
    ///
    /// # Errors
    /// The first key that cannot be read.
    pub fn load_authorities(&self) -> anyhow::Result<Authorities> {
        let authorities = self.authorities.iter().map(|authority| self.load_authority(authority));
        Ok(Authorities::new(authorities.collect::<anyhow::Result<Vec<_>>>()?))
    }

    fn load_authority(&self, config: &AuthorityConfig) -> anyhow::Result<Authority> {
        let path = self.path(&config.key_file);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            anyhow!(tr!(
                "{name} の署名鍵 {path} を読めません: {cause}",
                "the signing key {path} of {name} cannot be read: {cause}",
                name = config.name,
                path = path.display(),
                cause = causes::of_io(&error)
            ))
        })?;
        let mut authority = Authority::from_key_file(config.name.clone(), &text).map_err(|error| {
            anyhow!(tr!(
                "{name} の署名鍵 {path}: {cause}",
                "the signing key {path} of {name}: {cause}",
                name = config.name,
                path = path.display(),
                cause = causes::of_key_file(&error)
            ))
        })?;
        for old in &config.old_keys {
            let key = ruma::serde::Base64::<ruma::serde::base64::Standard>::parse(&old.public_key)
                .ok()
                .and_then(|key| <[u8; 32]>::try_from(key.into_inner()).ok());
            let Some(public_key) = key else {
                bail!(tr!(
                    "{name} の公開鍵 {id} は base64 の 32 バイトではありません",
                    "the public key of {id} of {name} is not 32 bytes in base64",
                    name = config.name,
                    id = old.key_id
                ));
            };
            let (key_id, expired_ts) = (old.key_id.clone(), old.expired_ts);
            authority = authority.with_old_key(pdu::OldKey { key_id, public_key, expired_ts });
        }
        Ok(authority)
    }

    /// The version of new rooms.
    pub fn room_version(&self) -> RoomVersion {
        // Checked when the configuration was read.
        RoomVersion::parse(&self.rooms.default_version).unwrap_or(RoomVersion::DEFAULT)
    }

    /// Memory of the storage back end, for blocks and for what is not in its files yet.
    pub fn store_memory(&self) -> ByteSize {
        self.memory(STORE)
    }

    /// How long the log of changes is kept.
    pub fn log_kept(&self) -> store::Keep {
        store::Keep { log: days(self.store.log_days), at_most: days(self.store.log_days_at_most) }
    }

    /// How long messages wait for a device that never asks for them.
    pub fn device_messages_kept(&self) -> Duration {
        days(self.store.device_message_days)
    }

    /// Memory of the caches of `/sync`.
    pub fn sync_memory(&self) -> ByteSize {
        self.memory(SYNC)
    }

    /// Memory of what is known of devices' inboxes.
    pub fn to_device_memory(&self) -> ByteSize {
        self.memory(TO_DEVICE)
    }

    /// Memory of the caches of what is unread.
    pub fn push_memory(&self) -> ByteSize {
        self.memory(PUSH)
    }

    /// Memory of the counts of devices' keys.
    pub fn encryption_memory(&self) -> ByteSize {
        self.memory(ENCRYPTION)
    }

    fn memory(&self, hundredths: u64) -> ByteSize {
        ByteSize::bytes(self.store.memory.as_u64() / 100 * hundredths)
    }

    /// Whom users turn to when the server cannot help itself; every domain is to have a postmaster.
    pub fn contact(&self) -> String {
        let named = self.admin.contact.clone();
        let first =
            self.authorities.first().map(|authority| format!("mailto:postmaster@{}", authority.name.host()));
        named.or(first).unwrap_or_default()
    }

    /// Settings of the room engine.
    pub fn room_config(&self) -> engine::Config {
        let memory = self.memory(ROOMS);
        engine::Config { default_version: self.room_version(), memory, ..engine::Config::default() }
    }

    /// Settings of accounts, with the secrets read from their files.
    ///
    /// # Errors
    /// A secret's file that cannot be read; registrations of application services that cannot be used.
    pub fn account_config(&self) -> anyhow::Result<account::Config> {
        let mut authorities = BTreeMap::new();
        let mut services = self.services();
        if !services.problems.is_empty() {
            return Err(anyhow!(services.problems.join("\n")));
        }
        for authority in &self.authorities {
            let services = services.of.remove(&authority.name).unwrap_or_default();
            let settings = account::Settings { services, ..self.account_settings(authority)? };
            authorities.insert(authority.name.clone(), settings);
        }
        let guesses = self.limits.enabled.then(|| account::GuessLimit {
            wrong_allowed: self.passwords.wrong_allowed,
            pause: Duration::from_secs(self.passwords.pause_seconds),
        });
        let memory = self.memory(ACCOUNTS);
        let presence = self
            .presence
            .enabled
            .then_some(account::PresenceConfig { largest_room: self.presence.largest_room });
        Ok(account::Config { authorities, guesses, memory, presence, ..account::Config::default() })
    }

    fn account_settings(&self, authority: &AuthorityConfig) -> anyhow::Result<account::Settings> {
        let registration = &authority.registration;
        let shared_secret =
            registration.shared_secret_file.as_deref().map(|file| self.secret(file)).transpose()?;
        Ok(account::Settings {
            registration: match registration.mode {
                RegistrationMode::Closed => account::Registration::Closed,
                RegistrationMode::Token => account::Registration::Token,
                RegistrationMode::Open => account::Registration::Open,
            },
            registration_tokens: registration.tokens.iter().map(|token| token.0.clone()).collect(),
            shared_secret,
            guests: registration.guests,
            min_password_chars: registration.min_password_length,
            account_page: authority.account_page(),
            mail: authority.mail.as_ref().map(|mail| mail_settings(authority, mail)),
            terms: authority.terms.iter().map(terms).collect(),
            upstream: authority.upstream.as_ref().map(|upstream| account::Upstream {
                makes_accounts: upstream.makes_accounts,
                demands_way: !upstream.acr_values.is_empty(),
            }),
            passwords: authority.upstream.as_ref().is_none_or(|upstream| upstream.passwords),
            factors: match authority.factors.required {
                RequiredFactors::None => account::FactorsFor::Nobody,
                RequiredFactors::Administrators => account::FactorsFor::Administrators,
                RequiredFactors::All => account::FactorsFor::Everybody,
            },
            ..account::Settings::default()
        })
    }

    /// Authorities at which clients sign in by OAuth 2.0.
    pub fn oauth_authorities(&self) -> BTreeSet<OwnedServerName> {
        self.authorities
            .iter()
            .filter(|config| config.account_page().is_some())
            .map(|config| config.name.clone())
            .collect()
    }

    /// Settings of the client interface.
    pub fn client_config(&self) -> client::Config {
        let url = |authority: &AuthorityConfig, url: Option<&String>| {
            Some((authority.name.clone(), url?.trim_end_matches('/').to_owned()))
        };
        let of_authorities = self.authorities.iter();
        let urls =
            of_authorities.clone().filter_map(|authority| url(authority, authority.client_url.as_ref()));
        let livekit = of_authorities.filter_map(|authority| url(authority, authority.livekit_url.as_ref()));
        client::Config {
            default_room_version: self.room_version(),
            base_urls: urls.collect(),
            livekit_urls: livekit.collect(),
            unstable_features: if self.oauth_authorities().is_empty() {
                Vec::new()
            } else {
                // Signing in by a QR code, which is by OAuth 2.0 alone.
                vec!["org.matrix.msc4108".to_owned()]
            },
            support: self.support(),
            providers: self
                .authorities
                .iter()
                .filter(|authority| authority.upstream.is_some())
                .map(|authority| authority.name.clone())
                .collect(),
            sign_in_pages: self
                .authorities
                .iter()
                .filter(|authority| authority.sign_in_page)
                .map(|authority| authority.name.clone())
                .collect(),
        }
    }

    fn support(&self) -> BTreeMap<OwnedServerName, client::Support> {
        let told = |authority: &AuthorityConfig| {
            let support = authority.support.as_ref()?;
            let contacts = support.contacts.iter().map(|contact| client::Contact {
                role: contact.role.clone(),
                matrix_id: contact.matrix_id.clone(),
                email_address: contact.email.clone(),
            });
            let told = client::Support { contacts: contacts.collect(), support_page: support.page.clone() };
            Some((authority.name.clone(), told))
        };
        self.authorities.iter().filter_map(told).collect()
    }

    /// The servers that take the mails of our authorities.
    ///
    /// # Errors
    /// A file that cannot be read, a name or a certificate that cannot be used.
    pub fn smtp(&self) -> anyhow::Result<mail::Smtp> {
        let mut servers = Vec::new();
        for authority in &self.authorities {
            let Some(mail) = &authority.mail else { continue };
            let password = mail.password_file.as_deref().map(|file| self.secret(file)).transpose()?;
            let from = mail.from.parse().map_err(|error: mail::BadAddress| {
                anyhow!(tr!("{from} はメールアドレスではありません", "{from}: {error}", from = mail.from))
            })?;
            let server = mail::SmtpServer {
                host: mail.host.clone(),
                port: mail.port.unwrap_or(match mail.security {
                    MailSecurity::Tls => 465,
                    MailSecurity::StartTls => 587,
                    MailSecurity::None => 25,
                }),
                security: match mail.security {
                    MailSecurity::Tls => mail::Security::Tls,
                    MailSecurity::StartTls => mail::Security::StartTls,
                    MailSecurity::None => mail::Security::None,
                },
                user: mail.user.clone().zip(password),
                ca: mail
                    .ca_file
                    .as_deref()
                    .map(|file| self.secret(file))
                    .transpose()?
                    .map(String::into_bytes),
                from,
                from_name: mail.from_name.clone(),
            };
            servers.push((authority.name.to_string(), server));
        }
        mail::Smtp::new(servers).map_err(|error| {
            anyhow!(tr!(
                "メールサーバーの設定を使えません: {error}",
                "the mail server cannot be used: {error}"
            ))
        })
    }

    /// The zone of a listener; none where it names none.
    pub fn zone_of(&self, listener: &Listener) -> Option<Zone> {
        self.zone(listener.zone.as_deref()?)
    }

    /// The zone of this name.
    pub fn zone(&self, name: &str) -> Option<Zone> {
        Some(Zone::new(name, self.zones.get(name)?.files.gives()))
    }

    /// Settings of media.
    pub fn media_config(&self) -> media::Config {
        let bound = |bound: ByteSize| (bound.as_u64() > 0).then_some(bound);
        media::Config {
            largest_upload: self.media.largest_upload,
            largest_remote: self.media.largest_remote,
            remote_kept: (self.media.remote_days > 0)
                .then(|| Duration::from_secs(u64::from(self.media.remote_days) * 24 * 60 * 60)),
            previews: self.media.previews.enabled,
            of_user: bound(self.media.kept_by_user),
            of_authority: bound(self.media.kept_by_authority),
            zones: self.zones.iter().map(|(name, zone)| (name.clone(), zone.files())).collect(),
            ..media::Config::default()
        }
    }

    /// Settings of federation.
    ///
    /// # Errors
    /// An address range that is none.
    pub fn federation_config(&self) -> anyhow::Result<federation::Config> {
        let (config, previews, push) = (&self.federation, &self.media.previews, &self.push);
        let ranges = |texts: &[String]| {
            texts.iter().map(|text| text.parse()).collect::<Result<Vec<federation::AddressRange>, _>>()
        };
        let fixed = config.fixed.iter().map(|(name, fixed)| {
            let fixed = federation::FixedAddress {
                address: fixed.address.clone(),
                certificate_name: fixed.certificate_name.clone(),
            };
            (name.clone(), fixed)
        });
        let policy = |private, allow: &[String], deny: &[String]| {
            let private = private == PrivateAddresses::Allow;
            anyhow::Ok(federation::AddressPolicy { private, allow: ranges(allow)?, deny: ranges(deny)? })
        };
        let pages = previews
            .enabled
            .then(|| policy(previews.private_addresses, &previews.allow_ranges, &previews.deny_ranges));
        Ok(federation::Config {
            network: federation::NetworkConfig {
                fixed: fixed.collect(),
                addresses: policy(config.private_addresses, &config.allow_ranges, &config.deny_ranges)?,
                pages: pages.transpose()?,
                gateways: policy(push.private_addresses, &push.allow_ranges, &push.deny_ranges)?,
                ca_files: config.ca_files.iter().map(|file| self.path(file)).collect(),
                trust: match config.trust {
                    TrustSetting::System => federation::Trust::System,
                    TrustSetting::Mozilla => federation::Trust::Mozilla,
                    TrustSetting::Files => federation::Trust::FilesOnly,
                },
                dns: config.dns,
                ..federation::NetworkConfig::default()
            },
            keys: federation::KeyConfig {
                notaries: config.trusted_notaries.clone(),
                ..federation::KeyConfig::default()
            },
            sender: federation::SenderConfig {
                memory: self.memory(FEDERATION),
                ..federation::SenderConfig::default()
            },
            peers: match &config.peers {
                PeersSetting::Nobody => federation::Peers::Nobody,
                PeersSetting::Everybody => federation::Peers::Everybody,
                PeersSetting::Only(servers) => federation::Peers::Only(servers.iter().cloned().collect()),
            },
        })
    }

    /// What leads back from the mails of authorities that send some.
    pub fn mail_faces(&self) -> HashMap<OwnedServerName, push::MailFace> {
        let with_mail =
            self.authorities.iter().filter_map(|authority| Some((authority, authority.mail.as_ref()?)));
        let faces = with_mail.map(|(authority, mail)| {
            let web_client = mail.web_client.as_deref().map(|url| url.trim_end_matches('/').to_owned());
            (authority.name.clone(), push::MailFace { base_url: base_url(authority), web_client })
        });
        faces.collect()
    }

    /// How often users are mailed what they have not read.
    pub fn mail_pace(&self) -> push::MailPace {
        let mails = &self.push.mails;
        push::MailPace {
            quiet: Duration::from_secs(mails.quiet_seconds),
            first_pause: Duration::from_secs(mails.first_pause_seconds),
            longest_pause: Duration::from_secs(mails.longest_pause_seconds),
        }
    }

    /// The built-in push gateway and its key, which is made where it is missing; none where it is not set.
    ///
    /// # Errors
    /// A key that cannot be read or made.
    pub fn push_gateway(&self) -> anyhow::Result<Option<(gateway::Settings, gateway::VapidKey)>> {
        let Some(config) = &self.push.gateway else { return Ok(None) };
        let file = self.path(&config.key_file);
        let key = gateway::VapidKey::open(&file).map_err(|error| {
            anyhow!(tr!(
                "プッシュ通知の鍵 {file} を使えません: {error}",
                "the key of push notifications {file} cannot be used: {error}",
                file = file.display()
            ))
        })?;
        let subject = config.subject.clone().unwrap_or_else(|| self.contact());
        let settings = gateway::Settings { apps: self.push_apps()?, subject, kept: PUSHES_KEPT };
        Ok(Some((settings, key)))
    }

    /// The apps that the built-in push gateway serves.
    ///
    /// # Errors
    /// An account or a key that cannot be read, or is none.
    pub fn push_apps(&self) -> anyhow::Result<Vec<gateway::App>> {
        let apps = self.push.gateway.iter().flat_map(|gateway| &gateway.apps);
        // Apps of one key show its tokens together: Apple bears few.
        let mut keys = HashMap::new();
        let apps = apps.map(|app| {
            let kind = match app.kind {
                GatewayKind::WebPush => gateway::Kind::WebPush,
                GatewayKind::UnifiedPush => gateway::Kind::UnifiedPush,
                GatewayKind::Fcm => gateway::Kind::Fcm(Arc::new(self.fcm_account(app)?)),
                GatewayKind::Apns => gateway::Kind::Apns(Arc::new(self.apns_app(app, &mut keys)?)),
            };
            Ok(gateway::App { id: app.id.clone(), kind, hosts: app.hosts.clone() })
        });
        apps.collect()
    }

    fn fcm_account(&self, app: &GatewayAppConfig) -> anyhow::Result<gateway::FcmAccount> {
        let file = app.account_file.clone().unwrap_or_default();
        let text = self.secret(&file)?;
        let account = gateway::FcmAccount::parse(text.as_bytes()).ok_or_else(|| {
            anyhow!(tr!(
                "{file} は Google のサービスアカウントの鍵 (JSON) ではありません",
                "{file} is no key of a service account at Google (JSON)",
                file = file.display()
            ))
        })?;
        Ok(match &app.service {
            Some(service) => account.at(service.clone()),
            None => account,
        })
    }

    fn apns_app(
        &self,
        app: &GatewayAppConfig,
        keys: &mut HashMap<[String; 3], Arc<gateway::ApnsKey>>,
    ) -> anyhow::Result<gateway::ApnsApp> {
        let [file, key_id, team_id, topic] =
            app.apple().map(|(_, value)| value.unwrap_or_default().to_owned());
        let name = [file.clone(), key_id.clone(), team_id.clone()];
        let key = match keys.get(&name) {
            Some(key) => key.clone(),
            None => {
                let text = self.secret(file.as_ref())?;
                let key = gateway::ApnsKey::parse(text.as_bytes(), &key_id, &team_id).ok_or_else(|| {
                    anyhow!(tr!(
                        "{file} は Apple のプッシュ通知の鍵 (.p8) ではありません",
                        "{file} is no key for push notifications of Apple's (.p8)"
                    ))
                })?;
                keys.entry(name).or_insert(Arc::new(key)).clone()
            }
        };
        let usual = if app.sandbox { gateway::SANDBOX } else { gateway::PRODUCTION };
        let service = app.service.clone().unwrap_or_else(|| usual.to_owned());
        Ok(gateway::ApnsApp { key, topic, service })
    }

    /// The hosts by which we are known, without ports.
    pub fn own_hosts(&self) -> Vec<String> {
        let hosts = self.authorities.iter().flat_map(|authority| {
            let name = crate::hosts::host_without_port(authority.name.as_str()).to_owned();
            std::iter::once(name).chain(face_hosts(authority))
        });
        hosts.collect()
    }

    /// The proxies that are believed.
    ///
    /// # Errors
    /// An address range that is none.
    pub fn proxies(&self) -> anyhow::Result<web::Proxies> {
        let networks = self.proxies.trusted.iter().map(|text| text.parse());
        Ok(web::Proxies {
            networks: networks.collect::<Result<_, web::NotANetwork>>()?,
            header: match self.proxies.header {
                ProxyHeaderSetting::XForwardedFor => web::ProxyHeader::XForwardedFor,
                ProxyHeaderSetting::Forwarded => web::ProxyHeader::Forwarded,
            },
        })
    }

    /// What a listener takes, where the process may have so many files open.
    ///
    /// # Errors
    /// An address range that is none.
    pub fn bounds(&self, open_files: u64) -> anyhow::Result<Bounds> {
        let of_one_address = self.limits.connections_by_address;
        Ok(Bounds::of(open_files, self.listeners.len(), of_one_address, self.proxies()?.networks))
    }

    /// How often a kind of request is answered.
    pub fn rate(&self, class: web::Class) -> web::Rate {
        if !self.limits.enabled {
            return web::Rate::UNLIMITED;
        }
        let RateSetting { per_second, burst } = self.limits.rate(class);
        web::Rate { per_second, burst }
    }

    /// The faces of this process; `None` without an authority.
    pub fn faces(&self) -> Option<web::Faces> {
        let mut all =
            self.authorities.iter().map(|authority| (authority.name.clone(), face_hosts(authority)));
        let first = all.next()?;
        Some(web::Faces::new(first, all))
    }

    /// The content of a file with a secret, without the line's end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn secret(&self, file: &Path) -> anyhow::Result<String> {
        let path = self.path(file);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            anyhow!(tr!(
                "{path} を読めません: {cause}",
                "{path} cannot be read: {cause}",
                path = path.display(),
                cause = causes::of_io(&error)
            ))
        })?;
        Ok(text.trim().to_owned())
    }
}

/// Where the links in mails of an authority lead.
fn base_url(authority: &AuthorityConfig) -> String {
    let base_url = authority.client_url.clone().unwrap_or_else(|| format!("https://{}", authority.name));
    base_url.trim_end_matches('/').to_owned()
}

/// How the users of an authority have addresses.
fn mail_settings(authority: &AuthorityConfig, mail: &MailConfig) -> account::MailSettings {
    account::MailSettings {
        base_url: base_url(authority),
        at_registration: match mail.at_registration {
            EmailSetting::Off => account::EmailAtRegistration::Off,
            EmailSetting::Optional => account::EmailAtRegistration::Optional,
            EmailSetting::Required => account::EmailAtRegistration::Required,
        },
        domains: mail.domains.iter().map(|domain| domain.to_ascii_lowercase()).collect(),
        hides_who_is_known: !mail.tell_known,
        next_hosts: mail.next_hosts.clone(),
    }
}

fn terms(terms: &TermsConfig) -> account::Terms {
    let text = |(language, text): (&String, &TermsTextConfig)| account::TermsText {
        language: language.clone(),
        name: text.name.clone(),
        url: text.url.clone(),
    };
    account::Terms {
        id: terms.id.clone(),
        version: terms.version.clone(),
        texts: terms.texts.iter().map(text).collect(),
    }
}

/// Further hosts that stand for an authority: those that it names and those that it publishes.
fn face_hosts(authority: &AuthorityConfig) -> Vec<String> {
    let published = [
        authority.client_url.as_deref().and_then(crate::hosts::host_of_url),
        authority.federation_address.as_deref(),
    ];
    let published =
        published.into_iter().flatten().map(|host| crate::hosts::host_without_port(host).to_owned());
    authority.hosts.iter().cloned().chain(published).collect()
}

/// How long push services keep what they cannot bring at the moment: what is older, devices learn when they sync.
const PUSHES_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 24 * 60 * 60)
}
