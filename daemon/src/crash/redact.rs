//! What must not be in a report: secrets, known by the names of the variables that hold them, and by their places in
//! URLs, options and headers.
//!
//! It errs on the side of taking out too much, within reason: the text around stays readable, and a value shorter than
//! [`MIN_SECRET`] characters is left, for it would punch holes into ordinary words.

use std::borrow::Cow;
use std::sync::LazyLock;

use mcpd_proto::crash::CrashReport;
use mcpd_proto::log::LogLine;
use regex::{Captures, Regex};

/// What stands where a secret stood.
pub const REDACTED: &str = "[redacted]";

/// Shorter values are not looked for in texts.
pub const MIN_SECRET: usize = 6;

/// Removes the secrets of one service's environment, and what looks like one, from texts.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first, so that a secret which contains another goes as a whole.
    secrets: Vec<String>,
}

impl Redactor {
    /// From the environment that the program was started with, its inherited part too.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(environment: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut secrets = Vec::new();
        for (name, value) in environment {
            if !is_secret_name(name.as_ref()) {
                continue;
            }
            // A key of several lines is printed line by line; its first and last lines are the same for all keys.
            for line in value.as_ref().lines().map(str::trim) {
                if line.chars().count() >= MIN_SECRET && !line.starts_with("-----") && !is_plain(line) {
                    secrets.push(line.to_owned());
                }
            }
        }
        secrets.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self { secrets }
    }

    /// `text` without secrets; borrowed when there are none.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), REDACTED));
            }
        }
        replace(&mut text, &USERINFO, |found| format!("{}{REDACTED}@", &found["scheme"]));
        replace(&mut text, &BEARER, |found| format!("{}{REDACTED}", &found["kind"]));
        replace(&mut text, &ASSIGNED, |found| {
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
        });
        text
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

    /// Lines of output without secrets. Do this before a reason is worded from them: a reason is cut to length, and a
    /// secret cut in half is no longer found.
    pub fn lines(&self, lines: &mut [LogLine]) {
        for line in lines {
            if let Cow::Owned(clean) = self.text(&line.text) {
                line.text = clean;
                // The exact bytes would hold what was just removed.
                line.base64 = None;
            }
        }
    }

    /// Removes secrets from all of a report that programs, people or configuration wrote.
    pub fn report(&self, report: &mut CrashReport) {
        report.command = self.command(&report.command);
        self.lines(&mut report.stderr_tail);
        self.lines(&mut report.stdout_tail);
        let verdicts = report.health.iter_mut().chain(&mut report.ready);
        let health = verdicts.map(|verdict| &mut verdict.detail);
        let texts = [&mut report.reason, &mut report.restart.why].into_iter();
        for text in texts
            .chain(&mut report.cause)
            .chain(report.lineage.iter_mut().map(|ancestor| &mut ancestor.reason))
            .chain(&mut report.working_directory)
            .chain(&mut report.changed)
            .chain(&mut report.status_text)
            .chain(health)
        {
            if let Cow::Owned(clean) = self.text(text) {
                *text = clean;
            }
        }
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("secrets", &self.secrets.len()).finish()
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
        "FILE", "PATH", "DIR", "NAME", "ID", "TYPE", "COUNT", "LIMIT", "LENGTH", "TTL", "EXPIRY", "ENABLED",
        "REQUIRED", "TIMEOUT",
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
    fn the_exact_bytes_go_with_the_text() {
        let line = |text: &str| LogLine {
            time: None,
            stream: None,
            text: text.to_owned(),
            base64: Some("AAAA".to_owned()),
            continues: false,
        };
        let mut lines = [line("\u{fffd}ghp_0123456789"), line("\u{fffd}fine")];
        redactor().lines(&mut lines);
        assert_eq!(lines[0].text, "\u{fffd}[redacted]");
        assert_eq!(lines[0].base64, None);
        assert!(lines[1].base64.is_some());
    }

    #[test]
    fn a_redactor_does_not_print_what_it_hides() {
        assert!(!format!("{:?}", redactor()).contains("hunter2"));
    }
}
