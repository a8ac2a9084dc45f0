//! What is between the client and the server.

use super::cpu::{Threads, named};
use super::server::{Server, provider};
use super::{BYPASSED_HOST, HOST, Result};
use executor_intercept::{
    Authority, Connection, ExtraCa, Handle, Inject, Interceptor, Protocol, Rules, Secret, Settings, Value,
};
use rules::rule::DomainName;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use schemas::spec::OnViolation;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The time that another program has to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The buffer of each direction of the relay: that of the proxy.
const COPY_BYTES: usize = 32 * 1024;
/// The name of the thread of the proxy.
const PROXY_THREAD: &str = "intercept";
/// The name of the thread of the relay.
const RELAY_THREAD: &str = "relay";

/// A contender of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Direct,
    /// The proxy, which copies the bytes of a bypassed host.
    Bypass,
    /// A relay that ends TLS on both sides and copies what is in it.
    Relay,
    /// The proxy without a secret.
    Intercept,
    /// The proxy with a secret for the host.
    Secret,
}

/// A running contender.
pub struct Contender {
    /// Its name in the output.
    pub name: &'static str,
    /// The address for clients.
    pub address: SocketAddr,
    /// The CA that signs what clients see.
    pub ca: CertificateDer<'static>,
    /// The host that clients ask for.
    pub host: &'static str,
    threads: Threads,
    _interceptor: Option<Interceptor>,
    child: Option<Child>,
    _folder: Option<tempfile::TempDir>,
}

impl Drop for Contender {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Contender {
    /// The CPU time that it has used until now.
    pub fn cpu_time(&self) -> Duration {
        self.threads.cpu_time()
    }

    /// Starts one of this process.
    pub fn start(kind: Kind, server: &Server) -> Result<Self> {
        let contender = |name, address, ca| Self {
            name,
            address,
            ca,
            host: HOST,
            threads: Threads::None,
            _interceptor: None,
            child: None,
            _folder: None,
        };
        match kind {
            Kind::Direct => Ok(contender("direct", server.address, server.ca.clone())),
            Kind::Relay => {
                let mut contender = contender("relay", relay(server)?, server.ca.clone());
                contender.threads = Threads::new(RELAY_THREAD, &BTreeSet::new());
                Ok(contender)
            }
            Kind::Bypass | Kind::Intercept | Kind::Secret => {
                let folder = tempfile::tempdir()?;
                let others = named(PROXY_THREAD);
                let authority = Authority::open_or_create(&folder.path().join("tls"), "bench")?;
                let own = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes())?;
                let interceptor =
                    Interceptor::start(Settings::new(authority, rules(kind, server)?, Box::new(drop)))?;
                let address = front(interceptor.handle(), server.address)?;
                let (name, host, ca) = match kind {
                    Kind::Bypass => ("bypass", BYPASSED_HOST, server.ca.clone()),
                    Kind::Secret => ("secret", HOST, own),
                    _ => ("intercept", HOST, own),
                };
                let mut contender = contender(name, address, ca);
                (contender.host, contender._interceptor, contender._folder) =
                    (host, Some(interceptor), Some(folder));
                contender.threads = Threads::new(PROXY_THREAD, &others);
                Ok(contender)
            }
        }
    }

    /// Starts mitmproxy in front of the server.
    pub fn mitmproxy(program: &Path, server: &Server) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let child = Command::new(program)
            .arg("--quiet")
            .args(["--mode", &format!("reverse:https://{}", server.address)])
            .args(["--listen-host", "127.0.0.1", "--listen-port", &port.to_string()])
            .arg("--set")
            .arg(format!("confdir={}", folder.path().display()))
            // The server has no name in this mode that its certificate could be verified for. It does that much less.
            .args(["--set", "ssl_insecure=true"])
            // It would buffer large bodies.
            .args(["--set", "stream_large_bodies=64k", "--set", "keep_host_header=true"])
            .args(["--set", "connection_strategy=lazy"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        let mut contender = Self {
            name: "mitmproxy",
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            ca: server.ca.clone(),
            host: HOST,
            threads: Threads::Process(child.id()),
            _interceptor: None,
            child: Some(child),
            _folder: None,
        };
        let began = Instant::now();
        let own = folder.path().join("mitmproxy-ca-cert.pem");
        while !own.exists() || TcpStream::connect(contender.address).is_err() {
            if began.elapsed() > START_TIMEOUT {
                return Err("mitmdump does not start".into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        contender.ca = CertificateDer::from_pem_file(&own)?;
        contender._folder = Some(folder);
        Ok(contender)
    }
}

fn rules(kind: Kind, server: &Server) -> Result<Rules> {
    let hosts =
        |name: &str| Ok::<_, Box<dyn std::error::Error + Send + Sync>>(BTreeSet::from([name.parse()?]));
    let secret = Secret {
        name: "TOKEN".to_owned(),
        placeholder: "$MSB_TOKEN".to_owned(),
        value: Value::new(b"a-value-of-some-length-5a1f".to_vec()),
        hosts: hosts(HOST)?,
        passthrough_hosts: BTreeSet::new(),
        on_violation: OnViolation::BlockAndLog,
        inject: Inject { headers: true, basic_auth: true, ..Inject::default() },
        require_tls: true,
    };
    Ok(Rules {
        secrets: if kind == Kind::Secret { vec![secret] } else { Vec::new() },
        bypass: hosts(BYPASSED_HOST)?,
        cas: vec![ExtraCa { certificates: vec![server.ca.clone()], hosts: BTreeSet::new() }],
    })
}

/// Hands connections over as the network does.
fn front(handle: Handle, server: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let names: Arc<[DomainName]> = [DomainName::new(HOST)?, DomainName::new(BYPASSED_HOST)?].into();
    std::thread::spawn(move || {
        for guest in listener.incoming().flatten() {
            let Ok(upstream) = TcpStream::connect(server) else { continue };
            if guest.set_nonblocking(true).is_ok() && upstream.set_nonblocking(true).is_ok() {
                let (remote, names, kind) = (server, Arc::clone(&names), Protocol::Tls);
                handle.intercept(Connection { guest, upstream, remote, names, kind });
            }
        }
    });
    Ok(address)
}

/// Starts a relay on one thread: the least that a proxy does that sees what is in TLS.
fn relay(server: &Server) -> Result<SocketAddr> {
    let mut roots = RootCertStore::empty();
    roots.add(server.ca.clone())?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let acceptor = TlsAcceptor::from(Arc::clone(&server.config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let (address, upstream) = (listener.local_addr()?, server.address);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(RELAY_THREAD.to_owned()).spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((guest, _)) = listener.accept().await {
                let (connector, acceptor) = (connector.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let _ = guest.set_nodelay(true);
                    let upstream = tokio::net::TcpStream::connect(upstream).await?;
                    let _ = upstream.set_nodelay(true);
                    let mut guest = acceptor.accept(guest).await?;
                    let name = ServerName::try_from(HOST).map_err(std::io::Error::other)?;
                    let mut upstream = connector.connect(name, upstream).await?;
                    tokio::io::copy_bidirectional_with_sizes(
                        &mut guest,
                        &mut upstream,
                        COPY_BYTES,
                        COPY_BYTES,
                    )
                    .await
                });
            }
        });
    })?;
    Ok(address)
}
