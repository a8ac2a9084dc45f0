//! Bytes come out of a guest as they went in: through `exec`, and through the log.

use std::fs;
use std::path::Path;
use tests::Project;

/// The long line, in bytes: more than a frame, an entry of the log or a file of it holds.
const LONG_LINE_BYTES: usize = 10 * 1024 * 1024;

/// Every byte behind every other one: line feeds, carriage returns, escapes, and all that is no UTF-8.
fn pairs() -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..=255u8).flat_map(|first| (0..=255u8).flat_map(move |second| [first, second])).collect();
    bytes.push(b'\n');
    bytes
}

/// A line that is no text at all, and does not repeat.
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

/// Characters of two, three and four bytes, each written in two parts with a pause between, at every place.
const SPLIT: &str = r"
part() { printf $1; sleep 0.1; printf $2; }
part '\303' '\251'; part '\342' '\202\254'; part '\342\202' '\254'
part '\360' '\237\246\200'; part '\360\237' '\246\200'; part '\360\237\246' '\200\n'
";
const JOINED: &str = "é€€🦀🦀🦀\n";

fn same(found: &[u8], expected: &[u8], what: &str) {
    let differ = found.iter().zip(expected).position(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{what}: {} of {} bytes came; the first that differs: {differ:?}",
        found.len(),
        expected.len()
    );
}

#[test]
fn bytes_come_out_as_they_went_in() {
    let project = Project::new("sandbox \"box\" { image \"@image\" }\n");
    project.up();
    let follower = project.msb(&["logs", "-f", "--raw", "box"]).start();
    let (pairs, long) = (pairs(), long_line());
    for bytes in [&pairs, &long] {
        let echoed = project.msb(&["exec", "box", "--", "cat"]).input(bytes.clone()).run().ok();
        same(&echoed.stdout, bytes, "exec");
    }
    let split = project.ok(&["exec", "box", "--", "sh", "-c", SPLIT]);
    same(&split.stdout, JOINED.as_bytes(), "exec of split characters");

    let expected = [&pairs, &long, JOINED.as_bytes()].concat();
    same(&project.ok(&["logs", "--raw", "box"]).stdout, &expected, "logs");
    // What is text is in the log as text: characters are whole again.
    let json = project.ok(&["logs", "--json", "--tail", "1", "box"]).json();
    assert_eq!((&json["d"], &json["e"]), (&JOINED.trim_end().into(), &serde_json::Value::Null));
    let log = logged(project.home());
    assert!(log.contains("\"d\":\"é\"") || log.contains("\"d\":\"é€"), "the characters are not joined");
    project.down();
    same(&follower.finish().stdout, &expected, "logs -f");
}

/// The end of `exec.log`.
fn logged(home: &Path) -> String {
    let folder = fs::read_dir(home.join("sandboxes")).expect("there are sandboxes").next();
    let path = folder.expect("there is one").expect("it can be read").path().join("logs/exec.log");
    let bytes = fs::read(path).expect("it can be read");
    String::from_utf8(bytes[bytes.len().saturating_sub(4096)..].to_vec()).expect("a log is UTF-8")
}
