//! The current project, and the folder that it belongs to.
//!
//! A project belongs to the folder that it was brought up from. Otherwise two folders of the same name, or two copies of
//! one repository, would share sandboxes.

pub mod find;
pub mod images;
pub mod load;
pub mod lockfile;
pub mod plan_file;
pub mod rule_sources;
pub mod targets;
pub mod trust;

use crate::cli::Global;
use crate::error::CliError;
use crate::host;
use crate::project::load::Loaded;
use executor::catalog::{Catalog, CatalogError, ProjectHome};
use sandboxfile::{Format, WrittenName, written_name};
use schemas::name::ProjectName;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Maximum size of a file that is read only for its project's name, in bytes.
const NAME_BYTES_MAX: u64 = 1 << 20;

/// A project, and its folder unless the command line names the project.
struct Found {
    project: ProjectName,
    folder: Option<PathBuf>,
}

/// Returns the current project: `-p`, else the name in the Sandboxfile, else the project that was last brought up from
/// this folder or the nearest one above it.
///
/// The Sandboxfile is not evaluated, so commands that show or remove sandboxes work with a broken or deleted one.
///
/// # Errors
///
/// If the project belongs to another folder.
pub fn current(global: &Global, catalog: &Catalog) -> Result<Option<ProjectName>, CliError> {
    let Some(Found { project, folder }) = find(global, catalog)? else { return Ok(None) };
    if let Some(folder) = folder {
        require_home(catalog, &project, &folder)?;
    }
    Ok(Some(project))
}

/// Returns the current project, even if it belongs to another folder.
///
/// # Errors
///
/// If the name on the command line is invalid, or the Sandboxfile is needed and cannot be loaded.
pub fn current_of_any_folder(global: &Global, catalog: &Catalog) -> Result<Option<ProjectName>, CliError> {
    Ok(find(global, catalog)?.map(|found| found.project))
}

fn find(global: &Global, catalog: &Catalog) -> Result<Option<Found>, CliError> {
    if let Some(project) = load::named_project(global)? {
        return Ok(Some(Found { project, folder: None }));
    }
    if !global.files.is_empty() {
        return of_files(global, catalog).map(Some);
    }
    let here = load::current_folder()?;
    let here = std::fs::canonicalize(&here).unwrap_or(here);
    for around in here.ancestors() {
        let has_file = load::has_sandboxfile(around);
        let mut folder = around.to_owned();
        if has_file {
            folder = load::folder_of(global, folder)?;
        }
        let written = if has_file { load::file_in(around).map(|file| name_in(&file)) } else { None };
        let project = match written {
            Some(WrittenName::Named(project)) => Some(project),
            Some(WrittenName::Unnamed) => default_name(catalog, &folder)?,
            // Without a readable name, what was brought up from here still exists.
            Some(WrittenName::Unclear) | None => match catalog.project_in(&folder)? {
                None if has_file => default_name(catalog, &folder)?,
                recorded => recorded,
            },
        };
        if has_file || project.is_some() {
            return Ok(project.map(|project| Found { project, folder: Some(folder) }));
        }
    }
    Ok(None)
}

/// Returns the project of the files on the command line: the last file that names one decides.
fn of_files(global: &Global, catalog: &Catalog) -> Result<Found, CliError> {
    let mut written = WrittenName::Unnamed;
    for file in global.files.iter().rev() {
        written = if file.as_os_str() == "-" { WrittenName::Unclear } else { name_in(file) };
        if written != WrittenName::Unnamed {
            break;
        }
    }
    let folder = load::project_folder(global)?;
    let project = match written {
        WrittenName::Named(project) => Some(project),
        WrittenName::Unnamed => default_name(catalog, &folder)?,
        WrittenName::Unclear => None,
    };
    let loaded = || load::load(global).map(|loaded| loaded.model.project().clone());
    Ok(Found { project: project.map_or_else(loaded, Ok)?, folder: Some(folder) })
}

/// Reads only the project's name from a file.
fn name_in(file: &Path) -> WrittenName {
    let read = || {
        let metadata = std::fs::metadata(file).ok()?;
        // Opening a pipe would block.
        if !metadata.is_file() || metadata.len() > NAME_BYTES_MAX {
            return None;
        }
        let mut bytes = Vec::new();
        std::fs::File::open(file).ok()?.take(NAME_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    };
    let format = Format::of_file_name(&file.to_string_lossy());
    read().map_or(WrittenName::Unclear, |bytes| written_name(&bytes, format))
}

/// Returns the project of a folder whose Sandboxfile has no name: the one that was named after the folder when it was
/// brought up, even if the folder has been renamed since, else the folder's name.
fn default_name(catalog: &Catalog, folder: &Path) -> Result<Option<ProjectName>, CatalogError> {
    if let Some(mark) = mark(folder) {
        for project in catalog.projects_named_after(&mark)? {
            if catalog.has_anything_of(&project)? {
                return Ok(Some(project));
            }
        }
    }
    Ok(load::folder_project(folder))
}

/// Returns the project of a folder whose Sandboxfile has no name. Does not create a catalog.
pub fn default_name_of(folder: &Path) -> Option<ProjectName> {
    let recorded = host::existing_catalog().and_then(|catalog| default_name(&catalog, folder).ok());
    recorded.unwrap_or_else(|| load::folder_project(folder))
}

/// Verifies that a project does not belong to another folder.
///
/// # Errors
///
/// If it was brought up from another folder that still has it.
pub fn require_home(catalog: &Catalog, project: &ProjectName, folder: &Path) -> Result<(), CliError> {
    let Some(home) = catalog.project_home(project)? else { return Ok(()) };
    let is_same = Path::new(&home.folder) == folder || (home.mark.is_some() && home.mark == mark(folder));
    if is_same || !catalog.has_anything_of(project)? || is_abandoned(&home, project) {
        return Ok(());
    }
    let message = format!("project {:?} was brought up from {}", project.as_str(), home.folder);
    Err(CliError::new(message).hint(format!(
        "rename this one with `project \"…\"` in its Sandboxfile or with -p; `-p {project}` selects the other one from \
         any folder"
    )))
}

/// Verifies that a loaded project does not belong to another folder, unless the command line names it.
///
/// # Errors
///
/// Those of [`require_home`].
pub fn require_own(global: &Global, catalog: &Catalog, loaded: &Loaded) -> Result<(), CliError> {
    if load::named_project(global)?.is_some() {
        return Ok(());
    }
    require_home(catalog, loaded.model.project(), &loaded.folder)
}

/// Returns whether a project's folder no longer exists or contains another project.
fn is_abandoned(home: &ProjectHome, project: &ProjectName) -> bool {
    if !Path::new(&home.folder).try_exists().unwrap_or(true) {
        return true;
    }
    let Some(file) = &home.file else { return false };
    if !Path::new(file).try_exists().unwrap_or(true) {
        return true;
    }
    matches!(name_in(Path::new(file)), WrittenName::Named(other) if other != *project)
}

/// Records the folder that a loaded project is brought up from.
///
/// # Errors
///
/// If the catalog cannot be written.
pub fn remember(global: &Global, catalog: &Catalog, loaded: &Loaded) -> Result<(), CliError> {
    let is_named = load::named_project(global)?.is_some();
    let file = match loaded.named.as_slice() {
        [file] if !is_named && file != "-" => Some(file.clone()),
        _ => None,
    };
    let by_folder = !is_named && loaded.is_named_after_folder;
    let mut files = loaded.named.clone();
    if files.iter().any(|file| file == "-") {
        files.clear();
    }
    let home = ProjectHome { files, ..home_of(&loaded.folder, file, by_folder) };
    Ok(catalog.remember_project(loaded.model.project(), &home)?)
}

/// Records the folder of a project whose plan file is applied.
///
/// # Errors
///
/// If the catalog cannot be written.
pub fn remember_planned(catalog: &Catalog, project: &ProjectName, folder: &Path) -> Result<(), CliError> {
    let known = catalog.project_home(project)?;
    let known = known.filter(|home| Path::new(&home.folder) == folder);
    let home = match known {
        Some(known) => ProjectHome { mark: mark(folder), ..known },
        None => home_of(folder, None, false),
    };
    Ok(catalog.remember_project(project, &home)?)
}

fn home_of(folder: &Path, file: Option<String>, by_folder: bool) -> ProjectHome {
    let files = Vec::new();
    ProjectHome { folder: folder.to_string_lossy().into_owned(), file, files, mark: mark(folder), by_folder }
}

/// Identifies a folder independently of its name: by its inode, which may be reused, and the inode's time of birth.
fn mark(folder: &Path) -> Option<String> {
    let metadata = std::fs::metadata(folder).ok()?;
    let born = metadata.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{}:{}", metadata.ino(), born.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor::catalog::VolumeRow;
    use schemas::name::VolumeName;
    use schemas::spec::VolumeSpec;

    struct Fixture {
        scratch: tempfile::TempDir,
        catalog: Catalog,
    }

    impl Fixture {
        fn new() -> Self {
            let scratch = tempfile::tempdir().unwrap();
            let catalog = Catalog::open(&scratch.path().join("catalog.db")).unwrap();
            Self { scratch, catalog }
        }

        /// Creates a folder with a Sandboxfile.
        fn folder(&self, name: &str, sandboxfile: &str) -> PathBuf {
            let folder = self.scratch.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("Sandboxfile"), sandboxfile).unwrap();
            std::fs::canonicalize(folder).unwrap()
        }

        fn bring_up(&self, project: &ProjectName, folder: &Path, by_folder: bool) {
            let file = folder.join("Sandboxfile").display().to_string();
            self.catalog.remember_project(project, &home_of(folder, Some(file), by_folder)).unwrap();
            self.catalog
                .begin_volume(&VolumeRow {
                    project: project.clone(),
                    name: VolumeName::new("data").unwrap(),
                    spec: VolumeSpec::disk(1),
                    created: true,
                    anonymous: None,
                })
                .unwrap();
        }

        fn refusal(&self, project: &ProjectName, folder: &Path) -> Option<String> {
            require_home(&self.catalog, project, folder).err().map(|error| error.message)
        }
    }

    fn named(name: &str) -> ProjectName {
        ProjectName::new(name).unwrap()
    }

    #[test]
    fn a_project_belongs_to_its_folder_until_that_is_abandoned() {
        let fixture = Fixture::new();
        let (a, b, app) = (fixture.folder("A/app", ""), fixture.folder("B/app", ""), named("app"));
        assert_eq!(fixture.refusal(&app, &b), None);
        fixture.bring_up(&app, &a, true);
        assert_eq!(fixture.refusal(&app, &a), None);
        let refusal = format!("project \"app\" was brought up from {}", a.display());
        assert_eq!(fixture.refusal(&app, &b), Some(refusal.clone()));
        // A broken file may still name it.
        fixture.folder("A/app", "sandbox {");
        assert_eq!(fixture.refusal(&app, &b), Some(refusal.clone()));
        // With another name, no file or no folder, the project is free.
        fixture.folder("A/app", "project \"other\"\n");
        assert_eq!(fixture.refusal(&app, &b), None);
        std::fs::remove_file(a.join("Sandboxfile")).unwrap();
        assert_eq!(fixture.refusal(&app, &b), None);
        fixture.folder("A/app", "");
        assert_eq!(fixture.refusal(&app, &b), Some(refusal));
        std::fs::rename(&a, fixture.scratch.path().join("A/away")).unwrap();
        assert_eq!(fixture.refusal(&app, &b), None);
    }

    #[test]
    fn an_empty_project_belongs_to_no_folder() {
        let fixture = Fixture::new();
        let (a, b, app) = (fixture.folder("A/app", ""), fixture.folder("B/app", ""), named("app"));
        fixture.bring_up(&app, &a, true);
        fixture.catalog.forget_volume(&app, &VolumeName::new("data").unwrap()).unwrap();
        assert_eq!(fixture.refusal(&app, &b), None);
    }

    #[test]
    fn a_renamed_folder_keeps_its_project() {
        let fixture = Fixture::new();
        let (old, app) = (fixture.folder("app", ""), named("app"));
        fixture.bring_up(&app, &old, true);
        let new = old.with_file_name("renamed");
        std::fs::rename(&old, &new).unwrap();
        if mark(&new).is_none() {
            return;
        }
        assert_eq!(default_name(&fixture.catalog, &new).unwrap(), Some(app.clone()));
        assert_eq!(fixture.refusal(&app, &new), None);
        // It keeps it after an `up` as well; another folder at the old path does not have it.
        fixture.bring_up(&app, &new, true);
        assert_eq!(default_name(&fixture.catalog, &new).unwrap(), Some(app.clone()));
        let other = fixture.folder("app", "");
        assert!(fixture.refusal(&app, &other).is_some());
    }
}
