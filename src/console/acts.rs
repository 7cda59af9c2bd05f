//! What can be done to an organisation by hand, as a form asks for it.

use std::collections::BTreeMap;

use pages::{Form, Markup, PageError, Visit, html};
use personnel::{Act, Why};

use crate::frame::field;

/// One thing that can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    MakeUnit,
    RenameUnit,
    MoveUnit,
    MergeUnits,
    SplitUnit,
    CloseUnit,
    Charge,
    Address,
    Away,
    Back,
    UseName,
    GiveAccount,
    MakeBody,
}

impl Deed {
    /// All, in the order in which they are shown.
    pub(crate) const ALL: [Self; 13] = [
        Self::MakeUnit,
        Self::RenameUnit,
        Self::MoveUnit,
        Self::MergeUnits,
        Self::SplitUnit,
        Self::CloseUnit,
        Self::Charge,
        Self::Address,
        Self::Away,
        Self::Back,
        Self::UseName,
        Self::GiveAccount,
        Self::MakeBody,
    ];

    /// Those that are of a part of the organisation: `personnel` refuses others there.
    pub(crate) const OF_A_PART: [Self; 5] =
        [Self::Charge, Self::Address, Self::Away, Self::Back, Self::UseName];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::MakeUnit => "make_unit",
            Self::RenameUnit => "rename_unit",
            Self::MoveUnit => "move_unit",
            Self::MergeUnits => "merge_units",
            Self::SplitUnit => "split_unit",
            Self::CloseUnit => "close_unit",
            Self::Charge => "charge",
            Self::Address => "address",
            Self::Away => "away",
            Self::Back => "back",
            Self::UseName => "use_name",
            Self::GiveAccount => "give_account",
            Self::MakeBody => "make_body",
        }
    }

    pub(crate) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|deed| deed.word() == word)
    }

    /// What people call it.
    pub(crate) fn name(self, visit: &Visit) -> &'static str {
        match self {
            Self::MakeUnit => visit.say("所属を新設", "A new unit"),
            Self::RenameUnit => visit.say("所属の名称変更", "Rename a unit"),
            Self::MoveUnit => visit.say("所属の移管", "Move a unit"),
            Self::MergeUnits => visit.say("所属の統合", "Merge units"),
            Self::SplitUnit => visit.say("所属の分割", "Split a unit"),
            Self::CloseUnit => visit.say("所属の廃止", "Close a unit"),
            Self::Charge => visit.say("担当業務（事務分掌）", "Who is responsible for what"),
            Self::Address => visit.say("宛先（代表アドレス）", "An address"),
            Self::Away => visit.say("休職・休業・出向", "Somebody is away"),
            Self::Back => visit.say("復職", "Somebody is back"),
            Self::UseName => visit.say("旧姓などの使用", "A name used at work"),
            Self::GiveAccount => visit.say("職員のアカウント", "Somebody's account"),
            Self::MakeBody => visit.say("機関を追加", "A new body"),
        }
    }

    /// The act that a form says.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn act(self, form: &Form) -> Result<Act, PageError> {
        let text = |name: &str| form.get(name).trim().to_owned();
        let some = |name: &str| Some(text(name)).filter(|text| !text.is_empty());
        Ok(match self {
            Self::MakeUnit => Act::MakeUnit {
                name: text("name"),
                code: some("code"),
                parent: some("parent"),
                body: some("body"),
            },
            Self::RenameUnit => Act::RenameUnit { unit: text("unit"), name: text("name") },
            Self::MoveUnit => Act::MoveUnit { unit: text("unit"), parent: some("parent") },
            Self::MergeUnits => {
                Act::MergeUnits { units: lines(form.get("units")), name: text("name"), code: some("code") }
            }
            Self::SplitUnit => Act::SplitUnit {
                unit: text("unit"),
                parts: lines(form.get("parts")),
                goes: goes(form.get("goes"))?,
            },
            Self::CloseUnit => Act::CloseUnit { unit: text("unit") },
            Self::Charge => Act::Charge {
                unit: text("unit"),
                title: some("title"),
                matters: form
                    .get("matters")
                    .split(['\n', '、', ','])
                    .map(|matter| matter.trim().to_owned())
                    .filter(|matter| !matter.is_empty())
                    .collect(),
            },
            Self::Address => Act::Address { name: text("name"), unit: some("unit"), title: some("title") },
            Self::Away => {
                let until = some("until").map(|day| day.parse()).transpose();
                let until = until.map_err(|_| {
                    PageError::bad_request("復帰する日を読み取れません。", "The day of the return is no day.")
                })?;
                let why = match form.get("why") {
                    "suspended" => Why::Suspended,
                    "leave" => Why::Leave,
                    "seconded" => Why::Seconded { to: text("to") },
                    _ => return Err(PageError::bad_request("事由を選んでください。", "Please say why.")),
                };
                Act::Away { person: text("person"), why, until }
            }
            Self::Back => Act::Back { person: text("person") },
            Self::UseName => Act::UseName { person: text("person"), name: some("name") },
            Self::GiveAccount => Act::GiveAccount { person: text("person"), account: text("account") },
            Self::MakeBody => Act::MakeBody { name: text("name") },
        })
    }

    /// The fields of it, with what was typed.
    pub(crate) fn fields(self, visit: &Visit, typed: &Form, several_bodies: bool) -> Markup {
        let say = |japanese, english| visit.say(japanese, english);
        let input = Input { visit, typed };
        let name = input.line("name", say("名称", "Name"), "", true);
        let code = input.line("code", say("所属コード（あれば）", "Code, if there is one"), "", false);
        let unit = input.unit("unit", say("所属", "Unit"), true);
        let parent = input.unit(
            "parent",
            say("上の所属（最上位のときは空欄）", "The unit above; none at the top"),
            false,
        );
        let person = input.line("person", say("職員番号またはアカウント", "Number or account"), "", true);
        match self {
            Self::MakeUnit => html! {
                (name) (parent)
                @if several_bodies { (input.body()) }
                (code)
            },
            Self::RenameUnit => {
                html! { (unit) (input.line("name", say("新しい名称", "The new name"), "", true)) }
            }
            Self::MoveUnit => html! { (unit) (parent) },
            Self::MergeUnits => html! {
                (input.lines("units", say("統合する所属（1行に一つ）", "Units that are merged, one in a line"), ""))
                (input.line("name", say("統合後の名称", "What it is called then"), "", true)) (code)
            },
            Self::SplitUnit => html! {
                (unit)
                (input.lines("parts", say("分割後の名称（1行に一つ）", "What the parts are called, one in a line"), ""))
                (input.lines(
                    "goes",
                    say("職員の行き先（1行に一人）", "Where everybody goes, one in a line"),
                    say("職員番号、空白、分割後の名称の順に書きます。例: 00012 防災係", "The number, a space, the part: 00012 Rescue"),
                ))
            },
            Self::CloseUnit => unit,
            Self::Charge => html! {
                (unit)
                (input.line("title", say("職名（特定の職のときだけ）", "Title, where it is a post"), "", false))
                (input.lines(
                    "matters",
                    say("担当業務（1行に一つ）", "What it is responsible for, one in a line"),
                    say("この言葉で職員を探せます。空欄にすると取り消します。", "People are found by these words; none takes back what was said."),
                ))
            },
            Self::Address => html! {
                (input.line(
                    "name",
                    say("宛先の名前", "The address"),
                    say(
                        "半角の英小文字・数字。bousai とすると、@bousai:… への招待が、その職の人に届きます。",
                        "Small letters and digits: with bousai, whoever has the post is reached by inviting @bousai:….",
                    ),
                    true,
                ))
                (input.unit("unit", say("届け先の所属（空欄にすると廃止）", "The unit that is reached; none ends it"), false))
                (input.line("title", say("職名（特定の職のときだけ）", "Title, where it is a post"), "", false))
            },
            Self::Away => html! {
                (person)
                (field("why", say("事由", "Why"), "", html! {
                    select id="why" name="why" {
                        @for (word, told) in [
                            ("suspended", say("休職", "Suspended")),
                            ("leave", say("育児・介護などの休業", "Leave")),
                            ("seconded", say("出向", "Seconded")),
                        ] { option value=(word) selected[typed.get("why") == word] { (told) } }
                    }
                }))
                (input.line("to", say("出向先（出向のとき）", "To whom, where seconded"), "", false))
                (field("until", say("復帰する日（分かっているとき）", "The day of the return, if known"), "", html! {
                    input id="until" name="until" type="date" value=[typed.find("until")];
                }))
            },
            Self::Back => person,
            Self::UseName => html! {
                (person)
                (input.line("name", say("職場で使う氏名", "The name used at work"), say(
                    "空欄にすると、戸籍の氏名に戻します。",
                    "None gives the legal name back.",
                ), false))
            },
            Self::GiveAccount => html! {
                (person)
                (input.line("account", say("アカウント", "Account"), say(
                    "ユーザー名。アカウントのない職員にだけ付けられます。",
                    "The user name, for somebody who has none yet.",
                ), true))
            },
            Self::MakeBody => name,
        }
    }
}

/// What an act is, in a few words, where it could not be tried.
pub(crate) fn named(visit: &Visit, act: &Act) -> String {
    let (deed, about) = match act {
        Act::MakeBody { name } => (Deed::MakeBody, name),
        Act::MakeUnit { name, .. } => (Deed::MakeUnit, name),
        Act::RenameUnit { unit, .. } => (Deed::RenameUnit, unit),
        Act::MoveUnit { unit, .. } => (Deed::MoveUnit, unit),
        Act::MergeUnits { name, .. } => (Deed::MergeUnits, name),
        Act::SplitUnit { unit, .. } => (Deed::SplitUnit, unit),
        Act::CloseUnit { unit } => (Deed::CloseUnit, unit),
        Act::Charge { unit, .. } => (Deed::Charge, unit),
        Act::Address { name, .. } => (Deed::Address, name),
        Act::Away { person, .. } => (Deed::Away, person),
        Act::Back { person } => (Deed::Back, person),
        Act::UseName { person, .. } => (Deed::UseName, person),
        Act::GiveAccount { person, .. } => (Deed::GiveAccount, person),
    };
    format!("{}: {about}", deed.name(visit))
}

/// Inputs with what was typed.
struct Input<'a> {
    visit: &'a Visit,
    typed: &'a Form,
}

impl Input<'_> {
    fn line(&self, name: &str, label: &str, remark: &str, required: bool) -> Markup {
        let described = (!remark.is_empty()).then(|| format!("{name}-remark"));
        field(
            name,
            label,
            remark,
            html! {
                input id=(name) name=(name) value=(self.typed.get(name)) maxlength="300" required[required]
                    aria-describedby=[described];
            },
        )
    }

    fn unit(&self, name: &str, label: &str, required: bool) -> Markup {
        let remark = self.visit.say(
            "名称か所属コード。同じ名称があるときは「総務部/庶務係」のように書きます。",
            "Name or code; where several are called so, with those above it: a department/a section.",
        );
        field(
            name,
            label,
            remark,
            html! {
                input id=(name) name=(name) value=(self.typed.get(name)) list="units" maxlength="1000" required[required]
                    aria-describedby={ (name) "-remark" };
            },
        )
    }

    fn body(&self) -> Markup {
        let label = self.visit.say("機関（最上位に置くとき）", "Body, where it is at the top");
        field(
            "body",
            label,
            "",
            html! {
                input id="body" name="body" value=(self.typed.get("body")) list="bodies" maxlength="300";
            },
        )
    }

    fn lines(&self, name: &str, label: &str, remark: &str) -> Markup {
        let described = (!remark.is_empty()).then(|| format!("{name}-remark"));
        field(
            name,
            label,
            remark,
            html! {
                textarea id=(name) name=(name) rows="6" aria-describedby=[described] { (self.typed.get(name)) }
            },
        )
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Who goes where: a person and a part in each line.
fn goes(text: &str) -> Result<BTreeMap<String, String>, PageError> {
    let mut goes = BTreeMap::new();
    for line in lines(text) {
        let both = line.split_once([' ', '\u{3000}', '\t', ',', '、']);
        let Some((person, part)) = both.map(|(person, part)| (person.trim(), part.trim())) else {
            return Err(PageError::bad_request(
                format!("「{line}」を読み取れません。職員番号、空白、分割後の名称の順に書いてください。"),
                format!("\"{line}\" cannot be read; please write the number, a space, and the part."),
            ));
        };
        goes.insert(person.to_owned(), part.to_owned());
    }
    Ok(goes)
}
