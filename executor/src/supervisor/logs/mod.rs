//! The logs of one sandbox as its spec wants them: what is written, and how much of it is kept.

pub mod broadcast;
pub mod events;
pub mod kernel;
pub mod oom;
pub mod runtime;

use crate::supervisor::agent_link::exec_logger::ExecLogger;
use crate::supervisor::logs::events::EventLog;
use executor_log::{Limits, Rotation};
use schemas::spec;
use std::cell::RefCell;
use std::rc::Rc;

/// What follows the spec's word on logs.
pub struct Logs {
    /// How much is kept of each log; shared by all who write one.
    pub limits: Limits,
    /// How much is kept where the spec does not say.
    default: Rotation,
    /// Who writes down what is printed.
    pub exec_log: Rc<RefCell<ExecLogger>>,
    /// Who writes down what happens.
    pub events: Rc<RefCell<EventLog>>,
}

impl Logs {
    /// Puts together what follows the spec.
    pub fn new(
        limits: Limits,
        default: Rotation,
        exec_log: Rc<RefCell<ExecLogger>>,
        events: EventLog,
    ) -> Self {
        Self { limits, default, exec_log, events: Rc::new(RefCell::new(events)) }
    }

    /// Follows another word.
    pub fn follow(&self, logs: &spec::Logs) {
        self.limits.set(rotation(self.default, logs));
        self.exec_log.borrow_mut().capture(logs.capture);
    }
}

/// How much is kept: what the spec says, and beneath it what the user's settings do.
pub fn rotation(default: Rotation, logs: &spec::Logs) -> Rotation {
    let spec::Logs { capture: _, max_size_bytes, keep } = logs;
    Rotation { max_bytes: max_size_bytes.unwrap_or(default.max_bytes), keep: keep.unwrap_or(default.keep) }
}
