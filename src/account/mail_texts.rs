//! What mails say: Japanese first, English beside.

use ruma::ServerName;

use crate::EmailPurpose;

/// Subject and text of a mail with a word by which its reader proves to have read it.
pub(crate) fn with_word(
    authority: &ServerName,
    purpose: EmailPurpose,
    word: &str,
    link: &str,
) -> (String, String) {
    let (subject, japanese, english) = match purpose {
        EmailPurpose::Register => (
            "メールアドレスの確認 / Confirm your address",
            "このメールアドレスで、次のサーバーのアカウントを登録する申し込みがありました。",
            "Somebody asked to register an account with this address at the server below.",
        ),
        EmailPurpose::Add => (
            "メールアドレスの確認 / Confirm your address",
            "このメールアドレスを、次のサーバーのアカウントに追加する申し込みがありました。",
            "Somebody asked to add this address to an account at the server below.",
        ),
        EmailPurpose::ResetPassword => (
            "パスワードの再設定 / Reset your password",
            "このメールアドレスのアカウントについて、次のサーバーでパスワードを再設定する申し込みがありました。\
             続けると、申し込んだ人が新しいパスワードを決めます。",
            "Somebody asked to reset the password of the account with this address at the server below. \
             If you go on, whoever asked chooses the new password.",
        ),
    };
    let subject = format!("[{authority}] {subject}");
    let text = format!(
        "{japanese}\n\n    {authority}\n\nご自身の申し込みであれば、次のリンクを開いて確認してください。\n\n    {link}\n\n\
         コードの入力を求められた場合は、次のコードを入力してください。\n\n    {word}\n\n\
         心当たりがなければ、リンクを開かず、このメールを破棄してください。何も変わりません。\n\
         リンクとコードは24時間有効です。コードを他の人に教えないでください。\n\n\
         ----------------------------------------------------------------\n\n\
         {english}\n\nIf that was you, open the link above, or enter the code above where you are asked for it.\n\
         If it was not, do not open the link and throw this mail away: nothing will change.\n\
         Link and code are good for 24 hours. Give the code to nobody.\n"
    );
    (subject, text)
}

/// Subject and text of a mail to the owner of an address that somebody wanted to use anew.
pub(crate) fn known_already(authority: &ServerName) -> (String, String) {
    let subject = format!("[{authority}] このメールアドレスは登録済みです / This address is in use");
    let text = format!(
        "このメールアドレスを使う申し込みがありましたが、次のサーバーですでにアカウントに登録されています。\n\n    {authority}\n\n\
         ご自身の申し込みであれば、そのアカウントでサインインするか、アプリの「パスワードを忘れた場合」から\
         パスワードを再設定してください。\n心当たりがなければ、何もする必要はありません。\n\n\
         ----------------------------------------------------------------\n\n\
         Somebody asked to use this address, but it belongs to an account at the server above already.\n\
         If that was you, sign in to that account, or reset its password in your app.\n\
         If it was not, there is nothing to do.\n"
    );
    (subject, text)
}
