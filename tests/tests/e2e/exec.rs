//! `msb exec`: input, output, environment and exit code.

use tests::Project;

const SANDBOXFILE: &str = r#"
sandbox "box" {
    image "@image"
    env { COLOUR "grün"; KEPT "yes" }
    workdir "/srv"
    script "say" "printf '%s' \"$*\""
}
"#;

/// More than any buffer in between, in bytes.
const LARGE: usize = 3_000_000;

#[test]
fn exec_runs_commands() {
    let project = Project::new(SANDBOXFILE);
    project.up();

    exit_codes(&project);
    streams(&project);
    environment(&project);
    terminals(&project);
    detached(&project);
    several_at_once(&project);
    without_input(&project);
    successors(&project);
    mistakes(&project);

    project.down();
}

fn exit_codes(project: &Project) {
    let code = |command: &[&str]| {
        let arguments: Vec<_> = ["exec", "box", "--"].iter().chain(command).copied().collect();
        project.run(&arguments)
    };
    code(&["true"]).exits(0).prints("");
    code(&["sh", "-c", "exit 42"]).exits(42);
    code(&["sh", "-c", "kill -TERM $$"]).exits(128 + 15);
    code(&["not-there"]).exits(127).says("not-there");
    code(&["/etc/passwd"]).exits(126).says("/etc/passwd");
    project.run(&["exec", "box", "--timeout", "300ms", "--", "sleep", "1000"]).exits(124);
    // The command does not survive the timeout.
    let running = project.exec("box", &["ps"]);
    assert!(!running.contains("sleep 1000"), "{running}");
}

/// A client sees no output of sessions of clients that died before.
fn successors(project: &Project) {
    for _ in 0..8 {
        let mut flood =
            project.msb(&["exec", "box", "--", "sh", "-c", "while :; do echo flood; done"]).live();
        flood.until("flood");
        // Kills it.
        drop(flood);
        assert_eq!(project.exec("box", &["echo", "mine"]), "mine");
    }
}

fn streams(project: &Project) {
    project.ok(&["exec", "box", "--", "sh", "-c", "echo out; echo err >&2"]).prints("out\n").says("err");
    let bytes: Vec<u8> = (0..LARGE).map(|index| (index * 7 % 256) as u8).collect();
    let echoed = project.msb(&["exec", "box", "--", "cat"]).input(bytes.clone()).run().ok();
    assert!(echoed.stdout == bytes, "{} of {LARGE} bytes came back, or other ones", echoed.stdout.len());
    let counted = project.msb(&["exec", "box", "--", "wc", "-c"]).input(bytes).run().ok();
    assert_eq!(counted.out().trim(), LARGE.to_string());
    // A command need not read its input.
    project.msb(&["exec", "box", "--", "echo", "done"]).input(vec![b'x'; LARGE]).run().ok().prints("done\n");
}

fn environment(project: &Project) {
    let run = |arguments: &[&str], command: &[&str]| {
        let arguments: Vec<_> =
            ["exec", "box"].iter().chain(arguments).chain(&["--"]).chain(command).copied().collect();
        project.ok(&arguments).out().trim_end().to_owned()
    };
    assert_eq!(run(&[], &["pwd"]), "/srv");
    assert_eq!(run(&["--workdir", "/tmp"], &["pwd"]), "/tmp");
    assert_eq!(run(&[], &["sh", "-c", "echo $COLOUR $KEPT"]), "grün yes");
    assert_eq!(
        run(&["-e", "COLOUR=blau", "-e", "X=a=b"], &["sh", "-c", "echo $COLOUR $KEPT $X"]),
        "blau yes a=b"
    );
    assert_eq!(run(&[], &["id", "-u"]), "0");
    assert_eq!(run(&["--user", "app"], &["id", "-un"]), "app");
    assert_eq!(run(&["--user", "1000:0"], &["sh", "-c", "echo $(id -u):$(id -g)"]), "1000:0");
    // A numeric user is an id, even if the image has a user of this name.
    run(&[], &["sh", "-c", "echo 1234:x:0:0:trick:/root:/bin/sh >>/etc/passwd"]);
    assert_eq!(run(&["--user", "1234"], &["id", "-u"]), "1234");
    assert_eq!(run(&[], &["say", "a b", "c"]), "a b c");
    assert_eq!(run(&[], &["hostname"]), "box");
    // Commands share the file system.
    run(&[], &["sh", "-c", "echo kept >/var/log/note"]);
    assert_eq!(run(&[], &["cat", "/var/log/note"]), "kept");
    let long = "x".repeat(100_000);
    assert_eq!(run(&["-e", &format!("LONG={long}")], &["sh", "-c", "echo ${#LONG}"]), "100000");
}

fn terminals(project: &Project) {
    project.run(&["exec", "box", "--", "test", "-t", "1"]).exits(1);
    project
        .ok(&["exec", "-t", "box", "--", "sh", "-c", "test -t 0 && test -t 1 && echo terminal"])
        .prints("terminal\r\n");
}

/// A detached command outlives its client, and its output is logged.
fn detached(project: &Project) {
    let script = "echo set off as $(id -un); until [ -e /tmp/go ]; do sleep 0.1; done; echo over >/tmp/over";
    let run = project.ok(&["exec", "-d", "-u", "app", "-w", "/tmp", "box", "--", "sh", "-c", script]);
    let id: u64 = run.out().trim().parse().expect("an ID");
    project.ok(&["exec", "box", "--", "touch", "/tmp/go"]);
    let wait = "i=0; until [ -e /tmp/over ]; do i=$((i + 1)); [ $i -lt 300 ] || exit 1; sleep 0.1; done";
    project.ok(&["exec", "box", "--", "sh", "-c", wait]);
    project.ok(&["logs", "box", "--job", &id.to_string()]).prints("set off as app\n");
    project.run(&["exec", "-d", "box", "--", "not-there"]).exits(127).says("not-there");
}

fn several_at_once(project: &Project) {
    let running: Vec<_> = (0..12)
        .map(|index| {
            let text = format!("echo {index}; cat; exit {index}");
            (
                index,
                project.msb(&["exec", "box", "--", "sh", "-c", &text]).input(format!("in {index}\n")).start(),
            )
        })
        .collect();
    for (index, run) in running {
        run.finish().exits(index).prints(&format!("{index}\nin {index}\n"));
    }
}

fn without_input(project: &Project) {
    let line = "printf 'a\nb\n' | while read -r word; do msb exec -n box -- sh -c \"cat; echo $word\"; done";
    project.shell(line).run().ok().prints("a\nb\n");
    project.run(&["exec", "-n", "-t", "box", "--", "true"]).exits(64);
}

fn mistakes(project: &Project) {
    project.run(&["exec", "bax", "--", "true"]).exits(6).says("bax").says("box");
    project.run(&["exec", "box"]).exits(64);
    project.run(&["exec", "box", "--user", "nobody-here", "--", "true"]).exits(126).says("nobody-here");
    project
        .run(&["exec", "box", "--workdir", "/not/there", "--", "true"])
        .exits(126)
        .says("workdir \"/not/there\": no such directory");
    project.run(&["exec", "box", "-e", "NOVALUE", "--", "true"]).exits(64).says("NOVALUE");
}

/// The kernel takes 128 KiB for a single variable, and 2 MiB for all of them.
#[test]
fn environments_of_a_megabyte_arrive() {
    const LENGTH: usize = 120_000;
    let value = |index: usize| ((b'a' + index as u8) as char).to_string().repeat(LENGTH);
    let declared: Vec<_> = (0..9).map(|index| format!("V{index} \"{}\"", value(index))).collect();
    let start = "start \"sh\" \"-c\" \"echo ${#V0} ${#V8} >/lengths; exec sleep 1000000\"";
    let project = Project::new(&format!(
        "sandbox \"box\" {{ image \"@image\"; env {{ {} }}; {} }}\n",
        declared.join("; "),
        start.replace('$', "$$")
    ));
    project.up();
    let sum =
        "for n in V0 V8; do eval echo \\${#$n}; done; printf %s \"$V0$V8\" | tr -d ai | wc -c; env | wc -c";
    let lengths = format!("{LENGTH}\n{LENGTH}\n0\n");
    let all = project.exec("box", &["sh", "-c", sum]);
    let count = all.strip_prefix(&lengths).and_then(|count| count.trim().parse::<usize>().ok());
    assert!(count.is_some_and(|count| count > 1024 * 1024), "{all}");
    assert_eq!(project.exec("box", &["cat", "/lengths"]), format!("{LENGTH} {LENGTH}"));

    // Variables of `exec` replace declared ones.
    let given: Vec<_> = (0..9).map(|index| format!("V{index}={}", value(index + 9))).collect();
    let mut arguments = vec!["exec", "box"];
    arguments.extend(given.iter().flat_map(|pair| ["-e", pair]));
    // Each value consists of a letter of its own, so removing that letter shows that all bytes are right.
    let last = "printf %s \"$V8\" | wc -c; printf %s \"$V0$V8\" | tr -d jr | wc -c; env | wc -c";
    arguments.extend(["--", "sh", "-c", last]);
    let run = project.ok(&arguments);
    let words: Vec<_> = run.out().split_whitespace().collect();
    assert_eq!(words[..2], [LENGTH.to_string().as_str(), "0"]);
    assert!(words[2].parse::<usize>().is_ok_and(|count| count > 1024 * 1024), "{words:?}");

    // A variable above the kernel's limit is an error.
    project.write("long", &"x".repeat(200_000));
    let line =
        "printf 'BIG=%s' \"$(cat long)\" >big.env; msb create \"$IMAGE\" --name big --env-file big.env";
    let image = project.directory().join("test-image");
    project.shell(line).env("IMAGE", image).run().ok();
    project.run(&["exec", "big", "--", "true"]).exits(126).says("argument");
    project.ok(&["rm", "-f", "big"]);
    project.down();
}
