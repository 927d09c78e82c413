//! What of a service's settings holds for the cgroup of its run?

use mcpd_config::ServiceSpec;
use mcpd_config::spec::{CgroupLimit, CgroupValue};

use crate::sys::{Allowance, Amount, Resource};

/// The settings of a service. One that has none of them gets along without a cgroup.
#[must_use]
pub fn of(spec: &ServiceSpec) -> Vec<Allowance> {
    spec.resources.cgroup.iter().map(|(&limit, &value)| allowance(limit, value)).collect()
}

/// What makes of a cgroup that was given `old` one that was given `new`. What is not asked for any more is as if it had
/// never been.
#[must_use]
pub fn change(old: &[Allowance], new: &[Allowance]) -> Vec<Allowance> {
    let gone = old.iter().filter(|old| new.iter().all(|new| new.resource != old.resource));
    let gone = gone.map(|old| Allowance { amount: Amount::Unlimited, ..*old });
    gone.chain(new.iter().filter(|new| !old.contains(new)).copied()).collect()
}

fn allowance(limit: CgroupLimit, value: CgroupValue) -> Allowance {
    let resource = match limit {
        CgroupLimit::MemoryMax => Resource::MemoryMax,
        CgroupLimit::MemoryHigh => Resource::MemoryHigh,
        CgroupLimit::MemorySwapMax => Resource::MemorySwapMax,
        CgroupLimit::TasksMax => Resource::TasksMax,
        CgroupLimit::CpuQuota => Resource::CpuQuota,
        CgroupLimit::CpuWeight => Resource::CpuWeight,
        CgroupLimit::IoWeight => Resource::IoWeight,
    };
    let amount = match value {
        CgroupValue::Infinity => Amount::Unlimited,
        CgroupValue::Number(number) => Amount::Number(number),
        CgroupValue::Share(share) => Amount::Share(share),
    };
    Allowance { key: limit.key(), resource, amount }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(resources: &str) -> ServiceSpec {
        let text = format!(
            "[daemon]\nstate_dir = '/s'\n[service.a]\nexec = 'a'\n[service.a.resources]\n{resources}"
        );
        let environment = mcpd_config::Environment::default();
        let mut loaded = mcpd_config::load_text("/a.toml".as_ref(), &text, &environment).unwrap();
        loaded.config.services.remove("a").unwrap()
    }

    #[test]
    fn each_key_is_an_allowance() {
        let spec = spec(
            "memory_max = '64M'\nmemory_high = '50%'\nmemory_swap_max = 0\ntasks_max = 'infinity'\n\
             cpu_quota = '150%'\ncpu_weight = 200\nio_weight = 50",
        );
        let found: Vec<_> = of(&spec)
            .into_iter()
            .map(|allowance| (allowance.key, allowance.resource, allowance.amount))
            .collect();
        let expected = [
            ("memory_max", Resource::MemoryMax, Amount::Number(64 << 20)),
            ("memory_high", Resource::MemoryHigh, Amount::Share(5_000)),
            ("memory_swap_max", Resource::MemorySwapMax, Amount::Number(0)),
            ("tasks_max", Resource::TasksMax, Amount::Unlimited),
            ("cpu_quota", Resource::CpuQuota, Amount::Share(15_000)),
            ("cpu_weight", Resource::CpuWeight, Amount::Number(200)),
            ("io_weight", Resource::IoWeight, Amount::Number(50)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn only_what_changes_is_written() {
        let old = of(&spec("memory_max = '64M'\ntasks_max = 5\ncpu_weight = 1"));
        let new = of(&spec("memory_max = '1G'\ntasks_max = 5"));
        let found = change(&old, &new);
        let found: Vec<_> = found.iter().map(|allowance| (allowance.key, allowance.amount)).collect();
        assert_eq!(found, [("cpu_weight", Amount::Unlimited), ("memory_max", Amount::Number(1 << 30))]);
        assert!(change(&new, &new).is_empty());
    }
}
