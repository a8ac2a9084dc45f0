//! The state folder, `MSB_HOME`, and every path below it.

use crate::reserve::Reserve;
pub use executor_fs::file::make_private_folder;
use rustix::fs::Mode;
use schemas::name::{ProjectName, SandboxId, SnapshotName, VolumeName, full_volume_name, run_folder_name};
use schemas::spec::VolumeKind;
use std::io;
use std::path::{Path, PathBuf};

/// The longest path of a Unix socket in bytes, without the final NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The end of the file name of a snapshot's record.
pub const SNAPSHOT_SUFFIX: &str = ".json";

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
        let folders = ["images", "sandboxes", "snapshots", "volumes", "run/projects", "run/sandboxes"];
        let folders = folders.map(|folder| home.root.join(folder));
        for path in [home.root.clone()].into_iter().chain(folders) {
            make_private_folder(&path).map_err(|source| HomeError::Io { path, source })?;
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

    /// Returns the folder of the records of snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Returns the path of a snapshot's record.
    pub fn snapshot(&self, name: &SnapshotName) -> PathBuf {
        self.snapshots().join(format!("{name}{SNAPSHOT_SUFFIX}"))
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
        self.volume_of(&full_volume_name(project, name))
    }

    /// Returns the folder of a volume's persistent files, by its full name.
    pub fn volume_of(&self, full_name: &str) -> VolumeFolder {
        VolumeFolder { path: self.root.join("volumes").join(full_name) }
    }

    /// Returns the folder of a running sandbox's sockets and lock, by its full name.
    pub fn sandbox_run(&self, full_name: &str) -> RunFolder {
        RunFolder { path: self.root.join("run/sandboxes").join(run_folder_name(full_name)) }
    }
}

/// Defines a folder and the paths in it.
macro_rules! folder {
    ($(#[$folder:meta])* $name:ident { $($(#[$path:meta])* $method:ident = $file:literal,)* }) => {
        $(#[$folder])*
        #[derive(Clone, Debug)]
        pub struct $name {
            path: PathBuf,
        }

        impl $name {
            /// Returns the folder's path.
            pub fn path(&self) -> &Path {
                &self.path
            }

            $(
                $(#[$path])*
                pub fn $method(&self) -> PathBuf {
                    self.path.join($file)
                }
            )*
        }
    };
}

folder! {
    /// `sandboxes/<id>/`: persistent files of a sandbox.
    SandboxFolder {
        /// Returns the path of the writable disk.
        disk = "disk.ext4",
        /// Returns the path of its supervisor's launch spec.
        launch_spec = "orders.json",
        /// Returns the path of the state that its supervisor wrote last.
        state = "state.json",
        /// Returns the folder of its logs.
        logs = "logs",
        /// Returns the folder of the CA that intercepts its TLS.
        tls = "tls",
    }
}

folder! {
    /// `volumes/<project>-<name>/`: persistent files of a volume.
    VolumeFolder {
        /// Returns the path of the disk, if it is one.
        disk = "disk.ext4",
        /// Returns the path of the directory, if it is one.
        directory = "data",
        /// Returns the folder with one file per sandbox that uses the volume.
        holders = "holders",
        /// Returns the path of the lock of the sandboxes that may write to the directory.
        writers = "writers.lock",
        /// Returns the path of the lock of a sandbox that may fill the directory, empty until then, with files of its image.
        filling = "filling.lock",
    }
}

impl VolumeFolder {
    /// Returns the path of what sandboxes mount.
    pub fn contents(&self, kind: VolumeKind) -> PathBuf {
        match kind {
            VolumeKind::Disk => self.disk(),
            VolumeKind::Directory => self.directory(),
        }
    }
}

folder! {
    /// `run/sandboxes/<hash>/`: files of a sandbox that exist only while it runs.
    RunFolder {
        /// Returns the path of the relay's socket.
        agent_socket = "agent.sock",
        /// Returns the path of the control socket.
        control_socket = "control.sock",
        /// Returns the path of the socket for connections from other sandboxes of the project.
        network_socket = "net.sock",
        /// Returns the path of the file that describes its network to other sandboxes of the project.
        peer_file = "network.json",
        /// Returns the path of the lock that the supervisor holds.
        lock = "lock",
    }
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
