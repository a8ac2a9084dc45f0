//! The text of a bundle of certificates in PEM, with the sandbox's own between two marker lines.
//!
//! The files of certificates in the distribution's directories contain the same lines, because its tools copy those
//! files into the bundle that they generate: the certificates are found there again.

/// The first line of the block.
const BEGIN: &str = "# msb sandbox CA begin";
/// Its last line.
const END: &str = "# msb sandbox CA end";
const BEGIN_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END_CERTIFICATE: &[u8] = b"-----END CERTIFICATE-----";
/// The length of a line of base64 in PEM.
const LINE_BYTES: usize = 64;

/// A certificate as the base64 of its DER, without white space.
pub type Certificate = Vec<u8>;

/// Returns the complete certificates of a text.
pub fn certificates(text: &[u8]) -> impl Iterator<Item = Certificate> {
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut current: Option<Certificate> = None;
    std::iter::from_fn(move || {
        for line in lines.by_ref() {
            if line == BEGIN_CERTIFICATE {
                current = Some(Vec::new());
            } else if line == END_CERTIFICATE {
                if let Some(certificate) = current.take().filter(|certificate| !certificate.is_empty()) {
                    return Some(certificate);
                }
            } else if let Some(certificate) = &mut current {
                certificate.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
            }
        }
        None
    })
}

/// Whether a text can be a bundle: it has a certificate, or nothing at all.
pub fn is_bundle(text: &[u8]) -> bool {
    text.trim_ascii().is_empty() || certificates(text).next().is_some()
}

/// Returns the block with these certificates.
pub fn block(certificates: &[Certificate]) -> Vec<u8> {
    let mut block = format!("{BEGIN}\n").into_bytes();
    for certificate in certificates {
        block.extend(BEGIN_CERTIFICATE);
        block.push(b'\n');
        for line in certificate.chunks(LINE_BYTES) {
            block.extend(line);
            block.push(b'\n');
        }
        block.extend(END_CERTIFICATE);
        block.push(b'\n');
    }
    block.extend(format!("{END}\n").into_bytes());
    block
}

/// Whether a text is a block and nothing else.
pub fn is_block(text: &[u8]) -> bool {
    let rest = Rest::of(text);
    rest.place.is_some() && rest.text.is_empty()
}

/// Returns a bundle that has each of these certificates once: those that it lacks are in its only block, which is where
/// its first block was, or else at its end.
pub fn with(bundle: &[u8], wanted: &[Certificate]) -> Vec<u8> {
    let Rest { mut text, place } = Rest::of(bundle);
    let mut missing = wanted.to_vec();
    for certificate in certificates(&text) {
        missing.retain(|wanted| *wanted != certificate);
    }
    if missing.is_empty() {
        return text;
    }
    let mut block = block(&missing);
    let place = place.unwrap_or(text.len());
    let follows_open_line = place > 0 && text.get(place - 1) != Some(&b'\n');
    if follows_open_line {
        // The bundle ends without a newline, and does so with the block: removing it restores every byte.
        block.insert(0, b'\n');
        block.pop();
    }
    text.splice(place..place, block);
    text
}

/// Returns a bundle without blocks.
pub fn without(bundle: &[u8]) -> Vec<u8> {
    Rest::of(bundle).text
}

/// A bundle without its blocks.
struct Rest {
    text: Vec<u8>,
    /// The offset of the first block.
    place: Option<usize>,
}

impl Rest {
    fn of(bundle: &[u8]) -> Self {
        let mut rest = Self { text: Vec::with_capacity(bundle.len()), place: None };
        // The offset in the text of a block that has not ended.
        let mut open: Option<usize> = None;
        for line in bundle.split_inclusive(|byte| *byte == b'\n') {
            let content = line.trim_ascii_end();
            if content == BEGIN.as_bytes() {
                // A block without an end is ordinary text.
                open = Some(rest.text.len());
            }
            rest.text.extend(line);
            if content == END.as_bytes()
                && let Some(start) = open.take()
            {
                rest.text.truncate(start);
                if !line.ends_with(b"\n") && rest.text.last() == Some(&b'\n') {
                    rest.text.pop();
                }
                // A block around the first one may have taken the text before it.
                let end = rest.text.len();
                rest.place = Some(rest.place.map_or(end, |place| place.min(end)));
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: &str = "# Other\n-----BEGIN CERTIFICATE-----\nAAAA\nBBBB\n-----END CERTIFICATE-----\n";

    fn own(text: &str) -> Vec<Certificate> {
        vec![text.as_bytes().to_vec()]
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn certificates_are_read_whatever_surrounds_them() {
        let pem = format!("junk\r\n{}-----END CERTIFICATE-----\n", OTHER.replace('\n', " \r\n"));
        assert_eq!(certificates(pem.as_bytes()).collect::<Vec<_>>(), [b"AAAABBBB"]);
        let incomplete = "-----BEGIN CERTIFICATE-----\nAA\n-----BEGIN CERTIFICATE-----\nBB";
        assert_eq!(certificates(incomplete.as_bytes()).count(), 0);
        assert!(is_bundle(b" \n") && is_bundle(OTHER.as_bytes()));
        assert!(!is_bundle(b"\x30\x82\x01\x00") && !is_bundle(incomplete.as_bytes()));
    }

    #[test]
    fn a_block_is_added_once_and_removed_without_a_trace() {
        let long = own(&"C".repeat(70));
        let no_newline = OTHER.trim_end();
        for bundle in ["", OTHER, no_newline] {
            let first = with(bundle.as_bytes(), &long);
            assert_eq!(text(with(&first, &long)), text(first.clone()));
            assert_eq!(certificates(&first).filter(|found| *found == long[0]).count(), 1);
            assert!(certificates(&first).count() == 1 + certificates(bundle.as_bytes()).count());
            assert_eq!(text(without(&first)), bundle);
        }
        let expected = format!("{OTHER}{BEGIN}\n-----BEGIN CERTIFICATE-----\n{}\n", "C".repeat(64));
        let expected = format!("{expected}CCCCCC\n-----END CERTIFICATE-----\n{END}\n");
        assert_eq!(text(with(OTHER.as_bytes(), &long)), expected);
    }

    #[test]
    fn a_block_is_replaced_in_place_and_repeated_ones_are_removed() {
        let old = text(block(&own("DDDD")));
        let new = text(block(&own("EEEE")));
        let bundle = format!("{OTHER}{old}{OTHER}{old}");
        assert_eq!(text(with(bundle.as_bytes(), &own("EEEE"))), format!("{OTHER}{new}{OTHER}"));
        assert_eq!(text(without(bundle.as_bytes())), format!("{OTHER}{OTHER}"));
    }

    #[test]
    fn a_certificate_that_is_there_already_is_not_added() {
        let bundle = OTHER.replace("AAAA\nBBBB", "AAAABB\nBB");
        assert_eq!(text(with(bundle.as_bytes(), &own("AAAABBBB"))), bundle);
        // The block of an earlier boot is superfluous then.
        let both = format!("{}{bundle}", text(block(&own("AAAABBBB"))));
        assert_eq!(text(with(both.as_bytes(), &own("AAAABBBB"))), bundle);
        // Only those that are missing are added.
        let two = [own("AAAABBBB"), own("FFFF")].concat();
        assert_eq!(text(with(bundle.as_bytes(), &two)), format!("{bundle}{}", text(block(&own("FFFF")))));
    }

    #[test]
    fn incomplete_blocks_are_ordinary_text() {
        for bundle in [format!("{BEGIN}\n{OTHER}"), format!("{END}\n{OTHER}"), format!("{END}\n{BEGIN}\n")] {
            assert_eq!(text(without(bundle.as_bytes())), bundle);
        }
        let bundle = format!("{BEGIN}\n{OTHER}{BEGIN}\n{END}\n");
        assert_eq!(text(without(bundle.as_bytes())), format!("{BEGIN}\n{OTHER}"));
    }

    /// All bundles of up to five parts in any order, with and without a final newline.
    #[test]
    fn any_bundle_has_the_certificate_and_keeps_all_others() {
        let own_text = text(block(&own("EEEE")));
        let own_pem = own_text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
        let parts = [BEGIN, END, &own_pem, OTHER.trim_end(), own_text.trim_end()];
        let mut bundles = vec![String::new()];
        let mut first = 0;
        for _ in 0..5 {
            let longer: Vec<_> = bundles[first..]
                .iter()
                .flat_map(|bundle| parts.map(|part| format!("{bundle}{part}\n")))
                .collect();
            first = bundles.len();
            bundles.extend(longer);
        }
        for bundle in bundles.iter().flat_map(|bundle| [bundle.as_str(), bundle.trim_end()]) {
            let count =
                |text: &[u8], wanted: &[u8]| certificates(text).filter(|found| found == wanted).count();
            let (kept, added) = (without(bundle.as_bytes()), with(bundle.as_bytes(), &own("EEEE")));
            assert_eq!(count(&added, b"EEEE"), count(&kept, b"EEEE").max(1), "{bundle:?}");
            assert_eq!(count(&added, b"AAAABBBB"), count(&kept, b"AAAABBBB"), "{bundle:?}");
            // Lines of incomplete blocks can become one, which is gone after the next boot.
            let again = with(&added, &own("EEEE"));
            assert!(again == with(&again, &own("EEEE")), "{bundle:?}");
        }
    }

    #[test]
    fn only_a_whole_block_is_one() {
        let block = text(block(&own("DDDD")));
        assert!(is_block(block.as_bytes()));
        for other in [String::new(), OTHER.to_owned(), format!("{block}{OTHER}"), format!("{OTHER}{block}")] {
            assert!(!is_block(other.as_bytes()), "{other:?}");
        }
    }
}
