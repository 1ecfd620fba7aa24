//! Who may use a folder, and what its markers say.

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pyralog-folder-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn open(&self) -> Result<DataFolder, FolderError> {
        DataFolder::open(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn io_10_the_clean_marker_counts_once_and_only_when_it_was_the_last_act() {
    let folder = Folder::new("clean");
    let first = folder.open().unwrap();
    assert!(first.is_new && !first.was_clean);
    first.mark_dirty().unwrap();
    drop(first);
    let killed = folder.open().unwrap();
    assert!(!killed.is_new && !killed.was_clean, "it was never closed");
    killed.mark_clean(&BTreeSet::new()).unwrap();
    drop(killed);
    let clean = folder.open().unwrap();
    assert!(clean.was_clean);
    clean.mark_dirty().unwrap();
    drop(clean);
    assert!(!folder.open().unwrap().was_clean, "the marker is gone before anything is appended");
}

#[test]
fn io_10_a_start_that_fails_before_it_serves_keeps_the_marker() {
    let folder = Folder::new("early");
    folder.open().unwrap().mark_clean(&BTreeSet::new()).unwrap();
    drop(folder.open().unwrap());
    assert!(folder.open().unwrap().was_clean);
}

#[test]
fn io_10_a_partition_that_was_offline_all_the_time_is_not_clean_and_the_others_are() {
    let folder = Folder::new("untouched");
    folder.open().unwrap().mark_clean(&BTreeSet::from(["id-1".to_owned()])).unwrap();
    let open = folder.open().unwrap();
    assert!(open.was_clean && open.is_clean("id-0") && !open.is_clean("id-1") && !open.is_clean_throughout());
    open.mark_clean(&BTreeSet::new()).unwrap();
    drop(open);
    assert!(folder.open().unwrap().is_clean_throughout());
    for text in ["", "cle", "clean\nwhatever"] {
        fs::write(folder.0.join(CLEAN_FILE), text).unwrap();
        let open = folder.open().unwrap();
        assert!(!open.was_clean, "{text:?} is no marker");
        open.mark_dirty().unwrap();
        assert!(!folder.0.join(CLEAN_FILE).exists());
    }
}

#[test]
fn a_folder_has_one_user() {
    let folder = Folder::new("lock");
    let held = folder.open().unwrap();
    assert!(matches!(folder.open(), Err(FolderError::InUse { .. })));
    drop(held);
    folder.open().unwrap();
}

#[test]
fn another_format_and_foreign_files_are_refused_and_left_alone() {
    let folder = Folder::new("format");
    drop(folder.open().unwrap());
    fs::write(folder.0.join(FORMAT_FILE), "99\n").unwrap();
    assert!(matches!(folder.open(), Err(FolderError::Format { found, .. }) if found == "99"));
    let foreign = Folder::new("foreign");
    fs::create_dir_all(&foreign.0).unwrap();
    fs::write(foreign.0.join("thesis.doc"), "mine").unwrap();
    assert!(matches!(foreign.open(), Err(FolderError::Foreign { .. })));
    assert_eq!(fs::read_dir(&foreign.0).unwrap().count(), 1, "not even a lock was put there");
}

#[test]
fn io_06_recovery_points_come_back_and_those_that_do_not_are_told_and_kept() {
    let folder = Folder::new("points");
    let open = folder.open().unwrap();
    assert_eq!(open.recovery_points().unwrap(), BTreeMap::new(), "none was written yet");
    let points = BTreeMap::from([("id-0".to_owned(), LogOffset(7)), ("id-1".to_owned(), LogOffset(0))]);
    open.write_recovery_points(&points).unwrap();
    assert_eq!(open.recovery_points().unwrap(), points);
    for scrambled in ["scrambled", "scrambled again"] {
        fs::write(folder.0.join(POINTS_FILE), scrambled).unwrap();
        assert!(matches!(open.recovery_points(), Err(PointsLost::Unreadable(_))));
        let kept = open.keep_lost_points().unwrap();
        open.write_recovery_points(&points).unwrap();
        assert_eq!(fs::read_to_string(kept).unwrap(), scrambled);
    }
}

#[test]
fn io_06_after_a_stop_in_order_there_are_recovery_points() {
    let folder = Folder::new("no-points");
    folder.open().unwrap().mark_clean(&BTreeSet::new()).unwrap();
    let open = folder.open().unwrap();
    assert!(matches!(open.recovery_points(), Err(PointsLost::Missing)));
    assert!(open.keep_lost_points().is_err(), "there is nothing to be kept");
}

#[test]
fn op_11_unclean_starts_are_counted_until_a_clean_stop_or_a_long_life() {
    let folder = Folder::new("starts");
    assert_eq!(folder.open().unwrap().count_start().unwrap(), 0, "a new folder");
    let start = || folder.open().unwrap().count_start().unwrap();
    assert_eq!([start(), start(), start()], [1, 2, 3]);
    folder.open().unwrap().forget_starts();
    assert_eq!(start(), 1);
    folder.open().unwrap().mark_clean(&BTreeSet::new()).unwrap();
    assert_eq!(start(), 0);
    folder.open().unwrap().mark_dirty().unwrap();
    assert_eq!(start(), 1, "it begins anew");
}
