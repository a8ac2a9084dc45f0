//! The link to one guest's agent: one reader, one writer, and who gets which frame.
//!
//! Ids are dealt out in [`CLIENT_SLOTS`] equal ranges, one for each relay client; id 0 belongs to the
//! link itself, and the few ids behind the last range to the supervisor's own sessions.

use crate::supervisor::agent_link::exec_logger::ExecLogger;
use executor_client::deadline::within;
use protocol::frame::{Flags, Frame, FrameDecoder, LINK_ID};
use protocol::latest::{ClientDisconnected, Message, Ping};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc, watch};

/// Relay clients at once.
pub const CLIENT_SLOTS: usize = 128;
/// Ids of one relay client: ⌊(2³² − 1) / 128⌋.
pub const IDS_PER_CLIENT: u32 = u32::MAX / CLIENT_SLOTS as u32;
/// The first id of the supervisor's own sessions.
const OWN_IDS_START: u32 = CLIENT_SLOTS as u32 * IDS_PER_CLIENT + 1;
/// Frames that wait for the guest before their senders wait too.
const OUTGOING_FRAMES: usize = 64;
/// Messages of one of the supervisor's own sessions that wait to be read.
const OWN_SESSION_MESSAGES: usize = 64;
/// Commands at once that run on their own.
const OWN_SESSIONS_MAX: usize = 64;
/// Clients at once that leave: each one needs an id of the supervisor's own.
const LEAVING_AT_ONCE: usize = 16;
/// How long a guest may take to say that it is done with a client's sessions, before their ids alone are kept back.
const LEAVING_PATIENCE: Duration = Duration::from_secs(10);
/// Messages about the link that wait for the supervisor: how the boot went, and that the guest has shut down. Each is
/// told once, and what a hostile guest says more is dropped.
pub const LINK_EVENTS: usize = 16;
/// How much is read from the guest at once, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// The ids of the client in this slot.
pub fn client_ids(slot: usize) -> Range<u32> {
    let start = slot as u32 * IDS_PER_CLIENT + 1;
    start..start + IDS_PER_CLIENT
}

/// The link could not carry a frame: the guest is gone.
#[derive(Debug, thiserror::Error)]
#[error("the link to the guest is closed")]
pub struct LinkClosed;

/// Takes the frames of one relay client.
pub trait ClientSink {
    /// Hands over a frame; never waits.
    fn deliver(&self, frame: Frame);
}

/// The host's end of a guest's agent port.
pub struct Link {
    outgoing: mpsc::Sender<Frame>,
    routes: RefCell<Routes>,
    exec_log: Rc<RefCell<ExecLogger>>,
    leaving: Rc<Semaphore>,
    /// Whether the guest has said how its boot went, and that it has shut down.
    said: (Cell<bool>, Cell<bool>),
    /// Why nothing more comes from the guest, once all that it has said is handed out.
    lost: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct Routes {
    /// By slot: the ids that the client was given, and where its frames go.
    clients: HashMap<usize, (Range<u32>, Rc<dyn ClientSink>)>,
    own: HashMap<u32, mpsc::Sender<Message>>,
    next_own: u32,
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
            routes: RefCell::default(),
            exec_log,
            leaving,
            said: Default::default(),
            lost: watch::Sender::new(None),
        });
        tokio::task::spawn_local(async move {
            while let Some(frame) = queue.recv().await {
                // Whoever sends is told, because the queue goes. What the guest said last may be yet to be read.
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
                // A guest that floods must not starve the relay's clients and the control socket.
                tokio::task::yield_now().await;
            };
            if let Some(link) = receiver.upgrade() {
                link.close(why);
            }
        });
        link
    }

    /// Whoever waits for an answer of the guest's is told that none comes, now and from now on. Answers that have
    /// come already are still there for them.
    fn close(&self, why: String) {
        self.routes.borrow_mut().own.clear();
        self.lost.send_replace(Some(why));
    }

    /// Returns once the guest's end has closed or broken the framing, and all that it said before is handed out:
    /// why that is.
    pub async fn lost(&self) -> String {
        let mut lost = self.lost.subscribe();
        // The sender lives as long as `self`.
        let why = lost.wait_for(Option::is_some).await;
        why.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// Sends a frame to the guest, waiting while it takes none.
    pub async fn send(&self, frame: Frame) -> Result<(), LinkClosed> {
        if frame.flags().contains(Flags::SESSION_START) {
            self.exec_log.borrow_mut().session_starts(&frame);
        }
        self.outgoing.send(frame).await.map_err(|_| LinkClosed)
    }

    /// Opens a session of the supervisor's own. Dropping the receiver stops listening to it.
    ///
    /// Untapped sessions (probes) leave no trace in the log.
    pub async fn own_session(
        &self,
        request: Message,
        tapped: bool,
    ) -> Result<(u32, mpsc::Receiver<Message>), LinkClosed> {
        let (sender, receiver) = mpsc::channel(OWN_SESSION_MESSAGES);
        let id = {
            let mut routes = self.routes.borrow_mut();
            routes.own.retain(|_, sender| !sender.is_closed());
            let own_ids = u32::MAX - OWN_IDS_START;
            // Commands leave room for what the supervisor itself needs, and the loop below ends.
            let most = if tapped { OWN_SESSIONS_MAX } else { own_ids as usize };
            if self.lost.borrow().is_some() || routes.own.len() >= most {
                return Err(LinkClosed);
            }
            let mut id = OWN_IDS_START + routes.next_own % own_ids;
            while routes.own.contains_key(&id) {
                routes.next_own = routes.next_own.wrapping_add(1);
                id = OWN_IDS_START + routes.next_own % own_ids;
            }
            routes.next_own = routes.next_own.wrapping_add(1);
            routes.own.insert(id, sender);
            id
        };
        let frame = request.encode(id).map_err(|_| LinkClosed)?;
        if tapped {
            self.send(frame).await?;
        } else {
            self.outgoing.send(frame).await.map_err(|_| LinkClosed)?;
        }
        Ok((id, receiver))
    }

    /// Gives the frames of these ids, which are of this slot, to a sink from now on.
    pub fn attach_client(&self, slot: usize, ids: Range<u32>, sink: Rc<dyn ClientSink>) {
        self.routes.borrow_mut().clients.insert(slot, (ids, sink));
    }

    /// A client has left: its sessions end. Returns whether nothing of them is on its way any more, so that the next
    /// owner of the ids sees none of it. A guest that does not say so in time may still send some.
    pub async fn detach_client(self: &Rc<Self>, slot: usize) -> bool {
        self.routes.borrow_mut().clients.remove(&slot);
        let ids = client_ids(slot);
        self.exec_log.borrow_mut().forget(&ids);
        let notice = ClientDisconnected { id_start: ids.start, id_end_exclusive: ids.end };
        let notice = Message::from(notice).encode(LINK_ID);
        let link = self.clone();
        // A task of its own: the guest is told in any case, as soon as it takes anything, and before it hears of the
        // slot's next owner, whose frames queue up behind.
        let settled = tokio::task::spawn_local(async move {
            if let Ok(frame) = notice {
                let _ = link.outgoing.send(frame).await;
            }
            let leaving = link.leaving.clone();
            let Ok(_permit) = leaving.acquire().await else { return };
            // The guest answers in order. A link that closes ends the wait as well: it drops its routes.
            let answers = link.own_session(Ping {}.into(), false).await;
            // Held no longer: it would keep a link open that nobody else wants.
            drop(link);
            if let Ok((_, mut answers)) = answers {
                let _ = answers.recv().await;
            }
        });
        within(LEAVING_PATIENCE, settled).await.is_ok()
    }

    fn route(&self, frame: Frame, events: &mpsc::Sender<Message>) {
        let id = frame.id();
        if id == LINK_ID {
            let Ok(message) = Message::decode(&frame) else { return };
            let said = match message {
                Message::Ready(_) | Message::BootFailed(_) => &self.said.0,
                Message::Shutdown(_) => &self.said.1,
                _ => return,
            };
            if !said.replace(true) {
                let _ = events.try_send(message);
            }
            return;
        }
        self.exec_log.borrow_mut().frame(&frame);
        if id >= OWN_IDS_START {
            let terminal = frame.flags().contains(Flags::TERMINAL);
            let mut routes = self.routes.borrow_mut();
            if let (Some(sender), Ok(message)) = (routes.own.get(&id), Message::decode(&frame)) {
                // Output is for the log alone, unless there is room: what decides comes last and finds some.
                let room = if terminal { 0 } else { OWN_SESSION_MESSAGES / 2 };
                if sender.capacity() > room {
                    let _ = sender.try_send(message);
                }
            }
            if terminal {
                routes.own.remove(&id);
            }
            return;
        }
        let slot = ((id - 1) / IDS_PER_CLIENT) as usize;
        // The sink is taken out first: delivering may drop the client, which changes the routes.
        let client = self.routes.borrow().clients.get(&slot).cloned();
        if let Some((ids, sink)) = client
            && ids.contains(&id)
        {
            sink.deliver(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::latest::{ExecExited, Ready, Shutdown};

    /// A link, the guest's end of it, and what comes from the guest's agent itself.
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

    /// A guest that has closed its end alone still takes what it is sent.
    #[test]
    fn nobody_waits_for_a_guest_that_says_nothing_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&event_loop, async {
            let (link, mut guest, _events) = linked(folder.path());
            let before = link.own_session(Ping {}.into(), false).await;
            guest.shutdown().await.unwrap();
            assert_eq!(link.lost().await, "the guest closed its agent port");
            // Whoever waits already is told, and whoever comes later.
            assert!(before.unwrap().1.recv().await.is_none());
            let patience = std::time::Duration::from_secs(5);
            tokio::time::timeout(patience, link.detach_client(3)).await.expect("it waits for no answer");
            assert!(link.own_session(Ping {}.into(), false).await.is_err());
        });
    }

    #[test]
    fn a_guest_that_talks_a_lot_about_itself_is_still_heard_when_it_has_shut_down() {
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

    /// Its last words lie in the link, unread, when it is gone and takes nothing any more.
    #[test]
    fn what_a_guest_said_last_is_heard_though_it_takes_nothing_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&event_loop, async {
            let (link, mut guest, mut events_in) = linked(folder.path());
            let (id, mut answers) = link.own_session(Ping {}.into(), false).await.unwrap();
            let exited = Message::from(ExecExited { code: 7 });
            let goodbye = Message::from(Shutdown { timeout_ms: None });
            for frame in [exited.encode(id).unwrap(), goodbye.encode(LINK_ID).unwrap()] {
                guest.write_all(frame.as_bytes()).await.unwrap();
            }
            drop(guest);
            // More than the queue holds: the writer has failed before all are sent.
            while link.send(Message::from(Ping {}).encode(id).unwrap()).await.is_ok() {}
            assert_eq!(link.lost().await, "the guest closed its agent port");
            assert_eq!((answers.recv().await, answers.recv().await), (Some(exited), None));
            assert_eq!((events_in.recv().await, events_in.recv().await), (Some(goodbye), None));
        });
    }
}
