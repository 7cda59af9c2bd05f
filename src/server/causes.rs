//! What the errors of other parts mean to a person at the command line.
//!
//! Their own texts are for logs and for programs, in English. Here those that somebody can meet who sets a
//! server up are said in his language; what is left is told as it came, behind a sentence that says what
//! could not be done.

use std::io::{self, ErrorKind};

use federation::OpenError;
use pdu::KeyFileError;

use crate::texts::{japanese, tr};

/// What the operating system says.
pub(crate) fn of_io(error: &io::Error) -> String {
    if !japanese() {
        return error.to_string();
    }
    let said = match error.kind() {
        ErrorKind::NotFound => "見つかりません",
        ErrorKind::PermissionDenied => "権限がありません",
        ErrorKind::AlreadyExists => "すでにあります",
        ErrorKind::AddrInUse => "ほかのプログラムが使っています",
        ErrorKind::AddrNotAvailable => "このマシンのアドレスではありません",
        ErrorKind::ReadOnlyFilesystem => "ファイルシステムが読み取り専用です",
        ErrorKind::StorageFull => "ディスクがいっぱいです",
        ErrorKind::IsADirectory => "ファイルではなくディレクトリです",
        ErrorKind::NotADirectory => "ディレクトリではありません",
        ErrorKind::InvalidData => "UTF-8 のテキストではありません",
        ErrorKind::ConnectionRefused => "接続が拒否されました",
        _ => return format!("システムのエラー: {error}"),
    };
    match error.raw_os_error() {
        Some(number) => format!("{said} (os error {number})"),
        None => said.to_owned(),
    }
}

/// Why an account could not be made or changed.
pub(crate) fn of_account(error: &account::Error) -> String {
    use account::Error as E;
    match error {
        E::UserInUse => of_errcode("M_USER_IN_USE", &error.to_string()),
        E::InvalidUsername(_) => of_errcode("M_INVALID_USERNAME", &error.to_string()),
        E::WeakPassword(_) => of_errcode("M_WEAK_PASSWORD", &error.to_string()),
        E::NotFound(_) => of_errcode("M_NOT_FOUND", &error.to_string()),
        E::Deactivated(_) => of_errcode("M_USER_DEACTIVATED", &error.to_string()),
        _ => of_errcode("", &error.to_string()),
    }
}

/// Why files of media cannot be used.
pub(crate) fn of_media(error: &media::Error) -> String {
    match error {
        media::Error::Store(cause) => of_store(cause),
        error => {
            let source = std::error::Error::source(error);
            let io = source.and_then(|source| source.downcast_ref::<io::Error>());
            io.map_or_else(|| error.to_string(), of_io)
        }
    }
}

/// Why the running server refused; `sentence` is what it says itself.
pub(crate) fn of_errcode(errcode: &str, sentence: &str) -> String {
    match errcode {
        "M_USER_IN_USE" => tr!("そのユーザー名は使われています", "{sentence}"),
        "M_INVALID_USERNAME" => tr!(
            "そのユーザー名は使えません。使えるのは a-z、0-9 と . _ = - / + です ({sentence})",
            "{sentence}"
        ),
        "M_WEAK_PASSWORD" => tr!("そのパスワードは短すぎるか長すぎます ({sentence})", "{sentence}"),
        "M_NOT_FOUND" => tr!("その利用者はいません", "{sentence}"),
        "M_USER_DEACTIVATED" => tr!("そのアカウントは閉じられています", "{sentence}"),
        _ => tr!("できませんでした: {sentence}", "{sentence}"),
    }
}

/// What is wrong with a signing key's file.
pub(crate) fn of_key_file(error: &KeyFileError) -> String {
    match error {
        KeyFileError::Form => {
            tr!("`ed25519 <バージョン> <シード>` の行がありません", "{error}")
        }
        KeyFileError::Version => {
            tr!("鍵のバージョンに使えるのは英字、数字、_ だけです", "{error}")
        }
        KeyFileError::Seed => {
            tr!("シードがパディングなしの base64 の 32 バイトではありません", "{error}")
        }
    }
}

/// Why the way to other servers cannot be opened.
pub(crate) fn of_network(error: &OpenError) -> String {
    match error {
        OpenError::Certificates { file, cause } => {
            tr!("[federation] の証明書 {file} を使えません: {cause}", "certificates of {file}: {cause}")
        }
        OpenError::FixedAddress(cause) => {
            tr!("[federation.fixed] の住所が誤っています: {cause}", "a fixed address is wrong: {cause}")
        }
        OpenError::Dns(_) => tr!("DNS の設定を読めません: {error}", "{error}"),
        OpenError::Tls(_) => tr!("TLS を使えません: {error}", "{error}"),
    }
}

/// Why the storage did not do what was asked.
pub(crate) fn of_store(error: &store::Error) -> String {
    let said = told(error);
    match error {
        store::Error::InUse { .. } => {
            tr!("ほかのプロセスが使っています ({said})", "{said}")
        }
        store::Error::NewerSchema { .. } => {
            tr!("データは新しいバージョンのものです。新しいプログラムを使ってください ({said})", "{said}")
        }
        store::Error::Full(_) => tr!("ディスクに空きがありません ({said})", "{said}"),
        _ => tr!("保存先のエラー: {said}", "{said}"),
    }
}

/// An error with its causes, on one line.
fn told(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}
