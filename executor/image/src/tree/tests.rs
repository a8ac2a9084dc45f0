//! Trees and their digests.

use super::*;

fn file(size: u64) -> Kind {
    Kind::File { size }
}

#[test]
fn a_replaced_file_is_not_counted_and_directories_are_kept() {
    let mut tree = Tree::new(Attributes::default());
    let first = tree.add(ROOT, b"a", file(10), Attributes::default()).unwrap();
    let second = tree.add(ROOT, b"a", file(4), Attributes::default()).unwrap();
    assert_eq!((tree.nodes()[first].links, tree.nodes()[second].links, tree.bytes()), (0, 1, 4));
    let folder = Kind::Directory { parent: ROOT, entries: BTreeMap::new() };
    let d = tree.add(ROOT, b"d", folder.clone(), Attributes::default()).unwrap();
    tree.add(d, b"x", file(1), Attributes::default()).unwrap();
    assert_eq!(tree.add(ROOT, b"d", folder, Attributes { mode: 0o700, ..Attributes::default() }), Ok(d));
    assert!(tree.child(d, b"x").is_some());
    assert_eq!(tree.add(ROOT, b"d", file(1), Attributes::default()), Err(TreeError::OverDirectory));
    assert_eq!(tree.add(ROOT, b"..", file(1), Attributes::default()), Err(TreeError::Climbs));
}

#[test]
fn the_digest_covers_names_modes_and_links_but_not_times() {
    let build = |name: &[u8], mode: u16, linked: bool, time: i64| {
        let mut tree = Tree::new(Attributes::default());
        let attributes = Attributes { mode, modified_seconds: time, ..Attributes::default() };
        let id = tree.add(ROOT, name, file(1), attributes.clone()).unwrap();
        if linked {
            tree.link(ROOT, b"z", id).unwrap();
        } else {
            tree.add(ROOT, b"z", file(1), attributes).unwrap();
        }
        tree.digest(|_| [7; 32])
    };
    let base = build(b"a", 0o644, false, 1);
    assert_eq!(base, build(b"a", 0o644, false, 2));
    assert_ne!(base, build(b"b", 0o644, false, 1));
    assert_ne!(base, build(b"a", 0o600, false, 1));
    assert_ne!(base, build(b"a", 0o644, true, 1));
}
