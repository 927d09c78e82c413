//! Several files, and files that are none.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::common::{environment, line};
use mcpd_config::{Failed, Loaded};

/// A directory with these files.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

fn load(root: &TempDir) -> Result<Loaded, Failed> {
    mcpd_config::load(&root.path().join("main.toml"), &environment(&[("DIR", "services.d")]))
}

fn errors(root: &TempDir) -> Vec<String> {
    load(root).unwrap_err().diagnostics.iter().map(line).collect()
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.config.services.keys().map(String::as_str).collect()
}

#[test]
fn included_files_add_services_in_sorted_order() {
    let root = tree(&[
        (
            "main.toml",
            "[daemon]\ninclude = ['${DIR}/*.toml', 'extra.toml', 'none/*.toml', '*.toml']\n[service.m]\nexec = 'm'",
        ),
        ("services.d/b.toml", "[service.b]\nexec = 'b'\nworking_directory = 'w'"),
        ("services.d/a.toml", "[service.a]\nexec = 'a'"),
        ("services.d/.a.toml.swp", "no toml"),
        ("services.d/web.d/over.toml", "[service.over]\nexec = 'x'"),
        ("extra.toml", "[service.e]\nexec = 'e'"),
    ]);
    let loaded = load(&root).unwrap();
    assert_eq!(names(&loaded), ["a", "b", "e", "m"]);
    let files: Vec<PathBuf> = ["main.toml", "services.d/a.toml", "services.d/b.toml", "extra.toml"]
        .iter()
        .map(|name| root.path().join(name).components().collect())
        .collect();
    assert_eq!(loaded.config.files, files);
    // Relative to the file that says it.
    let b = &loaded.config.services["b"];
    assert_eq!(b.working_directory, Some(root.path().join("services.d").join("w")));
    let origin = loaded.origins.get("service.b.exec").unwrap().to_string();
    assert_eq!(origin, format!("{}:2", root.path().join("services.d").join("b.toml").display()));
}

#[test]
fn errors_of_all_files_are_reported_in_one_go() {
    let root = tree(&[
        ("main.toml", "[daemon]\ninclude = ['d/*.toml']\n[service.m]\nexce = 'm'"),
        (
            "d/a.toml",
            "[service.a]\nexec = 'a'\n[service.a.restart]\nmax_restarts = 'x'\n[daemon]\nlog_dir = 'x'",
        ),
        ("d/b.toml", "this is no toml\n[service.b]\nexce = 1"),
        ("d/c.toml", "[service.c]\nexec = 'c'\n[service.m]\nexec = 'again'"),
    ]);
    let found = errors(&root);
    let starts = [
        "main.toml:3:10: [service.m] has no `exec`",
        "main.toml:4:1: unknown key `exce`",
        "a.toml:4:16: expected an integer, found a string",
        "a.toml:5:2: an included file cannot have [daemon]",
        "b.toml:1:",
        "c.toml:3:10: the service `m` is defined twice",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found} does not start with {start}");
    }
}

#[test]
fn a_main_file_with_a_slip_does_not_hide_the_errors_of_the_others() {
    let root = tree(&[
        ("main.toml", "[daemon]\ninclude = ['a.toml', 'missing.toml']\n[service.m]\nexec = \nbanana = 1"),
        ("a.toml", "[service.a]\nbanana = 1"),
    ]);
    let found = errors(&root);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].starts_with("main.toml:4:"), "{found:#?}");
    assert!(found[1].starts_with("a.toml:1:10:") && found[2].starts_with("a.toml:2:1:"), "{found:#?}");
}

#[test]
fn both_places_of_a_service_that_is_defined_twice_are_drawn() {
    let root = tree(&[
        ("main.toml", "[daemon]\ninclude = ['other.toml']\n\n[service.web]\nexec = 'a'"),
        ("other.toml", "[service.web]\nexec = 'b'"),
    ]);
    let rendered = load(&root).unwrap_err().render(false);
    let at = |name: &str| root.path().join(name).display().to_string();
    let expected = format!(
        "\
error: the service `web` is defined twice
 --> {}:1:10
  |
1 | [service.web]
  |          ^^^
  |
 ::: {}:4:10
  |
4 | [service.web]
  |          --- first defined here
  |
  = help: give one of them another name

1 error in the configuration",
        at("other.toml"),
        at("main.toml")
    );
    assert_eq!(rendered, expected);
}

#[test]
fn includes_that_cannot_be_followed() {
    for (include, expected) in [
        ("'missing.toml'", "main.toml:2:12: the file "),
        ("'main.toml'", "main.toml:2:12: a file cannot include itself"),
        ("'[a.toml'", "main.toml:2:12: \"[a.toml\" is no pattern: "),
        ("1", "main.toml:2:12: expected a string, found an integer"),
        ("''", "main.toml:2:12: an empty string is of no use here"),
        ("'${NOPE}/*.toml'", "main.toml:2:13: the variable NOPE is not set"),
        ("'sub'", "sub: cannot read this included file: it is a directory"),
    ] {
        let text = format!("[daemon]\ninclude = [{include}]\n[service.x]\nexec = 'x'");
        let root = tree(&[("main.toml", &text), ("sub/x", "")]);
        let found = errors(&root);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{include}: {found:#?}");
    }
    let root = tree(&[("main.toml", "[daemon]\ninclude = 'a.toml'")]);
    assert!(errors(&root)[0].starts_with("main.toml:2:11: expected an array, found a string"));
}

#[test]
fn the_same_file_by_two_names_is_read_once() {
    let root = tree(&[
        ("main.toml", "[daemon]\ninclude = ['a.toml', './a.toml', 'sub/../a.toml', '?.toml']"),
        ("a.toml", "[service.a]\nexec = 'a'"),
        ("sub/x", ""),
    ]);
    assert_eq!(names(&load(&root).unwrap()), ["a"]);
}

#[test]
fn files_that_are_no_text() {
    let root = tree(&[("main.toml", "")]);
    let main = root.path().join("main.toml");
    std::fs::write(&main, b"[service.x]\nexec = 'a'\ndescription = 'na\xefve'\n").unwrap();
    assert_eq!(
        errors(&root),
        ["main.toml:3:18: the file is not UTF-8 (TOML files are UTF-8: save it in that encoding)"]
    );
    assert!(load(&root).unwrap_err().render(false).contains("3 | description = 'na"));
    std::fs::write(&main, b"\xef\xbb\xbf\xff").unwrap();
    assert!(errors(&root)[0].starts_with("main.toml:1:1: the file is not UTF-8"));

    let env = environment(&[]);
    let missing = mcpd_config::load(Path::new("/no/such.toml"), &env).unwrap_err();
    assert!(line(&missing.diagnostics[0]).starts_with("such.toml: cannot read the configuration: "));
    assert!(missing.render(false).contains("no/such.toml") || cfg!(windows), "{missing}");
    let directory = mcpd_config::load(root.path(), &env).unwrap_err();
    assert_eq!(directory.diagnostics.len(), 1, "{directory}");
    assert_eq!(directory.diagnostics[0].message, "cannot read the configuration: it is a directory");
}

#[test]
fn an_empty_file_has_no_services_and_says_so() {
    for text in ["", "\u{feff}", "# nothing\r\n", "[daemon]\n", "[service]\n"] {
        let root = tree(&[("main.toml", text)]);
        let loaded = load(&root).unwrap();
        assert!(loaded.config.services.is_empty());
        assert_eq!(loaded.warnings.len(), 1, "{text:?}");
        assert_eq!(loaded.warnings[0].message, "the configuration has no services");
        let at = root.path().join("main.toml").display().to_string();
        let expected = format!(
            "warning: the configuration has no services\n--> {at}\n = help: a service is a table [service.NAME] with an `exec`"
        );
        assert_eq!(loaded.warnings[0].render(false), expected);
    }
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_change_nothing() {
    let root = tree(&[("main.toml", "\u{feff}[service.x]\r\nexec = 'x'\r\nenabled = 7\r\n")]);
    assert_eq!(errors(&root), ["main.toml:3:11: expected true or false, found an integer"]);
    let root = tree(&[("main.toml", "\u{feff}[service.x]\r\nexec = 'x'\r\n")]);
    let loaded = load(&root).unwrap();
    assert_eq!(names(&loaded), ["x"]);
    let root = tree(&[("main.toml", "\u{feff}bad = 1")]);
    assert!(errors(&root)[0].starts_with("main.toml:1:1: "));
}
