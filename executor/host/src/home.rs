//! The state folder, `MSB_HOME`, and every path below it.

use crate::reserve::Reserve;
use rustix::fs::Mode;
use schemas::name::{ProjectName, SandboxId, VolumeName, full_volume_name, run_folder_name};
use std::io;
use std::path::{Path, PathBuf};

/// The longest path of a Unix socket in bytes, without the final NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The folder with all state of one user.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
}

/// A failure to open the state folder.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// It cannot be created or read.
    #[error("cannot use the state folder {}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Paths of sockets below it would be too long.
    #[error("the state folder's path is too long for sockets: {} has {} bytes, at most {max} fit", path.display(), path.as_os_str().len())]
    TooLong {
        /// The folder.
        path: PathBuf,
        /// The longest possible path in bytes.
        max: usize,
    },
}

impl Home {
    /// Opens the state folder at an absolute path; creates missing folders with mode 0700.
    ///
    /// # Errors
    ///
    /// If the path is too long for sockets, or a folder cannot be created.
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
        // It may have existed, open to other users.
        rustix::fs::chmod(&home.root, Mode::RWXU)
            .map_err(|error| HomeError::Io { path: home.root.clone(), source: error.into() })?;
        home.reserve().make_if_plenty();
        Ok(home)
    }

    /// Returns the folder's path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path of the user's settings.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.json")
    }

    /// Returns the path of the catalog's database.
    pub fn catalog(&self) -> PathBuf {
        self.root.join("catalog.db")
    }

    /// Returns the folder of the image store.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Returns the space that is reserved for msb itself.
    pub fn reserve(&self) -> Reserve {
        Reserve::new(self.root.join("reserve"))
    }

    /// Returns the folder of projects' lock files.
    pub fn project_locks(&self) -> PathBuf {
        self.root.join("run/projects")
    }

    /// Returns the path of a project's lock file.
    pub fn project_lock(&self, project: &ProjectName) -> PathBuf {
        self.project_locks().join(format!("{project}.lock"))
    }

    /// Returns the folder of a sandbox's persistent files.
    pub fn sandbox(&self, id: &SandboxId) -> SandboxFolder {
        SandboxFolder { path: self.root.join("sandboxes").join(id.as_str()) }
    }

    /// Returns the folder of a volume's persistent files.
    pub fn volume(&self, project: &ProjectName, name: &VolumeName) -> VolumeFolder {
        VolumeFolder { path: self.root.join("volumes").join(full_volume_name(project, name)) }
    }

    /// Returns the folder of a running sandbox's sockets and lock, by its full name.
    pub fn sandbox_run(&self, full_name: &str) -> RunFolder {
        RunFolder { path: self.root.join("run/sandboxes").join(run_folder_name(full_name)) }
    }
}

/// `sandboxes/<id>/`: persistent files of a sandbox.
#[derive(Clone, Debug)]
pub struct SandboxFolder {
    path: PathBuf,
}

impl SandboxFolder {
    /// Returns the folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the writable disk.
    pub fn disk(&self) -> PathBuf {
        self.path.join("disk.ext4")
    }

    /// Returns the path of its supervisor's launch spec.
    pub fn launch_spec(&self) -> PathBuf {
        self.path.join("orders.json")
    }

    /// Returns the path of the state that its supervisor wrote last.
    pub fn state(&self) -> PathBuf {
        self.path.join("state.json")
    }

    /// Returns the folder of its logs.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }
}

/// `volumes/<project>-<name>/`: persistent files of a volume.
#[derive(Clone, Debug)]
pub struct VolumeFolder {
    path: PathBuf,
}

impl VolumeFolder {
    /// Returns the folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the disk.
    pub fn disk(&self) -> PathBuf {
        self.path.join("disk.ext4")
    }

    /// Returns the folder with one file per sandbox that uses the disk.
    pub fn holders(&self) -> PathBuf {
        self.path.join("holders")
    }
}

/// `run/sandboxes/<hash>/`: files of a sandbox that exist only while it runs.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Returns the folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the relay's socket.
    pub fn agent_socket(&self) -> PathBuf {
        self.path.join("agent.sock")
    }

    /// Returns the path of the control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// Returns the path of the socket for connections from other sandboxes of the project.
    pub fn network_socket(&self) -> PathBuf {
        self.path.join("net.sock")
    }

    /// Returns the path of the file that describes its network to other sandboxes of the project.
    pub fn network_card(&self) -> PathBuf {
        self.path.join("network.json")
    }

    /// Returns the path of the lock that the supervisor holds.
    pub fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }
}

/// Creates a folder and its missing parents with mode 0700.
///
/// # Errors
///
/// If a folder cannot be created, or a file is in its place.
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
