//! JSON-RPC 2.0 framing: <https://www.jsonrpc.org/specification>.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::error::ErrorObject;

/// The value of every message's `jsonrpc`.
pub const VERSION: &str = "2.0";

/// A request's id, given back as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A whole number.
    Number(i64),
    /// A string.
    Text(String),
    /// `null`: the answer to a line whose id could not be read.
    Null,
}

/// A request, or a notification when it has no id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Always [`VERSION`].
    pub jsonrpc: String,
    /// Absent: no answer is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// As `service.status`.
    pub method: String,
    /// The method's parameters, an object; absent means `{}`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
}

/// An answer: exactly one of `result` and `error`. The result is any JSON value, or one that is written already
/// ([`serde_json::value::RawValue`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response<R = Value> {
    /// Always [`VERSION`].
    pub jsonrpc: String,
    /// The request's id.
    pub id: Id,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<R>,
    /// Why it could not be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorObject>,
}

/// One item of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Always [`VERSION`].
    pub jsonrpc: String,
    /// As `event` or `log.lines`.
    pub method: String,
    /// The item; always has `request`, the id of the request that opened the stream.
    pub params: Value,
}

/// Whatever a daemon sends: an answer when it has an id, else an item of a stream.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Either")]
pub enum FromDaemon {
    /// The answer to a request.
    Response(Response),
    /// An item of a stream.
    Notification(Notification),
}

/// The members of both. An untagged enum would read each message twice, and a list of a thousand services is long.
#[derive(Deserialize)]
struct Either {
    jsonrpc: String,
    /// `null` is an id.
    #[serde(default, deserialize_with = "there")]
    id: Option<Id>,
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    error: Option<ErrorObject>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Value,
}

fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Id>, D::Error> {
    Id::deserialize(deserializer).map(Some)
}

impl TryFrom<Either> for FromDaemon {
    type Error = &'static str;

    fn try_from(either: Either) -> Result<Self, Self::Error> {
        let Either { jsonrpc, id, result, error, method, params } = either;
        match (id, method) {
            (Some(id), _) => Ok(Self::Response(Response { jsonrpc, id, result, error })),
            (None, Some(method)) => Ok(Self::Notification(Notification { jsonrpc, method, params })),
            (None, None) => Err("a message with neither an id nor a method"),
        }
    }
}

impl Request {
    /// A request that wants an answer.
    #[must_use]
    pub fn new(id: i64, method: &str, params: Value) -> Self {
        Self { jsonrpc: VERSION.into(), id: Some(Id::Number(id)), method: method.into(), params }
    }
}

impl<R> Response<R> {
    /// An answer that brings something.
    #[must_use]
    pub fn ok(id: Id, result: R) -> Self {
        Self { jsonrpc: VERSION.into(), id, result: Some(result), error: None }
    }

    /// An answer that says why not.
    #[must_use]
    pub fn err(id: Id, error: ErrorObject) -> Self {
        Self { jsonrpc: VERSION.into(), id, result: None, error: Some(error) }
    }
}

impl Notification {
    /// One item of the stream that `request` opened: `params` is an object, to which `request` is added.
    #[must_use]
    pub fn new(method: &str, request: &Id, mut params: Value) -> Self {
        if let Value::Object(map) = &mut params {
            map.insert("request".into(), serde_json::to_value(request).unwrap_or(Value::Null));
        }
        Self { jsonrpc: VERSION.into(), method: method.into(), params }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_makes_an_answer_also_when_it_is_null() {
        let read = |value: Value| serde_json::from_value::<FromDaemon>(value);
        let answer = read(json!({ "jsonrpc": "2.0", "id": 7, "result": [1] })).unwrap();
        assert_eq!(answer, FromDaemon::Response(Response::ok(Id::Number(7), json!([1]))));
        let refused = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32700, "message": "no" } });
        let FromDaemon::Response(refused) = read(refused).unwrap() else { panic!("an answer has an id") };
        assert_eq!((refused.id, refused.error.unwrap().message.as_str()), (Id::Null, "no"));
        let item = read(json!({ "jsonrpc": "2.0", "method": "event", "params": { "request": 7 } })).unwrap();
        assert_eq!(item, FromDaemon::Notification(Notification::new("event", &Id::Number(7), json!({}))));
        assert!(read(json!({ "jsonrpc": "2.0", "result": 1 })).is_err());
    }
}
