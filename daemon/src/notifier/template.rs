//! The shapes of what webhooks get.

use mcpd_config::spec::{NotifyOn, NotifyTemplate};
use serde_json::json;

use super::document::{Document, details, last_lines, title};
use super::queue::Item;

/// A request without its URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

const JSON: (&str, &str) = ("content-type", "application/json");
const TEXT: (&str, &str) = ("content-type", "text/plain; charset=utf-8");

/// `discord.com/developers/docs/resources/message`: an embed's colour, red and green.
const RED: u32 = 0xD0_21_2C;
const GREEN: u32 = 0x2E_A0_43;

/// What this receiver gets.
pub(super) fn message(template: NotifyTemplate, item: &Item, document: &Document) -> Message {
    let opened = item.notice.opened;
    let text = details(item, &document.notification).join("\n");
    let lines = last_lines(&document.notification);
    match template {
        NotifyTemplate::Json => {
            // Every value of it is a string, a number or a list of such: it can be written.
            json_message(serde_json::to_vec(&document.notification).unwrap_or_default())
        }
        NotifyTemplate::Slack => {
            let sign = if opened { ":red_circle:" } else { ":large_green_circle:" };
            let mut text = format!("{sign} *{}*\n{}", for_slack(&title(item)), for_slack(&text));
            if !lines.is_empty() {
                text.push_str(&format!("\n```{}```", for_slack(&lines.join("\n")).replace('`', "'")));
            }
            json_message(json!({ "text": text }).to_string().into_bytes())
        }
        NotifyTemplate::Discord => {
            let mut text = text;
            if !lines.is_empty() {
                text.push_str(&format!("\n```\n{}\n```", lines.join("\n").replace('`', "'")));
            }
            let body = json!({
                "username": "mcpd",
                // What a program printed must not call anybody.
                "allowed_mentions": { "parse": [] },
                "embeds": [{
                    "title": title(item),
                    "description": text,
                    "color": if opened { RED } else { GREEN },
                    "timestamp": document.notification.time,
                }],
            });
            json_message(body.to_string().into_bytes())
        }
        NotifyTemplate::Ntfy => {
            let mut text = text;
            if !lines.is_empty() {
                text.push_str(&format!("\n\n{}", lines.join("\n")));
            }
            let priority = match (item.notice.condition, opened) {
                (NotifyOn::Parked, true) => "urgent",
                (NotifyOn::Failing | NotifyOn::Flapping | NotifyOn::Unhealthy, true) => "high",
                (_, false) => "default",
            };
            let tags = if opened { "rotating_light" } else { "white_check_mark" };
            // ntfy cuts what is longer than 4,096 bytes off into a file.
            let headers = vec![
                (TEXT.0, TEXT.1.to_owned()),
                ("title", ascii(&title(item))),
                ("priority", priority.to_owned()),
                ("tags", tags.to_owned()),
            ];
            Message { headers, body: text.into_bytes() }
        }
    }
}

fn json_message(body: Vec<u8>) -> Message {
    Message { headers: vec![(JSON.0, JSON.1.to_owned())], body }
}

/// `docs.slack.dev/messaging/formatting-message-text`: these three are its own.
fn for_slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What may stand in a header.
fn ascii(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}
