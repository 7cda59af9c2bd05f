//! What was removed from files, and why files are refused.
//!
//! Every reason has a code for programs, and a sentence in Japanese and in English for people.

use serde::{Deserialize, Serialize};

/// Something that was taken out or changed, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// What it was.
    pub what: Part,
    /// Where it was: a part's or an entry's name, or how often; may be empty.
    pub place: String,
}

/// Why nothing of a file is given on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The reason, for whoever sent the file.
    pub reason: Reason,
    /// For the log: which entry, which bound, what the decoder said.
    pub detail: String,
}

/// Time and place of a photograph, as its EXIF data tell them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Photo {
    /// Local time of the camera, `2026-11-28T05:49:33`, with its offset (`+09:00`) where that is told.
    pub taken: Option<String>,
    /// Degrees north.
    pub latitude: Option<f64>,
    /// Degrees east.
    pub longitude: Option<f64>,
}

/// What a handler of one type makes of a file.
pub(crate) type Made = Result<Parts, Refusal>;

/// What a handler of one type found: new bytes (none: as it is), what was removed, what a photograph told.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) bytes: Option<Vec<u8>>,
    /// Whether they are a PNG, whatever the old ones were.
    pub(crate) is_png: bool,
    pub(crate) removed: Vec<Removed>,
    pub(crate) photo: Option<Photo>,
}

impl Parts {
    /// A file that is fine as it is.
    pub(crate) fn as_is() -> Self {
        Self::default()
    }

    /// A file that was written anew.
    pub(crate) fn rebuilt(bytes: Vec<u8>, removed: Vec<Removed>) -> Self {
        Self { bytes: Some(bytes), removed, ..Self::default() }
    }
}

/// Notes that something was removed; the same from the same place is noted once, and at most [`MOST_NOTES`] are kept.
pub(crate) fn note(removed: &mut Vec<Removed>, what: Part, place: impl Into<String>) {
    let mut place: String = place.into();
    if place.chars().count() > LONGEST_PLACE {
        place = place.chars().take(LONGEST_PLACE).collect();
    }
    let new = Removed { what, place };
    // A file may hold something for each of a million cells.
    if removed.len() < MOST_NOTES && !removed.contains(&new) {
        removed.push(new);
    }
}

/// Most notes of one file.
const MOST_NOTES: usize = 500;

/// Longest name of a place, in letters.
const LONGEST_PLACE: usize = 200;

impl Refusal {
    pub(crate) fn new(reason: Reason, detail: impl ToString) -> Self {
        Self { reason, detail: detail.to_string() }
    }

    /// Of the file that is inside another.
    pub(crate) fn inside(self, place: &str) -> Self {
        Self { detail: format!("{place}: {}", self.detail), ..self }
    }
}

/// A closure for `map_err`: the file is broken, and this is what the decoder said.
pub(crate) fn malformed(cause: impl ToString) -> Refusal {
    Refusal::new(Reason::Malformed, cause)
}

/// An enum whose variants have a code and sentences in two languages.
macro_rules! sentences {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident: $code:literal, $ja:literal, $en:literal;)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// For programs.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// For people, in Japanese.
            pub fn ja(self) -> &'static str {
                match self { $(Self::$variant => $ja,)* }
            }

            /// For people, in English.
            pub fn en(self) -> &'static str {
                match self { $(Self::$variant => $en,)* }
            }
        }
    };
}

sentences! {
    /// What was taken out of a file, or changed in it.
    Part {
        /// EXIF, XMP, IPTC and comments.
        Metadata: "metadata", "撮影情報などの付加情報を除きました。", "Metadata was removed.";
        /// Notes in a document that are neither shown nor printed.
        Hidden: "hidden", "表示も印刷もされない注釈を除きました。", "Annotations that are neither shown nor printed were removed.";
        /// Bytes after the end of the picture.
        TrailingData: "trailing-data", "画像の末尾に付いていたデータを除きました。", "Data after the end of the picture was removed.";
        /// Another colour space became sRGB.
        ColourProfile: "colour-profile", "色の情報を標準（sRGB）に変換しました。", "Colours were converted to sRGB.";
        /// All frames but the first.
        Animation: "animation", "動きのある画像を静止画にしました。", "An animation became a still picture.";
        /// A drawing in a format that cannot be checked.
        Drawing: "drawing", "確かめられない形式の図を、代わりの画像に置き換えました。", "A drawing that cannot be checked was replaced by a placeholder.";
        /// VBA and its like.
        Macro: "macro", "マクロを除きました。", "Macros were removed.";
        /// JavaScript and scripts of other kinds.
        Script: "script", "スクリプトを除きました。", "Scripts were removed.";
        /// What starts when a file is opened or a page is shown.
        Action: "action", "自動で動く処理や、ほかのプログラム・ファイルを開く処理を除きました。", "Actions that start by themselves or open programs or files were removed.";
        /// Files inside the file.
        EmbeddedFile: "embedded-file", "埋め込まれたファイルを除きました。", "Embedded files were removed.";
        /// OLE objects and packages.
        Ole: "ole", "埋め込みオブジェクト（OLE）を除きました。", "OLE objects were removed.";
        /// ActiveX and form controls that run code.
        ActiveX: "activex", "ActiveX などのコントロールを除きました。", "ActiveX and other controls were removed.";
        /// Sound, film, 3D.
        Media: "media", "音声・動画・3D を除きました。", "Sound, film or 3D was removed.";
        /// XFA.
        Form: "form", "動的なフォーム（XFA）を除きました。", "A dynamic form (XFA) was removed.";
        /// Signatures do not survive a rebuilt file.
        Signature: "signature", "電子署名は、作り直したファイルでは無効になるため除きました。", "Signatures do not survive rebuilding and were removed.";
        /// A template that is loaded from elsewhere.
        ExternalTemplate: "external-template", "外部のテンプレートへの参照を除きました。", "A reference to an external template was removed.";
        /// Data or pictures that are loaded from elsewhere.
        ExternalData: "external-data", "外部のデータや画像を読み込む参照を除きました。", "References that load data or pictures from elsewhere were removed.";
        /// A link to a place that is not allowed.
        Link: "link", "許可されていないリンクを除きました。", "Links that are not allowed were removed.";
        /// A field that runs or loads something.
        Field: "field", "外部を呼び出すフィールド（DDE など）を除きました。", "Fields that call other programs or files (DDE and the like) were removed.";
        /// A formula that calls out.
        Formula: "formula", "外部を呼び出す数式を値に置き換えました。", "Formulas that call outwards were replaced by their values.";
        /// Custom XML parts.
        CustomXml: "custom-xml", "独自の XML データを除きました。", "Custom XML was removed.";
        /// A part whose type is not on the list.
        UnknownPart: "unknown-part", "許可されていない部品を除きました。", "Parts that are not on the list were removed.";
        /// Embedded fonts.
        Font: "font", "埋め込まれたフォントを除きました。", "Embedded fonts were removed.";
        /// A cell of a CSV file that Excel would compute.
        FormulaCell: "formula-cell", "数式として動くセルの先頭に「'」を付けました。", "Cells that would run as formulas got a leading apostrophe.";
        /// What is written in HTML of something that says the same in letters.
        Page: "page", "HTML で書かれた部分を除きました。", "A part written in HTML was removed.";
        /// Marks of a page within prose.
        Markup: "markup", "HTML の記号として読まれる「<」の後に空白を入れました。", "A blank was put behind each < that would be read as markup.";
        /// An entry of an archive that was refused.
        Entry: "entry", "無害化できないファイルを書庫から除きました。", "A file that cannot be sanitised was left out of the archive.";
        /// A file that an operating system left behind.
        SystemFile: "system-file", "OS が作った管理用ファイルを除きました。", "Files that operating systems leave behind were removed.";
        /// An object of a drawing that embeds or refers to something.
        CadObject: "cad-object", "図面に埋め込まれたオブジェクトや外部参照を除きました。", "Embedded objects or external references of a drawing were removed.";
    }
}

sentences! {
    /// Why nothing of a file is given on.
    Reason {
        /// Nothing that is known.
        Unknown: "unknown", "種類を確かめられないファイルのため、お渡しできません。", "The type of this file could not be made out.";
        /// Two types fit.
        TwoTypes: "two-types", "二つの種類に読めるファイルのため、お渡しできません。", "This file can be read as two different types.";
        /// A known type that is not on the list.
        NotAllowed: "not-allowed", "許可されていない種類のファイルです。", "Files of this type are not allowed.";
        /// A program, a script, or a name by which one is run.
        Program: "program", "プログラムやスクリプト（名前の終わりが .exe や .bat などのものも）は受け取れません。文書は PDF にしてお送りください。", "Programs and scripts, also by the end of their names (.exe, .bat and the like), are not accepted. Please send documents as PDF.";
        /// HTML and other pages that run.
        Page: "page", "HTML などのページは受け取れません。PDF にしてお送りください。", "Pages such as HTML are not accepted. Please send a PDF.";
        /// SVG.
        Svg: "svg", "SVG は受け取れません。PNG か PDF にしてお送りください。", "SVG is not accepted. Please send PNG or PDF.";
        /// AVIF, and HEIC of which no JPEG can be made.
        Heic: "heic", "この HEIC・AVIF の写真は変換できません。iPhone では「設定」→「カメラ」→「フォーマット」を「互換性優先」にして撮るか、JPEG に変換してお送りください。", "This HEIC or AVIF photograph cannot be converted. On an iPhone choose Settings, Camera, Formats, Most Compatible, or send JPEG.";
        /// Sound and film.
        Film: "film", "音声・動画は無害化できません。", "Sound and film cannot be sanitised.";
        /// Legacy Office with macros.
        LegacyMacro: "legacy-macro", "旧形式の Office 文書で、マクロを含みます。新しい形式（.docx、.xlsx、.pptx）で保存し直してください。", "A legacy Office document with macros. Please save it anew as .docx, .xlsx or .pptx.";
        /// Legacy Office in which no macro was seen.
        Legacy: "legacy", "旧形式の文書は無害化できません。新しい形式（.docx、.xlsx、.pptx）で保存し直してください。", "Legacy documents cannot be sanitised. Please save it anew as .docx, .xlsx or .pptx.";
        /// A drawing or document whose inside cannot be checked, and that no setting lets through.
        Unchecked: "unchecked", "中身を確かめられない形式（DWG、DocuWorks、一太郎など）です。PDF か DXF にしてお送りください。", "The inside of this format (DWG, DocuWorks, Ichitaro and the like) cannot be checked. Please send PDF or DXF.";
        /// Other archives than ZIP.
        Archive: "archive", "ZIP 以外の書庫は受け取れません。", "Archives other than ZIP are not accepted.";
        /// What Outlook wraps a mail's attachments in for others of its kind.
        Winmail: "winmail", "Outlook 独自の形式（winmail.dat）のため、中の添付ファイルを取り出せません。テキスト形式か HTML 形式のメールで送り直すよう、送信者にご依頼ください。", "This is Outlook's own wrapping (winmail.dat), from which attachments cannot be taken. Please ask the sender to send the mail again as plain text or HTML.";
        /// What an event gives the key to.
        Ciphertext: "ciphertext", "暗号化された添付ファイルは、中身を確かめられないためお渡しできません。暗号化していないルームでお送りください。", "An encrypted attachment cannot be looked into. Please send it in a room without encryption.";
        /// A password is asked for.
        Encrypted: "encrypted", "パスワードが掛かっているため、無害化できません。パスワードを外してお送りください。", "This file has a password and cannot be sanitised. Please remove the password.";
        /// Broken.
        Malformed: "malformed", "ファイルが壊れているか、形式に合っていません。", "The file is broken or does not keep to its format.";
        /// The file is too large.
        TooLarge: "too-large", "ファイルが大きすぎて無害化できません。", "The file is too large to be sanitised.";
        /// Too many pixels or frames.
        TooManyPixels: "too-many-pixels", "画像の画素数が多すぎます。", "The picture has too many pixels.";
        /// Expands too much.
        Expansion: "expansion", "展開すると大きくなりすぎるファイルです。", "The file grows too large when unpacked.";
        /// What is drawn for a page would keep a reader busy without end.
        TooMuchDrawn: "too-much-drawn", "描かれる図形や画像が多すぎて、開くと固まるおそれがある PDF です。ページを分けるか、画像にしてお送りください。", "So much is drawn on a page of this PDF that readers may hang. Please divide it, or make it a picture.";
        /// Too many entries.
        TooManyEntries: "too-many-entries", "書庫に入っているファイルが多すぎます。", "There are too many files in the archive.";
        /// Archives in archives, elements in elements.
        TooDeep: "too-deep", "入れ子が深すぎます。", "The nesting is too deep.";
        /// A path that leads out of the archive.
        UnsafeName: "unsafe-name", "書庫の中に、危険な名前のファイルがあります。", "The archive holds a file with a dangerous name.";
        /// Two entries of one name.
        DuplicateName: "duplicate-name", "書庫の中に、同じ名前のファイルが二つあります。", "The archive holds two files of one name.";
        /// Entries that share bytes.
        Overlap: "overlap", "書庫の中のファイルが重なり合っています。", "Files in the archive overlap.";
        /// A DTD or an entity.
        XmlEntity: "xml-entity", "XML に禁止された定義（DTD・実体）があります。", "The XML holds forbidden definitions (DTD, entities).";
        /// It took too long.
        TooSlow: "too-slow", "無害化に時間がかかりすぎたため、中止しました。", "Sanitising took too long and was given up.";
        /// The worker ended before it answered: out of memory, or worse.
        WorkerDied: "worker-died", "無害化の処理が途中で止まりました（メモリ不足など）。", "Sanitising broke off, for instance for want of memory.";
        /// All workers have work, and enough files wait. Nothing is wrong with the file: it may be sent again.
        Busy: "busy", "無害化の処理が混み合っています。しばらくしてからもう一度お送りください。", "Sanitising is busy. Please try again later.";
        /// A scanner found something.
        Infected: "infected", "ウイルスが見つかったため、お渡しできません。", "A virus was found.";
        /// A scanner looks at nothing so large.
        TooLargeToScan: "too-large-to-scan", "ウイルス検査ができる大きさを超えているため、お渡しできません。分けるか、小さくしてお送りください。", "This file is larger than can be scanned for viruses. Please divide it or make it smaller.";
        /// A scanner could not look at it.
        NotScanned: "not-scanned", "ウイルス検査ができなかったため、お渡しできません。", "The file could not be scanned for viruses.";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_code_and_both_languages() {
        let japanese = |text: &str| text.chars().any(|letter| ('ぁ'..='ヶ').contains(&letter));
        for part in Part::ALL {
            assert!(japanese(part.ja()) && part.en().is_ascii(), "{part:?}");
        }
        for reason in Reason::ALL {
            assert!(japanese(reason.ja()) && reason.en().is_ascii(), "{reason:?}");
        }
        let codes: HashSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
    }

    #[test]
    fn notes_are_bounded_and_kept_once() {
        let mut removed = Vec::new();
        note(&mut removed, Part::Link, "a");
        note(&mut removed, Part::Link, "a");
        assert_eq!(removed.len(), 1);
        (0..2 * MOST_NOTES).for_each(|i| note(&mut removed, Part::Link, i.to_string()));
        assert_eq!(removed.len(), MOST_NOTES);
    }
}
