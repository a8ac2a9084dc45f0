//! Detects packets that start a QUIC connection (RFC 9000). Their ClientHello is encrypted, so there is no name to
//! check.

/// Whether a version field is one of QUIC: 1, 2, drafts, Google's, or reserved ones that force version negotiation.
fn is_version(version: [u8; 4]) -> bool {
    match version {
        [0, 0, 0, 1] | [0x6b, 0x33, 0x43, 0xcf] | [0xff, 0, 0, _] => true,
        [b'Q' | b'T', b'0', tens, ones] => tens.is_ascii_digit() && ones.is_ascii_digit(),
        version => version.iter().all(|byte| byte & 0x0f == 0x0a),
    }
}

/// Whether a packet is one that a client sends before it is connected.
pub(crate) fn is_initial(packet: &[u8]) -> bool {
    match packet {
        // A long header: the version follows the first byte.
        [first, a, b, c, d, ..] if first & 0x80 != 0 => is_version([*a, *b, *c, *d]),
        // Google's format before version 46: flags that announce a version, a connection id of eight bytes, the
        // version.
        [first, _, _, _, _, _, _, _, _, version @ ..] if first & 1 != 0 => {
            version.first_chunk().is_some_and(|version| version[0] == b'Q' && is_version(*version))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initial_packets_are_detected() {
        for version in
            [[0, 0, 0, 1], [0x6b, 0x33, 0x43, 0xcf], [0xff, 0, 0, 29], *b"Q050", [0x1a, 0x2a, 0x3a, 0xfa]]
        {
            let packet = [&[0xc3][..], &version, &[8, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
            assert!(is_initial(&packet), "{version:?}");
        }
        assert!(is_initial(b"\x0d\x01\x02\x03\x04\x05\x06\x07\x08Q043\x01"));
        let dns = [0xff, 0xff, 1, 0, 0, 1, 0, 0];
        let rtp = [0x80, 0x60, 0, 1, 0, 0, 0, 1];
        for packet in [&b"ping"[..], b"", &dns, &rtp, &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 80]] {
            assert!(!is_initial(packet), "{packet:?}");
        }
    }
}
