//! Application services are told what happens: bridges and bots, to which an authority has given some of its names.
//!
//! One process reads the log behind those who send, finds which service each event concerns (`interest`), and writes that down for
//! each of them in one batch with its cursor (`follow`, `tables`). So what a service is told is judged when it happens, by who is in the
//! room then, however long the service is away; nothing is lost, and nothing comes out of its order, whoever crashes. Each
//! service has a lane of its own (`lane`), in which one transaction at a time is repeated with the same id and the same events until
//! it is taken; so one that is slow, gone or refuses keeps no other waiting.
//!
//! To an authority's service only that authority is shown: its users' rooms, whatever its namespaces match.
//!
//! Reading order: [`AppServices`], `follow`, `interest`, `lane`.
//!
//! Spec: <https://spec.matrix.org/v1.19/application-service-api/>

mod asked;
mod asking;
mod carrier;
mod error;
mod extras;
mod follow;
mod interest;
mod lane;
mod missed;
mod moments;
mod ping;
mod services;
mod tables;
mod third_party;

pub use self::{
    carrier::{Answer, Carrier, NoCarrier, Question, Unreached, Verb},
    error::Error,
    ping::PingError,
    services::{AppServices, Parts},
    tables::checks,
    third_party::{Sought, instance_id},
};
