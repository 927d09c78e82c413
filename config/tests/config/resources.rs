//! Who a service runs as, and what it may use.

use std::path::Path;

use crate::common::{ROOT, load, one, service};
use mcpd_config::spec::{Limit, LimitUnit, LimitValue};
use mcpd_config::{Environment, load_text};

#[test]
fn users_and_groups_are_names_or_numbers() {
    let text = "user = 'www-data'\ngroup = 1000\nsupplementary_groups = ['audio', 44, '${G}']\numask = '027'";
    let spec = service(text, &[("G", "00045")]);
    assert_eq!((spec.user.as_deref(), spec.group.as_deref()), (Some("www-data"), Some("1000")));
    assert_eq!(spec.supplementary_groups, ["audio", "44", "45"]);
    assert_eq!(spec.umask, Some(0o027));
    assert_eq!(service("umask = '${M:-0}'", &[]).umask, Some(0));
}

#[test]
fn limits_have_their_own_units() {
    let both = |value| LimitValue { soft: Some(value), hard: Some(value) };
    for (text, limit, expected) in [
        ("limit_nofile = 65536", Limit::Nofile, both(65536)),
        ("limit_nofile = '65536'", Limit::Nofile, both(65536)),
        ("limit_nofile = '${N:-7}'", Limit::Nofile, both(7)),
        ("limit_nofile = '1024 : 4096'", Limit::Nofile, LimitValue { soft: Some(1024), hard: Some(4096) }),
        ("limit_nproc = '5:infinity'", Limit::Nproc, LimitValue { soft: Some(5), hard: None }),
        ("limit_core = 'infinity'", Limit::Core, LimitValue { soft: None, hard: None }),
        ("limit_core = '64M'", Limit::Core, both(64 << 20)),
        ("limit_core = 0", Limit::Core, both(0)),
        ("limit_as = '1G:${M}'", Limit::As, LimitValue { soft: Some(1 << 30), hard: Some(3 << 30) }),
        ("limit_cpu = '2m'", Limit::Cpu, both(120)),
        ("limit_cpu = 90", Limit::Cpu, both(90)),
        ("limit_cpu = '90:2m'", Limit::Cpu, LimitValue { soft: Some(90), hard: Some(120) }),
        ("limit_rttime = '200ms'", Limit::Rttime, both(200_000)),
        ("limit_rttime = 0.5", Limit::Rttime, both(500_000)),
        ("limit_nice = 40", Limit::Nice, both(40)),
    ] {
        let found = service(&format!("resources.{text}"), &[("M", "3G")]).resources.limits;
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [(limit, expected)], "{text}");
    }
}

#[test]
fn every_limit_has_its_key() {
    for limit in Limit::ALL {
        let value = match limit.unit() {
            LimitUnit::Count => "3:9",
            LimitUnit::Bytes => "3K:1G",
            LimitUnit::Seconds | LimitUnit::Microseconds => "3s:1h1m",
        };
        let spec = service(&format!("resources.{} = '{value}'", limit.key()), &[]);
        assert_eq!(spec.resources.limits[&limit].text(limit.unit()), value, "{limit:?}");
    }
}

#[test]
fn processors_are_a_list_of_ranges() {
    for (text, expected) in [
        ("'0-3,5'", vec![0, 1, 2, 3, 5]),
        ("'5, 0 - 1,1'", vec![0, 1, 5]),
        ("7", vec![7]),
        ("[1, '3-4', 1]", vec![1, 3, 4]),
        ("'${C}'", vec![1023]),
    ] {
        let spec = service(&format!("resources.cpu_affinity = {text}"), &[("C", "1023")]);
        assert_eq!(spec.resources.cpu_affinity, Some(expected), "{text}");
    }
}

#[test]
fn mistakes() {
    for (lines, expected) in [
        ("user = ''", "3:8: an empty string is of no use here"),
        ("user = 'a b'", "3:8: ' ' cannot stand in the name of a user or group"),
        ("user = -1", "3:8: expected an integer from 0 to 4294967294, found -1"),
        ("user = '4294967295'", "3:8: numbers of users and groups end at 4294967294"),
        ("group = '-g'", "3:9: \"-g\" cannot be the name of a user or group"),
        ("supplementary_groups = 'g'", "3:24: expected an array, found a string"),
        (
            "umask = 22",
            "3:9: expected a string of octal digits, found an integer (write the octal digits as a string, for example \"0027\")",
        ),
        ("umask = '028'", "3:9: \"028\" is no file mode mask ("),
        ("umask = '1777'", "3:9: \"1777\" is no file mode mask ("),
        (
            "resources.limit_nofle = 1",
            "3:11: unknown key `limit_nofle` in [service.x.resources] (did you mean `limit_nofile`?)",
        ),
        (
            "resources.limit_nofile = '2:1'",
            "3:26: the soft limit 2 is over the hard limit 1 (write \"soft:hard\", the smaller one first)",
        ),
        ("resources.limit_nofile = 'infinity:1'", "3:26: the soft limit infinity is over the hard limit 1"),
        (
            "resources.limit_nofile = 'many'",
            "3:26: expected a number, found \"many\" (write a value for both, ",
        ),
        ("resources.limit_nofile = -1", "3:26: expected an integer of at least 0, found -1"),
        ("resources.limit_nofile = 1.5", "3:26: expected an integer, found a float"),
        ("resources.limit_nice = 41", "3:24: expected an integer from 0 to 40, found 41"),
        ("resources.limit_rtprio = '1:100'", "3:26: expected a number up to 99, found \"100\""),
        ("resources.limit_core = '64MB'", "3:24: unknown unit of size \"MB\" (did you mean \"64M\"?"),
        ("resources.limit_cpu = '1.5s'", "3:23: the system counts this limit in whole seconds"),
        ("resources.limit_cpu = '1 sec'", "3:23: unknown unit of time \"sec\""),
        ("resources.nice = 20", "3:18: expected an integer from -20 to 19, found 20"),
        ("resources.oom_score_adjust = -1001", "3:30: expected an integer from -1000 to 1000, found -1001"),
        ("resources.cpu_affinity = '3-1'", "3:26: \"3-1\" is no list of processors (write \"0-3,5\";"),
        ("resources.cpu_affinity = '0,x'", "3:26: \"0,x\" is no list of processors ("),
        ("resources.cpu_affinity = 1024", "3:26: expected an integer from 0 to 1023, found 1024"),
        (
            "resources.cpu_affinity = []",
            "3:26: a service needs a processor to run on (take `cpu_affinity` out",
        ),
        ("resources.cpu_affinity = true", "3:26: expected a string, found a boolean"),
    ] {
        let found = one(lines, &[]);
        assert!(found.starts_with(&format!("t.toml:{expected}")), "{lines}:\n{found}\n{expected}");
    }
}

#[test]
fn what_is_shown_reads_back_the_same() {
    let text = "[service.x]\nexec = 'x'\nuser = 5\ngroup = 'g'\nsupplementary_groups = ['a', 1]\numask = '7'\n\
                [service.x.resources]\nlimit_nofile = '1024:infinity'\nlimit_core = 0\nlimit_rttime = '1ms:1s'\n\
                nice = -3\noom_score_adjust = 500\ncpu_affinity = [5, '0-3']\n";
    let loaded = load(text, &[]).unwrap();
    let shown = loaded.show_with_secrets();
    for line in [
        "umask = \"0007\"  # /etc/mcpd/t.toml:6",
        "limit_nofile = \"1024:infinity\"  # /etc/mcpd/t.toml:8",
        "cpu_affinity = \"0-3,5\"  # /etc/mcpd/t.toml:13",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    let again = load_text(&Path::new(ROOT).join("t.toml"), &shown, &Environment::default());
    assert_eq!(
        again.unwrap_or_else(|failed| panic!("{failed}\n{shown}")).config.services,
        loaded.config.services
    );
    assert_eq!(loaded.show_json()["services"]["x"]["resources"]["limit_core"], "0");
}
