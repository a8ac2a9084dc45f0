//! Applies layers to a tree, in order, as `umoci unpack` applies them to a directory (OCI image specification, "Image
//! Layer Filesystem Changeset").
//!
//! A path of a layer follows symbolic links of lower layers, always inside the tree, as after a `chroot`. It never
//! follows a link of the same layer: no archiver writes that, only an attacker who hopes that the link is followed out
//! of the image.

use super::entries::ParsedEntry;
use crate::tree::{Attributes, DEPTH_MAX, ENTRIES_MAX, Kind, NodeId, ROOT, Tree, TreeError};
use crate::walk::display_name;
use std::collections::{BTreeMap, HashSet};

/// The prefix of a whiteout, which hides an entry of lower layers.
const WHITEOUT: &[u8] = b".wh.";
/// The marker of an opaque directory, which hides all entries of lower layers.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The prefix of AUFS metadata, which is skipped, as in Docker.
const WHITEOUT_META: &[u8] = b".wh..wh.";
/// The limit of symbolic links on one path, as in Linux.
const LINKS_MAX: usize = 40;
/// The limit of names on one path, including those of its links.
const STEPS_MAX: usize = 4 * DEPTH_MAX;
/// The limit of entries of all layers: whiteouts and repeated directories are no inodes.
const LISTED_MAX: usize = 2 * ENTRIES_MAX;

/// Whether an archive is a layer, or a whole root file system in which `.wh.` has no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One of several layers.
    Layer,
    /// The whole root file system.
    WholeTree,
}

/// The state after some layers.
pub struct LayerApplier {
    /// The resulting tree.
    pub tree: Tree,
    form: Form,
    layer: u32,
    /// The layer that created each inode.
    made_in: Vec<u32>,
    /// The names in this layer, by directory.
    named: HashSet<(NodeId, Box<[u8]>)>,
    /// The directories whose lower entries this layer has hidden. They do not come back, so each is walked once per
    /// layer, however many opaque markers it has.
    emptied: HashSet<NodeId>,
    /// The number of entries so far.
    listed: usize,
}

impl LayerApplier {
    /// An empty tree.
    pub fn new(form: Form) -> Self {
        let tree = Tree::new(Attributes::default());
        let (named, emptied) = (HashSet::new(), HashSet::new());
        Self { tree, form, layer: 0, made_in: vec![0], named, emptied, listed: 0 }
    }

    /// Continues with the next layer.
    pub fn next_layer(&mut self) {
        self.layer += 1;
        self.named.clear();
        self.emptied.clear();
    }

    /// Applies an entry. Returns the inode whose contents follow, if any do.
    ///
    /// # Errors
    ///
    /// If the entry is not allowed.
    pub fn insert(&mut self, path: &[u8], described: ParsedEntry) -> Result<Option<NodeId>, TreeError> {
        self.listed += 1;
        if self.listed > LISTED_MAX {
            return Err(TreeError::TooManyListed { max: LISTED_MAX });
        }
        let components = components(path)?;
        let Some((&name, parents)) = components.split_last() else {
            return self.set_root(described).map(|()| None);
        };
        if self.form == Form::Layer {
            if parents.iter().any(|name| name.starts_with(WHITEOUT)) {
                return Err(TreeError::BelowWhiteout);
            }
            if name.starts_with(WHITEOUT) {
                return self.white_out(parents, name).map(|()| None);
            }
        }
        match described {
            ParsedEntry::HardLink(target) => self.link(parents, name, &target).map(|()| None),
            ParsedEntry::Node(kind, attributes) => self.add(parents, name, kind, attributes),
        }
    }

    /// `./` is the root itself.
    fn set_root(&mut self, described: ParsedEntry) -> Result<(), TreeError> {
        match described {
            ParsedEntry::Node(Kind::Directory { .. }, attributes) => {
                self.tree.set_attributes(ROOT, attributes);
                Ok(())
            }
            _ => Err(TreeError::Empty),
        }
    }

    fn add(
        &mut self,
        parents: &[&[u8]],
        name: &[u8],
        kind: Kind,
        attributes: Attributes,
    ) -> Result<Option<NodeId>, TreeError> {
        let folder = self.folder(parents)?;
        if !matches!(kind, Kind::Directory { .. }) {
            self.clear(folder, name)?;
        }
        let has_contents = matches!(kind, Kind::File { size: 1.. });
        let id = self.add_node(folder, name, kind, attributes)?;
        Ok(has_contents.then_some(id))
    }

    fn add_node(
        &mut self,
        folder: NodeId,
        name: &[u8],
        kind: Kind,
        attributes: Attributes,
    ) -> Result<NodeId, TreeError> {
        let id = self.tree.add(folder, name, kind, attributes)?;
        self.made_in.resize(self.tree.nodes().len(), self.layer);
        self.named.insert((folder, name.into()));
        Ok(id)
    }

    /// Removes a directory of lower layers that is replaced.
    fn clear(&mut self, folder: NodeId, name: &[u8]) -> Result<(), TreeError> {
        let Some(existing) = self.tree.child(folder, name) else { return Ok(()) };
        if matches!(self.tree.nodes()[existing].kind, Kind::Directory { .. }) {
            if self.is_named(folder, name) {
                return Err(TreeError::OverDirectory);
            }
            self.tree.remove(folder, name);
        }
        Ok(())
    }

    fn link(&mut self, parents: &[&[u8]], name: &[u8], target: &[u8]) -> Result<(), TreeError> {
        let missing = || TreeError::LinkMissing { target: display_name(target) };
        let target_components = components(target)?;
        let (target_name, target_parents) = target_components.split_last().ok_or_else(missing)?;
        let target_folder = self.existing_folder(target_parents)?.ok_or_else(missing)?;
        let id = self.tree.child(target_folder, target_name).ok_or_else(missing)?;
        if matches!(self.tree.nodes()[id].kind, Kind::Directory { .. }) {
            return Err(TreeError::LinkToDirectory { target: display_name(target) });
        }
        let folder = self.folder(parents)?;
        self.clear(folder, name)?;
        if self.tree.nodes()[id].links == 0 {
            // It was in the directory that the link replaces.
            return Err(missing());
        }
        self.tree.link(folder, name, id)?;
        self.named.insert((folder, name.into()));
        Ok(())
    }

    fn white_out(&mut self, parents: &[&[u8]], name: &[u8]) -> Result<(), TreeError> {
        if name != OPAQUE && name.starts_with(WHITEOUT_META) {
            return Ok(());
        }
        let hidden = &name[WHITEOUT.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(TreeError::Whiteout);
        }
        let folder = match self.existing_folder(parents) {
            Ok(Some(folder)) => folder,
            Ok(None) => return Ok(()),
            // A file has no entries to hide; containerd and Docker ignore this as well.
            Err(TreeError::Through { kind, .. }) if kind != Kind::SYMLINK => return Ok(()),
            Err(refused) => return Err(refused),
        };
        if name == OPAQUE {
            self.hide_below(folder);
        } else {
            self.hide(folder, hidden);
        }
        Ok(())
    }

    fn hide(&mut self, folder: NodeId, name: &[u8]) {
        let Some(id) = self.tree.child(folder, name) else { return };
        if self.is_named(folder, name) {
            // Entries of this layer stay, whichever comes first in the archive.
            self.hide_below(id);
        } else {
            self.tree.remove(folder, name);
        }
    }

    fn hide_below(&mut self, folder: NodeId) {
        let Kind::Directory { entries, .. } = &self.tree.nodes()[folder].kind else { return };
        if !self.emptied.insert(folder) {
            return;
        }
        let names: Vec<Box<[u8]>> = entries.keys().cloned().collect();
        for name in names {
            self.hide(folder, &name);
        }
    }

    fn is_named(&self, folder: NodeId, name: &[u8]) -> bool {
        self.named.contains(&(folder, name.into()))
    }

    /// The directory of a path; created where no layer lists it.
    fn folder(&mut self, components: &[&[u8]]) -> Result<NodeId, TreeError> {
        let mut path = Path::new(components);
        while let Some(name) = path.next() {
            let folder = path.folder();
            match self.step(folder, &name) {
                Step::Missing => {
                    if path.stack.len() > DEPTH_MAX {
                        return Err(TreeError::TooDeep);
                    }
                    let kind = Kind::Directory { parent: folder, entries: BTreeMap::new() };
                    let id = self.add_node(folder, &name, kind, Attributes::default())?;
                    path.stack.push(id);
                }
                Step::Folder(id) => {
                    // A directory with an entry of this layer is not hidden by its whiteout.
                    self.named.insert((folder, name));
                    path.stack.push(id);
                }
                Step::Link(target) => path.follow(&target)?,
                Step::Blocked(kind) => return Err(path.blocked(components, &name, kind)),
            }
        }
        if path.stack.len() > DEPTH_MAX { Err(TreeError::TooDeep) } else { Ok(path.folder()) }
    }

    /// The directory of a path, if it exists.
    fn existing_folder(&self, components: &[&[u8]]) -> Result<Option<NodeId>, TreeError> {
        let mut path = Path::new(components);
        while let Some(name) = path.next() {
            match self.step(path.folder(), &name) {
                Step::Missing => return Ok(None),
                Step::Folder(id) => path.stack.push(id),
                Step::Link(target) => path.follow(&target)?,
                Step::Blocked(kind) => return Err(path.blocked(components, &name, kind)),
            }
        }
        Ok(Some(path.folder()))
    }

    fn step(&self, folder: NodeId, name: &[u8]) -> Step {
        let Some(id) = self.tree.child(folder, name) else { return Step::Missing };
        match &self.tree.nodes()[id].kind {
            Kind::Directory { .. } => Step::Folder(id),
            Kind::Symlink { target } if self.made_in[id] < self.layer => Step::Link(target.clone()),
            other => Step::Blocked(other.name()),
        }
    }
}

enum Step {
    Missing,
    Folder(NodeId),
    Link(Box<[u8]>),
    Blocked(&'static str),
}

/// A path that is being resolved.
struct Path {
    /// The directories from the root to the current one.
    stack: Vec<NodeId>,
    /// The remaining names, the next one last.
    rest: Vec<Box<[u8]>>,
    links: usize,
    /// The number of names that links have added.
    added: usize,
}

impl Path {
    fn new(components: &[&[u8]]) -> Self {
        let rest = components.iter().rev().map(|name| Box::from(*name)).collect();
        Self { stack: vec![ROOT], rest, links: 0, added: 0 }
    }

    fn folder(&self) -> NodeId {
        self.stack.last().copied().unwrap_or(ROOT)
    }

    /// The next name to look up; `None` at the end.
    fn next(&mut self) -> Option<Box<[u8]>> {
        loop {
            let name = self.rest.pop()?;
            match &*name {
                b"" | b"." => {}
                b".." => {
                    // The root's parent is the root.
                    if self.stack.len() > 1 {
                        self.stack.pop();
                    }
                }
                _ => return Some(name),
            }
        }
    }

    fn follow(&mut self, target: &[u8]) -> Result<(), TreeError> {
        self.links += 1;
        self.added += target.split(|&byte| byte == b'/').count();
        if self.links > LINKS_MAX || self.added > STEPS_MAX {
            return Err(TreeError::LinkLoop);
        }
        if target.first() == Some(&b'/') {
            self.stack.truncate(1);
        }
        self.rest.extend(target.split(|&byte| byte == b'/').rev().map(Box::from));
        Ok(())
    }

    fn blocked(&self, components: &[&[u8]], name: &[u8], kind: &'static str) -> TreeError {
        // Without links the part of the path is known; otherwise the name alone is reported.
        let through = match components.len().checked_sub(self.rest.len()) {
            Some(depth) if self.links == 0 => display_name(&components[..depth].join(&b'/')),
            _ => display_name(name),
        };
        TreeError::Through { through, kind }
    }
}

/// The names in an archive's path.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, TreeError> {
    if path.first() == Some(&b'/') {
        return Err(TreeError::Absolute);
    }
    if path.contains(&0) {
        return Err(TreeError::Nul);
    }
    let components: Vec<&[u8]> =
        path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    if components.iter().any(|name| *name == b"..") {
        return Err(TreeError::Climbs);
    }
    if components.len() > DEPTH_MAX {
        return Err(TreeError::TooDeep);
    }
    Ok(components)
}
