//! `msb logs`: complete output in order, followers, rotation and cursors.

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use tests::{Project, Run};

const SANDBOXFILE: &str = r#"
project "talk"
sandbox "chatty" {
    image "@image"
    script "talk" """
        echo "first"
        echo "a complaint" >&2
        echo "Grüße, 日本"
        printf 'no newline at the end'
        touch /tmp/said
        exec sleep 1000000
        """
    start "talk"
    healthcheck { exec "test" "-e" "/tmp/said" }
}
job "brief" {
    image "@image"
    script "count" "for n in 1 2 3 4 5; do echo \"line $n\"; done"
    start "count"
}
"#;

#[test]
fn logs_contain_the_output() {
    let project = Project::new(SANDBOXFILE);
    project.up();

    project.ok(&["logs", "brief"]).prints("line 1\nline 2\nline 3\nline 4\nline 5\n");
    project.ok(&["logs", "--tail", "2", "brief"]).prints("line 4\nline 5\n");
    let chatty = project.ok(&["logs", "chatty"]);
    for line in ["first\n", "a complaint\n", "Grüße, 日本\n"] {
        assert!(chatty.out().contains(line), "{:?}", chatty.out());
    }
    // Lines of several sandboxes begin with their names.
    let all = project.ok(&["logs"]);
    assert!(
        all.out().lines().any(|line| line.starts_with("chatty") && line.ends_with("| first")),
        "{:?}",
        all.out()
    );
    assert!(
        all.out().lines().any(|line| line.starts_with("brief") && line.ends_with("| line 5")),
        "{:?}",
        all.out()
    );

    let entries: Vec<serde_json::Value> = project
        .ok(&["logs", "--json", "chatty"])
        .out()
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let of = |source: &str| -> Vec<&str> {
        entries.iter().filter(|entry| entry["s"] == source).filter_map(|entry| entry["d"].as_str()).collect()
    };
    assert_eq!(of("stdout"), ["first", "Grüße, 日本", "no newline at the end"]);
    assert_eq!(of("stderr"), ["a complaint"]);
    assert!(entries.iter().all(|entry| entry["t"].as_str().is_some_and(|time| time.ends_with('Z'))));

    let stamped = project.ok(&["logs", "--timestamps", "--tail", "1", "brief"]);
    assert!(stamped.out().contains("T") && stamped.out().ends_with("line 5\n"), "{:?}", stamped.out());
    project.run(&["logs", "bref"]).exits(6).says("bref").says("brief");

    // A follower prints new lines and ends with the sandbox.
    let follower = project.msb(&["logs", "-f", "chatty"]).start();
    project.exec("chatty", &["sh", "-c", "echo from a session"]);
    project.down();
    let followed = follower.finish();
    assert!(followed.out().contains("first\n"), "{:?}", followed.out());
    assert!(followed.out().contains("from a session"), "{:?}", followed.out());
}

/// Logs are rotated at the smallest size, and one rotated file is kept.
const SMALL_LOGS: &str = r#"{"log": {"rotate_at": "64K", "keep": 1}}"#;

fn objects(run: &Run) -> Vec<Value> {
    run.out().lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[test]
fn logs_are_rotated_and_read_across_files() {
    let project = Project::new(
        r#"
project "bounded"
sandbox "one" {
    image "@image"
    env { ROUND "first" }
    start "sh" "-c" "printf 'a\\033[2Jb\\377\\n'; exec sleep 1000000"
}
"#,
    );
    fs::create_dir_all(project.home()).expect("a new folder can be made");
    fs::write(project.home().join("config.json"), SMALL_LOGS).expect("the home can be written to");
    project.up();
    // Control characters are escaped; `--raw` prints the bytes.
    project.wait_for_output(&["logs", "one"], "b");
    project.ok(&["logs", "one"]).prints("a\\u{1b}[2Jb\\xff\n");
    assert_eq!(project.ok(&["logs", "--raw", "one"]).stdout, b"a\x1b[2Jb\xff\n");
    let first = &objects(&project.ok(&["logs", "--json", "one"]))[0];
    assert_eq!((&first["d"], &first["e"]), (&"YRtbMkpi/w==".into(), &"b64".into()));

    project
        .exec("one", &["sh", "-c", "n=0; while [ $n -lt 12000 ]; do echo line number $n; n=$((n+1)); done"]);
    let lines = objects(&project.ok(&["logs", "--json", "one"]));
    let number = |line: &Value| -> u32 {
        line["d"].as_str().expect("text").rsplit(' ').next().expect("a word").parse().expect("a number")
    };
    let numbers: Vec<u32> = lines.iter().map(number).collect();
    assert_eq!(numbers.last(), Some(&11999));
    assert!(numbers[0] > 0 && numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    let files = project.log_files("one", "exec.log.0");
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|file| file.metadata().expect("a log").len() <= 128 * 1024));

    // Cursors of removed lines and of other logs are errors.
    let missed = project.run(&["logs", "-f", "--cursor", first["cursor"].as_str().expect("text"), "one"]);
    missed.exits(1).prints("").says("missed a rotation").says("hint: ");
    let near_the_end = lines[lines.len() - 3]["cursor"].as_str().expect("text");
    let rest = project.ok(&["logs", "--cursor", near_the_end, "one"]);
    rest.prints("line number 11998\nline number 11999\n");
    project.run(&["logs", "--cursor", "1~0", "one"]).exits(64).says("is not a cursor");

    project
        .ok(&["logs", "--grep", r"number 119\d8$", "--tail", "2", "one"])
        .prints("line number 11988\nline number 11998\n");
    project.ok(&["logs", "--since", "2030-01-01T00:00:00Z", "one"]).prints("");
    project.ok(&["logs", "--until", "1h", "one"]).prints("");
    project.ok(&["logs", "--since", "1h", "--tail", "1", "one"]).prints("line number 11999\n");
    project.run(&["logs", "--since", "yesterday", "one"]).exits(64).says("an age such as 30s");
    // A guest's kernel log is empty without problems.
    project.ok(&["logs", "--source", "kernel", "one"]);
    let run = project.ok(&["logs", "--source", "runtime", "--timestamps", "one"]);
    assert!(run.out().starts_with("20") && run.out().contains("guest ready"), "{}", run.out());

    // Session numbers continue after a restart.
    let last = lines.iter().filter_map(|line| line["id"].as_u64()).max().expect("there are sessions");
    let text = fs::read_to_string(project.directory().join("Sandboxfile")).expect("it can be read");
    project.write("Sandboxfile", &text.replace("first", "second"));
    project.up();
    project.exec("one", &["echo", "again"]);
    let again = objects(&project.ok(&["logs", "--json", "--tail", "1", "one"]));
    assert!(again[0]["id"].as_u64().is_some_and(|id| id > last), "{again:?}");
    project.down();
}

#[test]
fn a_killed_follower_is_resumed_by_its_cursor() {
    let project = Project::new(
        r#"
project "resumed"
sandbox "one" {
    image "@image"
    script "count" "n=0; while [ $n -lt 3000 ]; do echo $n; n=$((n+1)); done; echo over; exec sleep 1000000"
    start "count"
}
"#,
    );
    project.ok(&["up", "-d"]);
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    while seen.last().is_none_or(|last| last != "over") {
        let mut arguments = vec!["logs", "-f", "--json", "one"];
        arguments.extend(cursor.as_deref().into_iter().flat_map(|cursor| ["--cursor", cursor]));
        let mut command = project.msb(&arguments).into_command();
        let mut child = command.stdout(Stdio::piped()).spawn().expect("msb can be run");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        for line in stdout.lines().take(500) {
            let line: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
            seen.push(line["d"].as_str().expect("text").to_owned());
            cursor = line["cursor"].as_str().map(str::to_owned);
            if seen.last().is_some_and(|last| last == "over") {
                break;
            }
        }
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
    }
    let expected: Vec<String> = (0..3000).map(|number| number.to_string()).chain(["over".into()]).collect();
    assert_eq!(seen, expected);
    project.down();
}
