//! A duty for an account, until a day: two 全体管理者 agree who neither ask nor get it.
//!
//! Duties decide who may approve what, so one person alone must never give one to an account that he has made up. Both who agree
//! have a duty themselves; the first ones were given at the command line.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use duties::{Duties, Duty};
use organisation::calendar::begin_of;
use ruma::{OwnedUserId, ServerName};
use store::Batch;

use crate::{
    case::{Case, Step, Who},
    field::{Field, FieldKind, Fields},
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
    fn of(case: &Case) -> Result<(OwnedUserId, Duty), KindError> {
        let fields = Fields::of(&case.fields);
        let duty = Duty::of_word(fields.get("duty"));
        fields.user("account").zip(duty).ok_or_else(|| KindError::Refused(no_duty()))
    }

    async fn batch(&self, it: It<'_>, has: bool) -> Result<Batch, KindError> {
        let (user, duty) = Self::of(it.case)?;
        let (mut batch, case) = (Batch::new(), it.id.0.to_string());
        match self.duties.write(&mut batch, (&user, duty, has), it.by, ("case", &case)).await {
            Ok(changes) if changes || !has => Ok(batch),
            Ok(_) => Err(KindError::Refused(has_it())),
            Err(duties::Error::TooMany(most)) => Err(KindError::Refused(words!(
                "役割を持てるアカウントは {most} 件までです。",
                "At most {most} accounts can have a duty."
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
            "人事担当・変更案承認・監査担当・閲覧担当の役割を、期限を決めてアカウントに付けます。申請者・対象者以外の全体管理者二人が承認すると付き、期限の日が終わると外れます。",
            "An account gets a duty until a day. Two administrators with the duty to approve agree, neither of whom asks or gets it; it is taken away when the day is over."
        )
    }

    async fn fields(&self, _authority: &ServerName) -> Result<Vec<Field>, KindError> {
        let duties = Duty::ALL.map(|duty| {
            let (ja, en) = duty.names();
            (duty.word().to_owned(), words!("{ja}", "{en}"))
        });
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
                kind: FieldKind::Choice(duties.to_vec()),
                optional: false,
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
        let (user, duty) = (asked.fields.user("account"), Duty::of_word(asked.fields.get("duty")));
        let (user, duty) = user.zip(duty).ok_or_else(|| KindError::Refused(no_duty()))?;
        let may = asked.standing.administers || asked.duties.contains(&Duty::Personnel);
        if user != asked.asker && !may {
            return Err(KindError::Refused(words!(
                "自分以外のアカウントの役割は、全体管理者か人事担当が申請してください。",
                "A duty for somebody else is asked for by an administrator or a personnel officer."
            )));
        }
        let held = self.duties.of(&user).await.map_err(|error| KindError::Failed(error.to_string()))?;
        if held.contains(&duty) {
            return Err(KindError::Refused(has_it()));
        }
        let until = asked.fields.day("until").and_then(|day| Some((day, begin_of(day.next()?)?)));
        let (day, until) =
            until.ok_or_else(|| KindError::Refused(words!("日付を読めません。", "This is no day.")))?;
        let (ja, en) = duty.names();
        let era = day.in_era();
        Ok(Plan {
            title: words!("{user} に「{ja}」({era}まで)", "{user}: {en}, until {day}"),
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
        let (user, _) = Self::of(it.case)?;
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
