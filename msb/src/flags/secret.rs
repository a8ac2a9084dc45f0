//! `--secret`, whose value is read from the host, and never from the command line.

use super::text::{Properties, literal};
use crate::error::CliError;
use rules::suggest::{list, nearest};
use serde_json::Value;

/// The options, which are properties of a secret or sources of its value.
const OPTIONS: [&str; 10] = [
    "env=",
    "file=",
    "keyring=",
    "account=",
    "inject=",
    "headers=",
    "placeholder=",
    "on-violation=",
    "passthrough-hosts=",
    "require-tls=",
];

/// The options that are about the source of the value.
const SOURCES: [&str; 4] = ["env", "file", "keyring", ACCOUNT];
/// The option of the account in a keyring.
const ACCOUNT: &str = "account";

/// Returns the secrets that the values of `--secret` declare, by their names.
///
/// # Errors
///
/// If a value is not `NAME@HOST[,HOST…][:OPTIONS]`, or two have the same name. The checks of a Sandboxfile report all else.
pub fn declared(texts: &[String]) -> Result<Properties, CliError> {
    let mut secrets = Properties::new();
    for text in texts {
        let refused = |problem: &str| CliError::usage(format!("--secret {text:?}: {problem}"));
        let (name, secret) = parse(text).map_err(|problem| {
            refused(&problem).hint(
                "write it as NAME@HOST[,HOST…][:OPTION,…], such as API_KEY@api.example.org:inject=headers+query; the \
                 value is read from the variable NAME unless `env=`, `file=` or `keyring=` says otherwise",
            )
        })?;
        if secrets.insert(name.to_owned(), secret.into()).is_some() {
            return Err(refused(&format!("two secrets are called {name:?}"))
                .hint("write --secret NAME@HOST,HOST for several hosts"));
        }
    }
    Ok(secrets)
}

fn parse(text: &str) -> Result<(&str, Properties), String> {
    let parts = text.split_once('@').filter(|(name, hosts)| !name.is_empty() && !hosts.is_empty());
    let (name, rest) = parts.ok_or("it is not NAME@HOST")?;
    let (hosts, options) = rest.split_once(':').map_or((rest, None), |(hosts, rest)| (hosts, Some(rest)));
    let (mut secret, mut source) = (Properties::new(), Properties::new());
    secret.insert("hosts".to_owned(), hosts.split(',').map(literal).collect());
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        let (option, value) = option.split_once('=').unwrap_or((option, ""));
        if SOURCES.contains(&option) {
            add_source(&mut source, "a secret", option, value)?;
            continue;
        }
        let (property, value) = property(option, value)?;
        if secret.insert(property.to_owned(), value).is_some() {
            return Err(format!("duplicate option `{option}`"));
        }
    }
    if source.is_empty() {
        source.insert("env".to_owned(), literal(name));
    }
    secret.insert("from".to_owned(), source.into());
    Ok((name, secret))
}

/// Returns the source that a value of `--net-proxy-password` names.
///
/// # Errors
///
/// If it names none, or several.
pub fn source_of(text: &str) -> Result<Properties, CliError> {
    let mut source = Properties::new();
    let mut parts = text.split(',');
    let problem = parts.find_map(|part| {
        let (option, value) = part.split_once('=').unwrap_or((part, ""));
        if !SOURCES.contains(&option) {
            return Some("it does not say where the password is read".to_owned());
        }
        add_source(&mut source, "a password", option, value).err()
    });
    match problem {
        None => Ok(source),
        // It may be a password.
        Some(problem) => Err(CliError::usage(format!("--net-proxy-password: {problem}"))
            .hint("write env=NAME, file=PATH, or keyring=SERVICE,account=NAME")),
    }
}

/// Adds an option of a source.
fn add_source(source: &mut Properties, what: &str, option: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!("`{option}` needs a value"));
    }
    let is_kind = |option: &str| option != ACCOUNT;
    if is_kind(option) && source.keys().any(|known| is_kind(known)) {
        return Err(format!("{what} has one source"));
    }
    if source.insert(option.to_owned(), literal(value)).is_some() {
        return Err(format!("duplicate option `{option}`"));
    }
    Ok(())
}

/// Returns the name of the property that an option sets, and its value.
fn property(option: &str, value: &str) -> Result<(&'static str, Value), String> {
    let several = || value.split('+').map(literal).collect();
    let found = match option {
        "inject" => ("inject", several()),
        "headers" => ("headers", several()),
        "placeholder" => ("placeholder", literal(value)),
        "on-violation" => ("on_violation", literal(value)),
        "passthrough-hosts" => ("passthrough_hosts", several()),
        "require-tls" => ("require_tls", value.parse().map_or_else(|_| literal(value), Value::Bool)),
        _ if !option.is_empty() && option.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(format!("a secret is for hosts, whatever their port: remove `:{option}`"));
        }
        _ => {
            let known = nearest(&format!("{option}="), OPTIONS).map_or_else(
                || format!("the options are {}", list(OPTIONS, "and")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(format!("unknown option `{option}`: {known}"));
        }
    };
    if value.is_empty() { Err(format!("`{option}` needs a value")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secrets(texts: &[&str]) -> Result<Value, String> {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        declared(&texts).map(Value::from).map_err(|error| error.message)
    }

    #[test]
    fn the_options_are_properties() {
        assert_eq!(
            secrets(&[
                "A@a.example,*.b.example",
                "B@a.example:env=HOST_B,inject=headers+query,on-violation=block,require-tls=false",
                "D@a.example:keyring=api,account=me",
                "C@a.example:file=./$c,headers=X-A+x-b,placeholder=sk-$x=1,passthrough-hosts=*.c.example",
            ]),
            Ok(json!({
                "A": { "hosts": ["a.example", "*.b.example"], "from": { "env": "A" } },
                "B": {
                    "hosts": ["a.example"],
                    "from": { "env": "HOST_B" },
                    "inject": ["headers", "query"],
                    "on_violation": "block",
                    "require_tls": false,
                },
                "C": {
                    "hosts": ["a.example"],
                    "from": { "file": "./$$c" },
                    "headers": ["X-A", "x-b"],
                    "placeholder": "sk-$$x=1",
                    "passthrough_hosts": ["*.c.example"],
                },
                "D": { "hosts": ["a.example"], "from": { "keyring": "api", "account": "me" } },
            }))
        );
    }

    #[test]
    fn the_source_of_a_password_is_one_of_those() {
        let source = |text| source_of(text).map(Value::from).map_err(|error| error.message);
        assert_eq!(source("env=PW"), Ok(json!({ "env": "PW" })));
        assert_eq!(source("keyring=proxy,account=me"), Ok(json!({ "keyring": "proxy", "account": "me" })));
        for (text, problem) in [
            ("hunter2", "it does not say where the password is read"),
            ("password=hunter2", "it does not say where the password is read"),
            ("env=PW,file=./x", "a password has one source"),
            ("env=", "`env` needs a value"),
        ] {
            let message = source(text).unwrap_err();
            assert!(message.contains(problem) && !message.contains("hunter2"), "{text}: {message}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, problem) in [
            ("A", "it is not NAME@HOST"),
            ("@a.example", "it is not NAME@HOST"),
            ("A@", "it is not NAME@HOST"),
            ("A@a.example:", "unknown option ``: the options are `env=`, `file=`"),
            ("A@a.example:443", "whatever their port: remove `:443`"),
            ("A@a.example:injekt=body", "unknown option `injekt`: did you mean `inject=`?"),
            ("A@a.example:value=hunter2", "unknown option `value`"),
            ("A@a.example:inject", "`inject` needs a value"),
            ("A@a.example:inject=body,inject=query", "duplicate option `inject`"),
            ("A@a.example:env=B,file=./b", "a secret has one source"),
        ] {
            let message = secrets(&[text]).unwrap_err();
            assert!(message.contains(problem), "{text}: {message}");
        }
        let twice = secrets(&["A@a.example", "A@b.example"]).unwrap_err();
        assert!(twice.contains("two secrets are called \"A\""), "{twice}");
    }
}
