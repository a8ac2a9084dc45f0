//! Written logs are read completely, once, in order, from any position, across rotations.
#![allow(clippy::unwrap_used, reason = "it is a test")]

use executor_log::{
    Cursor, EXEC_LOG, KERNEL_LOG, LogError, LogLine, LogStream, LogWatch, ReadOptions, Rotation, Source,
    Start, TextWriter, Woken, Writer, last_lines, read_logs, time,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Small segments, all of them kept.
const MANY: Rotation = Rotation { max_bytes: 4 * 1024, keep: u32::MAX };

/// A deterministic pseudo-random generator.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Writes a random chunk of output of a random session: text, parts of characters, any bytes, with and without line
/// feeds.
fn write_something(writer: &mut Writer, dice: &mut Dice, written: &mut BTreeMap<(u64, Source), Vec<u8>>) {
    let session = dice.below(4) + 1;
    let source = if dice.below(3) == 0 { Source::Stderr } else { Source::Stdout };
    let length = if dice.below(50) == 0 { 20_000 } else { dice.below(60) };
    let kind = dice.below(3);
    let data: Vec<u8> = (0..length)
        .map(|place| match kind {
            0 => dice.below(256) as u8,
            1 => "🦀é\n"[..].as_bytes()[place as usize % 7],
            _ => b"abcdefgh \n"[dice.below(10) as usize],
        })
        .collect();
    writer.output(session, source, &data).unwrap();
    written.entry((session, source)).or_default().extend(data);
}

/// Completes the lines of all sessions.
fn end_lines(writer: &mut Writer, written: &mut BTreeMap<(u64, Source), Vec<u8>>) {
    for ((session, source), bytes) in written {
        writer.output(*session, *source, b"\n").unwrap();
        bytes.push(b'\n');
    }
}

/// Joins lines to output.
fn joined(lines: &[LogLine]) -> BTreeMap<(u64, Source), Vec<u8>> {
    let mut output: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    for line in lines {
        let bytes = output.entry((line.session.unwrap(), line.source)).or_default();
        bytes.extend(&line.data);
        bytes.extend(line.ends.then_some(b'\n'));
    }
    output
}

fn read(folder: &Path, options: &ReadOptions) -> Vec<LogLine> {
    read_logs(folder, options, &|_| true).unwrap().map(Result::unwrap).collect()
}

fn texts(lines: &[LogLine]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8_lossy(&line.data).into_owned()).collect()
}

fn exec(folder: &Path) -> Writer {
    Writer::open(folder, Rotation::default()).unwrap()
}

#[test]
fn an_open_line_is_returned_once_to_resuming_readers() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = exec(folder.path());
    writer.output(1, Source::Stdout, b"prompt> ").unwrap();
    writer.output(2, Source::Stdout, b"whole\n").unwrap();
    let mut start = Start::Beginning;
    let mut given = Vec::new();
    for _ in 0..4 {
        let options = ReadOptions { start, ..ReadOptions::default() };
        let mut read = read_logs(folder.path(), &options, &|_| true).unwrap();
        given.extend(read.next().map(Result::unwrap));
        start = Start::Cursor(read.cursor().to_string().parse().unwrap());
    }
    assert_eq!(texts(&given), ["whole", "prompt> "]);
}

#[test]
fn a_reader_that_resumes_anywhere_loses_and_repeats_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(0x1234_5678_9abc_def1);
    let mut writer = Writer::open(folder.path(), MANY).unwrap();
    let mut written = BTreeMap::new();
    let open = |start: &Start| LogStream::open(folder.path(), &Source::DEFAULT, start).unwrap();
    let mut steady = open(&Start::Beginning);
    let mut cut_off = open(&Start::Beginning);
    let (mut whole, mut parts, mut cuts) = (Vec::new(), Vec::new(), 0);
    for round in 0..1_500 {
        if round % 500 == 499 {
            // A new supervisor. Open lines are completed first, so that nothing is left in the old writer.
            end_lines(&mut writer, &mut written);
            writer = Writer::open(folder.path(), MANY).unwrap();
            writer.system("guest ready").unwrap();
        }
        write_something(&mut writer, &mut dice, &mut written);
        steady.wake();
        while let Some(line) = steady.next().unwrap() {
            whole.push(line);
        }
        cut_off.wake();
        while let Some(line) = cut_off.next().unwrap() {
            parts.push(line);
            if dice.below(3) == 0 {
                let cursor: Cursor = cut_off.cursor().to_string().parse().unwrap();
                cut_off = open(&Start::Cursor(cursor));
                cuts += 1;
            }
        }
    }
    end_lines(&mut writer, &mut written);
    for (stream, lines) in [(&mut steady, &mut whole), (&mut cut_off, &mut parts)] {
        stream.wake();
        while let Some(line) = stream.next().unwrap() {
            lines.push(line);
        }
        assert!(stream.finish().is_none());
    }
    assert!(cuts > 500, "{cuts}");
    assert!(fs::read_dir(folder.path()).unwrap().count() > 50);
    assert_eq!(whole.len(), parts.len());
    assert!(whole == parts);
    assert!(joined(&whole) == written);
    // A snapshot has the same lines.
    assert!(read(folder.path(), &ReadOptions::default()) == whole);
}

#[test]
fn arbitrary_bytes_and_very_long_lines_are_preserved() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(folder.path(), Rotation { max_bytes: 10 << 20, keep: 8 }).unwrap();
    let all: Vec<u8> =
        (0..=255).cycle().take(10 << 20).map(|byte| if byte == b'\n' { 0 } else { byte }).collect();
    let mut expected = all.clone();
    for piece in all.chunks(64 * 1024 - 1) {
        writer.output(1, Source::Stdout, piece).unwrap();
        writer.output(2, Source::Stderr, b"between\n").unwrap();
    }
    writer.output(1, Source::Stdout, b"\n").unwrap();
    expected.push(b'\n');
    let lines = read(folder.path(), &ReadOptions::default());
    let output = joined(&lines);
    assert!(output[&(1, Source::Stdout)] == expected);
    assert!(lines.iter().all(|line| line.data.len() < 2 << 20));
    assert_eq!(lines.iter().filter(|line| line.ends && line.source == Source::Stdout).count(), 1);
}

#[test]
fn a_reader_behind_the_rotation_is_notified() {
    let folder = tempfile::tempdir().unwrap();
    let rotation = Rotation { max_bytes: 250, keep: 2 };
    let mut writer = Writer::open(folder.path(), rotation).unwrap();
    let mut line =
        |number: u32| writer.output(1, Source::Stdout, format!("{number:050}\n").as_bytes()).unwrap();
    line(0);
    let open = |start: &Start| LogStream::open(folder.path(), &Source::DEFAULT, start);
    let mut slow = open(&Start::Beginning).unwrap();
    assert!(slow.next().unwrap().is_some());
    let cursor = slow.cursor();
    (1..3).for_each(&mut line);
    // Within the kept segments, the cursor is valid and nothing is missing.
    let mut resumed = open(&Start::Cursor(cursor.clone())).unwrap();
    assert_eq!(resumed.next().unwrap().unwrap().data.last(), Some(&b'1'));
    (3..20).for_each(&mut line);

    let missed = open(&Start::Cursor(cursor)).unwrap_err();
    assert!(
        matches!(missed, LogError::MissedRotation { log: EXEC_LOG, wanted: 1, oldest: Some(8) }),
        "{missed:?}"
    );
    assert!(missed.hint().is_some());
    // A reader of a removed segment reads it to its end and then reports the gap once.
    slow.wake();
    assert_eq!(slow.next().unwrap().unwrap().data.last(), Some(&b'1'));
    let missed = slow.next().unwrap_err();
    assert!(matches!(missed, LogError::MissedRotation { wanted: 2, oldest: Some(8), .. }), "{missed:?}");
    assert!(slow.next().unwrap().is_none());
}

#[test]
fn a_truncated_log_is_reported_and_read_from_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = exec(folder.path());
    let mut stream = LogStream::open(folder.path(), &Source::DEFAULT, &Start::Beginning).unwrap();
    let file = fs::OpenOptions::new().write(true).open(folder.path().join(EXEC_LOG)).unwrap();
    let mut texts = || {
        stream.wake();
        let lines = std::iter::from_fn(|| stream.next().unwrap());
        lines.map(|line| (line.note, String::from_utf8(line.data).unwrap())).collect::<Vec<_>>()
    };
    let plain = |text: &str| (false, text.to_owned());
    let note = || (true, "[msb: exec.log was truncated: lines may be missing here]".to_owned());
    writer.output(1, Source::Stdout, b"one\ntwo\n").unwrap();
    assert_eq!(texts(), [plain("one"), plain("two")]);
    assert_eq!(texts(), []);
    // Shorter than what was read.
    file.set_len(0).unwrap();
    writer.output(1, Source::Stdout, b"three\n").unwrap();
    assert_eq!(texts(), [note(), plain("three")]);
    writer.output(1, Source::Stdout, b"four\n").unwrap();
    assert_eq!(texts(), [plain("four")]);
    // Longer again before the next read.
    file.set_len(0).unwrap();
    let many: Vec<String> = (0..20).map(|number| format!("line {number}")).collect();
    many.iter().for_each(|text| writer.output(1, Source::Stdout, format!("{text}\n").as_bytes()).unwrap());
    let expected: Vec<_> = std::iter::once(note()).chain(many.iter().map(|text| plain(text))).collect();
    assert_eq!(texts(), expected);
    assert_eq!(texts(), []);
    // An older cursor is not valid for this file.
    let cursor = stream.cursor();
    file.set_len(0).unwrap();
    let refused = LogStream::open(folder.path(), &Source::DEFAULT, &Start::Cursor(cursor)).unwrap_err();
    assert!(matches!(refused, LogError::ForeignCursor { log: EXEC_LOG }), "{refused:?}");
}

#[test]
fn the_hint_of_a_missed_rotation_names_the_settings() {
    let missed = LogError::MissedRotation { log: EXEC_LOG, wanted: 1, oldest: None };
    assert!(missed.hint().is_some_and(|hint| hint.contains("`logs` block")));
}

#[test]
fn a_cursor_of_another_log_is_refused() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&one, &other] {
        let mut writer = exec(folder.path());
        for number in 0..3 {
            let text = format!("{number} {:?}\n", folder.path());
            writer.output(1, Source::Stdout, text.as_bytes()).unwrap();
        }
    }
    let mut stream = LogStream::open(one.path(), &Source::DEFAULT, &Start::Beginning).unwrap();
    stream.next().unwrap();
    let start = Start::Cursor(stream.cursor());
    LogStream::open(one.path(), &Source::DEFAULT, &start).unwrap();
    for folder in [other.path(), &one.path().join("none")] {
        let refused = LogStream::open(folder, &Source::DEFAULT, &start).unwrap_err();
        assert!(matches!(refused, LogError::ForeignCursor { log: EXEC_LOG }), "{refused:?}");
    }
}

/// A line of another log that was read ahead is not before the cursor.
#[test]
fn a_cursor_covers_several_logs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |millis| time::format(SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
    let exec = (0..10)
        .map(|n| format!("{{\"t\":\"{}\",\"s\":\"stdout\",\"d\":\"{}\\n\",\"id\":1}}\n", at(n * 20), n * 20));
    let kernel = (0..10).map(|n| format!("{} {}\n", at(n * 20 + 10), n * 20 + 10));
    fs::write(folder.path().join(EXEC_LOG), exec.collect::<String>()).unwrap();
    fs::write(folder.path().join(KERNEL_LOG), kernel.collect::<String>()).unwrap();
    let open = |start: &Start| LogStream::open(folder.path(), &Source::ALL, start).unwrap();
    let (mut stream, mut lines) = (open(&Start::Beginning), Vec::new());
    while let Some(line) = stream.next().unwrap() {
        lines.push(line);
        stream = open(&Start::Cursor(stream.cursor().to_string().parse().unwrap()));
    }
    assert_eq!(texts(&lines), (0..20).map(|n| (n * 10).to_string()).collect::<Vec<_>>());
}

#[test]
fn since_is_inclusive_until_is_exclusive_and_the_tail_comes_after_both() {
    let folder = tempfile::tempdir().unwrap();
    let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    let mut log = String::new();
    for (millis, source) in [(10, "stdout"), (20, "stderr"), (30, "system"), (40, "output"), (50, "stdout")] {
        let t = time::format(at(millis));
        log.push_str(&format!("{{\"t\":\"{t}\",\"s\":\"{source}\",\"d\":\"{millis}\\n\",\"id\":1}}\n"));
    }
    fs::write(folder.path().join(EXEC_LOG), log).unwrap();
    let kernel = format!("{} [0.0] 15\n{} [0.1] 45\n", time::format(at(15)), time::format(at(45)));
    fs::write(folder.path().join(KERNEL_LOG), kernel).unwrap();

    let got = |options| texts(&read(folder.path(), &options));
    let all = ReadOptions { sources: Source::ALL.to_vec(), ..ReadOptions::default() };
    assert_eq!(got(all.clone()), ["10", "[0.0] 15", "20", "30", "40", "[0.1] 45", "50"]);
    assert_eq!(got(ReadOptions::default()), ["10", "20", "40", "50"]);
    let some = ReadOptions { since: Some(at(15)), until: Some(at(45)), ..all };
    assert_eq!(got(some.clone()), ["[0.0] 15", "20", "30", "40"]);
    assert_eq!(got(ReadOptions { tail: Some(2), ..some.clone() }), ["30", "40"]);
    assert_eq!(got(ReadOptions { tail: Some(9), ..some.clone() }), ["[0.0] 15", "20", "30", "40"]);
    assert_eq!(got(ReadOptions { tail: Some(0), ..some.clone() }), [""; 0]);
    let even: Vec<_> =
        read_logs(folder.path(), &ReadOptions { tail: Some(1), ..some }, &|line| line.data[0] == b'2')
            .unwrap()
            .map(Result::unwrap)
            .collect();
    assert_eq!(texts(&even), ["20"]);
}

#[test]
fn the_last_lines_of_many_are_found_with_few_positions() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = exec(folder.path());
    let text: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    writer.output(1, Source::Stdout, text.as_bytes()).unwrap();
    for tail in [1, 4_096, 9_001, 19_999] {
        let lines = texts(&read(folder.path(), &ReadOptions { tail: Some(tail), ..ReadOptions::default() }));
        let expected: Vec<_> = (20_000 - tail..20_000).map(|number| number.to_string()).collect();
        assert!(lines == expected, "{tail}");
    }
    let begin = last_lines(folder.path(), &ReadOptions::default(), 5, &|_| true).unwrap();
    let mut stream = LogStream::open(folder.path(), &Source::DEFAULT, &Start::Cursor(begin.begin)).unwrap();
    for _ in 0..begin.skip {
        stream.next().unwrap();
    }
    assert_eq!(stream.next().unwrap().unwrap().data, b"19995");
}

#[test]
fn damage_is_reported_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let rotation = Rotation { max_bytes: 1, keep: 9 };
    let mut writer = Writer::open(folder.path(), rotation).unwrap();
    for number in 1..=5 {
        writer.output(1, Source::Stdout, format!("{number}\n").as_bytes()).unwrap();
    }
    let path = |number: u32| folder.path().join(format!("{EXEC_LOG}.{number:06}"));
    fs::write(path(2), b"\0\0\0 no entry\n").unwrap();
    fs::remove_file(path(3)).unwrap();
    let torn = fs::read(path(4)).unwrap();
    fs::write(path(4), &torn[..torn.len() - 3]).unwrap();
    let lines = read(folder.path(), &ReadOptions { sources: vec![Source::Stdout], ..ReadOptions::default() });
    let bytes = torn.len() - 3;
    let expected = [
        "1".to_owned(),
        "[msb: 13 bytes of this log are damaged and skipped here]".to_owned(),
        "[msb: 1 files of this log are missing here]".to_owned(),
        format!("[msb: {bytes} bytes of this log are damaged and skipped here]"),
        "5".to_owned(),
    ];
    assert_eq!(texts(&lines), expected);
    assert_eq!(lines.iter().filter(|line| line.note).count(), 3);
}

#[test]
fn an_entry_that_is_too_long_is_reported_and_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    exec(folder.path()).output(1, Source::Stdout, b"before\n").unwrap();
    let before = fs::metadata(folder.path().join(EXEC_LOG)).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(folder.path().join(EXEC_LOG)).unwrap();
    // A hole, as after a power cut.
    file.set_len(before + (300 << 20)).unwrap();
    exec(folder.path()).output(1, Source::Stdout, b"after\n").unwrap();
    let lines = texts(&read(folder.path(), &ReadOptions::default()));
    let note = format!("[msb: {} bytes of this log are damaged and skipped here]", 300 << 20);
    assert_eq!(lines, ["before", &note, "after"]);
}

#[test]
fn a_line_of_text_may_span_two_segments() {
    let folder = tempfile::tempdir().unwrap();
    let rotation = Rotation { max_bytes: 100, keep: 99 };
    let mut writer = TextWriter::open(folder.path(), KERNEL_LOG, rotation).unwrap();
    for _ in 0..100 {
        writer.write(b"x".repeat(33).as_slice()).unwrap();
    }
    writer.write(b"\nnext\n").unwrap();
    let options = ReadOptions { sources: vec![Source::Kernel], ..ReadOptions::default() };
    let lines = read(folder.path(), &options);
    let whole: Vec<u8> = lines[..lines.len() - 1].iter().flat_map(|line| line.data.clone()).collect();
    assert_eq!(whole, b"x".repeat(3300));
    assert_eq!(lines[lines.len() - 1].data, b"next");
    assert!(lines.len() > 10 && lines.iter().filter(|line| line.ends).count() == 2);
}

/// The second segment starts within a line, whose text looks like a timestamp.
#[test]
fn no_time_is_taken_from_within_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let segments = ["2023-11-14T22:13:20.123Z a", "2030-01-01T00:00:00.000Z b\n2023-11-14T22:13:21.123Z c\n"];
    for (number, text) in (1..).zip(segments) {
        fs::write(folder.path().join(format!("{KERNEL_LOG}.{number:06}")), text).unwrap();
    }
    let read = |start: Start| {
        let options = ReadOptions { sources: vec![Source::Kernel], start, ..ReadOptions::default() };
        let mut stream = read_logs(folder.path(), &options, &|_| true).unwrap();
        let mut lines = Vec::new();
        while let Some(line) = stream.next() {
            lines.push((String::from_utf8(line.unwrap().data).unwrap(), stream.cursor()));
        }
        lines
    };
    let whole = read(Start::Beginning);
    let texts: Vec<_> = whole.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, ["a", "2030-01-01T00:00:00.000Z b", "c"]);
    for (index, (_, cursor)) in whole.iter().enumerate() {
        assert_eq!(read(Start::Cursor(cursor.clone())), whole[index + 1..]);
    }
}

#[test]
fn a_watch_wakes_for_writes_alone() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut watch = LogWatch::new().unwrap();
    watch.add(&one.path().join("logs"), 7).unwrap();
    watch.add(&other.path().join("logs"), 8).unwrap();
    assert_eq!(watch.woken(), Woken::Some(Vec::new()));
    let rotation = Rotation { max_bytes: 1, keep: 1 };
    let mut writer = Writer::open(&one.path().join("logs"), rotation).unwrap();
    let mut stream = LogStream::open(&one.path().join("logs"), &Source::DEFAULT, &Start::Beginning).unwrap();
    for number in 0..5 {
        watch.woken();
        writer.output(1, Source::Stdout, format!("{number}\n").as_bytes()).unwrap();
        let mut wait = [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
        let patience = rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut wait, Some(&patience)).unwrap(), 1);
        let Woken::Some(woken) = watch.woken() else { panic!("the queue is short") };
        assert!(!woken.is_empty() && woken.iter().all(|&number| number == 7), "{woken:?}");
        stream.wake();
        assert_eq!(stream.next().unwrap().unwrap().data, number.to_string().as_bytes());
        assert!(stream.next().unwrap().is_none());
    }
}
