//! The catalog: the recorded sandboxes, as they were applied last, and the journal of operations.
//!
//! Every change is an operation row (the intent), then the act, then the row's end. The current state of a sandbox is in
//! its supervisor's state file instead, so the steady state writes nothing.

mod failpoint;
mod images;
mod network;
mod operations;
mod projects;
mod read_only;
mod sandboxes;
mod schema;
mod sources;
mod trust;
mod volumes;

pub use images::ImageRow;
pub use operations::OperationId;
pub use projects::ProjectHome;
pub use sandboxes::{Recorded, SandboxRow, UnreadableRow};
pub use trust::Trusted;
pub use volumes::{AnonymousVolume, VolumeRow};

use executor_host::reserve::Reserve;
use rusqlite::{Connection, ErrorCode, Params, Row, Transaction, TransactionBehavior};
use rustix::fs::{Mode, OFlags};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest wait of a writer for another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two attempts.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// The database of one state folder.
#[derive(Debug)]
pub struct Catalog {
    connection: Mutex<Connection>,
    path: PathBuf,
    /// Whether it is writable; on a full disk it may have been opened read-only.
    writable: AtomicBool,
    reserve: Reserve,
}

impl CatalogError {
    /// Whether the file is damaged, or no catalog at all.
    pub fn is_damage(&self) -> bool {
        let source = match self {
            Self::Open { source, .. } => source,
            _ => return false,
        };
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        matches!(source.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
    }
}

/// A failure of the catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// It cannot be opened.
    #[error("cannot open the catalog {}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
    /// A newer msb wrote it.
    #[error("the catalog {} is of version {found}, this msb knows {known}: use the newer msb that wrote it", path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The version of the file.
        found: i64,
        /// The newest known version.
        known: i64,
    },
    /// A statement failed.
    #[error("the catalog failed while it was to {action}")]
    Statement {
        /// The failed action.
        action: &'static str,
        /// The cause.
        source: rusqlite::Error,
    },
    /// A sandbox has the full name already.
    #[error("the name {name} is taken by a sandbox {}", whose(project))]
    NameTaken {
        /// The full name.
        name: String,
        /// The project of that sandbox.
        project: String,
    },
    /// A row is invalid for this version.
    #[error("the catalog's record of {what} cannot be read")]
    Corrupt {
        /// The kind of the record.
        what: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Catalog {
    /// Opens a catalog, after creating or upgrading it. On a full disk it is opened read-only, and the first write releases
    /// the reserve of the state folder.
    ///
    /// # Errors
    ///
    /// If the database cannot be opened, or a newer msb wrote it.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        let reserve = Reserve::new(path.with_file_name("reserve"));
        let (connection, writable) = match open_for_writing(path) {
            Ok(connection) => (connection, true),
            Err(error) => match read_only::open(path) {
                Some(connection) => (connection, false),
                None => {
                    reserve.give_up_if_low();
                    (open_for_writing(path).map_err(|_| error)?, true)
                }
            },
        };
        let (connection, writable) = (Mutex::new(connection), AtomicBool::new(writable));
        Ok(Self { connection, path: path.to_owned(), writable, reserve })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // Each use is one statement or transaction, which a panic rolls back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the connection for a statement that writes.
    fn writer(&self) -> Result<MutexGuard<'_, Connection>, CatalogError> {
        self.reserve.give_up_if_low();
        let mut connection = self.connection();
        if !self.writable.load(Ordering::Relaxed) {
            *connection = open_for_writing(&self.path)?;
            self.writable.store(true, Ordering::Relaxed);
        }
        Ok(connection)
    }

    /// Reads all rows of a query.
    fn query<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        action: &'static str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, CatalogError> {
        rows(&self.connection(), sql, parameters, read).map_err(failed(action))
    }

    /// Reads the first row of a query.
    fn query_first<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        action: &'static str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, CatalogError> {
        Ok(self.query(sql, parameters, action, read)?.into_iter().next())
    }

    /// Executes a statement that writes; returns the number of changed rows.
    fn execute(
        &self,
        sql: &str,
        parameters: impl Params,
        action: &'static str,
    ) -> Result<usize, CatalogError> {
        let connection = self.writer()?;
        let changed = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(parameters));
        changed.map_err(failed(action))
    }

    /// Runs statements in one transaction, which `work` commits.
    fn transact<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, CatalogError> {
        let mut connection = self.writer()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        transaction.and_then(work).map_err(failed(action))
    }

    /// Executes a statement that writes and is a point at which tests end the process.
    fn update(&self, sql: &str, parameters: impl Params, action: &'static str) -> Result<(), CatalogError> {
        if self.execute(sql, parameters, action)? > 0 {
            failpoint::written();
        }
        Ok(())
    }
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map(parameters, read)?.collect()
}

fn open_for_writing(path: &Path) -> Result<Connection, CatalogError> {
    let error = |source| CatalogError::Open { path: path.to_owned(), source };
    // It contains environments, so other users must not read it, whatever the umask is.
    let _ = rustix::fs::open(path, OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    let mut connection = Connection::open(path).map_err(error)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(error)?;
    use_write_ahead_log(&connection).map_err(error)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(error)?;
    connection.pragma_update(None, "foreign_keys", "ON").map_err(error)?;
    schema::migrate(&mut connection, path)?;
    Ok(connection)
}

/// Enables the write-ahead log, for readers beside a writer. Retries, as SQLite does not wait for another process that
/// opens the same new catalog.
fn use_write_ahead_log(connection: &Connection) -> rusqlite::Result<()> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(BUSY_PAUSE);
            }
            done => return done,
        }
    }
}

fn whose(project: &str) -> String {
    match project.strip_prefix('@') {
        Some(_) => "that was made by flags".to_owned(),
        None => format!("of project {project}"),
    }
}

/// Adds the failed action to an error of a statement.
fn failed(action: &'static str) -> impl FnOnce(rusqlite::Error) -> CatalogError {
    move |source| CatalogError::Statement { action, source }
}

/// Returns the seconds since 1970.
fn now_unix() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
