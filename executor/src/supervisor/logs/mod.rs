//! The logs of one sandbox, with capture and rotation as in its spec.

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

/// The logs whose settings follow the spec.
pub struct Logs {
    /// The limits of each log, shared by all writers.
    pub limits: Limits,
    /// The default rotation.
    default: Rotation,
    /// The log of output.
    pub exec_log: Rc<RefCell<ExecLogger>>,
    /// The log of events.
    pub events: Rc<RefCell<EventLog>>,
}

impl Logs {
    /// Creates the logs with their default rotation.
    pub fn new(
        limits: Limits,
        default: Rotation,
        exec_log: Rc<RefCell<ExecLogger>>,
        events: EventLog,
    ) -> Self {
        Self { limits, default, exec_log, events: Rc::new(RefCell::new(events)) }
    }

    /// Follows other settings.
    pub fn follow(&self, logs: &spec::Logs) {
        self.limits.set(rotation(self.default, logs));
        self.exec_log.borrow_mut().capture(logs.capture);
    }
}

/// Returns the rotation of the spec, with the user's settings as default.
pub fn rotation(default: Rotation, logs: &spec::Logs) -> Rotation {
    let spec::Logs { capture: _, max_size_bytes, keep } = logs;
    Rotation { max_bytes: max_size_bytes.unwrap_or(default.max_bytes), keep: keep.unwrap_or(default.keep) }
}
