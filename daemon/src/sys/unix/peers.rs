//! Who is at the other end of the control socket?

use std::fs;

use interprocess::local_socket::tokio::Stream;
use interprocess::local_socket::tokio::prelude::*;

use super::proc_files;

/// The process that connected, and its effective user; `None` where the system does not say, or the process is in
/// another namespace.
#[must_use]
pub fn peer(stream: &Stream) -> Option<(u32, u32)> {
    let credentials = stream.peer_creds().ok()?;
    let pid = u32::try_from(credentials.pid()?).ok().filter(|pid| *pid > 0)?;
    Some((pid, credentials.euid()?))
}

/// The name of a user as `/etc/passwd` has it. Users of a directory service have none here: to ask one may hang.
#[must_use]
pub fn user_name(uid: u32) -> Option<String> {
    named(&fs::read_to_string("/etc/passwd").ok()?, uid)
}

fn named(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The name that the kernel has for a process's program.
#[must_use]
pub fn program_name(pid: u32) -> Option<String> {
    let name = proc_files::command_name(i32::try_from(pid).ok()?);
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_users_and_programs() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\nbroken\n+::::::\nalice:x:1000:1000::/home/alice:\n";
        assert_eq!(named(passwd, 0).as_deref(), Some("root"));
        assert_eq!(named(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!(named(passwd, 1), None);
        assert!(program_name(std::process::id()).is_some());
        assert_eq!(program_name(0), None);
    }
}
