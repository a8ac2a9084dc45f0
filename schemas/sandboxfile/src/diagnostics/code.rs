//! The stable codes of errors and warnings about a Sandboxfile.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The kind of an error or a warning, as a stable word for scripts and search engines.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the whole code, such as `msb::sandboxfile::unknown_property`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!("msb::sandboxfile::", $name),)*
                }
            }
        }
    };
}

codes! {
    /// The bytes are not UTF-8.
    NotUtf8 = "not_utf8",
    /// The file, or a part of it, is larger than its limit.
    TooLarge = "too_large",
    /// Blocks inside blocks beyond the limit.
    TooDeep = "too_deep",
    /// More nodes than the budget allows, aliases expanded.
    TooComplex = "too_complex",
    /// Not KDL.
    KdlSyntax = "kdl_syntax",
    /// Not YAML.
    YamlSyntax = "yaml_syntax",
    /// Nothing is declared.
    NoSandboxes = "no_sandboxes",
    /// A property that does not exist here.
    UnknownProperty = "unknown_property",
    /// The same property twice.
    DuplicateProperty = "duplicate_property",
    /// Two things of the same name.
    DuplicateName = "duplicate_name",
    /// A value of the wrong type.
    WrongType = "wrong_type",
    /// A property without a value.
    MissingValue = "missing_value",
    /// More values than the property takes.
    TooManyValues = "too_many_values",
    /// A required property that is missing.
    MissingProperty = "missing_property",
    /// Two properties that contradict each other.
    Conflict = "conflict",
    /// A text that cannot be a name.
    InvalidName = "invalid_name",
    /// A name that has a meaning of its own.
    ReservedName = "reserved_name",
    /// No name for the project.
    NoProjectName = "no_project_name",
    /// A variable that is not set and has no default.
    UnsetVariable = "unset_variable",
    /// A `${…}` that cannot be read.
    InvalidVariable = "invalid_variable",
    /// A line of a file of variables that sets none.
    InvalidEnvFile = "invalid_env_file",
    /// An included file that cannot be read.
    IncludeNotFound = "include_not_found",
    /// Files that include each other.
    IncludeCycle = "include_cycle",
    /// The name of `like` is not that of a sandbox.
    UnknownSandbox = "unknown_sandbox",
    /// Sandboxes whose `like` form a cycle.
    LikeCycle = "like_cycle",
    /// More memory than the host has.
    TooMuchMemory = "too_much_memory",
    /// A size or a duration that cannot be read.
    InvalidQuantity = "invalid_quantity",
    /// A number outside its limits.
    OutOfRange = "out_of_range",
    /// A word other than the accepted ones.
    UnknownValue = "unknown_value",
    /// A text with a character that is not allowed.
    InvalidText = "invalid_text",
    /// An image reference that cannot be read.
    InvalidImage = "invalid_image",
    /// An image that does not exist.
    ImageNotFound = "image_not_found",
    /// An image that is neither a directory nor a tar archive.
    ImageNotUsable = "image_not_usable",
    /// An environment variable that cannot be set.
    InvalidEnv = "invalid_env",
    /// A shell that cannot be named in the first line of a script.
    InvalidShell = "invalid_shell",
    /// A working directory that is not an absolute path.
    InvalidWorkdir = "invalid_workdir",
    /// A user that is not `user[:group]`.
    InvalidUser = "invalid_user",
    /// A limit of processes that is unknown, or has no number.
    InvalidUlimit = "invalid_ulimit",
    /// A line of `/etc/hosts` without a name or an address.
    InvalidHostLine = "invalid_host_line",
    /// A signal that Linux does not have.
    InvalidSignal = "invalid_signal",
    /// An invalid path: one in the sandbox that is relative or reserved, or one of the host without `./`.
    InvalidPath = "invalid_path",
    /// A path of the host that does not exist.
    HostPathNotFound = "host_path_not_found",
    /// A path of the host that is neither a file nor a directory.
    HostPathNotUsable = "host_path_not_usable",
    /// The short form of a mount that cannot be read.
    InvalidMount = "invalid_mount",
    /// A volume that is not declared.
    UnknownVolume = "unknown_volume",
    /// A directory volume that several sandboxes may write to, and that is not declared as shared.
    VolumeNotShared = "volume_not_shared",
    /// More mounts than a sandbox can have.
    TooManyMounts = "too_many_mounts",
    /// More files than a sandbox can have.
    TooManyFiles = "too_many_files",
    /// A dependency that the sandbox cannot connect to.
    Unreachable = "unreachable",
    /// A property that changes nothing.
    NoEffect = "no_effect",
    /// A port that cannot be read.
    InvalidPort = "invalid_port",
    /// A port of the host that is used twice.
    PortConflict = "port_conflict",
    /// A network rule that cannot be read.
    InvalidRule = "invalid_rule",
    /// A network that cannot be a pool of addresses.
    InvalidPool = "invalid_pool",
    /// A proxy that cannot be used.
    InvalidProxy = "invalid_proxy",
    /// The text is not the address of a name server, or not a domain.
    InvalidDns = "invalid_dns",
    /// A host pattern as broad as a top-level domain.
    SuffixTooBroad = "suffix_too_broad",
    /// A network rule that earlier ones shadow.
    ShadowedRule = "shadowed_rule",
    /// An invalid host pattern.
    InvalidHost = "invalid_host",
    /// A placeholder of a secret that cannot be used.
    InvalidPlaceholder = "invalid_placeholder",
    /// More secrets than a sandbox can have.
    TooManySecrets = "too_many_secrets",
    /// A script without a body.
    EmptyScript = "empty_script",
    /// A command line in one string.
    CommandInOneString = "command_in_one_string",
    /// A script that does not exist.
    UnknownScript = "unknown_script",
    /// A dependency that does not exist.
    UnknownDependency = "unknown_dependency",
    /// Access to something outside the project's folder that the user has not confirmed.
    NotTrusted = "not_trusted",
    /// Sandboxes that wait for each other.
    DependencyCycle = "dependency_cycle",
    /// A wait that can never end.
    EndlessWait = "endless_wait",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
