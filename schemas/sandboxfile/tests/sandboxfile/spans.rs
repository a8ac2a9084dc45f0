//! Labels cover exactly the text that they are about, also after text that is not ASCII.

use super::{load_kdl, load_yaml};
use sandboxfile::Report;

/// Returns the text of the primary labels of a report.
fn covered(report: &Report) -> Vec<&str> {
    report
        .diagnostics()
        .iter()
        .map(|finding| &report.text()[finding.span().start..finding.span().end])
        .collect()
}

#[test]
fn kdl() {
    let text = "/* ünïcödé 🦀 */ sandbox \"web\" { image \".\"; env { É \"日本語\"; É \"🦀\" }; cpus \"zwölf\"; memory \"1X\" }\r\n\
                // é\r\n\tsandbox \"日本\" { imägé \".\"; image \"ghcr.io/é\" }\r\n";
    let report = load_kdl(&format!("\u{FEFF}{text}")).unwrap_err();
    assert_eq!(covered(&report), ["É", "\"zwölf\"", "\"1X\"", "\"日本\"", "imägé", "\"ghcr.io/é\""]);
    assert_eq!(report.position(report.diagnostics()[4].span().start).0, 3);
}

#[test]
fn yaml() {
    let text = "\u{FEFF}# ünïcödé 🦀\r\nsandboxes:\r\n  web: { image: ., env: { É: 日本語, É: '🦀' }, cpus: zwölf, memory: 1X }\r\n  日本:\r\n    imägé: .\r\n    image: ghcr.io/é\r\n    hint: |\r\n      é\r\n";
    let report = load_yaml(text).unwrap_err();
    assert_eq!(covered(&report), ["É", "zwölf", "1X", "日本", "imägé", "ghcr.io/é", "hint"]);
}

#[test]
fn printed_text_cannot_steer_a_terminal() {
    let text = "a \"\u{1B}[2J\" \u{9B}1m \u{202E} \rx\r\n é true";
    let report = load_kdl(text).unwrap_err();
    assert_eq!(report.text().len(), text.len());
    assert!(!report.text().contains(['\u{1B}', '\u{9B}', '\u{202E}']));
    assert!(report.text().contains("?x\r\n é true"));
}

#[test]
fn yaml_syntax() {
    let report = load_yaml("# éééééé\nsandboxes:\n  é: [a, b\n").unwrap_err();
    assert_eq!(covered(&report), ["["]);
    let report = load_yaml("é: *nö-such\n").unwrap_err();
    assert_eq!(covered(&report), ["*nö-such"]);
}

#[test]
fn kdl_syntax() {
    let report = load_kdl("é \"日本\n🦀 true\n").unwrap_err();
    assert_eq!(covered(&report), ["\"日本", "true"]);
}
