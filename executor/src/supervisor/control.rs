//! The supervisor's side of the control socket.

use crate::secrets;
use crate::supervisor::agent_link::detached;
use crate::supervisor::agent_link::jobs::Job;
use crate::supervisor::agent_link::link::{Link, LinkClosed};
use crate::supervisor::agent_link::relay::{ReadyGuest, accept};
use crate::supervisor::logs::broadcast::Subscriber;
use crate::supervisor::machine::with_causes;
use crate::supervisor::state_store::StateStore;
use executor_client::control::{Event, LineReader, Request, write_line};
use executor_client::deadline::{SIGNAL_TIMEOUT, within};
use executor_host::state::{Phase, State};
use executor_log::Entry;
use protocol::latest::{ExecSignal, Message, Ping};
use std::future::ready;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// The timeout of pausing or resuming a machine. Requests to disks that are under way are waited for.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The guest; `None` while it is not up.
pub type Guests = watch::Receiver<Option<ReadyGuest>>;

/// Accepts clients forever.
pub async fn serve(listener: UnixListener, store: Rc<StateStore>, guests: Guests) {
    loop {
        let stream = accept(&listener, "control").await;
        tokio::task::spawn_local(serve_client(stream, store.clone(), guests.clone()));
    }
}

/// Serves one client until it disconnects or the sandbox has ended.
pub async fn serve_client(stream: UnixStream, store: Rc<StateStore>, guests: Guests) {
    let _busy = store.client();
    let (reader, mut writer) = stream.into_split();
    let mut reader = LineReader::new(reader);
    // A client that disconnects or sends invalid requests affects no one else.
    let _ = serve_session(&mut reader, &mut writer, &store, &guests).await;
}

async fn serve_session(
    reader: &mut LineReader,
    writer: &mut OwnedWriteHalf,
    store: &StateStore,
    guests: &Guests,
) -> io::Result<()> {
    let mut states = store.states();
    let (mut watching, mut stopping) = (false, false);
    let mut subscriber: Option<Subscriber> = None;
    // The request that is being answered, and the next one.
    let mut pending: Option<Pending> = None;
    let mut waiting: Option<Request> = None;
    loop {
        let request = tokio::select! {
            answer = answered(&mut pending), if pending.is_some() => {
                pending = None;
                write_line(writer, &answer).await?;
                match waiting.take() {
                    Some(request) => Some(request),
                    None => continue,
                }
            }
            request = reader.next::<Request>(), if waiting.is_none() => match request? {
                Some(request) if pending.is_some() => {
                    waiting = Some(request);
                    continue;
                }
                request => request,
            },
            changed = states.changed(), if watching || stopping || subscriber.is_some() => {
                let state = states.borrow_and_update().clone();
                let is_final = state.is_final();
                if watching {
                    write_line(writer, &Event::State { state: Box::new(state) }).await?;
                }
                if is_final && stopping {
                    write_line(writer, &Event::Done).await?;
                }
                if is_final || changed.is_err() {
                    // All output has been queued by now.
                    while let Some(entry) = subscriber.as_ref().and_then(Subscriber::try_next) {
                        write_line(writer, &Event::Output(entry)).await?;
                    }
                    return Ok(());
                }
                continue;
            }
            Some(entry) = received(subscriber.as_ref()) => {
                write_line(writer, &Event::Output(entry)).await?;
                continue;
            }
        };
        let descriptor = reader.take_descriptor();
        match request {
            None => return Ok(()),
            // The current state counts as a change.
            Some(Request::Watch) => {
                watching = true;
                states.mark_changed();
            }
            Some(Request::Listen) => {
                subscriber.get_or_insert_with(|| store.subscribe_output());
                states.mark_changed();
            }
            Some(Request::Stop { timeout_ms, kill }) => {
                store.request_stop(Duration::from_millis(timeout_ms));
                if kill {
                    store.request_kill();
                }
                stopping = true;
                states.mark_changed();
            }
            Some(Request::Pause { paused }) => {
                let answer = pause(store, paused).await;
                write_line(writer, &answer).await?;
            }
            Some(
                request @ (Request::Exec { .. }
                | Request::Jobs
                | Request::WaitJob { .. }
                | Request::SignalJob { .. }),
            ) => {
                let guest = guests.borrow().clone();
                match guest {
                    Some(guest) => pending = Some(begin(request, guest.link)),
                    None => write_line(writer, &refused("the sandbox is not up")).await?,
                }
            }
            Some(request @ (Request::CompareValues | Request::ReplaceValues)) => {
                let replaces = matches!(request, Request::ReplaceValues);
                let answer = values(store, descriptor, replaces);
                write_line(writer, &answer.unwrap_or_else(|message| refused(&message))).await?;
            }
            Some(Request::Update { spec }) => {
                let answer = match store.update(*spec) {
                    Ok(()) => Event::Done,
                    Err(error) => Event::Refused { message: with_causes(&error) },
                };
                write_line(writer, &answer).await?;
            }
        }
    }
}

/// Pauses or resumes the machine, and waits until that is done.
async fn pause(store: &StateStore, paused: bool) -> Event {
    let refused = |message: &str| Event::Refused { message: message.to_owned() };
    let is_up = |state: &State| state.phase == Phase::Running && !state.main_ended;
    if paused && (!is_up(&store.state()) || store.is_stopping()) {
        return refused("only a running sandbox can be paused");
    }
    store.request_pause(paused);
    let mut states = store.states();
    let reached = states.wait_for(|state| state.paused == paused || !is_up(state));
    match tokio::time::timeout(PAUSE_TIMEOUT, reached).await {
        Ok(Ok(state)) if state.paused == paused => Event::Done,
        Ok(_) => refused("the sandbox has ended"),
        Err(_) => {
            store.request_pause(false);
            refused(&format!("the virtual machine did not obey within {} s", PAUSE_TIMEOUT.as_secs()))
        }
    }
}

/// Compares the values of a file with those of the sandbox, or replaces those.
fn values(store: &StateStore, file: Option<OwnedFd>, replaces: bool) -> Result<Event, String> {
    let file = file.ok_or("no file of values came with the request")?;
    let values = secrets::receive(file).map_err(|error| error.to_string())?;
    let names = if replaces {
        store.replace_values(&values).map_err(|error| with_causes(&error))?
    } else {
        store.values().differing(&values)
    };
    Ok(Event::ValuesDiffer { names })
}

/// An answer that takes time.
enum Pending {
    /// A task of its own, which survives a disconnect of the client.
    Task(tokio::task::JoinHandle<Event>),
    /// It ends with the client.
    OfClient(Pin<Box<dyn Future<Output = Event>>>),
}

/// Begins to answer a request to the guest.
fn begin(request: Request, link: Rc<Link>) -> Pending {
    match request {
        // The id of a command that is being started stays in use without its client.
        Request::Exec { command, stdin } => {
            let start = async move { detached::start(&link, *command, stdin).await };
            Pending::Task(tokio::task::spawn_local(start))
        }
        Request::WaitJob { job } => {
            let found = link.jobs().get(job);
            // The link would otherwise outlive its machine.
            drop(link);
            Pending::OfClient(Box::pin(wait_for(job, found)))
        }
        Request::SignalJob { job, signal } => {
            Pending::OfClient(Box::pin(async move { signal_job(&link, job, signal).await }))
        }
        _ => Pending::OfClient(Box::pin(ready(Event::Jobs { jobs: link.jobs().reports() }))),
    }
}

fn refused(message: &str) -> Event {
    Event::Refused { message: message.to_owned() }
}

async fn wait_for(number: u64, job: Option<Rc<Job>>) -> Event {
    let Some(job) = job else { return refused(&format!("there is no job {number}")) };
    job.ended().await;
    match job.report() {
        Some(report) => Event::JobEnded { state: report.state },
        None => refused(&format!("the sandbox ended before job {number}")),
    }
}

/// Signals a job, and waits until the guest has handled that.
async fn signal_job(link: &Rc<Link>, number: u64, signal: i32) -> Event {
    let job = match link.jobs().get(number) {
        Some(job) if job.runs() => job,
        Some(_) => return refused(&format!("job {number} has ended")),
        None => return refused(&format!("there is no job {number}")),
    };
    if !(1..=64).contains(&signal) {
        return refused(&format!("there is no signal {signal}"));
    }
    let handled = within(SIGNAL_TIMEOUT, async {
        let frame = Message::from(ExecSignal { signal }).encode(job.session()).ok();
        link.send_all(frame).await?;
        // The guest answers in order.
        let (_, mut answers) = link.own_session(Ping {}.into()).await?;
        answers.recv().await.ok_or(LinkClosed)
    });
    match handled.await {
        Ok(Ok(_)) => Event::Done,
        Ok(Err(LinkClosed)) => refused("the guest has ended"),
        Err(_) => Event::Unresponsive,
    }
}

/// Waits for an answer. Cancel safe.
async fn answered(pending: &mut Option<Pending>) -> Event {
    match pending {
        Some(Pending::Task(task)) => task.await.unwrap_or_else(|_| refused("the sandbox is going down")),
        Some(Pending::OfClient(answer)) => answer.await,
        None => std::future::pending().await,
    }
}

/// Receives the next entry; `None` without a subscriber.
async fn received(subscriber: Option<&Subscriber>) -> Option<Entry> {
    Some(subscriber?.next().await)
}

#[cfg(test)]
mod tests;
