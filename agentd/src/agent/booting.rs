//! The boot of the sandbox, on `core.boot`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::frame::LINK_ID;
use protocol::latest::{
    BootChunk, BootFailed, BootProgress, ErrorKind, FEATURE_CLOCK, FEATURE_FILE_TREE, FEATURE_FILES,
    FEATURE_FREEZE, FEATURE_MOUNT_CHANGES, FEATURE_TCP, Ready,
};

use super::{Agent, CHANGES_TOKEN, FLUSH_TIMEOUT, Phase};
use crate::boot::nanoseconds_since_boot;
use crate::changes::Changes;
use crate::root;

/// The interval of reports to the host, which waits for the end of the boot, that files are being copied.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

impl Agent {
    pub(super) fn boot(&mut self, chunk: &BootChunk) {
        let Phase::Booting(assembler) = &mut self.phase else {
            let text = "the sandbox has booted already".to_owned();
            return self.send_error(LINK_ID, ErrorKind::WrongSession, text, Some("core.boot".to_owned()));
        };
        let document = match assembler.push(chunk) {
            Ok(None) => return,
            Ok(Some(document)) => document,
            Err(error) => return self.boot_failed(error.to_string()),
        };
        let (link, mut reported) = (&mut self.link, Instant::now());
        let mut progress = |copied_bytes| {
            if reported.elapsed() >= PROGRESS_INTERVAL {
                link.send(LINK_ID, BootProgress { copied_bytes });
                link.flush();
                reported = Instant::now();
            }
        };
        match root::build(&document, &mut progress) {
            Ok(root) => {
                self.changes = match root.mounts.shared_files() {
                    Ok(files) => files.and_then(|files| {
                        let started = Changes::start(files, &self.epoll, CHANGES_TOKEN);
                        started
                            .inspect_err(|error| crate::log(format_args!("no thread for changes: {error}")))
                            .ok()
                    }),
                    Err(error) => return self.boot_failed(error.to_string()),
                };
                self.files.set_disk(Arc::clone(&root.writable));
                self.root = Some(root);
                self.document = Some(document);
                self.phase = Phase::Running;
                // The kernel spares PID 1 in any case; this makes it visible.
                let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
                let now = nanoseconds_since_boot();
                let ready = Ready {
                    boot_time_ns: self.started_ns,
                    init_time_ns: now.saturating_sub(self.started_ns),
                    ready_time_ns: now,
                    agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
                    features: [
                        FEATURE_CLOCK,
                        FEATURE_FILES,
                        FEATURE_FILE_TREE,
                        FEATURE_FREEZE,
                        FEATURE_MOUNT_CHANGES,
                        FEATURE_TCP,
                    ]
                    .map(str::to_owned)
                    .to_vec(),
                };
                self.ready = Some(ready.clone());
                self.link.send(LINK_ID, ready);
            }
            Err(error) => self.boot_failed(error.to_string()),
        }
    }

    fn boot_failed(&mut self, message: String) {
        crate::log(format_args!("{message}"));
        let failed = BootFailed { message }.into();
        self.link.finish(LINK_ID, &failed, failed.usual_flags(), FLUSH_TIMEOUT);
        self.phase = Phase::Ended;
    }
}
