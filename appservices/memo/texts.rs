//! What the bot says: Japanese first, English beside.

use std::time::Duration;

use crate::memos::{Kind, Memo};

/// The topic of everybody's room.
pub(crate) const TOPIC: &str = "スマートフォンと LGWAN の端末のあいだで、文・URL・ファイルを受け渡す自分だけの部屋です。「ヘルプ」で使い方 / \
     A room of your own between your phone and your desk on LGWAN. Say \"help\"";

/// Why a redaction was made.
pub(crate) const DELETED: &str = "メモの削除 / memo deleted";
pub(crate) const EXPIRED: &str = "メモの保存期間が過ぎました / the memo's time is over";

/// Why the bot leaves.
pub(crate) const STRANGER: &str =
    "メモ帳はこの役場の人だけで使えます / memos are for people of this authority";
pub(crate) const NOT_DIRECT: &str = "メモ帳は自分だけの部屋です。招待をお送りしました / \
     memos have a room of your own, to which you are invited";
pub(crate) const MOVED: &str = "メモ帳の部屋をご利用ください / please use your memo room";

/// Who has the bot's invites blocked cannot be asked into his room.
pub(crate) const NOT_INVITED: &str = "メモ帳の部屋へ招待できませんでした。招待を受け取らない設定になっていないか確かめ、もう一度このボットとの会話を始めてください。\
     メモはそのまま残っています。\n\
     You could not be invited to your memo room. Please see whether you block invites, and begin a chat with this bot again. Your memos are still there.";

/// Why somebody else is asked out.
pub(crate) const ALONE: &str = "メモ帳は本人だけの部屋です / a memo room has one user only";

pub(crate) const SOMEBODY_ELSE: &str = "メモ帳は本人だけの部屋なので、招待されたかたには退出していただきました。\n\
     A memo room is yours alone; who was asked in has been asked out.";

pub(crate) const ENCRYPTED: &str = "暗号化されたメモは、LGWAN 側への無害化も一覧への追加もできません。暗号化を使わない端末からお送りください。\n\
     An encrypted memo can neither be sanitised for LGWAN nor listed. Please send it unencrypted.";

pub(crate) const ENCRYPTED_FILE: &str = "暗号化されたファイルは無害化できないため、LGWAN 側には渡りません。暗号化せずにお送りください。\n\
     An encrypted file cannot be sanitised and does not leave to LGWAN. Please send it unencrypted.";

pub(crate) const EDITED: &str = "書き直されたため、この指示は実行しませんでした。もう一度お送りください。\n\
     This was edited, so nothing was done. Please say it again.";

pub(crate) const EMPTY: &str = "メモはありません。\nThere are no memos.";

/// What the bot says in a new room, and when asked.
pub(crate) fn help(keep: Option<Duration>, most: usize) -> String {
    let (ja, en) = match keep {
        Some(keep) => {
            (format!("メモは{}で消えます。", span(keep).0), format!("A memo goes after {}.", span(keep).1))
        }
        None => ("メモは消すまで残ります。".to_owned(), "A memo stays until you delete it.".to_owned()),
    };
    format!(
        "ここはあなただけのメモ帳です。文・URL・写真・ファイルを送ると、スマートフォンでも LGWAN の端末でも見られます。\
         LGWAN 側には、ファイルは無害化して渡されます。\n\
         ・ヘルプ … この説明\n\
         ・一覧 … 新しい10件（「一覧 30」で30件）\n\
         ・消す 12 … 12番を消す（メモへの返信で「消す」でも）\n\
         ・消す 7日 … 7日より前のものを消す\n\
         ・消す 全部 … すべて消す\n\
         {ja}{most}件を超えると、古いものから消えます。\n\n\
         This memo room is yours alone. Texts, addresses, photos and files that you send are there on your phone and on your desk on LGWAN, \
         where files arrive sanitised.\n\
         ・help … this text\n\
         ・list … the 10 newest (\"list 30\": 30)\n\
         ・delete 12 … deletes number 12 (or answer a memo with \"delete\")\n\
         ・delete 7d … deletes those older than 7 days\n\
         ・delete all … deletes all\n\
         {en} Of more than {most} the oldest go."
    )
}

/// Where a user's room is.
pub(crate) fn moved(room_name: &str, link: &str) -> String {
    format!(
        "「{room_name}」の部屋へ招待しました。メモはそちらへお送りください。\n{link}\n\
         You are invited to your memo room; please send memos there."
    )
}

/// The last memos, newest first.
pub(crate) fn list(memos: &[Memo], all: usize) -> String {
    let mut text = format!("メモ{all}件のうち新しい{}件 / the {} newest of {all}", memos.len(), memos.len());
    for memo in memos {
        let Memo { number, preview, at_ms, .. } = memo;
        text.push_str(&format!("\n#{number}  {}  {}{preview}", moment(*at_ms), kind(memo.kind)));
    }
    text
}

/// How many went.
pub(crate) fn deleted(count: usize) -> String {
    match count {
        0 => "該当するメモはありません。\nThere is no such memo.".to_owned(),
        _ => format!("{count}件のメモを消しました。\nMemos deleted: {count}."),
    }
}

/// How memos are deleted.
pub(crate) fn which(count: usize) -> String {
    format!(
        "どのメモを消しますか。メモは{count}件あります。「消す 番号」「消す 7日」「消す 全部」か、メモへの返信で「消す」とお書きください。\n\
         Which one? There are {count}. Write \"delete NUMBER\", \"delete 7d\", \"delete all\", or answer a memo with \"delete\"."
    )
}

/// Why a file does not leave to LGWAN; the homeserver's own sentence says both languages. What may pass is looked at again.
pub(crate) fn refused(name: &str, reason: &str, may_pass: bool) -> String {
    if may_pass {
        return format!(
            "「{name}」は、いまは LGWAN 側に渡りません。しばらくしてから確かめ直し、渡るようになったらお知らせします。\n\
             「{name}」 does not leave to LGWAN for now. It will be tried again, and you will be told when it does.\n{reason}"
        );
    }
    format!("「{name}」は LGWAN 側には渡りません。\n「{name}」 does not leave to LGWAN.\n{reason}")
}

/// A file leaves to LGWAN of which it was said that it does not.
pub(crate) fn passes(name: &str) -> String {
    format!(
        "「{name}」は LGWAN 側に渡るようになりました。前のお知らせは取り消します。\n\
         「{name}」 leaves to LGWAN now; what was said of it before is taken back."
    )
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "",
        Kind::Picture => "［画像 picture］",
        Kind::Video => "［動画 video］",
        Kind::Audio => "［音声 audio］",
        Kind::File => "［ファイル file］",
        Kind::Place => "［場所 place］",
    }
}

fn span(span: Duration) -> (String, String) {
    let seconds = span.as_secs();
    let units =
        [(86_400, "日", "days"), (3_600, "時間", "hours"), (60, "分", "minutes"), (1, "秒", "seconds")];
    let fits = units.into_iter().find(|(unit, ..)| seconds >= *unit && seconds.is_multiple_of(*unit));
    let (unit, ja, en) = fits.unwrap_or((1, "秒", "seconds"));
    (format!("{}{ja}", seconds / unit), format!("{} {en}", seconds / unit))
}

/// Month, day and time in Japan, which has one time zone and no summer time.
fn moment(at_ms: u64) -> String {
    let seconds = at_ms / 1_000 + 9 * 3_600;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's days from civil, backwards, for dates after 1970: years that begin in March have their odd day at the end.
    let shifted = days + 719_468;
    let of_era = shifted % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    format!("{month}/{day} {:02}:{:02}", rest / 3_600, rest % 3_600 / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_japan() {
        // 2026-04-01 00:00, 2028-02-29 12:34 and 2026-12-31 23:59 in Japan.
        assert_eq!(moment(1_774_969_200_000), "4/1 00:00");
        assert_eq!(moment(1_835_408_040_000), "2/29 12:34");
        assert_eq!(moment(1_798_729_140_000), "12/31 23:59");
    }

    #[test]
    fn a_time_is_said_in_its_largest_whole_unit() {
        assert_eq!(span(Duration::from_secs(90 * 86_400)).0, "90日");
        assert_eq!(span(Duration::from_secs(36 * 3_600)).1, "36 hours");
    }
}
