//! [`Conduct`]: how an endpoint is answered.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::Value;

type Lie = Arc<dyn Fn(&Request<Bytes>) -> Value + Send + Sync>;
type Change = Arc<dyn Fn(&mut Value) + Send + Sync>;
type Entry = Arc<dyn Fn(u64) -> String + Send + Sync>;

/// How the hostile server answers an endpoint.
#[derive(Clone)]
pub enum Conduct {
    /// As the specification wants it, as far as it knows.
    Honest,
    /// The honest answer, with something changed.
    Alter(Change),
    /// This status and this JSON.
    Say(StatusCode, Value),
    /// 200 with what follows from the request.
    Lie(Lie),
    /// No answer, ever.
    Hang,
    /// 200 with this JSON, one byte at a time with a pause before each.
    Drip(Value, Duration),
    /// 200 with a list that is made while it is sent: what stands before it, how many entries, each entry
    /// by its number, what stands after it.
    List(&'static str, u64, Entry, &'static str),
    /// 200 with so many bytes of white space and no JSON at the end.
    Flood(u64),
    /// 200 with the beginning of this JSON, as many bytes as said; then the connection breaks.
    Break(Value, usize),
    /// These headers and bytes, which need be no JSON.
    Raw(Raw),
}

/// An answer as it is to be sent.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// The headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
    /// Whether the body is followed by white space without an end.
    pub is_endless: bool,
}

impl Conduct {
    /// [`Conduct::Alter`]
    pub fn alter(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::Alter(Arc::new(change))
    }

    /// [`Conduct::Lie`]
    pub fn lie(lie: impl Fn(&Request<Bytes>) -> Value + Send + Sync + 'static) -> Self {
        Self::Lie(Arc::new(lie))
    }

    /// [`Conduct::Say`] with 200.
    pub fn say(json: Value) -> Self {
        Self::Say(StatusCode::OK, json)
    }

    /// A Matrix error.
    pub fn refuse(status: u16, errcode: &str) -> Self {
        let status = StatusCode::from_u16(status).expect("a status");
        Self::Say(status, serde_json::json!({ "errcode": errcode, "error": "no" }))
    }

    /// [`Conduct::List`]
    pub fn list(
        before: &'static str,
        count: u64,
        entry: impl Fn(u64) -> String + Send + Sync + 'static,
        after: &'static str,
    ) -> Self {
        Self::List(before, count, Arc::new(entry), after)
    }
}

impl fmt::Debug for Conduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Honest => "Honest",
            Self::Alter(_) => "Alter",
            Self::Say(..) => "Say",
            Self::Lie(_) => "Lie",
            Self::Hang => "Hang",
            Self::Drip(..) => "Drip",
            Self::List(..) => "List",
            Self::Flood(_) => "Flood",
            Self::Break(..) => "Break",
            Self::Raw(_) => "Raw",
        })
    }
}
