//! What is there to type in a second terminal?

use std::path::Path;

/// The text that `mcpd demo` begins with. `exe` is this program, by which the way to call `mcpctl` is found; `dir` is
/// where the demo keeps its files.
#[must_use]
pub fn greeting(exe: &Path, socket: &Path, dir: &Path) -> String {
    let client = format!("{} --socket {}", client(exe), quoted(&socket.to_string_lossy()));
    let rows = [
        ("status", "one line per service"),
        ("status crashy", "everything about one, and what comes next"),
        ("why hanging", "why it is so, what led there, what can be done"),
        ("crashes --last 5", "why they died, after ten seconds or so"),
        ("logs crashy -n 20 -f", "what it prints, as it comes"),
        ("restart healthy", "waits until it is up again"),
        ("events -f", "all that happens, as it happens"),
    ];
    let width = rows.iter().map(|(verb, _)| verb.len()).max().unwrap_or_default();
    let mut text = format!(
        "mcpd demo: three servers on loopback. `healthy` is well, `crashy` ends with a traceback every few seconds,\n\
         `hanging` stops answering after ten and is restarted when its health check has failed three times.\n\
         Their files are in {}. Ctrl+C ends it all.\n\nIn a second terminal:\n\n",
        dir.display()
    );
    for (verb, what) in rows {
        text.push_str(&format!("  {client} {verb:width$}   # {what}\n"));
    }
    text
}

/// How a person calls `mcpctl` who called this program: through cargo when it lies in a build folder, by its path when it
/// lies beside, by its name otherwise.
fn client(exe: &Path) -> String {
    let folder = exe.parent().unwrap_or(Path::new(""));
    let name =
        |path: Option<&Path>| path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let profile = name(Some(folder));
    if name(folder.parent()).as_deref() == Some("target") {
        match profile.as_deref() {
            Some("release") => return "cargo run -q --release --bin mcpctl --".to_owned(),
            Some("debug") => return "cargo run -q --bin mcpctl --".to_owned(),
            _ => {}
        }
    }
    let beside = folder.join(format!("mcpctl{}", std::env::consts::EXE_SUFFIX));
    if beside.is_file() { quoted(&beside.to_string_lossy()) } else { "mcpctl".to_owned() }
}

/// As a shell wants it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:\\@".contains(c);
    match text.chars().all(plain) {
        true if cfg!(windows) || !text.contains('\\') => text.to_owned(),
        _ if cfg!(windows) => format!("\"{text}\""),
        _ => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_called_as_this_program_was() {
        for (exe, expected) in [
            ("/src/mcpd/target/release/mcpd", "cargo run -q --release --bin mcpctl --"),
            ("/src/mcpd/target/debug/mcpd", "cargo run -q --bin mcpctl --"),
            ("/nowhere/mcpd", "mcpctl"),
            ("mcpd", "mcpctl"),
        ] {
            assert_eq!(client(Path::new(exe)), expected, "{exe}");
        }
        let dir = tempfile::tempdir().unwrap();
        let beside = dir.path().join(format!("mcpctl{}", std::env::consts::EXE_SUFFIX));
        std::fs::write(&beside, b"").unwrap();
        assert_eq!(client(&dir.path().join("mcpd")), quoted(beside.to_str().unwrap()));
    }

    #[test]
    fn every_row_can_be_pasted() {
        let text = greeting(Path::new("/x/mcpd"), Path::new("/tmp/d/control.sock"), Path::new("/tmp/d"));
        for row in ["status ", "crashes --last 5", "logs crashy", "restart healthy"] {
            assert!(text.contains(&format!("mcpctl --socket /tmp/d/control.sock {row}")), "{row} in {text}");
        }
    }
}
