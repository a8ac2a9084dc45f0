//! The table of sessions, by client id and event token, with the leftovers of ended ones.

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::latest::ExecRequest;
use rustix::event::epoll::EventFlags;
use rustix::io::{Errno, read};

use crate::link::Link;
use crate::processes::{Ended, signal_session};
use crate::session::{Session, Stream};
use crate::spawn::Spawned;
use crate::watch::Watch;

/// The first token; smaller ones belong to the agent's own descriptors.
const FIRST_SERIAL: u64 = 1;
pub const MAX_SESSIONS: usize = 4096;
/// The limit of pipes of ended sessions that background processes still write to. Further ones are closed.
const MAX_LEFTOVERS: usize = 1024;
/// The limit of final reads of an output: more than a pipe or a terminal contains.
const MAX_LAST_READS: usize = 32;
/// The time between SIGHUP and SIGKILL for the sessions of a disconnected client.
const HANGUP_GRACE: Duration = Duration::from_secs(2);

pub struct Sessions {
    epoll: Rc<OwnedFd>,
    /// By serial number, which is never reused, unlike a client's id.
    sessions: BTreeMap<u64, Session>,
    serials: BTreeMap<u32, u64>,
    next_serial: u64,
    leftovers: BTreeMap<u64, Watch>,
    next_leftover: u64,
    /// Terminal sessions (setsid(2)) to be killed, with the time.
    condemned: Vec<(Instant, i32)>,
    /// Whether output is read: not while the link is congested.
    listening: bool,
}

impl Sessions {
    pub fn new(epoll: Rc<OwnedFd>) -> Self {
        Self {
            epoll,
            sessions: BTreeMap::new(),
            serials: BTreeMap::new(),
            next_serial: FIRST_SERIAL,
            leftovers: BTreeMap::new(),
            // Counted from the other end of the range.
            next_leftover: u64::MAX >> 3,
            condemned: Vec::new(),
            listening: true,
        }
    }

    pub fn contains(&self, id: u32) -> bool {
        self.serials.contains_key(&id)
    }

    pub fn is_full(&self) -> bool {
        self.sessions.len() >= MAX_SESSIONS
    }

    pub fn get(&self, id: u32) -> Option<&Session> {
        self.sessions.get(self.serials.get(&id)?)
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut Session> {
        self.sessions.get_mut(self.serials.get(&id)?)
    }

    /// Adds a running command under an unused id.
    pub fn begin(&mut self, id: u32, spawned: Spawned, request: &ExecRequest) {
        let serial = self.next_serial;
        self.next_serial += 1;
        // A new process has the number, so the condemned session is gone.
        self.condemned.retain(|(_, session)| *session != spawned.pid);
        let mut session = Session::new(id, serial, &self.epoll, spawned, request);
        if let Err(error) = session.listen(self.listening) {
            crate::log(format_args!("a session cannot be watched: {error}"));
        }
        self.serials.insert(id, serial);
        self.sessions.insert(serial, session);
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let sessions = self.sessions.values().filter_map(Session::quiet_at);
        sessions.chain(self.condemned.iter().map(|(at, _)| *at)).min()
    }

    pub fn run_timers(&mut self, now: Instant, scratch: &mut [u8], link: &mut Link) {
        for (_, session) in self.condemned.extract_if(.., |(at, _)| *at <= now) {
            signal_session(session, &[libc::SIGKILL]);
        }
        let quiet: Vec<u64> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.quiet_at().is_some_and(|at| at <= now))
            .map(|(serial, _)| *serial)
            .collect();
        for serial in quiet {
            // The silence may be due to suspended reading.
            self.read_output(serial, Stream::Stdout, scratch, link);
        }
    }

    /// Handles an event on a session's descriptor.
    pub fn on_readable(&mut self, token: u64, scratch: &mut [u8], link: &mut Link) {
        if let Some(leftover) = self.leftovers.get(&token) {
            if !matches!(read(leftover, scratch), Ok(1..) | Err(Errno::AGAIN | Errno::INTR)) {
                self.leftovers.remove(&token);
            }
            return;
        }
        let serial = token >> 2;
        match Stream::of_token(token) {
            Stream::Stdin => {
                // It may have ended in this round of events.
                if let Some(session) = self.sessions.get_mut(&serial) {
                    session.write_input(link);
                }
            }
            stream => {
                self.read_output(serial, stream, scratch, link);
                // Otherwise one busy command would fill the queue before the others are read.
                link.flush();
            }
        }
    }

    fn read_output(&mut self, serial: u64, stream: Stream, scratch: &mut [u8], link: &mut Link) {
        let Some(session) = self.sessions.get_mut(&serial) else { return };
        let leftover = session.read_output(stream, scratch, link);
        self.keep(leftover);
        self.finish(serial, link);
    }

    /// Keeps draining pipes that background processes still write to.
    fn keep(&mut self, leftovers: impl IntoIterator<Item = Watch>) {
        for leftover in leftovers {
            if self.leftovers.len() >= MAX_LEFTOVERS {
                return;
            }
            let token = self.next_leftover << 2;
            self.next_leftover += 1;
            let mut watch = leftover.with_token(token);
            if watch.want(EventFlags::IN).is_ok() {
                self.leftovers.insert(token, watch);
            }
        }
    }

    /// Handles a reaped process. Others than commands are orphans, or commands of disconnected clients.
    pub fn reaped(&mut self, ended: &Ended, link: &mut Link) {
        let found = self
            .sessions
            .iter_mut()
            .find(|(_, session)| session.pid == ended.pid && session.runs())
            .map(|(serial, session)| (*serial, session.ended(ended)));
        if let Some((serial, leftovers)) = found {
            self.keep(leftovers);
            self.finish(serial, link);
        }
    }

    fn finish(&mut self, serial: u64, link: &mut Link) {
        let Some(session) = self.sessions.get(&serial) else { return };
        // While reading is suspended, silence has no meaning.
        let now = if self.listening { Instant::now() } else { return };
        if session.finish(now, link) {
            self.serials.remove(&session.id);
            self.sessions.remove(&serial);
        }
    }

    /// Ends the sessions of disconnected clients. Nothing more is sent for them.
    pub fn disconnect(&mut self, ids: impl RangeBounds<u32>) {
        let kill_at = Instant::now() + HANGUP_GRACE;
        for (_, serial) in self.serials.extract_if(ids, |_, _| true) {
            if let Some(session) = self.sessions.remove(&serial)
                && session.runs()
            {
                // SIGCONT too: a stopped process does not handle signals.
                signal_session(session.pid, &[libc::SIGHUP, libc::SIGCONT]);
                self.condemned.push((kill_at, session.pid));
            }
        }
    }

    pub fn hang_up(&self) {
        for session in self.sessions.values() {
            session.hang_up();
        }
    }

    /// Resumes or suspends reading output, by the congestion of the link. Returns whether that changed; there may then
    /// be more to send.
    pub fn update_watches(&mut self, link: &mut Link) -> bool {
        let listening = !link.congested();
        if listening == self.listening {
            return false;
        }
        self.listening = listening;
        let serials: Vec<u64> = self.sessions.keys().copied().collect();
        for serial in serials {
            if let Some(session) = self.sessions.get_mut(&serial) {
                let _ = session.listen(listening);
            }
            // It may have ended without further output.
            self.finish(serial, link);
        }
        true
    }

    /// Sends the remaining output of ended sessions when no process is left, with a limited number of reads.
    pub fn empty(&mut self, scratch: &mut [u8], link: &mut Link) {
        self.listening = true;
        for serial in self.sessions.keys().copied().collect::<Vec<_>>() {
            let Some(session) = self.sessions.get_mut(&serial) else { continue };
            for stream in [Stream::Stdout, Stream::Stderr] {
                for _ in 0..MAX_LAST_READS {
                    drop(session.read_output(stream, scratch, link));
                }
            }
            self.finish(serial, link);
            link.flush();
        }
    }
}

#[cfg(test)]
mod tests;
