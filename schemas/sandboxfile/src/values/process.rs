//! `workdir "/app"`, `user "1000:1000"`, `hostname "db-1"` and `shell "/bin/bash"`.

use super::block::values;
use super::read::{Takes, flag, text_like};
use super::script::first_line;
use super::word::{check_word, read_word};
use super::{PrintScope, Scope, Value};
use crate::check::RESERVED_NAMES;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::schema;
use crate::print::{Node, Printed, Scalar};
use crate::syntax::{Item, Spanned};
use rules::user::GuestUser;
use schemas::signal::parse_signal;
use schemas::spec::{Pull, defaults};

/// Checks the working directory.
fn check_workdir(context: &mut Context<'_>, workdir: &Spanned<String>) -> Option<String> {
    if workdir.value.starts_with('/') {
        return Some(workdir.value.clone());
    }
    let relative = workdir.value.trim_start_matches("./");
    let diagnostic = Diagnostic::error(
        Code::InvalidWorkdir,
        workdir.span,
        "the working directory is not an absolute path",
    )
    .label("does not start with `/`");
    context.refuse(if relative.is_empty() || relative.starts_with('.') {
        diagnostic.help("it is a path inside the guest, such as \"/app\"")
    } else {
        diagnostic.help(format!("did you mean \"/{}\"? it is a path inside the guest", shorten(relative)))
    })
}

/// Checks the form of the user; only the guest knows whether it exists.
fn check_user(context: &mut Context<'_>, user: &Spanned<String>) -> Option<GuestUser> {
    if let Ok(user) = user.value.parse() {
        return Some(user);
    }
    let message = format!("`{}` is not a user", shorten(&user.value));
    context.refuse(
        Diagnostic::error(Code::InvalidUser, user.span, message)
            .label("neither a name nor a number")
            .help("a user is a name or a number, with or without a group: root, 1000 or 1000:1000"),
    )
}

/// The longest first line of a script that Linux reads whole, in bytes.
const FIRST_LINE_BYTES_MAX: usize = 255;

/// Checks that the shell fits into the first line of a script.
fn check_shell(context: &mut Context<'_>, shell: &Spanned<String>) -> Option<String> {
    let (message, label) = if shell.value.is_empty() {
        ("the shell is empty", "no program")
    } else if shell.value.contains(char::is_whitespace) {
        ("a shell is a single word", "holds white space")
    } else if shell.value == "/" {
        ("`/` is not a shell", "a directory")
    } else if shell.value.contains(char::is_control) {
        ("a shell holds no control characters", "holds a control character")
    } else if shell.value.contains('/') && !shell.value.starts_with('/') {
        ("the path of a shell is absolute", "relative to whatever directory a script is started in")
    } else if first_line(&shell.value).len() > FIRST_LINE_BYTES_MAX {
        ("the path of a shell is too long", "the kernel reads 255 bytes of a script's first line")
    } else {
        return Some(shell.value.clone());
    };
    context.refuse(
        Diagnostic::error(Code::InvalidShell, shell.span, message).label(label).help(
            "name a program, such as \"/bin/bash\" or \"bash\"; a raw script chooses its own first line",
        ),
    )
}

/// Checks that Linux has the signal.
fn check_signal(context: &mut Context<'_>, signal: &Spanned<String>) -> Option<String> {
    if parse_signal(&signal.value).is_some() {
        return Some(signal.value.clone());
    }
    let message = format!("there is no signal `{}`", shorten(&signal.value));
    context.refuse(
        Diagnostic::error(Code::InvalidSignal, signal.span, message)
            .label("not a signal")
            .help("a signal is a name or a number: SIGTERM, INT or 3"),
    )
}

/// The pattern of a host name in the JSON Schema: labels between dots.
const HOSTNAME: &str = "^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$";
/// The longest host name that Linux takes, in bytes.
const HOSTNAME_BYTES_MAX: usize = 64;
/// The longest part of a host name between two dots, in bytes.
const HOSTNAME_LABEL_BYTES_MAX: usize = 63;

/// Checks the host name.
fn check_hostname(context: &mut Context<'_>, hostname: &Spanned<String>) -> Option<String> {
    let name = hostname.value.as_str();
    let is_label = |label: &str| {
        (1..=HOSTNAME_LABEL_BYTES_MAX).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let (code, label) = if RESERVED_NAMES.contains(&name.to_ascii_lowercase().as_str()) {
        (Code::ReservedName, "has a meaning of its own inside a sandbox")
    } else if name.len() > HOSTNAME_BYTES_MAX {
        (Code::InvalidName, "longer than 64 bytes")
    } else if !name.split('.').all(is_label) {
        (Code::InvalidName, "not a host name")
    } else {
        return Some(name.to_owned());
    };
    let message = format!("`{}` cannot be the host name of a sandbox", shorten(name));
    context.refuse(
        Diagnostic::error(code, hostname.span, message)
            .label(label)
            .help("a host name has letters, digits and `-`, and `.` between its parts: db-1.example.org"),
    )
}

values! {
    /// A working directory.
    Workdir: Spanned<String> => String {
        read: |context, item| text_like(context, item, Takes { what: "a path", bare: false }, "/app"),
        check: check_workdir,
        print: |path| Node::text(path),
        schema: schema::matching_or_variable("^/"),
    }
    /// A user, with or without a group.
    User: Spanned<String> => GuestUser {
        read: |context, item| text_like(context, item, Takes { what: "a user", bare: true }, "1000:1000"),
        check: check_user,
        print: |user| Node::text(user.as_str()),
        schema: schema::with(schema::text(), "examples", ["app", "1000:1000"]),
    }
    /// The shell of wrapped scripts.
    Shell: Spanned<String> => String {
        read: |context, item| text_like(context, item, Takes { what: "a program", bare: false }, "/bin/bash"),
        check: check_shell,
        print: |shell| Node::text(shell),
        schema: schema::with(schema::text(), "default", defaults::SHELL),
    }
    /// When a registry is asked for the image.
    PullPolicy: Spanned<String> => Pull {
        read: |context, item| read_word::<Pull>(context, item),
        check: |context, word| check_word(context, Some(word), "pull"),
        print: |pull| Node::text(pull.as_str()),
        schema: schema::word::<Pull>(),
    }
    /// Whether the root is read only.
    ReadOnly: Spanned<bool> => bool {
        read: |context, item| flag(context, item),
        check: |_, flag| Some(flag.value),
        print: |flag| Node::Scalar(Scalar::Flag(*flag)),
        schema: schema::flag(),
    }
    /// A signal, by name or number.
    StopSignal: Spanned<String> => String {
        read: |context, item| text_like(context, item, Takes { what: "a signal", bare: true }, "SIGINT"),
        check: check_signal,
        print: |signal| Node::text(signal),
        schema: schema::with(schema::text(), "examples", ["SIGINT", "SIGQUIT"]),
    }
    /// A host name.
    Hostname: Spanned<String> => String {
        read: |context, item| text_like(context, item, Takes { what: "a host name", bare: false }, "db-1"),
        check: check_hostname,
        print: |name| Node::text(name),
        schema: schema::with(schema::matching_or_variable(HOSTNAME), "examples", ["db-1", "db-1.example.org"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AssumePresent, Format, Input, Source, print};
    use schemas::name::ProjectName;

    #[test]
    fn valid_shells() {
        let mut context = Context::new(&AssumePresent);
        let longest = format!("/{}", "x".repeat(FIRST_LINE_BYTES_MAX - "#!/\n".len()));
        for (shell, is_sound) in [
            ("bash", true),
            ("/bin/bash", true),
            ("bin/bash", false),
            ("./bash", false),
            ("", false),
            ("a b", false),
            ("/", false),
            (&longest, true),
            (&format!("{longest}x"), false),
        ] {
            let shell = Spanned::new(shell.to_owned(), Default::default());
            assert_eq!(check_shell(&mut context, &shell).is_some(), is_sound, "{}", shell.value);
        }
    }

    #[test]
    fn a_host_name_is_read_and_printed_in_both_spellings() {
        let load = |text: &str, format| {
            let source = Source { name: "a", path: None, bytes: text.as_bytes(), format, folder: "/" };
            crate::load(
                &Input { default_project: ProjectName::new("a").ok(), ..Input::of(source) },
                &AssumePresent,
            )
        };
        let kdl = |name: &str| {
            load(&format!("sandbox \"web\" {{ image \"./image\"; hostname {name:?} }}"), Format::Kdl)
        };
        let longest = "a.".repeat(HOSTNAME_BYTES_MAX / 2 - 1) + "ab";
        for name in ["db-1", "DB1.example.org", "1", &longest] {
            let model = kdl(name).unwrap().model;
            assert_eq!(model.sandboxes()[0].definition().hostname.as_deref(), Some(name));
            let yaml = print::yaml(&model);
            assert_eq!(load(&yaml, Format::Yaml).unwrap().model, model, "{yaml}");
            assert_eq!(load(&print::kdl(&model), Format::Kdl).unwrap().model, model);
        }
        let too_long = format!("{longest}c");
        let long_label = "a".repeat(HOSTNAME_BYTES_MAX);
        for name in ["", ".", "a.", "-a", "a-", "a b", "a_b", "é", "localhost", "MSB", &too_long, &long_label]
        {
            assert!(kdl(name).is_err(), "{name}");
        }
    }
}
