//! Reading a configuration: one TOML file, overrides from the environment, and every mistake
//! reported at once with its key, its line and the nearest key that exists.
//!
//! The types that are read carry `#[serde(deny_unknown_fields)]`; so a misspelt key is a mistake
//! and not silently a default.

mod wording;

use std::{borrow::Cow, fmt, ops::Range};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeArray, DeString, DeTable, DeValue, Deserializer},
};

use crate::tr;

/// What environment variables that override the file begin with.
pub const PREFIX: &str = "YAKUBA_";

/// So many mistakes are reported at most.
const MOST_PROBLEMS: usize = 50;

/// One mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: the key with its tables, such as `store.path` or `authorities.0.name`; empty when the
    /// file as a whole is meant.
    pub key: String,
    /// The line of the file, counted from 1, if it is in the file.
    pub line: Option<usize>,
    /// The environment variable it came from, if it did.
    pub variable: Option<String>,
    /// What is wrong.
    pub message: String,
    /// The key that was perhaps meant.
    pub nearest: Option<String>,
    /// The text that stands there, if it is one; so a reader that knows its kind can say more.
    pub found: Option<String>,
    /// Other keys that it contradicts.
    pub with: Vec<String>,
}

impl Problem {
    /// A mistake that the reading itself cannot see, for instance two keys that exclude each other.
    pub fn of_key(key: impl Into<String>, message: impl Into<String>) -> Problem {
        let (key, message) = (key.into(), message.into());
        Problem { key, line: None, variable: None, message, nearest: None, found: None, with: Vec::new() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            f.write_str(&tr!("{line} 行目: ", "line {line}: "))?;
        }
        if let Some(variable) = &self.variable {
            f.write_str(&tr!("環境変数 {variable}: ", "environment variable {variable}: "))?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(nearest) = &self.nearest {
            f.write_str(&tr!("（`{nearest}` のことですか）", "; did you mean `{nearest}`?"))?;
        }
        Ok(())
    }
}

/// Reads a configuration.
///
/// `environment` is the process's environment, or part of it: `YAKUBA_A__B=x` sets key `b` of
/// table `a`, a number names an element of a list (`YAKUBA_AUTHORITIES__0__NAME`). A value that is
/// a TOML literal (`true`, `8008`, `["a", "b"]`, `"text"`) is taken as one, all else as text.
///
/// # Errors
/// All mistakes found, in the order of the file.
pub fn load<T: DeserializeOwned>(
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<T, Vec<Problem>> {
    let overrides = overrides(environment);
    let mut document = parse(text)?;
    let mut variables = override_from(&mut document, &overrides, text.len());
    let mut problems = Vec::new();

    let whole = document.clone();

    // The deserializer stops at its first mistake. So note it, take the entry out, read again.
    while problems.len() < MOST_PROBLEMS {
        let root = Spanned::new(0..text.len(), document.clone());
        let error = match T::deserialize(Deserializer::from(root)) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => break,
            Err(error) => error,
        };
        let variable = variables.iter_mut().find(|variable| Some(&variable.span) == error.span().as_ref());
        // Only a value of another type may be meant as text; a key that is missing below it is still missing.
        let wrong_type = error.message().starts_with("invalid type: ");
        let error = match variable {
            Some(variable) if wrong_type => match variable.retry_as_text(&mut document, error) {
                Some(error) => error,
                None => continue,
            },
            _ => error,
        };
        // An entry taken out before is missing now; that is no mistake of its own.
        if !is_taken_out(&problems, error.message()) {
            problems.push(problem(text, &whole, &error, &variables));
        }
        let path = place(&document, &error);
        if path.is_empty() {
            break;
        }
        remove(&mut document, &path);
    }
    problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
    Err(problems)
}

fn parse(text: &str) -> Result<DeTable<'_>, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(document.into_inner());
    }
    let problems = errors.iter().map(|error| Problem {
        line: error.span().map(|span| line_of(text, span.start)),
        ..Problem::of_key(
            "",
            tr!("TOML として読めません: {cause}", "this is no TOML: {cause}", cause = error.message()),
        )
    });
    Err(problems.collect())
}

/// A value that came from the environment.
struct Variable<'a> {
    name: &'a str,
    value: &'a str,
    path: Vec<String>,
    /// A place beyond the end of the file that marks its entries.
    span: Range<usize>,
    is_text: bool,
    /// What was wrong with it as a literal.
    as_literal: Option<toml::de::Error>,
}

impl<'a> Variable<'a> {
    /// `8008` may be meant as text; whoever reads decides. Returns nothing when that is worth a retry, and
    /// what is to be told otherwise: when neither is wanted, what is wrong with the literal that was written.
    fn retry_as_text(
        &mut self,
        document: &mut DeTable<'a>,
        error: toml::de::Error,
    ) -> Option<toml::de::Error> {
        if std::mem::replace(&mut self.is_text, true) {
            return Some(self.as_literal.take().unwrap_or(error));
        }
        self.as_literal = Some(error);
        set(document, &self.path, DeValue::String(Cow::Borrowed(self.value)), &self.span);
        None
    }
}

/// The variables that are meant for us, in order, so that lists grow element by element.
fn overrides(environment: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut found: Vec<_> = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    found.sort();
    found
}

fn override_from<'a>(
    document: &mut DeTable<'a>,
    overrides: &'a [(String, String)],
    end_of_text: usize,
) -> Vec<Variable<'a>> {
    let mut variables = Vec::new();
    for (index, (name, value)) in overrides.iter().enumerate() {
        let path: Vec<String> = name[PREFIX.len()..].to_lowercase().split("__").map(str::to_owned).collect();
        let start = end_of_text + 1 + index;
        let span = start..start + 1;
        let (literal, is_text) = match DeValue::parse(value) {
            Ok(literal) => (marked(literal.into_inner(), &span), false),
            Err(_) => (DeValue::String(Cow::Borrowed(value.as_str())), true),
        };
        set(document, &path, literal, &span);
        variables.push(Variable { name, value, path, span, is_text, as_literal: None });
    }
    variables
}

/// The same value with `span` as the place of all its parts.
fn marked<'a>(value: DeValue<'a>, span: &Range<usize>) -> DeValue<'a> {
    match value {
        DeValue::Array(items) => {
            let mut array = DeArray::new();
            for item in items {
                array.push(Spanned::new(span.clone(), marked(item.into_inner(), span)));
            }
            DeValue::Array(array)
        }
        DeValue::Table(entries) => {
            let mut table = DeTable::new();
            for (key, item) in entries {
                let item = Spanned::new(span.clone(), marked(item.into_inner(), span));
                table.insert(Spanned::new(span.clone(), key.into_inner()), item);
            }
            DeValue::Table(table)
        }
        plain => plain,
    }
}

/// Puts a value at a path, making the tables on the way.
fn set<'a>(table: &mut DeTable<'a>, path: &[String], value: DeValue<'a>, span: &Range<usize>) {
    let [name, rest @ ..] = path else { return };
    let key = Spanned::new(span.clone(), DeString::Owned(name.clone()));
    if rest.is_empty() {
        table.insert(key, Spanned::new(span.clone(), value));
        return;
    }
    let known = table.iter_mut().find(|(known, _)| known.get_ref() == name).map(|(_, value)| value.get_mut());
    match known {
        Some(DeValue::Table(inner)) => set(inner, rest, value, span),
        Some(DeValue::Array(items)) => set_in_list(items, rest, value, span),
        _ => {
            let mut inner = DeTable::new();
            let inner = if rest[0].parse::<usize>().is_ok() {
                let mut items = DeArray::new();
                set_in_list(&mut items, rest, value, span);
                DeValue::Array(items)
            } else {
                set(&mut inner, rest, value, span);
                DeValue::Table(inner)
            };
            table.insert(key, Spanned::new(span.clone(), inner));
        }
    }
}

/// Puts a value at a path that begins with the number of an element; one past the end appends.
fn set_in_list<'a>(items: &mut DeArray<'a>, path: &[String], value: DeValue<'a>, span: &Range<usize>) {
    let [index, rest @ ..] = path else { return };
    let index = index.parse().unwrap_or(items.len()).min(items.len());
    if index == items.len() {
        items.push(Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
    }
    let Some(item) = items.get_mut(index) else { return };
    match item.get_mut() {
        DeValue::Table(inner) if !rest.is_empty() => set(inner, rest, value, span),
        _ => *item = Spanned::new(span.clone(), value),
    }
}

/// Where the mistake is; empty when it is in the file as a whole.
fn place(document: &DeTable<'_>, error: &toml::de::Error) -> Vec<String> {
    let unknown =
        error.message().starts_with("unknown field").then(|| quoted(error.message()).next()).flatten();
    error.span().and_then(|span| find(document, &span, unknown)).unwrap_or_default()
}

/// The path of the innermost entry whose key, or value unless a key is `wanted`, stands here.
fn find(table: &DeTable<'_>, span: &Range<usize>, wanted: Option<&str>) -> Option<Vec<String>> {
    table.iter().find_map(|(key, value)| {
        let is_it = key.span() == *span && wanted.is_none_or(|wanted| wanted == key.get_ref());
        let inner = find_in(value, span, wanted).or_else(|| is_it.then(Vec::new));
        inner.map(|path| below(key.get_ref(), path))
    })
}

/// The path within a value: empty when it is the value itself.
fn find_in(value: &Spanned<DeValue<'_>>, span: &Range<usize>, wanted: Option<&str>) -> Option<Vec<String>> {
    let inner = match value.get_ref() {
        DeValue::Table(inner) => find(inner, span, wanted),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            find_in(item, span, wanted).map(|path| below(&index.to_string(), path))
        }),
        _ => None,
    };
    inner.or_else(|| (wanted.is_none() && value.span() == *span).then(Vec::new))
}

fn below(name: &str, mut path: Vec<String>) -> Vec<String> {
    path.insert(0, name.to_owned());
    path
}

fn remove(table: &mut DeTable<'_>, path: &[String]) {
    let [name, rest @ ..] = path else { return };
    if rest.is_empty() {
        table.remove(name.as_str());
        return;
    }
    let Some((_, value)) = table.iter_mut().find(|(key, _)| key.get_ref() == name) else { return };
    remove_from(value, rest);
}

fn remove_from(value: &mut Spanned<DeValue<'_>>, path: &[String]) {
    match value.get_mut() {
        DeValue::Table(inner) => remove(inner, path),
        DeValue::Array(items) => {
            let Some(index) = path[0].parse::<usize>().ok().filter(|index| *index < items.len()) else {
                return;
            };
            if let [_, rest @ ..] = path
                && !rest.is_empty()
            {
                return items.get_mut(index).map_or((), |item| remove_from(item, rest));
            }
            let all = std::mem::replace(items, DeArray::new());
            for (_, item) in all.into_iter().enumerate().filter(|(at, _)| *at != index) {
                items.push(item);
            }
        }
        _ => {}
    }
}

fn problem(
    text: &str,
    document: &DeTable<'_>,
    error: &toml::de::Error,
    variables: &[Variable<'_>],
) -> Problem {
    let path = place(document, error);
    let span = error.span();
    let variable = variables.iter().find(|variable| Some(&variable.span) == span.as_ref());
    let in_file = variable.is_none() && !path.is_empty();
    let line = span.filter(|_| in_file).map(|span| line_of(text, span.start));
    let (message, nearest) = match error.message().split_once(", expected") {
        Some((unknown, expected)) if unknown.starts_with("unknown field") => {
            let meant = nearest(path.last().map_or("", String::as_str), expected);
            (tr!("そのようなキーはありません", "there is no such key"), meant)
        }
        _ => (wording::in_plain_words(error.message()), None),
    };
    Problem {
        line,
        variable: variable.map(|variable| variable.name.to_owned()),
        nearest,
        found: reach(document, &path).1.and_then(|value| value.as_str()).map(ToOwned::to_owned),
        ..Problem::of_key(path.join("."), message)
    }
}

/// Follows a path as far as the document has it: the place of the last entry on it, and the value if
/// the path is there to its end.
fn reach<'d, 'a>(
    document: &'d DeTable<'a>,
    path: &[String],
) -> (Option<Range<usize>>, Option<&'d DeValue<'a>>) {
    let Some((name, mut rest)) = path.split_first() else { return (None, None) };
    let Some((mut place, mut value)) = entry(document, name) else { return (None, None) };
    while let Some((name, further)) = rest.split_first() {
        let next = match value {
            DeValue::Table(inner) => entry(inner, name),
            DeValue::Array(items) => {
                let item = name.parse::<usize>().ok().and_then(|index| items.get(index));
                item.map(|item| (item.span(), item.get_ref()))
            }
            _ => None,
        };
        let Some((next_place, next_value)) = next else { return (Some(place), None) };
        (place, value, rest) = (next_place, next_value, further);
    }
    (Some(place), Some(value))
}

fn entry<'d, 'a>(table: &'d DeTable<'a>, name: &str) -> Option<(Range<usize>, &'d DeValue<'a>)> {
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
    Some((key.span(), value.get_ref()))
}

/// Finds the line, or the environment variable, of mistakes that have a key only, and puts all into
/// the order of the file. A variable that takes part in a mistake is named before any line; a key that is
/// absent is placed where its table begins.
pub fn locate(text: &str, environment: impl IntoIterator<Item = (String, String)>, problems: &mut [Problem]) {
    let overrides = overrides(environment);
    let Ok(mut document) = parse(text) else { return };
    let variables = override_from(&mut document, &overrides, text.len());
    let path_of = |key: &str| key.split('.').map(str::to_owned).collect::<Vec<String>>();
    let variable_of = |key: &str| {
        let path = path_of(key);
        let place = reach(&document, &path).0;
        let made = variables.iter().find(|variable| Some(&variable.span) == place.as_ref());
        made.or_else(|| variables.iter().find(|variable| variable.path.starts_with(&path)))
    };
    for problem in problems.iter_mut() {
        let variable =
            variable_of(&problem.key).or_else(|| problem.with.iter().find_map(|key| variable_of(key)));
        if let Some(variable) = variable {
            problem.variable = Some(variable.name.to_owned());
        } else {
            problem.line = reach(&document, &path_of(&problem.key)).0.map(|place| line_of(text, place.start));
        }
    }
    problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
}

/// Whether a missing key is one that was noted as wrong and taken out.
fn is_taken_out(problems: &[Problem], message: &str) -> bool {
    if !message.starts_with("missing field") {
        return false;
    }
    quoted(message)
        .next()
        .is_some_and(|name| problems.iter().any(|problem| problem.key.rsplit('.').next() == Some(name)))
}

/// The words between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The name of those between backticks that was perhaps meant: at most every third letter wrong.
fn nearest(name: &str, expected: &str) -> Option<String> {
    quoted(expected)
        .map(|known| (distance(name, known), known))
        .filter(|(distance, known)| *distance <= known.chars().count().max(name.chars().count()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known.to_owned())
}

/// How many letters have to be put in, taken out or changed to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, known) in other.iter().enumerate() {
            let change = diagonal + usize::from(*known != letter);
            diagonal = row[column + 1];
            row[column + 1] = change.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

fn line_of(text: &str, place: usize) -> usize {
    1 + text.bytes().take(place).filter(|byte| *byte == b'\n').count()
}
