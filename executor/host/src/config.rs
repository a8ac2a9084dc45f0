//! Reads the user's settings: `config.json` in the state folder.

use crate::home::Home;
use executor_fs::file::read_start;
use schemas::config::{CONFIG_BYTES_MAX, Config, ConfigError, parse};
use std::io;
use std::path::PathBuf;

/// A failure to read the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Its contents are refused.
    #[error("the settings in {} are refused", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: ConfigError,
    },
}

/// Reads the user's settings; a missing file means the defaults.
///
/// # Errors
///
/// If the file is unreadable, too large or invalid.
pub fn read(home: &Home) -> Result<Config, ConfigFileError> {
    let path = home.config();
    // One byte above the limit, so that a larger file is noticed.
    match read_start(&path, CONFIG_BYTES_MAX as u64 + 1) {
        Ok(Some(bytes)) => parse(&bytes).map_err(|source| ConfigFileError::Refused { path, source }),
        Ok(None) => Ok(Config::default()),
        Err(source) => Err(ConfigFileError::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_all_defaults_and_a_wrong_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path().join("home")).unwrap();
        assert_eq!(read(&home).unwrap(), Config::default());
        std::fs::write(home.config(), r#"{"log": {"keep": 7}}"#).unwrap();
        assert_eq!(read(&home).unwrap().log.keep, 7);
        std::fs::write(home.config(), vec![b' '; CONFIG_BYTES_MAX + 1]).unwrap();
        let error = read(&home).unwrap_err();
        assert!(error.to_string().contains("config.json"), "{error}");
        assert!(matches!(error, ConfigFileError::Refused { source: ConfigError::TooLarge, .. }));
    }
}
