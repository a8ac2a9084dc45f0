//! The kinds of values that the properties of a sandbox have: for each, how it is read as typed (`Raw…`), checked,
//! printed and described to editors. The table of properties names one per property.

mod block;
mod depends_on;
mod dns;
mod entries;
mod env;
pub(crate) mod env_file;
mod fields;
mod file;
mod guest_path;
pub(crate) mod healthcheck;
mod hook;
mod hosts;
mod image;
pub(crate) mod logs;
mod mount;
mod network;
pub(crate) mod path;
mod place;
mod placement;
mod port;
mod process;
mod proxy;
pub(crate) mod read;
mod reading;
pub(crate) mod repeats;
mod resources;
mod restart;
mod script;
mod secret;
mod source;
mod start;
mod sync;
mod tls;
mod tmpfs;
mod volume;
mod word;

// The table of properties names the kinds of values, whatever file they are in.
pub(crate) use depends_on::*;
pub(crate) use entries::*;
pub(crate) use env::*;
pub(crate) use env_file::EnvFiles;
pub(crate) use file::*;
pub(crate) use healthcheck::*;
pub(crate) use hook::*;
pub(crate) use image::*;
pub(crate) use logs::*;
pub(crate) use mount::*;
pub(crate) use network::*;
pub use path::absolute;
pub(crate) use place::*;
pub(crate) use port::*;
pub(crate) use process::*;
pub(crate) use resources::*;
pub(crate) use restart::*;
pub(crate) use script::*;
pub(crate) use secret::*;
pub(crate) use start::*;
pub(crate) use sync::*;
pub(crate) use tls::*;
pub(crate) use tmpfs::*;
pub(crate) use volume::{Declared, RawVolume, check as check_volume, check_external, read as read_volumes};

pub(crate) use reading::{Named, Parsed, Reading};

use crate::Format;
use crate::check::{RawSandbox, Weight};
use crate::diagnostics::Context;
use crate::merge::Layer;
use crate::print::Printed;
use crate::syntax::Item;
use schemas::name::SandboxName;
use schemas::spec::{Condition, Definition};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// A kind of value.
pub(crate) trait Value {
    /// The value as typed.
    type Raw: Clone + Debug + Layer + Reading + Weight;
    /// The checked value.
    type Model;

    /// Reads a node of the property as typed; what cannot be read is reported.
    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw;

    /// Checks a value that is written; `None` when it is wrong, which is reported.
    fn check(
        context: &mut Context<'_>,
        raw: &<Self::Raw as Reading>::Written,
        scope: &Scope<'_>,
    ) -> Option<Self::Model>;

    /// Returns the value as a Sandboxfile declares it.
    fn print(model: &Self::Model, scope: &PrintScope<'_>) -> Printed;

    /// Returns the JSON Schema of the YAML spelling.
    fn schema() -> serde_json::Value;
}

/// The context of the check of a value.
pub(crate) struct Scope<'a> {
    /// The whole sandbox as typed.
    pub sandbox: &'a RawSandbox,
    /// The volumes that the project declares.
    pub volumes: &'a BTreeMap<&'a str, Declared>,
}

/// The context of the printing of a value.
pub(crate) struct PrintScope<'a> {
    /// The whole definition.
    pub definition: &'a Definition,
    /// The dependencies by their names in the Sandboxfile.
    pub depends_on: &'a BTreeMap<&'a SandboxName, Condition>,
    /// The format.
    pub format: Format,
}
