//! The organisation of the prefecture, made as any authority makes its own: by files, change sets and two who approve; and who
//! sees to it on the console.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use base::Clock;
use cases::{Answer as CaseAnswer, Order as CaseOrder};
use duties::Duty;
use http::Method;
use intake::{Date, How};
use organisation::SetId;
use personnel::{Answer, FileBytes, Import, Order};
use ruma::{ServerName, UserId};

use super::{
    place::{Account, Place, World},
    story::{BODY, CHIEF, OFFICER, ORGANISED, PERSONNEL, PersonnelFile},
};
use crate::{
    admin::{AdminOrder, Proof},
    commands::{Running, org::Office},
    config::Config,
    roles::DutyOrder,
    texts::tr,
};

/// Makes what an earlier start has not made.
pub(super) async fn find_or_make(place: &Place, world: &World) -> anyhow::Result<()> {
    let server = &place.servers[ORGANISED];
    let config = Config::read(&server.config_file())?;
    let name = <&ServerName>::try_from(server.name)?;
    give_duties(&config, name).await?;
    let office = Office::open(&config, name.to_owned()).await?;
    let made = make(&office, world).await;
    office.close().await;
    made
}

/// Who runs the prefecture: what was so before stays.
async fn give_duties(config: &Config, name: &ServerName) -> anyhow::Result<()> {
    let running = Running::find(config).await;
    let running = running.with_context(|| tr!("サーバーが動いていません", "the server does not run"))?;
    let user_id = |localpart: &str| UserId::parse(format!("@{localpart}:{name}"));
    let order = AdminOrder { user_id: user_id(CHIEF)?, administers: true };
    running.must(Method::POST, "/_yakuba/v1/users/admin", Some(&serde_json::to_value(&order)?)).await?;
    for (who, duty) in [(OFFICER, Duty::Personnel), (CHIEF, Duty::Approval)] {
        let order = DutyOrder { user_id: user_id(who)?, duty: duty.word().to_owned(), has: true };
        running.must(Method::POST, "/_yakuba/v1/users/duty", Some(&serde_json::to_value(&order)?)).await?;
    }
    Ok(())
}

async fn make(office: &Office, world: &World) -> anyhow::Result<()> {
    for file in &PERSONNEL {
        // An earlier start has taken it: then nothing changes. One that was cut short left it for people to decide.
        if let Some(id) = import(office, file).await? {
            let order = CaseOrder::Ask {
                kind: "changes".to_owned(),
                fields: vec![("set".to_owned(), id.0.to_string())],
                reason: tr!("デモの異動", "the transfers of the demonstration"),
                means: BTreeSet::new(),
            };
            let asked = office.ask_cases(order, Some(proof(world, OFFICER)?)).await?;
            let CaseAnswer::Case(shown) = asked else {
                bail!(tr!("答えが読めません", "the answer cannot be read"))
            };
            let order =
                CaseOrder::Approve { id: shown.id, text: String::new(), seen: None, means: BTreeSet::new() };
            office.ask_cases(order, Some(proof(world, CHIEF)?)).await?;
            office.ask(Order::Apply { id }).await?;
        }
    }
    Ok(())
}

/// By what somebody of the story shows who he is.
fn proof(world: &World, localpart: &str) -> anyhow::Result<Proof> {
    let is_his = |account: &&Account| account.user_id.starts_with(&format!("@{localpart}:"));
    let account = world.accounts.iter().find(is_his);
    let account =
        account.with_context(|| tr!("アカウント {localpart} がありません", "no account {localpart}"))?;
    Ok(Proof { user: localpart.to_owned(), password: account.password.clone(), code: None })
}

async fn import(office: &Office, file: &PersonnelFile) -> anyhow::Result<Option<SetId>> {
    let known = office.ask(Order::List { before: None, limit: PERSONNEL.len() }).await?;
    let Answer::List(known) = known else {
        bail!(tr!("答えが読めません", "the answer cannot be read"))
    };
    let day: Date = file.day.parse()?;
    if known.iter().any(|(_, set)| set.day == day) {
        return Ok(None);
    }
    let import = Import {
        file: FileBytes::new(file.rows.into()),
        how: How::default(),
        mapping: None,
        source: "人事".to_owned(),
        body: Some(BODY.to_owned()),
        makes_new: true,
        day: Some(day),
        at: Some(Clock::system().now()),
        same: Vec::new(),
        other: Vec::new(),
        is_part: false,
    };
    match office.ask(Order::Import(Box::new(import))).await? {
        Answer::Imported(imported) => Ok(imported.set.map(|(id, _)| id)),
        _ => bail!(tr!("答えが読めません", "the answer cannot be read")),
    }
}
