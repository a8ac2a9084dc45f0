//! Follows the logs of sandboxes that come and go.

use crate::error::CliError;
use crate::follow::{LineWriter, Show, Stream, follow_one, streams};
use crate::output::{Verbosity, eprintln_lossy, print};
use executor::home::Home;
use executor_log::LogLine;
use schemas::name::{ProjectName, SandboxName};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::sync::mpsc;

/// Lines that wait to be printed before their sandboxes' logs wait.
const WAITING_LINES: usize = 1024;

/// The logs of a project, as many as there are at the time.
pub struct LiveLogs {
    home: Home,
    project: ProjectName,
    names: BTreeSet<SandboxName>,
    since: SystemTime,
    verbosity: Verbosity,
    writer: Arc<Mutex<LineWriter>>,
    lines: mpsc::Sender<(usize, LogLine)>,
    /// Each log that is followed, or until when it was.
    followed: Rc<RefCell<BTreeMap<PathBuf, Option<SystemTime>>>>,
}

impl LiveLogs {
    /// Follows nothing yet; lines from this moment on are shown.
    pub fn new(
        home: &Home,
        project: &ProjectName,
        names: BTreeSet<SandboxName>,
        since: SystemTime,
        verbosity: &Verbosity,
    ) -> Self {
        let writer = LineWriter::new(&[], &Show::of_project(since, verbosity));
        let writer = Arc::new(Mutex::new(writer));
        let (lines, mut waiting) = mpsc::channel::<(usize, LogLine)>(WAITING_LINES);
        let printer = Arc::clone(&writer);
        // Printed from a thread, because a reader that stands still must not keep signals waiting.
        std::thread::spawn(move || {
            while let Some((index, line)) = waiting.blocking_recv() {
                let text = printer.lock().unwrap_or_else(PoisonError::into_inner).text(index, &line);
                print(&text);
            }
        });
        let (home, project, verbosity) = (home.clone(), project.clone(), *verbosity);
        Self { home, project, names, since, verbosity, writer, lines, followed: Rc::default() }
    }

    /// Follows what runs now and is not followed yet; goes on where it stopped following one that had ended.
    pub fn refresh(&self) -> Result<(), CliError> {
        for stream in streams(&self.home, &self.project, &self.names)? {
            let since = match self.followed.borrow().get(&stream.log) {
                Some(None) => continue,
                Some(Some(ended)) => *ended,
                None => self.since,
            };
            self.followed.borrow_mut().insert(stream.log.clone(), None);
            let show = Show::of_project(since, &self.verbosity);
            tokio::task::spawn_local(self.follow(stream, show));
        }
        Ok(())
    }

    fn follow(&self, stream: Stream, show: Show) -> impl Future<Output = ()> + use<> {
        let index = self.writer.lock().unwrap_or_else(PoisonError::into_inner).place_of(&stream.name);
        let (lines, followed) = (self.lines.clone(), Rc::clone(&self.followed));
        async move {
            if let Err(error) = follow_one(index, &stream, &show, &lines).await {
                eprintln_lossy(&format!("error: cannot follow the log of {}: {error}", stream.name));
            }
            followed.borrow_mut().insert(stream.log, Some(SystemTime::now()));
        }
    }
}
