//! Where the organisation of an authority is reached: in the running server, or in its data.

use std::time::Duration;

use anyhow::{anyhow, bail};
use audit::Actor;
use http::Method;
use personnel::{Answer, Order};
use ruma::OwnedServerName;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    admin::{CASES, CasesOrder, ORGANISATION, OrganisationOrder, Proof, RULES, RulesOrder},
    ask::operator,
    causes,
    cli::WhichAuthority,
    commands::{Running, authority},
    config::Config,
    house::{Foundation, House},
    storage::Data,
    texts::{japanese, tr},
};

/// The organisation of an authority, within reach.
pub(crate) struct Office {
    authority: OwnedServerName,
    desk: Desk,
}

enum Desk {
    Running(Box<Running>),
    Here(Box<House>),
}

/// Does something at the desk of an authority, and leaves it again.
pub(crate) async fn over<T>(
    which: &WhichAuthority,
    work: impl AsyncFnOnce(&Office) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let config = Config::read(&which.config.config)?;
    let office = Office::open(&config, authority(which.server_name.as_ref(), &config)?).await?;
    let done = work(&office).await;
    office.close().await;
    done
}

impl Office {
    pub(crate) async fn open(config: &Config, authority: OwnedServerName) -> anyhow::Result<Office> {
        let desk = match Running::find(config).await {
            Some(running) => Desk::Running(Box::new(running)),
            None => {
                let foundation = Foundation::of(config, Data::MustExist).await?;
                Desk::Here(Box::new(House::open(config, foundation).await?))
            }
        };
        Ok(Office { authority, desk })
    }

    /// Has an order carried out.
    pub(crate) async fn ask(&self, order: Order) -> anyhow::Result<Answer> {
        match &self.desk {
            Desk::Running(running) => {
                let order = OrganisationOrder { authority: self.authority.clone(), order };
                ask(running, ORGANISATION, &serde_json::to_value(&order)?).await
            }
            Desk::Here(house) => {
                let by = Actor::operator(&operator());
                let done = house.personnel.carry_out(&self.authority, order, &by).await;
                done.map_err(|error| match error.words() {
                    Some(words) => anyhow!(if japanese() { words.ja } else { words.en }),
                    None => anyhow!(causes::of_errcode("", &error.to_string())),
                })
            }
        }
    }

    /// Has an order about the rules of rooms carried out.
    pub(crate) async fn ask_rules(&self, order: rules::Order) -> anyhow::Result<rules::Answer> {
        match &self.desk {
            Desk::Running(running) => {
                let order = RulesOrder { authority: self.authority.clone(), order };
                ask(running, RULES, &serde_json::to_value(&order)?).await
            }
            Desk::Here(house) => {
                let by = Actor::operator(&operator());
                let done = house.rules.carry_out(&self.authority, order, &by).await;
                done.map_err(|error| match error.words() {
                    Some(words) => anyhow!(if japanese() { words.ja } else { words.en }),
                    None => anyhow!(causes::of_errcode("", &error.to_string())),
                })
            }
        }
    }

    /// Has an order about cases carried out, as one of the account that somebody shows to be his, if he does.
    pub(crate) async fn ask_cases(
        &self,
        order: cases::Order,
        proof: Option<Proof>,
    ) -> anyhow::Result<cases::Answer> {
        match &self.desk {
            Desk::Running(running) => {
                let order = CasesOrder { authority: self.authority.clone(), order, proof };
                ask(running, CASES, &serde_json::to_value(&order)?).await
            }
            Desk::Here(house) => {
                let operator = Actor::operator(&operator());
                let by = Proof::by(proof.as_ref(), &house.accounts, &self.authority, operator).await;
                let by = by.map_err(|error| anyhow!(causes::of_account(&error)))?;
                let done = house.cases.carry_out(&self.authority, order, by).await;
                done.map_err(|error| match error.words() {
                    Some(told) => anyhow!(if japanese() { told.ja } else { told.en }),
                    None => anyhow!(causes::of_errcode("", &error.to_string())),
                })
            }
        }
    }

    pub(crate) async fn close(self) {
        if let Desk::Here(house) = self.desk {
            house.close(Duration::from_secs(10)).await;
        }
    }
}

/// What the running server answers to an order; what it says where it refuses.
async fn ask<T: DeserializeOwned>(running: &Running, path: &str, order: &Value) -> anyhow::Result<T> {
    let (status, answer) = running.ask(Method::POST, path, Some(order)).await?;
    if status.is_success() {
        return serde_json::from_value(answer).or_else(|_| unexpected());
    }
    let said = answer[if japanese() { "ja" } else { "en" }].as_str().map(str::to_owned);
    let errcode = answer["errcode"].as_str().unwrap_or_default();
    let sentence = answer["error"].as_str().unwrap_or_default();
    bail!(said.unwrap_or_else(|| causes::of_errcode(errcode, sentence)))
}

/// An answer that is none to what was asked.
pub(crate) fn unexpected<T>() -> anyhow::Result<T> {
    bail!(tr!("サーバーの答えが読めません", "the server's answer cannot be read"))
}
