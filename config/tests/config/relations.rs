//! What services have to do with each other: names, contradictions, circles.

use crate::common::{errors, load, service};

/// Services `a`, `b`, ... of these lines, one service per line; each line is a file's line of its own.
fn services(lines: &[&str]) -> String {
    let mut text = String::new();
    for (name, lines) in ('a'..).zip(lines) {
        text.push_str(&format!("[service.{name}]\nexec = 'x'\n{lines}\n"));
    }
    text
}

#[test]
fn names_are_a_list_or_one_name() {
    let text = services(&["requires = ['b', '${OTHER}']\nwants = 'b'", "", ""]);
    let config = load(&text, &[("OTHER", "c")]).unwrap().config;
    let relations = &config.services["a"].relations;
    assert_eq!((&relations.requires, &relations.wants), (&vec!["b".into(), "c".into()], &vec!["b".into()]));
    assert_eq!(service("", &[]).relations, mcpd_config::spec::Relations::default());
}

#[test]
fn one_mistake() {
    for (lines, expected) in [
        (&["after = 1"][..], "3:9: expected an array, found an integer (write after = [...])"),
        (&["after = [1]"], "3:10: expected a string, found an integer (write \"1\")"),
        (&["after = ['']"], "3:10: an empty string is of no use here"),
        (
            &["requires = 'databsae'", "", "", "[service.database]\nexec = 'x'"],
            "3:12: `requires` names `databsae`, and there is no such service (did you mean `database`?)",
        ),
        (
            &["wants = ['b', 'nobody']", ""],
            "3:15: `wants` names `nobody`, and there is no such service (define [service.nobody], or take the name out)",
        ),
        (
            &["after = ['w@*']", "[service.'w@']\ninstances = 2\nexec = 'x'"],
            "3:10: `after` names `w@*`, and there is no such service (patterns are for mcpctl: name each service)",
        ),
        (
            &["after = ['w@']", "[service.'w@']\ninstances = 2\nexec = 'x'"],
            "3:10: `after` names `w@`, and there is no such service (that is a template: name its instances, such as `w@1`)",
        ),
        // Once, not for each instance.
        (
            &["[service.'w@']\ninstances = 9\nexec = 'x'\nafter = ['x@%i']"],
            "6:10: `after` names `x@1`, and there is no such service (did you mean `w@1`?)",
        ),
        (
            &["[service.'w@']\ninstances = 9\nexec = 'x'\nafter = ['%n']"],
            "6:10: `w@1` names itself in `after`",
        ),
        (&["[service.'w@']\ninstances = 9\nexec = 'x'\nafter = ['%z']"], "6:11: %z stands for nothing"),
        (&["part_of = ['a']"], "3:12: `a` names itself in `part_of` (take it out)"),
        (&["requires = ['b']", "conflicts = ['a']"], "6:14: `b` conflicts with `a`, but `a` requires `b`"),
        (
            &["binds_to = ['b']\nbefore = ['b']", ""],
            "3:13: `a` is bound to `b`, but would have to start first: `a` is before `b` (what is bound to another \
             starts after it)",
        ),
        (
            &["binds_to = ['b']", "after = ['a']"],
            "3:13: `a` is bound to `b`, but would have to start first: `b` is after `a` (",
        ),
        (
            &["requires = ['b']", "requires = 'c'\nconflicts = 'd'", "", "", "requires = ['a', 'd']"],
            "7:13: `b` conflicts with `d`, and `e` cannot be without both of them",
        ),
        (
            &["conflicts = 'b'", ""],
            "3:13: `a` conflicts with `b`, and both start with mcpd (set `enabled = false` for one of them; a start of \
             it stops the other)",
        ),
    ] {
        let found = errors(&services(lines), &[]);
        assert_eq!(found.len(), 1, "{lines:?}: {found:#?}");
        assert!(
            found[0].starts_with(&format!("t.toml:{expected}")),
            "{lines:?}\nwanted {expected}\nfound  {}",
            found[0]
        );
    }
}

#[test]
fn circles_are_named_as_a_whole() {
    let found =
        errors(&services(&["after = ['b']", "requires = ['c']", "before = ['b', 'd']", "before = 'c'"]), &[]);
    let [circle] = found.as_slice() else { panic!("{found:#?}") };
    let root = crate::common::absolute("t.toml").display().to_string();
    let expected = "t.toml:9:17: these services wait for each other in a circle: c -> d -> c (take one of these out: \
         `d` is before `c` (ROOT:12:10); `c` is before `d` (ROOT:9:16))";
    assert_eq!(circle, &expected.replace("ROOT", &root).replacen("9:17", "12:10", 1));

    let found = errors(&services(&["requires = ['b']", "after = ['c']", "binds_to = ['a']"]), &[]);
    let [circle] = found.as_slice() else { panic!("{found:#?}") };
    let expected = "t.toml:3:13: these services wait for each other in a circle: a -> b -> c -> a (take one of these \
         out: `a` requires `b` (ROOT:3:13); `b` is after `c` (ROOT:6:10); `c` is bound to `a` (ROOT:9:13))";
    assert_eq!(circle, &expected.replace("ROOT", &root));
}

#[test]
fn every_circle_is_reported_once() {
    let found = errors(&services(&["after = 'b'", "after = 'a'", "after = 'd'", "after = ['c', 'a']"]), &[]);
    let told: Vec<bool> = ["a -> b -> a", "c -> d -> c"]
        .iter()
        .map(|circle| found.iter().any(|line| line.contains(circle)))
        .collect();
    assert_eq!((found.len(), told), (2, vec![true, true]), "{found:#?}");
}

#[test]
fn what_is_no_circle_is_none() {
    for lines in [
        // Whoever requires another starts after it, unless somebody says the opposite.
        &["requires = ['b']", "requires = ['a']\nbefore = ['a']"][..],
        &["requires = ['b']", "requires = ['a']\nafter = ['a']"],
        &["requires = ['b']\nbefore = ['b']", ""],
        // These say nothing about the order.
        &["wants = ['b']", "wants = ['a']\npart_of = ['a']"],
        &["part_of = ['b']", "part_of = ['a']\nafter = ['a']"],
        &["conflicts = ['b']", "enabled = false\nafter = ['a']"],
        &["after = ['b', 'b']\nrequires = 'b'", "before = ['a']"],
    ] {
        assert!(load(&services(lines), &[]).is_ok(), "{lines:?}: {:#?}", errors(&services(lines), &[]));
    }
}

#[test]
fn long_chains_and_wide_graphs_are_read() {
    let mut text = String::from("[service.s0]\nexec = 'x'\n");
    for number in 1..5_000 {
        text.push_str(&format!("[service.s{number}]\nexec = 'x'\nrequires = ['s{}', 's0']\n", number - 1));
    }
    assert_eq!(load(&text, &[]).unwrap().config.services.len(), 5_000);
    text.push_str("[service.last]\nexec = 'x'\nbefore = 's0'\nafter = 's4999'\n");
    let found = errors(&text, &[]);
    assert!(found.len() == 1 && found[0].contains("last -> s4999 -> s0 -> last"), "{}", found[0]);
}
