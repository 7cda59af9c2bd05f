//! Who does what for an authority besides using it, as commands give it, take it away and tell it.

use std::collections::BTreeSet;

use account::{Accounts, Actor};
use duties::{Duties, Duty, Part};
use organisation::{Scope, UnitId};
use personnel::Personnel;
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};
use serde::{Deserialize, Serialize};
use web::ApiError;

/// A duty that a user is to have, or no more.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DutyOrder {
    pub(crate) user_id: OwnedUserId,
    /// By its word.
    pub(crate) duty: String,
    pub(crate) has: bool,
}

impl DutyOrder {
    /// Does it; whether that changed anything.
    ///
    /// # Errors
    /// 404 where there is no such account, or none any more, and for a duty that there is none of.
    pub(crate) async fn carry_out(
        &self,
        accounts: &Accounts,
        duties: &Duties,
        by: &Actor,
    ) -> Result<bool, ApiError> {
        let duty = Duty::of_word(&self.duty).ok_or_else(|| ApiError::not_found("There is no such duty"))?;
        let account = accounts.find_account(&self.user_id).await?;
        // What somebody has can be taken from him whatever became of his account.
        if self.has && account.is_none_or(|account| account.deactivated || account.guest) {
            return Err(ApiError::not_found("There is no such account"));
        }
        duties.set(&self.user_id, duty, self.has, by).await.map_err(of_duties)
    }
}

/// A part of the organisation that a user is to see to, or no more.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PartOrder {
    pub(crate) user_id: OwnedUserId,
    /// As people call it: a unit or a body; or by its word (`unit:12`), also one that is no more.
    pub(crate) part: String,
    pub(crate) has: bool,
}

impl PartOrder {
    /// Does it; by which words the part is known, what it is called if it is there, and whether anything changed.
    ///
    /// # Errors
    /// 404 where there is no such account, or none any more; 400 with the sentence where there is no such part.
    pub(crate) async fn carry_out(
        &self,
        accounts: &Accounts,
        (duties, personnel): (&Duties, &Personnel),
        by: &Actor,
    ) -> Result<Vec<PartTold>, ApiError> {
        let authority = self.user_id.server_name();
        let named = match Part::of_word(self.part.trim()) {
            Some(part) => Ok(part),
            None => match personnel.scope_named(authority, self.part.clone()).await {
                Ok(scope) => Ok(part_of(&scope)?),
                Err(error) => Err(of_personnel(error)),
            },
        };
        let part = if self.has { named? } else { self.held(named.ok(), (duties, personnel)).await? };
        let told = PartTold::of(personnel, &self.user_id, &BTreeSet::from([part])).await?;
        let account = accounts.find_account(&self.user_id).await?;
        if self.has && account.is_none_or(|account| account.deactivated || account.guest) {
            return Err(ApiError::not_found("There is no such account"));
        }
        if self.has && told.iter().any(|told| told.called.is_none()) {
            return Err(ApiError::bad_request(
                "その番号の所属や機関は、今日はありません。 / There is no such unit or body today.",
            ));
        }
        if self.has && !told.iter().all(|told| told.stands) {
            return Err(ApiError::bad_request(
                "その部局に職のある人だけが、部局管理者になれます。 / Only who has a post in a department sees to it.",
            ));
        }
        let is_changed = duties.set(&self.user_id, part, self.has, by).await.map_err(of_duties)?;
        match is_changed || self.has {
            true => Ok(told),
            false => Err(has_no_such_part()),
        }
    }

    /// The part that the user has and that is meant: by its word, what it is called today, or by a unit that it has become.
    async fn held(
        &self,
        named: Option<Part>,
        (duties, personnel): (&Duties, &Personnel),
    ) -> Result<Part, ApiError> {
        let parts = duties.held(&self.user_id).await.map_err(of_duties)?.parts;
        let told = PartTold::of(personnel, &self.user_id, &parts).await?;
        let is_meant = |(part, told): &(&Part, &PartTold)| {
            named == Some(**part) || told.called.as_deref() == Some(self.part.trim())
        };
        if let Some((part, _)) = parts.iter().zip(&told).find(is_meant) {
            return Ok(*part);
        }
        let Some(Part::Unit(unit)) = named else { return Err(has_no_such_part()) };
        for part in &parts {
            let tops = personnel.tops_of(self.user_id.server_name(), part.scope()).await;
            if tops.map_err(of_personnel)?.contains(&UnitId(unit)) {
                return Ok(*part);
            }
        }
        Err(has_no_such_part())
    }
}

fn has_no_such_part() -> ApiError {
    ApiError::bad_request(
        "その部局の部局管理者ではありません。user duties が番号(unit:12 など)を表示します。 / The user sees to no such department; `user duties` tells the numbers (such as unit:12).",
    )
}

fn part_of(scope: &Scope) -> Result<Part, ApiError> {
    let bodies = scope.bodies.iter().map(|body| Part::Body(body.0));
    let mut all = bodies.chain(scope.units.iter().map(|unit| Part::Unit(unit.0)));
    all.next().ok_or_else(|| ApiError::not_found("There is no such unit or body"))
}

fn of_personnel(error: personnel::Error) -> ApiError {
    match error.words() {
        Some(words) => ApiError::bad_request(format!("{} / {}", words.ja, words.en)),
        None => error.into(),
    }
}

/// A part of the organisation.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PartTold {
    /// Its word.
    pub(crate) word: String,
    /// What it is called today; none where it is no more.
    pub(crate) called: Option<String>,
    /// Whether the user has a post in it today: else it opens nothing.
    pub(crate) stands: bool,
}

impl PartTold {
    /// Of parts that one user has.
    async fn of(personnel: &Personnel, user: &UserId, parts: &BTreeSet<Part>) -> Result<Vec<Self>, ApiError> {
        let all: Vec<_> = parts.iter().map(|part| (user.to_owned(), *part)).collect();
        Self::of_all(personnel, user.server_name(), &all).await
    }

    /// Of parts of several users of an authority, in their order.
    async fn of_all(
        personnel: &Personnel,
        authority: &ServerName,
        all: &[(OwnedUserId, Part)],
    ) -> Result<Vec<Self>, ApiError> {
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let scopes = all.iter().map(|(_, part)| part.scope()).collect();
        let called = personnel.called(authority, scopes).await.map_err(of_personnel)?;
        let asked = all.iter().map(|(user, part)| (user.clone(), part.scope())).collect();
        let serve = personnel.serve_in(authority, authority.as_str(), asked).await.map_err(of_personnel)?;
        let all = all.iter().zip(called).zip(serve);
        let told = all.map(|(((_, part), called), stands)| Self { word: part.to_string(), called, stands });
        Ok(told.collect())
    }
}

fn of_duties(error: duties::Error) -> ApiError {
    match error {
        duties::Error::TooMany(_) | duties::Error::TooManyParts(_) => {
            ApiError::bad_request(error.to_string())
        }
        duties::Error::Store(error) => error.into(),
        duties::Error::Commit(error) => error.into(),
    }
}

/// Whose duties are to be told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DutiesOrder {
    pub(crate) authority: OwnedServerName,
}

/// Who has which duties, by their words, and sees to which parts of the organisation.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DutiesTold {
    pub(crate) holders: Vec<(String, Vec<String>, Vec<PartTold>)>,
}

impl DutiesTold {
    pub(crate) async fn of(
        duties: &Duties,
        personnel: &Personnel,
        authority: &ServerName,
    ) -> Result<Self, ApiError> {
        let held = duties.holders(authority).await.map_err(of_duties)?;
        let parts = held.iter().flat_map(|(user, held)| {
            let user = UserId::parse(user).ok();
            user.into_iter().flat_map(|user| held.parts.iter().map(move |part| (user.clone(), *part)))
        });
        let parts: Vec<_> = parts.collect();
        let told = PartTold::of_all(personnel, authority, &parts).await?;
        let mut told: Vec<_> = parts.into_iter().zip(told).collect();
        let mut holders = Vec::new();
        for (user, held) in held {
            let words = held.duties.iter().map(|duty| duty.word().to_owned()).collect();
            let own = told.extract_if(.., |((of, _), _)| *of == user).map(|(_, told)| told).collect();
            holders.push((user, words, own));
        }
        Ok(Self { holders })
    }
}
