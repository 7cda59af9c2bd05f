//! What a form or a query string holds.

use std::collections::HashSet;

use web::{HeaderMap, header};

/// Fields that are read.
pub(crate) const MOST_FIELDS: usize = 512;
/// Longest value of a field, in bytes; redirects and states are the longest that anybody sends.
const LONGEST_VALUE: usize = 8 << 10;

/// The fields of a form, each named once.
#[derive(Clone, Debug, Default)]
pub struct Form(Vec<(String, String)>);

/// Why a form could not be read; the text is public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadForm(pub &'static str);

impl Form {
    /// Reads a body of the type `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    /// [`BadForm`] for another type, a field that comes twice, too many or too long ones.
    pub fn of_body(headers: &HeaderMap, body: &[u8]) -> Result<Form, BadForm> {
        let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = named.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(BadForm("the body is not application/x-www-form-urlencoded"));
        }
        Form::parse(body)
    }

    /// Reads a query string.
    ///
    /// # Errors
    /// As [`Form::of_body`].
    pub fn of_query(query: Option<&str>) -> Result<Form, BadForm> {
        Form::parse(query.unwrap_or_default().as_bytes())
    }

    /// Of fields that were read elsewhere.
    ///
    /// # Errors
    /// [`BadForm`] for a field that comes twice, too many or too long ones.
    pub(crate) fn of_fields(fields: Vec<(String, String)>) -> Result<Form, BadForm> {
        if fields.len() > MOST_FIELDS {
            return Err(BadForm("the form has too many fields"));
        }
        let mut names = HashSet::new();
        for (name, value) in &fields {
            if value.len() > LONGEST_VALUE || name.len() > LONGEST_VALUE {
                return Err(BadForm("a field of the form is too long"));
            }
            if value.contains('\0') {
                return Err(BadForm("a field of the form holds a NUL"));
            }
            // Whoever reads the first of two would not agree with whoever reads the last.
            if !names.insert(name.as_str()) {
                return Err(BadForm("a field of the form comes twice"));
            }
        }
        Ok(Form(fields))
    }

    fn parse(text: &[u8]) -> Result<Form, BadForm> {
        let fields: Vec<(String, String)> =
            serde_html_form::from_bytes(text).map_err(|_| BadForm("the form cannot be read"))?;
        Form::of_fields(fields)
    }

    /// A value as it stands in a query string.
    pub fn escape(value: &str) -> String {
        let pair = serde_html_form::to_string([("", value)]).unwrap_or_default();
        pair.trim_start_matches('=').to_owned()
    }

    /// The value of a field; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(named, _)| named == name).map_or("", |(_, value)| value)
    }

    /// The fields but one, as a query string.
    pub fn query_without(&self, name: &str) -> String {
        let rest: Vec<_> = self.0.iter().filter(|(named, _)| named != name).collect();
        serde_html_form::to_string(rest).unwrap_or_default()
    }

    /// All fields, in the order in which they were sent.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a field that is there and not empty.
    pub fn find(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|value| !value.is_empty())
    }
}
