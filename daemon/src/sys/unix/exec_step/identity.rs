//! Which user, which groups? Looked up at each start, by the means of the C library (`nsswitch.conf`), in the exec step:
//! a directory service that hangs or crashes takes one start with it and not the daemon.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{self, Gid, Group, Uid, User};
use rustix::fs::FileType;

use super::words;
use crate::sys::{SpawnError, SpawnStep};

/// What a service's identity comes to on this machine.
#[derive(Debug, Default)]
pub(super) struct Identity {
    uid: Option<Uid>,
    gid: Option<Gid>,
    /// The whole list of supplementary groups.
    groups: Option<Vec<Gid>>,
    /// As configured, for messages.
    pub(super) user: Option<String>,
    /// `NAME=value` that a login would set.
    login: Vec<(&'static str, String)>,
}

fn error(step: SpawnStep, errno: i32, message: String) -> SpawnError {
    SpawnError { step, errno, message }
}

/// Shells that say that nobody may log in: no value for `SHELL`.
const NO_SHELLS: [&str; 2] = ["nologin", "false"];

impl Identity {
    /// Looks up who is meant.
    ///
    /// # Errors
    ///
    /// There is no such user or group, mcpd may not become it, or the look-up failed.
    pub(super) fn find(
        user: Option<&str>,
        group: Option<&str>,
        supplementary: &[String],
    ) -> Result<Self, SpawnError> {
        let mut found = Self { user: user.map(str::to_owned), ..Self::default() };
        let account = user.map(find_user).transpose()?;
        let group = group.map(find_group).transpose()?;
        let supplementary =
            supplementary.iter().map(|name| find_group(name)).collect::<Result<Vec<_>, _>>()?;
        found.gid = group;
        let mut groups = BTreeSet::new();
        match account {
            Some(Account::Known(account)) => {
                found.uid = Some(account.uid);
                let gid = *found.gid.get_or_insert(account.gid);
                groups.extend(groups_of(&account, gid)?);
                found.login = login(&account);
            }
            Some(Account::Number(uid)) => {
                found.uid = Some(uid);
                if group.is_none() {
                    let message = format!("user: {uid} has no account: say which `group` it is to have");
                    return Err(error(SpawnStep::User, libc::ENOENT, message));
                }
            }
            None => groups.extend(unistd::getgroups().unwrap_or_default().into_iter().map(Gid::as_raw)),
        }
        if !Uid::effective().is_root() {
            found.must_be_own(group, &supplementary)?;
            return Ok(found);
        }
        groups.extend(supplementary.into_iter().map(Gid::as_raw));
        found.groups = Some(groups.into_iter().map(Gid::from_raw).collect());
        Ok(found)
    }

    /// Only root can become somebody else. What already is as it should be needs no change.
    fn must_be_own(&mut self, group: Option<Gid>, supplementary: &[Gid]) -> Result<(), SpawnError> {
        let (me, mine) = (Uid::effective(), Gid::effective());
        let root = "only root can change that, and mcpd runs as the user";
        if let Some(uid) = self.uid.take().filter(|&uid| uid != me) {
            let name = self.user.as_deref().unwrap_or_default();
            let message = format!("user: cannot run it as {name:?} ({uid}): {root} {me}");
            return Err(error(SpawnStep::User, libc::EPERM, message));
        }
        self.gid = None;
        let members = unistd::getgroups().unwrap_or_default();
        let foreign = group.filter(|&gid| gid != mine);
        let foreign = foreign
            .or_else(|| supplementary.iter().copied().find(|gid| *gid != mine && !members.contains(gid)));
        match foreign {
            Some(gid) => {
                let message = format!("group: cannot run it with the group {gid}: {root} {me}");
                Err(error(SpawnStep::Group, libc::EPERM, message))
            }
            None => Ok(()),
        }
    }

    /// Sets the variables of a login that `env` does not set itself.
    pub(super) fn complete(&self, env: &mut Vec<CString>) {
        for (name, value) in &self.login {
            let set = |variable: &CString| {
                variable.as_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
            };
            if let (false, Ok(variable)) = (env.iter().any(set), CString::new(format!("{name}={value}"))) {
                env.push(variable);
            }
        }
    }

    /// Becomes it: groups first, for the user may not change them any more.
    ///
    /// # Errors
    ///
    /// What the system does not allow.
    pub(super) fn assume(&self) -> Result<(), SpawnError> {
        if let Some(groups) = &self.groups {
            unistd::setgroups(groups)
                .map_err(|errno| self.refused(SpawnStep::Group, "set its groups", errno))?;
        }
        if let Some(gid) = self.gid {
            unistd::setresgid(gid, gid, gid)
                .map_err(|errno| self.refused(SpawnStep::Group, &format!("become the group {gid}"), errno))?;
        }
        if let Some(uid) = self.uid {
            give_streams_to(uid);
            unistd::setresuid(uid, uid, uid)
                .map_err(|errno| self.refused(SpawnStep::User, &format!("become the user {uid}"), errno))?;
        }
        Ok(())
    }

    fn refused(&self, step: SpawnStep, what: &str, errno: Errno) -> SpawnError {
        let key = if step == SpawnStep::User { "user" } else { "group" };
        let errno = errno as i32;
        error(step, errno, format!("{key}: cannot {what}: {}", words(errno)))
    }
}

/// What of these names nobody knows, in a sentence. Whether this process may become them is another matter.
pub(super) fn unknown(user: Option<&str>, group: Option<&str>, supplementary: &[String]) -> Option<String> {
    let mut groups = group.into_iter().chain(supplementary.iter().map(String::as_str));
    let user = user.map(find_user).transpose().err();
    user.or_else(|| groups.find_map(|name| find_group(name).err())).map(|error| error.message)
}

/// The pipes of its output belong to the user, so that a program that opens `/dev/stdout` by its name may.
fn give_streams_to(uid: Uid) {
    let uid = rustix::fs::Uid::from_raw(uid.as_raw());
    let (out, err) = (std::io::stdout(), std::io::stderr());
    for stream in [out.as_fd(), err.as_fd()] {
        let pipe = rustix::fs::fstat(stream)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        if pipe {
            // Where it is not allowed, writing to it works all the same.
            let _ = rustix::fs::fchown(stream, Some(uid), None);
        }
    }
}

enum Account {
    Known(Box<User>),
    /// A number that no account has.
    Number(Uid),
}

fn find_user(name: &str) -> Result<Account, SpawnError> {
    let number = name.parse().ok().map(Uid::from_raw);
    let found = match number {
        Some(uid) => User::from_uid(uid),
        None => User::from_name(name),
    };
    match (absent(found), number) {
        (Ok(Some(user)), _) => Ok(Account::Known(Box::new(user))),
        (Ok(None), Some(uid)) => Ok(Account::Number(uid)),
        (Ok(None), None) => {
            Err(error(SpawnStep::User, libc::ENOENT, format!("user: there is no user {name:?}")))
        }
        (Err(errno), _) => Err(lookup_failed(SpawnStep::User, "user", name, errno)),
    }
}

fn find_group(name: &str) -> Result<Gid, SpawnError> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    match absent(Group::from_name(name)) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(error(SpawnStep::Group, libc::ENOENT, format!("group: there is no group {name:?}"))),
        Err(errno) => Err(lookup_failed(SpawnStep::Group, "group", name, errno)),
    }
}

/// `getpwnam(3)` lists what systems say instead of "there is none".
fn absent<T>(found: nix::Result<Option<T>>) -> nix::Result<Option<T>> {
    match found {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        found => found,
    }
}

fn lookup_failed(step: SpawnStep, what: &str, name: &str, errno: Errno) -> SpawnError {
    let errno = errno as i32;
    error(step, errno, format!("{what}: cannot look up {name:?}: {}", words(errno)))
}

/// What `initgroups(3)` would set.
fn groups_of(account: &User, gid: Gid) -> Result<Vec<libc::gid_t>, SpawnError> {
    let name = CString::new(account.name.as_str()).unwrap_or_default();
    let groups = unistd::getgrouplist(&name, gid)
        .map_err(|errno| lookup_failed(SpawnStep::Group, "group: the groups of", &account.name, errno))?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

/// As systemd: no home that is none, no shell that lets nobody in.
fn login(account: &User) -> Vec<(&'static str, String)> {
    let mut login = vec![("USER", account.name.clone()), ("LOGNAME", account.name.clone())];
    if account.dir.is_absolute() && account.dir != Path::new("/") {
        login.extend(account.dir.to_str().map(|home| ("HOME", home.to_owned())));
    }
    let shell = account.shell.file_name().and_then(|name| name.to_str());
    if shell.is_some_and(|name| !NO_SHELLS.contains(&name)) {
        login.extend(account.shell.to_str().map(|shell| ("SHELL", shell.to_owned())));
    }
    login
}
