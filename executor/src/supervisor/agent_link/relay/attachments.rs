//! The jobs that one client of the relay is attached to.

use crate::supervisor::agent_link::jobs::{Attachment, Job};
use crate::supervisor::agent_link::link::{ClientSink, Link};
use protocol::frame::{Flags, Frame};
use protocol::latest::{Envelope, ErrorKind, ErrorReport, ExecSignal, ExecStdin, JobAttach, Message};
use std::collections::HashMap;
use std::rc::Rc;

/// The most jobs that one client is attached to at once.
const ATTACHMENTS_MAX: usize = 64;
/// The type of a request to attach.
const ATTACH_TYPE: &str = "core.job.attach";

/// The sessions of a client with jobs, by the client's id. Dropping it detaches the client.
pub struct Attachments {
    sink: Rc<dyn ClientSink>,
    sessions: HashMap<u32, (Rc<Job>, Rc<Attachment>)>,
}

impl Attachments {
    /// Creates the attachments of a client that has none yet.
    pub fn new(sink: Rc<dyn ClientSink>) -> Self {
        Self { sink, sessions: HashMap::new() }
    }

    /// Handles a frame of the client that concerns a job. Returns the frames for the guest.
    pub fn translate(&mut self, frame: Frame, link: &Link) -> Vec<Frame> {
        let id = frame.id();
        self.sessions.retain(|_, (job, _)| job.runs());
        if let Some((job, client)) = self.sessions.get(&id) {
            return match Message::decode(&frame) {
                Ok(message) => of_session(message, job, client),
                Err(_) => Vec::new(),
            };
        }
        let starts = frame.flags().contains(Flags::SESSION_START);
        match starts.then(|| attach_request(&frame)).flatten() {
            Some(request) => self.attach(id, &request, link),
            None => vec![frame],
        }
    }

    fn attach(&mut self, id: u32, request: &JobAttach, link: &Link) -> Vec<Frame> {
        let number = request.job;
        let (kind, message) = match link.jobs().get(number) {
            Some(job) if job.runs() && self.sessions.len() < ATTACHMENTS_MAX => {
                let client = job.attach(self.sink.clone(), id);
                let sizes = job.resize(request.rows, request.cols, true);
                self.sessions.insert(id, (job.clone(), client));
                return encode(sizes, &job);
            }
            Some(job) if job.runs() => {
                (ErrorKind::Unavailable, format!("a client attaches to at most {ATTACHMENTS_MAX} jobs"))
            }
            Some(_) => (ErrorKind::Unavailable, format!("job {number} has ended")),
            None => (ErrorKind::WrongSession, format!("there is no job {number}")),
        };
        let report = ErrorReport { kind, message, message_type: Some(ATTACH_TYPE.to_owned()) };
        if let Ok(frame) = Message::from(report).encode(id) {
            self.sink.deliver(frame);
        }
        Vec::new()
    }
}

/// Returns the request to attach in a frame; `None` if it is another message, or invalid. An invalid one is left to the
/// guest's agent, which explains it.
fn attach_request(frame: &Frame) -> Option<JobAttach> {
    let envelope = Envelope::decode(frame).ok().filter(|envelope| envelope.t == ATTACH_TYPE)?;
    match Message::from_envelope(envelope) {
        Ok(Message::JobAttach(request)) => Some(request),
        _ => None,
    }
}

/// Handles a message of a client to a job. Returns the frames for the guest.
fn of_session(message: Message, job: &Rc<Job>, client: &Rc<Attachment>) -> Vec<Frame> {
    match message {
        Message::ExecStdin(ExecStdin { data }) if job.take_input(client, data.len() as u64) => {
            encode([ExecStdin { data }], job)
        }
        Message::ExecOutputAck(ack) => {
            client.take_output_ack(ack);
            job.catch_up(client);
            Vec::new()
        }
        Message::ExecResize(size) => encode(job.resize(size.rows, size.cols, false), job),
        Message::ExecSignal(ExecSignal { signal: signal @ 1..=64 }) => encode([ExecSignal { signal }], job),
        _ => Vec::new(),
    }
}

/// Encodes messages to a job in the guest.
fn encode(messages: impl IntoIterator<Item = impl Into<Message>>, job: &Job) -> Vec<Frame> {
    messages.into_iter().filter_map(|message| message.into().encode(job.session()).ok()).collect()
}
