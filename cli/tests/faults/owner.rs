//! Which process opened a connection: Linux tells it to the user whose process it is.

use isobar_api::NodeId;
use std::{fs, net::SocketAddr, path::Path};

/// The node of a cluster that opened a connection from `local` to `remote`; none: somebody else did, or it is gone.
/// A node is known by its configuration `nN.toml` in the cluster's folder, which is in its command line.
pub fn node_behind(folder: &Path, local: SocketAddr, remote: SocketAddr) -> Option<NodeId> {
    let table = fs::read_to_string("/proc/net/tcp").expect("a Linux with /proc");
    let inode = inode_of(&table, local, remote)?;
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").expect("a Linux with /proc");
    processes.flatten().find_map(|process| {
        let node = node_of(&fs::read(process.path().join("cmdline")).ok()?, folder)?;
        let handles = fs::read_dir(process.path().join("fd")).ok()?;
        let mut targets = handles.flatten().flat_map(|handle| fs::read_link(handle.path()));
        targets.any(|target| target.as_os_str() == wanted.as_str()).then_some(node)
    })
}

/// The inode of a connection's end in the kernel's table.
fn inode_of<'t>(table: &'t str, local: SocketAddr, remote: SocketAddr) -> Option<&'t str> {
    let (local, remote) = (in_hex(local)?, in_hex(remote)?);
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1) == Some(&&*local) && row.get(2) == Some(&&*remote))?;
    row.get(9).copied().filter(|inode| *inode != "0")
}

/// An address as the kernel's table writes it: the four bytes as one number of this machine, then the port.
fn in_hex(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let number = u32::from_ne_bytes(address.ip().octets());
    Some(format!("{number:08X}:{:04X}", address.port()))
}

fn node_of(command_line: &[u8], folder: &Path) -> Option<NodeId> {
    let words =
        command_line.split(|byte| *byte == 0).filter_map(|word| std::str::from_utf8(word).ok());
    let mut files = words.map(Path::new).filter(|path| path.parent() == Some(folder));
    let name = files.find_map(|path| path.file_name()?.to_str()?.strip_suffix(".toml"))?;
    Some(NodeId(name.strip_prefix('n')?.parse().ok()?))
}

#[test]
fn a_connection_is_found_in_the_kernels_table() {
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        1: 0100007F:1F90 0100007F:A1B2 01 00000000:00000000 00:00000000 00000000     0        0 41 1 0\n   \
        2: 0100007F:A1B2 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 42 1 0\n";
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(inode_of(table, at(0xA1B2), at(0x1F90)), Some("42"));
    assert_eq!(inode_of(table, at(0xA1B3), at(0x1F90)), None);
    let line = b"isobar\0node\0--config\0/tmp/x/n3.toml\0--exit-with-parent\0";
    assert_eq!(node_of(line, Path::new("/tmp/x")), Some(NodeId(3)));
    assert_eq!(node_of(line, Path::new("/tmp/y")), None);
    assert_eq!(
        node_of(b"isobar\0controller\0--config\0/tmp/x/controller.toml\0", Path::new("/tmp/x")),
        None
    );
}
