//! The file store: replaced at once, edited with comments kept, watched however it is saved.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use weir_agent::config::host::StoreConfig;
use weir_agent::store::{FileStore, Store, StoreError, Watch, open};

/// Long enough for a busy machine; a test that passes does not wait for it.
const LONG: Duration = Duration::from_secs(10);

/// Long enough for a call that must not come: several times the store's 50 ms.
const SHORT: Duration = Duration::from_millis(400);

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

fn watched(store: &mut FileStore) -> (Receiver<()>, Watch) {
    let (sender, calls) = channel();
    let watch = store
        .watch(Box::new(move || sender.send(()).unwrap_or_default()))
        .unwrap();
    (calls, watch)
}

/// Waits for a call and takes what is there then; what is saved in two steps may take two calls.
fn comes(calls: &Receiver<()>, store: &mut FileStore, text: &str) {
    let end = std::time::Instant::now() + LONG;
    loop {
        let left = end.saturating_duration_since(std::time::Instant::now());
        calls
            .recv_timeout(left)
            .unwrap_or_else(|_| panic!("no call for {text:?}"));
        if store.load().is_ok_and(|loaded| loaded.text == text) {
            return;
        }
    }
}

#[test]
fn a_file_that_was_never_there_is_an_empty_policy_with_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    let mut store = open(&StoreConfig::File { path: path.clone() }, Duration::ZERO);
    assert_eq!(store.describe(), format!("file {}", path.display()));
    let loaded = store.load().unwrap();
    assert_eq!(loaded.text, "");
    let note = loaded.note.unwrap();
    assert!(note.problem.contains("no such file yet") && note.mend.contains("weir apply"));
    store.replace("# now\n").unwrap();
    assert_eq!(store.load().unwrap().note, None);
}

#[test]
fn a_file_that_is_gone_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    write(&path, "# one\n");
    let mut store = FileStore::new(&path);
    assert_eq!(store.load().unwrap().text, "# one\n");
    std::fs::remove_file(&path).unwrap();
    let error = store.load().unwrap_err();
    assert!(matches!(error, StoreError::Gone { .. }));
    assert!(error.refusal().mend.contains("put it back"));
    assert!(
        matches!(store.load(), Err(StoreError::Gone { .. })),
        "still"
    );
}

#[test]
fn what_is_not_a_text_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = FileStore::new(folder.path());
    assert!(matches!(store.load(), Err(StoreError::NotAFile { .. })));
    assert!(matches!(
        store.replace("a"),
        Err(StoreError::NotAFile { .. })
    ));
    let path = folder.path().join("latin1.toml");
    std::fs::write(&path, b"# \xfc\n").unwrap();
    let refusal = FileStore::new(&path).load().unwrap_err().refusal();
    assert!(refusal.mend.contains("UTF-8"), "{refusal}");
    let refusal = FileStore::new(folder.path().join("no/policy.toml"))
        .replace("a")
        .unwrap_err()
        .refusal();
    assert!(refusal.mend.contains("make its folder"), "{refusal}");
}

#[test]
fn replacing_keeps_the_mode_and_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    write(&path, "# old\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let held = std::fs::File::open(&path).unwrap();
    FileStore::new(&path).replace("# new\n").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "# new\n");
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o640
    );
    assert_eq!(
        std::io::read_to_string(held).unwrap(),
        "# old\n",
        "a reader of the old file keeps it whole"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn replacing_a_new_file_gives_it_the_usual_mode() {
    let folder = tempfile::tempdir().unwrap();
    let (usual, path) = (
        folder.path().join("usual"),
        folder.path().join("policy.toml"),
    );
    write(&usual, "");
    FileStore::new(&path).replace("").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&usual));
}

#[test]
fn replacing_through_a_link_keeps_the_link() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real");
    std::fs::create_dir(&real).unwrap();
    let link = folder.path().join("policy.toml");
    symlink("real/policy.toml", &link).unwrap();
    // The link leads nowhere yet.
    FileStore::new(&link).replace("# one\n").unwrap();
    FileStore::new(&link).replace("# two\n").unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(
        std::fs::read_to_string(real.join("policy.toml")).unwrap(),
        "# two\n"
    );
}

#[test]
fn taking_an_object_out_keeps_the_rest_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    let text = "# ours\n\n# of Ada\n[[host]]\nname = \"h1\"\n\n# of Bob\n[[host]]   # new\nname = \"h2\" # rack 2\n";
    write(&path, text);
    let mut store = FileStore::new(&path);
    assert_eq!(
        store.without("host", "h1").unwrap(),
        "# ours\n\n# of Bob\n[[host]]   # new\nname = \"h2\" # rack 2\n"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    let refusal = store.without("host", "h9").unwrap_err().refusal();
    assert_eq!(
        (refusal.object.as_str(), refusal.file),
        ("host h9", path.display().to_string())
    );
    assert!(
        store
            .without("uplink", "up0")
            .unwrap_err()
            .refusal()
            .mend
            .contains("vm_network")
    );
    write(&path, "a = 1\nb = \n");
    assert_eq!(
        store.without("host", "h1").unwrap_err().refusal().line,
        Some(2)
    );
}

#[test]
fn every_way_of_saving_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    let mut store = FileStore::new(&path);
    store.load().unwrap();
    let (calls, _watch) = watched(&mut store);
    // It appears.
    write(&path, "# 1\n");
    comes(&calls, &mut store, "# 1\n");
    // In place.
    write(&path, "# 2\n");
    comes(&calls, &mut store, "# 2\n");
    // Another renamed over it, as vim and sed -i do.
    let beside = folder.path().join(".policy.toml.swp");
    write(&beside, "# 3\n");
    std::fs::rename(&beside, &path).unwrap();
    comes(&calls, &mut store, "# 3\n");
    // The old moved away and a new one made, as others do.
    std::fs::rename(&path, folder.path().join("policy.toml~")).unwrap();
    write(&path, "# 4\n");
    comes(&calls, &mut store, "# 4\n");
    // Deleted, noticed, and made again.
    std::fs::remove_file(&path).unwrap();
    calls.recv_timeout(LONG).unwrap();
    assert!(matches!(store.load(), Err(StoreError::Gone { .. })));
    write(&path, "# 4\n");
    comes(&calls, &mut store, "# 4\n");
}

#[test]
fn what_changes_nothing_calls_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    write(&path, "# 1\n");
    let mut store = FileStore::new(&path);
    store.load().unwrap();
    let (calls, watch) = watched(&mut store);
    // In one step: of a file that is written in place nothing is there for a moment, which is another text.
    let beside = folder.path().join("beside");
    write(&beside, "# 1\n");
    std::fs::rename(&beside, &path).unwrap();
    write(&folder.path().join("other"), "# 2\n");
    store.replace("# 3\n").unwrap();
    assert!(
        calls.recv_timeout(SHORT).is_err(),
        "neither the same text, nor another file, nor the store's own change"
    );
    drop(watch);
    write(&path, "# 4\n");
    assert!(
        calls.recv_timeout(SHORT).is_err(),
        "not after the watch has ended"
    );
}

#[test]
fn what_changed_before_the_watch_began_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    write(&path, "# 1\n");
    let mut store = FileStore::new(&path);
    store.load().unwrap();
    write(&path, "# 2\n");
    let (calls, _watch) = watched(&mut store);
    comes(&calls, &mut store, "# 2\n");
}

#[test]
fn a_link_is_followed_to_where_it_leads_now() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        write(
            &folder.path().join(name).join("policy.toml"),
            &format!("# {name}\n"),
        );
    }
    let etc = folder.path().join("etc");
    std::fs::create_dir(&etc).unwrap();
    let link = etc.join("policy.toml");
    symlink("../a/policy.toml", &link).unwrap();
    let mut store = FileStore::new(&link);
    store.load().unwrap();
    let (calls, _watch) = watched(&mut store);
    write(&folder.path().join("a/policy.toml"), "# a2\n");
    comes(&calls, &mut store, "# a2\n");
    let new = etc.join("new");
    symlink("../b/policy.toml", &new).unwrap();
    std::fs::rename(&new, &link).unwrap();
    comes(&calls, &mut store, "# b\n");
    write(&folder.path().join("b/policy.toml"), "# b2\n");
    comes(&calls, &mut store, "# b2\n");
}

#[test]
fn a_folder_that_was_replaced_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path().join("etc");
    std::fs::create_dir(&etc).unwrap();
    let path = etc.join("policy.toml");
    write(&path, "# 1\n");
    let mut store = FileStore::new(&path);
    store.load().unwrap();
    let (calls, _watch) = watched(&mut store);
    std::fs::rename(&etc, folder.path().join("old")).unwrap();
    std::fs::create_dir(&etc).unwrap();
    write(&path, "# 2\n");
    comes(&calls, &mut store, "# 2\n");
    write(&path, "# 3\n");
    comes(&calls, &mut store, "# 3\n");
}
