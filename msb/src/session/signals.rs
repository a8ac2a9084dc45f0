//! Forwarding signals of this process to the command.

use crate::session::terminal;
use executor_client::deadline::{SIGNAL_TIMEOUT, until};
use std::collections::HashMap;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// `SIGKILL`.
const SIGKILL: i32 = 9;
/// Maximum number of queued signals.
const QUEUED_MAX: usize = 16;

/// The signal that the guest has not acknowledged yet, and the deadline for it.
pub type Unanswered = Option<(i32, Instant)>;

/// The reaction to a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaction {
    /// The command gets this signal.
    Forward(i32),
    /// msb ends, even if the guest hangs.
    Exit,
}

/// The effect of signals to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalPolicy {
    /// They are for the command, which ends with this process.
    Command,
    /// SIGTERM, SIGHUP and a third Ctrl-C end this process only.
    Job {
        /// Whether the others are for the job; otherwise they end this process, too.
        forwarded: bool,
    },
}

/// Number of received signals of each kind.
#[derive(Debug)]
struct SignalCounts {
    policy: SignalPolicy,
    counts: HashMap<SignalKind, usize>,
}

impl SignalCounts {
    /// Forwards signals unchanged, but a second Ctrl-C as SIGKILL. A third Ctrl-C, a second SIGTERM and the end of the
    /// terminal end msb.
    fn reaction(&mut self, kind: SignalKind, terminal_is_gone: bool) -> Reaction {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if let SignalPolicy::Job { forwarded } = self.policy {
            let for_msb = [SignalKind::terminate(), SignalKind::hangup()].contains(&kind);
            let is_exit = !forwarded || for_msb || (kind == SignalKind::interrupt() && *count > 2);
            return if is_exit { Reaction::Exit } else { Reaction::Forward(kind.as_raw_value()) };
        }
        match *count {
            2 if kind == SignalKind::interrupt() => Reaction::Forward(SIGKILL),
            3.. if kind == SignalKind::interrupt() => Reaction::Exit,
            2.. if kind == SignalKind::terminate() => Reaction::Exit,
            _ if kind == SignalKind::hangup() && terminal_is_gone => Reaction::Exit,
            _ => Reaction::Forward(kind.as_raw_value()),
        }
    }
}

/// Forwards signals to `out`, and records the one that the guest has not acknowledged.
pub fn forward(
    tty: bool,
    policy: SignalPolicy,
    out: mpsc::Sender<i32>,
    unanswered: watch::Sender<Unanswered>,
) {
    let (received_in, mut received) = mpsc::channel(QUEUED_MAX);
    let mut kinds = vec![
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    // `nohup` ignores it.
    if !is_ignored(SignalKind::hangup()) {
        kinds.push(SignalKind::hangup());
    }
    for kind in kinds {
        let Ok(mut signals) = signal(kind) else { continue };
        let received = received_in.clone();
        tokio::spawn(
            async move { while signals.recv().await.is_some() && received.send(kind).await.is_ok() {} },
        );
    }
    let had_terminal = terminal::is_controlled();
    tokio::spawn(async move {
        let mut counts = SignalCounts { policy, counts: HashMap::new() };
        while let Some(kind) = received.recv().await {
            // The hang-up of a terminal is for msb; the command's own terminal closes with the session.
            let terminal_is_gone = tty || (had_terminal && !terminal::is_controlled());
            // Recorded before the guest can answer.
            unanswered.send_modify(|unanswered| {
                unanswered.get_or_insert((kind.as_raw_value(), Instant::now() + SIGNAL_TIMEOUT));
            });
            let ends = match counts.reaction(kind, terminal_is_gone) {
                // Ends msb if the command has ended. If the queue is full, the deadline of an earlier signal applies.
                Reaction::Forward(signal) => matches!(out.try_send(signal), Err(TrySendError::Closed(_))),
                Reaction::Exit => true,
            };
            if ends {
                terminal::restore();
                std::process::exit(128 + kind.as_raw_value());
            }
        }
    });
}

/// Waits until the guest has missed the deadline of a signal. Returns the signal.
pub async fn overdue(mut unanswered: watch::Receiver<Unanswered>) -> i32 {
    loop {
        let waiting = *unanswered.borrow_and_update();
        tokio::select! {
            changed = unanswered.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
            }
            () = until(waiting.map(|(_, deadline)| deadline)) => return waiting.map_or(0, |(signal, _)| signal),
        }
    }
}

/// Returns whether this process ignores a signal since its start.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores(&status, kind.as_raw_value())
}

/// Returns whether a process ignores a signal, from its `/proc/<pid>/status`.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(policy: SignalPolicy) -> SignalCounts {
        SignalCounts { policy, counts: HashMap::new() }
    }

    #[test]
    fn the_end_of_a_client_does_not_end_a_job() {
        let mut forwarding = counts(SignalPolicy::Job { forwarded: true });
        let mut react = |kind| forwarding.reaction(kind, false);
        assert_eq!(
            [SignalKind::interrupt(); 3].map(&mut react),
            [Reaction::Forward(2), Reaction::Forward(2), Reaction::Exit]
        );
        assert_eq!(react(SignalKind::quit()), Reaction::Forward(3));
        assert_eq!(react(SignalKind::terminate()), Reaction::Exit);
        assert_eq!(react(SignalKind::hangup()), Reaction::Exit);
        let mut ending = counts(SignalPolicy::Job { forwarded: false });
        assert_eq!(ending.reaction(SignalKind::interrupt(), false), Reaction::Exit);
        assert_eq!(ending.reaction(SignalKind::user_defined1(), false), Reaction::Exit);
    }

    #[test]
    fn signals_are_forwarded_until_repeated() {
        let mut counts = counts(SignalPolicy::Command);
        let (int, term) = (SignalKind::interrupt(), SignalKind::terminate());
        assert_eq!(
            [int; 3].map(|kind| counts.reaction(kind, false)),
            [Reaction::Forward(2), Reaction::Forward(9), Reaction::Exit]
        );
        assert_eq!(
            [term; 2].map(|kind| counts.reaction(kind, false)),
            [Reaction::Forward(15), Reaction::Exit]
        );
        for _ in 0..5 {
            assert_eq!(counts.reaction(SignalKind::user_defined1(), true), Reaction::Forward(10));
            assert_eq!(counts.reaction(SignalKind::quit(), true), Reaction::Forward(3));
            assert_eq!(counts.reaction(SignalKind::hangup(), false), Reaction::Forward(1));
        }
        assert_eq!(counts.reaction(SignalKind::hangup(), true), Reaction::Exit);
    }

    #[test]
    fn ignored_signals_are_read_from_the_status() {
        let status =
            "Name:\tmsb\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\nSigCgt:\t0000000100004442\n";
        assert!(ignores(status, 1) && ignores(status, 13));
        assert!(!ignores(status, 2) && !ignores("", 1) && !ignores("SigIgn:\tx\n", 1));
    }

    #[tokio::test]
    async fn only_unanswered_signals_are_overdue() {
        let (sender, receiver) = watch::channel(Some((2, Instant::now() + SIGNAL_TIMEOUT)));
        let overdue = tokio::spawn(overdue(receiver));
        sender.send_replace(None);
        sender.send_replace(Some((15, Instant::now())));
        assert_eq!(overdue.await.unwrap(), 15);
    }
}
