//! Who listens on a TCP port: from `/proc/net/tcp` to the socket, from the socket to whoever has it open.

use std::fs;

use super::proc_files;
use crate::sys::PortHolder;

/// `TCP_LISTEN` in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// The process that listens on `port`, on whatever address; `None` when there is none, or none that may be asked.
pub fn port_holder(port: u16) -> Option<PortHolder> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .flat_map(|file| listening(&fs::read_to_string(file).unwrap_or_default(), port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let holds = |pid: &u32| {
        let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        links
            .filter_map(|link| fs::read_link(link.path()).ok())
            .any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
    };
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let pid = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(holds)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
    let service = proc_files::environment(pid, "MCPD_SERVICE");
    Some(PortHolder { pid, name, service: service.map(|name| String::from_utf8_lossy(&name).into_owned()) })
}

/// The inodes of the sockets that listen on `port`.
fn listening(table: &str, port: u16) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    let inode = |line: &str| {
        // proc(5): slot, local address, remote address, state, ... the inode is the tenth.
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else { return None };
        (local.ends_with(&wanted) && *state == LISTENING).then(|| (*inode).to_owned())
    };
    table.lines().skip(1).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_listener_is_found_and_nothing_else() {
        for address in ["127.0.0.1".parse().unwrap(), std::net::IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            // A machine without IPv6 has nothing to show.
            let Ok(listener) = TcpListener::bind((address, 0)) else { continue };
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect((address, port)).unwrap();
            let holder = port_holder(port).unwrap();
            assert_eq!(holder.pid, std::process::id());
            assert!(!holder.name.is_empty());
            assert_eq!(holder.service, None);
            assert_eq!(
                port_holder(client.local_addr().unwrap().port()),
                None,
                "it is connected, not listening"
            );
        }
    }

    #[test]
    fn a_table_is_read_by_port_and_state() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1\n\
            1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 222 1\n\
            2: 0100007F:901F 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1\n\
            3: short\n";
        assert_eq!(listening(table, 8080), ["111"]);
        assert!(listening(table, 80).is_empty());
    }
}
