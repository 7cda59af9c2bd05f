//! Third-party networks: which there are, and who and what is there, as the services say that lead to them.
//!
//! Spec: <https://spec.matrix.org/v1.19/application-service-api/#third-party-networks>

use std::{sync::Arc, time::Duration};

use account::AppService;
use futures_util::future::join_all;
use ruma::ServerName;
use serde_json::{Map, Value};
use tracing::debug;

use crate::{AppServices, Question, Verb, asking::segment};

/// Time for a service to answer. Whoever asks gets what the others said until then.
const DEADLINE: Duration = Duration::from_secs(5);

/// Parts of an answer that are told.
const MOST_PARTS: usize = 1_000;

/// What is looked for at third-party networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    /// People.
    User,
    /// Places.
    Location,
}

impl Sought {
    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Location => "location",
        }
    }
}

impl AppServices {
    /// The networks to which services of an authority lead, with what is known of each.
    pub async fn protocols(&self, authority: &ServerName) -> Map<String, Value> {
        let of: Vec<&Arc<AppService>> = self.of_authority(authority).collect();
        let mut names: Vec<&String> = of.iter().flat_map(|service| &service.told().protocols).collect();
        names.sort();
        names.dedup();
        let found = join_all(names.iter().map(|name| self.protocol(authority, name))).await;
        names.into_iter().zip(found).filter_map(|(name, found)| Some((name.clone(), found?))).collect()
    }

    /// What is known of a network; where several services lead to it, with the instances of all.
    pub async fn protocol(&self, authority: &ServerName, name: &str) -> Option<Value> {
        let leads = |service: &&Arc<AppService>| service.told().protocols.iter().any(|own| own == name);
        let services: Vec<_> = self.of_authority(authority).filter(leads).collect();
        let path = format!("protocol/{}", segment(name));
        let answers = join_all(services.iter().map(|service| self.ask_for(service, &path, ""))).await;
        let mut whole: Option<Map<String, Value>> = None;
        for (service, answer) in services.into_iter().zip(answers) {
            let Some(Value::Object(mut told)) = answer else { continue };
            let mut instances = match told.remove("instances") {
                Some(Value::Array(instances)) => instances,
                _ => Vec::new(),
            };
            instances.retain(Value::is_object);
            instances.truncate(MOST_PARTS);
            for instance in &mut instances {
                if let Some(network) = instance.get("network_id").and_then(Value::as_str) {
                    // By this a directory is asked for the rooms of the network.
                    instance["instance_id"] = instance_id(service, network).into();
                }
            }
            let whole = whole.get_or_insert(told);
            match whole.entry("instances").or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(all) => all.append(&mut instances),
                other => *other = Value::Array(instances),
            }
        }
        whole.map(Value::Object)
    }

    /// Who or what is at a network, by fields of it; `None` where no service leads there.
    pub async fn at_network(
        &self,
        authority: &ServerName,
        sought: Sought,
        name: &str,
        fields: &[(&str, &str)],
    ) -> Option<Vec<Value>> {
        let leads = |service: &&Arc<AppService>| service.told().protocols.iter().any(|own| own == name);
        let services: Vec<_> = self.of_authority(authority).filter(leads).collect();
        if services.is_empty() {
            return None;
        }
        let path = format!("{}/{}", sought.name(), segment(name));
        Some(self.gather(services, &path, &query(fields)).await)
    }

    /// Who or what at a network a user or an alias stands for.
    pub async fn behind(&self, authority: &ServerName, sought: Sought, field: (&str, &str)) -> Vec<Value> {
        let services = self.of_authority(authority).filter(|service| !service.told().protocols.is_empty());
        self.gather(services.collect(), sought.name(), &query(&[field])).await
    }

    async fn gather(&self, services: Vec<&Arc<AppService>>, path: &str, query: &str) -> Vec<Value> {
        let answers = join_all(services.into_iter().map(|service| self.ask_for(service, path, query))).await;
        let lists = answers.into_iter().filter_map(|answer| match answer {
            Some(Value::Array(list)) => Some(list),
            _ => None,
        });
        lists.flatten().filter(Value::is_object).take(MOST_PARTS).collect()
    }

    async fn ask_for(&self, service: &AppService, path: &str, query: &str) -> Option<Value> {
        let address = service.address()?;
        let question = Question {
            verb: Verb::Get,
            url: format!("{}/_matrix/app/v1/thirdparty/{path}{query}", address.url),
            token: address.hs_token.clone(),
            deadline: DEADLINE,
        };
        match self.0.clock.timeout(DEADLINE, self.0.carrier.ask(question)).await {
            Ok(Ok(answer)) if answer.status == 200 => serde_json::from_slice(&answer.body).ok(),
            Ok(Ok(_)) => None,
            Ok(Err(error)) => {
                debug!(service = service.id(), %error, "nothing was heard of a third-party network");
                None
            }
            Err(_) => None,
        }
    }

    fn of_authority<'a>(&'a self, authority: &'a ServerName) -> impl Iterator<Item = &'a Arc<AppService>> {
        let told = self.0.told.iter().map(|(service, _)| service);
        told.filter(move |service| service.sender().server_name() == authority)
    }
}

/// Fields as a query.
fn query(fields: &[(&str, &str)]) -> String {
    let mut query = String::new();
    for (name, value) in fields {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(&format!("{}={}", segment(name), segment(value)));
    }
    query
}

/// What tells a network of a service from those of others.
pub fn instance_id(service: &AppService, network: &str) -> String {
    format!("{}|{network}", service.id())
}
