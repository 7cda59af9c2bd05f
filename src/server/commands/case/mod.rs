//! `yakuba case`: what needs the consent of others, by the running server or, when none runs, in its data.

mod args;
mod print;

use cases::{Answer, CaseId, Order};

pub(crate) use self::args::CaseCommand;
use self::args::{CaseApproveArgs, Proven, Said, Which};
use crate::{
    admin::Proof,
    cli::WhichAuthority,
    commands::{org::over, say, user::read_password},
    texts::tr,
};

/// Does what is wanted of cases.
pub(crate) async fn run(command: &CaseCommand) -> anyhow::Result<()> {
    match command {
        CaseCommand::Kinds { which } => ask(which, None, Order::Kinds, false).await,
        CaseCommand::List(args) => {
            let (before, limit) = (args.before.map(CaseId), args.limit);
            let order = if args.waiting {
                Order::Waiting { after: before }
            } else if args.mine {
                Order::Mine { before, limit }
            } else {
                let (kind, state) = (args.kind.clone(), args.state.clone());
                let text = args.text.clone().unwrap_or_default();
                Order::All { kind, state, text, before, limit }
            };
            ask(&args.which, Some(&args.proven), order, args.json).await
        }
        CaseCommand::Show { which, json } => {
            let Which { id, proven, authority } = which;
            ask(authority, Some(proven), Order::Case { id: CaseId(*id) }, *json).await
        }
        CaseCommand::Ask(args) => {
            let (kind, fields, reason) = (args.kind.clone(), args.fields.clone(), args.reason.clone());
            let means = args.meant.iter().cloned().collect();
            let order = match args.again {
                Some(id) => Order::AskAgain { id: CaseId(id), fields, reason, seen: None, means },
                None => Order::Ask { kind: kind.unwrap_or_default(), fields, reason, means },
            };
            ask(&args.which, Some(&args.proven), order, false).await
        }
        CaseCommand::Approve(CaseApproveArgs { said, meant }) => {
            let means = meant.iter().cloned().collect();
            do_to(said, |id, text| Order::Approve { id, text, seen: None, means }).await
        }
        CaseCommand::Return(said) => do_to(said, |id, text| Order::Return { id, text, seen: None }).await,
        CaseCommand::Refuse(said) => do_to(said, |id, text| Order::Refuse { id, text, seen: None }).await,
        CaseCommand::Withdraw(said) => do_to(said, |id, text| Order::Withdraw { id, text, seen: None }).await,
        CaseCommand::Undo(said) => do_to(said, |id, text| Order::Undo { id, text, seen: None }).await,
        CaseCommand::Retry(said) => do_to(said, |id, _| Order::Retry { id, seen: None }).await,
        CaseCommand::Deputy(args) => {
            let order = match (&args.name, args.from, args.until, &args.end) {
                (Some(deputy), Some(from), Some(until), _) => {
                    Order::NameDeputy { deputy: deputy.clone(), from, until }
                }
                (.., Some(deputy)) => Order::EndDeputy { deputy: deputy.clone() },
                _ => Order::Deputies,
            };
            ask(&args.which, Some(&args.proven), order, false).await
        }
    }
}

async fn do_to(said: &Said, order: impl FnOnce(CaseId, String) -> Order) -> anyhow::Result<()> {
    let Which { id, proven, authority } = &said.which;
    let order = order(CaseId(*id), said.text.clone().unwrap_or_default());
    ask(authority, Some(proven), order, false).await
}

/// Has an order carried out, and prints what is told.
async fn ask(
    which: &WhichAuthority,
    proven: Option<&Proven>,
    order: Order,
    as_json: bool,
) -> anyhow::Result<()> {
    let proof = match proven {
        Some(Proven { user: Some(user), password_file: Some(file), code }) => {
            Some(Proof { user: user.clone(), password: read_password(file)?, code: code.clone() })
        }
        _ => None,
    };
    over(which, async |office| {
        let answer = office.ask_cases(order, proof).await?;
        if as_json {
            return Ok(say(&serde_json::to_string_pretty(&answer)?)?);
        }
        match answer {
            Answer::Done => Ok(say(&tr!("終わりました", "done"))?),
            Answer::Kinds(kinds) => print::kinds(&kinds),
            Answer::Meant(meant) => print::meant(&meant),
            Answer::List { lines, before } => print::list(&lines, before),
            Answer::Case(shown) => print::case(&shown),
            Answer::Deputies { own, of } => print::deputies(&own, &of),
        }
    })
    .await
}
