//! The link to a guest's agent: one reader, one writer, and the routes of frames.
//!
//! Ids are divided into [`CLIENT_SLOTS`] equal ranges, one per relay client. Id 0 belongs to the link itself, and the few
//! ids after the last range to the supervisor's own sessions.

use crate::supervisor::agent_link::exec_logger::ExecLogger;
use crate::supervisor::agent_link::jobs::{Job, JobKind, Jobs};
use executor_client::deadline::within;
use protocol::frame::{Flags, Frame, FrameDecoder, LINK_ID};
use protocol::latest::{ClientDisconnected, ExecRequest, ExecStdin, Message, Ping};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

/// The most relay clients at once.
pub const CLIENT_SLOTS: usize = 128;
/// The number of ids per relay client: ⌊(2³² − 1) / 128⌋.
pub const IDS_PER_CLIENT: u32 = u32::MAX / CLIENT_SLOTS as u32;
/// The first id of the supervisor's own sessions.
const OWN_IDS_START: u32 = CLIENT_SLOTS as u32 * IDS_PER_CLIENT + 1;
/// The length of the queue of frames to the guest; senders wait while it is full.
const OUTGOING_FRAMES: usize = 64;
/// The length of the queue of an own session.
const OWN_SESSION_MESSAGES: usize = 64;
/// The most jobs at once.
const JOBS_MAX: usize = 64;
/// The most disconnecting clients at once; each one needs an own session.
const LEAVING_AT_ONCE: usize = 16;
/// The timeout of a guest's answer that a client's sessions have ended; after it, their ids are not reused.
const LEAVING_TIMEOUT: Duration = Duration::from_secs(10);
/// The length of the queue of link messages: the result of the boot, and the shutdown. Only the first one of each is
/// queued; a hostile guest may send more.
pub const LINK_EVENTS: usize = 16;
/// The size of a read from the guest in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Returns the ids of the client in this slot.
pub fn client_ids(slot: usize) -> Range<u32> {
    let start = slot as u32 * IDS_PER_CLIENT + 1;
    start..start + IDS_PER_CLIENT
}

/// The guest has closed the link.
#[derive(Debug, thiserror::Error)]
#[error("the link to the guest is closed")]
pub struct LinkClosed;

/// A receiver of the frames of one relay client.
pub trait ClientSink {
    /// Delivers a frame without blocking.
    fn deliver(&self, frame: Frame);
}

/// The host's end of the link.
pub struct Link {
    outgoing: mpsc::Sender<Frame>,
    jobs: Jobs,
    routes: RefCell<Routes>,
    exec_log: Rc<RefCell<ExecLogger>>,
    leaving: Rc<Semaphore>,
    /// Whether the guest has reported the result of its boot, and its shutdown.
    said: (Cell<bool>, Cell<bool>),
    /// The guest has handled a report of changed files since the last wait.
    refreshed: Notify,
    /// The current uses by clients and detached commands, and all so far.
    uses: (Cell<u64>, Cell<u64>),
    /// The reason for the end of the link, after all frames have been routed; `None` before.
    lost: watch::Sender<Option<String>>,
}

/// A use of the guest.
pub struct InUse<'a>(&'a Link);

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.0.end_use();
    }
}

#[derive(Default)]
struct Routes {
    /// The ids and the sink of each client, by slot.
    clients: HashMap<usize, (Range<u32>, Rc<dyn ClientSink>)>,
    own: HashMap<u32, Own>,
    next_own: u32,
}

/// The receiver of a session of the supervisor's own.
#[derive(Clone)]
enum Own {
    /// A probe, a ping.
    Messages(mpsc::Sender<Message>),
    /// A job keeps its id until it ends, whether clients are attached or not.
    Job(Rc<Job>),
}

impl Own {
    fn is_gone(&self) -> bool {
        matches!(self, Self::Messages(sender) if sender.is_closed())
    }
}

impl Routes {
    /// Takes an unused id of the supervisor's own; `None` if `most` are in use.
    fn own_id(&mut self, most: usize) -> Option<u32> {
        self.own.retain(|_, own| !own.is_gone());
        let own_ids = u32::MAX - OWN_IDS_START;
        // The loop below ends.
        if self.own.len() >= most.min(own_ids as usize) {
            return None;
        }
        let mut id = OWN_IDS_START + self.next_own % own_ids;
        while self.own.contains_key(&id) {
            self.next_own = self.next_own.wrapping_add(1);
            id = OWN_IDS_START + self.next_own % own_ids;
        }
        self.next_own = self.next_own.wrapping_add(1);
        Some(id)
    }
}

impl Link {
    /// Starts the link's two tasks. Messages with id 0 go to `events`.
    pub fn start(
        stream: UnixStream,
        exec_log: Rc<RefCell<ExecLogger>>,
        events: mpsc::Sender<Message>,
    ) -> Rc<Self> {
        let (outgoing, mut queue) = mpsc::channel::<Frame>(OUTGOING_FRAMES);
        let (mut reader, mut writer) = stream.into_split();
        let leaving = Rc::new(Semaphore::new(LEAVING_AT_ONCE));
        let link = Rc::new(Self {
            outgoing,
            jobs: Jobs::default(),
            routes: RefCell::default(),
            exec_log,
            leaving,
            said: Default::default(),
            refreshed: Notify::new(),
            uses: Default::default(),
            lost: watch::Sender::new(None),
        });
        tokio::task::spawn_local(async move {
            while let Some(frame) = queue.recv().await {
                // Senders fail, as the queue is dropped. Frames of the guest may still be unread.
                if writer.write_all(frame.as_bytes()).await.is_err() {
                    break;
                }
            }
        });
        let receiver = Rc::downgrade(&link);
        tokio::task::spawn_local(async move {
            let mut decoder = FrameDecoder::new();
            let mut buffer = vec![0; READ_BYTES];
            let why = 'read: loop {
                match reader.read(&mut buffer).await {
                    Ok(0) => break "the guest closed its agent port".to_owned(),
                    Ok(count) => decoder.feed(&buffer[..count]),
                    Err(error) => break format!("reading the agent port failed: {error}"),
                }
                loop {
                    let Some(link) = receiver.upgrade() else { return };
                    match decoder.next_frame() {
                        Ok(Some(frame)) => link.route(frame, &events),
                        Ok(None) => break,
                        Err(error) => break 'read format!("the guest's agent broke the framing: {error}"),
                    }
                }
                // A flood of frames must not starve other tasks.
                tokio::task::yield_now().await;
            };
            if let Some(link) = receiver.upgrade() {
                link.close(why);
            }
        });
        link
    }

    /// Ends all waits for the guest, after the queued answers.
    fn close(&self, why: String) {
        self.routes.borrow_mut().own.clear();
        self.jobs.lose_all();
        self.lost.send_replace(Some(why));
    }

    /// Waits until the guest has closed the link or broken the framing, and all frames before have been routed; returns
    /// the reason.
    pub async fn lost(&self) -> String {
        let mut lost = self.lost.subscribe();
        // The sender lives as long as `self`.
        let why = lost.wait_for(Option::is_some).await;
        why.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// Waits until the guest has handled a report of changed files. Several ends since the last wait count as one.
    pub async fn refreshed(&self) {
        self.refreshed.notified().await;
    }

    /// Marks the guest as used until the guard is dropped: what counts as activity of the sandbox.
    pub fn in_use(&self) -> InUse<'_> {
        self.add_use();
        InUse(self)
    }

    /// Counts a use until [`Link::end_use`].
    pub fn add_use(&self) {
        let (current, all) = &self.uses;
        current.set(current.get() + 1);
        all.set(all.get().wrapping_add(1));
    }

    /// Ends a use.
    pub fn end_use(&self) {
        self.uses.0.set(self.uses.0.get().saturating_sub(1));
    }

    /// Returns whether the guest is being used.
    pub fn is_used(&self) -> bool {
        self.uses.0.get() > 0
    }

    /// Counts the uses so far.
    pub fn uses(&self) -> u64 {
        self.uses.1.get()
    }

    /// Sends a frame to the guest; waits while the queue is full.
    pub async fn send(&self, frame: Frame) -> Result<(), LinkClosed> {
        if frame.flags().contains(Flags::SESSION_START) {
            self.exec_log.borrow_mut().session_starts(&frame);
        }
        self.outgoing.send(frame).await.map_err(|_| LinkClosed)
    }

    /// Opens a session of the supervisor's own, which no log captures, until the receiver is dropped.
    pub async fn own_session(&self, request: Message) -> Result<(u32, mpsc::Receiver<Message>), LinkClosed> {
        let (sender, receiver) = mpsc::channel(OWN_SESSION_MESSAGES);
        if self.is_lost() {
            return Err(LinkClosed);
        }
        let id = {
            let mut routes = self.routes.borrow_mut();
            let id = routes.own_id(usize::MAX).ok_or(LinkClosed)?;
            routes.own.insert(id, Own::Messages(sender));
            id
        };
        let frame = request.encode(id).map_err(|_| LinkClosed)?;
        self.outgoing.send(frame).await.map_err(|_| LinkClosed)?;
        Ok((id, receiver))
    }

    /// Adds a job; returns it with the frames that start it, for [`Link::send_all`]. The caller forgets a job that is not
    /// started.
    pub fn begin_job(
        &self,
        request: ExecRequest,
        kind: JobKind,
    ) -> Result<(Rc<Job>, Vec<Frame>), LinkClosed> {
        if self.is_lost() {
            return Err(LinkClosed);
        }
        // Without acknowledgements of output: the log takes all of it.
        let request =
            ExecRequest { stdin_acks: kind.stdin(), output_acks: false, report_signal: true, ..request };
        // Jobs leave ids for other sessions of the supervisor.
        let id = self.routes.borrow_mut().own_id(JOBS_MAX).ok_or(LinkClosed)?;
        let mut frames = vec![Message::from(request.clone()).encode(id).map_err(|_| LinkClosed)?];
        if !kind.stdin() {
            // An empty chunk is the end of input.
            frames.extend(Message::from(ExecStdin { data: Vec::new() }).encode(id));
        }
        let number = self.exec_log.borrow_mut().begin_session(id, request.tty);
        let job = Rc::new(Job::new(number, id, kind, &request));
        self.routes.borrow_mut().own.insert(id, Own::Job(job.clone()));
        self.jobs.add(job.clone());
        Ok((job, frames))
    }

    /// Sends frames of the supervisor's own sessions.
    pub async fn send_all(&self, frames: impl IntoIterator<Item = Frame>) -> Result<(), LinkClosed> {
        for frame in frames {
            self.outgoing.send(frame).await.map_err(|_| LinkClosed)?;
        }
        Ok(())
    }

    /// Forgets a job that was not started.
    pub fn forget_job(&self, job: &Job) {
        self.routes.borrow_mut().own.remove(&job.session());
        self.jobs.forget(job.number());
    }

    /// Returns the jobs of the guest.
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }

    /// Routes the frames of these ids of a slot to a sink from now on.
    pub fn attach_client(&self, slot: usize, ids: Range<u32>, sink: Rc<dyn ClientSink>) {
        self.routes.borrow_mut().clients.insert(slot, (ids, sink));
    }

    /// Ends the sessions of a disconnected client. Returns whether the guest has confirmed that: otherwise it may still
    /// send frames with their ids, which must not be reused.
    pub async fn detach_client(self: &Rc<Self>, slot: usize) -> bool {
        self.routes.borrow_mut().clients.remove(&slot);
        let ids = client_ids(slot);
        self.exec_log.borrow_mut().forget(&ids);
        let notice = ClientDisconnected { id_start: ids.start, id_end_exclusive: ids.end };
        let notice = Message::from(notice).encode(LINK_ID);
        let link = self.clone();
        // A task of its own, so that the notice is sent in any case, before the frames of the slot's next client.
        let settled = tokio::task::spawn_local(async move {
            if let Ok(frame) = notice {
                let _ = link.outgoing.send(frame).await;
            }
            let leaving = link.leaving.clone();
            let Ok(_permit) = leaving.acquire().await else { return };
            // The guest answers in order. A closed link drops its routes, which ends the wait as well.
            let answers = link.own_session(Ping {}.into()).await;
            // Dropped, as it would keep the link open.
            drop(link);
            if let Ok((_, mut answers)) = answers {
                let _ = answers.recv().await;
            }
        });
        within(LEAVING_TIMEOUT, settled).await.is_ok()
    }

    fn route(&self, frame: Frame, events: &mpsc::Sender<Message>) {
        let id = frame.id();
        if id == LINK_ID {
            let Ok(message) = Message::decode(&frame) else { return };
            let said = match message {
                Message::Ready(_) | Message::BootFailed(_) => &self.said.0,
                Message::Shutdown(_) => &self.said.1,
                Message::MountsRefreshed(_) => return self.refreshed.notify_one(),
                // Any number of them, until the end of the boot.
                Message::BootProgress(_) if !self.said.0.get() => {
                    let _ = events.try_send(message);
                    return;
                }
                _ => return,
            };
            if !said.replace(true) {
                let _ = events.try_send(message);
            }
            return;
        }
        self.exec_log.borrow_mut().frame(&frame);
        if id >= OWN_IDS_START {
            let is_last = frame.flags().contains(Flags::TERMINAL);
            let own = match self.routes.borrow_mut().own.entry(id) {
                Entry::Vacant(_) => return,
                Entry::Occupied(own) if is_last => own.remove(),
                Entry::Occupied(own) => own.get().clone(),
            };
            match (own, Message::decode(&frame)) {
                (Own::Job(job), Ok(message)) => job.receive(message, is_last),
                (Own::Job(job), Err(_)) if is_last => job.lose(),
                (Own::Messages(sender), Ok(message)) => {
                    // Output is only queued while there is room: the terminal message needs the rest.
                    let room = if is_last { 0 } else { OWN_SESSION_MESSAGES / 2 };
                    if sender.capacity() > room {
                        let _ = sender.try_send(message);
                    }
                }
                (_, Err(_)) => {}
            }
            return;
        }
        let slot = ((id - 1) / IDS_PER_CLIENT) as usize;
        // The sink is cloned first, as delivering may drop the client, which changes the routes.
        let client = self.routes.borrow().clients.get(&slot).cloned();
        if let Some((ids, sink)) = client
            && ids.contains(&id)
        {
            sink.deliver(frame);
        }
    }
}

impl Drop for Link {
    /// Ends the waits for jobs of a guest whose machine was killed.
    fn drop(&mut self) {
        self.jobs.lose_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::latest::{ExecExited, Ready, Shutdown};

    /// Returns a link, the guest's end of it, and the messages of the guest's agent.
    fn linked(logs: &std::path::Path) -> (Rc<Link>, UnixStream, mpsc::Receiver<Message>) {
        let (ours, guest) = UnixStream::pair().unwrap();
        let exec_log =
            Rc::new(RefCell::new(ExecLogger::open(logs, executor_log::Rotation::default()).unwrap()));
        let (events, events_in) = mpsc::channel(LINK_EVENTS);
        (Link::start(ours, exec_log, events), guest, events_in)
    }

    #[test]
    fn ranges_are_disjoint_and_leave_the_ends_free() {
        assert_eq!(IDS_PER_CLIENT, 33_554_431);
        assert_eq!(client_ids(0).start, 1);
        for slot in 1..CLIENT_SLOTS {
            assert_eq!(client_ids(slot - 1).end, client_ids(slot).start);
        }
        assert_eq!(client_ids(CLIENT_SLOTS - 1).end, OWN_IDS_START);
    }

    /// A guest that has only closed its sending direction still reads.
    #[test]
    fn a_closed_link_ends_all_waits() {
        let folder = tempfile::tempdir().unwrap();
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&event_loop, async {
            let (link, mut guest, _events) = linked(folder.path());
            let before = link.own_session(Ping {}.into()).await;
            guest.shutdown().await.unwrap();
            assert_eq!(link.lost().await, "the guest closed its agent port");
            // Waits end, earlier ones and later ones.
            assert!(before.unwrap().1.recv().await.is_none());
            let timeout = std::time::Duration::from_secs(5);
            tokio::time::timeout(timeout, link.detach_client(3)).await.expect("it waits for no answer");
            assert!(link.own_session(Ping {}.into()).await.is_err());
        });
    }

    #[test]
    fn a_flood_of_link_messages_does_not_hide_the_shutdown() {
        let folder = tempfile::tempdir().unwrap();
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&event_loop, async {
            let (link, mut guest, mut events_in) = linked(folder.path());
            let ready = Ready {
                boot_time_ns: 1,
                init_time_ns: 2,
                ready_time_ns: 3,
                agent_version: None,
                features: Vec::new(),
            };
            let (ready, goodbye) = (Message::from(ready), Message::from(Shutdown { timeout_ms: None }));
            for _ in 0..3 * LINK_EVENTS {
                guest.write_all(ready.encode(LINK_ID).unwrap().as_bytes()).await.unwrap();
            }
            guest.write_all(goodbye.encode(LINK_ID).unwrap().as_bytes()).await.unwrap();
            drop(guest);
            link.lost().await;
            assert_eq!((events_in.recv().await, events_in.recv().await), (Some(ready), Some(goodbye)));
        });
    }

    /// Its last frames are unread when it has ended.
    #[test]
    fn last_messages_are_received_although_the_guest_reads_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&event_loop, async {
            let (link, mut guest, mut events_in) = linked(folder.path());
            let (id, mut answers) = link.own_session(Ping {}.into()).await.unwrap();
            let exited = Message::from(ExecExited::with_code(7));
            let goodbye = Message::from(Shutdown { timeout_ms: None });
            for frame in [exited.encode(id).unwrap(), goodbye.encode(LINK_ID).unwrap()] {
                guest.write_all(frame.as_bytes()).await.unwrap();
            }
            drop(guest);
            // More than fits into the queue, so the writer has failed before.
            while link.send(Message::from(Ping {}).encode(id).unwrap()).await.is_ok() {}
            assert_eq!(link.lost().await, "the guest closed its agent port");
            assert_eq!((answers.recv().await, answers.recv().await), (Some(exited), None));
            assert_eq!((events_in.recv().await, events_in.recv().await), (Some(goodbye), None));
        });
    }
}
