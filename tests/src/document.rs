//! Markdown documents as tests: their code blocks, the commands in their prose, and their links.
//!
//! The first word of a code fence is its language. Further words are attributes: `parse-only=REASON` for a block that is
//! not run, `example=NAME` for a session in a copy of an example, `unordered` for output whose lines come in any order.

use crate::installation;
use std::path::{Path, PathBuf};

/// One document of this repository.
#[derive(Debug)]
pub struct Document {
    /// Its path, relative to the repository.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A fenced code block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The line of its opening fence, from 1.
    pub line: usize,
    /// The first word of the fence; empty if there is none.
    pub language: String,
    /// The further words of the fence.
    pub attributes: Vec<String>,
    /// The lines between the fences.
    pub text: String,
}

impl Block {
    /// Whether the fence has this word.
    pub fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|word| word == attribute)
    }

    /// The value of an attribute `NAME=VALUE`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

impl Document {
    /// Reads a document of this repository.
    pub fn open(name: &str) -> Self {
        let path = installation::root().join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), text }
    }

    /// Returns the code blocks, in order.
    pub fn blocks(&self) -> Vec<Block> {
        self.parts().0
    }

    /// Returns the inline code of the prose: the text between single backticks.
    pub fn inline_code(&self) -> Vec<String> {
        let prose = self.parts().1;
        let spans = prose.split("\n\n").flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
        spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    /// Returns the targets of links into this repository: path and anchor, each possibly empty.
    pub fn links(&self) -> Vec<(String, String)> {
        let prose = self.parts().1;
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let local = targets.filter(|target| !target.contains("://"));
        local
            .map(|target| target.split_once('#').unwrap_or((target, "")))
            .map(|(path, anchor)| (path.to_owned(), anchor.to_owned()))
            .collect()
    }

    /// Returns the anchors of the headings, as GitHub forms them.
    pub fn anchors(&self) -> Vec<String> {
        let prose = self.parts().1;
        let headings = prose.lines().filter_map(|line| {
            line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))
        });
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        headings
            .map(|heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-"))
            .collect()
    }

    /// Returns the path of a link's target.
    pub fn resolve(&self, target: &str) -> PathBuf {
        let path = installation::root().join(&self.name);
        if target.is_empty() { path } else { path.parent().unwrap_or(Path::new("/")).join(target) }
    }

    /// Splits the text into code blocks and prose.
    fn parts(&self) -> (Vec<Block>, String) {
        let (mut blocks, mut prose) = (Vec::new(), String::new());
        let mut open: Option<Block> = None;
        for (index, line) in self.text.lines().enumerate() {
            let fence = line.strip_prefix("```");
            match (&mut open, fence) {
                (None, Some(words)) => {
                    let mut words = words.split_whitespace().map(str::to_owned);
                    let language = words.next().unwrap_or_default();
                    open = Some(Block {
                        line: index + 1,
                        language,
                        attributes: words.collect(),
                        text: String::new(),
                    });
                }
                (None, None) => prose.extend([line, "\n"]),
                (Some(block), None) => block.text.extend([line, "\n"]),
                (Some(_), Some(_)) => blocks.extend(open.take()),
            }
        }
        assert!(open.is_none(), "{}: the last code block has no end", self.name);
        (blocks, prose)
    }
}

/// Returns the names of all documents: those in the root folder and in `docs/`.
pub fn all() -> Vec<String> {
    let mut names = Vec::new();
    for folder in ["", "docs"] {
        let entries = std::fs::read_dir(installation::root().join(folder)).expect("the folder can be read");
        let files = entries
            .map(|entry| entry.expect("the folder can be read").file_name().to_string_lossy().into_owned());
        names.extend(
            files
                .filter(|name| name.ends_with(".md"))
                .map(|name| Path::new(folder).join(name).to_string_lossy().into_owned()),
        );
    }
    names.sort();
    names
}

/// How a line begins that only a slow machine prints.
const HEARTBEAT: &str = "… not yet: ";

/// Whether output is what a document shows: durations may differ, so may the width of columns, and `…` stands for any
/// text within a line.
pub fn matches(shown: &str, output: &str, unordered: bool) -> bool {
    let mut shown: Vec<_> = shown.lines().map(normalize).collect();
    let mut output: Vec<_> =
        output.lines().map(normalize).filter(|line| !line.starts_with(HEARTBEAT)).collect();
    if unordered {
        shown.sort();
        output.sort();
    }
    shown.len() == output.len()
        && shown.iter().zip(&output).all(|(shown, output)| matches_line(shown, output))
}

/// Joins words with single spaces, and puts the same text in the place of every duration.
fn normalize(line: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        let number = word.trim_end_matches(['m', 's', 'h']);
        let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
        if is_number(number) && number.len() < word.len() {
            words.push("TIME");
        } else if matches!(word, "ms" | "s" | "min") && words.last().is_some_and(|last| is_number(last)) {
            words.pop();
            words.push("TIME");
        } else {
            words.push(word);
        }
    }
    words.join(" ")
}

fn matches_line(shown: &str, output: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = output.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}
