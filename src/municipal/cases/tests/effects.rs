//! What comes of cases: kinds of tests, whose deed takes a batch of its own, and failures of it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use organisation::{BodyId, NewUnit, Organisation};
use ruma::ServerName;
use store::{Batch, CommitError, Store};

use crate::{
    Asked, Beside, Effect, Field, FieldKind, It, Kind, KindError, Order, Plan, State, Step, Who,
    tests::{
        CaseId, approve, refusal, shown,
        town::{DEEDS, Town, day},
    },
    words::{Told, words},
};

/// A kind that counts how often it is done, in a commit of its own, decided by the head of a unit and then by 人事担当.
pub(crate) struct Trial {
    pub(crate) store: Store,
    /// Whether its batch holds the rows of the case.
    pub(crate) adds_rows: bool,
}

#[async_trait]
impl Kind for Trial {
    fn word(&self) -> &'static str {
        if self.adds_rows { "deed" } else { "deed_alone" }
    }

    fn names(&self) -> Told {
        words!("試験", "a trial")
    }

    fn about(&self) -> Told {
        words!("試験", "a trial")
    }

    async fn fields(&self, _authority: &ServerName) -> Result<Vec<Field>, KindError> {
        let field = |word: &str, kind, optional| Field {
            word: word.to_owned(),
            label: words!("{word}", "{word}"),
            remark: words!("", ""),
            kind,
            optional,
        };
        Ok(vec![
            field("unit", FieldKind::Unit, false),
            field("what", FieldKind::Text { most: 100, lines: false }, false),
            field("number", FieldKind::Number { least: 1, most: 9 }, true),
        ])
    }

    async fn plan(&self, asked: &Asked<'_>) -> Result<Plan, KindError> {
        let unit = asked.fields.unit("unit").ok_or(KindError::Changed)?;
        let step = |who| Step { who: vec![who], count: 1, asker_may: false, reminds_after_hours: 24 };
        let what = asked.fields.get("what");
        Ok(Plan {
            title: words!("{what}", "{what}"),
            subjects: Vec::new(),
            steps: vec![step(Who::Head(unit)), step(Who::Duty("personnel".to_owned()))],
            expires_in: std::time::Duration::from_secs(10 * 86_400),
            until: None,
        })
    }

    async fn carry_out(&self, it: It<'_>) -> Result<Effect, KindError> {
        let what = it.case.fields.iter().find(|(word, _)| word == "what").map(|(_, what)| what.clone());
        let (what, store, adds_rows) = (what.unwrap_or_default(), self.store.clone(), self.adds_rows);
        let key = format!("{what} {}", it.id.0);
        if what == "refused" && store.get(&DEEDS, "may").await?.is_none() {
            return Err(KindError::Refused(words!("まだできません", "not yet")));
        }
        Ok(Effect::After(Box::new(move |beside: Beside| {
            Box::pin(async move {
                let mut batch = Batch::new();
                if adds_rows {
                    batch.add(&DEEDS, &key, 1);
                    beside(&mut batch);
                } else if store.get(&DEEDS, &key).await?.is_none() {
                    batch.add(&DEEDS, &key, 1);
                } else {
                    return Ok(());
                }
                match store.commit(batch).await {
                    Ok(_) => Ok(()),
                    Err(CommitError::Conflict { .. }) => Err(KindError::Changed),
                    Err(error) => Err(KindError::Failed(error.to_string())),
                }
            })
        })))
    }
}

pub(crate) fn deed(kind: &str, unit: &str, what: &str) -> Order {
    let field = |word: &str, value: &str| (word.to_owned(), value.to_owned());
    let fields = vec![field("unit", unit), field("what", what)];
    Order::Ask { kind: kind.to_owned(), fields, reason: "試すため".to_owned(), means: Default::default() }
}

/// How often a case's deed was done.
pub(crate) async fn done(town: &Town, what: &str, id: CaseId) -> i64 {
    town.store.get(&DEEDS, format!("{what} {}", id.0).as_str()).await.unwrap().map_or(0, |count| count.0)
}

#[tokio::test]
async fn a_deed_of_its_own_batch_is_done_once_after_the_last_step() {
    let town = Town::with_people().await;
    for kind in ["deed", "deed_alone"] {
        let id = town.ask("hanako", deed(kind, "防災課", "x")).await;
        assert_eq!(town.deciders(id).await, ["bosai-cho"]);
        assert_eq!(
            refusal(town.of("p", approve(id, None)).await),
            "その番号の案件はありません。",
            "not his yet"
        );
        town.of("bosai-cho", approve(id, None)).await.unwrap();
        assert_eq!((town.state(id).await, done(&town, "x", id).await), (State::Asked, 0));
        assert_eq!(town.deciders(id).await, ["p"]);
        let case = shown(town.of("p", approve(id, None)).await.unwrap()).case;
        assert_eq!((case.state, done(&town, "x", id).await), (State::Done, 1));
        town.see_to().await;
        assert_eq!(done(&town, "x", id).await, 1);
        let undo = Order::Undo { id, text: "やめる".to_owned(), seen: None };
        assert!(refusal(town.of("hanako", undo).await).contains("取り消せません"));
    }
    let rows = town.log("case.").await;
    let once = ["case.ask hanako", "case.approve bosai-cho", "case.approve p", "case.carry_out p"];
    assert_eq!(rows, [once, once].concat());
}

#[tokio::test]
async fn what_cannot_be_done_says_why_and_can_be_tried_again() {
    let town = Town::with_people().await;
    let id = town.ask("hanako", deed("deed", "防災課", "refused")).await;
    town.of("bosai-cho", approve(id, None)).await.unwrap();
    town.of("p", approve(id, None)).await.unwrap();
    let State::Failed(why) = town.state(id).await else { panic!("{:?}", town.state(id).await) };
    assert_eq!(why.ja, "まだできません");
    let retry = Order::Retry { id, seen: None };
    assert_eq!(refusal(town.of("taro", retry.clone()).await), "その番号の案件はありません。");
    town.of("hanako", retry.clone()).await.unwrap();
    assert!(matches!(town.state(id).await, State::Failed(_)));
    let mut batch = Batch::new();
    batch.add(&DEEDS, "may", 1);
    town.store.commit(batch).await.unwrap();
    town.of("p", retry.clone()).await.unwrap();
    assert_eq!((town.state(id).await, done(&town, "refused", id).await), (State::Done, 1));
    assert!(refusal(town.of("p", retry).await).contains("実施済み"));
}

#[tokio::test]
async fn a_unit_that_ends_while_its_head_is_waited_for_is_what_became_of_it() {
    let town = Town::with_people().await;
    let id = town.ask("taro", deed("deed", "防災課", "x")).await;
    assert_eq!(town.deciders(id).await, ["bosai-cho"]);
    // Its only people go elsewhere, and it has no head: who heads what is above it.
    town.take("2,課長 二,総務部　人事課,主査,,2026-03-01,bosai-cho\n1,部長 一,総務部,部長,,2020-04-01,bucho\n3,主査 三,総務部　防災課,主査,,2020-04-01,hanako\n4,課長 四,総務部　人事課,課長,,2020-04-01,jinji-cho\n5,主査 五,総務部　人事課,主査,,2020-04-01,taro\n6,主査 六,総務部　人事課,主査,,2020-04-01,jiro\n", "2026-03-01").await;
    assert_eq!(town.deciders(id).await, ["bucho"]);
    assert!(refusal(town.of("bosai-cho", approve(id, None)).await).contains("ありません"));
    // Nobody there can at all: it comes to 全体管理者, and that is shown.
    town.account("bucho", Some((false, false))).await;
    assert_eq!(town.deciders(id).await, ["a", "b", "c"]);
    assert!(town.look(id).await.fell);
    town.of("a", approve(id, None)).await.unwrap();
    town.of("p", approve(id, None)).await.unwrap();
    assert_eq!(town.state(id).await, State::Done);
    // What fell to somebody counts while it does: once the head is there again it is hers.
    let id = town.ask("taro", deed("deed", "防災課", "y")).await;
    town.of("a", approve(id, None)).await.unwrap();
    town.account("bucho", Some((false, true))).await;
    assert!(town.of("p", approve(id, None)).await.is_err());
    assert_eq!((town.state(id).await, town.deciders(id).await), (State::Asked, vec!["bucho".to_owned()]));
}

#[tokio::test]
async fn a_unit_that_became_another_one_is_decided_by_who_heads_that() {
    let town = Town::with_people().await;
    let id = town.ask("taro", deed("deed", "防災課", "x")).await;
    let merged = town.by_hand("2026-03-01", |by_hand, unit| {
        let units = BTreeSet::from([unit("防災課"), unit("人事課")]);
        let new = NewUnit {
            body: unit_body(by_hand.known()),
            parent: Some(unit("総務部")),
            code: None,
            name: "危機管理課".to_owned(),
            order: 0,
        };
        by_hand.merge_units(&units, new).unwrap().1
    });
    merged.await;
    assert_eq!(town.deciders(id).await, ["bosai-cho", "jinji-cho"]);
    let unit = town.look(id).await.fields.into_iter().find(|field| field.word == "unit").unwrap();
    assert_eq!(unit.shown.ja, "廃止された所属(現在: 総務部 危機管理課)");
    town.of("jinji-cho", approve(id, None)).await.unwrap();
    town.of("p", approve(id, None)).await.unwrap();
    assert_eq!(town.state(id).await, State::Done);
}

fn unit_body(known: &Organisation) -> BodyId {
    known.bodies(day("2026-03-01")).next().unwrap().body
}
