//! Signals of this process, passed on to the command.

use crate::session::terminal;
use executor_client::deadline::{SIGNAL_TIMEOUT, until};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// `SIGKILL`.
const SIGKILL: i32 = 9;
/// Signals that wait to be sent.
const QUEUE: usize = 16;

/// The signal for which the guest has not answered yet, and until when it may.
pub type Unanswered = Option<(i32, Instant)>;

/// What becomes of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The command gets this one.
    Pass(i32),
    /// msb ends, even when the guest hangs.
    End,
}

/// How often somebody has asked for an end.
#[derive(Debug, Default)]
struct Asked {
    interrupts: usize,
    terminations: usize,
}

impl Asked {
    /// Signals are passed on as they are; a second Ctrl-C as SIGKILL. A third one, a second SIGTERM and the end of the
    /// terminal end msb.
    fn step(&mut self, kind: SignalKind, terminal_is_gone: bool) -> Step {
        let signal = kind.as_raw_value();
        match kind {
            kind if kind == SignalKind::interrupt() => {
                self.interrupts += 1;
                match self.interrupts {
                    1 => Step::Pass(signal),
                    2 => Step::Pass(SIGKILL),
                    _ => Step::End,
                }
            }
            kind if kind == SignalKind::terminate() => {
                self.terminations += 1;
                if self.terminations == 1 { Step::Pass(signal) } else { Step::End }
            }
            kind if kind == SignalKind::hangup() && terminal_is_gone => Step::End,
            _ => Step::Pass(signal),
        }
    }
}

/// Passes signals on, and says which one the guest has not answered.
pub fn forward(tty: bool, out: mpsc::Sender<i32>, unanswered: watch::Sender<Unanswered>) {
    let (received_in, mut received) = mpsc::channel(QUEUE);
    let mut kinds = vec![
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    // As after `nohup`.
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
        let mut asked = Asked::default();
        while let Some(kind) = received.recv().await {
            // What a terminal says at its end is meant for msb: the command's own terminal ends with it.
            let terminal_is_gone = tty || (had_terminal && !terminal::is_controlled());
            // Noted before the guest can answer.
            unanswered.send_modify(|unanswered| {
                unanswered.get_or_insert((kind.as_raw_value(), Instant::now() + SIGNAL_TIMEOUT));
            });
            let ends = match asked.step(kind, terminal_is_gone) {
                // What a command that has ended cannot hear ends msb as well. Where the guest does not even take
                // those before, the time that it has for them is running.
                Step::Pass(signal) => matches!(out.try_send(signal), Err(TrySendError::Closed(_))),
                Step::End => true,
            };
            if ends {
                terminal::restore();
                std::process::exit(128 + kind.as_raw_value());
            }
        }
    });
}

/// Waits for a signal that the guest does not answer in time.
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

/// Whether this process was started to ignore a signal.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores(&status, kind.as_raw_value())
}

/// The same for a process's `/proc/<pid>/status`.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_passed_on_until_somebody_insists() {
        let mut asked = Asked::default();
        let (int, term) = (SignalKind::interrupt(), SignalKind::terminate());
        assert_eq!([(); 3].map(|()| asked.step(int, false)), [Step::Pass(2), Step::Pass(9), Step::End]);
        assert_eq!([(); 2].map(|()| asked.step(term, false)), [Step::Pass(15), Step::End]);
        for _ in 0..5 {
            assert_eq!(asked.step(SignalKind::user_defined1(), true), Step::Pass(10));
            assert_eq!(asked.step(SignalKind::quit(), true), Step::Pass(3));
            assert_eq!(asked.step(SignalKind::hangup(), false), Step::Pass(1));
        }
        assert_eq!(asked.step(SignalKind::hangup(), true), Step::End);
    }

    #[test]
    fn what_is_ignored_is_read_from_the_status() {
        let status =
            "Name:\tmsb\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\nSigCgt:\t0000000100004442\n";
        assert!(ignores(status, 1) && ignores(status, 13));
        assert!(!ignores(status, 2) && !ignores("", 1) && !ignores("SigIgn:\tx\n", 1));
    }

    #[tokio::test]
    async fn only_what_is_not_answered_is_overdue() {
        let (sender, receiver) = watch::channel(Some((2, Instant::now() + SIGNAL_TIMEOUT)));
        let overdue = tokio::spawn(overdue(receiver));
        sender.send_replace(None);
        sender.send_replace(Some((15, Instant::now())));
        assert_eq!(overdue.await.unwrap(), 15);
    }
}
