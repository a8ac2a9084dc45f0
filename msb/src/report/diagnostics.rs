//! Reports about a Sandboxfile for people.

use crate::output::OutputOptions;
use miette::{GraphicalReportHandler, GraphicalTheme};
use sandboxfile::Report;

/// Formats all findings and their number.
pub fn text(report: &Report, output: &OutputOptions) -> String {
    format!("{}{report}\n", findings(report, output))
}

/// Formats all findings.
pub fn findings(report: &Report, output: &OutputOptions) -> String {
    let theme =
        if output.color_stderr { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
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
