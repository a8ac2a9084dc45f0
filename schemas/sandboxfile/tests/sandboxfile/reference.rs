//! `docs/sandboxfile.md`: the reference of the language, generated from its tables.
//! `UPDATE_GOLDEN=1 cargo test -p sandboxfile --test sandboxfile reference` writes it.

use rules::rule::{Action, Direction, Group, Protocol};
use sandboxfile::language::{NETWORK_YAML, Property, PropertyTable, SANDBOX, TABLES};
use schemas::report::ChangeKind;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

const HEAD: &str = "\
# The Sandboxfile

This page is generated from the tables of the language. A Sandboxfile is written in KDL or in YAML; where the names of
a property differ, the table shows both. Every value but the text of a script may contain variables such as `${NAME}`
or `${NAME:-default}`; `$$` is a dollar sign.
";

/// Writes a table, its columns without those that are empty in every row.
fn table(page: &mut String, heads: &[&str], rows: &[Vec<String>]) {
    let shown: Vec<usize> =
        (0..heads.len()).filter(|column| rows.iter().any(|row| !row[*column].is_empty())).collect();
    let mut line = |cells: Vec<&str>| {
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    };
    line(shown.iter().map(|column| heads[*column]).collect());
    line(shown.iter().map(|_| "---").collect());
    for row in rows {
        line(shown.iter().map(|column| row[*column].as_str()).collect());
    }
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// Returns a scalar of the schema as a text.
fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns the first value of a keyword in a schema, at whatever depth.
fn keyword<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    match schema {
        Value::Object(fields) => {
            fields.get(name).or_else(|| fields.values().find_map(|inner| keyword(inner, name)))
        }
        Value::Array(elements) => elements.iter().find_map(|inner| keyword(inner, name)),
        _ => None,
    }
}

fn words(values: &[Value]) -> String {
    values.iter().map(|value| code(&scalar(value))).collect::<Vec<_>>().join(", ")
}

/// Returns the words, the range or samples of a value.
fn values(schema: &Value) -> String {
    if let Some(Value::Array(all)) = keyword(schema, "enum") {
        return words(all);
    }
    if let Some(Value::Array(some)) = keyword(schema, "examples") {
        return format!("such as {}", words(some));
    }
    match (keyword(schema, "minimum"), keyword(schema, "maximum")) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("at least {least}"),
        _ => String::new(),
    }
}

fn row(property: &Property) -> Vec<String> {
    let schema = (property.schema)();
    let name = if property.kdl == property.yaml {
        code(property.kdl)
    } else {
        format!("{}, YAML {}", code(property.kdl), code(property.yaml))
    };
    let flags = property.flags.iter().map(|flag| code(&format!("--{} {}", flag.long, flag.value_name)));
    let change = match property.change {
        None | Some(ChangeKind::None) => "",
        Some(ChangeKind::Live) => "live",
        Some(ChangeKind::Restart) => "restart",
        Some(ChangeKind::Replace) => "replace",
    };
    let default = schema.get("default").map(|value| code(&scalar(value))).unwrap_or_default();
    vec![
        name,
        property.description().replace('|', "\\|"),
        values(&schema),
        default,
        if property.is_inherited { "yes" } else { "" }.to_owned(),
        change.to_owned(),
        flags.collect::<Vec<_>>().join(", "),
    ]
}

fn heading(place: &PropertyTable) -> String {
    let words = place.what.strip_prefix("the ").or_else(|| place.what.split_once(' ').map(|(_, rest)| rest));
    let words = words.unwrap_or(place.what);
    words[..1].to_uppercase() + &words[1..]
}

fn generate() -> String {
    let mut page = HEAD.to_owned();
    for place in TABLES.iter().filter(|place| !std::ptr::eq(**place, &NETWORK_YAML)) {
        let _ = write!(page, "\n## {}\n\n", heading(place));
        let doc = TABLES.iter().find(|other| other.what == place.what && !other.doc.is_empty());
        if let Some(doc) = doc.map(|other| other.doc) {
            let _ = write!(page, "{doc}\n\n");
        }
        if std::ptr::eq(*place, &SANDBOX) {
            page.push_str(
                "`like` takes over the properties marked so: scalars replace, maps merge by key, lists replace.\n\
                 A change of a property is applied to a running sandbox (live), or takes a restart, or takes a new\n\
                 sandbox whose disk is empty (replace).\n\n",
            );
        }
        let mut rows: Vec<Vec<String>> = place.properties.iter().map(row).collect();
        if let Some(yaml) =
            TABLES.iter().find(|other| other.what == place.what && !std::ptr::eq(**other, *place))
        {
            let known = |property: &&Property| !place.properties.iter().any(|own| own.yaml == property.yaml);
            rows.extend(yaml.properties.iter().filter(known).map(|property| {
                let mut row = row(property);
                row[0] = format!("YAML {}", code(property.yaml));
                row
            }));
        }
        table(
            &mut page,
            &["property", "meaning", "values", "default", "`like`", "change", "`msb run`, `msb create`"],
            &rows,
        );
    }
    let all = |words: Vec<&str>| words.iter().map(|word| code(word)).collect::<Vec<_>>().join(", ");
    page.push_str(
        "\n## Grammar of network rules\n\n\
         YAML: `<action>[:<direction>]@<target>[:<protocol>[:<ports>]]`; KDL: `<action> \"<target>…\" \
         direction=\"<direction>\"`.\n\n",
    );
    let rows = [
        ("action", all(Action::ALL.iter().map(|one| one.as_str()).collect())),
        ("direction", all(Direction::ALL.iter().map(|one| one.as_str()).collect())),
        (
            "target",
            format!(
                "`any`, `dns`, a name, `*.` and a name with all below it, `domain=` and the name of a sandbox, an \
                 address or a network such as `10.0.0.0/8` or `[2001:db8::1]`, or a group: {}",
                all(Group::ALL.iter().map(|one| one.as_str()).collect())
            ),
        ),
        ("protocol", all(Protocol::ALL.iter().map(|one| one.as_str()).collect())),
        ("ports", "`any`, one port such as `443`, or a range such as `8000-8010`".to_owned()),
    ];
    let rows: Vec<Vec<String>> = rows.map(|(part, values)| vec![part.to_owned(), values]).to_vec();
    table(&mut page, &["part", "values"], &rows);
    page
}

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sandboxfile.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, generate()).unwrap();
        return;
    }
    let present = std::fs::read_to_string(&path).unwrap();
    assert!(present == generate(), "{} is out of date: see the head of this file", path.display());
}
