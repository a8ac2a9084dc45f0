//! As much of JSON Schema as the Sandboxfile's uses. A whole validator would turn on features of crates that
//! the product shares with the tests, so that each of the two would be compiled for itself.

use regex::bytes::RegexBuilder;
use serde_json::Value;

/// Keywords without an effect on validity.
const REMARKS: [&str; 7] =
    ["$schema", "default", "definitions", "description", "examples", "title", "$comment"];

/// Returns where and why a value is invalid; empty when it is valid.
pub fn refusals(root: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(root, root, value, &mut Vec::new(), &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, path: &mut Vec<String>, found: &mut Vec<String>) {
    let schema = match schema {
        Value::Object(schema) => schema,
        Value::Bool(true) => return,
        _ => return found.push(format!("/{}: nothing may stand here", path.join("/"))),
    };
    for (keyword, rule) in schema {
        let fits = match keyword.as_str() {
            word if REMARKS.contains(&word) => true,
            "$ref" => {
                let part = root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap();
                check(root, part, value, path, found);
                true
            }
            "anyOf" | "oneOf" => {
                let valid = |schema: &&Value| {
                    let mut inner = Vec::new();
                    check(root, schema, value, &mut path.clone(), &mut inner);
                    inner.is_empty()
                };
                let count = rule.as_array().unwrap().iter().filter(valid).count();
                if keyword == "anyOf" { count >= 1 } else { count == 1 }
            }
            "allOf" => {
                rule.as_array().unwrap().iter().for_each(|schema| check(root, schema, value, path, found));
                true
            }
            "type" => match rule {
                Value::Array(kinds) => kinds.iter().any(|kind| is_of(value, kind.as_str().unwrap())),
                kind => is_of(value, kind.as_str().unwrap()),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().unwrap(), text)),
            "minLength" => {
                value.as_str().is_none_or(|text| text.chars().count() as u64 >= rule.as_u64().unwrap())
            }
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
            "minProperties" => value.as_object().is_none_or(|map| map.len() as u64 >= rule.as_u64().unwrap()),
            "maxProperties" => value.as_object().is_none_or(|map| map.len() as u64 <= rule.as_u64().unwrap()),
            "required" => value.as_object().is_none_or(|map| {
                rule.as_array().unwrap().iter().all(|name| map.contains_key(name.as_str().unwrap()))
            }),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    path.push(index.to_string());
                    check(root, rule, item, path, found);
                    path.pop();
                }
                true
            }
            "propertyNames" => {
                for name in value.as_object().into_iter().flat_map(|map| map.keys()) {
                    check(root, rule, &Value::String(name.clone()), path, found);
                }
                true
            }
            "properties" | "patternProperties" | "additionalProperties" => {
                for (name, inner) in value.as_object().into_iter().flatten() {
                    let part = |keyword: &str| schema.get(keyword).and_then(Value::as_object);
                    let known = part("properties").and_then(|properties| properties.get(name));
                    let patterned: Vec<&Value> = part("patternProperties")
                        .into_iter()
                        .flatten()
                        .filter(|(pattern, _)| matches(pattern, name))
                        .map(|(_, schema)| schema)
                        .collect();
                    let own: Vec<&Value> = match keyword.as_str() {
                        "properties" => known.into_iter().collect(),
                        "patternProperties" => patterned,
                        _ if known.is_none() && patterned.is_empty() => vec![rule],
                        _ => Vec::new(),
                    };
                    path.push(name.clone());
                    own.into_iter().for_each(|schema| check(root, schema, inner, path, found));
                    path.pop();
                }
                true
            }
            // A keyword that the schema starts to use must be added here.
            other => panic!("the keyword `{other}` is not known here"),
        };
        if !fits {
            found.push(format!("/{}: {value} does not fit {keyword} {rule}", path.join("/")));
        }
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type `{other}`"),
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    RegexBuilder::new(pattern).unicode(false).build().unwrap().is_match(text.as_bytes())
}
