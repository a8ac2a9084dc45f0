//! The JSON Schema of the YAML spelling, from the tables of the language.
//!
//! Every value but the text of a script may contain variables, whose values an editor does not know. So each kind of
//! value accepts any text with a dollar sign.

use super::{DNS, FILE, PROJECT, PROXY, Property, PropertyTable, RESTART_POLICIES, SANDBOX, TABLES, TLS_CA};
use rules::Word;
use rules::pool::{Ipv4Pool, Ipv6Pool};
use rules::rule::{Action, Direction, Group, Protocol};
use schemas::spec::{Condition, ID_MAX, RequestPart, VolumeKind, default_parts};
use serde_json::{Value, json};

/// Names of projects, sandboxes, volumes and scripts.
pub(crate) const NAME: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";
const SIZE: &str = r"^\s*[0-9]+\s*[KkMmGgTt]([Ii]?[Bb])?\s*$";
const DURATION: &str = r"^\s*([0-9]+(\.[0-9]+)?\s*([num]s|[num]sec|µs|μs|s|sec|seconds?|m|min|minutes?|h|hr|hours?|d|days?|w|weeks?)\s*)+$";
const PORT: &str =
    r"^(([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+\]):)?[0-9]{1,5}:[0-9]{1,5}(/(tcp|udp))?$";
const IPV4_POOL: &str = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/([1-9]|[12][0-9]|30)$";
const IPV6_POOL: &str = r"^[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*/([1-9]|[1-5][0-9]|6[0-4])$";
pub(crate) const GUEST_PATH: &str = "^/.*[^/]$";
const FILE_MODE: &str = "^(0o)?0?[0-7]{1,3}$";
const TMPFS_MODE: &str = "^(0o)?[0-7]{1,12}$";
const VARIABLE: &str = r"\$";
/// Printable ASCII without quotes and backslashes.
const PLACEHOLDER: &str = r"^[!#-&(-\[\]-_a-~]{8,256}$";
/// A token of HTTP.
const HEADER_NAME: &str = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$";
/// `*.` and one part alone would be a whole top-level domain.
const HOST: &str = r"^(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+\.?$";
const DOMAIN: &str =
    r"^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$";
const NAME_SERVER: &str = r"^([0-9.]+(:[0-9]{1,5})?|[0-9A-Fa-f:.]+|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?)$";

/// Without a password.
const PROXY_URL: &str = r"^\s*([Hh][Tt][Tt][Pp]|[Ss][Oo][Cc][Kk][Ss]5)://([^:/?#]+@)?([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?\s*$";

/// Returns the JSON Schema of the YAML spelling, for editors.
pub fn json_schema() -> String {
    let mut root = block(&PROJECT);
    // The draft that editors understand best.
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    root["title"] = json!(PROJECT.definition);
    let defined =
        TABLES.iter().filter(|place| !place.definition.is_empty() && !std::ptr::eq(**place, &PROJECT));
    root["definitions"] = defined.map(|place| (place.definition.to_owned(), block(place))).collect();
    format!("{root:#}\n")
}

/// Returns the schema of a block. Hardly any property is required, because a file may be one of several layers.
fn block(place: &PropertyTable) -> Value {
    let schema = |property: &Property| with((property.schema)(), "description", property.description());
    let properties = place.properties.iter().map(|property| (property.yaml.to_owned(), schema(property)));
    let mut block = json!({
        "type": "object",
        "description": place.doc,
        "properties": properties.collect::<Value>(),
        "additionalProperties": false
    });
    if !place.required.is_empty() {
        block["required"] = json!(place.required);
    }
    if place.definition == "SecretSource" {
        let alone = |kind: &str| json!({ "required": [kind], "maxProperties": 1 });
        let keyring = json!({ "required": ["keyring"], "propertyNames": { "enum": ["keyring", "account"] } });
        block["oneOf"] = json!([alone("env"), alone("file"), alone("command"), keyring]);
    }
    if std::ptr::eq(place, &FILE) {
        block["oneOf"] = json!([{ "required": ["from"] }, { "required": ["content"] }]);
    }
    block
}

/// Returns the schema with one more keyword.
pub(crate) fn with(mut schema: Value, keyword: &str, value: impl serde::Serialize) -> Value {
    // Keywords beside a reference are ignored.
    if schema.get("$ref").is_some() {
        schema = json!({ "allOf": [schema] });
    }
    schema[keyword] = json!(value);
    schema
}

/// Returns a reference to the block of a place.
pub(crate) fn definition(name: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{name}") })
}

/// Returns the schema of a value that matches one of several schemas.
pub(crate) fn any_of<const N: usize>(schemas: [Value; N]) -> Value {
    json!({ "anyOf": Value::Array(schemas.into()) })
}

/// Returns the schema of a map whose names match `pattern`; null is an empty map.
pub(crate) fn named(pattern: &str, one: &Value) -> Value {
    json!({
        "type": ["object", "null"],
        "patternProperties": { pattern: one },
        "additionalProperties": false
    })
}

fn or_null(schema: Value) -> Value {
    any_of([schema, json!({ "type": "null" })])
}

fn or_variable(schema: Value) -> Value {
    any_of([schema, json!({ "type": "string", "pattern": VARIABLE })])
}

fn matching(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn word_of<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    json!({ "type": "string", "enum": words.into_iter().collect::<Vec<_>>() })
}

/// Returns the schema of a text of this pattern.
pub(crate) fn matching_or_variable(pattern: &str) -> Value {
    or_variable(matching(pattern))
}

/// Returns the schema of any text; a bare number or truth value is read as text.
pub(crate) fn text() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

/// Returns the schema of a script's text.
pub(crate) fn script() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

/// Returns the schema of a name.
pub(crate) fn name() -> Value {
    matching_or_variable(NAME)
}

/// Returns the schema of a list of at least `least` elements.
pub(crate) fn list(element: &Value, least: usize) -> Value {
    match least {
        0 => json!({ "type": "array", "items": element }),
        least => json!({ "type": "array", "items": element, "minItems": least }),
    }
}

/// Returns the schema of a word, or a list of them.
pub(crate) fn words() -> Value {
    any_of([text(), list(&text(), 1)])
}

/// Returns the schema of names and their values.
pub(crate) fn pairs() -> Value {
    any_of([
        json!({
            "type": "object",
            "additionalProperties": text(),
            "propertyNames": { "pattern": "^[^=\\s]+$" }
        }),
        list(&matching("^[^=\\s]+="), 0),
        json!({ "type": "null" }),
    ])
}

/// Returns the schema of sandboxes or jobs.
pub(crate) fn sandboxes() -> Value {
    named(NAME, &definition(SANDBOX.definition))
}

/// Returns the schema of volumes.
pub(crate) fn volumes() -> Value {
    named(NAME, &or_null(definition("Volume")))
}

/// Returns the schema of dependencies.
pub(crate) fn dependencies() -> Value {
    any_of([named(NAME, &or_null(any_of([word::<Condition>(), definition("Dependency")]))), words()])
}

/// Returns the schema of a size.
pub(crate) fn size() -> Value {
    matching_or_variable(SIZE)
}

/// Returns the schema of the kind of a volume, whose default depends on its size.
pub(crate) fn volume_kind() -> Value {
    or_variable(word_of(VolumeKind::ALL.iter().map(|word| word.as_str())))
}

/// Returns the schema of the size of a volume.
pub(crate) fn volume_size() -> Value {
    with(size(), "examples", ["2G", "512M"])
}

/// Returns the schema of `external`.
pub(crate) fn external() -> Value {
    with(any_of([json!({ "type": "boolean" }), name()]), "examples", [json!(true), json!("shop-data")])
}

/// Returns the schema of the limit of a mount.
pub(crate) fn limit() -> Value {
    with(size(), "examples", ["512M", "2G"])
}

/// Returns the schema of the size of a directory in memory.
pub(crate) fn tmpfs_size() -> Value {
    with(size(), "examples", ["64M", "512M"])
}

/// Returns the schema of a mode.
pub(crate) fn tmpfs_mode() -> Value {
    let digits = any_of([json!({ "type": "number", "minimum": 0, "maximum": 7777 }), matching(TMPFS_MODE)]);
    with(or_variable(digits), "default", "1777")
}

/// Returns the schema of the short form of a directory in memory.
pub(crate) fn tmpfs_text() -> Value {
    with(matching(r"^/|\$"), "examples", ["/run/cache", "/run/cache:size=64M,mode=1777"])
}

/// Returns the schema of the id of a user or a group.
pub(crate) fn id() -> Value {
    with(integer(0, Some(ID_MAX)), "examples", [1000])
}

/// Returns the schema of the owner of a file, root by default.
pub(crate) fn owner() -> Value {
    with(id(), "default", 0)
}

/// Returns the schema of the permissions of a file; YAML reads them as a number without quotes.
pub(crate) fn file_mode() -> Value {
    let mode =
        any_of([matching_or_variable(FILE_MODE), json!({ "type": "number", "minimum": 0, "maximum": 777 })]);
    with(with(mode, "examples", ["0600", "0755"]), "default", "0644")
}

/// Returns the schema of a file of the host.
pub(crate) fn host_file() -> Value {
    json!({ "type": "string", "minLength": 1, "examples": ["./app.conf"] })
}

/// Returns the schema of a duration.
pub(crate) fn duration() -> Value {
    with(matching_or_variable(DURATION), "examples", ["500ms", "5s", "1m30s"])
}

/// Returns the schema of a whole number within these bounds.
pub(crate) fn integer(minimum: u32, maximum: Option<u32>) -> Value {
    let schema = json!({ "type": "integer", "minimum": minimum });
    or_variable(match maximum {
        None => schema,
        Some(maximum) => with(schema, "maximum", maximum),
    })
}

/// Returns the schema of a number of at least one.
pub(crate) fn count() -> Value {
    integer(1, None)
}

/// Returns the schema of a truth value.
pub(crate) fn flag() -> Value {
    or_variable(json!({ "type": "boolean" }))
}

/// Returns the schema of a path in the sandbox.
pub(crate) fn guest_path() -> Value {
    matching_or_variable(GUEST_PATH)
}

/// Returns the schema of the short form of a mount.
pub(crate) fn mount_text() -> Value {
    with(
        matching(r":|\$"),
        "examples",
        ["./src:/app", "pgdata:/var/lib/data:ro", "/tmp:/host-tmp:ro,stat-virt=off"],
    )
}

/// Returns the schema of ports of the host.
pub(crate) fn ports() -> Value {
    let port = with(matching_or_variable(PORT), "examples", ["8080:80", "0.0.0.0:9000:9000/udp", "0:80"]);
    any_of([list(&port, 1), port])
}

/// Returns the schema of the rules of a network.
pub(crate) fn rules() -> Value {
    fn one_of<T: Word>() -> String {
        T::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>().join("|")
    }
    let (actions, directions) = (one_of::<Action>(), one_of::<Direction>());
    let (protocols, groups) = (one_of::<Protocol>(), one_of::<Group>());
    let name = "[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)";
    let address = "[0-9.]+/[0-9]{1,2}|\\[[0-9A-Fa-f:.]+(/[0-9]{1,3})?\\]";
    let target = format!("any|dns|{groups}|{address}|domain={name}*\\.?|(\\*\\.|suffix=)?{name}+\\.?");
    let pattern = format!(
        "^({actions})(:({directions}))?@({target})(:({protocols})(:(any|[0-9]{{1,5}}(-[0-9]{{1,5}})?))?)?$"
    );
    let examples = [
        "allow@*.example.org",
        "allow@api.github.com:tcp:443",
        "allow:ingress@public",
        "deny@169.254.169.254",
    ];
    list(&with(matching_or_variable(&pattern), "examples", examples), 0)
}

/// Returns the schema of a network of IPv4 addresses with room for a /30.
pub(crate) fn ipv4_pool() -> Value {
    with(matching_or_variable(IPV4_POOL), "default", Ipv4Pool::default())
}

/// Returns the schema of a network of IPv6 addresses with room for a /64.
pub(crate) fn ipv6_pool() -> Value {
    with(matching_or_variable(IPV6_POOL), "default", Ipv6Pool::default())
}

/// Returns the schema of a proxy.
pub(crate) fn proxy() -> Value {
    any_of([proxy_url(), definition(PROXY.definition)])
}

/// Returns the schema of the URL of a proxy.
pub(crate) fn proxy_url() -> Value {
    let examples = ["http://proxy.example:3128", "socks5://me@10.0.0.1:1080"];
    with(matching_or_variable(PROXY_URL), "examples", examples)
}

/// Returns the schema of the addresses of name servers, or of the block that contains them.
pub(crate) fn dns() -> Value {
    any_of([name_servers(), definition(DNS.definition)])
}

/// Returns the schema of a list of addresses of name servers, or of one.
pub(crate) fn name_servers() -> Value {
    let server = with(matching_or_variable(NAME_SERVER), "examples", ["1.1.1.1", "10.0.0.53:5353"]);
    any_of([list(&server, 1), server])
}

/// Returns the schema of a list of domains, or of one.
pub(crate) fn search_domains() -> Value {
    let domain = with(matching_or_variable(DOMAIN), "examples", ["corp.example"]);
    any_of([list(&domain, 1), domain])
}

/// Returns the schema of a list of hosts, or of one.
pub(crate) fn hosts() -> Value {
    let host = with(matching_or_variable(HOST), "examples", ["api.example.org", "*.example.org"]);
    any_of([list(&host, 1), host])
}

/// Returns the schema of the placeholder of a secret.
pub(crate) fn placeholder() -> Value {
    with(matching_or_variable(PLACEHOLDER), "examples", ["sk-placeholder"])
}

/// Returns the schema of the parts of a request that a secret is put into.
pub(crate) fn request_parts() -> Value {
    let part = or_variable(word_of(RequestPart::ALL.iter().map(|word| word.as_str())));
    let default: Vec<_> = default_parts().into_iter().map(|part| part.as_str()).collect();
    with(any_of([list(&part, 1), part]), "default", default)
}

/// Returns the schema of names of header fields.
pub(crate) fn header_names() -> Value {
    let name = with(matching_or_variable(HEADER_NAME), "examples", ["Authorization", "X-Api-Key"]);
    any_of([list(&name, 1), name])
}

/// Returns the schema of the ports at which TLS is intercepted.
pub(crate) fn tls_ports() -> Value {
    let port = with(integer(1, Some(u16::MAX.into())), "examples", [443, 8443]);
    any_of([list(&port, 1), port])
}

/// Returns the schema of a file with certificates of CAs.
pub(crate) fn ca_file() -> Value {
    json!({ "type": "string", "minLength": 1, "examples": ["./corp-ca.pem"] })
}

/// Returns the schema of CAs.
pub(crate) fn cas() -> Value {
    any_of([list(&any_of([ca_file(), definition(TLS_CA.definition)]), 0), ca_file()])
}

/// Returns the schema of a restart policy.
pub(crate) fn policy() -> Value {
    word_with_default(RESTART_POLICIES.iter().copied(), "no")
}

/// Returns the schema of a restart policy with its limit, if it has one.
pub(crate) fn short_policy() -> Value {
    any_of([
        word_of(RESTART_POLICIES.iter().copied()),
        matching("^on-failure:[1-9][0-9]*$"),
        matching(VARIABLE),
    ])
}

/// Returns the schema of a word of the language.
pub(crate) fn word<T: Word + Default>() -> Value {
    word_with_default(T::ALL.iter().map(|word| word.as_str()), T::default().as_str())
}

fn word_with_default<'a>(words: impl IntoIterator<Item = &'a str>, default: &str) -> Value {
    with(or_variable(word_of(words)), "default", default)
}
