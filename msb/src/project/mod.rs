//! Which project is at hand, and from which folder it may be touched.
//!
//! A project belongs to the folder that it was brought up from. Two folders with the same last name, or two copies of one
//! repository, would otherwise take each other's sandboxes for their own.

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
use crate::output::escape_controls;
use crate::project::load::Loaded;
use executor::catalog::{Catalog, CatalogError, ProjectHome};
use sandboxfile::{Format, WrittenName, written_name};
use schemas::name::ProjectName;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A larger file is not read only to find its project's name.
const NAME_BYTES_MAX: u64 = 1 << 20;

/// A project, and the folder that stands for it; none where it is named on the command line.
struct Found {
    project: ProjectName,
    folder: Option<PathBuf>,
}

/// The project at hand, which belongs to the folder at hand: `-p`, else that of the Sandboxfile, of which only the
/// name is read, else the one that was last brought up from this folder or the nearest above it.
///
/// So what looks at sandboxes, or removes them, evaluates no file, and works beside a broken one and after it is gone.
pub fn at_hand(global: &Global, catalog: &Catalog) -> Result<Option<ProjectName>, CliError> {
    let Some(Found { project, folder }) = find(global, catalog)? else { return Ok(None) };
    if let Some(folder) = folder {
        require_home(catalog, &project, &folder)?;
    }
    Ok(Some(project))
}

/// The same, whosever it is.
pub fn meant(global: &Global, catalog: &Catalog) -> Result<Option<ProjectName>, CliError> {
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
        let folder = match has_file {
            true => load::folder_of(global, around.to_owned())?,
            false => around.to_owned(),
        };
        let written = if has_file { load::file_in(around).map(|file| name_in(&file)) } else { None };
        let project = match written {
            Some(WrittenName::Named(project)) => Some(project),
            Some(WrittenName::Unnamed) => default_name(catalog, &folder)?,
            // Broken, or not there, or there twice: what was brought up from here is still there.
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

/// The project of the files on the command line: the uppermost that names one decides.
fn of_files(global: &Global, catalog: &Catalog) -> Result<Found, CliError> {
    let mut written = WrittenName::Unnamed;
    for file in global.files.iter().rev() {
        written = match file.as_os_str() == "-" {
            true => WrittenName::Unclear,
            false => name_in(file),
        };
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
    let project = match project {
        Some(project) => project,
        None => load::load(global)?.model.project().clone(),
    };
    Ok(Found { project, folder: Some(folder) })
}

/// What a file calls its project.
fn name_in(file: &Path) -> WrittenName {
    let read = || {
        let metadata = std::fs::metadata(file).ok()?;
        // A pipe would wait for its writer.
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

/// The project of a folder whose Sandboxfile names none: the one that was named after the folder when it was brought up,
/// even if the folder is called otherwise by now, else its name.
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

/// The same where there may be no catalog yet, which is not made for this.
pub fn default_name_of(folder: &Path) -> Option<ProjectName> {
    let recorded = host::existing_catalog().and_then(|catalog| default_name(&catalog, folder).ok());
    recorded.unwrap_or_else(|| load::folder_project(folder))
}

/// Refuses a project that was brought up from another folder, which is still its own.
pub fn require_home(catalog: &Catalog, project: &ProjectName, folder: &Path) -> Result<(), CliError> {
    let Some(home) = catalog.project_home(project)? else { return Ok(()) };
    let is_same = Path::new(&home.folder) == folder || (home.mark.is_some() && home.mark == mark(folder));
    if is_same || !catalog.has_anything_of(project)? || has_left(&home, project) {
        return Ok(());
    }
    let shown = escape_controls(&home.folder);
    Err(CliError::new(format!("project {:?} was brought up from {shown}", project.as_str())).hint(format!(
        "give this one another name, with `project \"…\"` in its Sandboxfile or with -p; `-p {project}` means that one, \
         wherever it was brought up from"
    )))
}

/// The same for a project that was loaded; one that the command line names is what it is.
pub fn require_own(global: &Global, catalog: &Catalog, loaded: &Loaded) -> Result<(), CliError> {
    match load::named_project(global)? {
        Some(_) => Ok(()),
        None => require_home(catalog, loaded.model.project(), &loaded.folder),
    }
}

/// Whether a project's folder is gone, or has no such project any more.
fn has_left(home: &ProjectHome, project: &ProjectName) -> bool {
    if !Path::new(&home.folder).try_exists().unwrap_or(true) {
        return true;
    }
    let Some(file) = &home.file else { return false };
    if !Path::new(file).try_exists().unwrap_or(true) {
        return true;
    }
    matches!(name_in(Path::new(file)), WrittenName::Named(other) if other != *project)
}

/// Remembers where a loaded project is brought up from.
pub fn remember(global: &Global, catalog: &Catalog, loaded: &Loaded) -> Result<(), CliError> {
    let is_named = load::named_project(global)?.is_some();
    let file = match loaded.named.as_slice() {
        [file] if !is_named && file != "-" => Some(file.clone()),
        _ => None,
    };
    let by_folder = !is_named && loaded.is_named_after_folder;
    let files = match loaded.named.iter().any(|file| file == "-") {
        true => Vec::new(),
        false => loaded.named.clone(),
    };
    let home = ProjectHome { files, ..home_of(&loaded.folder, file, by_folder) };
    Ok(catalog.remember_project(loaded.model.project(), &home)?)
}

/// The same for a plan that was made from a folder earlier.
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

/// Tells a folder apart from any other, whatever it is called: its inode, which may come again, and when that was born,
/// which does not.
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

    struct World {
        scratch: tempfile::TempDir,
        catalog: Catalog,
    }

    impl World {
        fn new() -> Self {
            let scratch = tempfile::tempdir().unwrap();
            let catalog = Catalog::open(&scratch.path().join("catalog.db")).unwrap();
            Self { scratch, catalog }
        }

        /// A folder with this Sandboxfile in it.
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
                    spec: VolumeSpec { size_mib: 1 },
                    made: true,
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
    fn a_project_belongs_to_its_folder_until_that_is_gone_or_has_another_one() {
        let world = World::new();
        let (a, b, app) = (world.folder("A/app", ""), world.folder("B/app", ""), named("app"));
        assert_eq!(world.refusal(&app, &b), None);
        world.bring_up(&app, &a, true);
        assert_eq!(world.refusal(&app, &a), None);
        let refusal = format!("project \"app\" was brought up from {}", a.display());
        assert_eq!(world.refusal(&app, &b), Some(refusal.clone()));
        // What is broken may still be it.
        world.folder("A/app", "sandbox {");
        assert_eq!(world.refusal(&app, &b), Some(refusal.clone()));
        // Another name, no file, no folder, or nothing of it: it is free.
        world.folder("A/app", "project \"other\"\n");
        assert_eq!(world.refusal(&app, &b), None);
        std::fs::remove_file(a.join("Sandboxfile")).unwrap();
        assert_eq!(world.refusal(&app, &b), None);
        world.folder("A/app", "");
        assert_eq!(world.refusal(&app, &b), Some(refusal));
        std::fs::rename(&a, world.scratch.path().join("A/away")).unwrap();
        assert_eq!(world.refusal(&app, &b), None);
    }

    #[test]
    fn a_project_without_anything_belongs_to_nobody() {
        let world = World::new();
        let (a, b, app) = (world.folder("A/app", ""), world.folder("B/app", ""), named("app"));
        world.bring_up(&app, &a, true);
        world.catalog.forget_volume(&app, &VolumeName::new("data").unwrap()).unwrap();
        assert_eq!(world.refusal(&app, &b), None);
    }

    #[test]
    fn a_folder_that_is_renamed_keeps_its_project() {
        let world = World::new();
        let (old, app) = (world.folder("app", ""), named("app"));
        world.bring_up(&app, &old, true);
        let new = old.with_file_name("renamed");
        std::fs::rename(&old, &new).unwrap();
        if mark(&new).is_none() {
            return;
        }
        assert_eq!(default_name(&world.catalog, &new).unwrap(), Some(app.clone()));
        assert_eq!(world.refusal(&app, &new), None);
        // Brought up under the new name, it is still the same, and another folder in its place is not.
        world.bring_up(&app, &new, true);
        assert_eq!(default_name(&world.catalog, &new).unwrap(), Some(app.clone()));
        let other = world.folder("app", "");
        assert!(world.refusal(&app, &other).is_some());
    }
}
