//! [`Federation`]: what the server puts together of this crate.

use std::sync::Arc;

use account::{Accounts, Presence};
use base::{Clock, Metrics, Random, Tasks};
use encryption::Encryption;
use engine::{Engine, KeySource, Remote};
use media::Media;
use pdu::Authorities;
use room::{Policy, Rooms};
use store::Store;
use to_device::ToDevice;
use web::{Routes, SignatureCheck};

use crate::{
    client::Client,
    config::Config,
    contacts::Contacts,
    domain_source::DomainSource,
    files::FileSource,
    gateways::PushGateways,
    http::{self, FederationApi, FederationMedia},
    keys::Keys,
    lists,
    pages::PageSource,
    reach::Reach,
    remote::Peering,
    sender::Sender,
    signatures::{Outcomes, Signatures},
    transport::Transport,
};

/// What federation is made of.
pub struct Parts<'a> {
    /// Settings.
    pub config: Config,
    /// Where keys and what is owed to peers are kept.
    pub store: Store,
    /// Our server names.
    pub authorities: Arc<Authorities>,
    /// With whom requests may be exchanged, beside the settings.
    pub policy: Arc<dyn Policy>,
    /// The way to other servers: a [`crate::Network`], or a test's.
    pub transport: Arc<dyn Transport>,
    /// The clock.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Who runs our tasks.
    pub tasks: &'a Tasks,
    /// Where we count.
    pub metrics: &'a Metrics,
}

/// Federation of one process, for all its authorities. Cheap to clone.
///
/// It stands between the floors: the room engine needs its [`Federation::remote`] and
/// [`Federation::key_source`] to be opened, its routes and its sender need the opened engine.
#[derive(Clone)]
pub struct Federation(Arc<Inner>);

struct Inner {
    config: Config,
    store: Store,
    client: Client,
    keys: Keys,
    peering: Arc<Peering>,
    signatures: Arc<Signatures>,
    contacts: Arc<Contacts>,
    clock: Clock,
    random: Random,
    tasks: Tasks,
    metrics: Metrics,
}

impl Federation {
    /// Puts the parts together. Nothing is read and nothing sent yet.
    pub fn open(parts: Parts<'_>) -> Self {
        let Parts { config, store, authorities, policy, transport, clock, random, tasks, metrics } = parts;
        let reach = Reach { peers: config.peers.clone(), policy };
        let contacts = Arc::new(Contacts::new(clock.clone()));
        let client = Client::new(transport, authorities.clone(), reach.clone(), contacts.clone());
        let keys = Keys::new(
            store.clone(),
            client.clone(),
            config.keys.clone(),
            clock.clone(),
            random.clone(),
            tasks.clone(),
            metrics,
        );
        let signatures = Signatures {
            authorities,
            keys: keys.clone(),
            reach,
            contacts: contacts.clone(),
            outcomes: Outcomes(metrics.counter_family(
                "yakuba_federation_signatures_checked",
                "Requests of other servers by what their signature was worth",
            )),
        };
        Self(Arc::new(Inner {
            config,
            store,
            peering: Arc::new(Peering::new(client.clone())),
            client,
            keys,
            signatures: Arc::new(signatures),
            contacts,
            clock,
            random,
            tasks: tasks.clone(),
            metrics: metrics.clone(),
        }))
    }

    /// The room engine's way to other servers.
    pub fn remote(&self) -> Arc<dyn Remote> {
        self.0.peering.clone()
    }

    /// Where the room engine gets keys.
    pub fn key_source(&self) -> Arc<dyn KeySource> {
        Arc::new(self.0.keys.clone())
    }

    /// What checks the signatures of requests, for [`web::Kit`].
    pub fn signature_check(&self) -> Arc<dyn SignatureCheck> {
        self.0.signatures.clone()
    }

    /// Questions to other servers that users ask: profiles, room directories.
    pub fn peering(&self) -> &Peering {
        &self.0.peering
    }

    /// Server keys.
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// Whether we exchange requests with this server at all.
    pub fn may_contact(&self, server: &ruma::ServerName) -> bool {
        self.0.client.may_contact(server)
    }

    /// Whether this server ever answered or called, as far as is remembered.
    pub fn is_known(&self, server: &ruma::ServerName) -> bool {
        self.0.contacts.is_known(server)
    }

    /// The server interface: what other servers ask us.
    pub fn routes(
        &self,
        engine: &Engine,
        accounts: &Accounts,
        to_device: &ToDevice,
        encryption: &Encryption,
    ) -> Routes<FederationApi> {
        http::routes(Arc::new(FederationApi::new(
            engine.clone(),
            accounts.clone(),
            to_device.clone(),
            encryption.clone(),
            self.0.keys.clone(),
            self.0.client.authorities().clone(),
            self.0.clock.clone(),
            self.0.tasks.clone(),
            &self.0.metrics,
        )))
    }

    /// The way to files of other servers.
    pub fn files(&self) -> Arc<dyn media::Elsewhere> {
        Arc::new(FileSource(self.0.client.clone()))
    }

    /// The way to pages that users link to.
    pub fn pages(&self) -> Arc<dyn media::Browse> {
        Arc::new(PageSource(self.0.client.clone()))
    }

    /// What domains say of themselves.
    pub fn witness(&self) -> Arc<dyn domains::Witness> {
        Arc::new(DomainSource(self.0.client.clone()))
    }

    /// The way to push gateways.
    pub fn gateways(&self) -> Arc<dyn push::Gateways> {
        Arc::new(PushGateways { client: self.0.client.clone(), clock: self.0.clock.clone() })
    }

    /// The way to push services.
    pub fn push_services(&self) -> Arc<dyn gateway::Services> {
        Arc::new(PushGateways { client: self.0.client.clone(), clock: self.0.clock.clone() })
    }

    /// What other servers ask us of files.
    pub fn media_routes(&self, media: &Media) -> Routes<FederationMedia> {
        http::media::routes(Arc::new(FederationMedia { media: media.clone(), random: self.0.random.clone() }))
    }

    /// Starts to tell other servers whose devices and keys changed.
    pub fn start_telling_lists(&self, rooms: &Rooms, encryption: &Encryption) {
        lists::start(lists::Parts {
            store: self.0.store.clone(),
            rooms: rooms.clone(),
            encryption: encryption.clone(),
            client: self.0.client.clone(),
            clock: self.0.clock.clone(),
            random: self.0.random.clone(),
            tasks: self.0.tasks.clone(),
            metrics: self.0.metrics.clone(),
        });
    }

    /// Starts to send what happens here to the servers that have to hear of it.
    ///
    /// # Errors
    /// When what is owed to peers cannot be read.
    pub async fn start_sender(
        &self,
        rooms: &Rooms,
        presence: &Presence,
        to_device: &ToDevice,
    ) -> Result<Sender, store::Error> {
        Sender::start(crate::sender::Parts {
            config: self.0.config.sender.clone(),
            store: self.0.store.clone(),
            rooms: rooms.clone(),
            presence: presence.clone(),
            to_device: to_device.clone(),
            client: self.0.client.clone(),
            contacts: self.0.contacts.clone(),
            clock: self.0.clock.clone(),
            random: self.0.random.clone(),
            tasks: self.0.tasks.clone(),
            metrics: self.0.metrics.clone(),
        })
        .await
    }
}
