//! Configuration and addresses.

use crate::support::{process::free_address, program, refused, text};
use std::net::{TcpListener, UdpSocket};

fn file(dir: &tempfile::TempDir, contents: &str) -> String {
    let path = dir.path().join("isobar.toml");
    std::fs::write(&path, contents).expect("room");
    path.to_str().expect("text").to_owned()
}

#[test]
fn unknown_keys_are_refused_with_what_was_meant() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let cases = [
        ("node", "[node]\nlisen = \"127.0.0.1:1\"\n", "did you mean `node.listen`?"),
        (
            "node",
            "[node.raft]\nheartbeat = 5\n",
            "`node.raft.heartbeat`; did you mean `node.raft.heartbeat_ms`?",
        ),
        ("controller", "[controller]\ntik_ms = 5\n", "did you mean `controller.tick_ms`?"),
        ("node", "[nod]\nlisten = \"127.0.0.1:1\"\n", "nod"),
        ("node", "[node]\nlisten = 7\n", "node.listen"),
        ("node", "[node\n", "isobar.toml"),
        (
            "node",
            "[node]\nnode_id = 0\nrequests_max = 0\n",
            "node_id must be 1 or more; requests_max must be",
        ),
        ("node", "[node.raft]\nelection_min_ms = 1\n", "election_min_ms must be at least twice"),
        ("controller", "[controller]\ntick_ms = 1\n", "tick_ms must be 50 to 60000"),
        ("node", "[telemetry]\ntrace_sample_ratio = 7\n", "trace_sample_ratio must be 0 to 1"),
    ];
    for (command, contents, expected) in cases {
        let said = refused([command, "--config", &file(&dir, contents)]);
        assert!(
            said.starts_with("error ISO-5001: ") && said.contains(expected),
            "{contents}: {said}"
        );
        assert!(said.contains("\n  next: "), "{said}");
    }
    let said = refused(["node", "--set", "node.lisen=x"]);
    assert!(said.contains("ISO-5001") && said.contains("node.listen"), "{said}");
    let output = program().arg("node").env("ISOBAR_NODE__LISEN", "x").output().expect("it runs");
    let said = text(&output.stderr);
    assert!(said.contains("error ISO-5001") && said.contains("ISOBAR_NODE__LISEN"), "{said}");
    assert!(said.contains("did you mean `node.listen`?"), "{said}");
}

#[test]
fn ports_that_cannot_be_used_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = dir.path().join("data").to_str().expect("text").to_owned();
    let try_node = |listen: &str| refused(["node", "--listen", listen, "--data-dir", &data]);
    let holds_tcp = TcpListener::bind(free_address()).expect("free");
    let holds_udp = UdpSocket::bind(free_address()).expect("free");
    let tcp = holds_tcp.local_addr().expect("bound").to_string();
    let udp = holds_udp.local_addr().expect("bound").to_string();
    for (listen, what) in [
        (tcp.as_str(), "taken"),
        (udp.as_str(), "its gossip half is taken"),
        ("192.0.2.1:7411", "of no machine here"),
    ] {
        let said = try_node(listen);
        assert!(said.contains("error ISO-5002: ") && said.contains(listen), "{what}: {said}");
    }
    assert!(try_node("127.0.0.1:0").contains("error ISO-5001: listen needs a port"));
    let said = refused(["controller", "--listen", &tcp, "--data-dir", &data]);
    assert!(said.contains("error ISO-5002: ") && said.contains(&tcp), "{said}");
}
