//! Templates, their instances, and drop-ins.

use tempfile::TempDir;

use crate::common::{environment, errors, line, load};
use mcpd_config::{Failed, Loaded, ServiceSpec};

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.config.services.keys().map(String::as_str).collect()
}

fn good(text: &str, vars: &[(&str, &str)]) -> Loaded {
    load(text, vars).unwrap_or_else(|failed| panic!("{failed}"))
}

fn spec<'l>(loaded: &'l Loaded, name: &str) -> &'l ServiceSpec {
    loaded.config.services.get(name).unwrap_or_else(|| panic!("{name}: {:?}", names(loaded)))
}

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

fn load_tree(root: &TempDir) -> Result<Loaded, Failed> {
    mcpd_config::load(&root.path().join("main.toml"), &environment(&[]))
}

#[test]
fn instances_by_name_and_by_number() {
    let loaded = good("[service.'w@']\nexec = 'x'\ninstances = ['b', 'a-1.x:y_', '${V}']", &[("V", "v")]);
    assert_eq!(names(&loaded), ["w@a-1.x:y_", "w@b", "w@v"]);
    let loaded = good("[service.'w@']\nexec = 'x'\ninstances = 3\n[service.w]\nexec = 'y'", &[]);
    assert_eq!(names(&loaded), ["w", "w@1", "w@2", "w@3"]);
    let loaded = good("[service.'w@']\nexec = 'x'\ninstances = '${N:-2}'", &[]);
    assert_eq!(names(&loaded), ["w@1", "w@2"]);
}

#[test]
fn specifiers_stand_in_every_string_of_an_instance() {
    let text = r#"
        [service."w@"]
        instances = ["a", "b"]
        exec = ["x", "%i", "%n-%p", "100%%", "${PORT_%i:-80}", "${RAW}"]
        description = "the %i one"
        working_directory = "/srv/%i"
        environment = { NAME = "%n", "%i" = "key" }
        environment_files = ["-/etc/%n"]
        health = { http = "http://h/%i", headers = { X = "%p" }, expect_json = { deep = [{ x = "%i" }] } }
    "#;
    let loaded = good(text, &[("PORT_b", "81"), ("RAW", "%i")]);
    let (a, b) = (spec(&loaded, "w@a"), spec(&loaded, "w@b"));
    // What a variable holds is not looked at again.
    assert_eq!(a.exec, ["x", "a", "w@a-w", "100%", "80", "%i"]);
    assert_eq!(b.exec, ["x", "b", "w@b-w", "100%", "81", "%i"]);
    assert_eq!(a.description.as_deref(), Some("the a one"));
    // On Windows with the drive before them.
    assert!(b.working_directory.as_ref().is_some_and(|directory| directory.ends_with("srv/b")));
    assert_eq!(b.environment.get("NAME").map(String::as_str), Some("w@b"));
    assert!(b.environment.contains_key("%i"), "keys stay as they are");
    assert!(b.environment_files[0].path.ends_with("etc/w@b"));
    let shown = loaded.show_json();
    assert_eq!(shown["services"]["w@b"]["health"]["http"], "http://h/b");
    assert_eq!(shown["services"]["w@b"]["health"]["headers"]["X"], "w");
    assert_eq!(shown["services"]["w@b"]["health"]["expect_json"]["deep"][0]["x"], "b");
}

/// "an existing plain config with `%` in a value (date formats in exec!) must not change meaning silently"
#[test]
fn a_percent_sign_outside_of_templates_is_a_percent_sign() {
    for name in ["x", "x@y"] {
        let loaded = good(&format!("[service.'{name}']\nexec = ['date', '+%i %n %Y %%']"), &[]);
        assert_eq!(spec(&loaded, name).exec, ["date", "+%i %n %Y %%"]);
    }
}

#[test]
fn an_instance_may_have_a_table_of_its_own() {
    let text = r#"
        [service."w@"]
        exec = "x %i"
        instances = ["a", "b"]
        environment = { A = "template", B = "template" }
        restart = { delay = "3s", max_restarts = 7 }
        success_exit_status = [0, 1]
        [service."w@b"]
        environment = { B = "own %i" }
        restart.delay = "4s"
        success_exit_status = [2]
    "#;
    let loaded = good(text, &[]);
    let (a, b) = (spec(&loaded, "w@a"), spec(&loaded, "w@b"));
    assert_eq!((a.restart.max_restarts, b.restart.max_restarts), (7, 7));
    assert_eq!((a.restart.delay.as_secs(), b.restart.delay.as_secs()), (3, 4));
    let environment: Vec<_> = b.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(environment, ["A=template", "B=own b"]);
    assert_eq!((a.success_exit_status.len(), b.success_exit_status.len()), (2, 1));
    assert_eq!(b.exec, ["x", "b"]);
    let origin = |key: &str| loaded.origins.get(key).unwrap().to_string();
    assert!(origin("service.\"w@b\".exec").ends_with("t.toml:3 of w@"), "{}", origin("service.\"w@b\".exec"));
    assert!(origin("service.\"w@b\".environment.A").ends_with("t.toml:5 of w@"));
    assert!(origin("service.\"w@b\".environment.B").ends_with("t.toml:9"));
    assert!(origin("service.\"w@b\".restart.max_restarts").ends_with("t.toml:6 of w@"));
    assert!(origin("service.\"w@b\".restart.delay").ends_with("t.toml:10"));
    assert_eq!(origin("service.\"w@b\".restart.jitter"), "default");
    let json = loaded.show_json();
    assert_eq!(json["origins"]["service.\"w@a\".restart.delay"]["template"], "w@");
    // What is shown reads back the same.
    let again = load(&loaded.show_with_secrets(), &[]).unwrap();
    assert_eq!(again.config.services, loaded.config.services);
}

#[test]
fn mistakes_in_templates() {
    for (text, expected) in [
        (
            "[service.'w@']\nexec = 'x'",
            "1:10: the template `w@` has no `instances` (say which there are, instances = [\"a\", \"b\"], or how many,",
        ),
        ("[service.'w@']\nexec = 'x'\ninstances = []", "3:13: a template needs at least one instance ("),
        ("[service.'w@']\nexec = 'x'\ninstances = 0", "3:13: expected an integer from 1 to 10000, found 0 ("),
        (
            "[service.'w@']\nexec = 'x'\ninstances = 10001",
            "3:13: expected an integer from 1 to 10000, found 10001",
        ),
        (
            "[service.'w@']\nexec = 'x'\ninstances = 'a'",
            "3:13: expected an integer, found a string (a list names",
        ),
        (
            "[service.'w@']\nexec = 'x'\ninstances = true",
            "3:13: expected a list of names or a number, found a boolean",
        ),
        (
            "[service.'w@']\nexec = 'x'\ninstances = ['a', 1]",
            "3:19: expected a string, found an integer (write \"1\")",
        ),
        ("[service.'w@']\nexec = 'x'\ninstances = ['a', 'a']", "3:19: the instance \"a\" is listed twice"),
        ("[service.'w@']\nexec = 'x'\ninstances = ['']", "3:14: the name of an instance is empty"),
        (
            "[service.'w@']\nexec = 'x'\ninstances = ['a@b']",
            "3:14: '@' cannot stand in the name of an instance",
        ),
        ("[service.'w@']\nexec = 'x'\ninstances = ['a/b']", "3:14: '/' cannot stand in a service's name ("),
        (
            "[service.w]\nexec = 'x'\ninstances = 2",
            "3:1: `instances` goes with a template (a template's name ends with `@`: [service.\"w@\"])",
        ),
        (
            "[service.'w@']\nexec = 'x'\ninstances = 2\n[service.'w@1']\ninstances = 2",
            "5:1: `instances` goes with a template (write it in [service.\"w@\"])",
        ),
        (
            "[service.'w@']\nexec = 'x'\ninstances = ['one']\n[service.'w@oen']\nenabled = false",
            "4:10: `w@oen` is not among the instances of the template `w@` (did you mean `w@one`?)",
        ),
        (
            "[service.'w@']\nexec = 'x'\ninstances = ['one']\n[service.'w@zzzzzz']\nenabled = false",
            "4:10: `w@zzzzzz` is not among the instances of the template `w@` (add it to `instances` in [service.\"w@\"],",
        ),
        ("[service.'@']\nexec = 'x'\ninstances = 1", "1:10: `@` cannot be the name of a template ("),
        ("[service.'a@b@']\nexec = 'x'\ninstances = 1", "1:10: `a@b@` cannot be the name of a template ("),
        // Once, not for each instance.
        ("[service.'w@']\ninstances = 100", "1:10: [service.\"w@1\"] has no `exec`"),
        (
            "[service.'w@']\ninstances = 100\nexec = ['x', 'a%z']",
            "3:16: %z stands for nothing in a template (%i is the instance, %p what stands before the @, %n the whole name;",
        ),
        ("[service.'w@']\ninstances = 100\nexec = ['x', '100%']", "3:18: a % at the end stands for nothing"),
        ("[service.'w@']\ninstances = 100\nexec = ['x', '${NO_%i}']", "3:14: the variable NO_1 is not set"),
        ("[service.'w@']\ninstances = 100\nexec = 'x'\nexce = 1", "4:1: unknown key `exce`"),
    ] {
        let found = errors(text, &[]);
        let expected = format!("t.toml:{expected}");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{text}\n{found:#?}\n{expected}");
    }
}

#[test]
fn drop_ins_lie_over_a_service_in_the_order_of_their_names() {
    let root = tree(&[
        (
            "main.toml",
            "[daemon]\ninclude = ['services.d/*.toml']\n[service.m]\nexec = 'm'\n\
             environment = { A = '0', B = '0', C = '0' }",
        ),
        ("m.d/20.toml", "[service.m]\nenvironment.B = '20'\nenvironment.C = '20'"),
        ("m.d/10.toml", "[service.m]\nenvironment = { A = '10', B = '10' }\nworking_directory = 'here'"),
        ("m.d/.hidden.toml", "no toml"),
        ("m.d/readme.txt", "no toml"),
        ("services.d/s.toml", "[service.s]\nexec = 's'\nstop_timeout = 1"),
        ("services.d/s.d/10.toml", "[service.s]\nstop_timeout = 10\nstart_timeout = 10"),
        ("services.d/s.d/30.toml", "[service.s]\nrestart.delay = 30"),
        // Beside the main file, which includes: of equal names this one is later.
        ("s.d/10.toml", "[service.s]\nstop_timeout = 11"),
        ("s.d/20.toml", "[service.s]\nrestart.delay = 20"),
        ("nobody.d/10.toml", "[service.nobody]\nexec = 'x'"),
    ]);
    let loaded = load_tree(&root).unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(names(&loaded), ["m", "s"]);
    let (m, s) = (spec(&loaded, "m"), spec(&loaded, "s"));
    assert_eq!(m.environment.values().collect::<Vec<_>>(), ["10", "20", "20"]);
    assert_eq!(m.working_directory, Some(root.path().join("m.d").join("here")));
    assert_eq!(
        (s.stop_timeout.as_secs(), s.start_timeout.as_secs(), s.restart.delay.as_secs()),
        (11, 10, 30)
    );
    let origin = loaded.origins.get("service.s.stop_timeout").unwrap().to_string();
    assert_eq!(origin, format!("{}:2", root.path().join("s.d").join("10.toml").display()));
    assert_eq!(loaded.config.files.len(), 2 + 2 + 4);
}

#[test]
fn four_layers_make_an_instance() {
    let layer = |n: u32| (n..5).map(|key| format!("K{key} = '{n}%i', ")).collect::<String>();
    let environment_of = |n: u32| format!("environment = {{ {} }}", layer(n).trim_end_matches(", "));
    let root = tree(&[
        (
            "main.toml",
            &format!(
                "[service.'w@']\nexec = 'x'\ninstances = 1\n{}\n[service.'w@b']\n{}",
                environment_of(1).replace("K2", "KX"),
                environment_of(3)
            ),
        ),
        ("w@.d/10.toml", &format!("[service.'w@']\ninstances = ['a', 'b']\n{}", environment_of(2))),
        ("w@b.d/10.toml", &format!("[service.'w@b']\n{}", environment_of(4))),
    ]);
    let loaded = load_tree(&root).unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(names(&loaded), ["w@a", "w@b"]);
    let of = |name: &str| {
        let pairs = spec(&loaded, name).environment.iter();
        pairs.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(of("w@a"), ["K1=1a", "K2=2a", "K3=2a", "K4=2a", "KX=1a"]);
    assert_eq!(of("w@b"), ["K1=1b", "K2=2b", "K3=3b", "K4=4b", "KX=1b"]);
    let origin = |key: &str| loaded.origins.get(key).unwrap().to_string();
    let at = |directory: &str| root.path().join(directory).join("10.toml").display().to_string();
    assert_eq!(origin("service.\"w@b\".environment.K2"), format!("{}:3 of w@", at("w@.d")));
    assert_eq!(origin("service.\"w@b\".environment.K4"), format!("{}:2", at("w@b.d")));
}

#[test]
fn mistakes_in_drop_ins_name_the_drop_in() {
    let root = tree(&[
        ("main.toml", "[service.m]\nexec = 'm'\n[service.'w@']\nexec = 'w'\ninstances = 50"),
        (
            "m.d/1.toml",
            "[daemon]\nlog_dir = 'x'\n[service.n]\nexec = 'n'\n[service.m]\nexce = 1\ninstances = 2",
        ),
        ("m.d/2.toml", "[service.m"),
        ("m.d/3.toml", "stop_timeout = 1"),
        ("w@.d/1.toml", "[service.'w@']\nrestart.delay = 'soon'"),
        ("w@1.d/1.toml", "[service.'w@1']\ninstances = 4\n[service.'w@2']\n"),
    ]);
    let found: Vec<String> = load_tree(&root).unwrap_err().diagnostics.iter().map(line).collect();
    let starts = [
        "1.toml:1:2: a drop-in cannot have [daemon]",
        "1.toml:3:10: a drop-in in m.d cannot have [service.n] (write [service.m])",
        "1.toml:6:1: unknown key `exce`",
        "1.toml:7:1: `instances` goes with a template",
        "2.toml:1:",
        "3.toml:1:1: unknown key `stop_timeout` (it stands in [service.NAME])",
        "1.toml:2:17: ",
        "1.toml:2:1: `instances` goes with a template",
        "1.toml:3:10: a drop-in in w@1.d cannot have [service.\"w@2\"] (write [service.\"w@1\"])",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found} does not start with {start}");
    }
}

#[test]
fn a_file_that_is_included_is_no_drop_in() {
    let root = tree(&[
        ("main.toml", "[daemon]\ninclude = ['m.d/*.toml']\n[service.m]\nexec = 'm'"),
        ("m.d/other.toml", "[service.other]\nexec = 'o'"),
    ]);
    assert_eq!(names(&load_tree(&root).unwrap()), ["m", "other"]);
}

#[test]
fn a_thousand_instances_load() {
    let loaded = good("[service.'w@']\nexec = ['a', '%i']\ninstances = 1000\nrestart.delay = 2", &[]);
    assert_eq!(loaded.config.services.len(), 1000);
    assert_eq!(spec(&loaded, "w@999").exec, ["a", "999"]);
}
