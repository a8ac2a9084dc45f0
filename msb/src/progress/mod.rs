//! Progress of applying a plan: shown to people, written as events, recorded for reports.

mod heartbeat;
mod record;
pub mod stream;
mod terminal;

pub use record::{Ended, StepRecord};
pub use terminal::{bar_style, spinner};

use crate::output::{OutputOptions, eprintln_lossy};
use executor::reporter::{Event, Reporter};
use heartbeat::Heartbeat;
use record::Record;
use schemas::plan::{PlanGraph, StepId};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stream::Stream;
use terminal::ProgressDisplay;

/// The progress of a plan.
pub struct Progress {
    display: ProgressDisplay,
    record: Arc<Record>,
    stream: Option<Stream>,
    heartbeat: Mutex<Option<Heartbeat>>,
}

impl Progress {
    /// Starts the progress of a plan.
    pub fn new(plan: &PlanGraph, output: &OutputOptions) -> Self {
        let record = Arc::new(Record::new(plan));
        let (beat_record, beat_verbosity) = (record.clone(), *output);
        let beat = move || beat(&beat_record, &beat_verbosity);
        Self {
            display: ProgressDisplay::new(record.clone(), output),
            record,
            stream: output.events.then(Stream::default),
            heartbeat: Mutex::new(Heartbeat::start(output.heartbeat, beat)),
        }
    }

    /// Prints a message between the lines or bars.
    pub fn say(&self, text: &str) {
        self.display.say(text);
    }

    /// Ends the display. Returns the records of the steps in the order in which they ended.
    pub fn finish(&self) -> Vec<StepRecord> {
        drop(self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.display.finish();
        self.record.take()
    }
}

impl Reporter for Progress {
    fn event(&self, event: &Event<'_>) {
        let took = self.record.note(event);
        if let Some(stream) = &self.stream {
            stream.event(event, &self.record, took);
        }
        self.display.event(event);
    }
}

/// Maximum number of running steps to name.
const NAMED_MAX: usize = 5;

/// Reports the running steps.
fn beat(record: &Record, output: &OutputOptions) {
    let running = record.running();
    if running.is_empty() {
        return;
    }
    if output.events {
        stream::heartbeat(&running);
    }
    if !output.bars && !output.quiet {
        eprintln_lossy(&heartbeat_line(&running, record));
    }
}

fn heartbeat_line(running: &[(StepId, Duration)], record: &Record) -> String {
    let part = |(id, time): &(StepId, Duration)| format!("{} ({} s)", record.title(id), time.as_secs());
    let parts = schemas::listing::lines(running, NAMED_MAX, part);
    format!("  … not yet: {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_names_the_steps_and_counts_the_rest() {
        let record = record::tests::record(&["a", "b"]);
        let running = |count: usize| -> Vec<_> {
            (0..count).map(|_| ("start/a".parse().unwrap(), Duration::from_millis(12_900))).collect()
        };
        assert_eq!(heartbeat_line(&running(1), &record), "  … not yet: a started (12 s)");
        let line = heartbeat_line(&running(NAMED_MAX + 2), &record);
        assert!(line.ends_with("a started (12 s), … and 2 more"), "{line}");
    }
}
