//! A request that has been taken apart and whose caller is known.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{header::USER_AGENT, request::Parts};
use room::Zone;
use serde::de::DeserializeOwned;

use crate::{
    Address, ApiError, Face, Response,
    bodies::{BodyStream, LateBody},
    caller::{Open, find_token},
    json::{check_numbers, parse_json},
};

/// So many bytes of a client's name for itself are looked at.
const LONGEST_AGENT: usize = 256;

/// Where the connection comes from; the listener adds it to its requests.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// A request of a ruma endpoint and who makes it.
#[derive(Debug)]
pub struct Call<R, C> {
    /// What is asked.
    pub request: R,
    /// Who asks.
    pub caller: C,
    /// Which of our authorities is asked.
    pub face: Face,
    /// Where the connection comes from, if the transport knows.
    pub peer: Option<SocketAddr>,
    /// Where the client is, as far as that can be believed; see [`Proxies`](crate::Proxies).
    pub address: Option<Address>,
    /// The zone of the listener that it came through, if that has one.
    pub zone: Option<Zone>,
}

/// A request whose body the handler reads by itself: for hot paths, and for endpoints that ruma
/// does not know.
#[derive(Debug)]
pub struct RawCall<C> {
    /// Method, path, query and headers.
    pub parts: Parts,
    /// The variables of the path.
    pub args: PathArgs,
    /// The body as sent, within the route's limit.
    pub body: Bytes,
    /// Who asks.
    pub caller: C,
    /// Which of our authorities is asked.
    pub face: Face,
    /// Where the connection comes from, if the transport knows.
    pub peer: Option<SocketAddr>,
    /// Where the client is, as far as that can be believed; see [`Proxies`](crate::Proxies).
    pub address: Option<Address>,
    /// The zone of the listener that it came through, if that has one.
    pub zone: Option<Zone>,
}

/// A request whose body the handler takes part by part: for files.
pub struct StreamCall<C> {
    /// What is known of it besides; its body is empty.
    pub call: RawCall<C>,
    /// The body, within the route's limit.
    pub body: BodyStream,
}

/// A request of which only the head was looked at: for forms with files, of those whom a cookie shows.
pub struct LateCall {
    /// What is known of it besides; its body is empty.
    pub call: RawCall<Open>,
    /// The body.
    pub body: LateBody,
}

impl<C> RawCall<C> {
    /// The body, read as JSON of this type.
    ///
    /// # Errors
    /// 400 `M_NOT_JSON` or `M_BAD_JSON`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        parse_json(&self.body)
    }

    /// The same; and what holds numbers that clients cannot hold as they are is refused.
    ///
    /// # Errors
    /// 400 `M_NOT_JSON` or `M_BAD_JSON`.
    pub fn json_of_client<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        check_numbers(&self.body)?;
        self.json()
    }

    /// What the client calls itself; the beginning where that is long.
    pub fn user_agent(&self) -> Option<String> {
        let named = self.parts.headers.get(USER_AGENT)?.as_bytes();
        Some(String::from_utf8_lossy(&named[..named.len().min(LONGEST_AGENT)]).into_owned())
    }

    /// Whether the client shows an access token, whatever that is good for.
    pub fn shows_token(&self) -> bool {
        find_token(&self.parts).is_some()
    }

    /// The query string, read as this type; see serde's attributes for absent keys.
    ///
    /// # Errors
    /// 400 `M_MISSING_PARAM` or `M_INVALID_PARAM`.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        ruma::exports::serde_html_form::from_str(self.parts.uri.query().unwrap_or_default())
            .map_err(|error| crate::convert::bad_parameter(&error))
    }
}

/// Says of an answer that its request changed nothing, so that it counts as one that reads. For endpoints of
/// [`Class::Membership`].
///
/// [`Class::Membership`]: crate::Class::Membership
#[must_use]
pub fn costless(mut response: Response) -> Response {
    response.extensions_mut().insert(Costless);
    response
}

/// See [`costless`].
#[derive(Clone, Copy)]
pub(crate) struct Costless;

/// The variables of a path, percent-decoded, in the order in which they stand there.
#[derive(Clone, Debug, Default)]
pub struct PathArgs(pub(crate) Vec<String>);

impl PathArgs {
    /// The variable at this place, read as this type (an id, a number, a `String`).
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` when it cannot be one.
    pub fn get<T: for<'a> TryFrom<&'a str>>(&self, index: usize) -> Result<T, ApiError> {
        let text = self.0.get(index).map_or("", String::as_str);
        T::try_from(text).map_err(|_| ApiError::invalid_param(format!("`{text}` is not valid in this path")))
    }

    /// All of them, borrowed.
    pub fn as_strs(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}
