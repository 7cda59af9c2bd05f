//! Files of which all is there or nothing, for their owner alone.

use std::{os::unix::fs::PermissionsExt, path::Path};

use crate::files::{write_new, write_private};

fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_private_file_is_its_owners_alone_whatever_stood_there_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.token");
    std::fs::write(&path, "a longer text that was there").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();

    write_private(&path, "new").unwrap();

    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names_in(directory.path()), ["admin.token"]);
}

#[test]
fn a_new_file_takes_nobodys_place_and_leaves_no_part_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("yakuba.toml");
    write_new(&path, "first").unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let refused = write_new(&path, "second").unwrap_err();

    assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
    assert_eq!(names_in(directory.path()), ["yakuba.toml"]);
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_old_one() {
    let directory = tempfile::tempdir().unwrap();
    // A directory stands where the file is to be: the last step fails.
    let path = directory.path().join("taken");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("in it"), "").unwrap();
    assert!(write_private(&path, "text").is_err());
    assert_eq!(names_in(directory.path()), ["taken"]);
}
