//! Deliberate bugs, so that fault tests and the simulator can show that they would find them. They exist only with the
//! feature `planted-bugs`, and then only where an environment variable asks for one. Never in a release.

/// Environment variables that each plant one bug.
pub(crate) const SKIP_DEDUP: &str = "ISOBAR_PLANT_SKIP_DEDUP";
pub(crate) const STALE_LEASE: &str = "ISOBAR_PLANT_STALE_LEASE";
pub(crate) const NO_EPOCH_CHECK: &str = "ISOBAR_PLANT_NO_EPOCH_CHECK";
pub(crate) const NO_VOTER_FLOOR: &str = "ISOBAR_PLANT_NO_VOTER_FLOOR";
pub(crate) const PROMOTE_BEHIND: &str = "ISOBAR_PLANT_PROMOTE_BEHIND";
pub(crate) const REUSE_REPLICA_ID: &str = "ISOBAR_PLANT_REUSE_REPLICA_ID";
pub(crate) const UNVERIFIED_SNAPSHOT: &str = "ISOBAR_PLANT_UNVERIFIED_SNAPSHOT";
pub(crate) const FORGET_VOTE: &str = "ISOBAR_PLANT_FORGET_VOTE";

/// Whether this bug is there.
pub(crate) fn is_planted(bug: &str) -> bool {
    cfg!(feature = "planted-bugs") && std::env::var_os(bug).is_some()
}
