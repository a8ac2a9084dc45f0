//! Boots the guest: from the boot document to `core.ready`.

use super::effective_spec::effective_user;
use super::{BOOT_TIMEOUT, Boot, ExitCause, LifeOutcome, Machine, failure, failure_of};
use crate::data_paths::DataPaths;
use crate::supervisor::agent_link::link::Link;
use crate::supervisor::agent_link::relay::ReadyGuest;
use crate::supervisor::devices::{BASE_DISK, WRITABLE_DISK, guest_disk};
use crate::supervisor::network;
use executor_client::guest_text::GuestText;
use executor_image::ImageConfig;
use protocol::frame::LINK_ID;
use protocol::latest::{
    BOOT_DOCUMENT_VERSION, BootDocument, BootFile, Clock, FEATURE_CLOCK, MAX_BOOT_FILES,
    MAX_BOOT_FILES_BYTES, Message, Rlimit, TmpfsMount,
};
use rules::ulimit::{Resource, Ulimit};
use schemas::spec::limits::{FILES_BYTES_MAX, FILES_PER_SANDBOX_MAX, OWN_SANDBOXFILE_BYTES_MAX};
use schemas::spec::{Definition, GuestFile, SandboxSpec, Tmpfs};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// The guest takes every file that a Sandboxfile can declare.
const _: () = assert!(FILES_PER_SANDBOX_MAX <= MAX_BOOT_FILES && FILES_BYTES_MAX <= MAX_BOOT_FILES_BYTES);

impl Machine<'_> {
    /// Sends the boot document and waits until the guest is up; returns the features of its agent.
    pub(super) async fn boot(
        &self,
        link: &Rc<Link>,
        events: &mut mpsc::Receiver<Message>,
        boot: &Boot<'_>,
    ) -> Result<Vec<String>, LifeOutcome> {
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
        // Until the guest is up.
        let _filling = tokio::select! {
            locks = self.volumes.lock_for_filling() => {
                locks.map_err(|error| failure(format!("cannot prepare the volumes: {error}")))?
            }
            _ = self.store.stop_requested() => return Err(ExitCause::Stopped.into()),
        };
        let document = self.boot_document(&spec, boot, sandboxfile)?;
        let frames = document.to_frames().map_err(|error| failure_of(&error))?;
        for frame in frames {
            if link.send(frame).await.is_err() {
                // The guest may have sent the reason.
                break;
            }
        }
        let answer = loop {
            let answer = tokio::select! {
                answer = tokio::time::timeout(BOOT_TIMEOUT, events.recv()) => answer,
                _ = self.store.stop_requested() => return Err(ExitCause::Stopped.into()),
            };
            // A guest that copies many files into a new volume takes longer.
            if !matches!(answer, Ok(Some(Message::BootProgress(_)))) {
                break answer;
            }
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
                let lines = boot.kernel_log.tail();
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
        let boot_ms = u64::try_from(boot.spawned.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.exec_log.borrow_mut().system(&format!("guest ready after {boot_ms} ms"));
        self.store.change(|state| state.boot_ms = Some(boot_ms));
        let has_clock = ready.features.iter().any(|known| known == FEATURE_CLOCK);
        if has_clock {
            // The time in the document is old after the kernel's boot. No process of the sandbox runs yet.
            let clock = Message::from(Clock { unix_ns: unix_ns() });
            let frame = clock.encode(LINK_ID).map_err(|error| failure_of(&error))?;
            // A lost link fails at its next use.
            let _ = link.send(frame).await;
        }
        let features = ready.features.clone();
        let ready = Message::from(ready).encode(LINK_ID).map_err(|error| failure_of(&error))?;
        self.guest.send_replace(Some(ReadyGuest { link: link.clone(), ready, has_clock }));
        Ok(features)
    }

    /// Describes the sandbox to its guest.
    fn boot_document(
        &self,
        spec: &SandboxSpec,
        boot: &Boot<'_>,
        sandboxfile: Option<String>,
    ) -> Result<BootDocument, LifeOutcome> {
        let (launch, definition) = (self.launch, &spec.definition);
        let devices = boot.devices;
        let disk = |id| {
            guest_disk(devices, id).ok_or_else(|| failure(format!("the virtual machine has no disk {id}")))
        };
        Ok(BootDocument {
            version: BOOT_DOCUMENT_VERSION,
            hostname: definition.hostname.clone().unwrap_or_else(|| launch.name.to_string()),
            env: environment(definition),
            workdir: definition.workdir.clone(),
            user: effective_user(self.store.image(), definition),
            shell: definition.shell.clone(),
            scripts: definition
                .scripts
                .iter()
                .map(|(name, body)| (name.clone(), body.clone().into_bytes().into()))
                .collect(),
            sandboxfile,
            base: disk(BASE_DISK)?,
            writable: disk(WRITABLE_DISK)?,
            directories: data_paths(self.store.image(), definition),
            volumes: self.volumes.mounts(launch, definition, devices, boot.shares),
            mounts: boot.shares.mounts(),
            tmpfs: definition.tmpfs.iter().map(tmpfs_mount).chain(shared_memory(definition)).collect(),
            files: definition.files.iter().map(boot_file).collect(),
            network: launch.addresses.as_ref().map(|addresses| {
                let search = &definition.network.dns.search;
                network::guest_network(addresses, search, launch.boot.backend.features().mtu)
            }),
            trust: self.interception.and_then(|interception| interception.trust(definition)),
            clock_unix_ns: unix_ns(),
            rlimits: definition.ulimits.iter().map(rlimit).collect(),
            hosts: definition
                .hosts
                .iter()
                .map(|(name, address)| (name.clone(), address.to_string()))
                .collect(),
            read_only: definition.read_only,
        })
    }
}

/// Returns the environment of every process: the declared variables, and the placeholders of the secrets.
fn environment(definition: &Definition) -> BTreeMap<String, String> {
    let placeholders =
        definition.secrets.iter().map(|(name, secret)| (name.clone(), secret.placeholder(name)));
    definition.env.clone().into_iter().chain(placeholders).collect()
}

/// Returns the data paths of the image that no mount covers, which the guest creates.
fn data_paths(image: &ImageConfig, definition: &Definition) -> Vec<String> {
    DataPaths::of(image, definition).paths.into_iter().collect()
}

/// Returns a directory in memory as the boot document names it.
fn tmpfs_mount((destination, tmpfs): (&String, &Tmpfs)) -> TmpfsMount {
    let Tmpfs { size_mib, mode, uid, gid, readonly, noexec, nosuid, nodev } = tmpfs;
    TmpfsMount {
        destination: destination.clone(),
        size_bytes: size_mib.map(|mib| u64::from(mib) << 20),
        mode: *mode,
        uid: *uid,
        gid: *gid,
        read_only: *readonly,
        noexec: *noexec,
        nosuid: *nosuid,
        nodev: *nodev,
    }
}

/// Returns `/dev/shm`, if it has a size of its own.
fn shared_memory(definition: &Definition) -> Option<TmpfsMount> {
    let destination = "/dev/shm".to_owned();
    let is_free = !definition.tmpfs.contains_key(&destination);
    definition.shm_mib.filter(|_| is_free).map(|mib| TmpfsMount {
        destination,
        size_bytes: Some(u64::from(mib) << 20),
        mode: 0o1777,
        uid: None,
        gid: None,
        read_only: false,
        noexec: false,
        nosuid: true,
        nodev: true,
    })
}

/// Returns a limit of processes as the boot document names it.
fn rlimit((resource, limit): (&Resource, &Ulimit)) -> Rlimit {
    Rlimit { resource: resource.to_string(), soft: limit.soft, hard: limit.hard }
}

/// Describes a declared file to the guest.
fn boot_file((path, file): (&String, &GuestFile)) -> BootFile {
    let &GuestFile { from: _, ref contents, mode, uid, gid } = file;
    BootFile { destination: path.clone(), contents: contents.bytes().to_vec(), mode, uid, gid }
}

/// Returns the time in nanoseconds since 1970.
pub(super) fn unix_ns() -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(clock.as_nanos()).unwrap_or(u64::MAX)
}
