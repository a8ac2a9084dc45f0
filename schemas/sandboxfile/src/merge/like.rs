//! `like "api"`: a sandbox inherits properties of another one, and may override each of them.

use super::origin::Traces;
use crate::check::{Growth, RawProject, RawSandbox};
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::values::Reading;
use std::collections::HashMap;

/// The progress on one sandbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    OnThePath,
    Done,
}

/// Resolves the `like` of every sandbox.
pub(crate) fn inherit(context: &mut Context<'_>, raw: &mut RawProject, traces: &mut Traces) {
    let sandboxes = &mut raw.sandboxes;
    if sandboxes.iter().all(|sandbox| sandbox.like.is_none()) {
        return;
    }
    let mut indices: HashMap<String, usize> = HashMap::new();
    for (index, sandbox) in sandboxes.iter().enumerate() {
        indices.entry(sandbox.name.value.clone()).or_insert(index);
    }
    let mut states = vec![State::Open; sandboxes.len()];
    for first in 0..sandboxes.len() {
        // Each sandbox has at most one `like`: following it either ends or closes a cycle.
        let mut path = Vec::new();
        let mut circles = Vec::new();
        let mut at = first;
        while states[at] == State::Open {
            states[at] = State::OnThePath;
            path.push(at);
            let Some(like) = &sandboxes[at].like else { break };
            let Some(&next) = indices.get(&like.value) else {
                unknown(context, sandboxes, at);
                break;
            };
            if states[next] == State::OnThePath {
                let begin = path.iter().position(|&index| index == next).unwrap_or_default();
                circle(context, sandboxes, &path[begin..]);
                circles.extend(&path[begin..]);
                break;
            }
            at = next;
        }
        for &index in path.iter().rev() {
            states[index] = State::Done;
            let base = sandboxes[index].like.as_ref().and_then(|like| indices.get(&like.value)).copied();
            if sandboxes[index].like.is_some() && (base.is_none() || circles.contains(&index)) {
                // An image that it would have inherited is not reported as missing.
                sandboxes[index].image.ignore_missing();
            } else if let Some(base) = base
                && let Ok([own, lender]) = sandboxes.get_disjoint_mut([index, base])
            {
                let place = own.like.as_ref().map_or(own.name.span, |like| like.span);
                if context.charge(Growth::Like, lender.inherited_weight(), place).is_none() {
                    return;
                }
                own.inherit(lender);
                let traced = traces.inherit(&own.name.value, &lender.name.value);
                if context.charge(Growth::Like, traced, place).is_none() {
                    return;
                }
            }
        }
    }
}

fn unknown(context: &mut Context<'_>, sandboxes: &[RawSandbox], index: usize) {
    let Some(like) = &sandboxes[index].like else { return };
    let others = sandboxes.iter().enumerate().filter(|(other, _)| *other != index);
    let near = context.nearest(&like.value, others.map(|(_, other)| other.name.value.as_str()));
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "name another sandbox or job of this project".to_owned(),
    };
    let message = format!("there is no sandbox or job `{}`", shorten(&like.value));
    context.push(
        Diagnostic::error(Code::UnknownSandbox, like.span, message).label("not in this project").help(help),
    );
}

fn circle(context: &mut Context<'_>, sandboxes: &[RawSandbox], circle: &[usize]) {
    // More labels than this explain nothing.
    const LABELS_MAX: usize = 12;
    let name = |index: usize| shorten(&sandboxes[index].name.value);
    let mut labels = circle.iter().filter_map(|&index| {
        let like = sandboxes[index].like.as_ref()?;
        Some((like.span, format!("`{}` is like `{}`", name(index), shorten(&like.value))))
    });
    let Some((span, label)) = labels.next() else { return };
    let message = match circle {
        [one] => format!("`{}` is like itself", name(*one)),
        _ => "these are like each other in a circle".to_owned(),
    };
    let diagnostic = Diagnostic::error(Code::LikeCycle, span, message)
        .label(label)
        .help("remove one `like`, so that one of them stands by itself");
    context.push(
        labels.take(LABELS_MAX).fold(diagnostic, |diagnostic, (span, text)| diagnostic.also(span, text)),
    );
}
