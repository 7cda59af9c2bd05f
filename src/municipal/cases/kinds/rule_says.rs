//! What a rule of rooms says: a personnel officer or an administrator asks, and two 全体管理者 agree who do not.
//!
//! A rule makes rooms, brings people into them and moderates them for a whole authority, so nobody writes one alone on pages. The
//! form has what offices need; levels of deeds, several kinds of rooms for a unit and rooms that no other server can be in are
//! written at the command line, and stay as they are where a rule that has them is changed here.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use duties::Duty;
use intake::Date;
use organisation::{Organisations, UNIT_NUMBER, calendar::day_of};
use rules::{History, Levels, Members, Moderators, Rule, RuleId, Rules, Template, Units, Wish as RuleWish};
use ruma::ServerName;

use crate::{
    field::{Field, FieldKind, Fields},
    kind::{Asked, Effect, It, Kind, KindError, Plan},
    kinds::{
        adoption::of_rules,
        rule_days::{MOST_AHEAD, MOST_CHOICES, may_ask, must_ask, said_of, shown, still_said, two_others},
    },
    people::Standing,
    words::{Told, words},
};

/// So long the wish waits.
const EXPIRES_IN: Duration = Duration::from_secs(30 * 86_400);

/// The word for a rule that is not there yet.
const NEW: &str = "new";

/// The keys of the rooms that a new rule makes.
const ROOM: &str = "main";
const SPACE: &str = "space";

/// Letters of a name or a pattern, and of several lines of them.
const LONGEST_NAME: usize = rules::limits::MAX_NAME;
const LONGEST_LINES: usize = 1_000;

/// What a rule of rooms says.
pub struct RuleSays {
    /// Rooms by rule.
    pub rules: Rules,
    /// Organisations, for the names of bodies.
    pub organisations: Organisations,
}

/// What is asked for: which rule, with what it said then, and what it is to say from when on.
struct Wish {
    rule: Option<(RuleId, String)>,
    from: Date,
}

impl Wish {
    fn of(fields: &Fields) -> Result<Self, KindError> {
        let unreadable = || {
            KindError::Refused(words!("規則か日付を読み取れません。", "The rule or the day cannot be read."))
        };
        let rule = match fields.get("rule") {
            NEW => None,
            said => {
                let (rule, said) = said.split_once('-').ok_or_else(unreadable)?;
                Some((RuleId(rule.parse().map_err(|_| unreadable())?), said.to_owned()))
            }
        };
        Ok(Self { rule, from: fields.day("from").ok_or_else(unreadable)? })
    }
}

impl RuleSays {
    /// The rule that is changed, as it is by now; nothing for a new one.
    async fn old(&self, authority: &ServerName, wish: &Wish) -> Result<Option<Rule>, KindError> {
        let Some((rule, said)) = &wish.rule else { return Ok(None) };
        let rules = shown(&self.rules, authority).await?.rules;
        let found = rules.into_iter().find(|shown| shown.id == *rule);
        Ok(Some(still_said(found, said)?.last().clone()))
    }

    /// The rule as it is to be.
    async fn wished(
        &self,
        authority: &ServerName,
        fields: &Fields,
        (old, day): (Option<&Rule>, Date),
    ) -> Result<RuleWish, KindError> {
        let lines = |word: &str| -> Vec<String> {
            let lines = fields.get(word).lines().map(str::trim).filter(|line| !line.is_empty());
            lines.map(str::to_owned).collect()
        };
        let depth = match old {
            Some(old) => old.units.depth,
            None => None,
        };
        let body = match (fields.get("body"), old.and_then(|old| old.units.body)) {
            ("", Some(body)) => {
                let known = self.organisations.load(authority).await;
                let known = known.map_err(|error| KindError::Failed(error.to_string()))?.organisation;
                known.bodies(day).find(|one| one.body == body).map(|one| one.name.clone())
            }
            ("", None) => None,
            (body, _) => Some(body.to_owned()),
        };
        Ok(RuleWish {
            title: fields.get("title").to_owned(),
            units: Units {
                body,
                below: fields.unit("below").map(|unit| format!("{UNIT_NUMBER}{}", unit.0)),
                depth,
                named: lines("named"),
            },
            members: match fields.get("members") {
                "below" => Members::Below,
                _ => Members::Unit,
            },
            moderators: Moderators {
                heads: fields.get("heads") != "no",
                titles: lines("titles"),
                ranks: old.map(|old| old.moderators.ranks.clone()).unwrap_or_default(),
            },
            hand_over_days: fields.get("hand_over_days").parse().unwrap_or_default(),
            rooms: rooms(fields, old),
        })
    }
}

/// The rooms: of a rule that is there its first room is changed, and the others stay.
fn rooms(fields: &Fields, old: Option<&Rule>) -> Vec<Template> {
    let some = |word: &str| Some(fields.get(word)).filter(|value| !value.is_empty()).map(str::to_owned);
    let new = |key: &str, space: bool, name: String| Template {
        key: key.to_owned(),
        space,
        name,
        topic: None,
        history: History::default(),
        label: None,
        levels: Levels::default(),
        federated: true,
    };
    let mut rooms = match old {
        Some(old) => old.rooms.clone(),
        None if fields.get("shape") == "both" => {
            vec![new(SPACE, true, "{unit}".to_owned()), new(ROOM, false, String::new())]
        }
        None => vec![new(ROOM, false, String::new())],
    };
    let first = rooms.iter().position(|room| !room.space).or(if rooms.is_empty() { None } else { Some(0) });
    if let Some(room) = first.and_then(|first| rooms.get_mut(first)) {
        room.name = fields.get("room").to_owned();
        room.topic = some("topic");
        room.label = some("label");
        room.history = match fields.get("history") {
            "joined" => History::Joined,
            _ => History::Shared,
        };
    }
    rooms
}

fn choice(all: [(&str, Told); 2]) -> FieldKind {
    FieldKind::Choice(all.into_iter().map(|(word, told)| (word.to_owned(), told)).collect())
}

#[async_trait]
impl Kind for RuleSays {
    fn word(&self) -> &'static str {
        "rule_says"
    }

    fn names(&self) -> Told {
        words!("ルームの規則の作成・変更", "what a rule of rooms says")
    }

    fn about(&self) -> Told {
        words!(
            "所属ごとにルームを作り、職員を入れる規則を、新しく作るか、書き換えます。申請できるのは人事担当と全体管理者で、申請者以外の全体管理者二人が承認します。",
            "A rule that makes rooms for units and brings people into them is made, or says something else. Personnel officers and administrators ask, and two administrators agree who did not."
        )
    }

    fn is_for(&self, standing: Standing, duties: &BTreeSet<Duty>) -> bool {
        may_ask(standing, duties)
    }

    fn page(&self, _fields: &Fields) -> Option<String> {
        Some("/_yakuba/console/rooms".to_owned())
    }

    async fn fields(&self, authority: &ServerName) -> Result<Vec<Field>, KindError> {
        let shown = shown(&self.rules, authority).await?;
        let mut rules = vec![(NEW.to_owned(), words!("新しい規則", "a new rule"))];
        for shown in shown.rules.iter().take(MOST_CHOICES) {
            let (RuleId(id), title) = (shown.id, &shown.last().title);
            rules.push((said_of(shown)?, words!("{id}: {title}", "{id}: {title}")));
        }
        let field = |word: &str, label: Told, remark: Told, kind: FieldKind, optional: bool| Field {
            word: word.to_owned(),
            label,
            remark,
            kind,
            optional,
        };
        let none = || words!("", "");
        let line = FieldKind::Text { most: LONGEST_NAME, lines: false };
        let many = FieldKind::Text { most: LONGEST_LINES, lines: true };
        Ok(vec![
            field("rule", words!("規則", "Rule"), none(), FieldKind::Choice(rules), false),
            field("title", words!("規則の名前", "Its title"), none(), line.clone(), false),
            field(
                "named",
                words!("対象の所属の名前", "Names of the units"),
                words!(
                    "一行に一つ。「*課」は「課」で終わる所属すべてです。空欄はすべての所属です。",
                    "One a line; \"*課\" is every unit whose name ends so. Left empty: all units."
                ),
                many.clone(),
                true,
            ),
            field(
                "below",
                words!("この所属の下だけ", "Below this unit alone"),
                words!("名前か所属コード。空欄は全体です。", "Its name or code; left empty: everywhere."),
                FieldKind::Unit,
                true,
            ),
            field(
                "body",
                words!("この機関だけ", "Of this body alone"),
                words!(
                    "首長部局、教育委員会など。空欄はすべて(変更のときはそのまま)です。",
                    "Left empty: all bodies, or as it was."
                ),
                line.clone(),
                true,
            ),
            field(
                "members",
                words!("ルームに入る人", "Who is in the rooms"),
                none(),
                choice([
                    ("unit", words!("その所属の職員", "who has a post in the unit")),
                    ("below", words!("その所属と下の所属の職員", "who has one in it or below it")),
                ]),
                false,
            ),
            field(
                "heads",
                words!("所属長をモデレーターにする", "Heads of units moderate"),
                none(),
                choice([("yes", words!("する", "yes")), ("no", words!("しない", "no"))]),
                false,
            ),
            field(
                "titles",
                words!("モデレーターになる職名", "Titles that moderate"),
                words!("一行に一つ。「*補佐」のようにも書けます。", "One a line, such as \"*補佐\"."),
                many,
                true,
            ),
            field(
                "hand_over_days",
                words!("異動後に読める日数", "Days of hand-over"),
                words!("異動した人が、この日数の間は読めます。", "Who has moved reads for so many days."),
                FieldKind::Number { least: 0, most: i64::from(rules::limits::MAX_HAND_OVER) },
                false,
            ),
            field(
                "shape",
                words!("作るもの(新しい規則だけ)", "What is made (of a new rule)"),
                none(),
                choice([
                    ("room", words!("ルーム", "a room")),
                    ("both", words!("スペースと、その中のルーム", "a space with a room in it")),
                ]),
                true,
            ),
            field(
                "room",
                words!("ルームの名前", "Name of the room"),
                words!(
                    "{{unit}} は所属の名前になります。例: {{unit}} 連絡",
                    "{{unit}} becomes the unit's name: {{unit}} 連絡"
                ),
                line.clone(),
                false,
            ),
            field("topic", words!("ルームの説明", "Topic of the room"), none(), line.clone(), true),
            field(
                "history",
                words!("後任に見える範囲", "What newcomers see"),
                none(),
                choice([
                    ("shared", words!("着任前の内容も見える", "all of it")),
                    ("joined", words!("着任後だけ", "what is said once they are in")),
                ]),
                false,
            ),
            field("label", words!("機密性などのラベル", "Label"), none(), line, true),
            field(
                "from",
                words!("いつから", "From"),
                none(),
                FieldKind::Date { most_ahead: MOST_AHEAD },
                false,
            ),
        ])
    }

    async fn plan(&self, asked: &Asked<'_>) -> Result<Plan, KindError> {
        must_ask(asked)?;
        let wish = Wish::of(asked.fields)?;
        let old = self.old(asked.authority, &wish).await?;
        let says = self.wished(asked.authority, asked.fields, (old.as_ref(), asked.day)).await?;
        let title = says.title.clone();
        let rule = wish.rule.as_ref().map(|(rule, _)| *rule);
        // What would not be done later is told now, and what would be done is what those agree to who decide.
        let told = self.rules.check_wish(asked.authority, rule, says, wish.from).await.map_err(of_rules)?;
        let (from, era) = (wish.from, wish.from.in_era());
        let (makes, joins, leaves) = (told.makes, told.joins, told.leaves);
        let (ja, en) = match rule {
            Some(_) => ("変更", "says something else"),
            None => ("作成", "is made"),
        };
        Ok(Plan {
            title: words!(
                "規則「{title}」を{era}から{ja}(ルームの作成 {makes}、参加 {joins}、退出 {leaves})",
                "the rule “{title}” {en} from {from} on ({makes} rooms made, {joins} come in, {leaves} leave)"
            ),
            subjects: Vec::new(),
            steps: two_others(),
            expires_in: EXPIRES_IN,
            until: None,
        })
    }

    async fn carry_out(&self, it: It<'_>) -> Result<Effect, KindError> {
        let fields = Fields::of(&it.case.fields);
        let wish = Wish::of(&fields)?;
        let today = day_of(it.now).ok_or_else(|| {
            KindError::Refused(words!("時計の日付を読めません。", "The clock shows no day."))
        })?;
        let old = self.old(it.authority, &wish).await?;
        let says = self.wished(it.authority, &fields, (old.as_ref(), today)).await?;
        let (rule, from) = (wish.rule.map(|(rule, _)| rule), wish.from.max(today));
        let case = it.id.0.to_string();
        let batch = self.rules.batch_of_wish(it.authority, (rule, says, from), it.by, ("case", &case)).await;
        Ok(Effect::Written(Box::new(batch.map_err(of_rules)?)))
    }
}
