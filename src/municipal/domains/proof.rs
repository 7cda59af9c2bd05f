//! What proves that a domain is an authority's: what is asked, and what follows from the answers.

use async_trait::async_trait;
use ruma::ServerName;
use serde::{Deserialize, Serialize};

use crate::domain::{MailDomain, WORD};

/// It could not be asked now, and why: for the log alone, since strangers wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreached(pub String);

/// Who can be asked what a domain says of itself.
#[async_trait]
pub trait Witness: Send + Sync {
    /// The TXT records of a name; none where there are none. Bounded in number and length.
    ///
    /// # Errors
    /// [`Unreached`] where DNS did not say.
    async fn records(&self, name: &str) -> Result<Vec<String>, Unreached>;

    /// The small text file at an address: as the server of that very address gives it over TLS, which shows the certificate of
    /// its name, and not as another one that it leads to. None where there is none.
    ///
    /// # Errors
    /// [`Unreached`] where that server did not say, or leads elsewhere.
    async fn file(&self, url: &str) -> Result<Option<String>, Unreached>;
}

/// By what a domain is proven. New ones are added at the end: rows have their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// A record in DNS.
    Record,
    /// A file on its web server.
    File,
}

/// Why a domain was not proven when it was looked at last. New ones are added at the end: rows have their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Problem {
    /// Neither the record nor the file is there.
    Absent,
    /// What is there names other authorities.
    Other,
    /// It could not be found out.
    Unreached,
}

/// Whether some texts say that a domain is an authority's, or another one's.
fn says<'a>(texts: impl Iterator<Item = &'a str>, authority: &ServerName) -> Option<bool> {
    let wanted = MailDomain::says(authority);
    let said: Vec<&str> = texts.map(str::trim).filter(|text| text.starts_with(WORD)).collect();
    (!said.is_empty()).then(|| said.iter().any(|text| *text == wanted))
}

/// What follows from both answers.
///
/// # Errors
/// [`Problem`].
pub(crate) fn judged(
    authority: &ServerName,
    records: &Result<Vec<String>, Unreached>,
    file: &Result<Option<String>, Unreached>,
) -> Result<How, Problem> {
    let by_record = records.as_ref().map(|texts| says(texts.iter().map(String::as_str), authority));
    let by_file = file.as_ref().map(|text| says(text.iter().flat_map(|text| text.lines()), authority));
    match (by_record, by_file) {
        (Ok(Some(true)), _) => Ok(How::Record),
        (_, Ok(Some(true))) => Ok(How::File),
        // DNS has answered with another name: a domain for mail alone has no web server, and what is wrong with its record is what
        // helps.
        (Ok(Some(false)), _) => Err(Problem::Other),
        (Err(_), _) | (_, Err(_)) => Err(Problem::Unreached),
        (Ok(None), Ok(None)) => Err(Problem::Absent),
        (_, Ok(Some(false))) => Err(Problem::Other),
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    #[test]
    fn either_of_both_proves_and_what_cannot_be_asked_disproves_nothing() {
        let ours = || "yakuba-authority=kanazawa.test".to_owned();
        let other = || "yakuba-authority=wajima.test".to_owned();
        let longer = || "yakuba-authority=kanazawa.test.evil".to_owned();
        let away = || Unreached("late".to_owned());
        let mixed = vec!["v=spf1 -all".to_owned(), other(), ours()];
        for (records, file, judgement) in [
            (Ok(mixed), Ok(None), Ok(How::Record)),
            (Ok(vec![ours()]), Err(away()), Ok(How::Record)),
            (Err(away()), Ok(Some(format!("# whose we are\r\n {} \r\n", ours()))), Ok(How::File)),
            (Ok(vec![other()]), Ok(Some(ours())), Ok(How::File)),
            (Ok(vec!["v=spf1 -all".to_owned()]), Ok(None), Err(Problem::Absent)),
            (Ok(vec![longer()]), Ok(None), Err(Problem::Other)),
            (Ok(Vec::new()), Ok(Some(other())), Err(Problem::Other)),
            // A page for everything, as some servers give.
            (Ok(Vec::new()), Ok(Some("<html>kanazawa.test</html>".to_owned())), Err(Problem::Absent)),
            (Err(away()), Ok(None), Err(Problem::Unreached)),
            (Ok(Vec::new()), Err(away()), Err(Problem::Unreached)),
            (Ok(vec![other()]), Err(away()), Err(Problem::Other)),
        ] {
            assert_eq!(
                judged(server_name!("kanazawa.test"), &records, &file),
                judgement,
                "{records:?} {file:?}"
            );
        }
    }
}
