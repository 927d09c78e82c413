//! `crashes`, `crashes show ID`, `crashes --groups`, `crashes stats`

mod groups;
mod report;
pub(crate) mod stats;

use mcpd_proto::crash::{CrashKind, CrashList, CrashReport, CrashSummary};
use mcpd_proto::method::{CrashListParams, IdParams};
use serde_json::json;

use super::{Context, decode};
use crate::args::Crashes;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::human;
use crate::look::{BAD, DIM, Look};
use crate::table::{Cell, Column, Cut, Table};
use crate::text;

/// More than this fit no screen; people are told how to see the others.
const SHOWN: usize = 20;

/// The list, or one report.
pub(crate) fn run(crashes: Crashes, context: &mut Context) -> Result<Exit, Failure> {
    let Crashes { target, id, name, last, groups } = crashes;
    if groups {
        return match (target.as_deref(), id) {
            (Some("show" | "stats"), _) | (_, Some(_)) => Err(Failure::Usage(
                "--groups takes a service or a pattern, as in: mcpctl crashes web --groups".to_owned(),
            )),
            (target, None) => groups::run(name.or_else(|| target.map(str::to_owned)), last, context),
        };
    }
    match (target.as_deref(), id) {
        (Some("stats"), _) if last.is_some() => {
            Err(Failure::Usage("crashes stats counts all crashes; --last does not go with it".to_owned()))
        }
        (Some("stats"), of) => stats::run(of, context),
        (Some("show"), Some(id)) if last.is_none() => show(id, context),
        (Some("show"), Some(_)) => {
            Err(Failure::Usage("crashes show ID shows one report; --last does not go with it".to_owned()))
        }
        (Some("show"), None) => Err(Failure::Usage(
            "the report of which crash? As in: mcpctl crashes show ID. (The crashes of a service called \"show\": \
             mcpctl crashes --name show)"
                .to_owned(),
        )),
        (Some(target), Some(id)) => {
            Err(Failure::Usage(format!("\"{target} {id}\" is no one service; as in: mcpctl crashes show {id}")))
        }
        (target, None) => {
            let name = name.or_else(|| target.map(str::to_owned));
            list(name, last, context)
        }
        (None, Some(id)) => show(id, context),
    }
}

fn show(id: String, context: &mut Context) -> Result<Exit, Failure> {
    let document = context.ask("crash.get", &json!(IdParams { id }))?;
    if context.common.json {
        context.out.document(&document)?;
    } else {
        let report: CrashReport = decode(&document)?;
        let text = report::render(&report, &context.out.look);
        context.out.text(&text)?;
        context.out.flush()?;
    }
    Ok(Exit::Done)
}

fn list(name: Option<String>, last: Option<usize>, context: &mut Context) -> Result<Exit, Failure> {
    // One more than is shown tells whether there are more.
    let asked = if context.common.json { last } else { Some(last.unwrap_or(SHOWN + 1)) };
    let params = json!(CrashListParams { name: name.clone(), last: asked });
    let document = context.ask("crash.list", &params)?;
    if context.common.json {
        context.out.document(&document)?;
        return Ok(Exit::Done);
    }
    let mut list: CrashList = decode(&document)?;
    let more = last.is_none() && list.crashes.len() > SHOWN;
    if more {
        list.crashes.truncate(SHOWN);
    }
    let text = table(&list, name.as_deref(), more, &context.out.look) + &damaged(&list);
    context.out.text(&text)?;
    context.out.flush()?;
    Ok(Exit::Done)
}

fn table(list: &CrashList, name: Option<&str>, more: bool, look: &Look) -> String {
    if list.crashes.is_empty() {
        let of = name.map(|name| format!(" of {}", text::safe(name))).unwrap_or_default();
        return format!("No crashes{of}.\n");
    }
    let mut columns = vec![
        Column::left("TIME", Cut::Never),
        Column::left("AGE", Cut::Never),
        Column::left("SERVICE", Cut::Middle(8)),
        Column::left("KIND", Cut::Never),
        Column::left("HOW", Cut::Never),
        Column::right("RAN"),
        Column::left("ID", Cut::Never),
    ];
    // On a terminal the reason gets a line of its own: it is what people look for, and no 80 columns hold it as well.
    let noted = look.width.is_some();
    if !noted {
        columns.push(Column::right("ALIKE"));
        columns.push(Column::left("REASON", Cut::Never));
    }
    let mut table = Table::new(columns);
    for crash in &list.crashes {
        let mut cells: Vec<Cell> = vec![
            look.clock.brief(&crash.time).into(),
            // In so few columns that the id beside it is never cut: a part of it is of no use.
            look.clock.ago(&crash.time).trim_end_matches(" ago").trim_start_matches("just ").into(),
            Cell::from(&crash.service),
            crash.kind.name().into(),
            Cell::styled(ended(crash).unwrap_or_else(|| "-".to_owned()), BAD),
            human::seconds(crash.uptime_seconds).into(),
            Cell::from(&crash.id),
        ];
        if noted {
            let alike = crash.group_count.filter(|&count| count > 1);
            let alike = alike.map_or_else(String::new, |count| format!("{count} alike: "));
            table.row_with_note(cells, Cell::styled(alike + &crash.reason, DIM));
        } else {
            cells.push(crash.group_count.map_or_else(|| "-".to_owned(), |count| count.to_string()).into());
            cells.push(Cell::from(&crash.reason));
            table.row(cells);
        }
    }
    let mut text = table.render(look);
    if more {
        let hint = format!("There are more: mcpctl crashes --last {}", SHOWN * 5);
        text.push_str(&format!("{}\n", look.fit(&hint, 0)));
    }
    text
}

/// What could not be listed, one file a line: a path that is cut is no path.
fn damaged(list: &CrashList) -> String {
    let named = u64::try_from(list.damaged_files.len()).unwrap_or(u64::MAX);
    let files = list.damaged_files.iter().map(|file| text::safe(file));
    match (list.damaged, list.damaged_files.as_slice()) {
        (0, _) => String::new(),
        (1, [_]) => format!("1 damaged report: {}\n", files.collect::<String>()),
        (count, _) => {
            let more = if count > named { format!("  and {} more\n", count - named) } else { String::new() };
            let files: String = files.map(|file| format!("  {file}\n")).collect();
            format!("{count} damaged reports:\n{files}{more}")
        }
    }
}

/// How the process ended, where it did: `exit 1`, `SIGSEGV`.
fn ended(crash: &CrashSummary) -> Option<String> {
    match (crash.exit_code, &crash.signal) {
        (_, Some(signal)) => Some(text::safe(signal)),
        (Some(code), None) => Some(format!("exit {code}")),
        (None, None) => None,
    }
}

/// In two words: `exit 1`, `SIGSEGV`, `health`, `start timeout`. What mcpd itself ended is named by its cause, for the
/// signal was only mcpd's own.
pub(super) fn what(crash: &CrashSummary) -> String {
    match crash.kind {
        CrashKind::Exit | CrashKind::Signal => ended(crash).unwrap_or_else(|| crash.kind.name().to_owned()),
        CrashKind::Oom => "out of memory".to_owned(),
        CrashKind::Health => "health check".to_owned(),
        CrashKind::Watchdog => "watchdog".to_owned(),
        CrashKind::StartTimeout => "start timeout".to_owned(),
        CrashKind::Spawn => "not started".to_owned(),
        CrashKind::StopTimeout => "stop timeout".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::tests::{assert_fits, pipe, terminal};

    fn crash(service: &str, kind: CrashKind, exit_code: Option<i32>, signal: Option<&str>) -> CrashSummary {
        CrashSummary {
            id: "20261122T112700Z-3f9a".into(),
            service: service.into(),
            time: "2026-11-22T11:27:00Z".into(),
            kind,
            exit_code,
            signal: signal.map(str::to_owned),
            reason:
                "exited with code 1 after 12 s: ModuleNotFoundError: No module named 'mcp.server.fastmcp'"
                    .into(),
            pid: Some(4700),
            uptime_seconds: 12.0,
            decision: "restart".into(),
            fingerprint: None,
            cause: None,
            coalesced: 0,
            group_count: Some(4),
        }
    }

    fn some() -> CrashList {
        let mut old = crash("db", CrashKind::Signal, None, Some("SIGSEGV"));
        old.group_count = Some(1);
        old.time = "2026-11-20T11:27:00Z".into();
        old.uptime_seconds = 273_600.0;
        let crashes = vec![crash("web", CrashKind::Exit, Some(1), None), old];
        CrashList { schema: 1, crashes, damaged: 0, damaged_files: Vec::new() }
    }

    #[test]
    fn on_a_terminal_the_reason_has_a_line_of_its_own() {
        let text = table(&some(), None, true, &terminal());
        let expected = "\
TIME         AGE  SERVICE  KIND    HOW         RAN  ID
11:27:00     3m   web      exit    exit 1     12 s  20261122T112700Z-3f9a
  4 alike: exited with code 1 after 12 s: ModuleNotFoundError: No module named …
11-20 11:27  2d   db       signal  SIGSEGV  3d 04h  20261122T112700Z-3f9a
  exited with code 1 after 12 s: ModuleNotFoundError: No module named 'mcp.serv…
There are more: mcpctl crashes --last 100
";
        assert_eq!(text, expected);
        let mut wide = some();
        wide.crashes.push(crash(
            "a-service-with-a-long-name",
            CrashKind::StartTimeout,
            None,
            Some("SIGKILL"),
        ));
        assert_fits(&table(&wide, None, true, &terminal()), 80);
    }

    #[test]
    fn an_id_is_never_cut() {
        let id = "20261122T113000.123456Z-0a1b2c";
        let now = "2026-11-22T11:30:00Z".to_owned();
        let just_now = CrashSummary {
            id: id.into(),
            time: now,
            ..crash("hanging", CrashKind::Health, None, Some("SIGTERM"))
        };
        let list = CrashList { crashes: vec![just_now], ..some() };
        let text = table(&list, None, false, &terminal());
        assert!(text.contains(&format!("  {id}\n")) && text.contains("  now  "), "{text}");
    }

    #[test]
    fn piped_it_is_one_line_each() {
        let text = table(&some(), None, false, &pipe());
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().nth(1).is_some_and(|line| line.ends_with("'mcp.server.fastmcp'")), "{text}");
    }

    #[test]
    fn no_crashes_is_good_news() {
        let none = CrashList { crashes: Vec::new(), ..some() };
        assert_eq!(table(&none, None, false, &terminal()), "No crashes.\n");
        assert_eq!(table(&none, Some("web"), false, &terminal()), "No crashes of web.\n");
    }

    #[test]
    fn damaged_reports_are_counted_and_named() {
        let with = |damaged, files: &[&str]| {
            let damaged_files = files.iter().map(|&file| file.to_owned()).collect();
            super::damaged(&CrashList { damaged, damaged_files, ..some() })
        };
        assert_eq!(with(0, &[]), "");
        assert_eq!(with(1, &["/a/1.json"]), "1 damaged report: /a/1.json\n");
        assert_eq!(with(2, &["/a/2", "/a/1"]), "2 damaged reports:\n  /a/2\n  /a/1\n");
        assert_eq!(with(5, &["/a/2", "/a/1"]), "5 damaged reports:\n  /a/2\n  /a/1\n  and 3 more\n");
    }

    #[test]
    fn two_words() {
        let table = [
            (crash("x", CrashKind::Exit, Some(1), None), "exit 1"),
            (crash("x", CrashKind::Signal, None, Some("SIGSEGV")), "SIGSEGV"),
            (crash("x", CrashKind::Health, None, Some("SIGKILL")), "health check"),
            (crash("x", CrashKind::Spawn, None, None), "not started"),
        ];
        for (crash, words) in table {
            assert_eq!(what(&crash), words);
        }
    }
}
