//! What nobody is to be told: secrets, known by the names of the variables that hold them, by the files they come from, and
//! by their places in URLs, options and headers. Crash reports, events, status documents, plans and `config show` go
//! through this.
//!
//! It errs on the side of taking out too much, within reason: the text around stays readable, and a value shorter than
//! [`MIN_SECRET`] characters is left, for it would punch holes into ordinary words.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

use crate::spec::{Probe, ReadySpec, ServiceSpec, shown_url};

/// What stands where a secret stood.
pub const REDACTED: &str = "[redacted]";

/// Shorter values are not looked for in texts.
pub const MIN_SECRET: usize = 6;

/// The same for values that were said to be secret: see [`Redactor::hide`].
pub const MIN_MARKED: usize = 4;

/// Removes the secrets of one service's environment, and what looks like one, from texts.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first, so that a secret which contains another goes as a whole.
    secrets: Vec<String>,
}

impl Redactor {
    /// From the environment that the program was started with, its inherited part too.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(environment: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut redactor = Self::default();
        for (name, value) in environment {
            if is_secret_name(name.as_ref()) {
                redactor.add(value.as_ref(), MIN_SECRET);
            }
        }
        redactor.sorted()
    }

    /// From what a definition alone says: `environment`, and the headers of its checks. What its environment files hold is
    /// known once they are read.
    #[must_use]
    pub fn of(spec: &ServiceSpec) -> Self {
        Self::new(&spec.environment).with_headers(spec)
    }

    /// Also the headers that its checks send.
    #[must_use]
    pub fn with_headers(mut self, spec: &ServiceSpec) -> Self {
        let ready = match &spec.ready {
            Some(ReadySpec::Probe { probe, .. }) => Some(probe),
            Some(ReadySpec::Log { .. } | ReadySpec::Notify) | None => None,
        };
        for probe in spec.health.iter().map(|health| &health.probe).chain(ready) {
            let Probe::Http(http) = probe else { continue };
            for (name, value) in &http.headers {
                if is_secret_name(name) {
                    self.add(value, MIN_SECRET);
                    // `Bearer abc`, `token abc`: the credential itself.
                    self.add(value.rsplit(' ').next().unwrap_or_default(), MIN_SECRET);
                }
            }
        }
        self.sorted()
    }

    /// Also these values, whatever they are called: somebody said that they are secret. Those of fewer than [`MIN_MARKED`]
    /// characters are left all the same, for they would punch holes into ordinary words.
    #[must_use]
    pub fn hide<V: AsRef<str>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        for value in values {
            self.add(value.as_ref(), MIN_MARKED);
        }
        self.sorted()
    }

    /// A key of several lines is printed line by line; its first and last lines are the same for all keys.
    fn add(&mut self, value: &str, least: usize) {
        for line in value.lines().map(str::trim) {
            let plain = least == MIN_SECRET && is_plain(line);
            if line.chars().count() >= least && !line.starts_with("-----") && !plain {
                self.secrets.push(line.to_owned());
            }
        }
    }

    fn sorted(mut self) -> Self {
        self.secrets.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.secrets.dedup();
        self.secrets.shrink_to_fit();
        self
    }

    /// `text` without secrets; borrowed when there are none.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        if text.contains('\u{2026}') {
            self.cut(&mut text);
        }
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), REDACTED));
            }
        }
        // What no pattern can match without is seen faster than by the pattern; most texts of mcpd's own are short and clean.
        if text.contains('@') {
            replace(&mut text, &USERINFO, |found| format!("{}{REDACTED}@", &found["scheme"]));
        }
        replace(&mut text, &BEARER, |found| format!("{}{REDACTED}", &found["kind"]));
        if text.contains(['=', '"', '\'']) {
            replace(&mut text, &ASSIGNED, assigned);
        }
        replace(&mut text, &KNOWN, |found| {
            format!("{}{REDACTED}", found.name("kept").map_or("", |kept| kept.as_str()))
        });
        text
    }

    /// A text that was shortened may end in the beginning of a secret.
    fn cut(&self, text: &mut Cow<'_, str>) {
        let Some(end) = text.rfind('\u{2026}') else { return };
        let beginning = |secret: &String| {
            let lengths = secret.char_indices().map(|(at, _)| at).rev();
            lengths
                .take_while(|&length| length >= MIN_MARKED)
                .find(|&length| text[..end].ends_with(&secret[..length]))
        };
        if let Some(length) = self.secrets.iter().filter_map(beginning).max() {
            let clean = format!("{}{REDACTED}{}", &text[..end - length], &text[end..]);
            *text = Cow::Owned(clean);
        }
    }

    /// A command line without secrets: also `--token VALUE` and `--api-key=VALUE`.
    #[must_use]
    pub fn command(&self, argv: &[String]) -> Vec<String> {
        let mut value_of_secret = false;
        let mut clean = Vec::with_capacity(argv.len());
        for argument in argv {
            let option = argument.strip_prefix('-').map(|rest| rest.trim_start_matches('-'));
            if value_of_secret && option.is_none() {
                clean.push(REDACTED.to_owned());
                value_of_secret = false;
                continue;
            }
            value_of_secret = false;
            match option.map(|option| option.split_once('=').unwrap_or((option, ""))) {
                Some((name, "")) if is_secret_name(name) => {
                    value_of_secret = true;
                    clean.push(argument.clone());
                }
                Some((name, value)) if is_secret_name(name) => {
                    clean.push(format!("{}{REDACTED}", &argument[..argument.len() - value.len()]));
                }
                _ => clean.push(self.text(argument).into_owned()),
            }
        }
        clean
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("secrets", &self.secrets.len()).finish()
    }
}

/// A value of a configuration, as a document, without secrets; `key` is the last part of its key.
pub fn value(key: &str, value: &mut Value, redactor: &Redactor) {
    if is_secret_name(key) && !value.is_null() {
        *value = REDACTED.into();
        return;
    }
    match value {
        Value::String(text) => {
            if let Cow::Owned(clean) = redactor.text(text) {
                *text = clean;
            }
        }
        Value::Array(items) => {
            let words: Option<Vec<String>> =
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            match words {
                Some(words) => *items = redactor.command(&words).into_iter().map(Value::String).collect(),
                None => items.iter_mut().for_each(|item| self::value("", item, redactor)),
            }
        }
        Value::Object(fields) => {
            // Where it is, and all that is sent along: whoever knows that may send.
            if let Some(Value::String(url)) = fields.get_mut("webhook") {
                *url = shown_url(url);
                if let Some(Value::Object(headers)) = fields.get_mut("headers") {
                    headers.values_mut().for_each(|header| *header = REDACTED.into());
                }
            }
            for (name, field) in fields {
                self::value(name, field, redactor);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a variable, option or parameter of this name holds a secret: `GITHUB_TOKEN`, `PGPASSWORD`, `apiKey`,
/// `--client-secret`; but not `TOKEN_FILE`, which holds a path, nor `MAX_TOKENS`.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    /// Anywhere in the name.
    const PARTS: &[&str] = &[
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "CREDENTIAL",
        "APIKEY",
        "PRIVATEKEY",
        "ACCESSKEY",
        "AUTHKEY",
        "SIGNINGKEY",
        "ENCRYPTIONKEY",
        "MASTERKEY",
        "SESSIONKEY",
        "SHAREDKEY",
        "ACCOUNTKEY",
        "AUTHORIZATION",
        "BEARER",
        "JWT",
    ];
    /// The name's last word.
    const LAST: &[&str] = &["KEY", "PASS", "PWD", "PAT", "AUTH", "COOKIE", "SIG", "SIGNATURE"];
    /// A last word that makes it something about a secret, not one.
    const ABOUT: &[&str] = &[
        "FILE", "FILES", "PATH", "PATHS", "DIR", "NAME", "ID", "TYPE", "COUNT", "LIMIT", "LENGTH", "TTL",
        "EXPIRY", "ENABLED", "REQUIRED", "TIMEOUT",
    ];
    let upper = name.to_ascii_uppercase();
    let words: Vec<&str> =
        upper.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let Some(&last) = words.last() else { return false };
    if ABOUT.contains(&last) {
        return false;
    }
    let joined = words.concat();
    if PARTS.iter().any(|part| joined.contains(part)) {
        return true;
    }
    // TOKENS and TOKENIZER count words of a language, TOKEN opens doors.
    let token = joined.match_indices("TOKEN").any(|(at, _)| {
        let rest = &joined[at + 5..];
        !(rest.starts_with('S') || rest.starts_with("IZ"))
    });
    let alone =
        words.len() == 1 && ["KEY", "PWD", "SIG"].contains(&last) && name.chars().all(|c| !c.is_lowercase());
    token || (LAST.contains(&last) && !alone && !["OLDPWD"].contains(&joined.as_str()))
}

/// Values that are no secrets whatever the name says: switches.
fn is_plain(value: &str) -> bool {
    ["disabled", "enabled", "default", "required", "optional"].contains(&value.to_ascii_lowercase().as_str())
}

fn replace(text: &mut Cow<'_, str>, pattern: &Regex, with: impl Fn(&Captures<'_>) -> String) {
    if let Cow::Owned(clean) = pattern.replace_all(text, |found: &Captures<'_>| with(found))
        && clean != **text
    {
        *text = Cow::Owned(clean);
    }
}

fn assigned(found: &Captures<'_>) -> String {
    if !is_secret_name(&found["name"]) {
        return found[0].to_owned();
    }
    match (found.name("between"), found.name("value")) {
        (Some(between), Some(value)) => {
            let quote = &value.as_str()[..1];
            format!("{}{}{quote}{REDACTED}{quote}", &found["name"], between.as_str())
        }
        _ => format!("{}={REDACTED}", &found["name"]),
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant that the tests compile")
}

/// `scheme://user:password@` and `scheme://token@`.
static USERINFO: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#"'<>]+@"#));

/// `Bearer abc`, `Basic abc` behind an `Authorization`.
static BEARER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?P<kind>(?i:\bbearer\s+|authorization["']?\s*[:=]\s*["']?(?:[a-z-]+\s+)?))[A-Za-z0-9._~+/=-]{6,}"#,
    )
});

/// Tokens that are known by their form (GitHub, GitLab, Slack, OpenAI and its like, Google, JWT), and the paths of webhooks
/// that are secrets themselves.
static KNOWN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}",
        r"|sk-[A-Za-z0-9_-]{20,}|AIza[A-Za-z0-9_-]{30,}|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)",
        r"|(?P<kept>hooks\.slack\.com/(?:services|workflows)/|/api/webhooks/\d+/|api\.telegram\.org/bot)[A-Za-z0-9_:/-]+",
    ))
});

/// `name=value`, `name="a value"`, `"name": "value"`; whether the name is a secret's is asked afterwards.
static ASSIGNED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r#"(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)"#,
        r#"(?:=(?:[^\s"'&;,)\]}\[]+)|(?P<between>=|["']\s*:\s*)(?P<value>"[^"]*"|'[^']*'))"#,
    ))
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_secrets() {
        for name in [
            "TOKEN",
            "GITHUB_TOKEN",
            "token",
            "access_token",
            "authToken",
            "SECRET",
            "CLIENT_SECRET",
            "client-secret",
            "PASSWORD",
            "PGPASSWORD",
            "DB_PASSWD",
            "DB_PASS",
            "DB_PWD",
            "API_KEY",
            "apikey",
            "apiKey",
            "X-Api-Key",
            "OPENAI_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "CREDENTIALS",
            "SSH_PRIVATE_KEY",
            "PRIVATE_KEY",
            "GITHUB_PAT",
            "AUTHORIZATION",
            "SESSION_COOKIE",
            "TOKEN_2",
            "key",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "PWD",
            "OLDPWD",
            "KEYBOARD",
            "MONKEY",
            "AUTHOR",
            "TOKEN_FILE",
            "MAX_TOKENS",
            "maxTokens",
            "TOKENIZERS_PARALLELISM",
            "PASSWORD_FILE",
            "SSH_AUTH_SOCK",
            "KEY",
            "status",
            "port",
            "COMPASS",
            "",
            "SECRET_NAME",
            "TOKEN_TTL",
            "secret_environment_files",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    fn redactor() -> Redactor {
        Redactor::new([
            ("GITHUB_TOKEN", "ghp_0123456789"),
            ("DB_PASSWORD", "hunter2!"),
            ("OTHER_SECRET", "hunter2!-and-more"),
            ("SHORT_TOKEN", "abc"),
            ("HOME", "/home/somebody"),
            ("SSH_PRIVATE_KEY", "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA\n-----END KEY-----"),
            ("TOKEN_FILE", "/run/secrets/token"),
        ])
    }

    #[test]
    fn texts_lose_their_secrets_only() {
        for (text, clean) in [
            ("nothing here, /home/somebody and abc", None),
            ("cannot log in with ghp_0123456789.", Some("cannot log in with [redacted].")),
            ("hunter2!-and-more hunter2!", Some("[redacted] [redacted]")),
            ("MIIEowIBAAKCAQEA", Some("[redacted]")),
            ("-----BEGIN KEY-----", None),
            ("/run/secrets/token", None),
            ("postgres://app:s3cr3t@db:5432/x", Some("postgres://[redacted]@db:5432/x")),
            ("https://x-token@host/a@b", Some("https://[redacted]@host/a@b")),
            ("https://host/a@b", None),
            ("GET /x?id=1&token=abcdef&y=2", Some("GET /x?id=1&token=[redacted]&y=2")),
            ("/x?api_key=abcdef HTTP/1.1", Some("/x?api_key=[redacted] HTTP/1.1")),
            ("Authorization: Bearer abc.def-ghi", Some("Authorization: Bearer [redacted]")),
            ("'authorization': 'Basic bWU6c2VjcmV0'", Some("'authorization': '[redacted]'")),
            (r#"{"password": "pw", "user": "me"}"#, Some(r#"{"password": "[redacted]", "user": "me"}"#)),
            (r#"password="two words" x"#, Some(r#"password="[redacted]" x"#)),
            ("{'db_password': 'two words'}", Some("{'db_password': '[redacted]'}")),
            ("CLIENT_SECRET=zzz ./run", Some("CLIENT_SECRET=[redacted] ./run")),
            ("SyntaxError: Unexpected token: }", None),
            ("KeyError: 'GITHUB_TOKEN'", None),
            ("max_tokens=100 key: value", None),
            ("listen EADDRINUSE: address already in use :::3000", None),
        ] {
            let found = redactor().text(text);
            assert_eq!(found, clean.unwrap_or(text));
            assert_eq!(matches!(found, Cow::Borrowed(_)), clean.is_none(), "{text}");
        }
    }

    #[test]
    fn commands_lose_the_values_of_secret_options() {
        let argv = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (command, clean) in [
            ("srv --token abc --port 80", "srv --token [redacted] --port 80"),
            ("srv --api-key=abc -v", "srv --api-key=[redacted] -v"),
            ("srv --token --verbose x", "srv --token --verbose x"),
            ("srv --token-file /x y", "srv --token-file /x y"),
            ("srv --db postgres://a:b@c/d", "srv --db postgres://[redacted]@c/d"),
            ("srv -e GITHUB_TOKEN=abc ghp_0123456789", "srv -e GITHUB_TOKEN=[redacted] [redacted]"),
        ] {
            assert_eq!(redactor().command(&argv(command)), argv(clean), "{command}");
        }
    }

    #[test]
    fn tokens_are_known_by_their_form() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl";
        for (text, clean) in [
            ("git said ghs_16C7e42F292c6912E7710c838347Ae178B4a no", "git said [redacted] no"),
            ("key sk-proj-abcdefghijklmnopqrstuv is wrong", "key [redacted] is wrong"),
            (
                "POST https://hooks.slack.com/services/T0/B0/xyz failed",
                "POST https://hooks.slack.com/services/[redacted] failed",
            ),
            (
                "https://discord.com/api/webhooks/12345/AbC-d_e",
                "https://discord.com/api/webhooks/12345/[redacted]",
            ),
            (&format!("got {jwt}, expired"), "got [redacted], expired"),
            ("GET http://h/x?key=abc&n=1 failed", "GET http://h/x?key=[redacted]&n=1 failed"),
        ] {
            assert_eq!(redactor().text(text), clean);
        }
    }

    #[test]
    fn half_a_secret_is_one() {
        let redactor = Redactor::new([("API_KEY", "0123456789abcdef")]);
        assert_eq!(
            redactor.text("body is \"key 0123456789ab\u{2026}\""),
            "body is \"key [redacted]\u{2026}\""
        );
        assert_eq!(redactor.text("012\u{2026}"), "012\u{2026}");
    }

    #[test]
    fn what_was_said_to_be_secret_is_whatever_it_is_called() {
        let redactor = Redactor::default().hide(["1234", "on", "enabled"]);
        assert_eq!(redactor.text("pin 1234 is on, enabled"), "pin [redacted] is on, [redacted]");
    }

    proptest::proptest! {
        #[test]
        fn no_secret_is_left(
            secret in "[A-Za-z0-9!#$%&*+./:;<=>?@^_~'\"-]{6,40}",
            before in "\\PC{0,40}",
            after in "\\PC{0,40}",
            other in "[a-z0-9]{6,12}",
        ) {
            let redactor = Redactor::new([("DB_PASSWORD", secret.as_str()), ("TOKEN", other.as_str())]);
            let marked = Redactor::default().hide([&secret]);
            for redactor in [redactor, marked] {
                let text = format!("{before}{secret}{after} {secret}");
                let clean = redactor.text(&text);
                proptest::prop_assert!(!clean.contains(&secret) || REDACTED.contains(&secret), "{}", clean);
            }
        }
    }

    #[test]
    fn a_redactor_does_not_print_what_it_hides() {
        assert!(!format!("{:?}", redactor()).contains("hunter2"));
    }
}
