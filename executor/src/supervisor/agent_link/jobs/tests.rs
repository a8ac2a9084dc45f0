//! Jobs with a guest that says anything, and clients that do not read.

use super::*;
use protocol::frame::{Flags, Frame};
use protocol::latest::{
    ErrorReport, ExecFailed, ExecOutputAck, ExecStarted, ExecStderr, ExecStdinAck, ExecStdout, FailureKind,
    OUTPUT_WINDOW_BYTES, Pong, STDIN_WINDOW_BYTES,
};

/// A client that keeps what it receives.
#[derive(Default)]
struct Client(RefCell<Vec<Frame>>);

impl ClientSink for Client {
    fn deliver(&self, frame: Frame) {
        self.0.borrow_mut().push(frame);
    }
}

impl Client {
    /// Returns the messages since the last call.
    fn messages(&self) -> Vec<Message> {
        let frames = self.0.take();
        assert!(frames.iter().all(|frame| frame.id() == 9), "the frames have the client's id");
        frames.iter().map(|frame| Message::decode(frame).unwrap()).collect()
    }

    /// Returns the output since the last call, with `-N` for N skipped bytes.
    fn output(&self) -> String {
        let text = |message| match message {
            Message::ExecStdout(output) => String::from_utf8(output.data).unwrap(),
            Message::ExecStderr(output) => String::from_utf8(output.data).unwrap(),
            Message::JobOutputSkipped(skipped) => format!("-{}", skipped.bytes),
            Message::JobAttached(_) => String::new(),
            other => panic!("{other:?}"),
        };
        self.messages().into_iter().map(text).collect()
    }
}

fn job(kind: JobKind) -> Job {
    let request = ExecRequest { tty: kind.stdin(), ..ExecRequest::command(&["sh".to_owned()]) };
    Job::new(3, u32::MAX - 1, kind, &request)
}

fn running(stdin: bool) -> Job {
    let job = job(JobKind::Detached { stdin });
    job.receive(ExecStarted { pid: 7 }.into(), false);
    job
}

fn prints(job: &Job, text: &str) {
    job.receive(ExecStdout { data: text.into() }.into(), false);
}

#[test]
fn clients_receive_recent_and_new_output_until_the_end() {
    let job = running(false);
    prints(&job, "before\n");
    let (first, second) = (Rc::new(Client::default()), Rc::new(Client::default()));
    let attached = job.attach(first.clone(), 9);
    assert_eq!(
        first.messages(),
        [
            JobAttached { pid: 7, tty: false, stdin: false }.into(),
            ExecStdout { data: b"before\n".to_vec() }.into()
        ]
    );
    prints(&job, "one\n");
    let other = job.attach(second.clone(), 9);
    job.receive(ExecStderr { data: b"two\n".to_vec() }.into(), false);
    assert_eq!((first.output().as_str(), second.output().as_str()), ("one\ntwo\n", "before\none\ntwo\n"));
    assert_eq!(job.report().unwrap().attached, 2);
    drop(other);
    assert_eq!(job.report().unwrap().attached, 1);
    prints(&job, "three\n");
    let exited = ExecExited { code: 143, signal: Some(15) };
    job.receive(exited.clone().into(), true);
    assert_eq!(first.messages(), [ExecStdout { data: b"three\n".to_vec() }.into(), exited.into()]);
    assert!(second.messages().is_empty());
    let report = job.report().unwrap();
    assert_eq!((report.state, report.attached), (JobState::Signalled { signal: 15 }, 0));
    assert_eq!(report.state.exit_code(), Some(143));
    drop(attached);
}

#[test]
fn a_client_that_does_not_read_skips_output_and_delays_no_one() {
    let job = running(false);
    let (slow, quick) = (Rc::new(Client::default()), Rc::new(Client::default()));
    let slow_attached = job.attach(slow.clone(), 9);
    let quick_attached = job.attach(quick.clone(), 9);
    let piece = "x".repeat(64 * 1024);
    let mut sent = 0;
    for _ in 0..40 {
        prints(&job, &piece);
        sent += piece.len() as u64;
        quick_attached.take_output_ack(ExecOutputAck { bytes: sent });
    }
    prints(&job, "last\n");
    assert!(quick.output().ends_with("last\n"));
    let received = slow.output();
    assert_eq!(received.len() as u64, OUTPUT_WINDOW_BYTES, "no more than the window was sent");
    // An acknowledgement of more than was sent counts as one of all.
    slow_attached.take_output_ack(ExecOutputAck { bytes: u64::MAX });
    job.catch_up(&slow_attached);
    let rest = slow.output();
    let (skipped, recent) = rest[1..].split_once('x').unwrap();
    let skipped: u64 = skipped.parse().unwrap();
    assert_eq!(OUTPUT_WINDOW_BYTES + skipped + 1 + recent.len() as u64, sent + 5);
    assert!(recent.ends_with("last\n") && recent.len() <= 64 * 1024, "{} bytes", recent.len());
    prints(&job, "and on\n");
    assert_eq!(slow.output(), "and on\n");
}

#[test]
fn the_end_of_a_job_reaches_a_client_that_does_not_read() {
    let job = running(false);
    let slow = Rc::new(Client::default());
    let attached = job.attach(slow.clone(), 9);
    for _ in 0..40 {
        prints(&job, &"x".repeat(64 * 1024));
    }
    job.receive(ExecExited::with_code(3).into(), true);
    let messages = slow.messages();
    assert_eq!(messages.last(), Some(&ExecExited::with_code(3).into()));
    assert!(messages.iter().any(|message| matches!(message, Message::JobOutputSkipped(_))));
    drop(attached);
}

#[test]
fn input_is_acknowledged_to_the_client_that_sent_it() {
    let job = running(true);
    let (first, second) = (Rc::new(Client::default()), Rc::new(Client::default()));
    let (one, two) = (job.attach(first.clone(), 9), job.attach(second.clone(), 9));
    assert!(job.take_input(&one, 5) && job.take_input(&two, 3) && job.take_input(&one, 2));
    first.messages();
    second.messages();
    let acks = |client: &Client| client.messages();
    job.receive(ExecStdinAck { bytes: 6 }.into(), false);
    assert_eq!(acks(&first), [ExecStdinAck { bytes: 5 }.into()]);
    assert_eq!(acks(&second), [ExecStdinAck { bytes: 1 }.into()]);
    // A guest that acknowledges less than before, and more than it got.
    job.receive(ExecStdinAck { bytes: 2 }.into(), false);
    job.receive(ExecStdinAck { bytes: u64::MAX }.into(), false);
    assert_eq!(acks(&first), [ExecStdinAck { bytes: 7 }.into()]);
    assert_eq!(acks(&second), [ExecStdinAck { bytes: 3 }.into()]);
}

#[test]
fn input_is_bounded_and_refused_to_a_job_without_it() {
    let job = running(true);
    let client = Rc::new(Client::default());
    let attached = job.attach(client.clone(), 9);
    let mut taken = 0;
    while job.take_input(&attached, STDIN_WINDOW_BYTES as u64) {
        taken += 1;
    }
    assert_eq!(taken, 8);
    assert!(matches!(client.messages()[1..], [Message::ExecStdinError(_), Message::ExecStdinAck(_)]));
    // Of two clients in turn, the number of parts is bounded.
    let job = running(true);
    let (one, two) = (job.attach(client.clone(), 9), job.attach(client.clone(), 9));
    let parts = (0..5_000).take_while(|part| job.take_input(if part % 2 == 0 { &one } else { &two }, 1));
    assert_eq!(parts.count(), 1024);

    let without = running(false);
    client.0.take();
    let attached = without.attach(client.clone(), 9);
    assert!(!without.take_input(&attached, 4) && !without.take_input(&attached, 0));
    assert!(matches!(client.messages()[1..], [Message::ExecStdinError(_), Message::ExecStdinAck(_)]));
}

#[test]
fn a_size_that_a_terminal_has_already_is_set_twice_for_a_new_client() {
    let job = running(true);
    let size = |rows, cols| ExecResize { rows, cols };
    assert_eq!(job.resize(24, 80, true), [size(24, 81), size(24, 80)]);
    assert_eq!(job.resize(24, 80, false), [size(24, 80)]);
    assert_eq!(job.resize(50, 100, true), [size(50, 100)]);
    assert!(job.resize(0, 0, true).is_empty());
    assert!(running(false).resize(24, 80, true).is_empty());
}

/// Whatever the last frame of a guest is, the job ends with it.
#[tokio::test]
async fn a_last_frame_ends_a_job() {
    let failed = ExecFailed {
        kind: FailureKind::NotFound,
        errno: None,
        errno_name: None,
        message: "no\u{1b}such".to_owned(),
        stage: None,
    };
    let reported = ErrorReport { kind: ErrorKind::Other, message: "x".repeat(100_000), message_type: None };
    let lasts: [Message; 5] = [
        failed.into(),
        reported.into(),
        Pong {}.into(),
        ExecStarted { pid: 1 }.into(),
        ExecStdout { data: b"x".to_vec() }.into(),
    ];
    for last in lasts {
        let job = job(JobKind::Main);
        job.receive(last.clone(), true);
        match (job.ended().await, last) {
            (Life::NotStarted { code: 127, message }, Message::ExecFailed(_)) => {
                assert!(!message.contains('\u{1b}'), "{message}");
            }
            (Life::Refused { message }, Message::Error(_)) => assert!(message.len() < 10_000),
            (Life::Lost, _) => {}
            (life, last) => panic!("{last:?}: {life:?}"),
        }
        assert_eq!(job.report(), None);
    }
}

#[test]
fn the_loss_of_the_guest_is_reported_to_clients() {
    let job = running(false);
    let client = Rc::new(Client::default());
    let attached = job.attach(client.clone(), 9);
    job.lose();
    let messages = client.0.take();
    let last = messages.last().unwrap();
    assert!(last.flags().contains(Flags::TERMINAL));
    assert!(matches!(Message::decode(last), Ok(Message::Error(_))));
    drop(attached);
}

#[test]
fn a_bounded_number_of_ended_jobs_is_kept() {
    let jobs = Jobs::default();
    let add = |number, ends| {
        let request = ExecRequest::command(&["sh".to_owned()]);
        let job = Rc::new(Job::new(number, 1, JobKind::Detached { stdin: false }, &request));
        job.receive(ExecStarted { pid: 7 }.into(), false);
        if ends {
            job.receive(ExecExited::with_code(0).into(), true);
        }
        jobs.add(job);
    };
    add(1, false);
    (2..500).for_each(|number| add(number, true));
    let kept: Vec<u64> = jobs.reports().iter().map(|report| report.id).collect();
    assert_eq!((kept.len(), kept[0], kept[1], kept[64]), (65, 1, 436, 499));
    assert!(jobs.get(1).is_some() && jobs.get(2).is_none());
}

#[test]
fn the_record_of_a_command_is_bounded() {
    let long: Vec<String> = (0..50_000).map(|_| String::new()).collect();
    for words in [vec!["é".repeat(100_000)], long] {
        let request = ExecRequest::command(&words);
        let kept = clipped(&request);
        let bytes: usize = kept.iter().map(|word| word.len() + 1).sum();
        assert!(bytes <= COMMAND_BYTES_MAX + 8, "{bytes}");
        assert!(kept.last().unwrap().ends_with('…'));
    }
    assert_eq!(clipped(&ExecRequest::command(&["a".to_owned(), "b".to_owned()])), ["a", "b"]);
}
