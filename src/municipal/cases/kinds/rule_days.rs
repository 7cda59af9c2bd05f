//! From and until when a rule of rooms holds: a personnel officer or an administrator asks, and two 全体管理者 agree.
//!
//! A rule makes rooms, brings people into them and closes them, for a whole authority at once: so nobody does that alone. What a
//! rule says is written at the command line; here it is said when it holds, as it says it last.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use duties::Duty;
use intake::Date;
use organisation::calendar::day_of;
use rules::{Answer as RulesAnswer, Days, Order as RulesOrder, Rule, RuleId, Rules, Shown, ShownRule};
use ruma::ServerName;
use sha2::{Digest, Sha256};

use crate::{
    case::Step,
    case::Who,
    field::{Field, FieldKind, Fields},
    kind::{Asked, Effect, It, Kind, KindError, Plan},
    kinds::adoption::of_rules,
    people::Standing,
    words::{Told, words},
};

/// So long the wish waits.
const EXPIRES_IN: Duration = Duration::from_secs(30 * 86_400);

/// Days ahead of which something can be said.
pub(crate) const MOST_AHEAD: u64 = 1_100;

/// Rules that can be chosen from: as many as there are at most.
pub(crate) const MOST_CHOICES: usize = rules::limits::MAX_RULES;

/// From and until when a rule of rooms holds.
pub struct RuleDays {
    /// Rooms by rule.
    pub rules: Rules,
}

/// What is asked for.
struct Wish {
    rule: RuleId,
    /// What it said when that was asked for ([`said_of`]).
    said: String,
    ends: bool,
    from: Date,
    /// The last day.
    through: Option<Date>,
}

impl Wish {
    fn of(fields: &Fields) -> Result<Self, KindError> {
        let rule = fields.get("rule").split_once('-');
        let rule = rule.and_then(|(rule, said)| Some((RuleId(rule.parse().ok()?), said.to_owned())));
        let ((rule, said), from) = rule.zip(fields.day("from")).ok_or_else(|| {
            KindError::Refused(words!("規則か日付を読み取れません。", "The rule or the day cannot be read."))
        })?;
        let wish =
            Self { rule, said, ends: fields.get("what") == "end", from, through: fields.day("through") };
        match wish.through {
            Some(_) if wish.ends => Err(KindError::Refused(words!(
                "終了するときは、最後の日を空欄にしてください。",
                "A rule that ends has no last day besides; please leave that empty."
            ))),
            Some(through) if through < wish.from => Err(KindError::Refused(words!(
                "最後の日が始まりの日より前です。",
                "The rule would end before the day on which it begins."
            ))),
            _ => Ok(wish),
        }
    }

    /// The days as the rules have them, of a day on which it is done: what is past stays as it was.
    fn days(&self, today: Date) -> Result<Days, KindError> {
        let past =
            || KindError::Refused(words!("その期間はもう過ぎています。", "Those days are past already."));
        let from = self.from.max(today);
        if self.ends {
            return Ok(Days::Ends { from });
        }
        let until = match self.through {
            Some(through) if through < today => return Err(past()),
            Some(through) => Some(through.next().ok_or_else(past)?),
            None => None,
        };
        Ok(Days::Holds { from, until })
    }
}

/// Who asks that rules be changed: personnel officers and administrators.
pub(crate) fn may_ask(standing: Standing, duties: &BTreeSet<Duty>) -> bool {
    standing.administers || duties.contains(&Duty::Personnel)
}

/// Refuses everybody else.
pub(crate) fn must_ask(asked: &Asked<'_>) -> Result<(), KindError> {
    match may_ask(asked.standing, &asked.duties) {
        true => Ok(()),
        false => Err(KindError::Refused(words!(
            "申請できるのは、人事担当と全体管理者です。",
            "Only personnel officers and administrators ask for this."
        ))),
    }
}

/// Two administrators agree who do not ask.
pub(crate) fn two_others() -> Vec<Step> {
    vec![Step { who: vec![Who::Administrator], count: 2, asker_may: false, reminds_after_hours: 72 }]
}

/// The rules as they are today.
pub(crate) async fn shown(rules: &Rules, authority: &ServerName) -> Result<Shown, KindError> {
    let by = audit::Actor::server();
    match rules.carry_out(authority, RulesOrder::Show { day: None }, &by).await.map_err(of_rules)? {
        RulesAnswer::Shown(shown) => Ok(shown),
        _ => Err(KindError::Failed("rules gave another answer".to_owned())),
    }
}

/// A rule with what it says, as it is chosen: another one where anything of it is said otherwise.
///
/// # Errors
/// Never so far.
pub fn said_of(shown: &ShownRule) -> Result<String, KindError> {
    Ok(format!("{}-{}", shown.id.0, print_of(shown.last())?))
}

fn print_of(rule: &Rule) -> Result<String, KindError> {
    let json = serde_json::to_vec(rule).map_err(|error| KindError::Failed(error.to_string()))?;
    let hash = Sha256::digest(&json);
    Ok(hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// The rule, unless it says something else by now: those who agree have read what it said.
pub(crate) fn still_said(shown: Option<ShownRule>, said: &str) -> Result<ShownRule, KindError> {
    let shown = shown
        .ok_or_else(|| KindError::Refused(words!("その規則はありません。", "There is no such rule.")))?;
    if print_of(shown.last())? == said {
        return Ok(shown);
    }
    Err(KindError::Refused(words!(
        "申請のあとに規則の内容が変わりました。内容を確認して、申請し直してください。",
        "The rule was changed since this was asked for; please look at it and ask anew."
    )))
}

#[async_trait]
impl Kind for RuleDays {
    fn word(&self) -> &'static str {
        "rule_days"
    }

    fn names(&self) -> Told {
        words!("ルームの規則の期間", "from and until when a rule of rooms holds")
    }

    fn about(&self) -> Told {
        words!(
            "ルームの規則を、いつから、いつまで有効にするかを決めます。有効になるとルームが作られて職員が入り、終わるとルームは閉じられます。申請できるのは人事担当と全体管理者で、申請者以外の全体管理者二人が承認します。",
            "Says from and until when a rule of rooms holds: rooms are made and people come in when it begins, and rooms are closed when it ends. Personnel officers and administrators ask, and two administrators agree who did not."
        )
    }

    fn is_for(&self, standing: Standing, duties: &BTreeSet<Duty>) -> bool {
        may_ask(standing, duties)
    }

    async fn fields(&self, authority: &ServerName) -> Result<Vec<Field>, KindError> {
        let shown = shown(&self.rules, authority).await?;
        let rules = shown.rules.iter().take(MOST_CHOICES).map(|shown| {
            let (RuleId(id), title) = (shown.id, &shown.rule.title);
            let said = said_of(shown)?;
            let name = match shown.holds {
                true => words!("{id}: {title}(有効)", "{id}: {title} (holds)"),
                false => words!("{id}: {title}(終了・開始前)", "{id}: {title} (does not hold)"),
            };
            Ok((said, name))
        });
        let rules = rules.collect::<Result<Vec<_>, KindError>>()?;
        let day = |word: &str, label, remark, optional| Field {
            word: word.to_owned(),
            label,
            remark,
            kind: FieldKind::Date { most_ahead: MOST_AHEAD },
            optional,
        };
        Ok(vec![
            Field {
                word: "rule".to_owned(),
                label: words!("規則", "Rule"),
                remark: words!("", ""),
                kind: FieldKind::Choice(rules),
                optional: false,
            },
            Field {
                word: "what".to_owned(),
                label: words!("どうするか", "What is to be"),
                remark: words!("", ""),
                kind: FieldKind::Choice(vec![
                    ("hold".to_owned(), words!("有効にする", "It holds")),
                    ("end".to_owned(), words!("終了する", "It ends")),
                ]),
                optional: false,
            },
            day("from", words!("いつから", "From"), words!("", ""), false),
            day(
                "through",
                words!("いつまで(この日を含む)", "Until (the last day)"),
                words!(
                    "有効にする場合だけ。空欄は期限なしです。",
                    "Only where it holds; without an end where nothing is typed."
                ),
                true,
            ),
        ])
    }

    async fn plan(&self, asked: &Asked<'_>) -> Result<Plan, KindError> {
        must_ask(asked)?;
        let wish = Wish::of(asked.fields)?;
        let shown = shown(&self.rules, asked.authority).await?;
        let rule = shown.rules.into_iter().find(|shown| shown.id == wish.rule);
        let rule = still_said(rule, &wish.said)?;
        // What would not be done later is told now.
        self.rules.check_days(asked.authority, wish.rule, wish.days(asked.day)?).await.map_err(of_rules)?;
        let (title, from, era) = (&rule.last().title, wish.from, wish.from.in_era());
        let title = match (wish.ends, wish.through) {
            (true, _) => words!("規則「{title}」を{era}から終了", "the rule “{title}” ends on {from}"),
            (false, None) => {
                words!("規則「{title}」を{era}から有効に", "the rule “{title}” holds from {from} on")
            }
            (false, Some(through)) => {
                let last = through.in_era();
                words!(
                    "規則「{title}」を{era}から{last}まで有効に",
                    "the rule “{title}” holds from {from} until {through}"
                )
            }
        };
        Ok(Plan { title, subjects: Vec::new(), steps: two_others(), expires_in: EXPIRES_IN, until: None })
    }

    async fn carry_out(&self, it: It<'_>) -> Result<Effect, KindError> {
        let wish = Wish::of(&Fields::of(&it.case.fields))?;
        let today = day_of(it.now).ok_or_else(|| {
            KindError::Refused(words!("時計の日付を読めません。", "The clock shows no day."))
        })?;
        let rules = shown(&self.rules, it.authority).await?.rules;
        still_said(rules.into_iter().find(|shown| shown.id == wish.rule), &wish.said)?;
        let (days, case) = (wish.days(today)?, it.id.0.to_string());
        let batch = self.rules.batch_of_days(it.authority, wish.rule, days, it.by, ("case", &case)).await;
        Ok(Effect::Written(Box::new(batch.map_err(of_rules)?)))
    }
}
