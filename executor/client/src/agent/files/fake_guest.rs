//! A guest's agent for tests: files in memory, and any answer that a test wants instead of the true one.

use crate::agent::AgentClient;
use protocol::frame::{Flags, FrameDecoder};
use protocol::latest::{
    FEATURE_FILES, FileAck, FileData, FileFailure, FileFailureKind, FileKind, FileOperation, FileRequest,
    FileResponse, FileStat, Message, Pong, Ready,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    File(Vec<u8>),
    Directory,
    Link(Vec<u8>),
}

/// Answers in place of the guest's own; nothing where it should answer itself.
pub type Override = Box<dyn FnMut(&FileRequest) -> Option<Vec<(Message, Flags)>>>;

#[derive(Default)]
pub struct FakeGuest {
    pub nodes: BTreeMap<String, Node>,
    /// What was asked for, as `write /path`.
    pub asked: Vec<String>,
    pub instead: Option<Override>,
    /// Data frames that came and are not acknowledged yet.
    pub unacknowledged: u64,
    /// Whether it says that it is there.
    pub answers_pings: bool,
    /// The operation that holds the writes to the disk.
    pub frozen: Option<u32>,
    /// Whether the writes were not held all the time.
    pub thaw_fails: bool,
}

pub type Shared = Rc<RefCell<FakeGuest>>;

/// Runs a test with a guest; inside a `LocalSet`.
pub fn run(test: impl AsyncFnOnce(AgentClient, Shared)) {
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&event_loop, async {
        let guest = Shared::default();
        test(connect(&guest, &[FEATURE_FILES]), guest).await;
    });
}

/// One more client of the same guest.
pub fn connect(guest: &Shared, features: &[&str]) -> AgentClient {
    let (host, stream) = UnixStream::pair().unwrap();
    tokio::task::spawn_local(serve(stream, guest.clone()));
    let features = features.iter().map(|feature| (*feature).to_owned()).collect();
    let agent_version = Some("0.0.9".to_owned());
    AgentClient::over(
        host,
        Ready { boot_time_ns: 0, init_time_ns: 0, ready_time_ns: 0, agent_version, features },
    )
}

async fn serve(mut stream: UnixStream, guest: Shared) {
    let (mut decoder, mut buffer) = (FrameDecoder::new(), vec![0; 64 * 1024]);
    let mut writes: HashMap<u32, (FileRequest, Vec<u8>, u64)> = HashMap::new();
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        decoder.feed(&buffer[..count]);
        while let Some(frame) = decoder.next_frame().unwrap() {
            let id = frame.id();
            let answers = match Message::decode(&frame).unwrap() {
                Message::FileRequest(request) => {
                    let instead = guest.borrow_mut().instead.take();
                    let mut answers = None;
                    if let Some(mut instead) = instead {
                        answers = instead(&request);
                        guest.borrow_mut().instead = Some(instead);
                    }
                    match answers {
                        Some(answers) => answers,
                        None if request.op == FileOperation::Write && request.data.is_none() => {
                            writes.insert(id, (request, Vec::new(), 0));
                            Vec::new()
                        }
                        None if request.op == FileOperation::Freeze => {
                            guest.borrow_mut().frozen = Some(id);
                            vec![(FileResponse::done().into(), Flags::NONE)]
                        }
                        None => vec![(guest.borrow_mut().carry_out(&request), Flags::TERMINAL)],
                    }
                }
                Message::FileData(FileData { data }) => match writes.get_mut(&id) {
                    Some((request, _, _)) if data.is_empty() => {
                        let mut request = request.clone();
                        request.data = writes.remove(&id).map(|(_, data, _)| data);
                        guest.borrow_mut().unacknowledged = 0;
                        vec![(guest.borrow_mut().carry_out(&request), Flags::TERMINAL)]
                    }
                    Some((_, kept, frames)) => {
                        kept.extend_from_slice(&data);
                        *frames += 1;
                        // Acknowledges as late as is allowed: a client that sends more has not waited.
                        let mut guest = guest.borrow_mut();
                        guest.unacknowledged += 1;
                        if guest.unacknowledged < protocol::latest::FILE_WINDOW_FRAMES {
                            Vec::new()
                        } else {
                            assert!(stream.try_read(&mut [0]).is_err(), "more than the window was sent");
                            guest.unacknowledged = 0;
                            vec![(FileAck { frames: *frames }.into(), Flags::NONE)]
                        }
                    }
                    None if guest.borrow().frozen == Some(id) => {
                        let mut guest = guest.borrow_mut();
                        guest.frozen = None;
                        let done = FileResponse::done().into();
                        let end = if guest.thaw_fails { failure(FileFailureKind::Other) } else { done };
                        vec![(end, Flags::TERMINAL)]
                    }
                    None => Vec::new(),
                },
                Message::Ping(_) if guest.borrow().answers_pings => vec![(Pong {}.into(), Flags::TERMINAL)],
                _ => Vec::new(),
            };
            for (message, flags) in answers {
                let frame = message.encode_with(id, flags).unwrap();
                stream.write_all(frame.as_bytes()).await.unwrap();
            }
        }
    }
}

pub fn failure(kind: FileFailureKind) -> Message {
    let message = format!("{kind:?}");
    FileResponse::failed(FileFailure { kind, errno: None, errno_name: None, message }).into()
}

impl FakeGuest {
    fn carry_out(&mut self, request: &FileRequest) -> Message {
        let path = String::from_utf8(request.path.clone()).unwrap();
        self.asked.push(format!("{:?} {path}", request.op));
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let makes = !matches!(request.op, FileOperation::Remove | FileOperation::Stat);
        if makes && !request.parents && self.nodes.get(parent) != Some(&Node::Directory) {
            return failure(FileFailureKind::NotFound);
        }
        let there = self.nodes.get(&path).cloned();
        match (request.op, there) {
            (FileOperation::Write | FileOperation::MakeLink, Some(Node::Directory)) => {
                return failure(FileFailureKind::IsDirectory);
            }
            (FileOperation::MakeDirectory, Some(Node::File(_) | Node::Link(_))) => {
                return failure(FileFailureKind::AlreadyExists);
            }
            (FileOperation::Write, _) => {
                self.nodes.insert(path, Node::File(request.data.clone().unwrap()));
            }
            (FileOperation::MakeLink, _) => {
                self.nodes.insert(path, Node::Link(request.data.clone().unwrap()));
            }
            (FileOperation::MakeDirectory, _) => {
                self.nodes.insert(path, Node::Directory);
            }
            (FileOperation::Remove, _) => {
                let below = format!("{path}/");
                if !request.recursive && self.nodes.keys().any(|node| node.starts_with(&below)) {
                    return failure(FileFailureKind::DirectoryNotEmpty);
                }
                self.nodes.retain(|node, _| *node != path && !node.starts_with(&below));
            }
            (FileOperation::Stat, Some(_)) => {
                let kind = FileKind::File;
                let stat = FileStat { kind, mode: 0, uid: 0, gid: 0, size: 0, modified_ns: 0, target: None };
                return FileResponse { stat: Some(stat), ..FileResponse::done() }.into();
            }
            _ => return failure(FileFailureKind::NotFound),
        }
        FileResponse::done().into()
    }
}
