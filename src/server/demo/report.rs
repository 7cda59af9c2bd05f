//! What the demonstration says when it is ready.

use serde_json::json;

use super::{
    bot::{BUILD, Bot, Kind},
    children::Children,
    desk::drop_link,
    place::{Place, Server, World},
    story::{CHIEF, DESK_NAME, OFFICER, ORGANISED, ROOM_NAME},
};
use crate::{commands::say, texts::tr};

/// Prints addresses, accounts and passwords, for people or as one line of JSON.
pub(super) fn print(place: &Place, children: &Children, world: &World, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return Ok(say(&to_json(place, children, world)?.to_string())?);
    }
    say(&tr!(
        "役場のデモを開始しました。終了するには Ctrl-C を押してください。",
        "The Yakuba demo is running; Ctrl-C ends it."
    ))?;
    say("")?;
    say(&tr!("サーバー", "servers"))?;
    for server in &place.servers {
        say(&format!("  {}  {}  {}", server.title, server.name, server.client_url()))?;
        if let Some(url) = server.lgwan_url() {
            say(&tr!(
                "          LGWAN 側 (ファイルは無害化して渡し、上の URL では原本を渡します)  {url}",
                "          from LGWAN (files are given sanitised; at the URL above, as they are)  {url}"
            ))?;
        }
    }
    say("")?;
    say(&tr!(
        "アカウント (Matrix クライアントで「ホームサーバー」に上の URL を指定してログイン)",
        "accounts (log in with a Matrix client, with the URL above as the homeserver)"
    ))?;
    for account in &world.accounts {
        let url = server_of(place, &account.server).map(Server::client_url).unwrap_or_default();
        say(&format!("  {:<26} {}  {url}", account.user_id, account.password))?;
    }
    say("")?;
    say(&tr!("部屋: 「{ROOM_NAME}」 {id}", "room: 「{ROOM_NAME}」 {id}", id = world.room_id))?;
    if let Some(desk) = &world.desk {
        say(&tr!("部屋: 「{DESK_NAME}」 {id}", "room: 「{DESK_NAME}」 {id}", id = desk.room_id))?;
    }
    let organised = &place.servers[ORGANISED];
    say(&tr!(
        "{title}の組織: yakuba org show --as-of 2026-04-01 --config {config} (5 月 1 日の異動: yakuba org list)",
        "the organisation of {title}: yakuba org show --as-of 2026-04-01 --config {config} (the transfers of 1 May: yakuba org list)",
        title = organised.title,
        config = organised.config_file().display()
    ))?;
    say(&tr!(
        "{title}の管理画面: {url}/_yakuba/console (全体管理者 {CHIEF}、人事担当 {OFFICER}。人事ファイルを取り込み、二人で承認できます)",
        "the console of {title}: {url}/_yakuba/console ({CHIEF} administers, {OFFICER} is personnel officer: they can bring in a file, and approve it both)",
        title = organised.title,
        url = organised.client_url()
    ))?;
    for server in place.servers.iter().filter(|server| server.lgwan_port.is_some()) {
        say("")?;
        for kind in Kind::ALL {
            say_of_bot(server, kind, world)?;
        }
        if server.bots.len() < Kind::ALL.len() {
            say(&tr!("  ない物を作るには: {BUILD}", "  to make what is missing: {BUILD}"))?;
        }
    }
    say("")?;
    say(&tr!("保存場所: {path}", "directory: {path}", path = place.directory.display()))?;
    Ok(())
}

/// What a bot does, and how to try it.
fn say_of_bot(server: &Server, kind: Kind, world: &World) -> anyhow::Result<()> {
    let Some(bot) = server.bots.iter().find(|bot| bot.kind == kind) else {
        say(&tr!(
            "{title}の{bot}はこのプログラムの隣にありません",
            "the {bot} of {title} does not lie beside this program",
            title = server.title,
            bot = kind.title()
        ))?;
        return Ok(());
    };
    let link = world.desk.as_ref().and_then(|desk| drop_link(server, desk));
    say(&match kind {
        Kind::Memo => tr!(
            "メモ帳: {id} に直接メッセージを始めると、両方から使える自分だけの部屋に招待されます",
            "memos: begin a direct message with {id}: it asks you into a room of your own, from both networks",
            id = bot.user_id
        ),
        Kind::Dropbox => tr!(
            "受取URL: ブラウザーで開いてファイルを送ると「{DESK_NAME}」に届き、LGWAN 側では無害化されます\n  {link}",
            "drop link: open it in a browser and send a file: it comes into 「{DESK_NAME}」, sanitised from LGWAN\n  {link}",
            link = link.unwrap_or_else(|| tr!("（ありません）", "(there is none)"))
        ),
        Kind::Hook => tr!(
            "Webhook: 署名つきの通報を送ると「{DESK_NAME}」に出ます\n  {command}",
            "webhook: posts a signed report, which is told in 「{DESK_NAME}」\n  {command}",
            command = bot.webhook_command()
        ),
    })?;
    Ok(())
}

fn to_json(place: &Place, children: &Children, world: &World) -> anyhow::Result<serde_json::Value> {
    let servers: Vec<_> = place
        .servers
        .iter()
        .zip(children.pids_of_servers())
        .map(|(server, pid)| {
            json!({
                "name": server.name,
                "client_url": server.client_url(),
                "lgwan_url": server.lgwan_url(),
                "federation_url": server.federation_url(),
                "admin_url": format!("http://127.0.0.1:{}", server.admin_port),
                "config": server.config_file(),
                "pid": pid,
                "drop_link": world.desk.as_ref().and_then(|desk| drop_link(server, desk)),
            })
        })
        .collect();
    let bots = place.servers.iter().flat_map(|server| &server.bots).zip(children.pids_of_bots());
    let bots = bots.map(|(bot, pid)| bot_to_json(bot, pid)).collect::<anyhow::Result<Vec<_>>>()?;
    let accounts: Vec<_> = world
        .accounts
        .iter()
        .map(|account| {
            json!({
                "user_id": account.user_id,
                "password": account.password,
                "client_url": server_of(place, &account.server).map(Server::client_url),
            })
        })
        .collect();
    Ok(json!({
        "servers": servers,
        "bots": bots,
        "accounts": accounts,
        "room_id": world.room_id,
        "desk_room_id": world.desk.as_ref().map(|desk| &desk.room_id),
        "dir": place.directory,
    }))
}

fn bot_to_json(bot: &Bot, pid: Option<u32>) -> anyhow::Result<serde_json::Value> {
    Ok(json!({
        "name": bot.kind.localpart(),
        "user_id": bot.user_id,
        "pid": pid,
        "log": bot.log(),
        "webhook_url": bot.webhook_url()?,
        "webhook_command": (bot.kind == Kind::Hook).then(|| bot.webhook_command()),
    }))
}

fn server_of<'a>(place: &'a Place, name: &str) -> Option<&'a Server> {
    place.servers.iter().find(|server| server.name == name)
}
