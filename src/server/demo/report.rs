//! What the demonstration says when it is ready.

use serde_json::json;

use super::{
    bot::BUILD,
    children::Children,
    place::{Place, Server, World},
    story::ROOM_NAME,
};
use crate::{commands::say, texts::tr};

/// Prints addresses, accounts and passwords, for people or as one line of JSON.
pub(super) fn print(place: &Place, children: &Children, world: &World, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return Ok(say(&to_json(place, children, world).to_string())?);
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
    for server in place.servers.iter().filter(|server| server.lgwan_port.is_some()) {
        say(&match &server.bot {
            Some(bot) => tr!(
                "  {title}のメモ帳ボット  {id} に直接メッセージを始めると、両方から使える自分だけの部屋に招待されます",
                "  memo bot of {title}  begin a direct message with {id}: it asks you into a room of your own, from both networks",
                title = server.title,
                id = bot.user_id
            ),
            None => tr!(
                "  {title}のメモ帳ボットはこのプログラムの隣にありません (作るには: {BUILD})",
                "  the memo bot of {title} does not lie beside this program (to make it: {BUILD})",
                title = server.title
            ),
        })?;
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
    say(&tr!("保存場所: {path}", "directory: {path}", path = place.directory.display()))?;
    Ok(())
}

fn to_json(place: &Place, children: &Children, world: &World) -> serde_json::Value {
    let servers: Vec<_> = place
        .servers
        .iter()
        .zip(children.pids())
        .map(|(server, pid)| {
            json!({
                "name": server.name,
                "client_url": server.client_url(),
                "lgwan_url": server.lgwan_url(),
                "federation_url": server.federation_url(),
                "admin_url": format!("http://127.0.0.1:{}", server.admin_port),
                "config": server.config_file(),
                "pid": pid,
                "memo_bot": server.bot.as_ref().map(|bot| &bot.user_id),
            })
        })
        .collect();
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
    json!({ "servers": servers, "accounts": accounts, "room_id": world.room_id, "dir": place.directory })
}

fn server_of<'a>(place: &'a Place, name: &str) -> Option<&'a Server> {
    place.servers.iter().find(|server| server.name == name)
}
