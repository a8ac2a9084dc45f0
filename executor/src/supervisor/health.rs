//! The health check of a running sandbox.
//!
//! Until the first success it probes at once and again after 50 ms, 100 ms, … up to 2 s, so that what
//! waits for it waits no longer than it must; from then on at `interval`. Failures count towards
//! unhealthy only behind the start period, and at most one an `interval`, so quick first probes make
//! nothing unhealthy sooner than the user allowed.

use super::link::Link;
use crate::state::Probe;
use schemas::protocol::latest::{ExecRequest, ExecSignal, Message};
use schemas::snapshot::Health;
use schemas::spec::HealthCheck;
use std::time::{Duration, Instant};

/// The first pause between two probes.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause before the first success.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How much of a probe's output is kept, in bytes: its end.
const OUTPUT_BYTES_MAX: usize = 2048;
/// `SIGKILL`, for a probe that took too long.
const SIGKILL: i32 = 9;

/// Probes for ever, telling each result and what it makes of the sandbox's health.
pub async fn watch(link: &Link, check: &HealthCheck, told: impl Fn(Health, Probe)) {
    let interval = Duration::from_millis(check.interval_ms);
    let counting_from = Instant::now() + Duration::from_millis(check.start_period_ms);
    let mut tally = Tally::new(check, counting_from);
    let mut pause = FIRST_PAUSE;
    loop {
        let (code, output) = probe(link, check).await;
        let health = tally.count(code == Some(0), Instant::now());
        told(health, Probe { code, output, failures: tally.failures });
        if tally.ever_passed {
            tokio::time::sleep(interval).await;
        } else {
            tokio::time::sleep(pause.min(interval)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Makes a verdict of a row of probes.
struct Tally {
    interval: Duration,
    retries: u32,
    /// The next failure from this moment on counts.
    counts_from: Instant,
    failures: u32,
    ever_passed: bool,
    health: Health,
}

impl Tally {
    fn new(check: &HealthCheck, counts_from: Instant) -> Self {
        let interval = Duration::from_millis(check.interval_ms);
        Self {
            interval,
            retries: check.retries,
            counts_from,
            failures: 0,
            ever_passed: false,
            health: Health::Starting,
        }
    }

    fn count(&mut self, passed: bool, now: Instant) -> Health {
        if passed {
            (self.failures, self.ever_passed, self.health) = (0, true, Health::Healthy);
            self.counts_from = now;
        } else if now >= self.counts_from {
            self.failures += 1;
            self.counts_from = now + self.interval.mul_f64(0.9);
            if self.failures >= self.retries {
                self.health = Health::Unhealthy;
            }
        }
        self.health
    }
}

/// Runs the command once: its exit code, if it had one in time, and the end of what it printed.
async fn probe(link: &Link, check: &HealthCheck) -> (Option<i32>, String) {
    let request = ExecRequest::command(&check.exec);
    let Ok((id, mut messages)) = link.own_session(request.into(), false).await else {
        return (None, "the guest is gone".to_owned());
    };
    let mut output = Vec::new();
    let ended = tokio::time::timeout(Duration::from_millis(check.timeout_ms), async {
        while let Some(message) = messages.recv().await {
            match message {
                Message::ExecStdout(out) => keep_end(&mut output, &out.data),
                Message::ExecStderr(out) => keep_end(&mut output, &out.data),
                Message::ExecExited(exited) => return (Some(exited.code), None),
                Message::ExecFailed(failed) => return (None, Some(failed.message)),
                Message::Error(report) => return (None, Some(report.message)),
                _ => {}
            }
        }
        (None, Some("the guest is gone".to_owned()))
    })
    .await;
    let printed = String::from_utf8_lossy(&output).trim_end().to_owned();
    match ended {
        Ok((code, None)) => (code, printed),
        Ok((code, Some(why))) => (code, why),
        Err(_) => {
            if let Ok(frame) = Message::from(ExecSignal { signal: SIGKILL }).encode(id) {
                let _ = link.send(frame).await;
            }
            let late = format!("no end within {}", schemas::unit::format_duration_ms(check.timeout_ms));
            (None, if printed.is_empty() { late } else { format!("{late}; so far: {printed}") })
        }
    }
}

fn keep_end(kept: &mut Vec<u8>, data: &[u8]) {
    kept.extend_from_slice(data);
    let excess = kept.len().saturating_sub(OUTPUT_BYTES_MAX);
    kept.drain(..excess);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_once_an_interval_and_not_before_the_start_period_ends() {
        let check = HealthCheck {
            exec: vec!["true".into()],
            interval_ms: 1_000,
            timeout_ms: 1_000,
            retries: 2,
            start_period_ms: 5_000,
            hint: None,
        };
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut tally = Tally::new(&check, at(5_000));
        let verdicts: Vec<_> =
            [0, 50, 150, 5_000, 5_050, 5_200, 6_000].map(|ms| tally.count(false, at(ms))).into();
        assert_eq!(verdicts[..6], [Health::Starting; 6]);
        assert_eq!(verdicts[6], Health::Unhealthy);
        // It recovers, and then two intervals of failures are needed again.
        assert_eq!(tally.count(true, at(7_000)), Health::Healthy);
        assert_eq!(tally.count(false, at(8_000)), Health::Healthy);
        assert_eq!(tally.count(false, at(9_000)), Health::Unhealthy);
    }
}
