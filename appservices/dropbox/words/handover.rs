//! What is said of links to download by.

use base::Timestamp;

use super::{LISTED, say, unlisted};
use crate::{
    language::Language,
    moment,
    rows::{Hand, HandState},
};

/// How links to download by are written.
pub(crate) fn help_hands(language: Language) -> String {
    say(
        language,
        "社外の人にこの部屋のファイルを1つ渡すURLを作ります。\n\n\
         渡すファイルに返信して：!渡し 期限 3日 回数 3 合言葉\n\n\
         ほかの人がボットの確認に ✅ を付けると（24時間以内）、URLができます。頼んだ本人は承認できません。\n\n\
         !渡し 一覧 … いま使えるURL\n\
         !渡し 取消 3 … 3番を使えなくする\n\
         English: !handover help",
        "Makes a link by which somebody outside fetches one file of this room.\n\n\
         Reply to the file: !handover expires 3d times 3 code\n\n\
         The link is made once another member reacts with ✅ to what I ask then (within 24 hours). Who asked cannot agree.\n\n\
         !handover list - the links that are good now\n\
         !handover cancel 3 - ends number 3\n\
         日本語: !渡し ヘルプ",
    )
}

pub(crate) fn no_file(language: Language) -> String {
    say(
        language,
        "渡すファイルに返信する形で書いてください。暗号化されたファイルは渡せません。書き方は「!渡し ヘルプ」で見られます。",
        "Write it as a reply to the file. Encrypted files cannot be handed over. `!handover help` tells how.",
    )
}

pub(crate) fn edited(language: Language) -> String {
    say(
        language,
        "このファイルは編集で差し替えられているため、渡せません。渡すファイルを新しく投稿し、それに返信してください。",
        "By an edit another file is shown there now. Please send the file anew, and reply to that.",
    )
}

/// Tells that a file is not handed over since it was changed or deleted.
pub(crate) fn changed(hands: &[Hand]) -> String {
    let Some(Hand { name, language, .. }) = hands.first() else { return String::new() };
    let numbers = hands.iter().map(|hand| hand.number.to_string());
    match language {
        Language::Japanese => {
            let numbers: Vec<String> = numbers.map(|number| format!("{number}番")).collect();
            format!(
                "渡しURL {}「{name}」は、頼んだあとでファイルが差し替えられたか削除されたため、取り消しました。必要なら新しく頼んでください。",
                numbers.join("、")
            )
        }
        Language::English => format!(
            "Link to download by no. {} “{name}” was ended: its file was changed or deleted after it was asked for.",
            numbers.collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Tells that nobody asks for it any more.
pub(crate) fn taken_back(hand: &Hand) -> String {
    let Hand { number, name, .. } = hand;
    match hand.language {
        Language::Japanese => {
            format!(
                "頼んだ人が部屋を出たか、頼みが取り消されたため、渡しURL {number}番「{name}」を取り消しました。"
            )
        }
        Language::English => {
            format!(
                "Link to download by no. {number} “{name}” was ended: its request was taken back, or who asked left the room."
            )
        }
    }
}

/// Tells that an agreement was taken back.
pub(crate) fn withdrawn(hand: &Hand) -> String {
    let Hand { number, name, .. } = hand;
    match hand.language {
        Language::Japanese => {
            format!("承認が取り消されたため、渡しURL {number}番「{name}」を取り消しました。")
        }
        Language::English => {
            format!("Link to download by no. {number} “{name}” was ended: the agreement was taken back.")
        }
    }
}

/// Asks others to agree.
pub(crate) fn question(hand: &Hand) -> String {
    let Hand { number, asker, name, times, lasts, .. } = hand;
    let lasts = moment::span(*lasts, hand.language);
    let code = match (hand.with_code, hand.language) {
        (false, _) => "",
        (true, Language::Japanese) => "・合言葉あり",
        (true, Language::English) => ", with a code",
    };
    match hand.language {
        Language::Japanese => format!(
            "渡しURL {number}番：{asker} さんが「{name}」を社外に渡そうとしています（{lasts}・{times}回まで{code}）。\n\
             ファイルを開いて中身を確かめ、よければ、ほかの人がこのメッセージに ✅ を付けてください（24時間以内）。"
        ),
        Language::English => format!(
            "Link to download by no. {number}: {asker} wants to hand “{name}” to somebody outside ({lasts}, {times} downloads{code}).\n\
             If that is right (please open the file), somebody else reacts with ✅ to this message (within 24 hours)."
        ),
    }
}

/// Tells a link to download by to its room.
pub(crate) fn handed(hand: &Hand, url: &str) -> String {
    let Hand { number, name, times, .. } = hand;
    let (by, ends) = match &hand.state {
        HandState::Good { by, ends, .. } => (by.as_str(), moment::written(*ends, hand.language)),
        HandState::Asked | HandState::Ended => ("", String::new()),
    };
    let code = match (hand.with_code, hand.language) {
        (false, _) => "",
        (true, Language::Japanese) => "\n合言葉は、頼んだ人との1対1の部屋に送りました。",
        (true, Language::English) => "\nThe code was sent to whoever asked, in a room of their own.",
    };
    match hand.language {
        Language::Japanese => format!(
            "渡しURL {number}番「{name}」\n{url}\n期限 {ends}／{times}回まで／承認 {by}{code}\n取消は「!渡し 取消 {number}」。"
        ),
        Language::English => format!(
            "Link to download by no. {number} “{name}”\n{url}\nUntil {ends}; {times} downloads; agreed by {by}{code}\nTo end it: !handover cancel {number}"
        ),
    }
}

/// Tells the code of a link to download by.
pub(crate) fn code_of_hand(hand: &Hand, code: &str) -> String {
    let Hand { number, name, .. } = hand;
    match hand.language {
        Language::Japanese => {
            format!(
                "渡しURL {number}番「{name}」の合言葉：{code}\nURLとは別の手段（電話など）で相手に伝えてください。"
            )
        }
        Language::English => {
            format!(
                "Code of the link to download by no. {number} “{name}”: {code}\nTell it apart from the link."
            )
        }
    }
}

/// Tells whoever comes too late that its downloads were used up, and when: by that he knows whether it was he.
pub(crate) fn used_up(at: Option<Timestamp>, language: Language) -> String {
    let last = at.map(|at| moment::written(at, language));
    match (last, language) {
        (Some(last), Language::Japanese) => format!(
            "ダウンロードできる回数を使い切りました（最後は {last}）。お心当たりがないときや、もう一度必要なときは、URLを知らせた担当者にご連絡ください。"
        ),
        (None, Language::Japanese) => {
            "ダウンロードできる回数を使い切りました。必要なときは、URLを知らせた担当者にご連絡ください。"
                .to_owned()
        }
        (Some(last), Language::English) => format!(
            "The file was downloaded as often as it may be, the last time {last}. If that was not you, or you need it again, please ask whoever gave you the link."
        ),
        (None, Language::English) => {
            "The file was downloaded as often as it may be. Please ask whoever gave you the link.".to_owned()
        }
    }
}

pub(crate) fn own_agreement(language: Language) -> String {
    say(
        language,
        "頼んだ本人は承認できません。ほかの人が ✅ を付けてください。",
        "Who asked cannot agree; somebody else has to.",
    )
}

/// The links to download by of a room.
pub(crate) fn list_hands(hands: &[Hand], language: Language) -> String {
    if hands.is_empty() {
        return say(language, "いま使える渡しURLはありません。", "No link to download by is good now.");
    }
    let mut text = say(language, "渡しURL", "Links to download by");
    for Hand { number, name, asker, state, .. } in hands.iter().take(LISTED) {
        let how = match (state, language) {
            (HandState::Good { ends, left, .. }, Language::Japanese) => {
                format!("{} まで、残り{left}回", moment::written(*ends, language))
            }
            (HandState::Good { ends, left, .. }, Language::English) => {
                format!("until {}, {left} downloads left", moment::written(*ends, language))
            }
            (HandState::Asked | HandState::Ended, _) => language.pick("承認待ち", "waits for ✅").to_owned(),
        };
        text.push_str(&match language {
            Language::Japanese => format!("\n{number}番「{name}」{how}／{asker}"),
            Language::English => format!("\nNo. {number} “{name}” {how}; {asker}"),
        });
    }
    text + &unlisted(hands.len(), LISTED, language)
}

pub(crate) fn ended_hand(hand: &Hand, language: Language) -> String {
    let Hand { number, name, .. } = hand;
    match language {
        Language::Japanese => format!("渡しURL {number}番「{name}」を取り消しました。"),
        Language::English => format!("Link to download by no. {number} “{name}” was ended."),
    }
}
