//! `tests/reports/` holds broken Sandboxfiles, each beside the report that its author gets to read.

use super::load_named;
use miette::{GraphicalReportHandler, GraphicalTheme};
use schemas::sandboxfile::{Code, Report};
use schemas::spec::limits::SANDBOXFILE_BYTES_MAX;
use std::collections::BTreeSet;
use std::path::Path;

fn render(report: &Report) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    let mut out = String::new();
    for finding in report.located() {
        handler.render_report(&mut out, &finding).unwrap();
        out.push('\n');
    }
    let lines: Vec<&str> = out.lines().map(str::trim_end).collect();
    format!("{}\n\n{report}", lines.join("\n").trim_end())
}

#[test]
fn every_code_has_a_report_that_is_pleasant_to_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reports");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(&folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut codes = BTreeSet::new();
    let mut check = |name: &str, bytes: &[u8]| {
        let report = load_named(name, bytes).expect_err(name);
        codes.extend(report.diagnostics().iter().map(|finding| finding.code));
        let places: Vec<usize> = report.diagnostics().iter().map(|finding| finding.span().start).collect();
        assert!(places.is_sorted(), "{name}: {places:?}");
        settings.bind(|| insta::assert_snapshot!(name, render(&report)));
    };
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".kdl") || name.ends_with(".yaml") {
            check(name, &std::fs::read(&path).unwrap());
        }
    }
    check("empty.kdl", b"");
    check("too-large.kdl", &vec![b' '; SANDBOXFILE_BYTES_MAX + 1]);
    check("not-utf8.kdl", b"sandbox \"caf\xE9\" {\n    image \".\"\n}\n");
    let missing: Vec<_> = Code::ALL.iter().filter(|code| !codes.contains(code)).collect();
    assert!(missing.is_empty(), "no report shows {missing:?}");
}
