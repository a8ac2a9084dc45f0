//! Where msb keeps its state on the host: `MSB_HOME`, and every path below it, once.

use crate::reserve::Reserve;
use rustix::fs::Mode;
use schemas::name::{ProjectName, SandboxId, VolumeName, full_volume_name, run_folder_name};
use std::io;
use std::path::{Path, PathBuf};

/// The longest path a Unix socket can have, in bytes, without its final NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The folder that holds all host state of one user.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
}

/// Why the home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// It cannot be made or read.
    #[error("cannot use the state folder {}", path.display())]
    Io {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Sockets below it would have too long a path.
    #[error("the state folder's path is too long for sockets: {} has {} bytes, at most {max} fit", path.display(), path.as_os_str().len())]
    TooLong {
        /// Which folder.
        path: PathBuf,
        /// What fits.
        max: usize,
    },
}

impl Home {
    /// Opens the home at an absolute path, making what is missing with mode 0700.
    pub fn open(root: PathBuf) -> Result<Self, HomeError> {
        let home = Self { root };
        let below_root =
            home.sandbox_run(&"x".repeat(64)).agent_socket().as_os_str().len() - home.root.as_os_str().len();
        let max = SOCKET_PATH_BYTES_MAX - below_root;
        if home.root.as_os_str().len() > max {
            return Err(HomeError::TooLong { path: home.root, max });
        }
        for folder in [
            home.root.clone(),
            home.root.join("images"),
            home.root.join("sandboxes"),
            home.root.join("volumes"),
            home.root.join("run"),
            home.root.join("run/projects"),
            home.root.join("run/sandboxes"),
        ] {
            make_private_folder(&folder).map_err(|source| HomeError::Io { path: folder, source })?;
        }
        // It may have been there before, open to others.
        rustix::fs::chmod(&home.root, Mode::RWXU)
            .map_err(|error| HomeError::Io { path: home.root.clone(), source: error.into() })?;
        home.reserve().make_if_plenty();
        Ok(home)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The user's settings.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.json")
    }

    /// The catalog's database.
    pub fn catalog(&self) -> PathBuf {
        self.root.join("catalog.db")
    }

    /// The image store.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Space that is kept for msb itself.
    pub fn reserve(&self) -> Reserve {
        Reserve::new(self.root.join("reserve"))
    }

    /// The folder of projects' lock files.
    pub fn project_locks(&self) -> PathBuf {
        self.root.join("run/projects")
    }

    /// A project's lock file.
    pub fn project_lock(&self, project: &ProjectName) -> PathBuf {
        self.project_locks().join(format!("{project}.lock"))
    }

    /// One sandbox's lasting files.
    pub fn sandbox(&self, id: &SandboxId) -> SandboxFolder {
        SandboxFolder { path: self.root.join("sandboxes").join(id.as_str()) }
    }

    /// One volume's lasting files.
    pub fn volume(&self, project: &ProjectName, name: &VolumeName) -> VolumeFolder {
        VolumeFolder { path: self.root.join("volumes").join(full_volume_name(project, name)) }
    }

    /// One sandbox's sockets and lock, by its full name.
    pub fn sandbox_run(&self, full_name: &str) -> RunFolder {
        RunFolder { path: self.root.join("run/sandboxes").join(run_folder_name(full_name)) }
    }
}

/// `sandboxes/<id>/`: what outlives a run.
#[derive(Clone, Debug)]
pub struct SandboxFolder {
    path: PathBuf,
}

impl SandboxFolder {
    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The writable disk.
    pub fn disk(&self) -> PathBuf {
        self.path.join("disk.ext4")
    }

    /// The launch spec of its supervisor.
    pub fn launch_spec(&self) -> PathBuf {
        self.path.join("orders.json")
    }

    /// The state that its supervisor wrote last.
    pub fn state(&self) -> PathBuf {
        self.path.join("state.json")
    }

    /// The folder of its logs.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }
}

/// `volumes/<project>-<name>/`: what outlives the sandboxes that mount it.
#[derive(Clone, Debug)]
pub struct VolumeFolder {
    path: PathBuf,
}

impl VolumeFolder {
    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The disk.
    pub fn disk(&self) -> PathBuf {
        self.path.join("disk.ext4")
    }

    /// One file a sandbox that has the disk.
    pub fn holders(&self) -> PathBuf {
        self.path.join("holders")
    }
}

/// `run/sandboxes/<hash>/`: what exists only while it runs.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The relay's socket.
    pub fn agent_socket(&self) -> PathBuf {
        self.path.join("agent.sock")
    }

    /// The control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// Where other sandboxes of the project call.
    pub fn network_socket(&self) -> PathBuf {
        self.path.join("net.sock")
    }

    /// Whose network it is, for other sandboxes of the project.
    pub fn network_card(&self) -> PathBuf {
        self.path.join("network.json")
    }

    /// Held by the supervisor as long as it lives.
    pub fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }
}

/// Makes a folder, and its parents, that only its owner may enter.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_too_long_for_sockets_is_refused() {
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(100)));
        assert!(matches!(Home::open(long), Err(HomeError::TooLong { .. })));
    }
}
