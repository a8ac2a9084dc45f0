//! From the boot document to `core.ready`.

use super::{BOOT_TIMEOUT, ExitCause, LifeOutcome, Machine, failure, with_causes};
use crate::launch::LaunchSpec;
use crate::supervisor::agent_link::link::Link;
use crate::supervisor::agent_link::relay::ReadyGuest;
use crate::supervisor::devices::volumes::Volumes;
use crate::supervisor::logs::kernel::KernelLog;
use crate::supervisor::network;
use executor_client::guest_text::GuestText;
use protocol::frame::LINK_ID;
use protocol::latest::{
    BOOT_DOCUMENT_VERSION, BootDocument, Clock, Disk as GuestDisk, DiskAt, FEATURE_CLOCK, Message,
};
use schemas::spec::SandboxSpec;
use schemas::spec::limits::OWN_SANDBOXFILE_BYTES_MAX;
use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

impl Machine<'_> {
    /// Tells the guest what it is, and waits until it is up.
    pub(super) async fn boot(
        &self,
        link: &Rc<Link>,
        events: &mut mpsc::Receiver<Message>,
        (spawned, kernel_log): (Instant, &KernelLog),
    ) -> Result<(), LifeOutcome> {
        let spec = self.store.spec();
        let sandboxfile = Some((self.describe)(self.launch, &self.store.declared())).filter(|text| {
            let fits = text.len() <= OWN_SANDBOXFILE_BYTES_MAX;
            if !fits {
                let limit = OWN_SANDBOXFILE_BYTES_MAX >> 10;
                let note = format!("there is no /.msb/Sandboxfile: it would be larger than {limit} KiB");
                self.exec_log.borrow_mut().system(&note);
            }
            fits
        });
        let mut document = boot_document(self.launch, &spec, self.volumes, sandboxfile);
        document.directories = self.store.image().volumes.iter().cloned().collect();
        let frames = document.to_frames().map_err(|error| failure(with_causes(&error)))?;
        for frame in frames {
            if link.send(frame).await.is_err() {
                // It may have said why.
                break;
            }
        }
        let answer = tokio::select! {
            answer = tokio::time::timeout(BOOT_TIMEOUT, events.recv()) => answer,
            _ = self.store.stop_requested() => return Err(ExitCause::Stopped.into()),
        };
        let ready = match answer {
            Ok(Some(Message::Ready(ready))) => ready,
            Ok(Some(Message::BootFailed(failed))) => {
                let why = GuestText::message(failed.message);
                return Err(failure(format!("the guest could not come up: {why}")).into());
            }
            Ok(Some(other)) => {
                let said = GuestText::message(other.message_type());
                return Err(failure(format!("the guest said {said} before it was ready")).into());
            }
            Ok(None) => return Err(LifeOutcome::Lost(link.lost().await)),
            Err(_) => {
                let lines = kernel_log.tail();
                let said = if lines.is_empty() {
                    "nothing".to_owned()
                } else {
                    format!("\n  {}", lines.join("\n  "))
                };
                let seconds = BOOT_TIMEOUT.as_secs();
                let why =
                    format!("the guest did not come up within {seconds}s; its kernel last said: {said}");
                return Err(failure(why).into());
            }
        };
        let boot_ms = u64::try_from(spawned.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.exec_log.borrow_mut().system(&format!("guest ready after {boot_ms} ms"));
        self.store.change(|state| state.boot_ms = Some(boot_ms));
        if ready.features.iter().any(|known| known == FEATURE_CLOCK) {
            // The one in the document waited while the guest's kernel started. Nothing of the sandbox's own runs yet.
            let clock = Message::from(Clock { unix_ns: unix_ns() });
            let frame = clock.encode(LINK_ID).map_err(|error| failure(with_causes(&error)))?;
            // A link that is lost says so wherever it is used next.
            let _ = link.send(frame).await;
        }
        let ready = Message::from(ready).encode(LINK_ID).map_err(|error| failure(with_causes(&error)))?;
        self.guest.send_replace(Some(ReadyGuest { link: link.clone(), ready }));
        Ok(())
    }
}

fn unix_ns() -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(clock.as_nanos()).unwrap_or(u64::MAX)
}

fn boot_document(
    launch: &LaunchSpec,
    spec: &SandboxSpec,
    volumes: &Volumes,
    sandboxfile: Option<String>,
) -> BootDocument {
    let definition = &spec.definition;
    let disk = |index| GuestDisk { at: DiskAt::Index(index), file_system: "ext4".to_owned() };
    BootDocument {
        version: BOOT_DOCUMENT_VERSION,
        hostname: launch.name.to_string(),
        env: definition.env.clone(),
        workdir: definition.workdir.clone(),
        user: definition.user.clone(),
        shell: definition.shell.clone(),
        scripts: definition
            .scripts
            .iter()
            .map(|(name, body)| (name.clone(), body.clone().into_bytes().into()))
            .collect(),
        sandboxfile,
        base: disk(0),
        writable: disk(1),
        directories: Vec::new(),
        volumes: volumes.mounts(definition, launch.boot.backend.kind()),
        mounts: Vec::new(),
        network: launch
            .addresses
            .as_ref()
            .map(|addresses| network::guest_network(addresses, launch.boot.backend.kind())),
        clock_unix_ns: unix_ns(),
    }
}
