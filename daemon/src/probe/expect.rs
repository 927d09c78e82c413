//! Is an HTTP answer the expected one?

use mcpd_config::spec::HttpProbe;
use regex::bytes::Regex;
use serde_json::Value;

use super::words;

/// Characters of a JSON value or of a body that a verdict quotes.
const MAX_QUOTE: usize = 60;

/// What an answer must be, compiled once.
pub(crate) struct Expectation {
    /// Empty: any 2xx.
    status: Vec<u16>,
    /// JSON pointer and the value that must stand there.
    json: Vec<(String, Value)>,
    body: Option<Regex>,
}

impl Expectation {
    pub(crate) fn new(spec: &HttpProbe) -> Result<Self, String> {
        let body = spec.expect_body.as_deref().map(Regex::new).transpose().map_err(|e| e.to_string())?;
        let json = spec.expect_json.iter().map(|(name, value)| (pointer(name), value.clone())).collect();
        Ok(Self { status: spec.expect_status.clone(), json, body })
    }

    /// Whether the body's content matters.
    pub(crate) fn reads_body(&self) -> bool {
        !self.json.is_empty() || self.body.is_some()
    }

    /// What is wrong with this status, if anything: `expected 200`.
    pub(crate) fn status(&self, status: u16) -> Result<(), String> {
        let fine =
            if self.status.is_empty() { (200..300).contains(&status) } else { self.status.contains(&status) };
        if fine {
            return Ok(());
        }
        Err(match self.status.split_last() {
            None => "expected 2xx".to_owned(),
            Some((only, [])) => format!("expected {only}"),
            Some((last, rest)) => {
                let rest: Vec<String> = rest.iter().map(u16::to_string).collect();
                format!("expected {} or {last}", rest.join(", "))
            }
        })
    }

    /// What is wrong with this body, if anything.
    pub(crate) fn body(&self, body: &[u8]) -> Result<(), String> {
        if let Some(pattern) = &self.body
            && !pattern.is_match(body)
        {
            return Err(format!("body does not match /{}/", words::shortened(pattern.as_str(), MAX_QUOTE)));
        }
        if self.json.is_empty() {
            return Ok(());
        }
        let Ok(document) = serde_json::from_slice::<Value>(body) else {
            return Err(match quote(body) {
                start if start.is_empty() => "body is not JSON: it is empty".to_owned(),
                start => format!("body is not JSON: {start:?}"),
            });
        };
        for (pointer, expected) in &self.json {
            let found = document.pointer(pointer);
            if found.is_some_and(|found| equal(found, expected)) {
                continue;
            }
            let place = if pointer.is_empty() { "the body" } else { pointer };
            let found = found.map_or_else(|| "missing".to_owned(), shown);
            return Err(format!("{place} is {found}, expected {}", shown(expected)));
        }
        Ok(())
    }
}

/// A plain key is the pointer to it at the top (RFC 6901: `~` and `/` are escaped).
fn pointer(name: &str) -> String {
    if name.is_empty() || name.starts_with('/') {
        return name.to_owned();
    }
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Equality of JSON values: numbers by value, so that `1` and `1.0` are the same.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

fn shown(value: &Value) -> String {
    words::shortened(&value.to_string(), MAX_QUOTE)
}

/// The start of a body as text on one line.
fn quote(body: &[u8]) -> String {
    let start = String::from_utf8_lossy(&body[..body.len().min(4 * MAX_QUOTE)]);
    let line = start.split_whitespace().collect::<Vec<_>>().join(" ");
    words::shortened(&line, MAX_QUOTE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expecting(status: &[u16], json: &[(&str, Value)], body: Option<&str>) -> Expectation {
        Expectation::new(&HttpProbe {
            url: String::new(),
            expect_status: status.to_vec(),
            expect_json: json.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            expect_body: body.map(str::to_owned),
            headers: Vec::new(),
        })
        .unwrap()
    }

    #[test]
    fn statuses() {
        for (expected, status, wrong) in [
            (&[][..], 200, None),
            (&[][..], 204, None),
            (&[][..], 302, Some("expected 2xx")),
            (&[][..], 503, Some("expected 2xx")),
            (&[200][..], 200, None),
            (&[200][..], 204, Some("expected 200")),
            (&[200, 302][..], 302, None),
            (&[200, 204, 302][..], 500, Some("expected 200, 204 or 302")),
        ] {
            let found = expecting(expected, &[], None).status(status);
            assert_eq!(found.err().as_deref(), wrong, "{expected:?} {status}");
        }
    }

    #[test]
    fn bodies() {
        let healthy = || vec![("status", json!("healthy"))];
        for (expected, body, wrong) in [
            (healthy(), r#"{"status":"healthy"}"#, None),
            (healthy(), r#"{"status":"degraded"}"#, Some(r#"/status is "degraded", expected "healthy""#)),
            (healthy(), r#"{"state":"healthy"}"#, Some(r#"/status is missing, expected "healthy""#)),
            (healthy(), "[]", Some(r#"/status is missing, expected "healthy""#)),
            (healthy(), "", Some("body is not JSON: it is empty")),
            (healthy(), "<html>\n <b>", Some("body is not JSON: \"<html> <b>\"")),
            (healthy(), "{\"status\":\"healthy\"", Some(r#"body is not JSON: "{\"status\":\"healthy\"""#)),
            (vec![("/a/0/b", json!(1))], r#"{"a":[{"b":1.0}]}"#, None),
            (vec![("/a/0/b", json!(1))], r#"{"a":[{"b":"1"}]}"#, Some(r#"/a/0/b is "1", expected 1"#)),
            (vec![("a/b", json!(true))], r#"{"a/b":true}"#, None),
            (vec![("x", json!({"a": [1, null]}))], r#"{"x":{"a":[1.0,null]}}"#, None),
            (
                vec![("x", json!({"a": 1}))],
                r#"{"x":{"a":1,"b":2}}"#,
                Some(r#"/x is {"a":1,"b":2}, expected {"a":1}"#),
            ),
            (vec![("", json!(true))], "false", Some("the body is false, expected true")),
        ] {
            let found = expecting(&[], &expected, None).body(body.as_bytes());
            assert_eq!(found.err().as_deref(), wrong, "{body}");
        }
    }

    #[test]
    fn patterns_match_bytes() {
        let expected = expecting(&[], &[], Some("^ok$"));
        assert_eq!(expected.body(b"ok"), Ok(()));
        assert_eq!(expected.body(b"\xffok").unwrap_err(), "body does not match /^ok$/");
        assert_eq!(expecting(&[], &[], Some("ok")).body(b"\xffok\xfe"), Ok(()));
    }
}
