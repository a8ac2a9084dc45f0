//! From the host into the guest.

use super::counted::Counted;
use super::{CopyError, DEPTH_MAX, Progress, Skipped, joined, shown};
use crate::agent::{AgentClient, AgentError};
use schemas::protocol::latest::{FileFailureKind, FileOperation, FileRequest};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Permissions, without the kind.
const MODE_MASK: u32 = 0o7777;

/// Copies a path of the host to one of the guest's: into it, where that is a directory. A source that ends in `/.`
/// stands for what is in it.
pub async fn into_guest(
    client: &mut AgentClient,
    source: &Path,
    target: &[u8],
    progress: &Progress,
) -> Result<Skipped, CopyError> {
    let contents_alone = matches!(source.as_os_str().as_bytes(), b"." | b"..")
        || [&b"/."[..], b"/.."].iter().any(|end| source.as_os_str().as_bytes().ends_with(end));
    let metadata = look_at(source)?;
    let into = is_directory(client, target).await?;
    let target = match (into, source.file_name()) {
        (true, Some(name)) if !contents_alone => joined(target, name.as_bytes()),
        (false, _) if target.ends_with(b"/") && !metadata.is_dir() => {
            return Err(CopyError::Target { path: shown(target), why: "is not a directory in the sandbox" });
        }
        _ => target.to_vec(),
    };
    let mut copy = Into { client, progress, skipped: Skipped::default() };
    copy.one(source, &metadata, &target, 0).await?;
    Ok(copy.skipped)
}

fn look_at(path: &Path) -> Result<Metadata, CopyError> {
    fs::symlink_metadata(path).map_err(failed("look at", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = path.to_owned();
    move |source| CopyError::Host { action, path, source }
}

/// Whether the guest has a directory there, a link to one included.
async fn is_directory(client: &mut AgentClient, path: &[u8]) -> Result<bool, CopyError> {
    match client.stat(&joined(path, b".")).await {
        Ok(_) => Ok(true),
        Err(AgentError::Refused { failure })
            if matches!(failure.kind, FileFailureKind::NotFound | FileFailureKind::NotDirectory) =>
        {
            Ok(false)
        }
        Err(source) => Err(CopyError::Guest { path: shown(path), source }),
    }
}

struct Into<'a> {
    client: &'a mut AgentClient,
    progress: &'a Progress,
    skipped: Skipped,
}

impl Into<'_> {
    async fn one(
        &mut self,
        source: &Path,
        metadata: &Metadata,
        target: &[u8],
        depth: usize,
    ) -> Result<(), CopyError> {
        if depth > DEPTH_MAX {
            return Err(CopyError::TooDeep { path: source.display().to_string() });
        }
        let mut request = FileRequest::new(FileOperation::Write, target);
        let refused = |source| CopyError::Guest { path: shown(target), source };
        if metadata.is_symlink() {
            let leads_to = fs::read_link(source).map_err(failed("read the link", source))?;
            request.data = Some(leads_to.into_os_string().into_vec());
            self.client.make_link(request).await.map_err(refused)?;
            self.progress.copied_one();
        } else if metadata.is_dir() {
            request.mode = Some(metadata.mode() & MODE_MASK);
            self.client.make_directory(request).await.map_err(refused)?;
            for entry in fs::read_dir(source).map_err(failed("list", source))? {
                let path = entry.map_err(failed("list", source))?.path();
                let Some(name) = path.file_name() else { continue };
                let (metadata, target) = (look_at(&path)?, joined(target, name.as_bytes()));
                Box::pin(self.one(&path, &metadata, &target, depth + 1)).await?;
            }
        } else if metadata.is_file() {
            request.mode = Some(metadata.mode() & MODE_MASK);
            let seconds = metadata.mtime().checked_mul(1_000_000_000);
            request.modified_ns = seconds.and_then(|whole| whole.checked_add(metadata.mtime_nsec()));
            let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
            let opened = fs::OpenOptions::new().read(true).custom_flags(flags).open(source);
            let file = tokio::fs::File::from_std(opened.map_err(failed("read", source))?);
            let mut contents = Counted::new(file, self.progress);
            match self.client.write_file(request, &mut contents).await {
                Ok(_) => self.progress.copied_one(),
                Err(AgentError::Contents { source: error }) => return Err(failed("read", source)(error)),
                Err(error) => return Err(refused(error)),
            }
        } else {
            self.skipped.add(source.display().to_string());
        }
        Ok(())
    }
}
