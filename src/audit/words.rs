//! What deeds and roles are called by people, in Japanese and in English; and a row as programs read it.

use ruma::ServerName;
use serde_json::{Map, Value, json};

use crate::{
    day::written,
    deed::{Action, Role},
    list::Listed,
};

/// A row as a line of JSON, in English always. What others chose stands in it as JSON escapes it, so that no row is two.
#[must_use]
pub fn in_json(authority: &ServerName, row: &Listed) -> String {
    let position = row.position;
    let Some(record) = &row.record else {
        return json!({ "authority": authority, "position": position, "damaged": true }).to_string();
    };
    let facts = |facts: &[(String, String)]| -> Map<String, Value> {
        facts.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
    };
    json!({
        "authority": authority,
        "position": position,
        "at": written(record.at),
        "who": record.who,
        "role": record.role,
        "from": record.from,
        "what": record.what,
        "whom": record.whom,
        "before": facts(&record.before),
        "after": facts(&record.after),
        "zone": record.zone,
        "device": record.device,
        "duty": record.duty,
    })
    .to_string()
}

impl Role {
    /// Its name for people, in Japanese and in English.
    #[must_use]
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::User => ("利用者", "user"),
            Self::Administrator => ("管理者", "administrator"),
            Self::Operator => ("サーバー操作者", "operator"),
            Self::SharedSecret => ("共有の秘密", "shared secret"),
            Self::Stranger => ("未確認", "stranger"),
            Self::Server => ("サーバー", "server"),
            Self::Source => ("連携元", "source"),
        }
    }
}

impl Action {
    /// What was done, for people, in Japanese and in English.
    #[must_use]
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::SignIn => ("サインイン", "signed in"),
            Self::SignInFailed => ("サインイン失敗", "could not sign in"),
            Self::SignOut => ("サインアウト", "signed out"),
            Self::SignOutEverywhere => ("全端末のサインアウト", "signed out everywhere"),
            Self::SignOutAtProvider => ("認証基盤でのサインアウト", "signed out at the identity provider"),
            Self::SignOutRefused => {
                ("認証基盤のサインアウト通知を拒否", "was not believed that somebody had signed out")
            }
            Self::ConfirmFailed => ("本人確認失敗", "could not confirm"),
            Self::Register => ("登録", "registered"),
            Self::RegisterFailed => ("登録失敗", "could not register"),
            Self::CreateAccount => ("アカウント作成", "made an account"),
            Self::CloseAccount => ("アカウント閉鎖", "closed an account"),
            Self::ReopenAccount => ("閉鎖したアカウントの復元", "opened a closed account again"),
            Self::LockAccount => ("アカウントのロック", "locked an account"),
            Self::UnlockAccount => ("アカウントのロック解除", "unlocked an account"),
            Self::SuspendAccount => ("アカウントの利用停止", "suspended an account"),
            Self::ResumeAccount => ("アカウントの利用再開", "let a suspended account speak again"),
            Self::ChangePassword => ("パスワード変更", "changed the password"),
            Self::SetPassword => ("パスワード設定", "set a password"),
            Self::AgreeToReset => ("署名鍵の交換の承認", "agreed to new cross-signing keys"),
            Self::AddFactor => ("二要素認証の追加", "set up a second factor"),
            Self::RenameFactor => ("二要素認証の名前の変更", "renamed a second factor"),
            Self::RemoveFactor => ("二要素認証の削除", "removed a second factor"),
            Self::VouchForDevice => ("設定前からの端末の確認", "vouched for a device from before the factor"),
            Self::RenewCodes => ("回復コードの再発行", "got other recovery codes"),
            Self::AskRecovery => ("二要素認証の再設定の申請", "asked for the recovery of an account"),
            Self::WithdrawRecovery => {
                ("二要素認証の再設定の取り下げ", "took back that an account be recovered")
            }
            Self::Recover => ("二要素認証の再設定", "recovered an account"),
            Self::ResetPassword => ("パスワード再設定", "reset a password by mail"),
            Self::GiveLoginToken => ("ログイントークン発行", "gave a login token"),
            Self::AddAddress => ("連絡先追加", "added an address"),
            Self::RemoveAddress => ("連絡先削除", "removed an address"),
            Self::LinkIdentity => ("認証基盤連携", "linked an identity"),
            Self::UnlinkIdentity => ("認証基盤連携の解除", "unlinked an identity"),
            Self::RemoveDevices => ("端末削除", "removed devices"),
            Self::PutRegistrationToken => ("登録トークン設定", "made a registration token"),
            Self::RemoveRegistrationToken => ("登録トークン削除", "removed a registration token"),
            Self::BackUp => ("バックアップ", "backed up"),
            Self::Restore => ("バックアップから復元", "put back from a backup"),
            Self::BeginAuthority => ("機関の開始", "began the authority"),
            Self::PutAlias => ("ルームの別名設定", "gave a room an alias"),
            Self::RemoveAlias => ("ルームの別名削除", "took an alias away"),
            Self::PublishRoom => ("ルーム一覧に掲載", "listed a room in the directory"),
            Self::WithdrawRoom => ("ルーム一覧から削除", "took a room out of the directory"),
            Self::OrderPurge => ("ルームの完全削除を指示", "ordered the purge of a room"),
            Self::PurgeRoom => ("ルームの完全削除", "purged a room"),
            Self::VoidPurge => ("ルームの完全削除を中止", "did not purge a room after all"),
            Self::SendNotice => ("利用者へのお知らせ", "told a user something"),
            Self::RemoveMedia => ("メディアの削除", "removed a file"),
            Self::WithholdMedia => ("メディアの非公開化", "withheld a file"),
            Self::ReleaseMedia => ("メディアの再公開", "showed a file again"),
            Self::SaveMapping => ("列の対応を保存", "saved what columns mean"),
            Self::ProposeChanges => ("組織の変更案を作成", "proposed changes of the organisation"),
            Self::ApproveChanges => ("変更案を承認", "approved a change set"),
            Self::TimeChanges => ("変更案の時刻を変更", "gave a change set another hour"),
            Self::WithdrawChanges => ("変更案を取り下げ", "took a change set back"),
            Self::ApplyChanges => ("変更案を適用", "applied a change set"),
            Self::VoidChanges => ("変更案を適用できず", "could not apply a change set any more"),
            Self::UndoChanges => ("変更案を取り消し", "undid a change set"),
            Self::FollowSource => ("人の情報を連携元に合わせる", "followed what a source says of somebody"),
            Self::LeaveSource => ("連携元から外れた", "was removed by a source"),
            Self::RefuseReading => ("連携元の読み取りを見送り", "did not follow what a source says"),
            Self::AcceptEndings => ("連携元による停止を承知", "accepted that accounts end by a source"),
            Self::PutGroup => ("連携元のグループを設定", "set a group of a source"),
            Self::RemoveGroup => ("連携元のグループを削除", "removed a group of a source"),
            Self::SetRule => ("部屋の規則を設定", "set a rule of rooms"),
            Self::EndRule => ("部屋の規則を終了", "ended a rule of rooms"),
            Self::PutForward => ("アカウントを職員のものとして提案", "put an account forward as somebody's"),
            Self::AdoptRoom => ("ルームを規則の対象に", "put a room under a rule"),
            Self::MakeRoom => ("規則によるルーム作成", "a rule made a room"),
            Self::MoveRoom => ("改組後の所属へ移管", "a room went to the unit that another became"),
            Self::JoinByRule => ("規則による参加", "a rule brought a user into a room"),
            Self::LeaveByRule => ("規則による退出", "a rule took a user out of a room"),
            Self::ChangeByRule => ("規則によるルーム変更", "a rule changed a room"),
            Self::CloseRoom => ("ルームを閉鎖", "closed a room"),
            Self::ReopenRoom => ("ルームを再開", "opened a room again"),
            Self::GrantAdministration => ("管理者権限の付与", "made a user an administrator"),
            Self::RevokeAdministration => ("管理者権限の取り消し", "made an administrator a user"),
            Self::ChangeProfile => ("プロフィールの変更", "changed a profile"),
            Self::RenameDevice => ("端末名の変更", "renamed a device"),
            Self::BlockRoom => ("ルームへの参加の禁止", "closed a room to users"),
            Self::UnblockRoom => ("ルームへの参加の許可", "opened a room to users again"),
            Self::EmptyRoom => ("ルームからの全員の退出を指示", "ordered all users out of a room"),
            Self::JoinRoom => ("利用者をルームに参加させる", "brought a user into a room"),
            Self::GrantRoomPower => ("ルームの権限の付与", "gave a user power in a room"),
            Self::ReadRoom => ("ルームの内容の閲覧", "read what was said in a room"),
            Self::ReadAccount => {
                ("利用者のデータの閲覧", "read what a user keeps here, or from where he was seen")
            }
            Self::RetryPeer => ("他サーバーへの再接続", "tried another server again"),
            Self::ProtectMedia => ("メディアの保護", "protected a file"),
            Self::UnprotectMedia => ("メディアの保護の解除", "protected a file no more"),
            Self::RemoveReport => ("通報の削除", "removed a report"),
            Self::GiveDuty => ("役割の付与", "gave a user a duty"),
            Self::TakeDuty => ("役割の取り消し", "took a duty from a user"),
            Self::ExportAudit => ("監査ログの書き出し", "exported the audit log"),
            Self::ExportTable => ("一覧の書き出し", "exported a table"),
            Self::TryInVain => ("権限のない操作の拒否", "was refused what is for others"),
            Self::AskCase => ("案件を申請", "asked for something in a case"),
            Self::AskCaseAgain => ("案件を修正して再申請", "asked again in a case"),
            Self::ApproveCase => ("案件を承認", "approved a case"),
            Self::ReturnCase => ("案件を差し戻し", "returned a case"),
            Self::RefuseCase => ("案件を却下", "refused a case"),
            Self::WithdrawCase => ("案件を取り下げ", "withdrew a case"),
            Self::ExpireCase => ("案件の期限切れ", "a case expired"),
            Self::VoidApproval => ("承認の失効", "an approval counts no more"),
            Self::CarryOutCase => ("案件を実施", "carried out a case"),
            Self::FailCase => ("案件の実施に失敗", "a case could not be carried out"),
            Self::RetryCase => ("案件の実施をやり直し", "tries a case once more"),
            Self::UndoCase => ("案件の実施を取り消し", "undid a case"),
            Self::EndCase => ("案件の期間が終了", "what a case had done ended"),
            Self::NameDeputy => ("代理者を指定", "named a deputy"),
            Self::EndDeputy => ("代理者の指定を終了", "ended a deputy"),
            Self::ReachByAddress => ("宛先による招待・退出", "invited or put out by an address"),
            Self::RetireRows => ("保存期間を過ぎた監査記録の消去", "removed rows that were kept long enough"),
            Self::SetRetention => ("監査記録の保存年数の変更", "changed for how long rows are kept"),
            Self::HoldRows => ("監査記録の保全", "had no more rows removed"),
            Self::ReleaseRows => ("監査記録の保全の解除", "let rows be removed again"),
        }
    }
}
