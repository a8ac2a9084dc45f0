//! Random FUSE requests with bodies of the right form and hostile contents.

use fuse_backend_rs::abi::fuse_abi::Opcode;
use std::path::Path;

/// The most numbers of inodes or handles that are remembered.
const KNOWN_MAX: usize = 64;

/// The length of the header of a request, and that of a reply, in bytes.
const REQUEST_HEADER: usize = 40;
const REPLY_HEADER: usize = 16;

/// The length of an entry in a reply in bytes.
const ENTRY_BYTES: usize = 128;

/// The place of the mode in a reply with an entry in bytes.
const MODE_PLACE: usize = REPLY_HEADER + 100;

/// The opcodes, those that find and open files more often.
const OPCODES: [Opcode; 46] = [
    Opcode::Lookup,
    Opcode::Lookup,
    Opcode::Lookup,
    Opcode::Lookup,
    Opcode::Lookup,
    Opcode::Lookup,
    Opcode::Open,
    Opcode::Open,
    Opcode::Open,
    Opcode::Read,
    Opcode::Read,
    Opcode::Read,
    Opcode::Write,
    Opcode::Write,
    Opcode::Create,
    Opcode::Create,
    Opcode::Opendir,
    Opcode::Opendir,
    Opcode::Readdir,
    Opcode::Readdirplus,
    Opcode::Getattr,
    Opcode::Setattr,
    Opcode::Setattr,
    Opcode::Readlink,
    Opcode::Symlink,
    Opcode::Mknod,
    Opcode::Mkdir,
    Opcode::Unlink,
    Opcode::Rmdir,
    Opcode::Rename,
    Opcode::Rename2,
    Opcode::Link,
    Opcode::Link,
    Opcode::Setxattr,
    Opcode::Getxattr,
    Opcode::Listxattr,
    Opcode::Removexattr,
    Opcode::Statfs,
    Opcode::Fsync,
    Opcode::Fallocate,
    Opcode::Lseek,
    Opcode::Release,
    Opcode::Releasedir,
    Opcode::Forget,
    Opcode::BatchForget,
    Opcode::Ioctl,
];

/// A request.
pub struct Request {
    /// Its header and body.
    pub bytes: Vec<u8>,
    opcode: Opcode,
    node: u64,
}

/// A source of requests, which learns numbers from replies.
pub struct Hostile {
    state: u64,
    nodes: Vec<u64>,
    /// Those of them that are directories.
    directories: Vec<u64>,
    /// Open files and directories: the number of the inode, and of the handle.
    handles: Vec<(u64, u64)>,
    /// The handle that the next request uses, if it uses one.
    handle: u64,
    /// An absolute path to the canary.
    outside: String,
    requests: u64,
}

impl Hostile {
    pub fn new(seed: u64, outside: &Path) -> Self {
        let outside = outside.join("name").display().to_string();
        Self {
            state: seed,
            nodes: Vec::new(),
            directories: Vec::new(),
            handles: Vec::new(),
            handle: 1,
            outside,
            requests: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// Makes the next request.
    pub fn request(&mut self) -> Request {
        self.requests += 1;
        // A new session now and then, and the way to the shares again.
        let opcode = match self.requests {
            1 => Opcode::Init,
            number if number.is_multiple_of(2000) => Opcode::Init,
            number if number.is_multiple_of(7001) => Opcode::Destroy,
            number if number % 40 < 2 => Opcode::Lookup,
            _ => self.pick(&OPCODES),
        };
        let mut node = if self.requests % 40 < 2 || self.nodes.is_empty() { 1 } else { self.node() };
        if has_name(opcode) && self.requests % 40 >= 2 && self.below(6) > 0 {
            node = self.directory();
        }
        self.handle = self.below(300) as u64;
        if !self.handles.is_empty() && self.below(10) > 0 {
            let (owner, handle) = self.pick(&self.handles.clone());
            self.handle = handle;
            // Rarely the handle of another file.
            if uses_handle(opcode) && self.below(8) > 0 {
                node = owner;
            }
        }
        let mut body = self.body(opcode);
        if node == 1 && self.requests % 40 < 2 && self.below(8) > 0 {
            body = self.pick(&["0\0", "0\0", "1\0"]).as_bytes().to_vec();
        }
        if self.below(200) == 0 {
            let length = self.below(body.len() + 1);
            body.truncate(length);
        }
        let lie = if self.below(300) == 0 { self.below(1 << 20) } else { 0 };
        let length = u32::try_from(REQUEST_HEADER + body.len() + lie).unwrap();
        let mut bytes = Vec::new();
        for number in [length, opcode as u32] {
            bytes.extend(number.to_ne_bytes());
        }
        for number in [self.requests, node] {
            bytes.extend(number.to_ne_bytes());
        }
        // Whoever the guest says it is, and its process.
        for _ in 0..3 {
            let number = self.pick(&[0_u32, 1000, u32::MAX]);
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend([0; 4]);
        bytes.append(&mut body);
        Request { bytes, opcode, node }
    }

    /// Learns the numbers in a reply; returns whether the request succeeded.
    pub fn learn(&mut self, request: &Request, reply: &[u8]) -> bool {
        let word = |at: usize| {
            let bytes = reply.get(at..at + 8)?;
            Some(u64::from_ne_bytes(bytes.try_into().ok()?))
        };
        let error = reply.get(4..8).map(|bytes| i32::from_ne_bytes(bytes.try_into().unwrap()));
        if error == Some(-libc::ESTALE) {
            self.nodes.retain(|node| *node != request.node);
            self.directories.retain(|node| *node != request.node);
            self.handles.retain(|(node, _)| *node != request.node);
        }
        if error != Some(0) {
            return false;
        }
        if matches!(request.opcode, Opcode::Init) {
            // Everything is forgotten.
            self.nodes.clear();
            self.directories.clear();
            self.handles.clear();
        }
        let (node, handle) = match request.opcode {
            Opcode::Lookup | Opcode::Mknod | Opcode::Mkdir | Opcode::Symlink | Opcode::Link => {
                (word(REPLY_HEADER), None)
            }
            Opcode::Create => (word(REPLY_HEADER), word(REPLY_HEADER + ENTRY_BYTES)),
            Opcode::Open | Opcode::Opendir => (None, word(REPLY_HEADER)),
            Opcode::Readdirplus => (word(REPLY_HEADER), None),
            _ => (None, None),
        };
        let place = self.below(KNOWN_MAX);
        keep(&mut self.nodes, place, node);
        let mode = reply.get(MODE_PLACE..MODE_PLACE + 4);
        let mode = mode.map_or(0, |bytes| u32::from_ne_bytes(bytes.try_into().unwrap()));
        if mode & libc::S_IFMT == libc::S_IFDIR {
            keep(&mut self.directories, place, node);
        }
        keep(&mut self.handles, place, handle.map(|handle| (node.unwrap_or(request.node), handle)));
        true
    }

    /// Returns the number of an inode, mostly one that the server knows.
    fn node(&mut self) -> u64 {
        match self.below(16) {
            0 => self.pick(&[0, 1, 2, 3, u64::MAX, 1 << 63]),
            1 => self.next() % 200,
            _ if self.nodes.is_empty() => 1,
            _ => {
                let place = self.below(self.nodes.len());
                self.nodes[place]
            }
        }
    }

    /// Returns the number of a directory, mostly.
    fn directory(&mut self) -> u64 {
        if self.directories.is_empty() {
            return self.node();
        }
        let place = self.below(self.directories.len());
        self.directories[place]
    }

    fn name(&mut self) -> Vec<u8> {
        let usual = ["0", "1", "swapped", "link", "name", "new", "file", "deep", "magic", "share", "outside"];
        let hostile = [
            "..",
            ".",
            "/",
            "",
            "../outside",
            "../outside/name",
            "swapped/../../outside/name",
            "link/name",
            "absolute",
            "/etc/passwd",
            "/proc/self/fd",
            "fd",
            "root",
        ];
        let mut name = match self.below(10) {
            0 => self.pick(&hostile).as_bytes().to_vec(),
            1 => match self.below(5) {
                0 => self.outside.clone().into_bytes(),
                1 => vec![b'x'; 255],
                2 => vec![b'x'; 256],
                3 => b"new\0../outside/name".to_vec(),
                _ => format!("{}", self.below(100)).into_bytes(),
            },
            _ => self.pick(&usual).as_bytes().to_vec(),
        };
        // Without its end, rarely.
        if self.below(100) > 0 {
            name.push(0);
        }
        name
    }

    /// Returns the target of a link.
    fn target(&mut self) -> Vec<u8> {
        let targets = ["../outside", "../outside/name", "/proc/self/fd/3", "/proc/self/root", "/", "swapped"];
        let mut target = match self.below(4) {
            0 => self.outside.clone().into_bytes(),
            _ => self.pick(&targets).as_bytes().to_vec(),
        };
        target.push(0);
        target
    }

    /// Returns flags of open(2).
    fn flags(&mut self) -> u32 {
        let access = self.pick(&[libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR, libc::O_RDWR]);
        let more = self.pick(&[
            0,
            0,
            libc::O_TRUNC,
            libc::O_APPEND,
            libc::O_NOFOLLOW,
            libc::O_PATH,
            libc::O_TMPFILE,
            libc::O_DIRECTORY,
            libc::O_CREAT | libc::O_EXCL,
            -1,
        ]);
        (access | more).cast_unsigned()
    }

    fn mode(&mut self) -> u32 {
        let kinds =
            [0, libc::S_IFREG, libc::S_IFCHR, libc::S_IFBLK, libc::S_IFIFO, libc::S_IFSOCK, libc::S_IFDIR];
        self.pick(&kinds) | self.pick(&[0o644, 0o4755, 0o6777, 0o000, 0o7777])
    }

    fn offset(&mut self) -> u64 {
        match self.below(20) {
            0 => self.pick(&[u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 32]),
            _ => self.below(9000) as u64,
        }
    }

    /// Returns a body of the form that the protocol has for an opcode.
    fn body(&mut self, opcode: Opcode) -> Vec<u8> {
        let mut body = Body::default();
        match opcode {
            Opcode::Init => body.small(7).small(38).small(0).small(u32::MAX),
            Opcode::Lookup | Opcode::Unlink | Opcode::Rmdir | Opcode::Removexattr => body.bytes(&self.name()),
            Opcode::Forget => body.large(self.pick(&[1, 1, 1, 100, u64::MAX])),
            Opcode::BatchForget => {
                body.small(self.pick(&[1, 2, u32::MAX])).small(0);
                body.large(self.node()).large(1).large(self.node()).large(self.pick(&[1, u64::MAX]))
            }
            Opcode::Getattr => body.small(self.below(2) as u32).small(0).large(self.handle),
            Opcode::Setattr => {
                body.small(self.next() as u32).small(0).large(self.handle).large(self.offset());
                for _ in 0..4 {
                    body.large(self.below(2_000_000_000) as u64);
                }
                for _ in 0..3 {
                    body.small(self.pick(&[0, 999_999_999, u32::MAX]));
                }
                body.small(self.mode()).small(0).small(self.pick(&[0, 1000])).small(1000).small(0)
            }
            Opcode::Symlink => body.bytes(&self.name()).bytes(&self.target()),
            Opcode::Mknod => {
                body.small(self.mode()).small(self.next() as u32).small(0).small(0).bytes(&self.name())
            }
            Opcode::Mkdir => body.small(self.mode()).small(0).bytes(&self.name()),
            Opcode::Rename => body.large(self.directory()).bytes(&self.name()).bytes(&self.name()),
            Opcode::Rename2 => {
                body.large(self.directory()).small(self.pick(&[0, 1, 2, 4, 7, u32::MAX])).small(0);
                body.bytes(&self.name()).bytes(&self.name())
            }
            Opcode::Link => body.large(self.node()).bytes(&self.name()),
            Opcode::Open | Opcode::Opendir => body.small(self.flags()).small(self.below(2) as u32),
            Opcode::Create => {
                body.small(self.flags()).small(self.mode()).small(0).small(0).bytes(&self.name())
            }
            Opcode::Read | Opcode::Readdir | Opcode::Readdirplus => {
                body.large(self.handle).large(self.pick(&[0, 0, 1, 4096, u64::MAX]));
                body.small(self.pick(&[0, 100, 7000, u32::MAX])).small(0).large(0).small(0).small(0)
            }
            Opcode::Write => {
                let bytes = vec![b'w'; self.below(500)];
                let size = if self.below(20) == 0 { u32::MAX } else { bytes.len() as u32 };
                body.large(self.handle).large(self.offset()).small(size).small(self.below(8) as u32);
                body.large(0).small(self.flags()).small(0).bytes(&bytes)
            }
            Opcode::Release | Opcode::Releasedir => body.large(self.handle).small(0).small(0).large(0),
            Opcode::Fsync => body.large(self.handle).small(self.below(2) as u32).small(0),
            Opcode::Setxattr => {
                let attributes =
                    ["user.x", "user.msb.override_stat", "security.capability", "system.posix_acl_access"];
                let mut name = self.pick(&attributes).as_bytes().to_vec();
                name.push(0);
                body.small(20).small(0).bytes(&name).bytes(&[1; 20])
            }
            Opcode::Getxattr => body.small(100).small(0).bytes(b"user.msb.override_stat\0"),
            Opcode::Listxattr => body.small(self.pick(&[0, 10, 7000])).small(0),
            Opcode::Fallocate => {
                body.large(self.handle).large(self.offset()).large(self.offset());
                body.small(self.next() as u32 & 0x7f).small(0)
            }
            Opcode::Lseek => {
                body.large(self.handle).large(self.offset()).small(self.below(6) as u32).small(0)
            }
            _ => (0..6).fold(&mut body, |body, _| body.large(self.next())),
        };
        body.0
    }
}

/// Whether the body of a request has the number of a handle.
fn uses_handle(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::Read
            | Opcode::Write
            | Opcode::Readdir
            | Opcode::Readdirplus
            | Opcode::Fsync
            | Opcode::Fallocate
            | Opcode::Lseek
            | Opcode::Release
            | Opcode::Releasedir
    )
}

/// Whether a request is about an entry of a directory.
fn has_name(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::Lookup
            | Opcode::Create
            | Opcode::Symlink
            | Opcode::Mknod
            | Opcode::Mkdir
            | Opcode::Unlink
            | Opcode::Rmdir
            | Opcode::Rename
            | Opcode::Rename2
            | Opcode::Link
            | Opcode::Opendir
    )
}

/// Adds what is new to a bounded list.
fn keep<T>(known: &mut Vec<T>, place: usize, new: Option<T>) {
    match new {
        Some(new) if known.len() < KNOWN_MAX => known.push(new),
        Some(new) => known[place] = new,
        None => {}
    }
}

/// The body of a request.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn small(&mut self, number: u32) -> &mut Self {
        self.bytes(&number.to_ne_bytes())
    }

    fn large(&mut self, number: u64) -> &mut Self {
        self.bytes(&number.to_ne_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
}
