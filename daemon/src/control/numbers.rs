//! Methods that look back: groups of crashes, statistics, why.

use std::collections::HashSet;

use jiff::Timestamp;
use mcpd_proto::SCHEMA;
use mcpd_proto::crash::CrashSummary;
use mcpd_proto::error::{ErrorObject, Kind};
use mcpd_proto::method::NameParams;
use mcpd_proto::stats::{CrashGroups, CrashStats, GroupsParams, ServiceStats, StatsParams};
use serde_json::Value;

use super::Desk;
use super::method::{Written, asked, blocking, parsed, value};
use crate::history::groups::Groups;
use crate::history::tally;
use crate::history::{History, Wanted};
use crate::journal::Filter;
use crate::pattern::Named;
use crate::shell::message::Ask;
use crate::shell::why::Known;
use crate::sys;
use crate::why::{self, Facts};

fn now() -> i64 {
    Timestamp::now().as_microsecond()
}

fn unreadable(error: &std::io::Error) -> ErrorObject {
    ErrorObject::new(Kind::Internal, format!("what is remembered of services cannot be read: {error}"))
}

/// Where only one service is meant, other lines need not be looked at.
fn only<'a>(named: Option<&'a Named>, otherwise: Wanted<'a>) -> Wanted<'a> {
    match named {
        Some(Named::One(name)) => Wanted::Service(name),
        Some(Named::Fitting(_)) | None => otherwise,
    }
}

pub(super) async fn groups(desk: &Desk, params: Value) -> Result<Written, ErrorObject> {
    let GroupsParams { name, last } = parsed(params)?;
    let named = name.as_deref().map(Named::parse).transpose()?;
    let history = desk.history.clone();
    let found = blocking(desk, move || {
        let mut groups = Groups::new(now());
        history.read(only(named.as_ref(), Wanted::Grouped), &mut |record| {
            if named.as_ref().is_none_or(|named| named.means(&record.of)) {
                groups.add(record);
            }
        })?;
        let mut groups = groups.finish();
        groups.truncate(last.unwrap_or(usize::MAX));
        // A hundred thousand records are not to stay in memory for one question.
        sys::give_back_memory();
        Ok(groups)
    });
    let groups = found.await?.map_err(|error| unreadable(&error))?;
    if let (Some(name), true) = (name, groups.is_empty()) {
        asked(desk, |reply| Ask::Known(name, reply)).await?;
    }
    value(&CrashGroups { schema: SCHEMA, groups })
}

pub(super) async fn stats(desk: &Desk, params: Value) -> Result<Written, ErrorObject> {
    let StatsParams { name } = parsed(params)?;
    let named = name.as_deref().map(Named::parse).transpose()?;
    let history = desk.history.clone();
    let found = blocking(desk, move || {
        let services = tally::all(
            now(),
            |each| history.read(only(named.as_ref(), Wanted::All), each),
            |name| named.as_ref().is_none_or(|named| named.means(name)),
        );
        sys::give_back_memory();
        services
    });
    let services = found.await?.map_err(|error| unreadable(&error))?;
    if let (Some(name), true) = (name, services.is_empty()) {
        asked(desk, |reply| Ask::Known(name, reply)).await?;
    }
    value(&CrashStats { schema: SCHEMA, services })
}

/// So many steps back are looked at, and so many crashes among them.
const STEPS: usize = 200;
const CRASHES: usize = 20;

pub(super) async fn why(desk: &Desk, params: Value) -> Result<Written, ErrorObject> {
    let NameParams { name } = parsed(params)?;
    let known = asked(desk, |reply| Ask::Why(name, reply)).await?;
    let (journal, history) = (desk.journal.clone(), desk.history.clone());
    let answer = blocking(desk, move || {
        let Known { status, event, waits_for, port, health_restarts } = *known;
        // Without what was written down there is still what is.
        let chain = event.and_then(|event| journal.chain(event, STEPS).ok()).unwrap_or_default();
        let group = status.last_crash.as_ref().and_then(|crash| {
            let mut groups = Groups::new(now());
            history.read(Wanted::Service(&status.name), &mut |record| groups.add(record)).ok()?;
            let fingerprint = crash.fingerprint.as_deref()?;
            groups.finish().into_iter().find(|group| group.fingerprint == fingerprint)
        });
        let crashes = Filter::service(&status.name).only(&["crash"]);
        let crashes = journal.newest(&crashes, CRASHES).unwrap_or_default();
        why::why(Facts { status, waits_for, chain, crashes, group, port, health_restarts })
    });
    value(&answer.await?)
}

/// What is on record of one service; `None` where nothing is, or it cannot be read. Blocks.
pub(super) fn of_service(history: &History, name: &str) -> Option<ServiceStats> {
    tally::all(now(), |each| history.read(Wanted::Service(name), each), |other| other == name).ok()?.pop()
}

/// How often has each of these happened? Left out where nothing is on record. Blocks.
pub(super) fn count_alike(history: &History, crashes: &mut [CrashSummary]) {
    let wanted: HashSet<&str> = crashes.iter().filter_map(|crash| crash.fingerprint.as_deref()).collect();
    let mut groups = Groups::new(now());
    // Without numbers the list is a list.
    if wanted.is_empty() || history.read(Wanted::Groups(&wanted), &mut |record| groups.add(record)).is_err() {
        return;
    }
    for crash in crashes {
        crash.group_count = crash.fingerprint.as_deref().and_then(|fingerprint| groups.count(fingerprint));
    }
}
