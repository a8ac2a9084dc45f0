//! Learned rules as text.

use super::needs::{Learned, LearnedRule, Note, Seen};
use crate::commands::sandbox::net::syntax::RuleSyntax;
use crate::output::escape_controls;
use std::fmt::Write as _;
use std::time::SystemTime;

/// Formats rules for a sandbox's file, or as flags, each with a comment.
pub fn text(name: &str, learned: &Learned, syntax: RuleSyntax) -> String {
    let Learned { rules, other_refusals, complete } = learned;
    let mark = if syntax == RuleSyntax::Kdl { "//" } else { "#" };
    let place = match syntax {
        RuleSyntax::Kdl | RuleSyntax::Yaml => format!("copy it into the sandbox {name} of the Sandboxfile"),
        RuleSyntax::Flags => format!("create {name} again with these flags"),
    };
    let name = escape_controls(name);
    let mut out = format!(
        "{mark} What {name} did needs no more than this. To enforce it, {}.\n",
        escape_controls(&place)
    );
    if !complete {
        let _ = writeln!(out, "{mark} Incomplete: there was more than is recorded separately.");
    }
    if rules.is_empty() {
        let _ = writeln!(out, "{mark} It did nothing that needs a rule.");
    }
    let (indent, begin, end) = match syntax {
        RuleSyntax::Kdl if rules.is_empty() => ("", "network default=\"deny\"\n", ""),
        RuleSyntax::Yaml if rules.is_empty() => ("", "network:\n  default: deny\n", ""),
        RuleSyntax::Kdl => ("    ", "network default=\"deny\" {\n", "}\n"),
        RuleSyntax::Yaml => ("    ", "network:\n  default: deny\n  rules:\n", ""),
        RuleSyntax::Flags => ("", "--net-default deny\n", ""),
    };
    out += begin;
    let lines: Vec<_> = rules.iter().map(|rule| (syntax.format(&rule.rule), comment(rule))).collect();
    let width = lines.iter().map(|(line, _)| line.len()).max().unwrap_or_default();
    for (line, comment) in lines {
        let _ = writeln!(out, "{indent}{line:width$}  {mark} {comment}");
    }
    out += end;
    if !other_refusals.is_empty() {
        let _ = writeln!(out, "{mark} Refused, and no rule would allow it:");
    }
    for refusal in other_refusals {
        let Seen { allowed: _, refused, first, last } = refusal.seen;
        // The text says already that it was refused.
        let seen = seen(&Seen { allowed: refused, refused: 0, first, last });
        let _ = writeln!(out, "{mark}   {} ({seen})", escape_controls(&refusal.text));
    }
    out
}

fn comment(LearnedRule { rule: _, seen: times, note }: &LearnedRule) -> String {
    let note = match note {
        None => String::new(),
        Some(Note::OnlyLookedUp) => "; it was only looked up, so its ports are unknown".to_owned(),
        Some(Note::AddressOf { name }) => format!("; {name} resolves to it, and it is not public"),
    };
    format!("{}{note}", seen(times))
}

fn seen(Seen { allowed, refused, first, last }: &Seen) -> String {
    let count = match (allowed, refused) {
        (0, refused) => format!("refused {}", times(*refused)),
        (allowed, 0) => times(*allowed),
        (allowed, refused) => format!("{}, refused {}", times(*allowed), times(*refused)),
    };
    let (first, last) = (second(*first), second(*last));
    if first == last { format!("{count}, {first}") } else { format!("{count}, {first} to {last}") }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// Formats a time to the second.
fn second(time: SystemTime) -> String {
    let text = executor_log::time::format(time);
    text.split_once('.').map_or(text.clone(), |(seconds, _)| format!("{seconds}Z"))
}
