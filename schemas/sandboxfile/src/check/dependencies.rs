//! Checks dependencies: each one exists, its condition can be met, and there are no cycles.

use super::sandbox::RawSandbox;
use crate::FileKind;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::syntax::{Span, Spanned};
use crate::values::path;
use crate::values::repeats::given_before;
use crate::values::{Parsed, RawDependency, RawHealthCheck, check_condition};
use rules::suggest::list;
use schemas::name::SandboxName;
use schemas::spec::{Condition, Role};
use std::collections::{BTreeMap, HashMap};

/// An edge of the graph: the index of a dependency, and the span that declares it.
#[derive(Clone, Copy)]
struct Edge {
    to: usize,
    span: Span,
}

/// Checks the dependencies of each sandbox; returns them in the order of `sandboxes`.
pub(crate) fn check(
    context: &mut Context<'_>,
    sandboxes: &[RawSandbox],
) -> Vec<BTreeMap<SandboxName, Condition>> {
    let mut indices: HashMap<&str, usize> = HashMap::new();
    for (index, sandbox) in sandboxes.iter().enumerate() {
        indices.entry(sandbox.name.value.as_str()).or_insert(index);
    }
    let mut edges: Vec<Vec<Edge>> = Vec::new();
    let mut checked = Vec::new();
    for sandbox in sandboxes {
        let mut first = BTreeMap::new();
        let mut outgoing = Vec::new();
        let mut conditions = BTreeMap::new();
        for dependency in &sandbox.depends_on {
            let on = dependency.on.value.as_str();
            if let Some(before) = given_before(&mut first, on, dependency.on.span) {
                let message = format!("`{}` is waited for twice", shorten(on));
                context.push(
                    Diagnostic::error(Code::DuplicateName, dependency.on.span, message)
                        .label("again")
                        .also(before, "first here")
                        .help("keep one of the two; `healthy` and `completed` include `started`"),
                );
                continue;
            }
            let condition = check_condition(context, dependency);
            let Some(&to) = indices.get(on) else {
                if !dependency.is_required {
                    continue;
                }
                unknown(context, sandboxes, sandbox, dependency);
                continue;
            };
            outgoing.push(Edge { to, span: dependency.on.span });
            let Some(condition) = condition else { continue };
            check_can_come_true(context, &sandboxes[to], dependency, condition);
            if let Ok(name) = SandboxName::new(on) {
                conditions.insert(name, condition);
            }
        }
        edges.push(outgoing);
        checked.push(conditions);
    }
    report_cycles(context, sandboxes, &edges);
    checked
}

fn unknown(
    context: &mut Context<'_>,
    sandboxes: &[RawSandbox],
    from: &RawSandbox,
    dependency: &RawDependency,
) {
    let Spanned { value: on, span } = &dependency.on;
    let others =
        || sandboxes.iter().map(|other| other.name.value.as_str()).filter(|name| *name != from.name.value);
    let help = match context.nearest(on, others()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if others().next().is_none() => "there is no other sandbox in this file".to_owned(),
        None if sandboxes.len() <= 12 => {
            let names: Vec<String> = others().map(shorten).collect();
            format!("it can wait for {}", list(names.iter().map(String::as_str), "or"))
        }
        None => "name another sandbox or job of this file".to_owned(),
    };
    context.push(
        Diagnostic::error(
            Code::UnknownDependency,
            *span,
            format!("there is no sandbox or job `{}`", shorten(on)),
        )
        .label("not in this file")
        .help(help),
    );
}

fn check_can_come_true(
    context: &mut Context<'_>,
    target: &RawSandbox,
    dependency: &RawDependency,
    condition: Condition,
) {
    let name = || shorten(&target.name.value);
    let disabled = target.healthcheck.as_ref().is_some_and(RawHealthCheck::is_disabled);
    let has_none = || target.healthcheck.is_none() && !image_may_have_check(context, target);
    let (message, because, help) = if condition == Condition::Healthy && (disabled || has_none()) {
        let because = if disabled { "its `healthcheck` is disabled" } else { "has no `healthcheck`" };
        let help = format!("add a `healthcheck` to `{}`, or wait until it is `started`", name());
        (format!("`{}` has no health check to become healthy by", name()), because, help)
    } else if condition == Condition::Completed && target.role == Role::Service {
        let help = format!("make `{}` a job, or wait until it is `started` or `healthy`", name());
        (format!("`{}` is meant to run on and never completes", name()), "a sandbox, not a job", help)
    } else {
        return;
    };
    let place = dependency.condition.as_ref().map_or(dependency.on.span, |condition| condition.span);
    context.push(
        Diagnostic::error(Code::EndlessWait, place, message)
            .label("would wait forever")
            .also(target.name.span, because)
            .help(help),
    );
}

/// Returns whether the image of a sandbox may have a health check: it needs a config, which a directory has only if it
/// is an image layout.
fn image_may_have_check(context: &Context<'_>, target: &RawSandbox) -> bool {
    let Parsed::Value(image) = &target.image else { return false };
    if !path::is_local(&image.value) {
        return true;
    }
    let absolute = context.absolute(image);
    match context.files.kind(&absolute) {
        Some(FileKind::File) => true,
        Some(FileKind::Directory) => ["oci-layout", "manifest.json"]
            .iter()
            .any(|name| context.files.kind(&format!("{absolute}/{name}")) == Some(FileKind::File)),
        Some(FileKind::Other) | None => false,
    }
}

/// Reports cycles: removes sandboxes without open dependencies until only cycles, and what depends on them, are left.
fn report_cycles(context: &mut Context<'_>, sandboxes: &[RawSandbox], edges: &[Vec<Edge>]) {
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); edges.len()];
    for (from, outgoing) in edges.iter().enumerate() {
        for edge in outgoing {
            dependents[edge.to].push(from);
        }
    }
    let mut open: Vec<usize> = edges.iter().map(Vec::len).collect();
    let mut removed = vec![false; edges.len()];
    let mut free: Vec<usize> = (0..edges.len()).filter(|&index| open[index] == 0).collect();
    let mut next = 0;
    loop {
        while let Some(index) = free.pop() {
            if std::mem::replace(&mut removed[index], true) {
                continue;
            }
            for &from in &dependents[index] {
                open[from] -= 1;
                if open[from] == 0 {
                    free.push(from);
                }
            }
        }
        while next < removed.len() && removed[next] {
            next += 1;
        }
        if next == removed.len() {
            return;
        }
        let mut cycle = cycle_from(next, edges, &removed);
        report_cycle(context, sandboxes, &mut cycle);
        free.extend(cycle.iter().map(|&(from, _)| from));
    }
}

/// Follows edges from `start` among the remaining sandboxes until a cycle closes, and returns it.
fn cycle_from(start: usize, edges: &[Vec<Edge>], removed: &[bool]) -> Vec<(usize, Edge)> {
    let mut path: Vec<(usize, Edge)> = Vec::new();
    let mut position: HashMap<usize, usize> = HashMap::new();
    let mut at = start;
    loop {
        if let Some(&begin) = position.get(&at) {
            return path.split_off(begin);
        }
        // Each remaining sandbox has an edge to a remaining one: otherwise it would have been removed.
        let Some(edge) = edges[at].iter().find(|edge| !removed[edge.to]) else { return path };
        position.insert(at, path.len());
        path.push((at, *edge));
        at = edge.to;
    }
}

/// Reports a cycle, beginning with the dependency that is written first.
fn report_cycle(context: &mut Context<'_>, sandboxes: &[RawSandbox], cycle: &mut [(usize, Edge)]) {
    // More labels than this explain nothing.
    const LABELS_MAX: usize = 12;
    const CIRCLE_SHOWN_MAX: usize = 6;
    let name = |index: usize| shorten(&sandboxes[index].name.value);
    let waits = |(from, edge): &(usize, Edge)| format!("`{}` waits for `{}`", name(*from), name(edge.to));
    let begin = cycle.iter().enumerate().min_by_key(|(_, (_, edge))| edge.span.start);
    let begin = begin.map_or(0, |(index, _)| index);
    cycle.rotate_left(begin);
    let [first, others @ ..] = cycle else { return };
    let (from, span) = (name(first.0), first.1.span);
    if others.is_empty() {
        context.push(
            Diagnostic::error(Code::DependencyCycle, span, format!("`{from}` waits for itself"))
                .label("this is its own name")
                .help("remove this dependency"),
        );
        return;
    }
    let shown = others.iter().take(CIRCLE_SHOWN_MAX);
    let mut circle: Vec<String> = shown.map(|(from, _)| format!("`{}`", name(*from))).collect();
    if others.len() >= CIRCLE_SHOWN_MAX {
        circle.push("…".to_owned());
    }
    let message = format!("these wait for each other: `{from}` → {} → `{from}`", circle.join(" → "));
    let mut diagnostic = Diagnostic::error(Code::DependencyCycle, span, message)
        .label(waits(first))
        .help("remove one of these dependencies, so that one of them can start first");
    for step in others.iter().take(LABELS_MAX) {
        diagnostic = diagnostic.also(step.1.span, waits(step));
    }
    context.push(diagnostic);
}
