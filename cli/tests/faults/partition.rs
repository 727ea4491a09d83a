//! Networks that do not carry everything.

use crate::{
    support::cluster::Plan,
    trial::{ORDERS, Trial},
};
use isobar_api::NodeId;
use std::time::Duration;

const N1: NodeId = NodeId(1);
const LASTS: Duration = Duration::from_secs(5);

fn heal(trial: &mut Trial) {
    trial.network.heal();
}

/// The leader of everything is on the smaller side, and clients still reach it.
#[test]
fn a_leader_cut_off_from_the_others_neither_loses_writes_nor_serves_old_reads() {
    let mut trial = Trial::start("partition", Plan::nodes(&["eu", "us", "asia"]), &[ORDERS], 3);
    trial.make_leader(N1);
    let isolate = |trial: &mut Trial| trial.network.isolate(N1, true, true);
    let both = trial.during("leader cut off", LASTS, isolate, heal);
    let resumed = trial.record().first_ack_after_ms(ORDERS.name, both.began);
    assert!(resumed.is_some_and(|ms| both.began + ms < both.ended), "the others did not take over");
    trial.make_leader(N1);
    let mute = |trial: &mut Trial| trial.network.isolate(N1, true, false);
    trial.during("leader is not heard", LASTS, mute, heal);
    trial.make_leader(N1);
    let deaf = |trial: &mut Trial| trial.network.isolate(N1, false, true);
    // Two leases of silence, and an election behind them, must fit.
    let span = trial.during("leader does not hear", 2 * LASTS, deaf, heal);
    let resumed = trial.record().first_ack_after_ms(ORDERS.name, span.began);
    assert!(
        resumed.is_some_and(|ms| span.began + ms < span.ended),
        "a leader that cannot commit kept the others from electing"
    );
    let slow = |trial: &mut Trial| trial.network.delay(Duration::from_millis(40));
    trial.during("40 ms each way", LASTS / 2, slow, |trial| trial.network.delay(Duration::ZERO));
    trial.end_without_loss();
}

/// Every node reaches one other and no majority is whole, then one of five is cut in two halves of two and three.
#[test]
fn writes_resume_wherever_a_majority_is_left() {
    let regions = ["eu", "us", "asia", "eu", "us"];
    let table = crate::trial::TableOf { replicas: 5, ..ORDERS };
    let mut trial = Trial::start("two of five cut off", Plan::nodes(&regions), &[table], 3);
    trial.make_leader(N1);
    let split = |trial: &mut Trial| {
        for (few, many) in [(1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)] {
            let (few, many) = (NodeId(few), NodeId(many));
            trial.network.cut([(few, many), (many, few)]);
        }
    };
    let span = trial.during("n1 and n2 apart from three others", LASTS, split, heal);
    let resumed = trial.record().first_ack_after_ms(table.name, span.began);
    assert!(
        resumed.is_some_and(|ms| span.began + ms < span.ended),
        "three of five did not take over"
    );
    trial.end_without_loss();
}
