//! The owner, mode and device of a file in the guest, which an extended attribute of the host's file holds.

use std::ffi::CStr;

/// The name of the attribute.
pub const NAME: &CStr = c"user.msb.override_stat";

/// The start of the names of all attributes that the guest can neither see nor set.
pub const HIDDEN: &[u8] = b"user.msb.";

/// The attribute that agentd sets to raise `IN_ATTRIB` for a file that the host has changed. Setting it changes nothing; a
/// chmod to the present mode would undo one that the guest makes at the same time.
pub const CHANGED: &CStr = c"user.msb.changed";

/// The length of the attribute in bytes.
pub const LENGTH: usize = 20;

/// The version of the format.
const VERSION: u8 = 1;

/// What the guest sees instead of the host's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatOverride {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The permissions and the kind of the file.
    pub mode: u32,
    /// The device number of a device node, encoded as in FUSE.
    pub rdev: u32,
}

impl StatOverride {
    /// Encodes the attribute: the version, three bytes of padding, and four little-endian numbers.
    pub fn to_bytes(self) -> [u8; LENGTH] {
        let Self { uid, gid, mode, rdev } = self;
        let mut bytes = [0; LENGTH];
        bytes[0] = VERSION;
        for (place, number) in bytes[4..].chunks_exact_mut(4).zip([uid, gid, mode, rdev]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Decodes the attribute; `None` if it is malformed or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
        if bytes[0] != VERSION {
            return None;
        }
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Some(Self { uid: number(4), gid: number(8), mode: number(12), rdev: number(16) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_contract() {
        let value = StatOverride { uid: 1000, gid: 0x0102_0304, mode: 0o100_644, rdev: 0x0103 };
        let bytes = value.to_bytes();
        assert_eq!(
            bytes,
            [1, 0, 0, 0, 0xe8, 3, 0, 0, 4, 3, 2, 1, 0xa4, 0x81, 0, 0, 3, 1, 0, 0],
            "version, padding, uid, gid, mode, rdev"
        );
        assert_eq!(StatOverride::from_bytes(&bytes), Some(value));
        assert_eq!(StatOverride::from_bytes(&bytes[..19]), None);
        let mut newer = bytes;
        newer[0] = 2;
        assert_eq!(StatOverride::from_bytes(&newer), None);
    }
}
