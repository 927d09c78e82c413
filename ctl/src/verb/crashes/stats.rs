//! `crashes stats [NAME]`

use mcpd_proto::stats::{CauseStats, CrashStats, ServiceStats, StatsParams};
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::human;
use crate::look::{BAD, BOLD, Fact, GOOD, Look, PLAIN, WARN};
use crate::table::{Cell, Column, Cut, Table};
use crate::text;
use crate::verb::{Context, decode, is_pattern};

/// What crashes cost.
pub(super) fn run(name: Option<String>, context: &mut Context) -> Result<Exit, Failure> {
    let params = json!(StatsParams { name: name.clone() });
    let document = context.ask("crash.stats", &params)?;
    if context.common.json {
        context.out.document(&document)?;
        return Ok(Exit::Done);
    }
    let services = decode::<CrashStats>(&document)?.services;
    let look = &context.out.look;
    let text = match (&name, services.as_slice()) {
        (Some(name), [only]) if !is_pattern(name) => one(only, look),
        (Some(name), []) => format!("Nothing is on record of {}.\n", text::safe(name)),
        (None, []) => "Nothing is on record yet.\n".to_owned(),
        (_, several) => all(several, look),
    };
    context.out.text(&text)?;
    context.out.flush()?;
    Ok(Exit::Done)
}

/// `99.95 %`; never 100 % for what was down.
pub(crate) fn share(share: Option<f64>) -> String {
    match share {
        None => "-".to_owned(),
        Some(share) if share >= 1.0 => "100 %".to_owned(),
        // Rounded down, for what was down at all was not always there.
        Some(share) => format!("{:.2} %", (share * 10_000.0).floor() / 100.0),
    }
}

fn style(share: Option<f64>) -> anstyle::Style {
    match share {
        None => PLAIN,
        Some(share) if share >= 0.999 => GOOD,
        Some(share) if share >= 0.95 => WARN,
        Some(_) => BAD,
    }
}

fn span(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), human::seconds)
}

fn all(services: &[ServiceStats], look: &Look) -> String {
    let mut table = Table::new([
        Column::left("SERVICE", Cut::Middle(8)),
        Column::right("1H"),
        Column::right("24H"),
        Column::right("7D"),
        Column::right("CRASHES"),
        Column::right("RESTARTS"),
        Column::right("MTBF"),
        Column::right("MTTR"),
    ]);
    for stats in services {
        let availability = &stats.availability;
        let cell = |known: Option<f64>| Cell::styled(share(known), style(known));
        table.row(vec![
            Cell::from(&stats.service),
            cell(availability.last_hour),
            cell(availability.last_day),
            cell(availability.last_week),
            stats.crashes.to_string().into(),
            stats.restarts.to_string().into(),
            span(stats.mtbf_seconds).into(),
            span(stats.mttr_seconds).into(),
        ]);
    }
    table.render(look)
}

fn one(stats: &ServiceStats, look: &Look) -> String {
    let clock = &look.clock;
    let known = |known: Option<f64>, window: &str| {
        let counted = stats.windows.iter().find(|counted| counted.name == window);
        let crashes = counted.map_or(0, |counted| counted.crashes);
        let crashes = human::count(usize::try_from(crashes).unwrap_or(usize::MAX), "crash", "crashes");
        let words = match known {
            Some(_) => format!("{} available, {crashes}", share(known)),
            None => format!("not wanted, or not on record, {crashes}"),
        };
        (words, style(known))
    };
    let availability = &stats.availability;
    let mut facts = Vec::new();
    for (key, share, window) in [
        ("last hour", availability.last_hour, "1h"),
        ("last 24 h", availability.last_day, "24h"),
        ("last 7 d", availability.last_week, "7d"),
    ] {
        let (words, style) = known(share, window);
        facts.push(Fact::styled(key, words, style));
    }
    let whole = format!(
        "up for {}, down for {}, since {}",
        human::seconds(stats.up_seconds),
        human::seconds(stats.down_seconds),
        clock.full(&stats.since)
    );
    facts.push(Fact::new("on record", whole));
    facts.push(Fact::new("crashes", format!("{}, followed by {} restarts", stats.crashes, stats.restarts)));
    let between = format!("{} up between two failures, in the mean (MTBF)", span(stats.mtbf_seconds));
    facts.extend(stats.mtbf_seconds.map(|_| Fact::new("between", between)));
    facts.extend(stats.mttr_seconds.map(|mttr| {
        let longest =
            stats.longest_outage_seconds.map(|longest| format!(", {} at most", human::seconds(longest)));
        let took = format!("{} in the mean (MTTR){}", human::seconds(mttr), longest.unwrap_or_default());
        Fact::new("recovery", took)
    }));
    let mut text = format!("{}\n{}", look.paint(BOLD, &text::safe(&stats.service)), look.facts(&facts));
    if !stats.causes.is_empty() {
        text.push_str(&format!("\n{}\n{}", look.paint(BOLD, "By cause:"), causes(&stats.causes, look)));
    }
    text
}

fn causes(causes: &[CauseStats], look: &Look) -> String {
    let mut table = Table::new([
        Column::right("CRASHES"),
        Column::left("KIND", Cut::Never),
        Column::right("MTTR"),
        Column::left("CAUSE", Cut::End(20)),
    ]);
    for cause in causes {
        table.row(vec![
            cause.crashes.to_string().into(),
            cause.kind.name().into(),
            span(cause.mttr_seconds).into(),
            Cell::from(&cause.cause),
        ]);
    }
    table.render(look)
}

#[cfg(test)]
mod tests {
    use mcpd_proto::crash::CrashKind;
    use mcpd_proto::stats::{Availability, Window};

    use super::*;
    use crate::look::tests::{assert_fits, terminal};

    fn stats(service: &str) -> ServiceStats {
        ServiceStats {
            service: service.into(),
            since: "2026-11-20T10:00:00Z".into(),
            now: "up".into(),
            crashes: 3,
            restarts: 3,
            up_seconds: 180_000.0,
            down_seconds: 90.0,
            availability: Availability {
                last_hour: Some(1.0),
                last_day: Some(0.999_96),
                last_week: Some(0.9),
            },
            mtbf_seconds: Some(60_000.0),
            mttr_seconds: Some(30.0),
            longest_outage_seconds: Some(60.0),
            windows: vec![Window {
                name: "24h".into(),
                observed_seconds: 86_400.0,
                up_seconds: 86_396.0,
                crashes: 1,
                restarts: 1,
            }],
            causes: vec![CauseStats {
                fingerprint: Some("0123456789abcdef".into()),
                kind: CrashKind::Exit,
                cause: format!("KeyError: {}", "x".repeat(100)),
                crashes: 3,
                mttr_seconds: Some(30.0),
            }],
        }
    }

    #[test]
    fn everything_about_one() {
        let text = one(&stats("web"), &terminal());
        let expected = "\
web
  last hour: 100 % available, 0 crashes
  last 24 h: 99.99 % available, 1 crash
  last 7 d:  90.00 % available, 0 crashes
  on record: up for 2d 02h, down for 1m 30s, since 2026-11-20 10:00:00
  crashes:   3, followed by 3 restarts
  between:   16h 40m up between two failures, in the mean (MTBF)
  recovery:  30 s in the mean (MTTR), 1m 00s at most

By cause:
";
        assert!(text.starts_with(expected), "{text}");
        assert_fits(&text, 80);
        let never = ServiceStats { availability: Availability::default(), ..stats("web") };
        assert!(one(&never, &terminal()).contains("last hour: not wanted, or not on record, 0 crashes\n"));
    }

    #[test]
    fn a_line_for_each_of_several() {
        let text = all(&[stats("web"), stats("a-service-with-quite-a-long-name@instance")], &terminal());
        assert_fits(&text, 80);
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn what_was_down_was_not_always_there() {
        for (known, text) in [
            (None, "-"),
            (Some(1.0), "100 %"),
            (Some(0.999_999_9), "99.99 %"),
            (Some(0.5), "50.00 %"),
            (Some(0.0), "0.00 %"),
        ] {
            assert_eq!(share(known), text);
        }
    }
}
