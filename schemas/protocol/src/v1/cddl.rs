//! The messages in CDDL (RFC 8610), which `docs/protocol.cddl` has for programs in other languages.

use super::PROTOCOL_VERSION;
use super::message::{INNER, KINDS, TABLE, Type};
use super::payload::Field;
use crate::frame::Flags;

/// The only enum with fields.
const DISK_AT: &str = "
; The device of a disk.
disk-at = { serial: tstr } / { index: uint .size 4 } / { entry: { tag: tstr, entry: tstr } }
";

/// Returns the messages of the generation in CDDL.
pub fn cddl_text() -> String {
    let mut text = format!(
        "; The agent protocol of msb, generation {PROTOCOL_VERSION}, in CDDL (RFC 8610). Generated from the crate `protocol`.\n\
         ; docs/protocol.md describes the frames around these messages. Those of a newer peer may have more members, which\n\
         ; are ignored.\n\n"
    );
    let rules: Vec<_> = TABLE.iter().map(|(wire, ..)| wire.replace('.', "-")).collect();
    text.push_str(&format!("message = {}\n\n", rules.join(" /\n    ")));
    text.push_str(&format!("generation = {PROTOCOL_VERSION} .. 255\n"));
    for ((wire, flags, (name, ..)), rule) in TABLE.iter().zip(&rules) {
        let flags = flag_names(*flags);
        text.push_str(&format!(
            "\n; {flags}\n{rule} = {{ v: generation, t: \"{wire}\", p: bytes .cbor {} }}\n",
            rule_name(name)
        ));
    }
    for described in TABLE.iter().map(|(.., described)| described).chain(INNER) {
        structure(&mut text, described);
    }
    for (name, variants) in KINDS {
        // The last one stands for any other word.
        let words = variants[..variants.len() - 1].iter().map(|variant| format!("\"{}\"", snake(variant)));
        let words: Vec<_> = words.chain(["tstr".to_owned()]).collect();
        text.push_str(&format!("\n{} = {}\n", rule_name(name), words.join(" / ")));
    }
    text.push_str(DISK_AT);
    text
}

fn flag_names(flags: Flags) -> String {
    let known = [
        (Flags::TERMINAL, "TERMINAL"),
        (Flags::SESSION_START, "SESSION_START"),
        (Flags::SHUTDOWN, "SHUTDOWN"),
    ];
    let names: Vec<_> =
        known.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name).collect();
    if names.is_empty() { "no flags".to_owned() } else { format!("flag {}", names.join(", ")) }
}

fn structure(text: &mut String, (name, attributes, fields): &Type) {
    text.push('\n');
    comment(text, "", attributes);
    if fields.is_empty() {
        text.push_str(&format!("{} = {{}}\n", rule_name(name)));
        return;
    }
    text.push_str(&format!("{} = {{\n", rule_name(name)));
    for Field { name, kind, attributes } in *fields {
        comment(text, "    ", attributes);
        let is_optional = attributes.iter().any(|attribute| squeezed(attribute).starts_with("serde(default"));
        let mark = if is_optional { "? " } else { "" };
        let kind = squeezed(kind);
        text.push_str(&format!("    {mark}{name}: {}\n", of_kind(&kind)));
    }
    text.push_str("}\n");
}

/// Writes the documentation among attributes.
fn comment(text: &mut String, indent: &str, attributes: &[&str]) {
    for attribute in attributes {
        // `stringify!` may break the line after the sign.
        let Some(line) = attribute.strip_prefix("doc").map(str::trim_start) else { continue };
        let Some(line) = line.strip_prefix('=').map(str::trim_start) else { continue };
        let line = line.trim_start_matches('r').trim_matches('"');
        let line = line.replace("\\\"", "\"").replace("[`", "`").replace("`]", "`");
        text.push_str(&format!("{indent};{line}\n"));
    }
}

fn of_kind(kind: &str) -> String {
    let inner = |prefix: &str| kind.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('>'));
    match kind {
        "u16" => "uint .size 2".to_owned(),
        "u32" => "uint .size 4".to_owned(),
        "u64" => "uint .size 8".to_owned(),
        "i32" | "i64" => "int".to_owned(),
        "bool" => "bool".to_owned(),
        "String" => "tstr".to_owned(),
        "Vec<u8>" | "ByteBuf" => "bytes".to_owned(),
        _ => {
            if let Some(inner) = inner("Option<") {
                return of_kind(inner);
            }
            if let Some(inner) = inner("Vec<") {
                return format!("[* {}]", of_kind(inner));
            }
            if let Some((key, value)) = inner("BTreeMap<").and_then(|inner| inner.split_once(',')) {
                return format!("{{* {} => {}}}", of_kind(key), of_kind(value));
            }
            rule_name(kind)
        }
    }
}

/// `stringify!` leaves an unspecified amount of space between tokens.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

fn snake(name: &str) -> String {
    words(name, '_')
}

fn rule_name(name: &str) -> String {
    words(name, '-')
}

fn words(name: &str, separator: char) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(separator);
        }
        text.extend(letter.to_lowercase());
    }
    text
}
