//! A plan as text: one line per sandbox, its changed fields below it, and a summary line.
//!
//! ```text
//!   + create       db      not there yet
//!   ~ restart      web     env.PORT changed
//!       env.PORT     "80" → "8080"  (restart)
//!       labels.tier  not set → "front"  (live)
//!   = 3 unchanged
//!
//! Plan: 1 to create, 1 to restart, 3 unchanged.
//! ```

use crate::output::style::{CYAN, DIM, GREEN, RED, Style, YELLOW};
use crate::output::{escape_controls, words};
use schemas::plan::{Ensure, PlanGraph};
use schemas::report::{
    Action, Blocked, ChangeKind, DownState, FieldChange, Reason, Report, SandboxChange, VolumeChange,
    VolumeReason,
};

/// The appearance of an action.
struct Look {
    symbol: &'static str,
    verb: &'static str,
    color: &'static str,
}

/// The actions in the order of the summary. Unchanged sandboxes are counted after them.
const SUMMARY: [Action; 7] = [
    Action::Create,
    Action::Replace,
    Action::Restart,
    Action::Live,
    Action::Start,
    Action::Stop,
    Action::Remove,
];

fn look(action: Action) -> Look {
    let (symbol, verb, color) = match action {
        Action::Create => ("  +", "create", GREEN),
        Action::Replace => ("-/+", "replace", RED),
        Action::Restart => ("  ~", "restart", YELLOW),
        Action::Live => ("  ~", "update live", YELLOW),
        Action::Start => ("  >", "start", CYAN),
        Action::Stop => ("  #", "stop", YELLOW),
        Action::Remove => ("  -", "remove", RED),
        Action::Unchanged => ("  =", "unchanged", DIM),
    };
    Look { symbol, verb, color }
}

/// Returns the verb for an action.
pub fn verb(action: Action) -> &'static str {
    look(action).verb
}

/// Returns whether a start is the resumption of a paused sandbox.
fn is_resumed(action: Action, reason: &Reason) -> bool {
    action == Action::Start && *reason == Reason::Down { state: DownState::Paused }
}

/// Formats a plan, with a line break at the end.
pub fn text(plan: &PlanGraph, report: &Report, style: Style) -> String {
    let Report { changes, volumes, blocked } = report;
    let mut rows: Vec<Row<'_>> = Vec::new();
    for SandboxChange { name, action, reason, drift: _, fields } in changes {
        if *action != Action::Unchanged {
            rows.push(Row {
                action: *action,
                verb: if is_resumed(*action, reason) { "resume" } else { verb(*action) },
                name: name.to_string(),
                reason: words::reason(reason),
                fields,
            });
        }
    }
    for VolumeChange { name, action, reason } in volumes {
        if *action != Action::Unchanged {
            let (name, verb) = (format!("volume {name}"), volume_verb(*action, reason));
            let reason = words::volume_reason(reason);
            rows.push(Row { action: *action, verb, name, reason, fields: &[] });
        }
    }
    let mut text = String::new();
    push_rows(&mut text, &rows, style);
    let unchanged = report.unchanged();
    if unchanged > 0 {
        text.push_str(&style.paint(DIM, &format!("  = {unchanged} unchanged")));
        text.push('\n');
    }
    for VolumeChange { name, action: _, reason } in volumes {
        if let Some(hint) = words::volume_hint(reason) {
            let reason = words::volume_reason(reason);
            let reason = style.paint(DIM, &escape_controls(&format!("{reason}: {hint}")));
            text.push_str(&format!("  = volume {name}  {reason}\n"));
        }
    }
    for SandboxChange { name, action: _, reason: _, drift, fields: _ } in changes {
        if let Some(drift) = drift {
            let head = style.paint(YELLOW, "  drift:");
            text.push_str(&format!("{head} {name} {}\n", escape_controls(&words::drift(drift))));
        }
    }
    for Blocked { name, reason } in blocked {
        let head = style.paint(RED, "  ! blocked");
        text.push_str(&format!("{head}  {name}  {}\n", escape_controls(&words::block_reason(reason))));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&summary(plan, report));
    text
}

/// A sandbox or a volume that changes.
struct Row<'a> {
    action: Action,
    verb: &'static str,
    name: String,
    reason: String,
    fields: &'a [FieldChange],
}

fn push_rows(text: &mut String, rows: &[Row<'_>], style: Style) {
    let verb_width = rows.iter().map(|row| row.verb.len()).max().unwrap_or(0);
    let name_width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    for Row { action, verb, name, reason, fields } in rows {
        let Look { symbol, verb: _, color } = look(*action);
        let head = style.paint(color, &format!("{symbol} {verb:verb_width$}"));
        let reason = style.paint(DIM, &escape_controls(reason));
        text.push_str(&format!("{head}  {name:name_width$}  {reason}\n"));
        push_fields(text, fields, style);
    }
}

/// Returns the verb for an action on a volume, whose live changes are those of its size and of its sharing.
fn volume_verb(action: Action, reason: &VolumeReason) -> &'static str {
    match (action, reason) {
        (Action::Live, VolumeReason::SharingChanged { .. }) => "change",
        (Action::Live, _) => "resize",
        _ => verb(action),
    }
}

fn push_fields(text: &mut String, fields: &[FieldChange], style: Style) {
    let width = fields.iter().map(|change| change.field.chars().count()).max().unwrap_or(0);
    for FieldChange { field, old, new, kind } in fields {
        // Quotes make blanks and empty values visible; debug format escapes.
        let value = |value: &Option<String>| {
            value.as_ref().map_or("not set".to_owned(), |value| format!("{value:?}"))
        };
        let kind = style.paint(DIM, kind_text(*kind));
        let field = escape_controls(field);
        text.push_str(&format!("      {field:width$}  {} → {}  {kind}\n", value(old), value(new)));
    }
}

fn kind_text(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::None => "(recorded)",
        ChangeKind::Live => "(live)",
        ChangeKind::Restart => "(restart)",
        ChangeKind::Replace => "(replace)",
    }
}

fn summary(plan: &PlanGraph, report: &Report) -> String {
    let mut parts: Vec<String> = SUMMARY
        .iter()
        .map(|&action| (report.count(action), look(action).verb))
        .filter(|(count, _)| *count > 0)
        .map(|(count, verb)| format!("{count} to {verb}"))
        .collect();
    for action in SUMMARY {
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for change in report.volumes.iter().filter(|change| change.action == action) {
            let verb = volume_verb(action, &change.reason);
            match counts.iter_mut().find(|(known, _)| *known == verb) {
                Some((_, count)) => *count += 1,
                None => counts.push((verb, 1)),
            }
        }
        let counts = counts.into_iter();
        parts.extend(
            counts.map(|(verb, count)| format!("{} to {verb}", words::count(count, "volume", "volumes"))),
        );
    }
    if parts.is_empty() {
        let waits =
            plan.steps.values().filter(|step| matches!(step.ensure, Ensure::Condition { .. })).count();
        parts.push(match waits {
            0 => "nothing to do".to_owned(),
            waits => {
                format!("nothing to do but to wait for {}", words::count(waits, "condition", "conditions"))
            }
        });
    }
    let unchanged = report.unchanged();
    if unchanged > 0 {
        parts.push(format!("{unchanged} unchanged"));
    }
    if !report.blocked.is_empty() {
        parts.push(format!("{} blocked", report.blocked.len()));
    }
    let drifted = report.changes.iter().filter(|change| change.drift.is_some()).count();
    if drifted > 0 {
        parts.push(format!("{drifted} drifted"));
    }
    format!("Plan: {}.\n", parts.join(", "))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use schemas::digest::Digest;
    use schemas::name::{ProjectName, SandboxName, VolumeName};
    use schemas::plan::PLAN_VERSION;
    use schemas::report::{BlockReason, Drift, Effect, OrphanCause};
    use schemas::snapshot::{Exit, FailureCause, SecretProblem};
    use schemas::spec::VolumeSpec;
    use std::collections::BTreeMap;

    fn empty_plan() -> PlanGraph {
        PlanGraph {
            version: PLAN_VERSION,
            project: ProjectName::new("shop").unwrap(),
            snapshot: Digest::of_bytes(b""),
            steps: BTreeMap::new(),
        }
    }

    fn name(text: &str) -> SandboxName {
        SandboxName::new(text).unwrap()
    }

    fn changed(field: &str) -> Reason {
        Reason::FieldsChanged { fields: vec![field.to_owned()], down: None, effect: Effect::Now }
    }

    fn change(
        sandbox: &str,
        action: Action,
        reason: Reason,
        fields: &[(&str, &str, &str, ChangeKind)],
    ) -> SandboxChange {
        let value = |text: &str| (text != "-").then(|| text.to_owned());
        let fields = fields.iter().map(|&(field, old, new, kind)| FieldChange {
            field: field.to_owned(),
            old: value(old),
            new: value(new),
            kind,
        });
        SandboxChange { name: name(sandbox), action, reason, drift: None, fields: fields.collect() }
    }

    /// Returns a report that contains every action.
    pub fn sample() -> Report {
        use ChangeKind::{Live, None, Replace, Restart};
        let changes = vec![
            change(
                "api",
                Action::Restart,
                changed("env.PORT"),
                &[
                    ("depends-on.db", "-", "healthy", None),
                    ("env.PORT", "80", "8080", Restart),
                    ("labels.tier", "-", "front end", Live),
                    ("memory", "256M", "1G", Restart),
                ],
            ),
            change("cache", Action::Unchanged, Reason::AsDeclared, &[]),
            change("db", Action::Create, Reason::NotCreated, &[]),
            change(
                "job",
                Action::Start,
                Reason::Down { state: DownState::Exited { exit: Exit::Code { code: 1 } } },
                &[],
            ),
            change(
                "old",
                Action::Remove,
                Reason::Orphaned { cause: OrphanCause::NotDeclared, kept: false },
                &[],
            ),
            change(
                "proxy-server",
                Action::Live,
                changed("healthcheck.interval"),
                &[("healthcheck.interval", "10s", "2s", Live)],
            ),
            change(
                "web",
                Action::Replace,
                changed("image"),
                &[("image", "/srv/web (e3b0c44298fc)", "/srv/web (a1b2c3d4e5f6)", Replace)],
            ),
        ];
        Report { changes, ..Report::default() }
    }

    #[test]
    fn every_action_has_a_line() {
        let shown = text(&empty_plan(), &sample(), Style::default());
        insta::assert_snapshot!(shown, @r#"
          ~ restart      api           env.PORT changed
              depends-on.db  not set → "healthy"  (recorded)
              env.PORT       "80" → "8080"  (restart)
              labels.tier    not set → "front end"  (live)
              memory         "256M" → "1G"  (restart)
          + create       db            not there yet
          > start        job           exited with code 1
          - remove       old           no longer in the Sandboxfile
          ~ update live  proxy-server  healthcheck.interval changed
              healthcheck.interval  "10s" → "2s"  (live)
        -/+ replace      web           image changed
              image  "/srv/web (e3b0c44298fc)" → "/srv/web (a1b2c3d4e5f6)"  (replace)
          = 1 unchanged

        Plan: 1 to create, 1 to replace, 1 to restart, 1 to update live, 1 to start, 1 to remove, 1 unchanged.
        "#);
    }

    #[test]
    fn a_paused_sandbox_is_resumed() {
        let paused = || Reason::Down { state: DownState::Paused };
        let changes = vec![change("web", Action::Start, paused(), &[])];
        let shown = text(&empty_plan(), &Report { changes, ..Report::default() }, Style::default());
        assert!(shown.starts_with("  > resume  web  paused\n"), "{shown}");
    }

    #[test]
    fn volumes_drift_and_blocked_sandboxes_are_shown() {
        let volume = |text: &str, action, reason| VolumeChange {
            name: VolumeName::new(text).unwrap(),
            action,
            reason,
        };
        let created = |VolumeSpec { kind, size_mib, shared: _ }| VolumeReason::NotCreated { kind, size_mib };
        let db_blocked = BlockReason::Dependency { name: name("db") };
        let problem = SecretProblem::NotSet { variable: "API_TOKEN".to_owned() };
        let secret = BlockReason::SecretUnusable { name: "TOKEN".to_owned(), problem };
        let drifted = SandboxChange {
            drift: Some(Drift::Stopped),
            ..change("web", Action::Start, Reason::Down { state: DownState::Stopped }, &[])
        };
        let report = Report {
            changes: vec![
                change("api", Action::Unchanged, Reason::Blocked { cause: db_blocked.clone() }, &[]),
                change("db", Action::Unchanged, Reason::Blocked { cause: secret.clone() }, &[]),
                change("ok", Action::Unchanged, Reason::AsDeclared, &[]),
                drifted,
            ],
            volumes: vec![
                volume("cache", Action::Create, created(VolumeSpec::directory(None))),
                volume("data", Action::Create, created(VolumeSpec::disk(1024))),
                volume("logs", Action::Live, VolumeReason::Grows { from_mib: 1024, to_mib: 2048 }),
                volume(
                    "mail",
                    Action::Live,
                    VolumeReason::LimitChanged { from_mib: None, to_mib: Some(1024) },
                ),
                volume("media", Action::Live, VolumeReason::SharingChanged { shared: true }),
                volume("old", Action::Unchanged, VolumeReason::Orphaned),
                volume("same", Action::Unchanged, VolumeReason::AsDeclared),
            ],
            blocked: vec![
                Blocked { name: name("api"), reason: db_blocked },
                Blocked { name: name("db"), reason: secret },
            ],
        };
        let shown = text(&empty_plan(), &report, Style::default());
        insta::assert_snapshot!(shown, @r"
          > start   web           stopped
          + create  volume cache  not there yet, directory
          + create  volume data   not there yet, 1G
          ~ resize  volume logs   from 1G to 2G
          ~ resize  volume mail   from no limit to at most 1G
          ~ change  volume media  shared from now on
          = 1 unchanged
          = volume old  no longer in the Sandboxfile, kept: `msb down -v` removes it
          drift: web was stopped, though it should run
          ! blocked  api  db is blocked
          ! blocked  db  the secret TOKEN cannot be used: the variable API_TOKEN is not set

        Plan: 1 to start, 2 volumes to create, 2 volumes to resize, 1 volume to change, 1 unchanged, 2 blocked, 1 drifted.
        ");
    }

    #[test]
    fn colors_are_optional() {
        let report = Report {
            changes: vec![change("db", Action::Create, Reason::NotCreated, &[])],
            ..Report::default()
        };
        let shown = text(&empty_plan(), &report, Style { color: true });
        assert!(
            shown.starts_with("\x1b[32m  + create\x1b[0m  db  \x1b[2mnot there yet\x1b[0m\n"),
            "{shown:?}"
        );
        assert!(!text(&empty_plan(), &sample(), Style::default()).contains('\x1b'));
    }

    #[test]
    fn a_plan_without_steps_has_nothing_to_do() {
        let unchanged = Report {
            changes: vec![change("a", Action::Unchanged, Reason::AsDeclared, &[])],
            ..Report::default()
        };
        let shown = text(&empty_plan(), &unchanged, Style::default());
        assert_eq!(shown, "  = 1 unchanged\n\nPlan: nothing to do, 1 unchanged.\n");
        assert_eq!(text(&empty_plan(), &Report::default(), Style::default()), "Plan: nothing to do.\n");
    }

    #[test]
    fn values_and_reasons_are_escaped() {
        let fields = [("env.X\x1b", "a\x1b[31m\u{202E}b", "", ChangeKind::Restart)];
        let exit = Exit::Failure { cause: FailureCause::Other, message: "\x1b[2Jgone".to_owned() };
        let failed = Reason::Down { state: DownState::Exited { exit } };
        let changes = vec![change("a", Action::Start, failed, &fields)];
        let reason = BlockReason::SecretUnusable { name: "no\x07".to_owned(), problem: SecretProblem::Empty };
        let blocked = vec![Blocked { name: name("b"), reason }];
        let shown = text(&empty_plan(), &Report { changes, blocked, ..Report::default() }, Style::default());
        assert!(
            !shown.contains(|c: char| c.is_control() && c != '\n') && !shown.contains('\u{202E}'),
            "{shown:?}"
        );
        assert!(shown.contains(r#""a\u{1b}[31m\u{202e}b" → """#), "{shown}");
        assert!(shown.ends_with("Plan: 1 to start, 1 blocked.\n"));
    }
}
