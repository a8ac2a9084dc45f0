//! One service of a compose file, as a sandbox or a job.

mod dependencies;
pub(crate) mod facts;
pub(crate) mod files;
mod health;
mod hooks;
mod life;
mod network;
mod omitted;
mod ports;
mod process;
mod quantity;
mod resources;
mod storage;

use crate::context::{At, Context, Fields, shown};
use crate::out::{Body, Property, Sandbox, Value};
use crate::project::Facts;
use sandboxfile::yaml::NodeValue;
use std::collections::BTreeSet;

/// What is known of a service while its properties are converted.
struct Builder<'b, 'a, 'n> {
    context: &'b mut Context<'a>,
    facts: &'b mut Facts<'n>,
    fields: Fields<'n>,
    /// The name of the service.
    service: &'b str,
    /// The place of its name.
    span: sandboxfile::Span,
    is_job: bool,
    replicas: u32,
    /// The notes about the number of its copies.
    replica_notes: Vec<String>,
    /// Whether it has no copies at all.
    is_off: bool,
    /// The policy for restarts in `deploy`.
    deploy_restart: Option<At<'n>>,
    /// The services that `links` names.
    linked: Vec<String>,
    /// The paths in the sandbox that something is mounted at.
    taken: BTreeSet<String>,
    properties: Vec<Property>,
}

/// Converts a service; `None` if it is not a map, which was reported.
pub(crate) fn convert<'n>(
    context: &mut Context<'_>,
    service: &str,
    at: &At<'n>,
    facts: &mut Facts<'n>,
) -> Option<Sandbox> {
    if !matches!(at.node.value, NodeValue::Map(_)) {
        return None;
    }
    context.mapped(at);
    let name = facts.names[service].clone();
    if name != service {
        context.changed(
            at,
            format!("the service {} is called {name} here, and found by this name", shown(service)),
        );
    }
    let is_job = facts.jobs.contains(service);
    if is_job {
        context.mapped_as(at, "a job, as others wait until it has ended");
    }
    let comments = context.take_notes();
    let fields = Fields::of(context, at);
    let mut builder = Builder {
        context,
        facts,
        fields,
        service,
        span: at.span,
        is_job,
        replicas: 1,
        replica_notes: Vec::new(),
        is_off: false,
        deploy_restart: None,
        linked: Vec::new(),
        taken: BTreeSet::new(),
        properties: Vec::new(),
    };
    builder.extends();
    builder.image();
    builder.resources();
    builder.environment();
    builder.process();
    builder.storage();
    builder.files();
    builder.network();
    builder.life();
    builder.omitted();
    let Builder { context, fields, properties, .. } = builder;
    fields.leave_unknown(context, "");
    let left_out = context.take_left_out();
    Some(Sandbox { comments, name, is_job, properties, left_out })
}

impl<'n> Builder<'_, '_, 'n> {
    /// Takes the value of a key.
    fn take(&mut self, key: &str) -> Option<At<'n>> {
        self.fields.take(self.context, key)
    }

    /// Appends a property with the notes about it.
    fn push(&mut self, kdl: &'static str, yaml: &'static str, body: Body) {
        let comments = self.context.take_notes();
        self.properties.push(Property { comments, ..Property::new(kdl, yaml, body) });
    }

    /// Appends a property with one text.
    fn push_text(&mut self, kdl: &'static str, yaml: &'static str, value: Value) {
        self.push(kdl, yaml, Body::One(value));
    }

    fn extends(&mut self) {
        if let Some(at) = self.take("extends") {
            self.context.mapped(&at);
        }
    }
}
