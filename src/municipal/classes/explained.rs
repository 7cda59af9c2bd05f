//! What somebody may, in words, with the reason of each: for himself, and for whoever is asked why.

use organisation::Told;
use room::{FactorRule, Gives, Zone};
use ruma::UserId;
use serde::{Deserialize, Serialize};

use crate::{
    classes::Classes,
    policy::{factor_rule, is_let_in},
    rights::{GivesFiles, MakesRooms, NeedsFactor, Rights},
};

/// Of whom and where it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Of whom.
    pub user: &'a UserId,
    /// In which zone, by its name; none where none is known.
    pub zone: Option<&'a str>,
    /// Whether the settings of his authority demand a factor of him, whatever his class.
    pub needs_factor: bool,
}

/// What somebody may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// His class, if the organisation says one of which something is said.
    pub class: Option<Told>,
    /// The zone in which it is asked.
    pub zone: Option<String>,
    /// One thing each.
    pub lines: Vec<Line>,
    /// What the class says of files, until it is said together with the zone ([`Explained::with_files`]), which may be by whoever
    /// has asked the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files: Option<OfFiles>,
}

/// What a class says of the form of files, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OfFiles {
    gives: GivesFiles,
    why: Told,
}

/// One thing that somebody may, or may not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What.
    pub what: Told,
    /// How far he may.
    pub may: Told,
    /// Whether that is less than everybody may of whom nothing is said.
    pub is_bounded: bool,
    /// Why.
    pub why: Told,
}

fn told(ja: impl Into<String>, en: impl Into<String>) -> Told {
    Told { ja: ja.into(), en: en.into() }
}

/// Nothing is said.
fn nothing_said() -> Told {
    told("制限する設定はありません", "nothing bounds it")
}

impl Classes {
    /// What somebody may in a zone, as it is now.
    #[must_use]
    pub fn explain(&self, asked: &Asked<'_>) -> Explained {
        let found = self.of(asked.user);
        let class = found.as_ref().map(|(class, _)| Told::from(class.words()));
        let rights = found.map(|(_, rights)| rights).unwrap_or_default();
        let why = match &class {
            Some(class) => told(
                format!("任用区分「{}」の設定", class.ja),
                format!("what is set for the class \"{}\"", class.en),
            ),
            None => nothing_said(),
        };
        let lines = vec![
            signing_in(&rights, asked.zone, &why),
            factor(&rights, asked, &why),
            devices(&rights, &why),
            rooms(&rights, &why),
            yes_or_no(("ルームの一覧への掲載", "Listing rooms"), rights.publishes_rooms, &why),
            yes_or_no(
                ("庁外の方の招待", "Inviting people of other authorities"),
                rights.invites_outside,
                &why,
            ),
            yes_or_no(("ファイルの送信", "Sending files"), rights.uploads, &why),
            history(&rights, &why),
        ];
        let files = OfFiles { gives: rights.gives_files, why };
        Explained { class, zone: asked.zone.map(str::to_owned), lines, files: Some(files) }
    }
}

impl Explained {
    /// With the form in which he is given files in a zone: the narrower of what the zone gives whoever asks, and his class.
    #[must_use]
    pub fn with_files(mut self, zone: Option<&Zone>) -> Self {
        let gives = zone.map_or(Gives::Originals, Zone::gives);
        let may = match gives {
            Gives::Originals => told("元のファイル", "as they were sent"),
            Gives::Scanned => told("検査で問題がなかったもの", "those in which a scanner found nothing"),
            Gives::Sanitised => told("無害化したもの", "sanitised"),
        };
        let why = match zone {
            Some(zone) => told(
                format!("ネットワーク区域「{}」の設定", zone.name()),
                format!("what is set for the zone \"{}\"", zone.name()),
            ),
            None => nothing_said(),
        };
        let is_bounded = gives != Gives::Originals;
        let (may, is_bounded, why) = match self.files.take() {
            Some(OfFiles { gives: GivesFiles::Nothing, why }) => (told("できません", "no"), true, why),
            Some(OfFiles { gives: GivesFiles::Sanitised, why }) if gives != Gives::Sanitised => {
                (told("無害化したもの", "sanitised"), true, why)
            }
            _ => (may, is_bounded, why),
        };
        let what = told("ファイルの受信", "Getting files");
        self.lines.push(Line { what, may, is_bounded, why });
        self
    }
}

/// A line of which the reason is the class's where that bounds it.
fn line(what: Told, may: Told, is_bounded: bool, why: &Told) -> Line {
    Line { what, may, is_bounded, why: if is_bounded { why.clone() } else { nothing_said() } }
}

fn yes_or_no((ja, en): (&str, &str), may: bool, why: &Told) -> Line {
    let said = if may { told("できます", "yes") } else { told("できません", "no") };
    line(told(ja, en), said, !may, why)
}

/// Names of zones for people.
fn listed<'a>(zones: impl IntoIterator<Item = &'a String>) -> (String, String) {
    let all: Vec<&str> = zones.into_iter().map(String::as_str).collect();
    match all.is_empty() {
        true => ("なし".to_owned(), "none".to_owned()),
        false => (all.join("、"), all.join(", ")),
    }
}

fn signing_in(rights: &Rights, zone: Option<&str>, why: &Told) -> Line {
    let what = told("このネットワークでのサインインと利用", "Signing in and use from this network");
    let Some(zones) = &rights.signs_in_from else {
        return line(what, told("できます", "yes"), false, why);
    };
    let (ja, en) = listed(zones);
    let may = if is_let_in(rights, zone) { ("できます", "yes") } else { ("できません", "no") };
    let may = told(
        format!("{}（利用できるネットワーク区域：{ja}）", may.0),
        format!("{} (zones from which it is: {en})", may.1),
    );
    line(what, may, true, why)
}

fn factor(rights: &Rights, asked: &Asked<'_>, why: &Told) -> Line {
    let what = told("二要素認証", "A second factor");
    if let NeedsFactor::Yes { but_from } = &rights.needs_factor {
        let may = match (factor_rule(rights, asked.zone), asked.needs_factor) {
            (FactorRule::Free, false) => told("このネットワークでは不要", "not needed from this network"),
            (FactorRule::Free | FactorRule::Needed, _) => told("必要", "needed"),
            (FactorRule::NeededAlready, _) => {
                let (ja, en) = listed(but_from);
                told(
                    format!("必要（最初の設定は次のネットワーク区域から：{ja}）"),
                    format!("needed (the first one is set up from these zones: {en})"),
                )
            }
        };
        return line(what, may, true, why);
    }
    match asked.needs_factor {
        true => Line {
            what,
            may: told("必要", "needed"),
            is_bounded: true,
            why: told("機関の設定", "what is set for the authority"),
        },
        false => line(what, told("設定した方だけ", "of those alone who have set one up"), false, why),
    }
}

fn devices(rights: &Rights, why: &Told) -> Line {
    let what = told("サインインできる端末（アプリ）の数", "Devices (apps) at once");
    match rights.devices {
        Some(most) => line(what, told(format!("{most} 台まで"), format!("at most {most}")), true, why),
        None => line(what, told("制限なし", "as many as wished"), false, why),
    }
}

fn history(rights: &Rights, why: &Told) -> Line {
    let what = told("過去のメッセージの閲覧", "Reading what was said before");
    match rights.reads_back {
        Some(days) => {
            line(what, told(format!("{days} 日前まで"), format!("as far as {days} days back")), true, why)
        }
        None => line(what, told("期間の制限なし", "however long ago"), false, why),
    }
}

fn rooms(rights: &Rights, why: &Told) -> Line {
    let what = told("ルームの作成", "Making rooms");
    match rights.makes_rooms {
        MakesRooms::All => yes_or_no(("ルームの作成", "Making rooms"), true, why),
        MakesRooms::Direct => {
            line(what, told("1対1のチャットだけ", "for talking with one person alone"), true, why)
        }
        MakesRooms::None => yes_or_no(("ルームの作成", "Making rooms"), false, why),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_in_the_narrower_form_of_class_and_zone_also_by_whoever_has_asked_the_server() {
        let zones = [None, Some(Gives::Originals), Some(Gives::Scanned), Some(Gives::Sanitised)];
        for (gives, forms) in [
            (GivesFiles::OfZone, ["as they were", "as they were", "those in which", "sanitised"]),
            (GivesFiles::Sanitised, ["sanitised"; 4]),
            (GivesFiles::Nothing, ["no"; 4]),
        ] {
            for (zone, form) in zones.into_iter().zip(forms) {
                let files = Some(OfFiles { gives, why: told("任用区分", "the class") });
                let asked = Explained { class: None, zone: None, lines: Vec::new(), files };
                let sent = serde_json::to_string(&asked).unwrap();
                let got: Explained = serde_json::from_str(&sent).unwrap();
                let zone = zone.map(|gives| Zone::new("lgwan", gives));
                let told = got.with_files(zone.as_ref());
                let line = told.lines.last().unwrap();
                assert!(line.may.en.starts_with(form), "{gives:?} {zone:?}: {line:?}");
                let of_zone = zone.as_ref().map_or(Gives::Originals, Zone::gives);
                let is_by_class = gives == GivesFiles::Nothing
                    || (gives == GivesFiles::Sanitised && of_zone != Gives::Sanitised);
                assert_eq!(line.why.en == "the class", is_by_class, "{gives:?} {zone:?}: {line:?}");
                assert_eq!(line.is_bounded, form != "as they were");
            }
        }
    }
}
