//! What a page says of the deed that a password is asked for.

use account::Confirms;

/// What somebody confirms in a session, in Japanese and in English. Whoever has a session and wants another's password for it
/// sends him a link to our own page; so the page says what it is that the password would do.
pub(crate) fn deed(session: &str) -> (&'static str, &'static str) {
    match Confirms::of_session(session) {
        Some(Confirms::Password) => ("パスワードの変更", "a change of your password"),
        Some(Confirms::Close) => ("アカウントの閉鎖（元に戻せません）", "closing your account for good"),
        Some(Confirms::Device) => ("端末のサインアウトと削除", "signing out and removing a device"),
        Some(Confirms::Devices) => ("複数の端末のサインアウトと削除", "signing out and removing devices"),
        Some(Confirms::AddEmail) => ("メールアドレスの追加", "adding an e-mail address"),
        Some(Confirms::LogIn) => ("別のアプリでのサインイン", "signing another app in as you"),
        Some(Confirms::CrossSigning) => {
            ("暗号化の本人確認の鍵の作り直し", "replacing the keys by which others know you")
        }
        None => ("アプリが求めた操作", "what an app asked for"),
    }
}
