//! `workdir "/app"`, `user "1000:1000"`, `hostname "db-1"` and `shell "/bin/bash"`.

use super::read::{Fields, Takes, text_like};
use super::script::first_line;
use super::{PrintScope, Scope, Value};
use crate::check::RESERVED_NAMES;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::schema;
use crate::print::{Node, Printed};
use crate::syntax::{Item, Spanned};
use rules::user::GuestUser;
use schemas::spec::defaults;

/// Reads the working directory as typed.
fn read_workdir(context: &mut Context<'_>, item: &Item<'_>) -> Option<Spanned<String>> {
    text_like(context, item, Takes { what: "a path", bare: false }, "/app")
}

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
    context.push(if relative.is_empty() || relative.starts_with('.') {
        diagnostic.help("it is a path inside the guest, such as \"/app\"")
    } else {
        diagnostic.help(format!("did you mean \"/{}\"? it is a path inside the guest", shorten(relative)))
    });
    None
}

/// Reads the user as typed.
fn read_user(context: &mut Context<'_>, item: &Item<'_>) -> Option<Spanned<String>> {
    text_like(context, item, Takes { what: "a user", bare: true }, "1000:1000")
}

/// Checks the form of the user; only the guest knows whether it exists.
fn check_user(context: &mut Context<'_>, user: &Spanned<String>) -> Option<GuestUser> {
    if let Ok(user) = user.value.parse() {
        return Some(user);
    }
    let message = format!("`{}` is not a user", shorten(&user.value));
    context.push(
        Diagnostic::error(Code::InvalidUser, user.span, message)
            .label("neither a name nor a number")
            .help("a user is a name or a number, with or without a group: root, 1000 or 1000:1000"),
    );
    None
}

/// The longest first line of a script that Linux reads whole, in bytes.
const FIRST_LINE_BYTES_MAX: usize = 255;

/// Reads the shell as typed.
fn read_shell(context: &mut Context<'_>, item: &Item<'_>) -> Option<Spanned<String>> {
    text_like(context, item, Takes { what: "a program", bare: false }, "/bin/bash")
}

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
    context.push(
        Diagnostic::error(Code::InvalidShell, shell.span, message).label(label).help(
            "name a program, such as \"/bin/bash\" or \"bash\"; a raw script chooses its own first line",
        ),
    );
    None
}

/// A working directory.
pub(crate) struct Workdir;

impl Value for Workdir {
    type Raw = Option<Spanned<String>>;
    type Model = Option<String>;

    fn read(context: &mut Context<'_>, fields: &Fields<'_>, property: &'static str) -> Self::Raw {
        fields.one(property).and_then(|item| read_workdir(context, item))
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, _scope: &Scope<'_>) -> Option<Self::Model> {
        let Some(raw) = raw else { return Some(None) };
        check_workdir(context, raw).map(Some)
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        model.as_ref().map_or(Printed::Nothing, |text| Printed::One(Node::text(text)))
    }

    fn schema() -> serde_json::Value {
        schema::matching_or_variable("^/")
    }
}

/// A user, with or without a group.
pub(crate) struct User;

impl Value for User {
    type Raw = Option<Spanned<String>>;
    type Model = Option<GuestUser>;

    fn read(context: &mut Context<'_>, fields: &Fields<'_>, property: &'static str) -> Self::Raw {
        fields.one(property).and_then(|item| read_user(context, item))
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, _scope: &Scope<'_>) -> Option<Self::Model> {
        let Some(raw) = raw else { return Some(None) };
        check_user(context, raw).map(Some)
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        model.as_ref().map_or(Printed::Nothing, |user| Printed::One(Node::text(user.as_str())))
    }

    fn schema() -> serde_json::Value {
        schema::with(schema::text(), "examples", ["app", "1000:1000"])
    }
}

/// The shell of wrapped scripts.
pub(crate) struct Shell;

impl Value for Shell {
    type Raw = Option<Spanned<String>>;
    type Model = String;

    fn read(context: &mut Context<'_>, fields: &Fields<'_>, property: &'static str) -> Self::Raw {
        fields.one(property).and_then(|item| read_shell(context, item))
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, _scope: &Scope<'_>) -> Option<Self::Model> {
        raw.as_ref().map_or(Some(defaults::SHELL.to_owned()), |raw| check_shell(context, raw))
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        Printed::One(Node::text(model))
    }

    fn schema() -> serde_json::Value {
        schema::with(schema::text(), "default", defaults::SHELL)
    }
}

/// The pattern of a host name in the JSON Schema: labels between dots.
const HOSTNAME: &str = "^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$";
/// The longest host name that Linux takes, in bytes.
const HOSTNAME_BYTES_MAX: usize = 64;
/// The longest part of a host name between two dots, in bytes.
const HOSTNAME_LABEL_BYTES_MAX: usize = 63;

/// A host name.
pub(crate) struct Hostname;

impl Value for Hostname {
    type Raw = Option<Spanned<String>>;
    type Model = Option<String>;

    fn read(context: &mut Context<'_>, fields: &Fields<'_>, property: &'static str) -> Self::Raw {
        let takes = Takes { what: "a host name", bare: false };
        fields.one(property).and_then(|item| text_like(context, item, takes, "db-1"))
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, _scope: &Scope<'_>) -> Option<Self::Model> {
        let Some(raw) = raw else { return Some(None) };
        let name = raw.value.as_str();
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
            return Some(Some(name.to_owned()));
        };
        let message = format!("`{}` cannot be the host name of a sandbox", shorten(name));
        context.push(
            Diagnostic::error(code, raw.span, message)
                .label(label)
                .help("a host name has letters, digits and `-`, and `.` between its parts: db-1.example.org"),
        );
        None
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        model.as_ref().map_or(Printed::Nothing, |text| Printed::One(Node::text(text)))
    }

    fn schema() -> serde_json::Value {
        schema::with(schema::matching_or_variable(HOSTNAME), "examples", ["db-1", "db-1.example.org"])
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
