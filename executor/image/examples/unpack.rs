//! Builds the root file system of an image in a directory or a file, as `msb up` does, for measurements.
//!
//! unpack IMAGE STORE

use executor_image::{build, resolve};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [image, store] = &words[..] else { return Err("usage: unpack IMAGE STORE".into()) };
    let (image, store) = (Path::new(image), Path::new(store));
    std::fs::create_dir_all(store)?;
    let digest = resolve(image, None, store)?.digest;
    println!("{}", build(image, &digest, store, &mut |_| {})?.display());
    Ok(())
}
