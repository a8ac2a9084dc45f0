//! Parser of the server name in a TLS ClientHello (RFC 8446, RFC 6066), for hostile input.

use rules::rule::DomainName;

/// The longest ClientHello, in bytes.
const HELLO_BYTES_MAX: usize = 64 * 1024;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
/// The Encrypted Client Hello extension: the name in the clear may not be the real one.
const ECH: u16 = 0xfe0d;

/// The result of parsing a client's first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// More bytes are needed.
    Incomplete,
    /// It is not TLS.
    NotTls,
    /// The server name.
    Name(DomainName),
    /// There is no usable name, for this reason.
    Refused(&'static str),
}

/// Finds the server name in a ClientHello.
pub fn server_name(bytes: &[u8]) -> ServerName {
    match bytes {
        [] | [HANDSHAKE] => return ServerName::Incomplete,
        [HANDSHAKE, 3, ..] => {}
        _ => return ServerName::NotTls,
    }
    let bytes = &bytes[..bytes.len().min(HELLO_BYTES_MAX)];
    let unreadable = "its TLS greeting cannot be read";
    let hello = match client_hello(bytes) {
        Hello::Complete(hello) => hello,
        Hello::Incomplete if bytes.len() == HELLO_BYTES_MAX => {
            return ServerName::Refused("its TLS greeting is too long");
        }
        Hello::Incomplete => return ServerName::Incomplete,
        Hello::Invalid => return ServerName::Refused(unreadable),
    };
    match extract_name(&hello).unwrap_or(Err(unreadable)) {
        Ok(name) => ServerName::Name(name),
        Err(why) => ServerName::Refused(why),
    }
}

enum Hello {
    Complete(Vec<u8>),
    Incomplete,
    Invalid,
}

/// Reassembles the message from its records.
fn client_hello(mut bytes: &[u8]) -> Hello {
    let mut message = Vec::new();
    loop {
        if let Some(length) = message.get(1..4).map(|length: &[u8]| {
            length.iter().fold(0usize, |length, byte| (length << 8) | usize::from(*byte))
        }) {
            if message[0] != CLIENT_HELLO || length > HELLO_BYTES_MAX {
                return Hello::Invalid;
            }
            if let Some(body) = message.get(4..4 + length) {
                return Hello::Complete(body.to_vec());
            }
        }
        match bytes {
            [] => return Hello::Incomplete,
            [kind, ..] if *kind != HANDSHAKE => return Hello::Invalid,
            [_, major, ..] if *major != 3 => return Hello::Invalid,
            [_, _, _, high, low, rest @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if length == 0 {
                    return Hello::Invalid;
                }
                let Some(record) = rest.get(..length) else { return Hello::Incomplete };
                message.extend_from_slice(record);
                bytes = &rest[length..];
            }
            _ => return Hello::Incomplete,
        }
    }
}

fn take_u16(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_at_checked(2)?;
    Some((usize::from(u16::from_be_bytes(length.try_into().ok()?)), rest))
}

fn extract_name(hello: &[u8]) -> Option<Result<DomainName, &'static str>> {
    // Version and random.
    let (_, rest) = hello.split_at_checked(34)?;
    let (session, rest) = rest.split_at_checked(1)?;
    let (_, rest) = rest.split_at_checked(usize::from(session[0]))?;
    let (suites, rest) = take_u16(rest)?;
    let (_, rest) = rest.split_at_checked(suites)?;
    let (methods, rest) = rest.split_at_checked(1)?;
    let (_, rest) = rest.split_at_checked(usize::from(methods[0]))?;
    let no_name = Err("its TLS greeting shows no name");
    if rest.is_empty() {
        return Some(no_name);
    }
    let (length, rest) = take_u16(rest)?;
    let mut extensions = rest.get(..length)?;
    let mut name = None;
    while !extensions.is_empty() {
        let (kind, rest) = take_u16(extensions)?;
        let (length, rest) = take_u16(rest)?;
        let (body, rest) = rest.split_at_checked(length)?;
        match u16::try_from(kind).ok()? {
            SERVER_NAME if name.is_some() => return Some(Err("its TLS greeting shows two names")),
            SERVER_NAME => name = Some(host_name(body)?),
            ECH => return Some(Err("its TLS greeting encrypts its server name (ECH)")),
            _ => {}
        }
        extensions = rest;
    }
    Some(name.unwrap_or(no_name))
}

fn host_name(body: &[u8]) -> Option<Result<DomainName, &'static str>> {
    let (length, list) = take_u16(body)?;
    let list = list.get(..length)?;
    let (kind, rest) = list.split_at_checked(1)?;
    let (length, rest) = take_u16(rest)?;
    let (name, rest) = rest.split_at_checked(length)?;
    if kind != [0] || !rest.is_empty() {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?;
    Some(DomainName::new(name).map_err(|_| "its TLS greeting shows no name that can be one"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        let mut all = Vec::new();
        for (kind, data) in extensions {
            all.extend(kind.to_be_bytes());
            all.extend((data.len() as u16).to_be_bytes());
            all.extend(data);
        }
        body.extend((all.len() as u16).to_be_bytes());
        body.extend(all);
        let mut message = vec![CLIENT_HELLO, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        message
    }

    pub(crate) fn sni(name: &str) -> (u16, Vec<u8>) {
        let mut entry = vec![0];
        entry.extend((name.len() as u16).to_be_bytes());
        entry.extend(name.as_bytes());
        let mut list = (entry.len() as u16).to_be_bytes().to_vec();
        list.extend(entry);
        (SERVER_NAME, list)
    }

    /// The message in records of this size.
    pub(crate) fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |piece: &[u8]| {
            let mut record = vec![HANDSHAKE, 3, 1];
            record.extend((piece.len() as u16).to_be_bytes());
            record.extend(piece);
            record
        };
        message.chunks(size).flat_map(record).collect()
    }

    #[test]
    fn a_name_is_found_in_any_segmentation() {
        let message = hello(&[(10, vec![0, 2, 0, 29]), sni("API.example.org"), (16, vec![0])]);
        for size in [1, 7, 1000] {
            let bytes = records(&message, size);
            for length in 0..bytes.len() {
                assert_eq!(server_name(&bytes[..length]), ServerName::Incomplete, "{size} {length}");
            }
            assert_eq!(server_name(&bytes), ServerName::Name(DomainName::new("api.example.org").unwrap()));
        }
    }

    #[test]
    fn a_missing_name_has_a_reason() {
        let why = |bytes: &[u8]| match server_name(bytes) {
            ServerName::Refused(why) => why,
            shown => panic!("{shown:?}"),
        };
        assert_eq!(server_name(b"GET / HTTP/1.1\r\n"), ServerName::NotTls);
        assert_eq!(server_name(&[HANDSHAKE, 1]), ServerName::NotTls);
        assert_eq!(why(&[HANDSHAKE, 3, 1, 0, 4, 2, 0, 0, 0]), "its TLS greeting cannot be read");
        assert_eq!(why(&records(&hello(&[]), 1000)), "its TLS greeting shows no name");
        let twice = hello(&[sni("a.test"), sni("b.test")]);
        assert_eq!(why(&records(&twice, 1000)), "its TLS greeting shows two names");
        let ech = hello(&[sni("a.test"), (ECH, vec![0; 8])]);
        assert_eq!(why(&records(&ech, 1000)), "its TLS greeting encrypts its server name (ECH)");
        let mut torn = hello(&[sni("a.test")]);
        torn[40] = 0xff;
        assert_eq!(why(&records(&torn, 1000)), "its TLS greeting cannot be read");
        let long = records(&hello(&[(35, vec![0; 60000]), sni("a.test")]), 10);
        assert_eq!(why(&long), "its TLS greeting is too long");
        assert_eq!(why(&long[..HELLO_BYTES_MAX]), "its TLS greeting is too long");
    }
}
