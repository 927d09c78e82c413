//! What of a service's settings is set in its process before its program runs?

use mcpd_config::ServiceSpec;
use mcpd_config::spec::{Limit, LimitValue, ResourcesSpec};

use crate::sys::Setup;

/// The settings of a service, in systemd's order: limits while it still may raise them, then what it is to the
/// scheduler, then whom it runs as. A service that has none of them is started without a detour.
#[must_use]
pub fn of(spec: &ServiceSpec) -> Vec<Setup> {
    let ResourcesSpec { nice, oom_score_adjust, cpu_affinity, limits, cgroup: _ } = &spec.resources;
    let mut setup: Vec<Setup> = limits.iter().map(|(&limit, &value)| self::limit(limit, value)).collect();
    setup.extend(nice.map(Setup::Nice));
    setup.extend(oom_score_adjust.map(Setup::OomScoreAdjust));
    setup.extend(cpu_affinity.clone().map(Setup::CpuAffinity));
    if spec.user.is_some() || spec.group.is_some() || !spec.supplementary_groups.is_empty() {
        setup.push(Setup::Identity {
            user: spec.user.clone(),
            group: spec.group.clone(),
            supplementary_groups: spec.supplementary_groups.clone(),
        });
    }
    setup.extend(spec.umask.map(Setup::Umask));
    setup
}

fn limit(limit: Limit, value: LimitValue) -> Setup {
    let key = limit.key();
    let name = key.strip_prefix("limit_").unwrap_or(key).to_owned();
    Setup::Limit { name, soft: value.soft, hard: value.hard }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_one_in_which_it_is_allowed() {
        let text = "[daemon]\nstate_dir = '/s'\n[service.a]\nexec = 'a'\nuser = 'u'\numask = '77'\n\
                    [service.a.resources]\ncpu_affinity = 0\nnice = 1\noom_score_adjust = 2\n\
                    limit_nofile = '1:2'\nlimit_core = 'infinity'";
        let environment = mcpd_config::Environment::default();
        let loaded = mcpd_config::load_text("/a.toml".as_ref(), text, &environment).unwrap();
        let limit = |name: &str, soft, hard| Setup::Limit { name: name.into(), soft, hard };
        let expected = [
            limit("core", None, None),
            limit("nofile", Some(1), Some(2)),
            Setup::Nice(1),
            Setup::OomScoreAdjust(2),
            Setup::CpuAffinity(vec![0]),
            Setup::Identity { user: Some("u".into()), group: None, supplementary_groups: vec![] },
            Setup::Umask(0o77),
        ];
        assert_eq!(of(&loaded.config.services["a"]), expected);
    }
}
