//! A duty for an account, until a day: two 全体管理者 agree who neither ask nor get it.
//!
//! Duties decide who may approve what, so one person alone must never give one to an account that he has made up. Both who agree
//! have a duty themselves; the first ones were given at the command line.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use duties::{Duties, Duty, Part, Role};
use organisation::{UnitId, calendar::begin_of};
use ruma::{OwnedUserId, ServerName};
use store::Batch;

use crate::{
    case::{Step, Who},
    field::{Field, FieldKind, Fields, path_of},
    kind::{Asked, Effect, It, Kind, KindError, Plan},
    people::People,
    words::{Told, words},
};

/// Days for which a duty is given at most.
const MOST_DAYS: u64 = 1_100;

/// So long the wish waits.
const EXPIRES_IN: Duration = Duration::from_secs(30 * 86_400);

/// A duty for an account, until a day.
pub struct GiveDuty {
    /// Who has which.
    pub duties: Duties,
    /// Accounts.
    pub people: Arc<dyn People>,
}

impl GiveDuty {
    fn of(fields: &Fields) -> Result<(OwnedUserId, Role), KindError> {
        let word = fields.get("duty");
        let role = match (Duty::of_word(word), fields.unit("unit")) {
            (Some(duty), None) => Role::Duty(duty),
            (None, Some(unit)) if word == Part::WORD => Role::Part(Part::Unit(unit.0)),
            (None, None) if word == Part::WORD => {
                return Err(KindError::Refused(words!(
                    "部局管理者の担当部局を入力してください。",
                    "Please say of which department."
                )));
            }
            (Some(_), Some(_)) => {
                return Err(KindError::Refused(words!(
                    "担当部局は、部局管理者のときだけ入力してください。",
                    "Only a department administrator has a department."
                )));
            }
            (None, _) => return Err(KindError::Refused(no_duty())),
        };
        Ok((fields.user("account").ok_or_else(|| KindError::Refused(no_duty()))?, role))
    }

    async fn batch(&self, it: It<'_>, has: bool) -> Result<Batch, KindError> {
        let (user, role) = Self::of(&Fields::of(&it.case.fields))?;
        let (mut batch, case) = (Batch::new(), it.id.0.to_string());
        match self.duties.write(&mut batch, (&user, role, has), it.by, ("case", &case)).await {
            Ok(changes) if changes || !has => Ok(batch),
            Ok(_) => Err(KindError::Refused(has_it())),
            Err(duties::Error::TooMany(most)) => Err(KindError::Refused(words!(
                "役割を持てるアカウントは {most} 件までです。",
                "At most {most} accounts can have a duty."
            ))),
            Err(duties::Error::TooManyParts(most)) => Err(KindError::Refused(words!(
                "一人が担当できる部局は {most} 件までです。",
                "Nobody sees to more than {most} departments."
            ))),
            Err(error) => Err(KindError::Failed(error.to_string())),
        }
    }
}

#[async_trait]
impl Kind for GiveDuty {
    fn word(&self) -> &'static str {
        "duty"
    }

    fn names(&self) -> Told {
        words!("役割の付与", "a duty for an account")
    }

    fn about(&self) -> Told {
        words!(
            "人事担当・変更案承認・監査担当・閲覧担当・部局管理者の役割を、期限を決めてアカウントに付けます。申請者・対象者以外の全体管理者二人が承認すると付き、期限の日が終わると外れます。",
            "An account gets a duty until a day. Two administrators with the duty to approve agree, neither of whom asks or gets it; it is taken away when the day is over."
        )
    }

    async fn fields(&self, _authority: &ServerName) -> Result<Vec<Field>, KindError> {
        let all = Duty::ALL.iter().map(|duty| (duty.word(), duty.names()));
        let all = all.chain([(Part::WORD, Part::NAMES)]);
        let duties = all.map(|(word, (ja, en))| (word.to_owned(), words!("{ja}", "{en}")));
        Ok(vec![
            Field {
                word: "account".to_owned(),
                label: words!("アカウント", "Account"),
                remark: words!(
                    "ユーザー名。自分以外のアカウントについて申請できるのは、全体管理者と人事担当です。",
                    "The user name. Only administrators and personnel officers ask for others."
                ),
                kind: FieldKind::Person,
                optional: false,
            },
            Field {
                word: "duty".to_owned(),
                label: words!("役割", "Duty"),
                remark: words!("", ""),
                kind: FieldKind::Choice(duties.collect()),
                optional: false,
            },
            Field {
                word: "unit".to_owned(),
                label: words!("担当部局", "Department"),
                remark: words!(
                    "部局管理者のときだけ。その所属と、その下のすべての所属を担当します。所属の名前かコードで入力してください。",
                    "For department administrators: the unit, with all below it, by its name or code."
                ),
                kind: FieldKind::Unit,
                optional: true,
            },
            Field {
                word: "until".to_owned(),
                label: words!("いつまで(この日を含む)", "Until (the last day)"),
                remark: words!("", ""),
                kind: FieldKind::Date { most_ahead: MOST_DAYS },
                optional: false,
            },
        ])
    }

    async fn plan(&self, asked: &Asked<'_>) -> Result<Plan, KindError> {
        let (user, role) = Self::of(asked.fields)?;
        let may = asked.standing.administers || asked.duties.contains(&Duty::Personnel);
        if user != asked.asker && !may {
            return Err(KindError::Refused(words!(
                "自分以外のアカウントの役割は、全体管理者か人事担当が申請してください。",
                "A duty for somebody else is asked for by an administrator or a personnel officer."
            )));
        }
        let held = self.duties.held(&user).await.map_err(|error| KindError::Failed(error.to_string()))?;
        let has_it_already = match role {
            Role::Duty(duty) => held.duties.contains(&duty),
            Role::Part(part) => held.parts.contains(&part),
        };
        if has_it_already {
            return Err(KindError::Refused(has_it()));
        }
        let until = asked.fields.day("until").and_then(|day| Some((day, begin_of(day.next()?)?)));
        let (day, until) =
            until.ok_or_else(|| KindError::Refused(words!("日付を読めません。", "This is no day.")))?;
        let era = day.in_era();
        let title = match role {
            Role::Duty(duty) => {
                let (ja, en) = duty.names();
                words!("{user} に「{ja}」({era}まで)", "{user}: {en}, until {day}")
            }
            Role::Part(_) => {
                let unit = asked.fields.unit("unit").unwrap_or(UnitId(0));
                let scope = Part::Unit(unit.0).scope();
                if !asked.organisation.serves_in(user.localpart(), &scope, asked.day) {
                    return Err(KindError::Refused(words!(
                        "対象者は、その部局に職がありません。部局管理者になれるのは、その部局の人だけです。",
                        "Only who has a post in the department sees to it."
                    )));
                }
                let ((ja, en), unit) = (Part::NAMES, path_of(asked.organisation, unit, asked.day));
                words!("{user} に「{ja}」{unit}({era}まで)", "{user}: {en} of {unit}, until {day}")
            }
        };
        Ok(Plan {
            title,
            subjects: vec![user],
            steps: vec![Step {
                who: vec![Who::Administrator],
                count: 2,
                asker_may: false,
                reminds_after_hours: 72,
            }],
            expires_in: EXPIRES_IN,
            until: Some(until),
        })
    }

    async fn carry_out(&self, it: It<'_>) -> Result<Effect, KindError> {
        let (user, _) = Self::of(&Fields::of(&it.case.fields))?;
        let standing = self.people.standing(&[&user]).await?.pop().flatten();
        if !standing.is_some_and(|standing| standing.can_act) {
            return Err(KindError::Refused(words!(
                "対象のアカウントが使えなくなっています。",
                "The account that it is about cannot be used any more."
            )));
        }
        let demand = self.people.demand(&user).await?;
        let mut batch = self.batch(it, true).await?;
        demand(&mut batch);
        Ok(Effect::Written(Box::new(batch)))
    }

    fn can_be_undone(&self) -> bool {
        true
    }

    async fn take_back(&self, it: It<'_>) -> Result<Batch, KindError> {
        self.batch(it, false).await
    }
}

fn no_duty() -> Told {
    words!("アカウントか役割を読み取れません。", "The account or the duty cannot be read.")
}

fn has_it() -> Told {
    words!("このアカウントには、すでにその役割があります。", "This account has that duty already.")
}
