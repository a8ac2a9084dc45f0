//! The systemd unit that brings a project up when the host boots, and stops it in order before the host shuts down.
//!
//! An ordinary user gets a unit of the own systemd, root one of the system. It is enabled by a link, as `systemctl enable`
//! does, so that systemd need not run.

use crate::error::{CliError, Context};
use crate::host::path_variable;
use crate::output::OutputOptions;
use executor_fs::atomic::{self, Sync};
use executor_fs::file::{read_start, remove_if_present};
use schemas::name::ProjectName;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The first line of every unit, which tells it from those that others have written.
const MARK: &str = "# Written by `msb up --on-boot`; `msb down` removes it.";
/// The largest unit that is read, in bytes.
const UNIT_BYTES_MAX: u64 = 64 * 1024;
/// The time that the ordered stop has, in seconds.
const STOP_SECONDS: u32 = 120;
/// The variables that decide how msb works, and that the unit passes on.
const VARIABLES: [&str; 5] = ["HOME", "PATH", "MSB_DRIVER", "MSB_KERNEL", "MSB_INITRAMFS"];
/// The folder of users whose systemd runs without a login.
const LINGERING: &str = "/var/lib/systemd/linger";
/// Exists if systemd runs this host.
const SYSTEMD_RUNS: &str = "/run/systemd/system";

/// The folder of units, and the target that starts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units {
    folder: PathBuf,
    target: &'static str,
    /// Whether they are units of the user's own systemd.
    is_of_user: bool,
}

impl Units {
    /// Returns the units of this process's user.
    ///
    /// # Errors
    ///
    /// If the user has no home.
    pub fn own() -> Result<Self, CliError> {
        let is_of_user = !rustix::process::geteuid().is_root();
        let target = if is_of_user { "default.target" } else { "multi-user.target" };
        let config = || {
            path_variable("XDG_CONFIG_HOME")
                .or_else(|| path_variable("HOME").map(|home| home.join(".config")))
        };
        let folder = match path_variable("MSB_UNIT_DIR") {
            Some(folder) => folder,
            None if is_of_user => config()
                .map(|config| config.join("systemd/user"))
                .ok_or_else(|| CliError::new("HOME is not set, so there is no folder for a systemd unit"))?,
            None => PathBuf::from("/etc/systemd/system"),
        };
        Ok(Self { folder, target, is_of_user })
    }

    fn unit(&self, project: &ProjectName) -> PathBuf {
        self.folder.join(file_name(project))
    }

    fn link(&self, project: &ProjectName) -> PathBuf {
        self.folder.join(format!("{}.wants", self.target)).join(file_name(project))
    }

    /// Writes and enables the unit of a project. Returns its path.
    ///
    /// # Errors
    ///
    /// If a file of its name exists that msb has not written, or it cannot be written.
    pub fn enable(&self, unit: &BootUnit<'_>) -> Result<PathBuf, CliError> {
        let (path, link) = (self.unit(unit.project), self.link(unit.project));
        let text = unit.text(self)?;
        if let Some(known) = read_start(&path, UNIT_BYTES_MAX).context("cannot read the systemd unit")?
            && !known.starts_with(MARK.as_bytes())
        {
            return Err(CliError::new(format!("msb has not written {}", path.display()))
                .hint("remove or rename that unit"));
        }
        let failed = || format!("cannot write {}", path.display());
        fs::create_dir_all(link.parent().unwrap_or(&link)).context(failed())?;
        atomic::write(&path, text.as_bytes(), Sync::Yes).context(failed())?;
        remove_if_present(&link).context(failed())?;
        symlink(Path::new("..").join(file_name(unit.project)), &link).context(failed())?;
        Ok(path)
    }

    /// Removes the unit of a project, if msb has written one. Returns its path.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn disable(&self, project: &ProjectName) -> Result<Option<PathBuf>, CliError> {
        let path = self.unit(project);
        let known = read_start(&path, UNIT_BYTES_MAX).context("cannot read the systemd unit")?;
        if !known.is_some_and(|known| known.starts_with(MARK.as_bytes())) {
            return Ok(None);
        }
        let failed = || format!("cannot remove {}", path.display());
        remove_if_present(&self.link(project)).context(failed())?;
        remove_if_present(&path).context(failed())?;
        Ok(Some(path))
    }

    /// Makes a running systemd read its units again. Without one there is nothing to do.
    pub fn reload(&self, output: &OutputOptions) {
        if !Path::new(SYSTEMD_RUNS).exists() {
            return;
        }
        let mut systemctl = Command::new("systemctl");
        if self.is_of_user {
            systemctl.arg("--user");
        }
        systemctl.arg("daemon-reload").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let user = if self.is_of_user { " --user" } else { "" };
        match systemctl.status() {
            Ok(status) if status.success() => {}
            Ok(_) | Err(_) => output
                .warn(&format!("systemd has not read its units again: run `systemctl{user} daemon-reload`")),
        }
    }

    /// Returns whether the units start with the host: those of a user otherwise start at the first login.
    pub fn start_with_the_host(&self) -> bool {
        let name = rustix::process::geteuid().as_raw();
        let user = || {
            let users = fs::read_to_string("/etc/passwd").ok()?;
            users.lines().find_map(|line| {
                let fields: Vec<_> = line.split(':').collect();
                (fields.get(2)?.parse() == Ok(name)).then(|| fields.first().map(ToString::to_string))?
            })
        };
        !self.is_of_user || user().is_some_and(|user| Path::new(LINGERING).join(user).exists())
    }
}

fn file_name(project: &ProjectName) -> String {
    format!("msb-{project}.service")
}

/// What the unit of one project runs.
#[derive(Clone, Debug)]
pub struct BootUnit<'a> {
    /// The project.
    pub project: &'a ProjectName,
    /// The project's folder.
    pub folder: &'a Path,
    /// The absolute path of msb.
    pub program: &'a Path,
    /// The state folder.
    pub home: &'a Path,
    /// The arguments that name the project's files.
    pub global: &'a [String],
    /// The arguments of `msb up` that select sandboxes.
    pub selection: &'a [String],
}

impl BootUnit<'_> {
    /// Returns the text of the unit.
    fn text(&self, units: &Units) -> Result<String, CliError> {
        let Self { project, folder, program, home, global, selection } = self;
        let path = |path: &Path| match path.to_str() {
            Some(text) if !text.contains(char::is_control) => Ok(text.to_owned()),
            _ => Err(CliError::new(format!("a systemd unit cannot contain the path {}", path.display()))),
        };
        let (program, folder, home) = (path(program)?, path(folder)?, path(home)?);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let up = [vec![program.clone()], global.to_vec(), words(&["up", "-d"]), selection.to_vec()].concat();
        let named = words(&["-p", project.as_str(), "stop", "--all"]);
        let stop = [vec![program], named].concat();
        let mut environment = vec![("MSB_HOME".to_owned(), home)];
        environment.extend(VARIABLES.into_iter().filter_map(|name| {
            let value = std::env::var(name)
                .ok()
                .filter(|value| !value.is_empty() && !value.contains(char::is_control))?;
            Some((name.to_owned(), value))
        }));
        let mut text = format!(
            "{MARK}\n[Unit]\nDescription=The msb project {project}\nDocumentation=man:msb(1)\n\
             ConditionPathExists={}\n",
            specifiers(&folder)
        );
        if !units.is_of_user {
            text.push_str("Wants=network-online.target\nAfter=network-online.target\n");
        }
        text.push_str("\n[Service]\nType=oneshot\nRemainAfterExit=yes\n");
        text.push_str(&format!("WorkingDirectory={}\n", specifiers(&folder)));
        for (name, value) in environment {
            text.push_str(&format!("Environment={}\n", quoted(&format!("{name}={value}"))));
        }
        text.push_str(&format!("ExecStart={}\nExecStop={}\n", command(&up)?, command(&stop)?));
        // Images may have to be pulled.
        text.push_str(&format!("TimeoutStartSec=infinity\nTimeoutStopSec={STOP_SECONDS}\n"));
        text.push_str(&format!("\n[Install]\nWantedBy={}\n", units.target));
        Ok(text)
    }
}

/// Writes a command line; `$` stands for itself.
fn command(words: &[String]) -> Result<String, CliError> {
    if let Some(word) = words.iter().find(|word| word.contains(char::is_control)) {
        return Err(CliError::new(format!("a systemd unit cannot contain the argument {word:?}")));
    }
    Ok(words.iter().map(|word| quoted(word).replace('$', "$$")).collect::<Vec<_>>().join(" "))
}

/// Quotes a word.
fn quoted(word: &str) -> String {
    format!("\"{}\"", specifiers(word).replace('\\', r"\\").replace('"', "\\\""))
}

/// Escapes the specifiers of systemd.
fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(folder: &Path) -> Units {
        Units { folder: folder.to_owned(), target: "default.target", is_of_user: true }
    }

    fn unit<'a>(project: &'a ProjectName, words: &'a [String]) -> BootUnit<'a> {
        BootUnit {
            project,
            folder: Path::new("/srv/my shop"),
            program: Path::new("/opt/100%/msb"),
            home: Path::new("/var/lib/msb"),
            global: words,
            selection: &[],
        }
    }

    #[test]
    fn a_unit_is_enabled_again_and_disabled() {
        let folder = tempfile::tempdir().unwrap();
        let units = units(folder.path());
        let project = ProjectName::new("shop").unwrap();
        let words = ["-f".to_owned(), "/srv/my shop/Sandbox $file \"1\"".to_owned()];
        assert_eq!(units.disable(&project).unwrap(), None);
        for _ in 0..2 {
            let path = units.enable(&unit(&project, &words)).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let link = folder.path().join("default.target.wants/msb-shop.service");
            assert_eq!(fs::canonicalize(link).unwrap(), fs::canonicalize(&path).unwrap());
            for line in [
                "WorkingDirectory=/srv/my shop",
                "Environment=\"MSB_HOME=/var/lib/msb\"",
                "ExecStart=\"/opt/100%%/msb\" \"-f\" \"/srv/my shop/Sandbox $$file \\\"1\\\"\" \"up\" \"-d\"",
                "ExecStop=\"/opt/100%%/msb\" \"-p\" \"shop\" \"stop\" \"--all\"",
                "WantedBy=default.target",
            ] {
                assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
            }
        }
        assert_eq!(units.disable(&project).unwrap(), Some(folder.path().join("msb-shop.service")));
        assert_eq!(fs::read_dir(folder.path().join("default.target.wants")).unwrap().count(), 0);
    }

    #[test]
    fn a_unit_of_somebody_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (units, project) = (units(folder.path()), ProjectName::new("shop").unwrap());
        let path = folder.path().join("msb-shop.service");
        fs::write(&path, "[Unit]\n").unwrap();
        assert!(units.enable(&unit(&project, &[])).is_err());
        assert_eq!(units.disable(&project).unwrap(), None);
        assert_eq!(fs::read_to_string(&path).unwrap(), "[Unit]\n");
    }

    #[test]
    fn control_characters_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (units, project) = (units(folder.path()), ProjectName::new("shop").unwrap());
        let words = ["a\nExecStartPre=/bin/false".to_owned()];
        assert!(units.enable(&unit(&project, &words)).is_err());
        assert!(!folder.path().join("msb-shop.service").exists());
    }
}
