//! What a rule says from a day on, decided by somebody else's leave: it is looked at when that is asked for, and written by
//! whoever decides it, beside what that takes.

use audit::{Action, Actor};
use intake::Date;
use organisation::Span;
use ruma::ServerName;
use store::Batch;

use crate::{
    answer::{Answer, Previewed},
    book::RuleId,
    deciding::must_fit,
    error::Error,
    rule::{Rule, Wish},
    rules::Rules,
};

impl Rules {
    /// What would be done on a day if a rule said this from then on.
    ///
    /// # Errors
    /// [`Error::Refused`] where it cannot say that, or there is no such rule; [`Error::Store`].
    pub async fn check_wish(
        &self,
        authority: &ServerName,
        rule: Option<RuleId>,
        wish: Wish,
        from: Date,
    ) -> Result<Previewed, Error> {
        let (rules, authority) = (self.clone(), authority.to_owned());
        let look = async move {
            rules.resolved(&authority, rule, wish.clone(), from).await?;
            match rules.preview(&authority, Some((rule, wish)), Some(from)).await? {
                Answer::Previewed(previewed) => Ok(previewed),
                _ => Ok(Previewed::default()),
            }
        };
        self.aside(look).await
    }

    /// What is written so that a rule says this from a day on, with its row in the audit log, which names by what that was decided.
    /// The rooms follow with the next look after it is committed.
    ///
    /// # Errors
    /// As [`Rules::check_wish`].
    pub async fn batch_of_wish(
        &self,
        authority: &ServerName,
        (rule, wish, from): (Option<RuleId>, Wish, Date),
        by: &Actor,
        (name, number): (&'static str, &str),
    ) -> Result<Batch, Error> {
        let (rules, authority, by) = (self.clone(), authority.to_owned(), by.clone());
        let number = number.to_owned();
        let act = async move {
            let says = rules.resolved(&authority, rule, wish, from).await?;
            let deed = |RuleId(id): RuleId| {
                let deed = rules.deed(Action::SetRule, &by, &id.to_string()).after("title", &says.title);
                deed.after("from", from.to_string()).after(name, &number)
            };
            let said = [(Span::since(from), Some(&says))];
            Ok(rules.batch(&authority, rule, &said, &by, &deed).await?.1)
        };
        self.aside(act).await
    }

    /// The rule that is meant, where it fits.
    async fn resolved(
        &self,
        authority: &ServerName,
        rule: Option<RuleId>,
        wish: Wish,
        from: Date,
    ) -> Result<Rule, Error> {
        let organisation = self.inner.organisations.load(authority).await?.organisation;
        let says = wish.resolve(&organisation, from).map_err(Error::Refused)?;
        let entry = self.entry(Span::since(from), Some(says.clone()), &Actor::server());
        // One that is not there yet comes after all that are.
        let id = rule.unwrap_or(RuleId(u64::MAX));
        must_fit(&self.view(authority, from, Some((id, entry))).await?)?;
        Ok(says)
    }
}
