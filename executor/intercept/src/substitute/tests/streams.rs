//! Any patterns in any streams, compared with a simple search.

use super::{run, secret};
use crate::substitute::replacer::{Action, Vocabulary};
use crate::substitute::{Place, Replacer};
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A replacer that inserts the index of each pattern.
fn numbering(patterns: &[Vec<u8>]) -> Replacer {
    let vocabulary = Vocabulary::new(patterns.iter().enumerate());
    let actions =
        (0..patterns.len()).map(|index| Action::Insert(Arc::new(Zeroizing::new(number(index))))).collect();
    let secrets = patterns.iter().map(|_| secret("KEY", "")).collect();
    Replacer::new(vocabulary, actions, secrets, Place::Body)
}

fn number(index: usize) -> Vec<u8> {
    format!("<{index}>").into_bytes()
}

/// The first byte of a text, decoded if it is percent-encoded, and the number of bytes that it has.
fn decoded(text: &[u8]) -> Option<(u8, usize)> {
    if let [b'%', high, low, ..] = text
        && high.is_ascii_hexdigit()
        && low.is_ascii_hexdigit()
    {
        let digits = std::str::from_utf8(&text[1..3]).unwrap();
        return Some((u8::from_str_radix(digits, 16).unwrap(), 3));
    }
    text.first().map(|&byte| (byte, 1))
}

fn plain(text: &[u8]) -> Option<(u8, usize)> {
    text.first().map(|&byte| (byte, 1))
}

/// The number of bytes with which a text begins with a pattern.
fn prefix_length(text: &[u8], pattern: &[u8], first: fn(&[u8]) -> Option<(u8, usize)>) -> Option<usize> {
    let mut length = 0;
    for &expected in pattern {
        let (byte, width) = first(&text[length..])?;
        if byte != expected {
            return None;
        }
        length += width;
    }
    Some(length)
}

/// Replaces the longest pattern at each position.
fn expected(patterns: &[Vec<u8>], mut text: &[u8], first: fn(&[u8]) -> Option<(u8, usize)>) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((_, width)) = first(text) {
        let lengths = patterns.iter().enumerate().filter_map(|(index, pattern)| {
            Some((pattern.len(), prefix_length(text, pattern, first)?, index))
        });
        if let Some((_, length, index)) = lengths.max_by_key(|(decoded, ..)| *decoded) {
            out.extend(number(index));
            text = &text[length..];
        } else {
            out.extend(&text[..width]);
            text = &text[width..];
        }
    }
    out
}

/// Splits a text at positions.
fn split<'a>(text: &'a [u8], borders: &[usize]) -> Vec<&'a [u8]> {
    let mut borders: Vec<usize> = borders.iter().map(|border| border % (text.len() + 1)).collect();
    borders.extend([0, text.len()]);
    borders.sort_unstable();
    borders.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

/// Different patterns of few letters, so that they are in one another.
fn patterns() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::btree_set(vec(select(vec![b'a', b'b', b'%', b'2']), 1..6), 1..6)
        .prop_map(|patterns| patterns.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => Just(&b"a"[..]),
        4 => Just(&b"b"[..]),
        1 => Just(&b"c"[..]),
        1 => Just(&b"2"[..]),
        1 => Just(&b"%"[..]),
        1 => Just(&b"%61"[..]),
        1 => Just(&b"%62"[..]),
        1 => Just(&b"%25"[..]),
        1 => Just(&b"%6"[..]),
    ];
    vec(byte, 0..40).prop_map(|parts| parts.concat())
}

/// Whether no pattern is a part of another.
fn is_free(patterns: &[Vec<u8>]) -> bool {
    patterns.iter().enumerate().all(|(index, pattern)| {
        patterns.iter().enumerate().all(|(other, text)| {
            index == other || !text.windows(pattern.len()).any(|window| window == pattern)
        })
    })
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1000))]

    #[test]
    fn any_split_is_like_none(patterns in patterns(), text in text(), borders in vec(0..1000_usize, 0..8)) {
        let parts = split(&text, &borders);
        let replacer = numbering(&patterns);
        prop_assert_eq!(
            String::from_utf8(run(replacer.clone(), parts.clone()).unwrap()).unwrap(),
            String::from_utf8(expected(&patterns, &text, plain)).unwrap()
        );
        prop_assert_eq!(
            String::from_utf8(run(replacer.percent_encoded(), parts).unwrap()).unwrap(),
            String::from_utf8(expected(&patterns, &text, decoded)).unwrap()
        );
    }

    /// Only the beginning of a pattern is held back.
    #[test]
    fn little_is_held_back(patterns in patterns(), text in text(), encoded: bool) {
        let longest = patterns.iter().map(Vec::len).max().unwrap_or(0);
        let mut replacer = numbering(&patterns);
        if encoded {
            replacer = replacer.percent_encoded();
        }
        for &byte in &text {
            replacer.push(&[byte], &mut BytesMut::new()).unwrap();
            let limit = if encoded { (longest - 1) * 3 + 2 } else { longest - 1 };
            prop_assert!(replacer.held() <= limit);
        }
        if !encoded && is_free(&patterns) {
            let held = &text[text.len() - replacer.held()..];
            let is_beginning = patterns.iter().any(|pattern| pattern.len() > held.len() && pattern.starts_with(held));
            prop_assert!(is_beginning);
        }
    }

    #[test]
    fn bounded_pushes_are_like_others(patterns in patterns(), text in text(), encoded: bool, limit in 0..10_usize) {
        let mut replacer = numbering(&patterns);
        if encoded {
            replacer = replacer.percent_encoded();
        }
        let whole = run(replacer.clone(), [text.as_slice()]).unwrap();
        prop_assert_eq!(replacer.replaced_length(&text), Ok(whole.len() as u64));
        let mut bytes = Bytes::from(text);
        let mut out = BytesMut::new();
        while !bytes.is_empty() {
            let before = bytes.len();
            replacer.push_bounded(&mut bytes, &mut out, limit).unwrap();
            prop_assert!(bytes.len() < before);
        }
        replacer.finish(&mut out).unwrap();
        prop_assert_eq!(out, whole);
    }
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Parts that are far longer than a pattern, which are searched differently.
    #[test]
    fn long_parts(
        positions in vec(0..5000_usize, 0..20),
        borders in vec(0..5000_usize, 0..4),
        count in 1..80_usize,
    ) {
        let patterns: Vec<Vec<u8>> = (0..count).map(|index| format!("$MSB_KEY_{index:02}").into_bytes()).collect();
        let mut text = vec![b'$'; 5000];
        for (index, position) in positions.into_iter().enumerate() {
            let pattern = &patterns[index * 7 % count];
            let end = (position + pattern.len()).min(text.len());
            text[position..end].copy_from_slice(&pattern[..end - position]);
        }
        let replacer = numbering(&patterns);
        let parts = split(&text, &borders);
        let whole = expected(&patterns, &text, plain);
        prop_assert!(run(replacer.clone(), parts.clone()).unwrap() == whole);
        prop_assert!(run(replacer.percent_encoded(), parts).unwrap() == whole);
    }
}

#[test]
fn many_patterns_with_one_of_a_byte() {
    let mut patterns: Vec<Vec<u8>> = (0..100).map(|index| format!("{index:02}?").into_bytes()).collect();
    patterns.push(b"!".to_vec());
    let here = numbering(&patterns);
    for text in ["", "!", "x!", "0", "07", "07?", "!07?!x00?8", "99?!", "!!", "x"] {
        let expected = expected(&patterns, text.as_bytes(), plain);
        for border in 0..=text.len() {
            let (start, end) = text.as_bytes().split_at(border);
            assert_eq!(run(here.clone(), [start, end]).unwrap(), expected, "{text} at {border}");
        }
    }
    let vocabulary = Vocabulary::new(patterns.iter().enumerate());
    for (text, found) in [("", false), ("!", true), ("x!", true), ("0", false), ("x0", false), ("07?", true)]
    {
        assert_eq!(vocabulary.patterns.may_be_in(text.as_bytes()), found, "{text}");
    }
}

/// Streams that would take far longer than other tests if bytes were searched more often than once.
#[test]
fn hostile_streams_take_linear_time() {
    let almost = |length: usize| [vec![b'a'; length - 1], vec![b'b']].concat();
    let sets = [
        vec![almost(64 << 10)],
        vec![almost(4 << 10), b"aaaa".to_vec()],
        (1..=8).map(|size| vec![b'a'; size << 9]).collect::<Vec<_>>(),
        vec![vec![b'a'; 4 << 10], b"a".to_vec()],
    ];
    let text = vec![b'a'; 256 << 10];
    for patterns in sets {
        let new = numbering(&patterns);
        let expected = new.replaced_length(&text).unwrap();
        for size in [1, 1000, text.len()] {
            let mut length = 0;
            let mut replacer = new.clone();
            for part in text.chunks(size) {
                let mut out = BytesMut::new();
                replacer.push(part, &mut out).unwrap();
                length += out.len();
            }
            let mut out = BytesMut::new();
            replacer.finish(&mut out).unwrap();
            assert_eq!((length + out.len()) as u64, expected);
        }
    }
}
