//! Bounds what a project may expand to: its files together, and what variables, `like` and `replicas` copy.
//!
//! The limits of single files and values do not bound their product: a file of a few kilobytes could expand to a
//! hundred gigabytes. So each copy is charged here before it is made.

use crate::diagnostics::{Code, Context, Diagnostic};
use crate::syntax::{Span, Spanned};
use crate::values::Parsed;
use schemas::spec::limits::{EXPANDED_BYTES_MAX, SANDBOXES_MAX, SANDBOXFILE_NODES_MAX};

/// The cost of an entry besides its text, in bytes: a span, and the header of a string.
pub(crate) const ENTRY_BYTES: usize = 64;

/// The usage so far.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    bytes: usize,
    nodes: usize,
    sandboxes: usize,
    /// Whether a limit was exceeded, which is reported once.
    is_exceeded: bool,
}

/// A reason why a project grows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Growth {
    /// The text of its files.
    Files,
    /// Values of variables.
    Variables,
    /// Copies for `like`.
    Like,
    /// Copies for replicas.
    Replicas,
}

impl Growth {
    fn message(self) -> String {
        let mebibytes = EXPANDED_BYTES_MAX >> 20;
        match self {
            Self::Files => format!("the files of this project have more than {mebibytes} MiB together"),
            Self::Variables => {
                format!("this project exceeds {mebibytes} MiB once its variables are replaced")
            }
            Self::Like => format!("this project exceeds {mebibytes} MiB once each `like` is resolved"),
            Self::Replicas => format!("this project exceeds {mebibytes} MiB once its replicas are made"),
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Files => "include fewer or smaller files; put data into the image",
            Self::Variables => "put large values into a file that is mounted, or into the image",
            Self::Like => "put what the sandboxes share into their image, or into a file that is mounted",
            Self::Replicas => {
                "lower `replicas`, or put what they share into their image or into a file that is mounted"
            }
        }
    }
}

impl Context<'_> {
    /// Charges bytes before they are copied; `None` when that would exceed the budget.
    pub fn charge(&mut self, growth: Growth, bytes: usize, place: Span) -> Option<()> {
        self.budget.bytes = self.budget.bytes.saturating_add(bytes);
        let exceeds = self.budget.bytes > EXPANDED_BYTES_MAX;
        self.refuse_if(exceeds, || {
            Diagnostic::error(Code::TooComplex, place, growth.message())
                .label("the limit is reached here")
                .help(growth.help())
        })
    }

    /// Charges the names and values of one more file.
    pub fn charge_nodes(&mut self, nodes: usize, place: Span) -> Option<()> {
        self.budget.nodes = self.budget.nodes.saturating_add(nodes);
        let exceeds = self.budget.nodes > SANDBOXFILE_NODES_MAX;
        self.refuse_if(exceeds, || {
            let message = format!(
                "the files of this project have more than {SANDBOXFILE_NODES_MAX} names and values together"
            );
            Diagnostic::error(Code::TooComplex, place, message)
                .label("the limit is reached in this file")
                .help("include fewer or smaller files")
        })
    }

    /// Charges sandboxes, each replica as one.
    pub fn charge_sandboxes(&mut self, count: u32, place: Span) -> Option<()> {
        self.budget.sandboxes = self.budget.sandboxes.saturating_add(count as usize);
        let exceeds = self.budget.sandboxes > SANDBOXES_MAX;
        self.refuse_if(exceeds, || {
            let message = format!("this project has more than {SANDBOXES_MAX} sandboxes, replicas included");
            Diagnostic::error(Code::TooComplex, place, message)
                .label("the limit is reached here")
                .help("lower `replicas`, or split the project")
        })
    }

    fn refuse_if(&mut self, exceeds: bool, finding: impl FnOnce() -> Diagnostic) -> Option<()> {
        if exceeds && !std::mem::replace(&mut self.budget.is_exceeded, true) {
            self.push(finding());
        }
        (!self.budget.is_exceeded).then_some(())
    }
}

/// The cost of a copy, in bytes of the budget.
pub(crate) trait Weight {
    /// Returns the cost of a copy of this value.
    fn weight(&self) -> usize;
}

impl Weight for Spanned<String> {
    fn weight(&self) -> usize {
        ENTRY_BYTES + self.value.len()
    }
}

impl Weight for Spanned<i128> {
    fn weight(&self) -> usize {
        ENTRY_BYTES
    }
}

impl Weight for Spanned<bool> {
    fn weight(&self) -> usize {
        ENTRY_BYTES
    }
}

impl<T: Weight> Weight for Option<T> {
    fn weight(&self) -> usize {
        self.as_ref().map_or(0, T::weight)
    }
}

impl<T: Weight> Weight for Vec<T> {
    fn weight(&self) -> usize {
        self.iter().map(T::weight).sum()
    }
}

impl<T: Weight> Weight for Parsed<T> {
    fn weight(&self) -> usize {
        match self {
            Self::Missing | Self::Invalid => 0,
            Self::Value(value) => value.weight(),
        }
    }
}
