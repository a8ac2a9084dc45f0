//! Plans and reports as text, for golden files.

use schemas::plan::PlanGraph;
use schemas::report::Report;
use std::fmt::Write;

pub fn text(plan: &PlanGraph, report: &Report) -> String {
    let mut text = String::new();
    for change in &report.changes {
        writeln!(text, "{} {:?}: {:?}", change.name, change.action, change.reason).unwrap();
        if let Some(drift) = &change.drift {
            writeln!(text, "    drift: {drift:?}").unwrap();
        }
        for field in &change.fields {
            let value =
                |value: &Option<String>| value.as_ref().map_or("-".to_owned(), |value| format!("{value:?}"));
            writeln!(
                text,
                "    {:?} {}: {} → {}",
                field.kind,
                field.field,
                value(&field.old),
                value(&field.new)
            )
            .unwrap();
        }
    }
    for volume in &report.volumes {
        writeln!(text, "volume {} {:?}: {:?}", volume.name, volume.action, volume.reason).unwrap();
    }
    for blocked in &report.blocked {
        writeln!(text, "blocked {}: {:?}", blocked.name, blocked.reason).unwrap();
    }
    text.push('\n');
    for (id, step) in &plan.steps {
        let after: Vec<_> = step.after.iter().map(ToString::to_string).collect();
        match after.is_empty() {
            true => writeln!(text, "{id}").unwrap(),
            false => writeln!(text, "{id} <- {}", after.join(", ")).unwrap(),
        }
    }
    text
}
