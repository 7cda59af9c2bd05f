//! A room that people made comes under a rule (`rules`): who heads the unit agrees, or an administrator; where a personnel
//! officer asks who does not moderate it, two agree.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use duties::Duty;
use organisation::UnitId;
use rules::{Answer as RulesAnswer, Error as RulesError, Order as RulesOrder, RuleId, Rules, VerbError};
use ruma::{OwnedRoomId, RoomId, ServerName, UserId};

use crate::{
    case::{Case, Step, Who},
    field::{Field, FieldKind, Fields, path_of},
    kind::{Asked, Beside, Effect, It, Kind, KindError, Plan},
    people::PortError,
    words::{Told, words},
};

/// So long the wish waits.
const EXPIRES_IN: Duration = Duration::from_secs(30 * 86_400);

/// Rooms of rules that can be chosen from.
const MOST_CHOICES: usize = 200;

/// What is asked of rooms, which lie above.
#[async_trait]
pub trait Moderators: Send + Sync {
    /// Whether a user is in a room and moderates it; also where there is no such room.
    ///
    /// # Errors
    /// [`PortError`].
    async fn moderates(&self, user: &UserId, room: &RoomId) -> Result<bool, PortError>;
}

/// A room that people made comes under a rule.
pub struct AdoptRoom {
    /// Rooms by rule.
    pub rules: Rules,
    /// Who moderates which room.
    pub moderators: Arc<dyn Moderators>,
}

/// What is asked for.
struct Wish {
    room: OwnedRoomId,
    unit: UnitId,
    rule: RuleId,
    key: String,
}

impl Wish {
    fn of(fields: &Fields) -> Result<Self, KindError> {
        let place =
            fields.get("place").split_once(':').and_then(|(rule, key)| Some((rule.parse().ok()?, key)));
        let all = fields.room("room").zip(fields.unit("unit")).zip(place);
        let ((room, unit), (rule, key)) = all.ok_or_else(|| {
            KindError::Refused(words!(
                "ルームか所属を読み取れません。",
                "The room or the unit cannot be read."
            ))
        })?;
        Ok(Self { room, unit, rule: RuleId(rule), key: key.to_owned() })
    }
}

#[async_trait]
impl Kind for AdoptRoom {
    fn word(&self) -> &'static str {
        "adopt_room"
    }

    fn names(&self) -> Told {
        words!("規則によるルームの採用", "a room comes under a rule")
    }

    fn about(&self) -> Told {
        words!(
            "手作りのルームを、所属の規則によるルームにします。以後は人事異動に合わせてメンバーと権限が変わります。所属長か全体管理者が承認します(モデレーターでない人事担当が申請したときは、もう一人の全体管理者も)。元に戻せません。",
            "A room that somebody made becomes the one of a unit by a rule: from then on its members and levels follow the organisation. The head of the unit or an administrator agrees, and one more administrator where a personnel officer asks who does not moderate it. It cannot be undone."
        )
    }

    async fn fields(&self, authority: &ServerName) -> Result<Vec<Field>, KindError> {
        let by = audit::Actor::server();
        let shown = self.rules.carry_out(authority, RulesOrder::Show { day: None }, &by).await;
        let RulesAnswer::Shown(shown) = shown.map_err(of_rules)? else {
            return Err(KindError::Failed("rules gave another answer".to_owned()));
        };
        // Also of rules that have not begun: a room made by hand is put under one before it makes its own.
        let places = shown.rules.iter().flat_map(|shown| {
            shown.rule.rooms.iter().map(|room| {
                let (id, title, key, name) = (shown.id.0, &shown.rule.title, &room.key, &room.name);
                (format!("{id}:{key}"), words!("{title}: {name}", "{title}: {name}"))
            })
        });
        Ok(vec![
            Field {
                word: "room".to_owned(),
                label: words!("ルーム ID", "Id of the room"),
                remark: words!(
                    "Element では、ルームの設定の「詳細」に表示されます。",
                    "Element shows it in the settings of the room, under \"Advanced\"."
                ),
                kind: FieldKind::Room,
                optional: false,
            },
            Field {
                word: "unit".to_owned(),
                label: words!("所属", "Unit"),
                remark: words!("名前か所属コード", "By its name or code"),
                kind: FieldKind::Unit,
                optional: false,
            },
            Field {
                word: "place".to_owned(),
                label: words!("どの規則のどのルームにするか", "Which room of which rule it becomes"),
                remark: words!("", ""),
                kind: FieldKind::Choice(places.take(MOST_CHOICES).collect()),
                optional: false,
            },
        ])
    }

    async fn plan(&self, asked: &Asked<'_>) -> Result<Plan, KindError> {
        let Wish { room, unit, rule, key } = Wish::of(asked.fields)?;
        let moderates = self.moderators.moderates(asked.asker, &room).await?;
        if !moderates && !asked.duties.contains(&Duty::Personnel) {
            return Err(KindError::Refused(words!(
                "申請できるのは、そのルームのモデレーターか人事担当です。",
                "Only who moderates the room, or a personnel officer, asks for this."
            )));
        }
        self.rules.may_adopt(asked.authority, &room, rule, (unit, &key)).await.map_err(of_rules)?;
        let path = path_of(asked.organisation, unit, asked.day);
        let step = |who| Step { who, count: 1, asker_may: false, reminds_after_hours: 72 };
        Ok(Plan {
            title: words!(
                "ルーム {room} を「{path}」の規則によるルームに",
                "{room} becomes a room by rule of {path}"
            ),
            subjects: Vec::new(),
            steps: if moderates {
                vec![step(vec![Who::Head(unit), Who::Administrator])]
            } else {
                // Who is not in it asks: a unit would come to read what others said among themselves. So one more agrees.
                vec![step(vec![Who::Head(unit), Who::Administrator]), step(vec![Who::Administrator])]
            },
            expires_in: EXPIRES_IN,
            until: None,
        })
    }

    async fn carry_out(&self, it: It<'_>) -> Result<Effect, KindError> {
        let Case { fields, steps, asker, .. } = it.case;
        let Wish { room, unit, rule, key } = Wish::of(&Fields::of(fields))?;
        // One agreed, since he who asked moderated the room: that was some days ago.
        if steps.len() == 1 && !self.moderators.moderates(asker, &room).await? {
            return Err(KindError::Refused(words!(
                "申請者は、いまはこのルームのモデレーターではありません。",
                "Who asked does not moderate the room any more."
            )));
        }
        let (rules, authority, by) = (self.rules.clone(), it.authority.to_owned(), it.by.clone());
        let act = move |beside: Beside| -> futures_util::future::BoxFuture<'static, Result<(), KindError>> {
            Box::pin(async move {
                rules.adopt_for(&authority, &room, rule, (unit, key), &by, beside).await.map_err(of_rules)
            })
        };
        Ok(Effect::After(Box::new(act)))
    }
}

pub(crate) fn of_rules(error: RulesError) -> KindError {
    match error {
        RulesError::Refused(words) => KindError::Refused(Told { ja: words.ja, en: words.en }),
        RulesError::Verb(VerbError::Refused(why)) => {
            KindError::Refused(words!("ルームが許しません({why})。", "The room does not allow it: {why}."))
        }
        RulesError::Changed => KindError::Changed,
        error => KindError::Failed(error.to_string()),
    }
}
