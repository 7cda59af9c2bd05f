//! A change set of the organisation is applied at its hour (`personnel`): a 人事担当 and a 全体管理者 agree, two people, each of
//! whom says of every warning that it is meant. Who asks and is one of both agrees by asking.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use audit::{Action, Deed};
use duties::{Duties, Duty, Held};
use organisation::{
    Approval as SetApproval, ChangeSet, Error as OrganisationError, Organisations, Role, SetId, State, UnitId,
};
use personnel::Personnel;
use rules::Rules;
use ruma::{ServerName, UserId};
use store::Batch;

use crate::{
    case::{Case, Step, Who},
    field::{Field, FieldKind, Fields},
    kind::{Asked, Effect, It, Kind, KindError, Plan},
    kinds::rule_days::shown,
    people::{People, Standing},
    words::{Told, moment, words},
};

/// So long the wish waits.
const EXPIRES_IN: Duration = Duration::from_secs(90 * 86_400);

/// A change set is applied at its hour.
pub struct ApplyChanges {
    /// The sets.
    pub organisations: Organisations,
    /// Who applies them.
    pub personnel: Personnel,
    /// Who has which duty.
    pub duties: Duties,
    /// Accounts.
    pub people: Arc<dyn People>,
    /// What speaks of units besides.
    pub speaks: Arc<dyn SpeaksOfUnits>,
}

/// What speaks of units, and of nobody once one is closed with nothing in its place.
#[async_trait]
pub trait SpeaksOfUnits: Send + Sync {
    /// What speaks of a unit, as people call it.
    ///
    /// # Errors
    /// [`KindError`].
    async fn speaking_of(&self, authority: &ServerName, unit: UnitId) -> Result<Vec<String>, KindError>;
}

#[async_trait]
impl SpeaksOfUnits for Rules {
    async fn speaking_of(&self, authority: &ServerName, unit: UnitId) -> Result<Vec<String>, KindError> {
        let rules = shown(self, authority).await?.rules.into_iter();
        let rules = rules.filter(|one| one.holds && one.rule.units.below == Some(unit));
        Ok(rules.map(|one| one.rule.title).collect())
    }
}

/// As what somebody agrees by asking, if he does.
fn role_of(standing: Standing, duties: &BTreeSet<Duty>) -> Option<Role> {
    if duties.contains(&Duty::Personnel) {
        return Some(Role::Personnel);
    }
    (standing.administers && duties.contains(&Duty::Approval)).then_some(Role::Administrator)
}

/// Who has still to agree.
fn steps(asks: Option<Role>) -> Vec<Step> {
    let left = Role::ALL.into_iter().filter(|role| asks != Some(*role));
    left.map(|role| Step { who: vec![who(role)], count: 1, asker_may: false, reminds_after_hours: 24 })
        .collect()
}

fn who(role: Role) -> Who {
    match role {
        Role::Personnel => Who::Duty(Duty::Personnel.word().to_owned()),
        Role::Administrator => Who::Administrator,
    }
}

fn set_of(fields: &Fields) -> Result<SetId, KindError> {
    let number = fields.get("set").parse().map(SetId);
    number.map_err(|_| {
        KindError::Refused(words!("変更案の番号を読み取れません。", "This is no number of a set."))
    })
}

impl ApplyChanges {
    async fn set(&self, authority: &ServerName, fields: &Fields) -> Result<(SetId, ChangeSet), KindError> {
        let id = set_of(fields)?;
        Ok((id, self.organisations.change_set(authority, id).await.map_err(of_organisation)?))
    }

    /// As what who asked has agreed, which he must still be: nobody else has agreed as that.
    async fn asked_as(&self, case: &Case) -> Result<(Option<Role>, impl Fn(&mut Batch) + use<>), KindError> {
        let (held, demand) =
            self.duties.demand(&case.asker).await.map_err(|error| KindError::Failed(error.to_string()))?;
        let is_open = |role: &Role| case.steps.iter().any(|step| step.who.contains(&who(*role)));
        let Some(role) = Role::ALL.into_iter().find(|role| !is_open(role)) else { return Ok((None, demand)) };
        let standing = self.standing(&case.asker).await?;
        let is_still =
            standing.is_some_and(|standing| standing.can_act && is_of(role, standing, &held.duties));
        match is_still {
            true => Ok((Some(role), demand)),
            false => {
                let Told { ja, en } = Told::from(role.words());
                Err(KindError::Refused(words!(
                    "申請者は、いまは「{ja}」ではありません。取り下げて、申請し直してください。",
                    "Who asked is no {en} any more; please withdraw it and ask anew."
                )))
            }
        }
    }

    /// Whether a department administrator asks for a set that he has made by hand, and that is of his department: of others he
    /// learns nothing.
    async fn is_of_department(
        &self,
        asked: &Asked<'_>,
        id: SetId,
        set: &ChangeSet,
    ) -> Result<bool, KindError> {
        if set.source.is_some() || set.made_by != asked.asker.as_str() {
            return Ok(false);
        }
        let held =
            self.duties.held(asked.asker).await.map_err(|error| KindError::Failed(error.to_string()))?;
        let (account, organisation) = (asked.asker.localpart(), asked.organisation);
        let stands =
            held.parts.into_iter().filter(|part| organisation.serves_in(account, &part.scope(), asked.day));
        let held = Held { parts: stands.collect(), ..Held::default() };
        let within = self.personnel.sets_within(asked.asker, &[id], held.scope()).await;
        let within = within.map_err(|error| KindError::Failed(error.to_string()))?;
        Ok(!held.parts.is_empty() && within.contains(&id))
    }

    async fn standing(&self, user: &UserId) -> Result<Option<Standing>, KindError> {
        Ok(self.people.standing(&[user]).await?.pop().flatten())
    }
}

/// Refuses a set that waits for no approval.
fn must_wait(set: &ChangeSet) -> Result<(), KindError> {
    if set.state == State::Preview {
        return Ok(());
    }
    let Told { ja, en } = Told::from(set.state.words());
    Err(KindError::Refused(words!(
        "この変更案は「{ja}」のため、承認を待っていません。",
        "This change set waits for no approval ({en})."
    )))
}

fn is_of(role: Role, standing: Standing, duties: &BTreeSet<Duty>) -> bool {
    match role {
        Role::Personnel => duties.contains(&Duty::Personnel),
        Role::Administrator => standing.administers && duties.contains(&Duty::Approval),
    }
}

#[async_trait]
impl Kind for ApplyChanges {
    fn word(&self) -> &'static str {
        "changes"
    }

    fn names(&self) -> Told {
        words!("変更案の適用", "a change set is applied")
    }

    fn about(&self) -> Told {
        words!(
            "組織の変更案を、決めた日時に適用します。人事担当と全体管理者(申請者がどちらかであれば、もう一方)の、別の二人が承認します。部局管理者は、自分が作った変更案の画面から申請できます。適用が始まるまでは、この案件を取り消して、別の日時で申請し直せます。",
            "A change set of the organisation is applied at its hour. A personnel officer and an administrator agree, two people; who asks and is one of both agrees by asking. A department administrator asks on the page of a set that he has made. Until it is applied this can be undone, and asked for anew with another hour."
        )
    }

    fn is_for(&self, standing: Standing, duties: &BTreeSet<Duty>) -> bool {
        standing.administers || duties.contains(&Duty::Personnel)
    }

    fn asking_agrees(&self) -> bool {
        true
    }

    fn thing(&self, fields: &Fields) -> Option<String> {
        Some(fields.get("set").to_owned())
    }

    async fn since(&self, authority: &ServerName, fields: &Fields) -> Result<Option<Told>, KindError> {
        let (_, set) = self.set(authority, fields).await?;
        let (state, at) = (Told::from(set.state.words()), moment(set.at));
        let (ja, en, at_ja, at_en) = (state.ja, state.en, at.ja, at.en);
        Ok(Some(match set.state {
            State::Approved => words!("変更案: {ja} {at_ja}", "the change set: {en}, {at_en}"),
            _ => words!("変更案: {ja}", "the change set: {en}"),
        }))
    }

    fn page(&self, fields: &Fields) -> Option<String> {
        Some(format!("/_yakuba/console/changes/{}", fields.get("set")))
    }

    async fn fields(&self, _authority: &ServerName) -> Result<Vec<Field>, KindError> {
        Ok(vec![
            Field {
                word: "set".to_owned(),
                label: words!("変更案の番号", "Number of the change set"),
                remark: words!("", ""),
                kind: FieldKind::Number { least: 1, most: i64::MAX },
                optional: false,
            },
            Field {
                word: "at".to_owned(),
                label: words!("適用する日時(日本時間)", "When it is applied (in Japan)"),
                remark: words!(
                    "空欄のときは、変更案を作ったときに決めた日時です。過ぎていれば、承認されしだい適用します。",
                    "Left empty: as was said when the set was made. If that is over, as soon as it is approved."
                ),
                kind: FieldKind::Minute,
                optional: true,
            },
        ])
    }

    async fn meant(&self, authority: &ServerName, fields: &Fields) -> Result<Vec<(String, Told)>, KindError> {
        let (id, set) = self.set(authority, fields).await?;
        let guards = set.guards.into_iter().map(|guard| (guard.kind.word().to_owned(), guard.told));
        let mut meant: Vec<_> = guards.collect();
        for closing in self.organisations.closing(authority, id).await.map_err(of_organisation)? {
            let rules = self.speaks.speaking_of(authority, closing.unit).await?;
            if rules.is_empty() && closing.addresses.is_empty() {
                continue;
            }
            let rules: Vec<_> = rules.iter().map(|rule| format!("「{rule}」")).collect();
            let addresses: Vec<_> = closing.addresses.iter().map(|name| format!("@{name}")).collect();
            let both =
                |between: &str| rules.iter().chain(&addresses).cloned().collect::<Vec<_>>().join(between);
            let (name, ja, en) = (closing.name, both("、"), both(", "));
            let told = words!(
                "「{name}」を後継なしで廃止すると、これを指す規則や宛先は誰にも届かなくなります: {ja}",
                "Once \"{name}\" is closed with nothing in its place, the rules and addresses that name it reach nobody: {en}"
            );
            meant.push((format!("closes_{}", closing.unit.0), told));
        }
        Ok(meant)
    }

    async fn plan(&self, asked: &Asked<'_>) -> Result<Plan, KindError> {
        let set = self.set(asked.authority, asked.fields).await;
        let may_ask = self.is_for(asked.standing, &asked.duties)
            || match &set {
                Ok((id, set)) => self.is_of_department(asked, *id, set).await?,
                Err(_) => false,
            };
        if !may_ask {
            return Err(KindError::Refused(words!(
                "申請できるのは、人事担当か全体管理者です。",
                "Only a personnel officer or an administrator asks for this."
            )));
        }
        let (id, set) = set?;
        must_wait(&set)?;
        let at = moment(asked.fields.minute("at").unwrap_or(set.at));
        let kinds = set.counts.iter().map(|(kind, count)| (Told::from(kind.words()), count));
        let kinds: Vec<_> = kinds
            .map(|(told, count)| (format!("{} {count}", told.ja), format!("{} {count}", told.en)))
            .collect();
        let (ja, en): (Vec<_>, Vec<_>) = kinds.into_iter().unzip();
        let (number, ja, en, at_ja, at_en) = (id.0, ja.join("、"), en.join(", "), at.ja, at.en);
        Ok(Plan {
            title: words!("変更案 {number} を {at_ja} に適用({ja})", "change set {number} at {at_en} ({en})"),
            subjects: Vec::new(),
            steps: steps(role_of(asked.standing, &asked.duties)),
            expires_in: EXPIRES_IN,
            until: None,
        })
    }

    async fn carry_out(&self, it: It<'_>) -> Result<Effect, KindError> {
        let fields = Fields::of(&it.case.fields);
        let (id, set) = self.set(it.authority, &fields).await?;
        must_wait(&set)?;
        let (asked_as, demand) = self.asked_as(it.case).await?;
        let account = |user: &UserId| user.localpart().to_owned();
        let by_asking = asked_as.map(|role| SetApproval {
            role,
            account: account(&it.case.asker),
            person: it.case.asker_person,
            at: it.case.asked_at,
        });
        let mut approvals: Vec<_> = by_asking.into_iter().collect();
        for approval in &it.case.approvals {
            let step = it.case.steps.get(usize::from(approval.step));
            let is_officer = step.is_some_and(|step| step.who.contains(&who(Role::Personnel)));
            // Where no other officer could decide, administrators did, and are told of as what they are.
            let held = self.duties.of(&approval.user).await;
            let held = held.map_err(|error| KindError::Failed(error.to_string()))?;
            let is_officer = is_officer && held.contains(&Duty::Personnel);
            approvals.push(SetApproval {
                role: if is_officer { Role::Personnel } else { Role::Administrator },
                account: account(&approval.user),
                person: approval.person,
                at: approval.at,
            });
        }
        let named: Vec<_> =
            approvals.iter().map(|one| format!("{} ({})", one.account, one.role.word())).collect();
        let at = fields.minute("at").unwrap_or(set.at);
        let mut batch =
            self.organisations.decided(it.authority, id, approvals, at).await.map_err(of_organisation)?;
        demand(&mut batch);
        Deed::new(Action::ApproveChanges, it.by, &id.0.to_string(), it.now)
            .after("case", it.id.0.to_string())
            .after("at", moment(at).en)
            .after("approved_by", named.join(", "))
            .write(&mut batch, it.authority);
        Ok(Effect::Written(Box::new(batch)))
    }

    fn settled(&self) {
        self.personnel.wake();
    }

    fn can_be_undone(&self) -> bool {
        true
    }

    /// While it waits for its hour: what is applied is undone as a change set.
    async fn take_back(&self, it: It<'_>) -> Result<Batch, KindError> {
        let id = set_of(&Fields::of(&it.case.fields))?;
        match self.organisations.undecided(it.authority, id).await {
            Ok(batch) => Ok(batch),
            Err(OrganisationError::Refused(_)) => Err(KindError::Refused(words!(
                "この変更案は、すでに適用が始まったか、適用を待っていません。適用したものは、変更案の画面(または yakuba org undo)で取り消してください。",
                "This change set is applied by now, or does not wait for that. What is applied is undone on the page of the set, or by `yakuba org undo`."
            ))),
            Err(error) => Err(of_organisation(error)),
        }
    }
}

fn of_organisation(error: OrganisationError) -> KindError {
    match error {
        OrganisationError::NoSet => KindError::Refused(words!(
            "その番号の変更案はありません。",
            "There is no change set of this number."
        )),
        OrganisationError::Refused(refusal) => KindError::Refused(refusal.words().into()),
        OrganisationError::Changed => KindError::Changed,
        error => KindError::Failed(error.to_string()),
    }
}
