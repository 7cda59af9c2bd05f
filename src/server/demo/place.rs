//! What lies in the demonstration's directory: one configuration, key, certificate and data
//! directory for each server, the certificate of the throw-away authority, and who has which account.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use ruma::ServerName;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    bot::{self, Bot, Kind, Surroundings},
    story::{TOWNS, Town},
};
use crate::{commands::init::write_key, files::write_private};

/// Ports of one server begin so far behind those of the one before.
const PORTS_EACH: u16 = 5;

/// The bots' ports follow those of the servers.
const SERVERS_PORTS: u16 = PORTS_EACH * TOWNS.len() as u16;

/// The demonstration's directory and ports.
pub(super) struct Place {
    pub(super) directory: PathBuf,
    pub(super) servers: Vec<Server>,
}

/// One server of the demonstration.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) directory: PathBuf,
    pub(super) client_port: u16,
    pub(super) federation_port: u16,
    pub(super) admin_port: u16,
    /// Where clients of LGWAN's zone reach it, if it stands in both networks.
    pub(super) lgwan_port: Option<u16>,
    /// Its bots, if it stands in both networks: those whose programs are there.
    pub(super) bots: Vec<Bot>,
}

/// Accounts and room, as they are remembered from one start to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct World {
    pub(super) accounts: Vec<Account>,
    pub(super) room_id: String,
    /// Made once there are bots for it.
    #[serde(default)]
    pub(super) desk: Option<Desk>,
}

/// The room of a town into which things come from outside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Desk {
    pub(super) room_id: String,
    /// The drop link behind host and port, which may be others next time.
    pub(super) drop_path: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) user_id: String,
    pub(super) password: String,
    pub(super) server: String,
}

impl Server {
    fn new(root: &Path, index: u16, town: &Town, BasePort(base_port): BasePort) -> anyhow::Result<Server> {
        let first = base_port + index * PORTS_EACH;
        let directory = root.join(town.directory);
        let kinds = Kind::ALL.iter().filter(|_| town.has_zones);
        let bots = kinds.map(|kind| Bot::find(*kind, town.name, &directory, base_port + SERVERS_PORTS));
        let bots = bots.filter_map(Result::transpose).collect::<anyhow::Result<_>>()?;
        Ok(Server {
            name: town.name,
            title: town.title,
            directory,
            client_port: first,
            federation_port: first + 1,
            admin_port: first + 2,
            lgwan_port: town.has_zones.then_some(first + 3),
            bots,
        })
    }

    pub(super) fn config_file(&self) -> PathBuf {
        self.directory.join("yakuba.toml")
    }

    pub(super) fn client_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    pub(super) fn lgwan_url(&self) -> Option<String> {
        self.lgwan_port.map(|port| format!("http://127.0.0.1:{port}"))
    }

    pub(super) fn federation_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.federation_port)
    }
}

/// The first of the ports, so low that all servers have theirs.
#[derive(Clone, Copy, Debug)]
pub(super) struct BasePort(u16);

impl FromStr for BasePort {
    type Err = String;

    fn from_str(text: &str) -> Result<BasePort, String> {
        const HIGHEST: u16 = u16::MAX - SERVERS_PORTS - bot::PORTS + 1;
        let port = text.parse().ok().filter(|port| (1..=HIGHEST).contains(port));
        port.map(BasePort).ok_or_else(|| {
            crate::texts::tr!(
                "最初のポート番号は 1 から {HIGHEST} までです",
                "the base port is to be from 1 to {HIGHEST}"
            )
        })
    }
}

impl Place {
    /// Makes what is missing in the directory. Configurations are written anew, for the ports may
    /// be others than last time; keys, certificates and data stay.
    pub(super) fn prepare(directory: PathBuf, base_port: BasePort) -> anyhow::Result<Place> {
        let servers = (0..).zip(&TOWNS).map(|(index, town)| Server::new(&directory, index, town, base_port));
        let servers = servers.collect::<anyhow::Result<_>>()?;
        std::fs::create_dir_all(&directory).with_context(|| {
            crate::texts::tr!("{path} を作れません", "{path} cannot be made", path = directory.display())
        })?;
        let place = Place { servers, directory };
        for server in &place.servers {
            std::fs::create_dir_all(&server.directory)?;
            let key = server.directory.join("signing.key");
            if !key.exists() {
                write_key(&key, <&ServerName>::try_from(server.name)?)?;
            }
        }
        if !place.ca_file().exists() {
            place.make_certificates()?;
        }
        for server in &place.servers {
            std::fs::write(server.config_file(), place.config_of(server))?;
            let Some(lgwan_url) = server.lgwan_url() else { continue };
            let around = Surroundings {
                server_name: server.name,
                title: server.title,
                client_url: &server.client_url(),
                lgwan_url: &lgwan_url,
            };
            for bot in &server.bots {
                bot.prepare(&around)?;
            }
        }
        Ok(place)
    }

    fn ca_file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// A throw-away certificate authority, whose key is not kept, and a certificate for each server.
    fn make_certificates(&self) -> anyhow::Result<()> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Yakuba demo CA");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        for server in &self.servers {
            let names = [server.name, "localhost", "127.0.0.1"].map(str::to_owned);
            let mut params = CertificateParams::new(names.to_vec())?;
            params.distinguished_name.push(DnType::CommonName, server.name);
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &authority)?;
            std::fs::write(server.directory.join("certificate.pem"), certificate.pem())?;
            write_private(&server.directory.join("certificate.key"), &key.serialize_pem())?;
        }
        // Last: its presence says that all others are there.
        std::fs::write(self.ca_file(), authority.as_ref().pem())?;
        Ok(())
    }

    fn config_of(&self, server: &Server) -> String {
        let Server { name, title, client_port, federation_port, admin_port, .. } = server;
        let client_url = server.client_url();
        let fixed = self.servers.iter().filter(|other| other.name != *name).map(|other| {
            format!(
                "[federation.fixed.\"{}\"]\naddress = \"127.0.0.1:{}\"\n",
                other.name, other.federation_port
            )
        });
        let fixed = fixed.collect::<Vec<_>>().join("\n");
        let (zone, zones) = match server.lgwan_port {
            Some(port) => ("zone = \"internet\"", zones(port)),
            None => ("", String::new()),
        };
        let bots: Vec<PathBuf> = server.bots.iter().map(Bot::registration).collect();
        // Paths between quotation marks of TOML, whatever is in them.
        let bots = serde_json::json!(bots);
        format!(
            r#"# {title}: written by `yakuba demo` at every start.

[[authorities]]
name = "{name}"
key_file = "signing.key"
client_url = "{client_url}"
federation_address = "127.0.0.1:{federation_port}"
tls = {{ certificate = "certificate.pem", key = "certificate.key" }}
registration = {{ mode = "open" }}
application_services = {bots}

[[listeners]]
address = "127.0.0.1:{client_port}"
serves = ["client", "console"]
{zone}

[[listeners]]
address = "127.0.0.1:{federation_port}"
serves = ["federation"]
tls = true

[[listeners]]
address = "127.0.0.1:{admin_port}"
serves = ["admin"]
{zones}
[store]
path = "data"
memory = "64 MiB"

[federation]
peers = "everybody"
ca_files = ["../ca.pem"]
trust = "files"
dns = false

{fixed}"#
        )
    }

    /// Accounts and room of an earlier start, if there was one.
    pub(super) fn known_world(&self) -> anyhow::Result<Option<World>> {
        self.read_json("world.json")
    }

    /// Remembers accounts and room for the next start.
    pub(super) fn remember(&self, world: &World) -> anyhow::Result<()> {
        Ok(write_private(&self.directory.join("world.json"), &serde_json::to_string_pretty(world)?)?)
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let path = self.directory.join(name);
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path)?;
        Ok(Some(serde_json::from_str(&text).with_context(|| {
            crate::texts::tr!("{path} を読めません", "{path} cannot be read", path = path.display())
        })?))
    }
}

/// A second listener for clients, in LGWAN's zone, and what leaves to both zones.
fn zones(lgwan_port: u16) -> String {
    format!(
        r#"
[[listeners]]
address = "127.0.0.1:{lgwan_port}"
serves = ["client"]
zone = "lgwan"

[zones.lgwan]
files = "sanitised"

[zones.internet]
files = "originals"
"#
    )
}
