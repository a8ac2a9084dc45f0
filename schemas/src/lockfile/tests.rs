use super::*;
use proptest::prelude::*;

const AMD: Platform = Platform::LinuxAmd64;
const ARM: Platform = Platform::LinuxArm64;

fn digest(text: &str) -> Digest {
    Digest::of_bytes(text.as_bytes())
}

fn lock_file(pins: &[(&str, Platform, &str)]) -> LockFile {
    let mut lock_file = LockFile::default();
    for (reference, platform, contents) in pins {
        lock_file.images.entry((*reference).to_owned()).or_default().insert(*platform, digest(contents));
    }
    lock_file
}

fn found(images: &[(&str, &str)]) -> BTreeMap<String, Found> {
    let contents = |(name, contents): &(&str, &str)| ((*name).to_owned(), Found::Contents(digest(contents)));
    images.iter().map(contents).collect()
}

#[test]
fn the_text_is_sorted_and_has_a_line_for_each_pin() {
    let both = lock_file(&[("./web", ARM, "w"), ("./db", ARM, "d"), ("./db", AMD, "e")]);
    insta::assert_snapshot!(both.print());
    assert_eq!(LockFile::parse(both.print().as_bytes()).unwrap(), both);
    assert_eq!(LockFile::default().print(), "{\n  \"version\": 1,\n  \"images\": {}\n}\n");
}

#[test]
fn each_error_has_its_message_and_hint() {
    let good = digest("a");
    let pin = |platform: &str, digest: &str| {
        format!("{{\"version\": 1, \"images\": {{\"./a\": {{\"{platform}\": \"{digest}\"}}}}}}")
    };
    let mut messages = String::new();
    for (name, text) in [
        ("nothing", String::new()),
        ("cut off", pin("linux/amd64", &good.to_string())[..60].to_owned()),
        ("not JSON", "version: 1".to_owned()),
        ("no version", "{\"images\": {}}".to_owned()),
        ("no images", "{\"version\": 1}".to_owned()),
        ("a newer version", "{\"version\": 2, \"pictures\": []}".to_owned()),
        ("no such version", "{\"version\": 0, \"images\": {}}".to_owned()),
        ("a version of another type", "{\"version\": \"1\", \"images\": {}}".to_owned()),
        ("a field too many", "{\"version\": 1, \"images\": {}, \"volumes\": {}}".to_owned()),
        ("an unknown platform", pin("linux/s390x", &good.to_string())),
        ("no digest", pin("linux/amd64", "latest")),
        ("a digest in capitals", pin("linux/amd64", &good.to_string().to_uppercase())),
        ("a reference twice", "{\"version\": 1, \"images\": {\n\"./a\": {},\n\"./a\": {}\n}}".to_owned()),
        (
            "a platform twice",
            format!(
                "{{\"version\": 1, \"images\": {{\"./a\": {{\"linux/amd64\": \"{good}\",\n\"linux/amd64\": \"{good}\"}}}}}}"
            ),
        ),
        ("more text after it", "{\"version\": 1, \"images\": {}}{}".to_owned()),
        (
            "an unfinished merge",
            "{\n  \"version\": 1,\n<<<<<<< HEAD\n  \"images\": {}\n=======\n  \"images\": {}\n>>>>>>> x\n}\n"
                .to_owned(),
        ),
        ("too much", " ".repeat(LOCK_FILE_BYTES_MAX + 1)),
    ] {
        let error = LockFile::parse(text.as_bytes()).expect_err(name);
        messages.push_str(&format!("{name}: {error}\n  {}\n", error.help()));
    }
    insta::assert_snapshot!(messages);
}

#[test]
fn errors_quote_little_of_the_file() {
    let long = "x".repeat(100_000);
    for text in [
        format!("{{\"version\": 1, \"{long}\": 2}}"),
        format!("{{\"version\": \"{long}\"}}"),
        format!("{{\"version\": 1, \"images\": \"{long}\"}}"),
        format!("{{\"version\": 1, \"images\": {{\"./a\": {{\"{long}\": \"\"}}}}}}"),
        format!("{{\"version\": 1, \"images\": {{\"./a\": {{\"linux/amd64\": \"{long}\"}}}}}}"),
        format!("{{\"version\": 1, \"images\": {{\"{long}\": {{}}, \"{long}\": {{}}}}}}"),
    ] {
        let error = LockFile::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.len() < 1000, "{} bytes: {}", error.len(), &error[..200]);
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let deep = format!("{{\"version\": 1, \"images\": {}", "{\"a\": ".repeat(100_000));
    assert!(matches!(LockFile::parse(deep.as_bytes()), Err(LockFileError::Form { .. })));
    let deep = format!("{{\"version\": 1, \"more\": {}", "[".repeat(100_000));
    assert!(matches!(LockFile::parse(deep.as_bytes()), Err(LockFileError::Form { .. })));
}

#[test]
fn a_frozen_run_requires_current_pins_of_all_references() {
    let pins = lock_file(&[
        ("./same", AMD, "s"),
        ("./other", AMD, "old"),
        ("./arm", ARM, "a"),
        ("./gone", AMD, "g"),
    ]);
    let seen = found(&[("./same", "s"), ("./other", "new"), ("./arm", "a"), ("./new", "n")]);
    let expected: Vec<_> = [("./arm", None, "a"), ("./new", None, "n"), ("./other", Some("old"), "new")]
        .map(|(reference, pinned, found)| Difference {
            reference: reference.to_owned(),
            platform: AMD,
            pinned: pinned.map(digest),
            found: Some(digest(found)),
        })
        .into();
    assert_eq!(pins.differences(&seen, AMD), expected);
    assert_eq!(pins.differences(&found(&[("./same", "s")]), AMD), []);

    // A registry that was not asked confirms any pin.
    let unasked = |name: &str| BTreeMap::from([(name.to_owned(), Found::Unasked)]);
    assert_eq!(pins.differences(&unasked("./same"), AMD), []);
    let difference = Difference { reference: "./none".to_owned(), platform: AMD, pinned: None, found: None };
    assert_eq!(pins.differences(&unasked("./none"), AMD), [difference]);
}

#[test]
fn renewing_keeps_other_platforms_and_removes_unused_references() {
    let pins = lock_file(&[("./a", AMD, "1"), ("./a", ARM, "2"), ("./gone", AMD, "g"), ("./b", ARM, "3")]);
    let seen = found(&[("./a", "new"), ("./b", "b")]);
    let renewed = pins.renewed(&seen, AMD, None);
    assert_eq!(
        renewed,
        lock_file(&[("./a", AMD, "new"), ("./a", ARM, "2"), ("./b", AMD, "b"), ("./b", ARM, "3")])
    );
    // Only the selected references are renewed, and those without a pin.
    let only = BTreeSet::from(["./b".to_owned()]);
    assert_eq!(pins.renewed(&seen, AMD, Some(&only)).pin("./a", AMD), Some(&digest("1")));
    assert_eq!(pins.renewed(&seen, AMD, Some(&only)).pin("./b", AMD), Some(&digest("b")));
    assert_eq!(pins.renewed(&seen, AMD, Some(&BTreeSet::new())).pin("./b", AMD), Some(&digest("b")));
    // A registry that was not asked changes no pin.
    let unasked = BTreeMap::from([("./a".to_owned(), Found::Unasked), ("./new".to_owned(), Found::Unasked)]);
    assert_eq!(pins.renewed(&unasked, AMD, None), lock_file(&[("./a", AMD, "1"), ("./a", ARM, "2")]));

    let changed: Vec<_> = pins.changes(&renewed).into_iter().map(|change| change.reference).collect();
    assert_eq!(changed, ["./a", "./b", "./gone"]);
    assert_eq!(pins.changes(&pins), []);
}

proptest! {
    #[test]
    fn a_printed_lock_file_parses_to_the_same(
        pins in proptest::collection::vec((".{1,20}", any::<bool>(), any::<u64>()), 0..20),
    ) {
        let mut before = LockFile::default();
        for (reference, is_arm, seed) in pins {
            let platform = if is_arm { ARM } else { AMD };
            before.images.entry(reference).or_default().insert(platform, digest(&seed.to_string()));
        }
        prop_assert_eq!(LockFile::parse(before.print().as_bytes()).unwrap(), before);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = LockFile::parse(&bytes);
    }

    #[test]
    fn renewed_pins_are_current(
        pinned in proptest::collection::btree_map("[a-d]", "[x-z]", 0..4),
        seen in proptest::collection::btree_map("[a-d]", "[x-z]", 0..4),
    ) {
        let pins: Vec<_> = pinned.iter().map(|(name, contents)| (name.as_str(), AMD, contents.as_str())).collect();
        let seen: Vec<_> = seen.iter().map(|(name, contents)| (name.as_str(), contents.as_str())).collect();
        let (pins, seen) = (lock_file(&pins), found(&seen));
        let renewed = pins.renewed(&seen, AMD, None);
        prop_assert_eq!(renewed.differences(&seen, AMD), vec![]);
        prop_assert_eq!(&renewed.renewed(&seen, AMD, None), &renewed);
        prop_assert_eq!(renewed == pins, pins.changes(&renewed).is_empty());
    }
}
