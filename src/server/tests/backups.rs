//! Where backups may be kept.

use std::{fs::create_dir_all, os::unix::fs::symlink};

use crate::commands::data::apart;

#[test]
fn a_backup_is_kept_neither_in_the_data_nor_around_them() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let data = root.join("data");
    create_dir_all(&data).unwrap();
    symlink(&data, root.join("link")).unwrap();
    for wrong in ["data", "data/backup", "data/new/backup", "link", "link/new", "", "new/../data"] {
        let refused = apart(&data, &root.join(wrong)).unwrap_err().to_string();
        assert!(refused.contains("kept apart"), "{wrong}: {refused}");
    }
    for good in ["backup", "new/backup", "data-backup", "data/../backup"] {
        apart(&data, &root.join(good)).unwrap();
    }
}
