//! `crash.notify`: who is told of what, and that nobody sees the secrets in it.

use std::path::Path;

use mcpd_config::spec::{NotifyOn, NotifySpec, NotifyTarget, NotifyTemplate, WebhookSpec};
use mcpd_config::{Environment, load_text};

use proptest::prelude::*;

use crate::common::{ROOT, errors, load, one, service};

fn notify(lines: &str, vars: &[(&str, &str)]) -> Vec<NotifySpec> {
    service(lines, vars).crash.notify
}

fn hook(url: &str, template: NotifyTemplate) -> NotifyTarget {
    NotifyTarget::Webhook(WebhookSpec { url: url.into(), template, headers: Vec::new() })
}

#[test]
fn each_entry_says_who_and_of_what() {
    let all = NotifyOn::ALL.to_vec();
    let exec = NotifyTarget::Exec { argv: vec!["/bin/page".into(), "a b".into()] };
    for (lines, expected) in [
        ("", vec![]),
        ("crash.notify = []", vec![]),
        ("crash.notify = [{ exec = ['/bin/page', 'a b'] }]", vec![(exec.clone(), all.clone())]),
        (
            "crash.notify = [{ exec = \"/bin/page 'a b'\", on = ['failing'] }]",
            vec![(exec, vec![NotifyOn::Failing])],
        ),
        ("crash.notify = [{ journal = true }]", vec![(NotifyTarget::Journal, all.clone())]),
        ("crash.notify = [{ journal = false }]", vec![]),
        ("crash.notify = [{ journal = '${ON}' }]", vec![(NotifyTarget::Journal, all.clone())]),
        (
            "crash.notify = [{ webhook = '${URL}', template = 'slack' }, { webhook = 'http://h', on = ['parked', 'flapping'] }]",
            vec![
                (hook("https://s/t", NotifyTemplate::Slack), all.clone()),
                (hook("http://h", NotifyTemplate::Json), vec![NotifyOn::Flapping, NotifyOn::Parked]),
            ],
        ),
        (
            "[[service.x.crash.notify]]\nwebhook = 'http://h'\ntemplate = 'ntfy'\n[[service.x.crash.notify]]\njournal = true\non = ['unhealthy']",
            vec![
                (hook("http://h", NotifyTemplate::Ntfy), all.clone()),
                (NotifyTarget::Journal, vec![NotifyOn::Unhealthy]),
            ],
        ),
    ] {
        let found = notify(lines, &[("ON", "yes"), ("URL", "https://s/t")]);
        let found: Vec<_> = found.into_iter().map(|entry| (entry.target, entry.on)).collect();
        assert_eq!(found, expected, "{lines}");
    }
    let headers = notify(
        "crash.notify = [{ webhook = 'http://h', headers = { Authorization = 'Bearer ${T}' } }]",
        &[("T", "x")],
    );
    let NotifyTarget::Webhook(webhook) = &headers[0].target else { panic!("{headers:?}") };
    assert_eq!(webhook.headers, [("Authorization".to_owned(), "Bearer x".to_owned())]);
}

#[test]
fn every_mistake_is_told() {
    for (lines, expected) in [
        ("crash.notify = 1", "3:16: expected a list of tables, found an integer (write notify = [{ exec ="),
        (
            "crash.notify = { journal = true }",
            "3:16: expected a list of tables, found a table (write notify =",
        ),
        ("crash.notify = ['x']", "3:17: expected a table, found a string (write notify = [{ exec ="),
        ("crash.notfiy = []", "3:7: unknown key `notfiy` in [service.x.crash] (did you mean `notify`?)"),
        (
            "crash.notify = [{ webhok = 'http://h' }]",
            "3:19: unknown key `webhok` in [service.x.crash.notify] (did you mean `webhook`?)",
        ),
        (
            "crash.notify = [{ on = ['failing'] }]",
            "3:17: this entry of [service.x.crash.notify] does not say who is told (give one of `exec`, `webhook` and `journal`)",
        ),
        (
            "crash.notify = [{ journal = true, exec = ['x'] }]",
            "3:19: `exec` and `journal` exclude each other (give each an entry of its own",
        ),
        ("crash.notify = [{ exec = [] }]", "3:26: a command needs a program"),
        ("crash.notify = [{ exec = ['~/x'] }]", "3:26: `~` is not replaced: no shell is run"),
        (
            "crash.notify = [{ journal = true, on = ['parkde'] }]",
            "3:41: unknown value \"parkde\" (did you mean \"parked\"?)",
        ),
        ("crash.notify = [{ journal = true, on = 'parked' }]", "3:40: expected an array, found a string"),
        (
            "crash.notify = [{ journal = true, on = [] }]",
            "3:40: `on` is empty: nothing would ever be told (leave it out for everything)",
        ),
        (
            "crash.notify = [{ webhook = 'http://h', template = 'slcak' }]",
            "3:52: unknown value \"slcak\" (did you mean \"slack\"?)",
        ),
        (
            "crash.notify = [{ exec = ['x'], template = 'slack' }]",
            "3:33: `template` goes with `webhook`, not with `exec`",
        ),
        (
            "crash.notify = [{ webhook = 'hooks/tell' }]",
            "3:29: expected a URL with http:// or https://, found something else (write \"https://...\")",
        ),
        ("crash.notify = [{ webhook = 'http://' }]", "3:29: this URL has no host"),
        ("crash.notify = [{ webhook = 'http://h:x/' }]", "3:29: \"x\" is no port"),
        (
            "crash.notify = [{ webhook = 'http://h', headers = { 'a b' = 'x' } }]",
            "3:53: \"a b\" cannot be the name of a header",
        ),
    ] {
        let mut found = errors(&format!("[service.x]\nexec = 'x'\n{lines}\n"), &[]);
        // One that names no target says so besides.
        found.retain(|error| !error.contains("does not say who is told") || !lines.contains("webhok"));
        let found: Vec<&str> = found.iter().map(|error| error.trim_start_matches("t.toml:")).collect();
        assert!(found.len() == 1 && found[0].starts_with(expected), "{lines}: {found:#?}");
    }
    let many = "{ journal = true }, ".repeat(17);
    assert!(one(&format!("crash.notify = [{many}]"), &[]).contains("at most 16"));
}

/// Whatever is wrong with a line that holds them, the message does not.
#[test]
fn no_message_holds_a_secret() {
    let hook = "webhook = 'https://hooks.example/services/T0PSECRET'";
    let text = |lines: &str| format!("[service.x]\nexec = 'x'\n{lines}\n");
    for lines in [
        format!("crash.notify = [{{ {hook}, tempalte = 'slack' }}]"),
        format!("crash.notify = [{{ {hook}, journal = true }}]"),
        format!("crash.notify = [{{ {hook} }}, 1]"),
        format!("crash.notify = [{{ {hook}, headers = {{ A = 'T0PSECRET', B = 1 }} }}]"),
        format!("crash.notify = [{{ {hook}, headers = {{ A = \"T0PSECRET\\n\" }} }}]"),
        format!("[[service.x.crash.notify]]\n{hook} 1"),
        "[[service.x.crash.notify]]\nwebhook = 'https://h/T0PSECRET".to_owned(),
        "crash.notify = [{ webhook = 'ftp://h/T0PSECRET' }]".to_owned(),
        "crash.notify = [{ webhook = 'T0PSECRET' }]".to_owned(),
        "crash.notify = [{ webhook = 'https://T0PSECRET@' }]".to_owned(),
        "crash.notify = [{ webhook = 'https://h/T0PSECRET ü' }]".to_owned(),
        "crash.notify = [{ webhok = 'https://h/T0PSECRET' }]".to_owned(),
        "crash.notify = [{ webhook = 'https://h', header = { A = 'T0PSECRET' } }]".to_owned(),
        "crash.notify = ['https://h/T0PSECRET']".to_owned(),
        "crash.notify = [{ webhook = '${U}' }]".to_owned(),
        "crash.notify = [{ webhook = 'http://h/${U} ' }]".to_owned(),
        "crash.notify = [{ webhook = 'http://h', headers = { A = '${U}\\n' }, x = 1 }]".to_owned(),
        "crash.notify = [{ webhook = 'http://h', headers = { A = \"${U}\\n\" } }]".to_owned(),
        "health = { http = 'http://h', headers = { Authorization = 'T0PSECRET' }, x = 1 }".to_owned(),
    ] {
        let failed = load(&text(&lines), &[("U", "T0PSECRET")]).expect_err(&lines);
        let said = failed.render(false);
        assert!(!said.contains("T0PSECRET"), "{lines}\n{said}");
        assert!(failed.diagnostics.iter().all(|found| !found.to_string().contains("T0PSECRET")), "{lines}");
    }
    let said = load(&text("crash.notify = [{ webhook = '${U}' }]"), &[("U", "x")]).unwrap_err().render(false);
    assert!(said.contains("it comes from the variable U") && said.contains("'${U}'"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever is cut off, put in or missing: a text with a secret in it is complained about without that.
    #[test]
    fn no_mistake_brings_a_secret_to_light(
        secret in "T0P[A-Za-z0-9_-]{8,20}",
        quote in prop_oneof![Just('"'), Just('\'')],
        inline in any::<bool>(),
        at in 0..400_usize,
        put in prop_oneof![Just(""), Just("x"), Just("="), Just(" = 1"), Just("["), Just("]"), Just("}"), Just(","), Just("\n")],
    ) {
        let q = quote;
        let hook = format!("webhook = {q}https://hooks.example/services/{secret}{q}");
        let header = format!("headers = {{ Authorization = {q}Bearer {secret}{q} }}");
        let text = if inline {
            format!("[service.x]\nexec = 'x'\ncrash.notify = [{{ {hook}, {header} }}, {{ journal = true }}]\nenabled = 1\n")
        } else {
            format!("[service.x]\nexec = 'x'\n[[service.x.crash.notify]]\n{hook}\n{header}\ntempalte = 'slack'\n")
        };
        // Within the secret itself it would be another one.
        let mut at = at % (text.len() + 1);
        while text.match_indices(&secret).any(|(start, _)| at > start && at < start + secret.len()) {
            at -= 1;
        }
        let text = format!("{}{put}{}", &text[..at], &text[at..]);
        if let Err(failed) = load(&text, &[]) {
            let said = failed.render(false);
            prop_assert!(!said.contains(&secret), "{}\n---\n{}", said, text);
        }
    }
}

#[test]
fn what_is_shown_to_people_has_no_secret() {
    let text = "[daemon]\nstate_dir = '/s'\n[service.x]\nexec = 'x'\n[[service.x.crash.notify]]\n\
        webhook = 'https://h/T0PSECRET'\nheaders = { Authorization = '${U}' }\n";
    let loaded = load(text, &[("U", "T0PSECRET")]).unwrap();
    let whole = loaded.show_with_secrets();
    let again = load_text(&Path::new(ROOT).join("t.toml"), &whole, &Environment::default()).unwrap();
    assert_eq!(again.config.services, loaded.config.services, "{whole}");
    assert!(!format!("{loaded:?}").contains("T0PSECRET"));
    for shown in [loaded.show(), loaded.show_json().to_string()] {
        assert!(!shown.contains("T0PSECRET") && shown.contains("https://h/[redacted]"), "{shown}");
        assert!(shown.contains("Authorization"), "{shown}");
    }
}
