//! The findings, as a table for people and a JSON line for programs.

use serde_json::{Map, Value};

/// Figures in the order in which they were found.
#[derive(Debug)]
pub(crate) struct Report {
    name: String,
    figures: Vec<(String, f64)>,
    missed: Vec<String>,
}

impl Report {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), figures: Vec::new(), missed: Vec::new() }
    }

    /// Notes a figure; the name ends with its unit.
    pub(crate) fn number(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        eprintln!("{:>12}  {name} = {}", self.name, readable(value));
        self.figures.push((name, value));
    }

    /// Notes that something did not come to its end, or was not as it must be; it stands below the table.
    pub(crate) fn missed(&mut self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("{:>12}  MISSED: {what}", self.name);
        self.missed.push(what);
    }

    /// Whether everything came to its end.
    pub(crate) fn is_whole(&self) -> bool {
        self.missed.is_empty()
    }

    pub(crate) fn table(&self) -> String {
        let mut out = format!("\n{:<44} {:>14}\n", "figure", self.name);
        for (name, value) in &self.figures {
            out.push_str(&format!("{name:<44} {:>14}\n", readable(*value)));
        }
        for what in &self.missed {
            out.push_str(&format!("MISSED: {what}\n"));
        }
        out
    }

    pub(crate) fn json_line(&self) -> String {
        let mut object = Map::new();
        object.insert("server".to_owned(), Value::from(self.name.clone()));
        for (name, value) in &self.figures {
            object.insert(name.clone(), Value::from((value * 1000.0).round() / 1000.0));
        }
        if !self.missed.is_empty() {
            object.insert("missed".to_owned(), Value::from(self.missed.clone()));
        }
        Value::Object(object).to_string()
    }
}

fn readable(value: f64) -> String {
    match value {
        v if v.is_nan() => "-".to_owned(),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}
