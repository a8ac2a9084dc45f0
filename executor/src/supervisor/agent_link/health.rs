//! The health check of a running sandbox.
//!
//! Until the first success it probes at once and again after 50 ms, 100 ms, … up to 2 s, so that dependents wait no longer
//! than necessary; from then on at `interval`. Failures only count after the start period, and at most once per
//! `interval`, so that quick first probes make nothing unhealthy early. A paused guest is not probed, and the time of a pause
//! is no part of the start period.

use crate::supervisor::agent_link::link::Link;
use executor_client::deadline::within;
use executor_client::guest_text::{GuestText, keep_end};
use executor_host::state::{Probe, State};
use protocol::latest::{ExecRequest, ExecSignal, Message};
use schemas::snapshot::Health;
use schemas::spec::HealthCheck;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The first pause between two probes.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause before the first success.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The size of the kept end of a probe's output in bytes.
const OUTPUT_BYTES_MAX: usize = 2048;
/// The timeout of sending a signal to a guest.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);
/// `SIGKILL`, for a probe at its timeout.
const SIGKILL: i32 = 9;

/// Probes forever, except while the sandbox is paused; reports each result with the resulting health.
pub async fn watch(
    link: &Link,
    check: &HealthCheck,
    mut states: watch::Receiver<State>,
    report: impl Fn(Health, Probe),
) {
    let interval = Duration::from_millis(check.interval_ms);
    let counting_from = Instant::now() + Duration::from_millis(check.start_period_ms);
    let mut tally = Tally::new(check, counting_from);
    let mut pause = FIRST_PAUSE;
    loop {
        // The result of a probe during which the guest is paused says nothing.
        let probed = tokio::select! {
            biased;
            _ = states.wait_for(|state| state.paused) => None,
            probed = probe(link, check) => Some(probed),
        };
        let Some((code, output)) = probed else {
            let paused = Instant::now();
            // The sender lives as long as the supervisor.
            let _ = states.wait_for(|state| !state.paused).await;
            tally.counts_from += paused.elapsed();
            continue;
        };
        let health = tally.count(code == Some(0), Instant::now());
        report(health, Probe { code, output, failures: tally.failures });
        if tally.ever_passed {
            tokio::time::sleep(interval).await;
        } else {
            tokio::time::sleep(pause.min(interval)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Derives a verdict from consecutive probes.
struct Tally<'a> {
    check: &'a HealthCheck,
    /// The time from which on a failure counts.
    counts_from: Instant,
    failures: u32,
    ever_passed: bool,
    health: Health,
}

impl<'a> Tally<'a> {
    fn new(check: &'a HealthCheck, counts_from: Instant) -> Self {
        Self { check, counts_from, failures: 0, ever_passed: false, health: Health::Starting }
    }

    fn count(&mut self, passed: bool, now: Instant) -> Health {
        if passed {
            (self.failures, self.ever_passed, self.health) = (0, true, Health::Healthy);
            self.counts_from = now;
        } else if now >= self.counts_from {
            self.failures += 1;
            self.counts_from = now + Duration::from_millis(self.check.interval_ms).mul_f64(0.9);
            if self.failures >= self.check.retries {
                self.health = Health::Unhealthy;
            }
        }
        self.health
    }
}

/// Runs the command once; returns its exit code, `None` at the timeout, and the end of its output.
async fn probe(link: &Link, check: &HealthCheck) -> (Option<i32>, String) {
    let request = ExecRequest::command(&check.exec);
    let (mut output, mut session) = (Vec::new(), None);
    // A paused guest does not read the request.
    let ended = within(Duration::from_millis(check.timeout_ms), async {
        let ended = || (None, Some(GuestText::from("the guest has ended")));
        let Ok((id, mut messages)) = link.own_session(request.into()).await else { return ended() };
        session = Some(id);
        while let Some(message) = messages.recv().await {
            match message {
                Message::ExecStdout(out) => keep_end(&mut output, &out.data, OUTPUT_BYTES_MAX),
                Message::ExecStderr(out) => keep_end(&mut output, &out.data, OUTPUT_BYTES_MAX),
                Message::ExecExited(exited) => return (Some(exited.code), None),
                Message::ExecFailed(failed) => return (None, Some(GuestText::message(failed.message))),
                Message::Error(report) => return (None, Some(GuestText::message(report.message))),
                _ => {}
            }
        }
        ended()
    })
    .await;
    let printed = GuestText::new(String::from_utf8_lossy(&output).trim_end());
    let (code, text) = match ended {
        Ok((code, None)) => (code, printed),
        Ok((code, Some(why))) => (code, why),
        Err(_) => {
            let kill = session.and_then(|id| Message::from(ExecSignal { signal: SIGKILL }).encode(id).ok());
            if let Some(frame) = kill {
                let _ = within(KILL_TIMEOUT, link.send(frame)).await;
            }
            let late = format!("no end within {}", rules::unit::format_duration_ms(check.timeout_ms));
            let text = if printed.is_empty() { late } else { format!("{late}; so far: {printed}") };
            (None, GuestText::new(text))
        }
    };
    (code, text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::agent_link::exec_logger::ExecLogger;
    use crate::supervisor::agent_link::link::LINK_EVENTS;
    use executor_client::guest_text::GUEST_TEXT_BYTES_MAX;
    use protocol::frame::FrameDecoder;
    use protocol::latest::{
        ErrorKind, ErrorReport, ExecExited, ExecFailed, ExecStderr, ExecStdout, FailureKind,
    };
    use std::cell::RefCell;
    use std::rc::Rc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::sync::mpsc;

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
        // After a recovery, two intervals of failures are needed again.
        assert_eq!(tally.count(true, at(7_000)), Health::Healthy);
        assert_eq!(tally.count(false, at(8_000)), Health::Healthy);
        assert_eq!(tally.count(false, at(9_000)), Health::Unhealthy);
    }

    /// Runs a check against a guest with this behaviour.
    fn with_guest(
        guest: impl AsyncFnOnce(UnixStream) + 'static,
        test: impl AsyncFnOnce(Rc<Link>, HealthCheck),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&event_loop, async {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let exec_log = ExecLogger::open(folder.path(), executor_log::Rotation::default()).unwrap();
            let (events, _events) = mpsc::channel(LINK_EVENTS);
            let link = Link::start(ours, Rc::new(RefCell::new(exec_log)), events);
            tokio::task::spawn_local(async move { guest(theirs).await });
            let check = HealthCheck {
                exec: vec!["true".into()],
                interval_ms: 1_000,
                timeout_ms: 3_000,
                retries: 1,
                start_period_ms: 0,
                hint: None,
            };
            test(link, check).await;
        });
    }

    /// Reads the first frame and answers with these messages under its id.
    fn answers(messages: Vec<Message>) -> impl AsyncFnOnce(UnixStream) {
        async move |mut stream| {
            let (mut decoder, mut buffer) = (FrameDecoder::new(), [0; 4096]);
            let id = loop {
                if let Some(frame) = decoder.next_frame().unwrap() {
                    break frame.id();
                }
                let count = stream.read(&mut buffer).await.unwrap();
                decoder.feed(&buffer[..count]);
            };
            for message in messages {
                stream.write_all(message.encode(id).unwrap().as_bytes()).await.unwrap();
            }
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }

    #[test]
    fn a_probe_tells_its_code_and_the_end_of_what_it_printed() {
        let flood = Message::from(ExecStdout { data: vec![b'x'; 1 << 20] });
        let last = Message::from(ExecStderr { data: b"no answer\n".to_vec() });
        let exited = Message::from(ExecExited::with_code(3));
        with_guest(answers(vec![flood, last, exited]), async |link, check| {
            let (code, output) = probe(&link, &check).await;
            assert_eq!((code, output.len()), (Some(3), OUTPUT_BYTES_MAX - 1));
            assert!(output.ends_with("xno answer"), "{output}");
        });
    }

    /// The text in the state and in control lines stays small, whatever a guest sends.
    #[test]
    fn a_probe_of_a_guest_that_says_too_much_stays_small() {
        let long = || "\u{1}".repeat(4_000_000);
        let failed = ExecFailed {
            kind: FailureKind::Other,
            errno: None,
            errno_name: None,
            message: long(),
            stage: None,
        };
        let report = ErrorReport { kind: ErrorKind::Other, message: long(), message_type: None };
        let printed = ExecStdout { data: long().into_bytes() };
        for said in [failed.into(), report.into(), printed.into()] {
            let said: Vec<Message> = vec![said, ExecExited::with_code(1).into()];
            with_guest(answers(said), async |link, check| {
                let (code, output) = probe(&link, &check).await;
                let bytes = serde_json::to_vec(&Probe { code, output, failures: 1 }).unwrap().len();
                assert!(bytes < GUEST_TEXT_BYTES_MAX + 128, "{bytes} bytes");
            });
        }
    }

    #[test]
    fn a_probe_ends_though_the_guest_takes_nothing_and_says_nothing() {
        let deaf = async |stream: UnixStream| {
            std::future::pending::<()>().await;
            drop(stream);
        };
        with_guest(deaf, async |link, check| {
            tokio::time::pause();
            // More than fits into the socket's buffer and the link's queue.
            for _ in 0..2_000 {
                let began = tokio::time::Instant::now();
                let (code, output) = probe(&link, &check).await;
                assert_eq!((code, output.as_str()), (None, "no end within 3s"));
                assert!(began.elapsed().as_secs() <= 4);
            }
        });
    }
}
