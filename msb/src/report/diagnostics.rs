//! Reports about a Sandboxfile, for a person.

use crate::output::OutputOptions;
use miette::{GraphicalReportHandler, GraphicalTheme};
use sandboxfile::Report;

/// All findings, then their count.
pub fn text(report: &Report, verbosity: &OutputOptions) -> String {
    format!("{}{report}\n", findings(report, verbosity))
}

/// All findings.
pub fn findings(report: &Report, verbosity: &OutputOptions) -> String {
    let theme =
        if verbosity.color_stderr { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false);
    let mut text = String::new();
    for located in report.located() {
        // Writing to a String does not fail.
        let _ = handler.render_report(&mut text, &located);
        text.push('\n');
    }
    if report.omitted() > 0 {
        text.push_str(&format!("… and {} more\n", report.omitted()));
    }
    text
}
