//! How is a minimal MCP server spoken to? JSON-RPC over `POST /mcp`, one tool, no sessions, no streams.

use serde_json::{Value, json};

/// Versions of the protocol that mean the same for what little is answered here; the first is offered to others.
const VERSIONS: &[&str] = &["2025-06-18", "2025-03-26", "2024-11-05"];

/// The status and the document that answer one message.
pub(crate) fn answer(body: &[u8]) -> (u16, Option<Value>) {
    let Ok(message) = serde_json::from_slice::<Value>(body) else {
        return (400, Some(error(&Value::Null, -32700, "the body is not JSON")));
    };
    let Some(method) = message.get("method").and_then(Value::as_str) else {
        return (400, Some(error(&Value::Null, -32600, "the body is no JSON-RPC request")));
    };
    // A notification wants no answer.
    let Some(id) = message.get("id") else { return (202, None) };
    let params = message.get("params").unwrap_or(&Value::Null);
    let result = match method {
        "initialize" => {
            let asked = params.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
            let version = VERSIONS.iter().find(|&&version| version == asked).unwrap_or(&VERSIONS[0]);
            json!({
                "protocolVersion": version,
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "mcpd-demo", "version": env!("CARGO_PKG_VERSION") },
            })
        }
        "ping" => json!({}),
        "tools/list" => json!({ "tools": [{
            "name": "echo",
            "description": "Says what it is told",
            "inputSchema": {
                "type": "object",
                "properties": { "text": { "type": "string" } },
                "required": ["text"],
            },
        }]}),
        "tools/call" => {
            let text = params.pointer("/arguments/text").and_then(Value::as_str);
            match (params.get("name").and_then(Value::as_str), text) {
                (Some("echo"), Some(text)) => json!({ "content": [{ "type": "text", "text": text }] }),
                (Some("echo"), None) => return (200, Some(error(id, -32602, "echo wants a text"))),
                _ => return (200, Some(error(id, -32602, "there is no such tool"))),
            }
        }
        _ => return (200, Some(error(id, -32601, "there is no such method"))),
    };
    (200, Some(json!({ "jsonrpc": "2.0", "id": id, "result": result })))
}

fn error(id: &Value, code: i32, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_get_their_answers() {
        for (message, status, pointer, expected) in [
            (
                json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-03-26"}}),
                200,
                "/result/protocolVersion",
                json!("2025-03-26"),
            ),
            (
                json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "1999"}}),
                200,
                "/result/protocolVersion",
                json!(VERSIONS[0]),
            ),
            (
                json!({"jsonrpc": "2.0", "id": "a", "method": "ping"}),
                200,
                "",
                json!({"jsonrpc": "2.0", "id": "a", "result": {}}),
            ),
            (
                json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}),
                200,
                "/result/tools/0/name",
                json!("echo"),
            ),
            (
                json!({"id": 3, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "hi"}}}),
                200,
                "/result/content/0/text",
                json!("hi"),
            ),
            (
                json!({"id": 3, "method": "tools/call", "params": {"name": "rm"}}),
                200,
                "/error/code",
                json!(-32602),
            ),
            (json!({"id": 4, "method": "nope"}), 200, "/error/code", json!(-32601)),
            (json!({"id": 4}), 400, "/error/code", json!(-32600)),
        ] {
            let (found, answer) = answer(message.to_string().as_bytes());
            assert_eq!(found, status, "{message}");
            assert_eq!(answer.unwrap().pointer(pointer), Some(&expected), "{message}");
        }
        assert_eq!(answer(b"{").0, 400);
        assert_eq!(answer(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), (202, None));
    }
}
