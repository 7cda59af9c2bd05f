//! `yakuba user`: accounts are made, get passwords and are closed, by the running server or, when none runs, in
//! its data.

use std::{io::Read, path::Path, time::Duration};

use account::{Accounts, Actor, NewUser};
use anyhow::{Context, anyhow, bail};
use base::Random;
use duties::{Duty, Part};
use http::Method;
use ruma::{OwnedUserId, ServerName, UserId};
use web::ApiError;

use crate::{
    admin::{AdminOrder, CloseOrder, LinkOrder, PasswordOrder, RecoverOrder, UserOrder},
    ask::operator,
    causes,
    cli::{
        UserAdminArgs, UserCreateArgs, UserDutyArgs, UserLinkArgs, UserPartArgs, UserPasswordArgs,
        WhichAuthority, WhichUser,
    },
    commands::{Running, authority, say},
    config::Config,
    house::{Foundation, House},
    roles::{DutiesOrder, DutiesTold, DutyOrder, PartOrder, PartTold},
    storage::Data,
    texts::{japanese, tr},
};

/// Letters of a password that we make up: 95 bits.
const PASSWORD_LENGTH: usize = 16;

/// Makes an account and prints its user id, and its password if it was made up.
pub(crate) async fn create(args: &UserCreateArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.user.config.config)?;
    let password = Password::given(args.password_file.as_deref())?;
    let order = UserOrder {
        server_name: authority(args.user.server_name.as_ref(), &config)?,
        localpart: args.user.localpart.clone(),
        password: password.text.clone(),
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
    password.tell()
}

async fn create_here(config: &Config, order: UserOrder) -> anyhow::Result<String> {
    let UserOrder { server_name, localpart, password, display_name, admin } = order;
    let new = NewUser { localpart, password: Some(password), display_name, admin };
    let user_id =
        here(config, async |accounts, by| accounts.create_user(&server_name, new, by).await).await?;
    Ok(user_id.to_string())
}

/// Sets a password, and prints it if it was made up; whoever is logged in to the account is so no more.
pub(crate) async fn set_password(args: &UserPasswordArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.user.config.config)?;
    let password = Password::given(args.password_file.as_deref())?;
    let order = PasswordOrder { user_id: user_id(&args.user, &config)?, password: password.text.clone() };
    match Running::find(&config).await {
        Some(running) => {
            let body = serde_json::to_value(&order)?;
            running.must(Method::POST, "/_yakuba/v1/users/password", Some(&body)).await?;
        }
        None => {
            let PasswordOrder { user_id, password } = &order;
            here(&config, async |accounts, by| accounts.set_password(user_id, password, by).await).await?;
        }
    }
    let user_id = order.user_id;
    say(&tr!(
        "{user_id} のパスワードを替え、ログインしている端末をすべてログアウトさせました",
        "{user_id} has a new password, and all its devices are logged out"
    ))?;
    password.tell()
}

/// Has what the identity provider knows somebody by belong to an account.
pub(crate) async fn link(args: &UserLinkArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.user.config.config)?;
    let user_id = user_id(&args.user, &config)?;
    let configured = config.authorities.iter().find(|authority| authority.name == user_id.server_name());
    let configured = configured.and_then(|authority| authority.upstream.as_ref());
    let Some(upstream) = configured else {
        bail!(tr!(
            "{name} には認証基盤 [authorities.upstream] が設定されていません",
            "{name} has no identity provider ([authorities.upstream])",
            name = user_id.server_name()
        ));
    };
    let order = LinkOrder { user_id, issuer: upstream.issuer.clone(), subject: args.subject.clone() };
    match Running::find(&config).await {
        Some(running) => {
            let body = serde_json::to_value(&order)?;
            running.must(Method::POST, "/_yakuba/v1/users/link", Some(&body)).await?;
        }
        None => {
            let LinkOrder { user_id, issuer, subject } = &order;
            here(&config, async |accounts, by| {
                accounts.link_identity(user_id, (issuer.as_str(), subject.as_str()), by).await
            })
            .await?;
        }
    }
    let (user_id, issuer) = (order.user_id, order.issuer);
    Ok(say(&tr!("{user_id} を {issuer} と結び付けました", "{user_id} signs in at {issuer} from now on"))?)
}

/// Has a user administer the authority, or no more.
pub(crate) async fn set_admin(args: &UserAdminArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.user.config.config)?;
    let order =
        AdminOrder { user_id: user_id(&args.user, &config)?, administers: args.grant && !args.revoke };
    match Running::find(&config).await {
        Some(running) => {
            let body = serde_json::to_value(&order)?;
            running.must(Method::POST, "/_yakuba/v1/users/admin", Some(&body)).await?;
        }
        None => {
            let AdminOrder { user_id, administers } = &order;
            here(&config, async |accounts, by| accounts.set_administrator(user_id, *administers, by).await)
                .await?;
        }
    }
    let (user_id, authority) = (&order.user_id, order.user_id.server_name());
    Ok(say(&match order.administers {
        true => tr!(
            "{user_id} は {authority} の管理者になりました",
            "{user_id} administers {authority} from now on"
        ),
        false => tr!(
            "{user_id} は {authority} の管理者ではなくなりました",
            "{user_id} administers {authority} no more"
        ),
    })?)
}

/// Gives a user a duty, or takes it away.
pub(crate) async fn set_duty(args: &UserDutyArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.user.config.config)?;
    let Some(duty) = args.give.or(args.take) else { return Ok(()) };
    let order = DutyOrder {
        user_id: user_id(&args.user, &config)?,
        duty: duty.word().to_owned(),
        has: args.give.is_some(),
    };
    match Running::find(&config).await {
        Some(running) => {
            let body = serde_json::to_value(&order)?;
            running.must(Method::POST, "/_yakuba/v1/users/duty", Some(&body)).await?;
        }
        None => {
            over_house(&config, async |house, by| order.carry_out(&house.accounts, &house.duties, by).await)
                .await?;
        }
    }
    let (user_id, (ja, en)) = (&order.user_id, duty.names());
    Ok(say(&match order.has {
        true => tr!("{user_id} に「{ja}」の役割を付けました", "{user_id} is {en} from now on"),
        false => tr!("{user_id} から「{ja}」の役割を外しました", "{user_id} is {en} no more"),
    })?)
}

/// Has a user see to a part of the organisation, or no more.
pub(crate) async fn set_part(args: &UserPartArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.user.config.config)?;
    let Some(part) = args.give.as_ref().or(args.take.as_ref()) else { return Ok(()) };
    let order =
        PartOrder { user_id: user_id(&args.user, &config)?, part: part.clone(), has: args.give.is_some() };
    let told: Vec<PartTold> = match Running::find(&config).await {
        Some(running) => {
            let body = serde_json::to_value(&order)?;
            let told = running.must(Method::POST, "/_yakuba/v1/users/part", Some(&body)).await?;
            serde_json::from_value(told)?
        }
        None => {
            over_house(&config, async |house, by| {
                order.carry_out(&house.accounts, (&house.duties, &house.personnel), by).await
            })
            .await?
        }
    };
    let (user_id, (ja, en)) = (&order.user_id, Part::NAMES);
    let of = parts(&told);
    Ok(say(&match order.has {
        true => tr!("{user_id} は {of} の{ja}になりました", "{user_id} is {en} of {of} from now on"),
        false => tr!("{user_id} は {of} の{ja}ではなくなりました", "{user_id} is {en} of {of} no more"),
    })?)
}

/// Parts of the organisation as they are called, or by their numbers where they are no more.
fn parts(told: &[PartTold]) -> String {
    let one = |told: &PartTold| {
        let word = &told.word;
        match &told.called {
            Some(called) if told.stands => format!("{word} {called}"),
            Some(called) => {
                tr!("{word} {called}。職がないため無効", "{word} {called}, without effect: no post in it")
            }
            None => tr!("{word}。終わった所属", "{word}, which is no more"),
        }
    };
    told.iter().map(one).collect::<Vec<_>>().join(if japanese() { "、" } else { ", " })
}

/// Prints who has which duty.
pub(crate) async fn list_duties(args: &WhichAuthority) -> anyhow::Result<()> {
    let config = Config::read(&args.config.config)?;
    let authority = authority(args.server_name.as_ref(), &config)?;
    let told = match Running::find(&config).await {
        Some(running) => {
            let order = serde_json::to_value(DutiesOrder { authority })?;
            let told = running.must(Method::POST, "/_yakuba/v1/users/duties", Some(&order)).await?;
            serde_json::from_value(told)?
        }
        None => {
            over_house(&config, async |house, _| {
                DutiesTold::of(&house.duties, &house.personnel, &authority).await
            })
            .await?
        }
    };
    if told.holders.is_empty() {
        say(&tr!("役割のあるアカウントはありません", "nobody has a duty"))?;
    }
    for (user, words, of) in told.holders {
        let name = |word: &String| match Duty::of_word(word).map(Duty::names) {
            Some((ja, en)) => if japanese() { ja } else { en }.to_owned(),
            None => word.clone(),
        };
        let mut duties: Vec<_> = words.iter().map(name).collect();
        if !of.is_empty() {
            let ((ja, en), of) = (Part::NAMES, parts(&of));
            duties.push(tr!("{ja}（{of}）", "{en} ({of})"));
        }
        say(&format!("{user}  {}", duties.join(if japanese() { "、" } else { ", " })))?;
    }
    Ok(())
}

/// Reads a duty, by its word or its Japanese name.
///
/// # Errors
/// Which there are.
pub(crate) fn parse_duty(text: &str) -> Result<Duty, String> {
    let found = Duty::ALL.into_iter().find(|duty| duty.word() == text || duty.names().0 == text);
    found.ok_or_else(|| {
        let words = Duty::ALL.map(Duty::word).join(", ");
        tr!("役割は {words} のいずれかです", "a duty is one of {words}")
    })
}

/// Recovers an account whose factors are lost, and prints the code that is handed over.
pub(crate) async fn reset_factors(args: &WhichUser) -> anyhow::Result<()> {
    let config = Config::read(&args.config.config)?;
    let order = RecoverOrder { user_id: user_id(args, &config)? };
    let code = match Running::find(&config).await {
        Some(running) => {
            let body = serde_json::to_value(&order)?;
            let answer = running.must(Method::POST, "/_yakuba/v1/users/factors/reset", Some(&body)).await?;
            answer["code"].as_str().unwrap_or_default().to_owned()
        }
        None => here(&config, async |accounts, by| accounts.reset_factors(&order.user_id, by).await).await?,
    };
    let user_id = order.user_id;
    say(&tr!(
        "{user_id} の二要素認証をすべて解除し、サインインしている端末をすべてサインアウトさせました",
        "all second factors of {user_id} are gone, and all its devices are signed out"
    ))?;
    say(&tr!(
        "再設定用のコード: {code}（本人に直接渡してください。3 日以内に、パスワードとこのコードでサインインし、新しく設定します）",
        "code: {code} (hand it over in person; within three days its owner signs in with the password and this code, and sets up another factor)"
    ))?;
    Ok(())
}

/// Opens an account again that was closed lately.
pub(crate) async fn reopen(args: &UserPasswordArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.user.config.config)?;
    let password = Password::given(args.password_file.as_deref())?;
    let order = PasswordOrder { user_id: user_id(&args.user, &config)?, password: password.text.clone() };
    match Running::find(&config).await {
        Some(running) => {
            let body = serde_json::to_value(&order)?;
            running.must(Method::POST, "/_yakuba/v1/users/reopen", Some(&body)).await?;
        }
        None => {
            let PasswordOrder { user_id, password } = &order;
            here(&config, async |accounts, by| accounts.reopen_account(user_id, Some(password), by).await)
                .await?;
        }
    }
    let user_id = order.user_id;
    say(&tr!("{user_id} のアカウントを復元しました", "the account of {user_id} is open again"))?;
    password.tell()
}

/// Closes an account.
pub(crate) async fn close(args: &WhichUser) -> anyhow::Result<()> {
    let config = Config::read(&args.config.config)?;
    let order = CloseOrder { user_id: user_id(args, &config)? };
    match Running::find(&config).await {
        Some(running) => {
            let body = serde_json::to_value(&order)?;
            running.must(Method::POST, "/_yakuba/v1/users/close", Some(&body)).await?;
        }
        None => here(&config, async |accounts, by| accounts.close_account(&order.user_id, by).await).await?,
    }
    let user_id = order.user_id;
    say(&tr!("{user_id} のアカウントを閉じました", "the account of {user_id} is closed"))?;
    Ok(())
}

/// Does something in the data, of which no server runs.
pub(crate) async fn over_house<T>(
    config: &Config,
    work: impl AsyncFnOnce(&House, &Actor) -> Result<T, ApiError>,
) -> anyhow::Result<T> {
    let house = House::open(config, Foundation::of(config, Data::MustExist).await?).await?;
    let done = work(&house, &Actor::operator(&operator())).await;
    house.close(Duration::from_secs(10)).await;
    done.map_err(|error| anyhow!(causes::of_errcode(error.errcode(), error.message())))
}

/// Does something to the accounts in the data, of which no server runs.
async fn here<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Accounts, &Actor) -> Result<T, account::Error>,
) -> anyhow::Result<T> {
    let house = House::open(config, Foundation::of(config, Data::MustExist).await?).await?;
    let done = work(&house.accounts, &Actor::operator(&operator())).await;
    house.close(Duration::from_secs(10)).await;
    done.map_err(|error| anyhow!(causes::of_account(&error)))
}

/// A password that was given in a file, or made up.
struct Password {
    text: String,
    made_up: bool,
}

impl Password {
    fn given(file: Option<&Path>) -> anyhow::Result<Password> {
        match file {
            Some(file) => Ok(Password { text: read_password(file)?, made_up: false }),
            None => Ok(Password { text: Random::os().token(PASSWORD_LENGTH), made_up: true }),
        }
    }

    /// Prints it if nobody knows it yet.
    fn tell(&self) -> anyhow::Result<()> {
        if self.made_up {
            say(&tr!("パスワード: {password}", "password: {password}", password = self.text))?;
        }
        Ok(())
    }
}

/// Whose account is meant, which is written `hanako`, `@hanako` or whole, as `@hanako:kanazawa.example.jp`.
///
/// # Errors
/// When that is no user name, or the authority is none of ours.
pub(crate) fn user_id(which: &WhichUser, config: &Config) -> anyhow::Result<OwnedUserId> {
    let bad =
        |error: ruma::IdParseError| anyhow!(causes::of_errcode("M_INVALID_USERNAME", &error.to_string()));
    let written = which.localpart.strip_prefix('@').unwrap_or(&which.localpart);
    if let Some((localpart, server_name)) = written.split_once(':') {
        let named = <&ServerName>::try_from(server_name).map_err(bad)?.to_owned();
        let server_name = authority(Some(&named), config)?;
        if which.server_name.as_ref().is_some_and(|other| *other != server_name) {
            bail!(tr!("二つの機関が指定されています", "two different authorities are named"));
        }
        return UserId::parse(format!("@{localpart}:{server_name}")).map_err(bad);
    }
    let server_name = authority(which.server_name.as_ref(), config)?;
    UserId::parse(format!("@{written}:{server_name}")).map_err(bad)
}

/// The password in a file, or on standard input for `-`.
pub(crate) fn read_password(file: &Path) -> anyhow::Result<String> {
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
