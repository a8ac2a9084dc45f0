//! The interception of TLS and the secrets of one sandbox: its CA, its proxy, and the proxy's events.

use crate::launch::LaunchSpec;
use crate::supervisor::agent_link::exec_logger::ExecLogger;
use crate::supervisor::logs::events::EventLog;
use crate::supervisor::state_store::StateStore;
use crate::supervisor::values::HeldValues;
use crate::supervisor::{SIGNAL_STOP_TIMEOUT, SupervisorError, failed};
use executor_client::event::SandboxEvent;
use executor_host::home::SandboxFolder;
use executor_intercept::{
    Authority, Connection, Event, Inject, Interceptor, Protocol, Rules, Secret, Settings,
};
use executor_net::{InterceptedProtocol, Interception as NetInterception};
use protocol::latest::Trust;
use schemas::spec::{DEFAULT_TLS_PORT, Definition, OnViolation, RequestPart};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The port of plain HTTP, at which secrets that do not require TLS are injected.
const HTTP_PORT: u16 = 80;
/// The most events that wait to be logged.
const EVENTS_WAITING: usize = 256;
/// How long repeats of an event are counted before the next one is logged.
const REPEAT_INTERVAL: Duration = Duration::from_secs(10);
/// The most different events whose repeats are counted.
const TRACKED_MAX: usize = 256;

/// The proxy of a sandbox.
pub struct Interception {
    interceptor: Interceptor,
    values: Rc<HeldValues>,
    certificate: String,
    events: RefCell<Option<mpsc::Receiver<Event>>>,
}

impl Interception {
    /// Starts the proxy of a sandbox that needs one.
    pub fn prepare(
        launch: &LaunchSpec,
        folder: &SandboxFolder,
        values: Rc<HeldValues>,
    ) -> Result<Option<Rc<Self>>, SupervisorError> {
        let definition = &launch.spec.definition;
        let ports = Ports::of(definition);
        if ports.tls.is_empty() && ports.http.is_empty() {
            return Ok(None);
        }
        let authority = Authority::open_or_create(&folder.tls(), &launch.full_name)
            .map_err(failed("make the CA of the sandbox"))?;
        let certificate = authority.certificate_pem().to_owned();
        let rules = rules(definition, &values).map_err(failed("read the CAs of `tls`"))?;
        let (sent, events) = mpsc::channel(EVENTS_WAITING);
        let settings = Settings::new(authority, rules, Box::new(move |event| drop(sent.try_send(event))));
        let interceptor = Interceptor::start(settings).map_err(failed("start the TLS proxy"))?;
        Ok(Some(Rc::new(Self { interceptor, values, certificate, events: RefCell::new(Some(events)) })))
    }

    /// Which connections the network hands over.
    pub fn of_network(&self, definition: &Definition) -> NetInterception {
        let Ports { tls, http } = Ports::of(definition);
        let handle = self.interceptor.handle();
        let take_over = move |connection: executor_net::Intercepted| {
            let executor_net::Intercepted { guest, upstream, remote, names, protocol } = connection;
            let kind = match protocol {
                InterceptedProtocol::Tls => Protocol::Tls,
                InterceptedProtocol::Http => Protocol::PlainHttp,
            };
            handle.intercept(Connection { guest, upstream, remote, names, kind });
        };
        NetInterception { tls_ports: tls, http_ports: http, take_over: Box::new(take_over) }
    }

    /// Follows another definition, which differs only in what changes live, and the current values.
    pub fn follow(&self, definition: &Definition) -> io::Result<()> {
        self.interceptor.set_rules(rules(definition, &self.values)?);
        Ok(())
    }

    /// What the guest has to trust; `None` if no TLS is intercepted.
    pub fn trust(&self, definition: &Definition) -> Option<Trust> {
        let intercepts = !Ports::of(definition).tls.is_empty();
        intercepts.then(|| Trust { ca_pem: self.certificate.clone() })
    }

    /// Logs the proxy's events, until the proxy ends. The first caller alone gets them.
    pub async fn log_events(
        self: Rc<Self>,
        store: Rc<StateStore>,
        (exec_log, log): (Rc<RefCell<ExecLogger>>, Rc<RefCell<EventLog>>),
    ) {
        let Some(mut events) = self.events.borrow_mut().take() else { return };
        drop(self);
        let mut repeats = Repeats::default();
        while let Some(event) = events.recv().await {
            let is_silent = action(&event) == Some(OnViolation::Block);
            let ends = action(&event) == Some(OnViolation::BlockAndTerminate);
            let text = event.to_string();
            if let Some(count) = repeats.count(&text, Instant::now()) {
                let event = sandbox_event(&event, text, count);
                if !is_silent {
                    exec_log.borrow_mut().system(&format!("network: {event}"));
                }
                log.borrow_mut().write(&event);
            }
            if ends {
                exec_log
                    .borrow_mut()
                    .system("the sandbox is stopped, as its secret says `block-and-terminate`");
                store.request_stop(SIGNAL_STOP_TIMEOUT);
            }
        }
    }
}

/// Returns what a secret says of the event; `None` if the event is about none.
fn action(event: &Event) -> Option<OnViolation> {
    match event {
        Event::Violation { violation, .. } => Some(violation.action),
        Event::Refused { .. } | Event::UpstreamFailed { .. } => None,
    }
}

/// Returns the event for the log.
fn sandbox_event(event: &Event, text: String, count: u64) -> SandboxEvent {
    match event {
        Event::Violation { violation, host, .. } => SandboxEvent::SecretViolation {
            secret: violation.secret.clone(),
            host: host.clone(),
            text,
            count,
        },
        Event::Refused { host, .. } | Event::UpstreamFailed { host, .. } => {
            SandboxEvent::RequestFailed { host: host.clone(), text, count }
        }
    }
}

/// Repeats of events, of which each is logged once in a while.
#[derive(Default)]
struct Repeats(HashMap<String, (Instant, u64)>);

impl Repeats {
    /// Returns how many equal events there were since the last that was logged, this one included; `None` if this one is
    /// not logged.
    fn count(&mut self, text: &str, now: Instant) -> Option<u64> {
        if let Some((logged, waiting)) = self.0.get_mut(text) {
            *waiting += 1;
            if now.saturating_duration_since(*logged) < REPEAT_INTERVAL {
                return None;
            }
            *logged = now;
            return Some(std::mem::take(waiting));
        }
        if self.0.len() >= TRACKED_MAX {
            self.0.retain(|_, (logged, _)| now.saturating_duration_since(*logged) < REPEAT_INTERVAL);
        }
        // A guest that makes up many of them gets no more lines than this.
        if self.0.len() >= TRACKED_MAX {
            return None;
        }
        self.0.insert(text.to_owned(), (now, 0));
        Some(1)
    }
}

/// The ports at which connections are intercepted.
struct Ports {
    tls: BTreeSet<u16>,
    http: BTreeSet<u16>,
}

impl Ports {
    fn of(definition: &Definition) -> Self {
        let Definition { tls, secrets, .. } = definition;
        let intercepts = tls.intercept.unwrap_or(!secrets.is_empty());
        let named: BTreeSet<u16> = tls.ports.iter().map(|port| port.get()).collect();
        let ports = if named.is_empty() { BTreeSet::from([DEFAULT_TLS_PORT]) } else { named };
        let tls = if intercepts { ports } else { BTreeSet::new() };
        let has_plain = secrets.values().any(|secret| !secret.require_tls);
        let http = if has_plain { BTreeSet::from([HTTP_PORT]) } else { BTreeSet::new() };
        Self { http: http.difference(&tls).copied().collect(), tls }
    }
}

/// The rules of the proxy. A secret without a value is not known to it: one that was added needs a restart.
fn rules(definition: &Definition, values: &HeldValues) -> io::Result<Rules> {
    let secrets = definition.secrets.iter().filter_map(|(name, secret)| {
        let inject = Inject {
            headers: secret.inject.contains(&RequestPart::Headers),
            header_names: secret.headers.clone(),
            basic_auth: secret.inject.contains(&RequestPart::BasicAuth),
            query: secret.inject.contains(&RequestPart::Query),
            body: secret.inject.contains(&RequestPart::Body),
        };
        Some(Secret {
            name: name.clone(),
            placeholder: secret.placeholder(name),
            value: values.secret(name)?,
            hosts: secret.hosts.clone(),
            passthrough_hosts: secret.passthrough_hosts.clone(),
            on_violation: secret.on_violation,
            inject,
            require_tls: secret.require_tls,
        })
    });
    let cas = definition.tls.cas.iter().map(crate::secrets::extra_ca).collect::<io::Result<_>>()?;
    Ok(Rules { secrets: secrets.collect(), bypass: definition.tls.bypass.clone(), cas })
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor_intercept::Value;
    use schemas::spec::{Secret as Declared, SecretSource, Tls, ValueName};

    fn secret(require_tls: bool) -> Declared {
        let from = SecretSource::Env { name: "TOKEN".to_owned() };
        Declared { require_tls, ..Declared::new(from, ["api.example.org".parse().unwrap()].into()) }
    }

    fn ports(secrets: &[bool], tls: Tls) -> (Vec<u16>, Vec<u16>) {
        let secrets = secrets.iter().enumerate();
        let secrets = secrets.map(|(number, tls)| (format!("TOKEN_{number}"), secret(*tls))).collect();
        let Ports { tls, http } = Ports::of(&Definition { secrets, tls, ..Definition::default() });
        (tls.into_iter().collect(), http.into_iter().collect())
    }

    #[test]
    fn interception_is_on_with_a_secret_unless_the_file_says_otherwise() {
        let tls = |intercept: Option<bool>, ports: &[u16]| Tls {
            intercept,
            ports: ports.iter().map(|port| (*port).try_into().unwrap()).collect(),
            ..Tls::default()
        };
        for (secrets, tls, expected) in [
            (&[][..], tls(None, &[]), (vec![], vec![])),
            (&[], tls(None, &[8443]), (vec![], vec![])),
            (&[], tls(Some(true), &[]), (vec![443], vec![])),
            (&[true], tls(None, &[]), (vec![443], vec![])),
            (&[true, true], tls(None, &[8443, 443]), (vec![443, 8443], vec![])),
            (&[true, false], tls(None, &[]), (vec![443], vec![80])),
            (&[false], tls(Some(false), &[]), (vec![], vec![80])),
            (&[false], tls(None, &[80]), (vec![80], vec![])),
        ] {
            assert_eq!(ports(secrets, tls.clone()), expected, "{secrets:?} {tls:?}");
        }
    }

    #[test]
    fn only_secrets_with_values_are_given_to_the_proxy() {
        let secrets = ["NEW", "TOKEN"].map(|name| (name.to_owned(), secret(true))).into();
        let definition = Definition { secrets, ..Definition::default() };
        let value = Value::new(b"value".to_vec());
        let values = HeldValues::new([(ValueName::Secret("TOKEN".to_owned()), value)].into());
        let rules = rules(&definition, &values).unwrap();
        let [known] = &rules.secrets[..] else { panic!("{:?}", rules.secrets) };
        assert_eq!((known.name.as_str(), known.placeholder.as_str()), ("TOKEN", "$MSB_TOKEN$"));
        assert!(known.inject.headers && known.inject.basic_auth && !known.inject.query && !known.inject.body);
    }

    #[test]
    fn repeats_are_counted_and_a_flood_is_bounded() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        assert_eq!(repeats.count("a", start), Some(1));
        assert_eq!(repeats.count("a", start), None);
        assert_eq!(repeats.count("b", start), Some(1));
        let later = start + REPEAT_INTERVAL;
        assert_eq!(repeats.count("a", later), Some(2));
        for number in 0..2 * TRACKED_MAX {
            repeats.count(&number.to_string(), later);
        }
        assert!(repeats.0.len() <= TRACKED_MAX);
        assert_eq!(repeats.count("one more", later), None);
        assert_eq!(repeats.count("one more", later + REPEAT_INTERVAL), Some(1));
    }
}
