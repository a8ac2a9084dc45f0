//! Arbitrary bytes pass `exec` and the log unchanged.

use std::fs;
use tests::Project;

/// The length of the long line in bytes: more than the limits of a frame, a log entry and a log file.
const LONG_LINE_BYTES: usize = 10 * 1024 * 1024;

/// Returns all pairs of bytes: line feeds, carriage returns, escapes and invalid UTF-8 among them.
fn pairs() -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..=255u8).flat_map(|first| (0..=255u8).flat_map(move |second| [first, second])).collect();
    bytes.push(b'\n');
    bytes
}

/// Returns a line of pseudo-random bytes.
fn long_line() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(LONG_LINE_BYTES + 1);
    while bytes.len() < LONG_LINE_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = state.to_le_bytes();
        bytes.extend(word.iter().filter(|byte| **byte != b'\n'));
    }
    bytes.truncate(LONG_LINE_BYTES);
    bytes.push(b'\n');
    bytes
}

/// Writes characters of two, three and four bytes in two parts with a pause, split at every position.
const SPLIT: &str = r"
part() { printf $1; sleep 0.1; printf $2; }
part '\303' '\251'; part '\342' '\202\254'; part '\342\202' '\254'
part '\360' '\237\246\200'; part '\360\237' '\246\200'; part '\360\237\246' '\200\n'
";
const JOINED: &str = "é€€🦀🦀🦀\n";

fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    let differ = found.iter().zip(expected).position(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{what}: {} of {} bytes; first difference: {differ:?}",
        found.len(),
        expected.len()
    );
}

#[test]
fn bytes_pass_unchanged() {
    let project = Project::new("sandbox \"box\" { image \"@image\" }\n");
    project.up();
    let follower = project.msb(&["logs", "-f", "--raw", "box"]).start();
    let (pairs, long) = (pairs(), long_line());
    for bytes in [&pairs, &long] {
        let echoed = project.msb(&["exec", "box", "--", "cat"]).input(bytes.clone()).run().ok();
        assert_same(&echoed.stdout, bytes, "exec");
    }
    let split = project.ok(&["exec", "box", "--", "sh", "-c", SPLIT]);
    assert_same(&split.stdout, JOINED.as_bytes(), "exec of split characters");

    let expected = [&pairs, &long, JOINED.as_bytes()].concat();
    assert_same(&project.ok(&["logs", "--raw", "box"]).stdout, &expected, "logs");
    // The log has the split characters as text.
    let json = project.ok(&["logs", "--json", "--tail", "1", "box"]).json();
    assert_eq!((&json["d"], &json["e"]), (&JOINED.trim_end().into(), &serde_json::Value::Null));
    let mut files = project.log_files("box", "exec.log").into_iter();
    let file = files.find(|path| path.ends_with("exec.log")).expect("the current file");
    let log = fs::read(file).expect("a log");
    let log = std::str::from_utf8(&log[log.len().saturating_sub(4096)..]).expect("UTF-8");
    assert!(log.contains("\"d\":\"é\"") || log.contains("\"d\":\"é€"), "the characters are not joined");
    project.down();
    assert_same(&follower.finish().stdout, &expected, "logs -f");
}
