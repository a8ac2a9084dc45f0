use super::*;
use crate::layout::tests::sample;
use executor_host::process::ProcessIdentity;
use std::process::{Child, Command};

/// A state folder whose registry is removed after the test.
struct Scratch {
    home: Home,
    _root: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { home: Home::open(root.path().join("home")).unwrap(), _root: root }
    }

    fn names(&self) -> Vec<String> {
        let registry = Registry::open(&self.home).unwrap().unwrap();
        registry.samples().unwrap().into_iter().map(|sample| sample.name).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = shm::unlink(object_name(&self.home));
    }
}

/// A process that stands for another supervisor.
struct Other(Child);

impl Other {
    fn start() -> Self {
        Self(Command::new("sleep").arg("100000").spawn().unwrap())
    }

    /// Takes a slot that is not freed, as by a supervisor that is killed.
    fn take(&self, home: &Home, capacity: u32, name: &str) -> Result<(), RegistryError> {
        let supervisor = ProcessIdentity::of(self.0.id().cast_signed()).unwrap();
        let sample = Sample { supervisor, id: format!("id-of-{name}"), ..sample(name) };
        Registry::take(home, capacity, &sample).map(std::mem::forget)
    }

    fn end(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn samples_are_read_until_the_slot_is_dropped() {
    let scratch = Scratch::new();
    assert!(Registry::open(&scratch.home).unwrap().is_none());
    let mut slot = Registry::take(&scratch.home, 4, &sample("web")).unwrap();
    let registry = Registry::open(&scratch.home).unwrap().unwrap();
    assert_eq!(registry.samples().unwrap(), [sample("web")]);
    let later = Sample { refusals: Some(20), ..sample("web") };
    slot.write(&later).unwrap();
    assert_eq!(registry.samples().unwrap(), [later]);
    let other = Registry::take(&scratch.home, 4, &Sample { id: "other".to_owned(), ..sample("db") }).unwrap();
    drop(slot);
    assert_eq!(scratch.names(), ["db"]);
    drop(other);
    assert!(Registry::open(&scratch.home).unwrap().is_none(), "the last one takes it away");
}

#[test]
fn slots_of_ended_supervisors_are_taken_again_and_not_shown() {
    let scratch = Scratch::new();
    let (first, second, third) = (Other::start(), Other::start(), Other::start());
    first.take(&scratch.home, 2, "first").unwrap();
    second.take(&scratch.home, 2, "second").unwrap();
    assert_eq!(scratch.names(), ["first", "second"]);
    let full = third.take(&scratch.home, 2, "third").unwrap_err();
    assert!(matches!(full, RegistryError::Full { capacity: 2 }), "{full}");
    first.end();
    assert_eq!(scratch.names(), ["second"]);
    third.take(&scratch.home, 2, "third").unwrap();
    assert_eq!(scratch.names(), ["second", "third"]);
    // The same sandbox, after its supervisor was killed.
    second.end();
    let again = Other::start();
    again.take(&scratch.home, 2, "second").unwrap();
    assert_eq!(scratch.names(), ["second", "third"]);
    third.end();
    again.end();
}

#[test]
fn what_a_killed_supervisor_leaves_is_removed_once_nobody_uses_it() {
    let scratch = Scratch::new();
    Registry::remove_unused(&scratch.home);
    let (first, second) = (Other::start(), Other::start());
    first.take(&scratch.home, 2, "first").unwrap();
    second.take(&scratch.home, 2, "second").unwrap();
    first.end();
    Registry::remove_unused(&scratch.home);
    assert_eq!(scratch.names(), ["second"]);
    second.end();
    Registry::remove_unused(&scratch.home);
    assert!(Registry::open(&scratch.home).unwrap().is_none());
}

#[test]
fn the_capacity_changes_when_no_slot_is_in_use() {
    let scratch = Scratch::new();
    let (first, second) = (Other::start(), Other::start());
    first.take(&scratch.home, 1, "first").unwrap();
    assert!(matches!(second.take(&scratch.home, 2, "second"), Err(RegistryError::Full { capacity: 1 })));
    first.end();
    second.take(&scratch.home, 2, "second").unwrap();
    let registry = Registry::open(&scratch.home).unwrap().unwrap();
    assert_eq!(registry.header.capacity, 2);
    assert_eq!(scratch.names(), ["second"]);
    second.end();
}

#[test]
fn no_sample_is_read_in_parts() {
    let scratch = Scratch::new();
    let of = |number: u32| Sample {
        memory_bytes: Some(number.into()),
        restarts: number,
        name: format!("n{number}"),
        ..sample("")
    };
    let mut slot = Registry::take(&scratch.home, 1, &of(0)).unwrap();
    let registry = Registry::open(&scratch.home).unwrap().unwrap();
    let mut last = 0;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 1..=2000 {
                slot.write(&of(number)).unwrap();
            }
        });
        while !writer.is_finished() {
            for found in registry.samples().unwrap() {
                assert_eq!(found, of(found.restarts));
                assert!(found.restarts >= last);
                last = found.restarts;
            }
        }
        writer.join().unwrap();
    });
    assert_eq!(registry.samples().unwrap(), [of(2000)]);
    drop(slot);
}

/// As after the death of a supervisor in the middle of writing.
#[test]
fn half_a_sample_is_not_read_and_the_slot_is_in_use_until_its_supervisor_ends() {
    let scratch = Scratch::new();
    let (first, second) = (Other::start(), Other::start());
    first.take(&scratch.home, 1, "first").unwrap();
    let object = shm::open(object_name(&scratch.home), shm::OFlags::RDWR, Mode::empty()).unwrap();
    pwrite(&object, &3_u64.to_le_bytes(), slot_offset(0)).unwrap();
    assert_eq!(scratch.names(), [""; 0]);
    assert!(matches!(second.take(&scratch.home, 1, "second"), Err(RegistryError::Full { .. })));
    first.end();
    second.take(&scratch.home, 1, "second").unwrap();
    assert_eq!(scratch.names(), ["second"]);
    second.end();
}

#[test]
fn objects_of_others_and_of_other_layouts_are_refused() {
    let scratch = Scratch::new();
    let name = object_name(&scratch.home);
    let flags = shm::OFlags::RDWR | shm::OFlags::CREATE;
    let object = shm::open(&name, flags, Mode::RUSR | Mode::WUSR).unwrap();
    pwrite(&object, b"MSBMET02 and more, of another version of msb", 0).unwrap();
    assert!(matches!(Registry::open(&scratch.home), Err(RegistryError::Unknown { .. })));
    // Nobody uses it, so it is made anew.
    let _slot = Registry::take(&scratch.home, 1, &sample("web")).unwrap();
    assert_eq!(scratch.names(), ["web"]);
    rustix::fs::fchmod(&object, Mode::from_raw_mode(0o666)).unwrap();
    assert!(matches!(Registry::open(&scratch.home), Err(RegistryError::Foreign { .. })));
    let refused = Registry::take(&scratch.home, 1, &sample("web"));
    assert!(matches!(refused, Err(RegistryError::Foreign { .. })));
}

#[test]
fn each_state_folder_has_a_registry_of_its_own() {
    let (one, other) = (Scratch::new(), Scratch::new());
    let _slot = Registry::take(&one.home, 1, &sample("web")).unwrap();
    assert!(Registry::open(&other.home).unwrap().is_none());
    assert_ne!(object_name(&one.home), object_name(&other.home));
}
