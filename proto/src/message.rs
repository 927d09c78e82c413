//! JSON-RPC 2.0 framing: <https://www.jsonrpc.org/specification>.

use serde::{Deserialize, Serialize};
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

/// An answer: exactly one of `result` and `error`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Always [`VERSION`].
    pub jsonrpc: String,
    /// The request's id.
    pub id: Id,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
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

/// Whatever a daemon sends.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum FromDaemon {
    /// The answer to a request.
    Response(Response),
    /// An item of a stream.
    Notification(Notification),
}

impl Request {
    /// A request that wants an answer.
    #[must_use]
    pub fn new(id: i64, method: &str, params: Value) -> Self {
        Self { jsonrpc: VERSION.into(), id: Some(Id::Number(id)), method: method.into(), params }
    }
}

impl Response {
    /// An answer that brings something.
    #[must_use]
    pub fn ok(id: Id, result: Value) -> Self {
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
