//! `logs`

use mcpd_proto::log::{LogLine, LogLines};
use mcpd_proto::message::Notification;
use mcpd_proto::method::LogReadParams;
use serde_json::{Value, json};

use super::{Context, QUESTION, decode, until_interrupted};
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
    let mut writer = Writer { form, joiner: Joiner::default(), lines: 0, name: logs.name.clone() };
    let (method, patience) = if logs.follow {
        until_interrupted()?;
        ("log.follow", Patience::Endless)
    } else {
        ("log.read", Patience::Each(QUESTION))
    };
    let link = context.link(patience)?;
    let ended = link.stream(method, json!(params), |item| writer.take(&item, &mut context.out));
    writer.finish(&mut context.out)?;
    match ended {
        Ok(_) if logs.follow => Err(Failure::Gone(format!(
            "mcpd ended the stream of {}: it is on its way down, or the service is no longer configured.",
            logs.name
        ))),
        Err(Failure::Gone(_)) if logs.follow => {
            Err(Failure::Gone("mcpd closed the connection: it has ended, or is being restarted.".to_owned()))
        }
        Err(failure) => Err(failure),
        Ok(_) => {
            if writer.lines == 0 && form == Form::Terminal {
                let since = logs.since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
                complain(&format!("{} has written nothing{since}.\n", logs.name));
            }
            Ok(Exit::Done)
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
}

impl Writer {
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
                out.line(line)?;
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
                self.write(line, out)?;
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
