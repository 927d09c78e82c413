//! What the cgroup of a run may use. Windows reads it as well: it is the daemon that has no cgroup to give there.

use std::path::Path;

use crate::common::{ROOT, load, one, service};
use mcpd_config::spec::{CgroupLimit, CgroupValue};
use mcpd_config::{Environment, load_text};

#[test]
fn each_key_has_its_own_kinds_of_values() {
    use CgroupLimit::{CpuQuota, CpuWeight, IoWeight, MemoryHigh, MemoryMax, MemorySwapMax, TasksMax};
    use CgroupValue::{Infinity, Number, Share};
    for (text, limit, value, shown) in [
        ("memory_max = '64M'", MemoryMax, Number(64 << 20), "64M"),
        ("memory_max = 67108864", MemoryMax, Number(64 << 20), "64M"),
        ("memory_max = '1.5K'", MemoryMax, Number(1536), "1536"),
        ("memory_max = ' infinity '", MemoryMax, Infinity, "infinity"),
        ("memory_max = '${M}'", MemoryMax, Number(3 << 30), "3G"),
        ("memory_max = '${Q}'", MemoryMax, Share(1250), "12.5%"),
        ("memory_high = '100%'", MemoryHigh, Share(10_000), "100%"),
        ("memory_high = '0.01%'", MemoryHigh, Share(1), "0.01%"),
        ("memory_high = '5 %'", MemoryHigh, Share(500), "5%"),
        ("memory_swap_max = 0", MemorySwapMax, Number(0), "0"),
        ("memory_swap_max = '1G'", MemorySwapMax, Number(1 << 30), "1G"),
        ("memory_swap_max = 'infinity'", MemorySwapMax, Infinity, "infinity"),
        ("tasks_max = 1", TasksMax, Number(1), "1"),
        ("tasks_max = '4194304'", TasksMax, Number(4_194_304), "4194304"),
        ("tasks_max = '10%'", TasksMax, Share(1000), "10%"),
        ("tasks_max = 'infinity'", TasksMax, Infinity, "infinity"),
        ("tasks_max = '${T:-7}'", TasksMax, Number(7), "7"),
        ("cpu_quota = '200%'", CpuQuota, Share(20_000), "200%"),
        ("cpu_quota = '0.1%'", CpuQuota, Share(10), "0.1%"),
        ("cpu_quota = '33.33%'", CpuQuota, Share(3333), "33.33%"),
        ("cpu_quota = '1000000%'", CpuQuota, Share(100_000_000), "1000000%"),
        ("cpu_quota = 'infinity'", CpuQuota, Infinity, "infinity"),
        ("cpu_weight = 1", CpuWeight, Number(1), "1"),
        ("cpu_weight = 10000", CpuWeight, Number(10_000), "10000"),
        ("io_weight = '${W:-50}'", IoWeight, Number(50), "50"),
    ] {
        let vars = [("M", "3G"), ("Q", "12.5%")];
        let found = service(&format!("resources.{text}"), &vars).resources.cgroup;
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [(limit, value)], "{text}");
        assert_eq!(value.text(limit), shown, "{text}");
    }
}

#[test]
fn mistakes_say_what_to_write() {
    let memory = "(write \"512M\", \"50%\" of the machine's memory, or \"infinity\")";
    let share = "expected a percentage from 0.01% to 100%, found";
    let quota = "(write \"50%\" for half a processor's time, \"200%\" for two, or \"infinity\")";
    for (lines, expected) in [
        ("memory_max = 0", format!("3:24: nothing runs without memory {memory}")),
        ("memory_max = '0%'", format!("3:24: {share} \"0%\" {memory}")),
        ("memory_max = '101%'", format!("3:24: {share} \"101%\" {memory}")),
        ("memory_max = '1.005%'", format!("3:24: {share} \"1.005%\"")),
        ("memory_max = '-1%'", format!("3:24: {share} \"-1%\"")),
        ("memory_max = '1e1%'", format!("3:24: {share} \"1e1%\"")),
        ("memory_max = '%'", format!("3:24: {share} \"%\"")),
        ("memory_max = '.5%'", format!("3:24: {share} \".5%\"")),
        ("memory_max = '99999999999%'", format!("3:24: {share} \"99999999999%\"")),
        ("memory_max = '64MB'", "3:24: unknown unit of size \"MB\" (did you mean \"64M\"?".into()),
        ("memory_max = 'Infinity'", "3:24: \"Infinity\" is not a size".into()),
        ("memory_max = 1.5", "3:24: expected a size, found a float".into()),
        ("memory_high = -1", "3:25: a size cannot be negative".into()),
        (
            "memory_swap_max = '50%'",
            "3:29: swap is not limited by a percentage (write \"512M\", 0 for none".into(),
        ),
        ("tasks_max = 0", "3:23: expected an integer from 1 to 4194304, found 0".into()),
        ("tasks_max = 4194305", "3:23: expected an integer from 1 to 4194304, found 4194305".into()),
        (
            "tasks_max = 'many'",
            "3:23: expected a number of tasks from 1 to 4194304, found \"many\" (write a number, ".into(),
        ),
        ("tasks_max = '0'", "3:23: expected a number of tasks from 1 to 4194304, found \"0\"".into()),
        ("tasks_max = '200%'", format!("3:23: {share} \"200%\"")),
        (
            "cpu_quota = 200",
            "3:23: expected a percentage, found an integer (write \"200%\" if that share of one processor is meant)"
                .into(),
        ),
        ("cpu_quota = true", format!("3:23: expected a percentage, found a boolean {quota}")),
        (
            "cpu_quota = '0%'",
            format!("3:23: expected a percentage from 0.1% to 1000000%, found \"0%\" {quota}"),
        ),
        ("cpu_quota = '0.09%'", "3:23: expected a percentage from 0.1% to".into()),
        ("cpu_quota = '2'", "3:23: expected a percentage from 0.1% to 1000000%, found \"2\"".into()),
        ("cpu_quota = '1000001%'", "3:23: expected a percentage from 0.1% to".into()),
        ("cpu_weight = 0", "3:24: expected an integer from 1 to 10000, found 0".into()),
        ("io_weight = 10001", "3:23: expected an integer from 1 to 10000, found 10001".into()),
        ("io_weight = '50'", "3:23: expected an integer, found a string (leave out the quotes)".into()),
        ("cpu_weight = 'idle'", "3:24: expected an integer, found a string".into()),
        ("cpu_quotas = '1%'", "3:11: unknown key `cpu_quotas` in [service.x.resources] (did you mean".into()),
    ] {
        let found = one(&format!("resources.{lines}"), &[]);
        assert!(found.starts_with(&format!("t.toml:{expected}")), "{lines}:\n{found}\n{expected}");
    }
}

#[test]
fn what_is_shown_reads_back_the_same() {
    let text = "[service.x]\nexec = 'x'\n[service.x.resources]\nmemory_max = '1G'\nmemory_high = '12.50%'\n\
                memory_swap_max = 0\ntasks_max = 100\ncpu_quota = '150%'\ncpu_weight = 50\nio_weight = 7\n\
                [service.y]\nexec = 'y'\nresources.tasks_max = 'infinity'\n";
    let loaded = load(text, &[]).unwrap();
    let shown = loaded.show_with_secrets();
    for line in ["memory_high = \"12.5%\"", "memory_swap_max = \"0\"", "tasks_max = 100", "cpu_weight = 50"] {
        assert!(shown.contains(&format!("\n{line}  # ")), "{line}\n{shown}");
    }
    let again = load_text(&Path::new(ROOT).join("t.toml"), &shown, &Environment::default());
    assert_eq!(
        again.unwrap_or_else(|failed| panic!("{failed}\n{shown}")).config.services,
        loaded.config.services
    );
}
