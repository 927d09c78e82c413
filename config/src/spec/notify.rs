//! `crash.notify`: who is told when something is wrong with a service, and when it is right again.

use serde::{Deserialize, Serialize};

use crate::redact::REDACTED;

/// One entry of `crash.notify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifySpec {
    /// Who is told.
    pub target: NotifyTarget,
    /// Of what; never empty, in the order of [`NotifyOn::ALL`].
    pub on: Vec<NotifyOn>,
}

/// Who is told: exactly one of `exec`, `webhook`, `journal`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NotifyTarget {
    /// This program is run, with the document on its standard input.
    Exec {
        /// Program and arguments; never empty.
        argv: Vec<String>,
    },
    /// The document is sent to this URL.
    Webhook(WebhookSpec),
    /// mcpd's own log: one record with fields.
    Journal,
}

/// `webhook` and the keys that go with it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WebhookSpec {
    /// `http://` or `https://`. Whoever knows it may send: it is a secret.
    pub url: String,
    /// What is sent.
    pub template: NotifyTemplate,
    /// Sent with the request; secrets as well.
    pub headers: Vec<(String, String)>,
}

/// `template`: the shape of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NotifyTemplate {
    /// The document as it is.
    Json,
    /// Slack's incoming webhooks, and what understands them.
    Slack,
    /// Discord's webhooks.
    Discord,
    /// ntfy: the text, with title, priority and tags in headers.
    Ntfy,
}

/// One word of `on`: a condition that is told when it begins and when it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotifyOn {
    /// It has failed, and has not been up long enough since.
    Failing,
    /// It fails again and again.
    Flapping,
    /// mcpd has given up on it.
    Parked,
    /// It is up and its health check fails.
    Unhealthy,
}

impl NotifyOn {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Failing, Self::Flapping, Self::Parked, Self::Unhealthy];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Flapping => "flapping",
            Self::Parked => "parked",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl NotifyTemplate {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Ntfy => "ntfy",
        }
    }
}

impl WebhookSpec {
    /// The URL as far as it may be seen: scheme and host. What follows is the key to a channel, with Slack as with
    /// Discord, and the topic with ntfy.
    #[must_use]
    pub fn shown_url(&self) -> String {
        shown_url(&self.url)
    }
}

/// The URL of a webhook as far as it may be seen.
#[must_use]
pub fn shown_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let user = if host.len() < authority.len() { format!("{REDACTED}@") } else { String::new() };
    let rest = if rest.len() > 1 { format!("/{REDACTED}") } else { rest.to_owned() };
    format!("{scheme}://{user}{host}{rest}")
}

/// Without what must not be seen, whoever prints it.
impl std::fmt::Debug for WebhookSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("WebhookSpec")
            .field("url", &self.shown_url())
            .field("template", &self.template)
            .field("headers", &names)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_only_the_host_is_seen() {
        for (url, shown) in [
            ("https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com/[redacted]"),
            ("http://127.0.0.1:9/", "http://127.0.0.1:9/"),
            ("https://ntfy.sh", "https://ntfy.sh"),
            ("https://u:p@h:1/x?token=y#z", "https://[redacted]@h:1/[redacted]"),
            ("https://h?token=y", "https://h/[redacted]"),
            ("https://h/a@b", "https://h/[redacted]"),
        ] {
            assert_eq!(shown_url(url), shown);
        }
    }

    #[test]
    fn debug_output_has_no_secret() {
        let headers = vec![("Authorization".to_owned(), "Bearer abcdef".to_owned())];
        let spec = WebhookSpec { url: "https://h/secret".into(), template: NotifyTemplate::Json, headers };
        let text = format!("{spec:?}");
        assert!(
            !text.contains("secret") && !text.contains("abcdef") && text.contains("Authorization"),
            "{text}"
        );
    }
}
