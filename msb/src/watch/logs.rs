//! Following the logs of a changing set of sandboxes.

use crate::error::{CliError, Context};
use crate::logs::{Followers, LogOptions, Stream, streams};
use crate::output::OutputOptions;
use executor_host::home::Home;
use executor_log::{Cursor, Start};
use schemas::name::{ProjectName, SandboxName};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;
use tokio::sync::mpsc;

/// The logs of a project's present sandboxes.
pub struct LiveLogs {
    home: Home,
    project: ProjectName,
    names: BTreeSet<SandboxName>,
    follow: mpsc::UnboundedSender<Stream>,
    /// The folders of logs: `None` while followed, else the position where following stopped.
    followed: Rc<RefCell<BTreeMap<PathBuf, Option<Cursor>>>>,
}

impl LiveLogs {
    /// Follows nothing yet. Shows lines from `since` on.
    ///
    /// # Errors
    ///
    /// If files cannot be watched.
    pub fn new(
        home: &Home,
        project: &ProjectName,
        names: BTreeSet<SandboxName>,
        since: SystemTime,
        output: &OutputOptions,
    ) -> Result<Self, CliError> {
        let followed: Rc<RefCell<BTreeMap<PathBuf, Option<Cursor>>>> = Rc::default();
        let ended = Rc::clone(&followed);
        let options = LogOptions::of_project(since, output);
        let (followers, _) = Followers::new(
            options,
            *output,
            Box::new(move |logs, cursor| {
                let mut ended = ended.borrow_mut();
                match cursor {
                    Some(cursor) => _ = ended.insert(logs.to_owned(), Some(cursor)),
                    None => _ = ended.remove(logs),
                }
            }),
        )
        .context("cannot follow logs")?;
        let (follow, added) = mpsc::unbounded_channel();
        tokio::task::spawn_local(followers.run(added));
        Ok(Self { home: home.clone(), project: project.clone(), names, follow, followed })
    }

    /// Follows the sandboxes that exist now. Continues a log where following stopped.
    ///
    /// # Errors
    ///
    /// If the sandboxes cannot be observed.
    pub fn refresh(&self) -> Result<(), CliError> {
        for stream in streams(&self.home, &self.project, &self.names)? {
            let start = match self.followed.borrow_mut().insert(stream.logs.clone(), None) {
                Some(None) => continue,
                Some(Some(cursor)) => Start::Cursor(cursor),
                None => Start::Beginning,
            };
            let _ = self.follow.send(Stream { start, restarts: None, ..stream });
        }
        Ok(())
    }
}
