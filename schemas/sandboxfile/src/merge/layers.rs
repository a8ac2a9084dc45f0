//! Reads the files of a project and the files that they include, from the lowest layer to the uppermost.

use crate::check::Growth;
use crate::check::project::{self, RawProject};
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::syntax::{Span, Spanned};
use crate::syntax::{kdl, yaml};
use crate::values::path;
use crate::variables::Lookup;
use crate::{Format, Input, ReadFile, Source};
use schemas::digest::Digest;
use schemas::spec::limits::SANDBOXFILE_BYTES_MAX;

/// The most files of one project, and the deepest nesting of includes.
const FILES_MAX: usize = 256;

/// The files that were read.
pub(crate) struct Layers {
    /// The readings, the lowest layer first.
    pub raw: Vec<RawProject>,
    /// The files, in the same order.
    pub files: Vec<ReadFile>,
}

/// Reads all files; returns `None` after reporting one that cannot be read.
pub(crate) fn gather(context: &mut Context<'_>, input: &Input<'_>) -> Option<Layers> {
    let mut gathering = Gathering { open: Vec::new(), layers: Layers { raw: Vec::new(), files: Vec::new() } };
    // The files of the command line come first, so that their diagnostics come first.
    let mut given = Vec::new();
    for source in &input.sources {
        let limit = SANDBOXFILE_BYTES_MAX;
        let start = context.add_source(source, limit).filter(|start| {
            context.charge(Growth::Files, source.bytes.len(), Span::new(*start, *start)).is_some()
        });
        given.push((source, start));
    }
    Lookup::read(context, &input.variables);
    let mut complete = context.is_clean();
    for (source, start) in given {
        complete &= start.is_some_and(|start| gathering.file(context, source, start).is_some());
    }
    complete.then_some(gathering.layers)
}

struct Gathering {
    /// The files that are being read: each one includes the next, at this span.
    open: Vec<(String, Span)>,
    layers: Layers,
}

impl Gathering {
    fn file(&mut self, context: &mut Context<'_>, source: &Source<'_>, start: usize) -> Option<()> {
        let text = context.sources.file_at(start)?.text.clone();
        context.format = source.format;
        let (items, diagnostics) = match source.format {
            Format::Kdl => kdl::parse(&text.text),
            Format::Yaml => yaml::parse(&text.text),
        };
        diagnostics.into_iter().for_each(|diagnostic| context.push(diagnostic.moved_by(start)));
        let mut items = items?;
        let nodes = items.iter().map(|item| item.count(&|_| 1)).sum();
        context.charge_nodes(nodes, Span::new(start, start))?;
        items.iter_mut().for_each(|item| item.move_by(start));
        let mut raw = project::read(context, &items);
        drop(items);
        // Included files provide sandboxes and volumes, not the name of the project.
        if !self.open.is_empty() {
            raw.name = None;
        }
        self.open.push((source.path.unwrap_or_default().to_owned(), Span::new(start, start)));
        let mut complete = true;
        for include in &raw.includes {
            if let Some(last) = self.open.last_mut() {
                last.1 = include.span;
            }
            complete &= self.include(context, include, source.folder).is_some();
        }
        self.open.pop();
        self.layers.files.push(ReadFile {
            name: source.name.to_owned(),
            path: source.path.map(str::to_owned),
            digest: Digest::of_bytes(source.bytes),
            included: !self.open.is_empty(),
        });
        self.layers.raw.push(raw);
        complete.then_some(())
    }

    fn include(&mut self, context: &mut Context<'_>, include: &Spanned<String>, folder: &str) -> Option<()> {
        let path = path::absolute(folder, &include.value);
        if let Some(begin) = self.open.iter().position(|(open, _)| *open == path) {
            self.circle(context, begin);
            return None;
        }
        // A file that several others include is one layer below all of them.
        if self.layers.files.iter().any(|read| read.path.as_deref() == Some(&path)) {
            return Some(());
        }
        let shown = shorten(&include.value);
        if self.layers.files.len() + self.open.len() > FILES_MAX {
            let message = format!("a project of more than {FILES_MAX} files");
            context.push(Diagnostic::error(Code::TooComplex, include.span, message).label("one too many"));
            return None;
        }
        let bytes = match context.files.read(&path, SANDBOXFILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(reason) => {
                context.push(
                    Diagnostic::error(
                        Code::IncludeNotFound,
                        include.span,
                        format!("cannot include `{shown}`"),
                    )
                    .label(reason)
                    .help(format!("looked for {}", shorten(&path))),
                );
                return None;
            }
        };
        context.charge(Growth::Files, bytes.len(), include.span)?;
        let own_folder =
            path.rsplit_once('/').map_or("/", |(folder, _)| if folder.is_empty() { "/" } else { folder });
        let format = Format::of_file_name(&path);
        let name = self.display_name(context, &path);
        let source = Source { name: &name, path: Some(&path), bytes: &bytes, format, folder: own_folder };
        let start = context.add_source(&source, SANDBOXFILE_BYTES_MAX)?;
        self.file(context, &source, start)
    }

    /// Returns the path of a file for messages: relative if it is below the folder of the first file.
    fn display_name(&self, context: &Context<'_>, path: &str) -> String {
        let first = context.sources.files().first();
        let inside = first.and_then(|first| path.strip_prefix(&first.folder)?.strip_prefix('/'));
        inside.unwrap_or(path).to_owned()
    }

    fn circle(&self, context: &mut Context<'_>, begin: usize) {
        let mut places = self.open[begin..].iter().map(|(_, span)| *span);
        let Some(last) = self.open.last().map(|(_, span)| *span) else { return };
        let message = "these files include each other in a circle";
        let mut diagnostic = Diagnostic::error(Code::IncludeCycle, last, message)
            .label("leads back here")
            .help("remove one of these includes");
        for span in places.by_ref().filter(|span| *span != last) {
            diagnostic = diagnostic.also(span, "includes the next one");
        }
        context.push(diagnostic);
    }
}
