use super::*;
use std::collections::BTreeSet;
use std::sync::mpsc;

const BYTES: &[u8] = b"the bytes of a layer";

fn store() -> (tempfile::TempDir, Blobs) {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path()).unwrap();
    (folder, blobs)
}

fn begin(blobs: &Blobs) -> BlobWriter {
    blobs.begin(&Digest::of_bytes(BYTES), BYTES.len() as u64).unwrap()
}

fn unfinished(blobs: &Blobs) -> usize {
    fs::read_dir(blobs.partial_folder()).unwrap().count()
}

#[test]
fn a_blob_is_visible_only_when_complete() {
    let (_folder, blobs) = store();
    let digest = Digest::of_bytes(BYTES);
    let mut writer = begin(&blobs);
    for chunk in BYTES.chunks(3) {
        assert_eq!(blobs.path(&digest), None);
        writer.write(chunk).unwrap();
    }
    assert_eq!(blobs.path(&digest), None);
    let path = writer.finish().unwrap();
    assert_eq!(blobs.path(&digest).as_ref(), Some(&path));
    assert_eq!(fs::read(&path).unwrap(), BYTES);
    assert_eq!(unfinished(&blobs), 0);
    assert_eq!(blobs.read_bounded(&digest, BYTES.len() as u64).unwrap(), BYTES);
    let again = begin(&blobs);
    assert!(again.is_complete());
    assert_eq!((again.offset(), again.finish().unwrap()), (BYTES.len() as u64, path));
}

#[test]
fn an_interrupted_write_resumes() {
    let (_folder, blobs) = store();
    let mut first = begin(&blobs);
    first.write(&BYTES[..7]).unwrap();
    drop(first);
    let mut second = begin(&blobs);
    assert_eq!((second.offset(), second.is_complete()), (7, false));
    let error = begin_and_finish(&blobs, second.size(), &mut second);
    assert!(matches!(error, ImageError::Blob(BlobError::TooShort { found: 10, size: 20, .. })), "{error:?}");
    let mut third = begin(&blobs);
    assert_eq!(third.offset(), 10);
    third.write(&BYTES[10..]).unwrap();
    third.finish().unwrap();
}

/// Writes three more bytes and finishes too early.
fn begin_and_finish(blobs: &Blobs, size: u64, writer: &mut BlobWriter) -> ImageError {
    assert!(blobs.try_begin(&Digest::of_bytes(BYTES), size).unwrap().is_none(), "it is held");
    writer.write(&BYTES[7..10]).unwrap();
    let taken = std::mem::replace(writer, blobs.begin(&Digest::of_bytes(b"other"), 5).unwrap());
    taken.finish().unwrap_err()
}

#[test]
fn more_bytes_than_declared_are_refused() {
    let (_folder, blobs) = store();
    let mut writer = begin(&blobs);
    writer.write(&BYTES[..19]).unwrap();
    let error = writer.write(b"xx").unwrap_err();
    assert!(matches!(error, ImageError::Blob(BlobError::TooLarge { limit: 20, .. })), "{error:?}");
    // None of them was written.
    writer.write(&BYTES[19..]).unwrap();
    writer.finish().unwrap();
}

#[test]
fn wrong_bytes_are_discarded() {
    let (_folder, blobs) = store();
    let mut writer = begin(&blobs);
    writer.write(&[b'x'; 20]).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(matches!(error, ImageError::Blob(BlobError::WrongDigest { .. })), "{error:?}");
    assert_eq!((unfinished(&blobs), blobs.list().unwrap().len()), (0, 0));
    assert_eq!(begin(&blobs).offset(), 0);
}

#[test]
fn wrong_partial_bytes_can_be_rewritten() {
    let (_folder, blobs) = store();
    let digest = Digest::of_bytes(BYTES);
    begin(&blobs).write(b"wrong").unwrap();
    let mut writer = begin(&blobs);
    assert_eq!(writer.offset(), 5);
    writer.restart().unwrap();
    writer.write(BYTES).unwrap();
    writer.finish().unwrap();
    let (_folder, blobs) = store();
    begin(&blobs).write(b"wrong").unwrap();
    blobs.put(&digest, BYTES).unwrap();
    // A partial file that is longer than the blob is discarded.
    let (_folder, blobs) = store();
    fs::write(blobs.partial_path(&digest), [b'x'; 21]).unwrap();
    assert_eq!(begin(&blobs).offset(), 0);
}

#[test]
fn a_second_writer_waits_and_finds_the_blob_complete() {
    let (_folder, blobs) = store();
    let mut first = begin(&blobs);
    let (sender, receiver) = mpsc::channel();
    let second = std::thread::spawn({
        let blobs = blobs.clone();
        move || {
            sender.send(()).unwrap();
            begin(&blobs).is_complete()
        }
    });
    receiver.recv().unwrap();
    first.write(BYTES).unwrap();
    first.finish().unwrap();
    assert!(second.join().unwrap());
}

#[test]
fn a_blob_that_is_completed_meanwhile_is_not_started_again() {
    for _ in 0..60 {
        let (_folder, blobs) = store();
        let mut first = begin(&blobs);
        first.write(BYTES).unwrap();
        let second = std::thread::spawn({
            let blobs = blobs.clone();
            move || loop {
                if let Some(writer) = blobs.try_begin(&Digest::of_bytes(BYTES), BYTES.len() as u64).unwrap() {
                    break writer.is_complete();
                }
            }
        });
        first.finish().unwrap();
        assert!(second.join().unwrap());
        assert_eq!(unfinished(&blobs), 0);
    }
}

#[test]
fn a_writer_that_gives_up_releases_its_lock() {
    let (_folder, blobs) = store();
    let mut first = begin(&blobs);
    first.write(&BYTES[..4]).unwrap();
    let second = std::thread::spawn({
        let blobs = blobs.clone();
        move || begin(&blobs).offset()
    });
    drop(first);
    assert_eq!(second.join().unwrap(), 4);
}

#[test]
fn a_damaged_or_too_large_document_is_refused() {
    let (_folder, blobs) = store();
    let digest = Digest::of_bytes(BYTES);
    let error = blobs.read_bounded(&digest, 100).unwrap_err();
    assert!(matches!(error, ImageError::Blob(BlobError::Missing { .. })), "{error:?}");
    let path = blobs.put(&digest, BYTES).unwrap();
    let error = blobs.read_bounded(&digest, 19).unwrap_err();
    assert!(matches!(error, ImageError::Blob(BlobError::TooLarge { limit: 19, .. })), "{error:?}");
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"the bytes of a lawyer").unwrap();
    let error = blobs.read_bounded(&digest, 100).unwrap_err();
    assert!(matches!(error, ImageError::Blob(BlobError::Damaged { .. })), "{error:?}");
    assert_eq!(blobs.path(&digest), None);
}

#[test]
fn a_sweep_keeps_listed_blobs_and_those_being_written() {
    let (_folder, blobs) = store();
    let [kept, gone, written, abandoned] =
        [&b"kept"[..], b"gone", b"written", b"abandoned"].map(|bytes| (Digest::of_bytes(bytes), bytes));
    blobs.put(&kept.0, kept.1).unwrap();
    blobs.put(&gone.0, gone.1).unwrap();
    let mut writer = blobs.begin(&written.0, 7).unwrap();
    writer.write(b"writ").unwrap();
    blobs.begin(&abandoned.0, 9).unwrap().write(b"aband").unwrap();
    assert_eq!(blobs.unfinished_bytes().unwrap(), 9);
    let alone = blobs.lock_exclusive().unwrap();
    assert_eq!(blobs.sweep(&alone, &BTreeSet::from([kept.0.clone()])).unwrap(), 4 + 5);
    let left: Vec<_> = blobs.list().unwrap();
    assert_eq!(left, [StoredBlob { digest: kept.0, size: 4 }]);
    writer.write(b"ten").unwrap();
    writer.finish().unwrap();
}

#[test]
fn a_shared_lock_blocks_a_sweep() {
    let (_folder, blobs) = store();
    let one = blobs.lock_shared().unwrap();
    let two = blobs.lock_shared().unwrap();
    let (sender, receiver) = mpsc::channel();
    let sweeper = std::thread::spawn({
        let blobs = blobs.clone();
        move || {
            let alone = blobs.lock_exclusive().unwrap();
            sender.send(()).unwrap();
            drop(alone);
        }
    });
    drop(one);
    assert!(receiver.try_recv().is_err());
    drop(two);
    receiver.recv().unwrap();
    sweeper.join().unwrap();
}
