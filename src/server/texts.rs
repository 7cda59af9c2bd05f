//! What commands say to a person: in Japanese or in English, as [`base::language`] has it.
//!
//! Both wordings stand side by side where they are said, in [`tr!`]; of the command line's own texts, written
//! `日本語 / English`, one half is picked here. Logs and JSON are in English always.

use std::error::Error as _;

use clap::{
    Command,
    error::{ContextKind, ErrorKind},
};

use crate::hosts::in_ascii;

pub(crate) use base::{language::japanese, tr};

/// Of `日本語 / English`, the half that is wanted.
fn half(text: &str) -> String {
    match text.split_once(" / ") {
        Some((ja, en)) => if japanese() { ja } else { en }.to_owned(),
        None => text.to_owned(),
    }
}

/// The command line with its texts in one language.
pub(crate) fn in_one_language(mut command: Command) -> Command {
    if let Some(about) = command.get_about().map(|text| half(&text.to_string())) {
        command = command.about(about);
    }
    command = command.mut_args(|arg| match arg.get_help().map(|text| half(&text.to_string())) {
        Some(help) => arg.help(help),
        None => arg,
    });
    command.mut_subcommands(in_one_language)
}

/// The parser's own words in its help; the longer ones stand before those that are part of them.
const HELP: [(&str, &str); 9] = [
    ("Print this message or the help of the given subcommand(s)", "この説明、またはコマンドの説明を表示する"),
    ("Print help", "説明を表示する"),
    ("Print version", "バージョンを表示する"),
    ("Usage:", "使い方:"),
    ("Commands:", "コマンド:"),
    ("Arguments:", "引数:"),
    ("Options:", "オプション:"),
    ("[default:", "[既定値:"),
    ("[env:", "[環境変数:"),
];

/// What the parser says instead of a command: help, the version, or what is wrong with the arguments.
pub(crate) fn of_the_parser(error: &clap::Error) -> String {
    let english = error.to_string();
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            HELP.iter().fold(english, |text, (en, ja)| text.replace(en, ja))
        }
        kind => format!("エラー: {}\n\n詳しくは '--help' をご覧ください。\n", wrong_arguments(kind, error)),
    }
}

fn wrong_arguments(kind: ErrorKind, error: &clap::Error) -> String {
    let value = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let arg = value(ContextKind::InvalidArg);
    match kind {
        ErrorKind::UnknownArgument => format!("'{arg}' という引数はありません"),
        ErrorKind::InvalidSubcommand => {
            format!("'{}' というコマンドはありません", value(ContextKind::InvalidSubcommand))
        }
        ErrorKind::MissingRequiredArgument => format!("必要な引数がありません: {arg}"),
        ErrorKind::MissingSubcommand => "コマンドがありません".to_owned(),
        ErrorKind::ArgumentConflict => format!("'{arg}' は重ねて、または他の引数と一緒には使えません"),
        ErrorKind::InvalidUtf8 => "引数が UTF-8 ではありません".to_owned(),
        _ => {
            let given = value(ContextKind::InvalidValue);
            let ascii = in_ascii(&given).filter(|_| arg.contains("server-name"));
            let hint = ascii.map(|ascii| format!("サーバー名は ASCII で書きます: {ascii}"));
            // The parser's own words, where they are ours.
            let said = || error.source().map(ToString::to_string).filter(|said| is_japanese(said));
            let hint = hint.or_else(said).map(|hint| format!("。{hint}"));
            format!("'{arg}' の値 '{given}' は使えません{}", hint.unwrap_or_default())
        }
    }
}

fn is_japanese(text: &str) -> bool {
    text.chars().any(|letter| ('\u{3041}'..='\u{9fff}').contains(&letter))
}

/// A failure as it is told in the end. What has no words of ours yet gets a sentence at least.
pub(crate) fn of_failure(error: &anyhow::Error) -> String {
    let said = format!("{error:#}");
    let ours = said.lines().next().is_some_and(is_japanese);
    if ours { said } else { tr!("予期しないエラー: {said}", "{said}") }
}
