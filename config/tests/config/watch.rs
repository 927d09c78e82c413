//! `[service.NAME.watch]`

use std::path::PathBuf;
use std::time::Duration;

use mcpd_config::spec::{WatchAction, WatchSpec};
use mcpd_config::watched::IGNORED;

use crate::common::{absolute, one, service};

fn watch(lines: &str) -> WatchSpec {
    service(lines, &[("D", "lib")]).watch.unwrap()
}

#[test]
fn paths_are_the_services_own() {
    let at_home = watch("watch.paths = ['src', '${D}', '.']");
    assert_eq!(
        at_home.paths,
        [absolute("src"), absolute("lib"), absolute("")].map(|path| path.components().collect::<PathBuf>())
    );
    assert_eq!(watch("watch.paths = ['app/[id].tsx']").paths, [absolute("app").join("[id].tsx")]);
    let elsewhere = watch("working_directory = 'app'\nwatch.paths = ['src']");
    assert_eq!(elsewhere.paths, [absolute("app").join("src")]);
}

#[test]
fn defaults_and_what_is_ignored_anyway() {
    let spec = watch("watch.paths = ['src']\nwatch.ignore = ['**/tests/**', '**/.git']");
    assert_eq!((spec.debounce, spec.action), (Duration::from_millis(300), WatchAction::Restart));
    assert!(spec.include.is_empty());
    assert_eq!(&spec.ignore[..IGNORED.len()], IGNORED);
    assert_eq!(spec.ignore[IGNORED.len()..], ["**/tests/**"]);
}

#[test]
#[cfg(unix)]
fn signals() {
    use mcpd_config::spec::Signal;
    for (text, signal) in [("signal:SIGHUP", "HUP"), ("signal:usr1", "USR1"), ("signal:10", "10")] {
        let spec = watch(&format!("watch = {{ paths = ['a'], action = '{text}' }}"));
        assert_eq!(spec.action, WatchAction::Signal(Signal::parse(signal).unwrap()));
    }
    let found = one("watch = { paths = ['a'], action = 'signal:SIGHUB' }", &[]);
    assert!(found.contains("unknown signal \"SIGHUB\"") && found.contains("signal:SIGHUP"), "{found}");
}

#[test]
fn mistakes() {
    for (lines, wanted) in [
        ("watch = {}", "does not say what to watch"),
        ("watch.paths = []", "does not say what to watch"),
        ("watch = { paths = ['a'], path = ['b'] }", "did you mean `paths`?"),
        ("watch = { paths = [''] }", "an empty string is of no use here"),
        ("watch = { paths = ['~/src'] }", "no shell is run"),
        (
            "watch = { paths = ['src/*.py'] }",
            "is a pattern, and no path (name the directory, and what counts in it: paths = [\"src\"], include = [\"*.py\"])",
        ),
        ("watch = { paths = ['**/a?'] }", "paths = [\".\"], include = [\"**/a?\"]"),
        ("watch = { paths = ['/*.py'] }", "paths = [\"/\"], include = [\"*.py\"]"),
        ("watch = { paths = ['a'], include = ['[a'] }", "\"[a\" is no pattern"),
        ("watch = { paths = ['a'], ignore = ['/a'] }", "would never match"),
        ("watch = { paths = ['a'], action = 'restrat' }", "did you mean \"restart\"?"),
        ("watch = { paths = ['a'], action = 'HUP' }", "signal:SIGHUP"),
        ("watch = { paths = ['a'], action = 'reload' }", "\"reload\" needs commands to reload by"),
        ("watch = { paths = ['a'], debounce = 0 }", "must be at least 1ms"),
        ("watch = ['a']", "expected a table"),
    ] {
        let found = one(lines, &[]);
        assert!(found.contains(wanted), "{lines}: {found}");
    }
}
