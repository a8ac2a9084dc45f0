//! The Sandboxfile that is written, before it has a spelling.

mod kdl;
mod yaml;

use crate::context::Text;
use sandboxfile::Format;

/// A Sandboxfile.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// The comments at its beginning.
    pub comments: Vec<String>,
    /// The project's name.
    pub project: Option<Commented<Value>>,
    /// The volumes.
    pub volumes: Vec<Volume>,
    /// The sandboxes and jobs.
    pub sandboxes: Vec<Sandbox>,
    /// What is left out, beside what belongs to a sandbox.
    pub left_out: Vec<String>,
}

/// Something with comments above it.
#[derive(Debug)]
pub(crate) struct Commented<T> {
    pub comments: Vec<String>,
    pub value: T,
}

/// A volume.
#[derive(Debug)]
pub(crate) struct Volume {
    pub comments: Vec<String>,
    pub name: String,
    /// Properties such as `shared`.
    pub properties: Vec<(&'static str, Value)>,
}

/// A sandbox or a job.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub comments: Vec<String>,
    pub name: String,
    pub is_job: bool,
    pub properties: Vec<Property>,
    /// What is left out of it.
    pub left_out: Vec<String>,
}

/// A property of a sandbox or of a block.
#[derive(Debug)]
pub(crate) struct Property {
    pub comments: Vec<String>,
    pub kdl: &'static str,
    pub yaml: &'static str,
    pub body: Body,
}

/// The value of a property.
#[derive(Debug)]
pub(crate) enum Body {
    /// One value.
    One(Value),
    /// Several values in one line.
    Words(Vec<Value>),
    /// A map of names that are chosen freely; without a value only where the language allows it.
    Map(Vec<Commented<(String, Option<Value>)>>),
    /// One value with properties beside it, and its name in YAML.
    Beside { name: &'static str, value: Value, beside: Vec<(&'static str, Value)> },
    /// A block of properties.
    Block(Vec<Property>),
    /// In KDL one node for each element; in YAML a list, or a map with the arguments as its keys.
    Each { elements: Vec<Element>, is_map: bool },
    /// What a sandbox may reach.
    Network(Network),
    /// Commands by their moments.
    Hooks(Vec<Moment>),
}

/// The name of a moment in both spellings, and the command that runs then.
pub(crate) type Moment = (&'static str, &'static str, Commented<Vec<Value>>);

/// A node among several of the same name.
#[derive(Debug, Default)]
pub(crate) struct Element {
    pub comments: Vec<String>,
    /// The first value.
    pub argument: Value,
    /// The name of that value in a map of YAML.
    pub source: &'static str,
    /// Further properties, which KDL writes in the same line.
    pub properties: Vec<(&'static str, &'static str, Value)>,
    /// A list of words inside of it.
    pub words: Option<(&'static str, Vec<Value>)>,
    /// All of it as one text of YAML.
    pub short: Option<String>,
}

/// The rules of a network, and how names are resolved.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub default: Option<&'static str>,
    pub servers: Vec<Value>,
    /// The domains that names are looked up in.
    pub search: Vec<Value>,
    /// `allow` rules: a target, and a direction unless it is `egress`.
    pub rules: Vec<(String, Option<&'static str>)>,
}

impl Network {
    /// Returns whether it says nothing.
    pub fn is_empty(&self) -> bool {
        let Self { default, servers, search, rules } = self;
        default.is_none() && servers.is_empty() && search.is_empty() && rules.is_empty()
    }
}

/// A value as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A text, in which variables stay.
    Text(String),
    /// A number, or a text that must be one when its variables are replaced.
    Number(String),
    /// A truth value.
    Flag(bool),
}

impl Default for Value {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Value {
    /// Returns a text of the input.
    pub fn of(text: &Text) -> Self {
        Self::Text(text.raw.clone())
    }

    /// Returns a text in which nothing is a variable.
    pub fn literal(text: &str) -> Self {
        Self::Text(text.replace('$', "$$"))
    }

    fn spelled(&self, format: Format) -> String {
        match (self, format) {
            (Self::Text(text), _) => sandboxfile::template_in(format, text),
            (Self::Number(text), _) if is_number(text) => text.clone(),
            (Self::Number(text), _) => sandboxfile::template_in(format, text),
            (Self::Flag(is_set), Format::Kdl) => format!("#{is_set}"),
            (Self::Flag(is_set), Format::Yaml) => is_set.to_string(),
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() < 19 && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Property {
    /// Returns a property without comments.
    pub fn new(kdl: &'static str, yaml: &'static str, body: Body) -> Self {
        Self { comments: Vec::new(), kdl, yaml, body }
    }
}

impl Document {
    /// Returns its text.
    pub fn print(&self, format: Format) -> String {
        match format {
            Format::Kdl => kdl::print(self),
            Format::Yaml => yaml::print(self),
        }
    }
}

/// The width of comments.
const COMMENT_WIDTH: usize = 116;

/// Appends comments, broken between words, but not inside of backticks.
fn push_comments(out: &mut String, indent: usize, mark: &str, comments: &[String]) {
    for comment in comments {
        // Neither spelling takes byte order marks and noncharacters.
        let is_unsafe =
            |c: char| schemas::terminal::steers(c) || matches!(c, '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}');
        let clean: String = comment.chars().map(|c| if is_unsafe(c) { ' ' } else { c }).collect();
        let mut width = 0;
        let mut is_code = false;
        let words = clean.split(|c: char| {
            is_code ^= c == '`';
            c == ' ' && !is_code
        });
        for word in words.filter(|word| !word.is_empty()) {
            let length = word.chars().count() + 1;
            if width > 0 && width + length > COMMENT_WIDTH.saturating_sub(indent) {
                width = 0;
                out.push('\n');
            }
            if width == 0 {
                out.push_str(&" ".repeat(indent));
                out.push_str(mark);
                width = mark.len();
            }
            out.push(' ');
            out.push_str(word);
            width += length;
        }
        out.push('\n');
    }
}

/// Returns what is left out as comments.
fn left_out(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| format!("left out: {line}")).collect()
}
