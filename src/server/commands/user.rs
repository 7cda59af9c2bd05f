//! `yakuba user create`: an account, made by the running server or, when none runs, in its data.

use std::{io::Read, path::Path, time::Duration};

use account::NewUser;
use anyhow::{Context, anyhow, bail};
use base::Random;
use http::Method;
use ruma::OwnedServerName;

use crate::{
    admin::UserOrder,
    causes,
    cli::UserCreateArgs,
    commands::{Running, say},
    config::Config,
    house::{Foundation, House},
    storage::Data,
    texts::tr,
};

/// Letters of a password that we make up: 95 bits.
const PASSWORD_LENGTH: usize = 16;

/// Makes an account and prints its user id, and its password if it was made up.
pub(crate) async fn create(args: &UserCreateArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config.config)?;
    let given = args.password_file.as_deref().map(read_password).transpose()?;
    let password = given.clone().unwrap_or_else(|| Random::os().token(PASSWORD_LENGTH));
    let order = UserOrder {
        server_name: server_name(args, &config)?,
        localpart: args.localpart.clone(),
        password: password.clone(),
        display_name: args.display_name.clone(),
        admin: args.admin,
    };
    let user_id = match Running::find(&config).await {
        Some(running) => {
            let body = serde_json::to_value(&order)?;
            let answer = running.must(Method::POST, "/_yakuba/v1/users", Some(&body)).await?;
            answer["user_id"].as_str().unwrap_or_default().to_owned()
        }
        None => create_here(&config, order).await?,
    };
    say(&tr!("利用者: {user_id}", "user: {user_id}"))?;
    if given.is_none() {
        say(&tr!("パスワード: {password}", "password: {password}"))?;
    }
    Ok(())
}

async fn create_here(config: &Config, order: UserOrder) -> anyhow::Result<String> {
    let house = House::open(config, Foundation::of(config, Data::MustExist).await?).await?;
    let UserOrder { server_name, localpart, password, display_name, admin } = order;
    let new = NewUser { localpart, password: Some(password), display_name, admin };
    let made = house.accounts.create_user(&server_name, new).await;
    house.close(Duration::from_secs(10)).await;
    let user_id = made.map_err(|error| anyhow!(causes::of_account(&error)))?;
    Ok(user_id.to_string())
}

fn server_name(args: &UserCreateArgs, config: &Config) -> anyhow::Result<OwnedServerName> {
    match (&args.server_name, config.authorities.as_slice()) {
        (Some(name), all) if all.iter().any(|authority| authority.name == *name) => Ok(name.clone()),
        (Some(name), _) => {
            bail!(tr!("{name} は設定の機関にありません", "{name} is none of the configuration's authorities"))
        }
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => bail!(tr!(
            "設定に複数の機関があります。--server-name で選んでください",
            "the configuration has several authorities: choose one with --server-name"
        )),
    }
}

fn read_password(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).with_context(|| tr!("標準入力", "standard input"))?;
    } else {
        text = std::fs::read_to_string(file).map_err(|error| {
            anyhow!(tr!(
                "{path} を読めません: {cause}",
                "{path} cannot be read: {cause}",
                path = file.display(),
                cause = causes::of_io(&error)
            ))
        })?;
    }
    let password = text.trim_end_matches(['\n', '\r']).to_owned();
    if password.is_empty() {
        bail!(tr!("パスワードが空です", "the password is empty"));
    }
    Ok(password)
}
