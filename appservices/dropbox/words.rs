//! What is said to people: in rooms, and on the page.

mod handover;

use std::collections::BTreeSet;

use bot_kit::ruma::UserId;

pub(crate) use self::handover::*;
use crate::{
    drops::{Closed, Error, LATELY, Made, PASSES},
    end::{Ended, Why},
    kind::Group,
    language::Language,
    moment,
    rows::{Link, Refused, Upload, UploadState},
    settings::Settings,
};

/// Links that a list names, and of those that ended; of more it says how many they are.
const LISTED: usize = 100;
const LISTED_ENDED: usize = 10;

// On the page.

/// Why a sender's request is not done.
pub(crate) fn for_senders(error: &Error, language: Language) -> String {
    let (ja, en) = match error {
        Error::NoLink => return no_such_link(language),
        Error::Over => (
            "このURLの期限は過ぎました。依頼した担当者にご連絡ください。",
            "The time of this link is over. Please ask whoever gave it to you.",
        ),
        Error::Cancelled(why) => ended_for_senders(*why),
        Error::UsedUp(at) => return used_up(*at, language),
        Error::NoCode => (
            "合言葉は8桁の数字です。入力をお確かめください（この入力は回数に数えていません）。",
            "The code is eight digits. Please look at what you entered; it does not count as a try.",
        ),
        Error::Locked => (
            "合言葉を間違えた回数、または使った端末の数が上限に達したため、このURLは使えません。依頼した担当者にご連絡ください。",
            "The code was entered wrongly, or from other devices, too often. Please ask whoever gave you the link.",
        ),
        Error::WrongCode(left) => return wrong_code(*left, language),
        Error::Files => (
            "送れる件数に達しました。これ以上は送れません。",
            "The number of files is reached; no more can be sent.",
        ),
        Error::Bytes(left) => {
            let left = moment::size(*left);
            return match language {
                Language::Japanese => format!("大きすぎます。送れるのは残り {left} までです。"),
                Language::English => format!("It is too large; {left} can still be sent."),
            };
        }
        Error::Closed => (
            "受け取り側の部屋がいまファイルを受け付けていません。担当者には知らせてあります。しばらくしてからお送りください。",
            "The receiving side takes nothing at the moment, and knows of it. Please try again later.",
        ),
        Error::Full | Error::Links | Error::LinksOfRoom(_) => (
            "いま受け取れません。しばらくしてからもう一度お送りください。",
            "It cannot be taken now. Please try again later.",
        ),
        Error::Lacking(_) => return another_offset(language),
        Error::NoUpload => ("このファイルの送信は見つかりません。", "There is no such upload."),
        Error::Received => (
            "このファイルはもう届いています。取り消したいときは、依頼した担当者にご連絡ください。",
            "This file has arrived already. Please ask whoever gave you the link to have it deleted.",
        ),
        Error::Refused(Refused::Kind) => (
            "この種類のファイルは受け取れません。中身と、名前の終わり（.exe や .ps1 など）で判断しています。",
            "Files of this type are not taken. The content decides, and the end of the name (.exe, .ps1 and the like).",
        ),
        Error::Refused(Refused::Hash) => (
            "届いた内容が元のファイルと一致しませんでした。もう一度お送りください。",
            "What arrived is not what was sent. Please send it again.",
        ),
        Error::Refused(Refused::TakenBack) => {
            ("このファイルの送信は取りやめられました。", "This upload was cancelled.")
        }
        Error::Refused(Refused::GivenUp) => (
            "このファイルの送信は打ち切られました。もう一度お送りください。",
            "This upload was given up. Please send the file again.",
        ),
        Error::Store(_) | Error::Disk(_) => (
            "受け取り側の不具合です。しばらくしてからもう一度お送りください。",
            "Something is wrong on our side. Please try again later.",
        ),
    };
    language.pick(ja, en).to_owned()
}

/// Why a link is good no more, for whoever has it: of those in the room he hears nothing that is theirs to tell.
fn ended_for_senders(why: Why) -> (&'static str, &'static str) {
    match why {
        Why::Cancelled | Why::Untold | Why::CodeUntold | Why::Unnoted => (
            "このURLは取り消されました。URLを知らせた担当者にご連絡ください。",
            "This link was cancelled. Please ask whoever gave it to you.",
        ),
        Why::PutOut | Why::Encrypted => (
            "受け渡し先の部屋が使えなくなったため、このURLは取り消されました。URLを知らせた担当者にご連絡ください。",
            "This link was cancelled, since its room can be used for files no more. Please ask whoever gave it to you.",
        ),
        Why::FileChanged => (
            "ファイルが差し替えられたか削除されたため、このURLは取り消されました。URLを知らせた担当者にご連絡ください。",
            "This link was cancelled, since its file was changed or deleted. Please ask whoever gave it to you.",
        ),
        Why::TakenBack | Why::Withdrawn => (
            "渡す側が取りやめたため、このURLは取り消されました。URLを知らせた担当者にご連絡ください。",
            "This link was cancelled by those who gave it. Please ask them.",
        ),
    }
}

fn say(language: Language, ja: &str, en: &str) -> String {
    language.pick(ja, en).to_owned()
}

pub(crate) fn no_such_link(language: Language) -> String {
    say(
        language,
        "このURLは使えません。もう一度お確かめください。",
        "There is no such link. Please check the address.",
    )
}

pub(crate) fn too_often(language: Language) -> String {
    say(
        language,
        "混み合っています。少し待ってからお試しください。",
        "Too many requests. Please wait a moment.",
    )
}

pub(crate) fn code_wanted(language: Language) -> String {
    say(
        language,
        "合言葉の入力が必要です。ページを開き直してください。",
        "The code is needed. Please open the page again.",
    )
}

pub(crate) fn another_offset(language: Language) -> String {
    say(language, "続きの位置が合いません。", "The upload is at another place.")
}

pub(crate) fn too_large(most: u64, language: Language) -> String {
    let most = moment::size(most);
    match language {
        Language::Japanese => format!("スクリプトなしで送れるのは {most} までです。"),
        Language::English => format!("Without a script, {most} can be sent at most."),
    }
}

pub(crate) fn nameless(language: Language) -> String {
    say(
        language,
        "お名前を入力してください（空白だけでは送れません）。ファイルはまだ届いていません。",
        "Please enter your name (not only blanks). No file has arrived yet.",
    )
}

pub(crate) fn empty(name: &str, language: Language) -> String {
    match language {
        Language::Japanese => format!(
            "「{name}」は空のファイル（0バイト）のため、受け取れません。元のファイルを開いて中身をお確かめください。"
        ),
        Language::English => {
            format!(
                "“{name}” is empty (0 bytes) and cannot be taken. Please open it and look whether it has its content."
            )
        }
    }
}

/// Why a file of a form was not taken, with its name where there is one.
pub(crate) fn not_taken(name: &str, why: &str, language: Language) -> String {
    match language {
        Language::Japanese => format!("「{name}」は受け取っていません：{why}"),
        Language::English => format!("“{name}” was not taken: {why}"),
    }
}

/// Why the rest of a form was not taken.
pub(crate) fn rest_not_taken(why: &str, language: Language) -> String {
    match language {
        Language::Japanese => format!("ここにないファイルは受け取っていません：{why}"),
        Language::English => format!("Files that are not listed here were not taken: {why}"),
    }
}

pub(crate) fn too_many_in_form(most: usize, language: Language) -> String {
    match language {
        Language::Japanese => format!("一度に送れるのは{most}件までです。残りはもう一度お送りください。"),
        Language::English => format!("{most} files can be sent at once. Please send the others afterwards."),
    }
}

pub(crate) fn bad_request(what: &str, language: Language) -> String {
    match language {
        Language::Japanese => {
            format!("送られた内容を読めません（{what}）。ファイルを選んだか、空でないかお確かめください。")
        }
        Language::English => {
            format!("What was sent cannot be read ({what}). Is a file chosen, and is it not empty?")
        }
    }
}

pub(crate) fn foreign(language: Language) -> String {
    say(language, "ほかのサイトから送ることはできません。", "This cannot be sent from another site.")
}

fn wrong_code(left: u8, language: Language) -> String {
    match language {
        Language::Japanese => format!("合言葉が違います。あと{left}回試せます。"),
        Language::English => format!("The code is wrong. {left} more tries."),
    }
}

pub(crate) fn what_this_is(place: &str, language: Language) -> String {
    match language {
        Language::Japanese => format!("{place}へファイルを送るページです。アカウントはいりません。"),
        Language::English => format!("Here you send files to {place}. No account is needed."),
    }
}

pub(crate) fn left(files: u32, bytes: u64, language: Language) -> String {
    let bytes = moment::size(bytes);
    match language {
        Language::Japanese => format!("{files}件、合計 {bytes}"),
        Language::English => format!("{files} files, {bytes} together"),
    }
}

/// Kinds in a list; any, if there are none.
pub(crate) fn groups(groups: &BTreeSet<Group>, language: Language) -> String {
    if groups.is_empty() {
        return say(language, "プログラム以外", "all but programs");
    }
    let names: Vec<&str> = groups.iter().map(|group| group.shown(language)).collect();
    names.join(language.pick("、", ", "))
}

pub(crate) fn nothing_more(is_good: bool, language: Language) -> String {
    if is_good {
        return for_senders(&Error::Files, language);
    }
    say(
        language,
        "期限が過ぎたため、新しいファイルは送れません。途中のファイルは続けられます。",
        "The time is over: nothing new is taken. What was begun may be finished.",
    )
}

pub(crate) fn without_script(most: u64, language: Language) -> String {
    let most = moment::size(most);
    match language {
        Language::Japanese => {
            format!(
                "スクリプトが使えないため、合計 {most} までのファイルを一度に送ります。途中で切れた場合は最初からになります。"
            )
        }
        Language::English => {
            format!("Without a script, up to {most} are sent at once, and from the beginning if cut.")
        }
    }
}

pub(crate) fn what_is_kept(language: Language) -> String {
    say(
        language,
        "会社名・お名前・送信元のアドレス・ファイル名と内容の照合値（SHA-256）・日時を記録します。",
        "Company, name, your address, names and checksums (SHA-256) of files, and times are recorded.",
    )
}

pub(crate) fn what_is_handed(place: &str, language: Language) -> String {
    match language {
        Language::Japanese => {
            format!("{place}からのファイルです。ボタンを押すと1回分を使ってダウンロードします。")
        }
        Language::English => {
            format!("A file from {place}. The button downloads it and uses one download up.")
        }
    }
}

pub(crate) fn what_is_kept_of_downloads(language: Language) -> String {
    say(language, "ダウンロードの日時と接続元のアドレスを記録します。", "Time and your address are recorded.")
}

// In rooms.

/// How commands are written.
pub(crate) fn help(language: Language, settings: &Settings) -> String {
    let most = moment::size(settings.most_bytes.as_u64().min(2_000_000_000)).replace(' ', "");
    match language {
        Language::Japanese => format!(
            "社外の人からファイルを受け取るURLを作ります。相手にアカウントはいりません。\n\n\
             !受取 工事写真 期限 7日 件数 10 上限 {most} 種類 画像,PDF 合言葉\n\n\
             ・最初に題名を書きます。相手のページに表示されます（部屋の名前は表示されません）。\n\
             ・期限：7日、12時間、2週間 など。上限：全部の合計で 500MB、1.5GB など。\n\
             ・種類：{}。中身で判断します。書かなければプログラム以外すべてです。\n\
             ・合言葉：8桁の数字を、あなたとの1対1の部屋に送ります。URLとは別の手段で相手に伝えてください。\n\
             ・催促：期限のこれだけ前までに何も届かなければ、ここでお知らせします（例：催促 1日）。\n\
             書かなかったものは決められた値になります。\n\n\
             !受取 一覧 … いま使えるURL\n\
             !受取 取消 3 … 3番を使えなくする\n\
             !渡し ヘルプ … 逆に、この部屋のファイルを社外に渡すとき\n\
             English: !receive help",
            Group::all(language)
        ),
        Language::English => format!(
            "Makes a link by which somebody outside sends files here, without an account.\n\n\
             !receive site photos expires 7d files 10 max {most} types pictures,pdf code\n\n\
             - First its title, which the page shows (the room's name is not shown).\n\
             - expires: 7d, 12h, 2w. max: of all files together, such as 500MB or 2GB.\n\
             - types: {}; the content decides. Without it: all but programs.\n\
             - code: eight digits are sent to you in a room of your own; tell them apart from the link.\n\
             - remind: you are told here if nothing came so long before the end (remind 1d).\n\
             What you leave out is as it was set up.\n\n\
             !receive list - the links that are good now\n\
             !receive cancel 3 - ends number 3\n\
             !handover help - the other way: a file of this room for somebody outside\n\
             日本語: !受取 ヘルプ",
            Group::all(language)
        ),
    }
}

/// Tells a link to its room.
pub(crate) fn made(made: &Made, url: &str) -> String {
    let link = &made.link;
    let (ends, groups) = (moment::written(link.ends, link.language), groups(&link.groups, link.language));
    let (files, bytes) = (link.most_files, moment::size(link.most_bytes));
    let code = match (made.code.is_some(), link.language) {
        (false, _) => "",
        (true, Language::Japanese) => {
            "\n合言葉は、あなたとの1対1の部屋に送りました。URLとは別の手段で伝えてください。"
        }
        (true, Language::English) => {
            "\nThe code was sent to you in a room of your own; tell it apart from the link."
        }
    };
    match link.language {
        Language::Japanese => format!(
            "受取URL {}番「{}」\n{url}\n期限 {ends}／{files}件・合計 {bytes} まで／{groups}{code}\n\
             届いたファイルはこの部屋に入ります。取消は「!受取 取消 {}」。",
            link.number, link.title, link.number
        ),
        Language::English => format!(
            "Link no. {} “{}”\n{url}\nUntil {ends}; {files} files, {bytes} together; {groups}{code}\n\
             What comes goes into this room. To end it: !receive cancel {}",
            link.number, link.title, link.number
        ),
    }
}

/// Tells a code to the maker of its link, in a room of their own.
pub(crate) fn code(link: &Link, code: &str) -> String {
    match link.language {
        Language::Japanese => format!(
            "受取URL {}番「{}」の合言葉：{code}\nURLとは別の手段（電話など）で相手に伝えてください。{PASSES}台の端末まで使えます。",
            link.number, link.title
        ),
        Language::English => format!(
            "Code of link no. {} “{}”: {code}\nTell it apart from the link, by telephone for instance. It is good for {PASSES} devices.",
            link.number, link.title
        ),
    }
}

/// The links of a room.
pub(crate) fn list(links: &[Link], language: Language) -> String {
    if links.is_empty() {
        return say(language, "いま使える受取URLはありません。", "No link is good now.");
    }
    let mut text = say(language, "いま使える受取URL", "Links that are good now");
    for link in links.iter().take(LISTED) {
        let Link { number, title, received, most_files, maker, .. } = link;
        let ends = moment::written(link.ends, language);
        let code = match (link.code.is_some(), link.is_locked()) {
            (_, true) => language.pick("／合言葉の間違いで停止中", "; locked after wrong codes"),
            (true, _) => language.pick("／合言葉あり", "; with a code"),
            (false, _) => "",
        };
        text.push_str(&match language {
            Language::Japanese => {
                format!("\n{number}番「{title}」 {ends} まで／{received}/{most_files}件{code}／{maker}")
            }
            Language::English => {
                format!("\nNo. {number} “{title}” until {ends}; {received}/{most_files} files{code}; {maker}")
            }
        });
    }
    text + &unlisted(links.len(), LISTED, language)
}

/// Why a link ended, for those in its room.
fn why_ended(why: Why, language: Language) -> &'static str {
    let (ja, en) = match why {
        Why::Cancelled => ("部屋での取消", "cancelled in the room"),
        Why::Untold => ("部屋に知らせられなかった", "the room could not be told of it"),
        Why::CodeUntold => ("合言葉を伝えられなかった", "its code could be told to nobody"),
        Why::PutOut => ("ボットが部屋から外された", "I was put out of the room"),
        Why::Encrypted => ("部屋の暗号化", "the room was encrypted"),
        Why::FileChanged => ("ファイルの差し替えか削除", "its file was changed or deleted"),
        Why::TakenBack => ("頼んだ人の取りやめか退室", "who asked took that back or left"),
        Why::Withdrawn => ("承認の取りやめ", "who agreed took that back"),
        Why::Unnoted => ("不明", "unknown"),
    };
    language.pick(ja, en)
}

/// Links that ended before their time lately, below a list of those that are good; nothing, if there are none.
pub(crate) fn ended_lately(ended: &[Ended], language: Language) -> String {
    if ended.is_empty() {
        return String::new();
    }
    let lately = moment::span(LATELY, language);
    let mut text = match language {
        Language::Japanese => format!("\n\n期限より前に終わったURL（この{lately}）"),
        Language::English => format!("\n\nEnded before their time in the last {lately}"),
    };
    for Ended { number, name, end } in ended.iter().take(LISTED_ENDED) {
        let (at, why) = (moment::written(end.at, language), why_ended(end.why, language));
        text.push_str(&match language {
            Language::Japanese => format!("\n{number}番「{name}」 {at}／{why}"),
            Language::English => format!("\nNo. {number} “{name}” {at}; {why}"),
        });
    }
    text + &unlisted(ended.len(), LISTED_ENDED, language)
}

/// How many a list leaves out.
fn unlisted(count: usize, listed: usize, language: Language) -> String {
    match (count.saturating_sub(listed), language) {
        (0, _) => String::new(),
        (more, Language::Japanese) => format!("\nほか {more}件"),
        (more, Language::English) => format!("\nand {more} more"),
    }
}

/// The language of links, and a list of them.
fn listed(closed: &Closed) -> (Language, String) {
    let language = closed.links.first().map(|link| link.language);
    let language = language.or_else(|| closed.hands.first().map(|hand| hand.language));
    let language = language.unwrap_or(Language::Japanese);
    let links = closed.links.iter().map(|link| match language {
        Language::Japanese => {
            format!("受取URL {}番「{}」（{}件 受取済み）", link.number, link.title, link.received)
        }
        Language::English => {
            format!("link no. {} “{}” ({} files came)", link.number, link.title, link.received)
        }
    });
    let hands = closed.hands.iter().map(|hand| match language {
        Language::Japanese => format!("渡しURL {}番「{}」", hand.number, hand.name),
        Language::English => format!("link to download by no. {} “{}”", hand.number, hand.name),
    });
    let all: Vec<String> = links.chain(hands).collect();
    let list = all.iter().take(LISTED).map(|line| format!("\n・{line}")).collect::<String>();
    (language, list + &unlisted(all.len(), LISTED, language))
}

/// Tells a maker that nothing can be put into the room of his links.
pub(crate) fn silent(closed: &Closed) -> String {
    let (language, list) = listed(closed);
    match language {
        Language::Japanese => format!(
            "ボットが部屋に投稿できなくなったため、次の受取URLは新しいファイルを受け付けていません。{list}\n\
             届いているファイルは保管しています。部屋の権限が戻るか、部屋が新しくなった場合は新しい部屋にボットを招待すると、\
             URLはそのまま使えるようになり、ファイルも入ります。"
        ),
        Language::English => format!(
            "I cannot post into the room of these links any more, so they take nothing new:{list}\n\
             What came is kept. They go on once I may post again, or, if the room was upgraded, once I am invited into the new one."
        ),
    }
}

/// Tells a new room that it has the links of the one before.
pub(crate) fn moved() -> String {
    "前の部屋の受取URLと渡しURLを、この部屋が引き継ぎました。届くファイルはこの部屋に入ります。番号は「!受取 一覧」「!渡し 一覧」で見られます。\n\
     The links of the room before are this room's now; `!receive list` and `!handover list` show them."
        .to_owned()
}

/// Tells a maker that his links of a room are closed since it is encrypted now.
pub(crate) fn encrypted_now(closed: &Closed) -> String {
    let (language, list) = listed(closed);
    match language {
        Language::Japanese => format!(
            "部屋が暗号化されたため、次のURLは使えなくなりました。{list}\n暗号化されていない部屋で作り直してください。"
        ),
        Language::English => format!(
            "The room is encrypted now, so these links are closed:{list}\nPlease make them anew in one that is not."
        ),
    }
}

/// Tells a maker that his links of a room are closed since the bot is not there any more.
pub(crate) fn put_out(closed: &Closed) -> String {
    let (language, list) = listed(closed);
    match language {
        Language::Japanese => format!(
            "ボットが部屋から外されたため、次のURLは使えなくなりました。{list}\n\
             まだ部屋に入っていないファイルは保管していて、ボットを部屋に招待し直すと入ります。"
        ),
        Language::English => format!(
            "I was put out of a room, so these links are closed:{list}\n\
             Files that are not in the room yet are kept; they come when I am invited again."
        ),
    }
}

pub(crate) fn revoked(link: &Link, language: Language) -> String {
    let Link { number, title, received, .. } = link;
    match language {
        Language::Japanese => {
            format!("受取URL {number}番「{title}」を取り消しました。それまでに {received}件 届いています。")
        }
        Language::English => format!("Link no. {number} “{title}” was ended. {received} files had come."),
    }
}

pub(crate) fn no_such_number(number: u32, language: Language) -> String {
    match language {
        Language::Japanese => {
            format!("{number}番の使えるURLはありません。「一覧」で確かめてください。")
        }
        Language::English => format!("No link of number {number} is good; `list` shows those that are."),
    }
}

pub(crate) fn may_not(language: Language) -> String {
    say(
        language,
        "この部屋でURLを作る・取り消す権限がありません。部屋の管理者にご相談ください。",
        "You may not make or end links in this room. Please ask its moderators.",
    )
}

pub(crate) fn too_many_links(language: Language) -> String {
    say(
        language,
        "受取URLの数が上限に達しています。使わないものを取り消してください。",
        "There are too many links. Please end those that are not needed.",
    )
}

pub(crate) fn too_many_links_of_room(most: usize, language: Language) -> String {
    match language {
        Language::Japanese => format!(
            "この部屋で使えるURLは{most}個までです。「一覧」で確かめ、使わないものを取り消してください。"
        ),
        Language::English => {
            format!(
                "A room has {most} links at most. Please end those that are not needed; `list` shows them."
            )
        }
    }
}

pub(crate) fn encrypted() -> String {
    "この部屋は暗号化されているため、受取URLの命令を読めません。暗号化されていない部屋に招待してください。\n\
     This room is encrypted: commands cannot be read here. Please invite me into one that is not."
        .to_owned()
}

/// Tells a room of a file that came.
pub(crate) fn came(link: &Link, upload: &Upload) -> String {
    let sha256 = match &upload.state {
        UploadState::Whole { sha256, .. } | UploadState::Sent { sha256, .. } => sha256.as_str(),
        UploadState::Receiving | UploadState::Refused { .. } => "",
    };
    let (sender, size) = (upload.sender.shown(), moment::size(upload.length));
    let (number, title, name) = (link.number, &link.title, &upload.name);
    let note = match (upload.sender.note.as_str(), link.language) {
        ("", _) => String::new(),
        (note, Language::Japanese) => format!("\nひとこと：{note}"),
        (note, Language::English) => format!("\nNote: {note}"),
    };
    match link.language {
        Language::Japanese => format!(
            "受取URL {number}番「{title}」に届きました：{name}（{size}）\n送った人（本人の申告）：{sender}{note}\nSHA-256 {sha256}"
        ),
        Language::English => format!(
            "Came over link no. {number} “{title}”: {name} ({size})\nFrom (as they say themselves): {sender}{note}\nSHA-256 {sha256}"
        ),
    }
}

/// Tells a room that a file cannot be put into it.
pub(crate) fn held(link: &Link, upload: &Upload, why: &str) -> String {
    let (number, title, name, size) = (link.number, &link.title, &upload.name, moment::size(upload.length));
    match link.language {
        Language::Japanese => format!(
            "受取URL {number}番「{title}」に {name}（{size}）が届きましたが、サーバーが受け付けません（{why}）。\
             ファイルは保管していて、1時間ごとに試します。管理者にご連絡ください。"
        ),
        Language::English => format!(
            "{name} ({size}) came over link no. {number} “{title}”, but the server does not take it ({why}). \
             It is kept and tried every hour. Please tell the administrators."
        ),
    }
}

/// Tells a maker of a file that came and that his room does not take now.
pub(crate) fn waits(link: &Link, upload: &Upload) -> String {
    let (number, title, name, size) = (link.number, &link.title, &upload.name, moment::size(upload.length));
    match link.language {
        Language::Japanese => format!(
            "受取URL {number}番「{title}」に {name}（{size}）が届きましたが、いまは部屋に入れられません（ボットが部屋にいないか投稿できない、部屋が暗号化された、\
             または新しい部屋に替わりました）。ファイルは保管していて、入れられるようになれば入ります。新しい部屋に替わったときは、そこにボットを招待してください。"
        ),
        Language::English => format!(
            "{name} ({size}) came over link no. {number} “{title}” and cannot be put into the room now: I am not there or may not post, or it was \
             encrypted or upgraded. It is kept and goes in as soon as it can; where the room was upgraded, please invite me into the new one."
        ),
    }
}

/// Tells that a code could be told to nobody, so that its link is ended.
pub(crate) fn code_untold(number: u32, title: &str, to: &UserId, kind: Coded, language: Language) -> String {
    match language {
        Language::Japanese => {
            let kind = kind.in_japanese();
            format!(
                "{to} さんを合言葉を伝える1対1の部屋に招待できなかったため、{kind} {number}番「{title}」は取り消しました。\
                 このボットからの招待を受け取れるように設定を変えてから、もう一度お試しください。"
            )
        }
        Language::English => {
            let kind = kind.in_english();
            format!(
                "I cannot invite {to} into a private room to tell the code, so {kind} no. {number} “{title}” is ended. \
                 Please allow invites of mine and try again."
            )
        }
    }
}

/// What a code is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Coded {
    Link,
    Hand,
}

impl Coded {
    fn in_japanese(self) -> &'static str {
        match self {
            Self::Link => "受取URL",
            Self::Hand => "渡しURL",
        }
    }

    fn in_english(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Hand => "link to download by",
        }
    }
}

/// Reminds the maker of a link.
pub(crate) fn remind(link: &Link) -> String {
    let Link { number, title, maker, .. } = link;
    let ends = moment::written(link.ends, link.language);
    match link.language {
        Language::Japanese => {
            format!(
                "{maker} さん、受取URL {number}番「{title}」にまだ何も届いていません。期限は {ends} です。"
            )
        }
        Language::English => {
            format!("{maker}: nothing came over link no. {number} “{title}” yet. It ends {ends}.")
        }
    }
}

/// Tells a room that a link's time is over.
pub(crate) fn expired(link: &Link) -> String {
    let Link { number, title, received, .. } = link;
    match link.language {
        Language::Japanese => {
            format!("受取URL {number}番「{title}」の期限が過ぎました。届いたファイルは {received}件 です。")
        }
        Language::English => {
            format!("The time of link no. {number} “{title}” is over. {received} files came.")
        }
    }
}
