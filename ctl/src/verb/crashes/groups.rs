//! `crashes --groups`

use mcpd_proto::stats::{CrashGroup, CrashGroups, GroupsParams, Trend};
use serde_json::json;

use super::SHOWN;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::look::{BAD, BUSY, DIM, Look, PLAIN, WARN};
use crate::table::{Cell, Column, Cut, Table};
use crate::text;
use crate::verb::{Context, decode};

/// Crashes with the same cause together.
pub(super) fn run(name: Option<String>, last: Option<usize>, context: &mut Context) -> Result<Exit, Failure> {
    // One more than is shown tells whether there are more.
    let asked = if context.common.json { last } else { Some(last.unwrap_or(SHOWN + 1)) };
    let params = json!(GroupsParams { name: name.clone(), last: asked });
    let document = context.ask("crash.groups", &params)?;
    if context.common.json {
        context.out.document(&document)?;
        return Ok(Exit::Done);
    }
    let mut groups = decode::<CrashGroups>(&document)?.groups;
    let more = last.is_none() && groups.len() > SHOWN;
    groups.truncate(last.unwrap_or(SHOWN));
    let text = table(&groups, name.as_deref(), more, &context.out.look);
    context.out.text(&text)?;
    context.out.flush()?;
    Ok(Exit::Done)
}

fn table(groups: &[CrashGroup], name: Option<&str>, more: bool, look: &Look) -> String {
    if groups.is_empty() {
        let of = name.map(|name| format!(" of {}", text::safe(name))).unwrap_or_default();
        return format!("No crashes{of} on record.\n");
    }
    let mut columns = vec![
        Column::left("SERVICE", Cut::Middle(8)),
        Column::left("KIND", Cut::Never),
        Column::right("COUNT"),
        Column::left("FIRST", Cut::Never),
        Column::left("LAST", Cut::Never),
        Column::right("24H"),
        Column::left("TREND", Cut::Never),
    ];
    // On a terminal the newest one's id stands with the cause, on a line of its own.
    let noted = look.width.is_some();
    if !noted {
        columns.push(Column::left("NEWEST", Cut::Never));
        columns.push(Column::left("GROUP", Cut::Never));
        columns.push(Column::left("CAUSE", Cut::Never));
    }
    let mut table = Table::new(columns);
    for group in groups {
        let mut cells: Vec<Cell> = vec![
            Cell::from(&group.service),
            group.kind.name().into(),
            group.count.to_string().into(),
            look.clock.brief(&group.first_seen).into(),
            look.clock.brief(&group.last_seen).into(),
            group.last_day.to_string().into(),
            Cell::styled(group.trend.name(), style(group.trend)),
        ];
        if noted {
            table.row_with_note(cells, Cell::styled(&group.cause, DIM));
        } else {
            cells.push(group.newest.as_deref().unwrap_or("-").into());
            cells.push(Cell::from(&group.fingerprint));
            cells.push(Cell::from(&group.cause));
            table.row(cells);
        }
    }
    let mut text = table.render(look);
    if let (true, Some(newest)) = (noted, groups.iter().find_map(|group| group.newest.as_ref())) {
        let hint = format!("The newest in full: mcpctl crashes show {newest}");
        text.push_str(&format!("{}\n", look.fit(&hint, 0)));
    }
    if more {
        let hint = format!("There are more: mcpctl crashes --groups --last {}", SHOWN * 5);
        text.push_str(&format!("{}\n", look.fit(&hint, 0)));
    }
    text
}

fn style(trend: Trend) -> anstyle::Style {
    match trend {
        Trend::New => WARN,
        Trend::Rising => BAD,
        Trend::Steady => PLAIN,
        Trend::Falling => BUSY,
        Trend::Quiet => DIM,
    }
}

#[cfg(test)]
mod tests {
    use mcpd_proto::crash::CrashKind;

    use super::*;
    use crate::look::tests::{assert_fits, pipe, terminal};

    fn group(service: &str, count: u64, trend: Trend) -> CrashGroup {
        CrashGroup {
            fingerprint: "0123456789abcdef".into(),
            service: service.into(),
            kind: CrashKind::Exit,
            cause: "ModuleNotFoundError: No module named 'mcp.server.fastmcp'".into(),
            count,
            first_seen: "2026-11-20T10:00:00Z".into(),
            last_seen: "2026-11-22T11:27:00Z".into(),
            last_day: 3,
            day_before: 1,
            trend,
            newest: Some("20261122T112700.000000Z-3f9a01".into()),
        }
    }

    #[test]
    fn a_group_and_its_cause() {
        let groups = [group("web", 12, Trend::Rising), group("db", 1, Trend::Quiet)];
        let expected = "\
SERVICE  KIND  COUNT  FIRST        LAST      24H  TREND
web      exit     12  11-20 10:00  11:27:00    3  rising
  ModuleNotFoundError: No module named 'mcp.server.fastmcp'
db       exit      1  11-20 10:00  11:27:00    3  quiet
  ModuleNotFoundError: No module named 'mcp.server.fastmcp'
The newest in full: mcpctl crashes show 20261122T112700.000000Z-3f9a01
";
        assert_eq!(table(&groups, None, false, &terminal()), expected);
        let wide = [group("a-service-with-quite-a-long-name@instance", 123_456, Trend::Falling)];
        assert_fits(&table(&wide, None, true, &terminal()), 80);
        let piped = table(&groups, None, false, &pipe());
        assert_eq!(piped.lines().count(), 3);
        assert!(
            piped.contains("20261122T112700.000000Z-3f9a01  0123456789abcdef  ModuleNotFoundError"),
            "{piped}"
        );
        assert_eq!(table(&[], Some("web"), false, &pipe()), "No crashes of web on record.\n");
    }
}
