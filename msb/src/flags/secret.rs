//! `--secret`, whose value is read from the host, and never from the command line.

use super::text::{Properties, literal};
use crate::error::CliError;
use rules::suggest::{list, nearest};
use serde_json::{Value, json};

/// The options, which are properties of a secret or sources of its value.
const OPTIONS: [&str; 8] = [
    "env=",
    "file=",
    "inject=",
    "headers=",
    "placeholder=",
    "on-violation=",
    "passthrough-hosts=",
    "require-tls=",
];

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
                 value is read from the variable NAME unless `env=` or `file=` says otherwise",
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
    let mut secret = Properties::new();
    secret.insert("hosts".to_owned(), hosts.split(',').map(literal).collect());
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        let (option, value) = option.split_once('=').unwrap_or((option, ""));
        let (property, value) = property(option, value)?;
        if secret.insert(property.to_owned(), value).is_some() {
            return Err(match property {
                "from" => "a secret has one source".to_owned(),
                _ => format!("duplicate option `{option}`"),
            });
        }
    }
    secret.entry("from").or_insert_with(|| json!({ "env": literal(name) }));
    Ok((name, secret))
}

/// Returns the name of the property that an option sets, and its value.
fn property(option: &str, value: &str) -> Result<(&'static str, Value), String> {
    let several = || value.split('+').map(literal).collect();
    let found = match option {
        "env" => ("from", json!({ "env": literal(value) })),
        "file" => ("from", json!({ "file": literal(value) })),
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
            }))
        );
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
