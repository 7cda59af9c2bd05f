//! Filters: which resources are wanted, as RFC 7644 writes it.
//!
//! ```text
//! userName eq "hanako" and (emails[type eq "work" and value ew "@example.jp"] or not (title pr))
//! ```
//!
//! A filter is bounded in length, depth and terms before anything is looked at. A name that means nothing is an attribute that
//! nobody has.
//!
//! Reading order: [`Filter`], [`Filter::parse`], [`Filter::matches`].

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::{
    error::{Error, Wrong},
    moment,
    name::{self, Name, Named},
    schema::{Attribute, Kind, Schema, Type},
};

/// Longest filter, in bytes.
pub(crate) const LONGEST: usize = 4_096;
/// How deep brackets and negations may stand in each other.
const DEEPEST: usize = 16;
/// Most comparisons of a filter.
const MOST_TERMS: usize = 100;

/// Which resources are wanted.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    /// There is a value.
    Present(Place),
    /// A value compares so.
    Compare(Place, Operator, Literal),
    /// One of several values fits by itself.
    Within(Place, Box<Filter>),
}

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// In a resource.
    Resource(Name),
    /// In one value of a complex attribute.
    Part(&'static Attribute),
    /// An extension of a resource, as a whole.
    Extension(&'static Schema),
    /// Nowhere.
    Nowhere,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Eq,
    Ne,
    Co,
    Sw,
    Ew,
    Gt,
    Ge,
    Lt,
    Le,
}

/// What a value is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Text(String),
    Boolean(bool),
    Number(f64),
    Null,
}

/// What names mean where a filter stands.
#[derive(Clone, Copy)]
pub(crate) enum Names {
    /// Those of a type.
    Of(&'static Type),
    /// Parts of an attribute.
    PartsOf(&'static Attribute),
}

impl Names {
    fn find(self, text: &str) -> Place {
        match self {
            Self::Of(of) => match name::find(of, text) {
                Named::Attribute(name) => Place::Resource(name),
                Named::Extension(schema) => Place::Extension(schema),
                Named::PassedOver | Named::Nothing => Place::Nowhere,
            },
            Self::PartsOf(attribute) => attribute.part(text).map_or(Place::Nowhere, Place::Part),
        }
    }
}

impl Filter {
    /// Reads a filter over resources of a type.
    ///
    /// # Errors
    /// [`Wrong::Filter`].
    pub(crate) fn parse(of: &'static Type, text: &str) -> Result<Self, Error> {
        Self::parse_for(Names::Of(of), text)
    }

    /// Reads a filter, with what names mean in it.
    pub(crate) fn parse_for(names: Names, text: &str) -> Result<Self, Error> {
        if text.len() > LONGEST {
            return Err(wrong("the filter is longer than 4,096 bytes"));
        }
        let mut parser = Parser { rest: text, terms: 0, depth: 0 };
        let filter = parser.any(names)?;
        parser.skip_spaces();
        if !parser.rest.is_empty() {
            return Err(wrong("something stands behind the filter's end"));
        }
        Ok(filter)
    }

    /// Whether a resource, or a value of the attribute that it is about, is wanted.
    pub(crate) fn matches(&self, holder: &Map<String, Value>) -> bool {
        match self {
            Self::And(all) => all.iter().all(|one| one.matches(holder)),
            Self::Or(all) => all.iter().any(|one| one.matches(holder)),
            Self::Not(one) => !one.matches(holder),
            Self::Present(place) => place.values(holder).iter().any(|value| is_something(value)),
            Self::Compare(place, operator, literal) => {
                let exact = place.leaf().is_some_and(|leaf| leaf.exact);
                let is_moment = place.leaf().is_some_and(|leaf| matches!(leaf.kind, Kind::DateTime));
                let values = place.values(holder);
                let fits = |operator| {
                    values.iter().any(|value| compares(value, operator, literal, exact, is_moment))
                };
                match (operator, literal) {
                    (Operator::Eq, Literal::Null) => !values.iter().any(|value| is_something(value)),
                    (Operator::Ne, Literal::Null) => values.iter().any(|value| is_something(value)),
                    (Operator::Ne, _) => !fits(Operator::Eq),
                    (operator, _) => fits(*operator),
                }
            }
            Self::Within(place, filter) => place
                .whole(holder)
                .iter()
                .filter_map(|value| value.as_object())
                .any(|value| filter.matches(value)),
        }
    }

    /// The comparisons that all have to hold.
    pub(crate) fn demands(&self) -> Vec<(Place, &str)> {
        match self {
            Self::And(all) => all.iter().flat_map(Filter::demands).collect(),
            Self::Compare(place, Operator::Eq, Literal::Text(text)) => vec![(*place, text.as_str())],
            _ => Vec::new(),
        }
    }

    /// How often an attribute of this name is looked at.
    pub(crate) fn looks_at(&self, attribute: &str) -> usize {
        match self {
            Self::And(all) | Self::Or(all) => all.iter().map(|one| one.looks_at(attribute)).sum(),
            Self::Not(one) => one.looks_at(attribute),
            Self::Present(place) | Self::Compare(place, ..) | Self::Within(place, _) => {
                usize::from(matches!(place, Place::Resource(name) if name.attribute.name == attribute))
            }
        }
    }

    /// A value for which this holds, if it is nothing but equations of parts.
    pub(crate) fn as_value(&self) -> Option<Map<String, Value>> {
        match self {
            Self::And(all) => {
                let mut whole = Map::new();
                for one in all {
                    whole.extend(one.as_value()?);
                }
                Some(whole)
            }
            Self::Compare(Place::Part(part), Operator::Eq, literal) => {
                let value = match literal {
                    Literal::Text(text) => Value::from(text.as_str()),
                    Literal::Boolean(is) => Value::from(*is),
                    Literal::Number(_) | Literal::Null => return None,
                };
                Some(Map::from_iter([(part.name.to_owned(), value)]))
            }
            _ => None,
        }
    }
}

impl Place {
    /// What is compared in the end: of a complex attribute that is named as a whole, its value.
    fn leaf(&self) -> Option<&'static Attribute> {
        match self {
            Self::Resource(name) => {
                Some(name.part.or_else(|| name.attribute.part("value")).unwrap_or(name.attribute))
            }
            Self::Part(part) => Some(part),
            Self::Extension(_) | Self::Nowhere => None,
        }
    }

    /// The values of the attribute, whole.
    fn whole<'a>(&self, holder: &'a Map<String, Value>) -> Vec<&'a Value> {
        let value = match self {
            Self::Resource(name) => name.value(holder),
            Self::Part(part) => holder.get(part.name),
            Self::Extension(schema) => holder.get(schema.urn),
            Self::Nowhere => None,
        };
        match value {
            Some(Value::Array(all)) => all.iter().collect(),
            Some(one) => vec![one],
            None => Vec::new(),
        }
    }

    /// The values to compare.
    fn values<'a>(&self, holder: &'a Map<String, Value>) -> Vec<&'a Value> {
        let whole = self.whole(holder);
        // An extension is there as a whole, and compares with nothing.
        let Some(leaf) = self.leaf() else { return whole };
        let part = |value: &'a Value| match value {
            Value::Object(parts) => parts.get(leaf.name).or_else(|| self.is_whole().then_some(value)),
            other => Some(other),
        };
        whole.into_iter().filter_map(part).collect()
    }

    fn is_whole(&self) -> bool {
        matches!(self, Self::Resource(name) if name.part.is_none())
    }
}

/// Whether a value is not as good as none.
fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn compares(value: &Value, operator: Operator, literal: &Literal, exact: bool, is_moment: bool) -> bool {
    match (value, literal) {
        (Value::String(value), Literal::Text(text)) if is_moment => {
            let order = moment::read(value).and_then(|value| Some(value.cmp(&moment::read(text)?)));
            order.is_some_and(|order| fits(operator, order))
        }
        (Value::String(value), Literal::Text(text)) if exact => compares_texts(value, operator, text),
        (Value::String(value), Literal::Text(text)) => {
            compares_texts(&value.to_lowercase(), operator, &text.to_lowercase())
        }
        (Value::Bool(value), Literal::Boolean(is)) => operator == Operator::Eq && value == is,
        // Some write booleans as texts.
        (Value::Bool(value), Literal::Text(text)) => {
            operator == Operator::Eq && text.eq_ignore_ascii_case(if *value { "true" } else { "false" })
        }
        (Value::Number(value), Literal::Number(number)) => {
            let order = value.as_f64().and_then(|value| value.partial_cmp(number));
            order.is_some_and(|order| fits(operator, order))
        }
        _ => false,
    }
}

fn compares_texts(value: &str, operator: Operator, text: &str) -> bool {
    match operator {
        Operator::Co => value.contains(text),
        Operator::Sw => value.starts_with(text),
        Operator::Ew => value.ends_with(text),
        _ => fits(operator, value.cmp(text)),
    }
}

fn fits(operator: Operator, order: Ordering) -> bool {
    match operator {
        Operator::Eq => order.is_eq(),
        Operator::Ne => order.is_ne(),
        Operator::Gt => order.is_gt(),
        Operator::Ge => order.is_ge(),
        Operator::Lt => order.is_lt(),
        Operator::Le => order.is_le(),
        Operator::Co | Operator::Sw | Operator::Ew => false,
    }
}

fn wrong(detail: impl Into<String>) -> Error {
    Error::invalid(Wrong::Filter, detail)
}

struct Parser<'a> {
    rest: &'a str,
    terms: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Takes a word of the grammar, if it stands here as a whole.
    fn takes_word(&mut self, word: &str) -> bool {
        self.skip_spaces();
        let Some((begin, rest)) = self.rest.split_at_checked(word.len()) else { return false };
        let ends = rest.is_empty() || rest.starts_with([' ', '\t', '(', ')', ']']);
        let is_there = ends && begin.eq_ignore_ascii_case(word);
        if is_there {
            self.rest = rest;
        }
        is_there
    }

    fn takes(&mut self, mark: char) -> bool {
        self.skip_spaces();
        let rest = self.rest.strip_prefix(mark);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// `one or other or …`
    fn any(&mut self, names: Names) -> Result<Filter, Error> {
        let mut all = vec![self.every(names)?];
        while self.takes_word("or") {
            all.push(self.every(names)?);
        }
        Ok(if all.len() == 1 { all.swap_remove(0) } else { Filter::Or(all) })
    }

    /// `one and other and …`
    fn every(&mut self, names: Names) -> Result<Filter, Error> {
        let mut all = vec![self.one(names)?];
        while self.takes_word("and") {
            all.push(self.one(names)?);
        }
        Ok(if all.len() == 1 { all.swap_remove(0) } else { Filter::And(all) })
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(wrong("the filter is nested deeper than 16"));
        }
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn one(&mut self, names: Names) -> Result<Filter, Error> {
        if self.takes('(') {
            return self.deeper(|parser| {
                let filter = parser.any(names)?;
                if parser.takes(')') { Ok(filter) } else { Err(wrong("a bracket is not closed")) }
            });
        }
        if self.takes_word("not") {
            return self.deeper(|parser| Ok(Filter::Not(Box::new(parser.one(names)?))));
        }
        self.term(names)
    }

    fn term(&mut self, names: Names) -> Result<Filter, Error> {
        self.terms += 1;
        if self.terms > MOST_TERMS {
            return Err(wrong("the filter has more than 100 comparisons"));
        }
        let place = names.find(self.name()?);
        if self.rest.starts_with('[') {
            self.rest = &self.rest[1..];
            let parts = match (names, place) {
                (Names::Of(_), Place::Resource(Name { attribute, part: None, .. }))
                    if !attribute.parts().is_empty() =>
                {
                    attribute
                }
                _ => return Err(wrong("only what has parts can be looked into by […]")),
            };
            return self.deeper(|parser| {
                let filter = parser.any(Names::PartsOf(parts))?;
                match parser.takes(']') {
                    true => Ok(Filter::Within(place, Box::new(filter))),
                    false => Err(wrong("a [ is not closed")),
                }
            });
        }
        if self.takes_word("pr") {
            return Ok(Filter::Present(place));
        }
        let operator = self.operator()?;
        let literal = self.literal()?;
        let is_ordered = matches!(operator, Operator::Gt | Operator::Ge | Operator::Lt | Operator::Le);
        if matches!(literal, Literal::Boolean(_) | Literal::Null)
            && !matches!(operator, Operator::Eq | Operator::Ne)
        {
            return Err(wrong("true, false and null are equal to something or not, and nothing else"));
        }
        if is_ordered && place.leaf().is_some_and(|leaf| matches!(leaf.kind, Kind::Boolean)) {
            return Err(wrong("booleans have no order"));
        }
        Ok(Filter::Compare(place, operator, literal))
    }

    fn name(&mut self) -> Result<&'a str, Error> {
        self.skip_spaces();
        let is_of_name =
            |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, ':' | '.' | '_' | '-' | '$');
        let end = self.rest.find(|letter| !is_of_name(letter)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() {
            return Err(wrong("the name of an attribute is missing"));
        }
        self.rest = rest;
        Ok(name)
    }

    fn operator(&mut self) -> Result<Operator, Error> {
        use Operator::{Co, Eq, Ew, Ge, Gt, Le, Lt, Ne, Sw};
        let words = [
            ("eq", Eq),
            ("ne", Ne),
            ("co", Co),
            ("sw", Sw),
            ("ew", Ew),
            ("gt", Gt),
            ("ge", Ge),
            ("lt", Lt),
            ("le", Le),
        ];
        let found = words.into_iter().find(|(word, _)| self.takes_word(word));
        found
            .map(|(_, operator)| operator)
            .ok_or_else(|| wrong("eq, ne, co, sw, ew, gt, ge, lt, le or pr is missing"))
    }

    fn literal(&mut self) -> Result<Literal, Error> {
        self.skip_spaces();
        if self.rest.starts_with('"') {
            return self.text().map(Literal::Text);
        }
        for (word, literal) in
            [("true", Literal::Boolean(true)), ("false", Literal::Boolean(false)), ("null", Literal::Null)]
        {
            if self.takes_word(word) {
                return Ok(literal);
            }
        }
        let end = self.rest.find([' ', '\t', ')', ']']).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        let number = number.parse::<f64>().ok().filter(|number| number.is_finite());
        self.rest = rest;
        number.map(Literal::Number).ok_or_else(|| wrong("a value is missing, such as \"text\" or true"))
    }

    /// A text in quotes, as JSON writes it.
    fn text(&mut self) -> Result<String, Error> {
        let mut is_escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, letter)| {
            let ends = *letter == '"' && !is_escaped;
            is_escaped = *letter == '\\' && !is_escaped;
            ends
        });
        let (end, _) = end.ok_or_else(|| wrong("a quote is not closed"))?;
        let (text, rest) = self.rest.split_at(end + 1);
        self.rest = rest;
        serde_json::from_str(text).map_err(|_| wrong("a text in quotes is not as JSON writes it"))
    }
}
