//! What each key is for, in the order of the example. A test demands a note for every key.

/// A key and its comment; `example` for keys that have no default.
pub(super) struct Note {
    pub(super) key: &'static str,
    pub(super) text: &'static str,
    pub(super) example: Option<&'static str>,
}

const fn note(key: &'static str, text: &'static str) -> Note {
    Note { key, text, example: None }
}

const fn optional(key: &'static str, text: &'static str, example: &'static str) -> Note {
    Note { key, text, example: Some(example) }
}

/// Tables whose keys are names, not fields.
pub(super) const OPEN: &[&str] = &["node.wan", "controller.rtt"];

pub(super) const NOTES: &[Note] = &[
    note("client.connect", "Nodes to ask first. --connect"),
    note("client.controller", "The controller. --controller"),
    note("client.timeout_ms", "Longest wait for an answer, with all retries. --timeout"),
    optional("client.region", "Region of this machine: reads prefer replicas there.", "\"eu\""),
    note(
        "node.node_id",
        "1 or more, unique in the cluster, never given to another machine or an emptied disk.",
    ),
    note(
        "node.listen",
        "Serves gRPC and HTTP (TCP) and gossips (UDP). Loopback unless told otherwise.",
    ),
    note("node.advertise", "Where others reach it, host:port. Empty: as listen."),
    note("node.data_dir", "Where its data lies."),
    note("node.region", "Region of the node: lower-case letters, digits and dashes."),
    note("node.zone", "Zone inside the region."),
    note("node.cluster_name", "Keeps clusters that share a network apart."),
    note("node.seeds", "Some other members, host:port, to find the rest through."),
    note(
        "node.founders",
        "Ids of the nodes that found the cluster together. Empty for nodes that join one.",
    ),
    note(
        "node.engine",
        "rocksdb, redb, or memory (loses everything at exit). A data directory keeps the one that made it.",
    ),
    note("node.requests_max", "Reads worked on at once; more are refused with ISO-2006."),
    note("node.writes_max", "Writes worked on at once, apart from the reads."),
    note("node.request_bytes_max", "Bytes of all requests being worked on, at least 16777216."),
    note("node.disk_reserve_bytes", "Free disk below which the node takes no new replica."),
    optional(
        "node.wan",
        "Round trips to emulate towards other regions, milliseconds, for trials on one machine.",
        "{ eu = { us = 80.0 }, us = { eu = 80.0 } }",
    ),
    note(
        "node.raft.heartbeat_ms",
        "Between heartbeats of a leader. Longer on links across the world.",
    ),
    note("node.raft.election_min_ms", "Shortest silence before a follower stands for election."),
    note("node.raft.election_max_ms", "Longest; also the length of the leader lease."),
    note(
        "node.raft.checkpoint_entries",
        "Log entries after which the state is made durable and the log before it dropped.",
    ),
    note(
        "node.raft.keep_entries",
        "Log entries kept behind a checkpoint for followers that are a little behind.",
    ),
    note(
        "node.raft.quiesce_after_ms",
        "Unused for so long, a shard's group stops its timers until it is needed again. 0: never.",
    ),
    note("node.storage.block_cache_bytes", "Cache of blocks read from disk."),
    note("node.storage.write_buffer_bytes", "Buffer of recent writes per engine."),
    note("controller.listen", "Serves gRPC and HTTP on one port. Loopback unless told otherwise."),
    note("controller.data_dir", "Where the SQLite file lies, unless database_url is given."),
    optional(
        "controller.database_url",
        "PostgreSQL, where several controllers stand by.",
        "\"postgres://isobar@127.0.0.1/isobar\"",
    ),
    note("controller.connect", "A few nodes to start from; the others are learned from them."),
    note(
        "controller.mode",
        "observe, propose or act: at the very first start; afterwards the stored one holds.",
    ),
    optional("controller.policy", "Policy file for the very first start.", "\"policy.toml\""),
    optional(
        "controller.rtt",
        "Round trips between regions, milliseconds.",
        "{ eu = { us = 80.0 }, us = { eu = 80.0 } }",
    ),
    note("controller.tick_ms", "How often the controller looks and plans."),
    note("controller.seed", "Seed for ties between equal plans."),
    note(
        "controller.lease_ms",
        "How long a controller that stopped without a word keeps the lease.",
    ),
    note("telemetry.log_filter", "Which log lines appear: a level, or target=level pairs."),
    note("telemetry.log_format", "text or json."),
    note(
        "telemetry.trace_sample_ratio",
        "Share of the traces begun here that are recorded, 0 to 1.",
    ),
    optional(
        "telemetry.otlp_endpoint",
        "OTLP/gRPC collector of traces.",
        "\"http://127.0.0.1:4317\"",
    ),
];
