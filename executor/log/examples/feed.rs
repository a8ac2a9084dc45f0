//! Writes lines into a sandbox's `exec.log`, as its supervisor would, at full speed: `feed FOLDER LINES`.

use executor_log::{Rotation, Source, Writer};
use std::error::Error;
use std::path::Path;

/// No rotation: programs that are compared with this one cannot follow it.
const NEVER: Rotation = Rotation { max_bytes: u64::MAX / 2, keep: 4 };

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, lines] = words.as_slice() else { return Err("usage: feed FOLDER LINES".into()) };
    let lines: u64 = lines.parse()?;
    let mut writer = Writer::open(Path::new(folder), NEVER)?;
    for number in 0..lines {
        writer.output(1, Source::Stdout, format!("line {number}\n").as_bytes())?;
    }
    Ok(())
}
