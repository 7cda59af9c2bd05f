//! From and until when a rule holds that is there: as it was said last, for other days. What is decided so is written by whoever
//! decided it, beside what that takes.

use audit::{Action, Actor};
use intake::Date;
use organisation::Span;
use ruma::ServerName;
use store::Batch;

use crate::{
    book::RuleId,
    deciding::{must_fit, no_day, no_rule},
    error::Error,
    rule::Rule,
    rules::Rules,
};

/// On which days a rule is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Days {
    /// As it was said last, from a day on; and before another one, from which it holds no more.
    Holds {
        /// The first day.
        from: Date,
        /// The first one after it.
        until: Option<Date>,
    },
    /// No more.
    Ends {
        /// The first day on which it does not.
        from: Date,
    },
}

impl Rules {
    /// Whether that could be said of a rule now.
    ///
    /// # Errors
    /// [`Error::Refused`] where it could not.
    pub async fn check_days(&self, authority: &ServerName, rule: RuleId, days: Days) -> Result<(), Error> {
        let (rules, authority) = (self.clone(), authority.to_owned());
        self.aside(async move { rules.says(&authority, rule, days).await.map(drop) }).await
    }

    /// What is written so that a rule holds on these days, with its row in the audit log, which names by what that was decided.
    /// The rooms follow with the next look after it is committed.
    ///
    /// # Errors
    /// [`Error::Refused`] where there is no such rule, or it would make too many rooms; [`Error::Store`].
    pub async fn batch_of_days(
        &self,
        authority: &ServerName,
        rule: RuleId,
        days: Days,
        by: &Actor,
        (name, number): (&'static str, &str),
    ) -> Result<Batch, Error> {
        let (rules, authority, by) = (self.clone(), authority.to_owned(), by.clone());
        let number = number.to_owned();
        let act = async move {
            let rule_then = rules.says(&authority, rule, days).await?;
            let deed = |RuleId(id): RuleId| {
                let (action, from, until) = match days {
                    Days::Holds { from, until } => (Action::SetRule, from, until),
                    Days::Ends { from } => (Action::EndRule, from, None),
                };
                let deed = rules.deed(action, &by, &id.to_string());
                let deed = deed.after("title", &rule_then.title).after("from", from.to_string());
                let deed = until.map_or(deed.clone(), |until| deed.after("until", until.to_string()));
                deed.after(name, &number)
            };
            let (span, says, after) = match days {
                Days::Holds { from, until } => {
                    (Span::new(Some(from), until).ok_or_else(no_day)?, Some(&rule_then), until)
                }
                Days::Ends { from } => (Span::since(from), None, None),
            };
            // What was said before of the days behind it stands no more.
            let said: Vec<_> =
                after.map(|until| (Span::since(until), None)).into_iter().chain([(span, says)]).collect();
            let (_, batch) = rules.batch(&authority, Some(rule), &said, &by, &deed).await?;
            Ok(batch)
        };
        self.aside(act).await
    }

    /// What a rule would say on these days.
    async fn says(&self, authority: &ServerName, rule: RuleId, days: Days) -> Result<Rule, Error> {
        let (book, _) = self.book(authority).await?;
        let says = book.last(rule).cloned().ok_or_else(|| Error::Refused(no_rule(rule)))?;
        if let Days::Holds { from, until } = days {
            let span = Span::new(Some(from), until).ok_or_else(no_day)?;
            let entry = self.entry(span, Some(says.clone()), &Actor::server());
            must_fit(&self.view(authority, from, Some((rule, entry))).await?)?;
        }
        Ok(says)
    }
}
