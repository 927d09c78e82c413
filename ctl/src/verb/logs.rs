//! `logs`

use std::cmp::Ordering;

use mcpd_proto::log::{LogLine, LogLines};
use mcpd_proto::message::Notification;
use mcpd_proto::method::LogReadParams;
use serde_json::{Value, json};

use super::{Context, Lost, QUESTION, decode, until_interrupted};
use crate::args::{Lines, Logs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::lines::{self, Joiner};
use crate::link::Patience;
use crate::out::{Out, complain};

/// Lines shown when nobody says how many.
const READ: usize = 100;
/// Before those that come.
const FOLLOW: usize = 10;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The daemon's own objects, one per line.
    Json,
    /// The service's bytes.
    Raw,
    /// For people.
    Terminal,
    /// For programs that read lines.
    Plain,
}

/// Shows the lines.
pub(crate) fn run(logs: &Logs, context: &mut Context) -> Result<Exit, Failure> {
    let params = params(logs, context)?;
    let form = match (context.common.json, logs.raw, context.out.look.width) {
        (true, _, _) => Form::Json,
        (_, true, _) => Form::Raw,
        (_, _, Some(_)) => Form::Terminal,
        (_, _, None) => Form::Plain,
    };
    let mut writer = Writer::new(form, &logs.name);
    if logs.follow {
        until_interrupted()?;
        return follow(params, &mut writer, context);
    }
    let link = context.link(Patience::Each(QUESTION))?;
    let ended = link.stream("log.read", json!(params), |item| writer.take(&item, &mut context.out));
    writer.finish(&mut context.out)?;
    ended?;
    if writer.lines == 0 && form == Form::Terminal {
        let since = logs.since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
        complain(&format!("{} has written nothing{since}.\n", logs.name));
    }
    Ok(Exit::Done)
}

/// Until somebody ends it, over the deaths of daemons: each next one goes on where the last one was.
fn follow(mut params: LogReadParams, writer: &mut Writer, context: &mut Context) -> Result<Exit, Failure> {
    let mut lost = Lost::default();
    loop {
        let link = context.link(Patience::Endless)?;
        let ended = link.stream("log.follow", json!(params), |item| {
            lost.found();
            writer.take(&item, &mut context.out)
        });
        match ended {
            Ok(_) => {
                writer.finish(&mut context.out)?;
                return Err(Failure::Gone(format!(
                    "mcpd ended the stream of {}: it is on its way down, or the service is no longer configured.",
                    writer.name
                )));
            }
            Err(failure) if lost.may_come_back(&failure) => context.out.flush()?,
            Err(failure) => {
                writer.finish(&mut context.out)?;
                return Err(lost.last_word(failure));
            }
        }
        if let Some(last) = writer.place.resume() {
            (params.lines, params.since) = (None, Some(last));
        }
    }
}

fn params(logs: &Logs, context: &Context) -> Result<LogReadParams, Failure> {
    let since = logs.since.as_deref().map(|text| context.out.look.clock.since(text));
    let since = since.transpose().map_err(Failure::Usage)?.map(|instant| instant.to_string());
    let lines = match (logs.lines, logs.follow) {
        (Some(Lines::Last(lines)), _) => Some(lines),
        (Some(Lines::All), false) => None,
        (Some(Lines::All), true) => Some(usize::MAX),
        // Who says from when on wants all of it.
        (None, _) if since.is_some() => None,
        (None, follow) => Some(if follow { FOLLOW } else { READ }),
    };
    Ok(LogReadParams { name: logs.name.clone(), lines, since })
}

struct Writer {
    form: Form,
    joiner: Joiner,
    lines: u64,
    name: String,
    place: Place,
}

/// The last line that was shown, to go on after it: several may have its time.
#[derive(Debug, Default)]
struct Place {
    time: Option<String>,
    of_that_time: usize,
    /// Lines of that time that are told again.
    again: usize,
    resuming: bool,
}

impl Place {
    /// From when on to ask, if what was shown has times.
    fn resume(&mut self) -> Option<String> {
        self.again = self.of_that_time;
        self.resuming = self.time.is_some();
        self.time.clone()
    }

    /// Whether a line is new.
    fn is_new(&mut self, time: Option<&str>) -> bool {
        let Some(time) = time else { return true };
        if self.resuming {
            match self.time.as_deref().map_or(Ordering::Greater, |last| time.cmp(last)) {
                Ordering::Less => return false,
                Ordering::Equal if self.again > 0 => {
                    self.again -= 1;
                    return false;
                }
                Ordering::Equal => {}
                Ordering::Greater => self.resuming = false,
            }
        }
        if self.time.as_deref() == Some(time) {
            self.of_that_time += 1;
        } else {
            (self.time, self.of_that_time) = (Some(time.to_owned()), 1);
        }
        true
    }
}

impl Writer {
    fn new(form: Form, name: &str) -> Self {
        Self { form, joiner: Joiner::default(), lines: 0, name: name.to_owned(), place: Place::default() }
    }

    fn take(&mut self, item: &Notification, out: &mut Out) -> Result<(), Failure> {
        if item.method != "log.lines" {
            return Ok(());
        }
        if self.form == Form::Json {
            let skipped = item.params.get("skipped").and_then(Value::as_u64).unwrap_or(0);
            if skipped > 0 {
                out.line(&json!({ "skipped": skipped }))?;
            }
            for line in item.params.get("lines").and_then(Value::as_array).into_iter().flatten() {
                if self.place.is_new(line.get("time").and_then(Value::as_str)) {
                    out.line(line)?;
                }
            }
        } else {
            let LogLines { request: _, lines, skipped } = decode(&item.params)?;
            if skipped > 0 {
                out.flush()?;
                complain(&format!(
                    "mcpctl: {skipped} lines left out here, this reader was too slow; mcpctl logs {} has them\n",
                    self.name
                ));
            }
            for line in &lines {
                if self.place.is_new(line.time.as_deref()) {
                    self.write(line, out)?;
                }
            }
        }
        // Whoever follows wants to see it now.
        out.flush()
    }

    fn write(&mut self, line: &LogLine, out: &mut Out) -> Result<(), Failure> {
        self.lines += 1;
        match self.form {
            Form::Terminal => {
                let text = lines::full(line, &out.look);
                out.text(&text)
            }
            Form::Raw => match self.joiner.join(line) {
                Some(mut bytes) => {
                    if !line.continues {
                        bytes.push(b'\n');
                    }
                    out.bytes(&bytes)
                }
                None => Ok(()),
            },
            Form::Plain => match self.joiner.join(line) {
                Some(bytes) => out.bytes(&lines::plain(line, &bytes)),
                None => Ok(()),
            },
            Form::Json => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut Out) -> Result<(), Failure> {
        for bytes in self.joiner.rest() {
            out.bytes(&bytes)?;
            if self.form == Form::Plain {
                out.bytes(b"\n")?;
            }
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_resumes_shows_every_line_once() {
        let mut place = Place::default();
        let show = |place: &mut Place, times: &[&str]| {
            times.iter().map(|time| place.is_new(Some(time))).collect::<Vec<_>>()
        };
        assert_eq!(show(&mut place, &["1", "2", "2"]), [true, true, true]);
        assert_eq!(place.resume().as_deref(), Some("2"));
        // Told again are those of the last time; one more has come since.
        assert_eq!(show(&mut place, &["2", "2", "2", "3"]), [false, false, true, true]);
        assert_eq!(place.resume().as_deref(), Some("3"));
        assert_eq!(show(&mut place, &["3", "4", "4"]), [false, true, true]);
        assert_eq!(place.resume().as_deref(), Some("4"));
        assert_eq!(show(&mut place, &["4", "4", "4"]), [false, false, true]);
        // Raw output has no times: what comes is shown.
        let mut raw = Place::default();
        assert!(raw.is_new(None) && raw.resume().is_none());
    }
}
