//! Who gets the socket: one daemon, never two, and a dead one's is taken over.

mod common;

use common::{Fake, Started, stderr, wait_for, weir};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Barrier};
use weir::failure::{Failure, sentence};
use weir::locate::locate;
use weir::run::supervise;
use weir::socket::{Claim, lock_path};
use weir_agent::halt::Halt;

fn problem(failure: Failure) -> String {
    match failure {
        Failure::Refused(errors) => errors.iter().map(sentence).collect::<Vec<_>>().join("\n"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_second_daemon_is_refused_before_it_starts_anything() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("sub/w.sock"));
    let pid = std::process::id();
    let refused = supervise(
        &fake.socket,
        Halt::default(),
        || -> Result<Started, Failure> { panic!("it was started") },
    );
    let text = problem(refused.unwrap_err());
    assert!(
        text.contains(&format!("a daemon is already running there, pid {pid}")),
        "{text}"
    );
    // The first goes on, and still owns its files.
    assert_eq!(
        weir(&["status", "--socket", fake.path()]).status.code(),
        Some(0)
    );
    assert!(lock_path(&fake.socket).exists());
    let (socket, lock) = (fake.socket.clone(), lock_path(&fake.socket));
    fake.stop().unwrap();
    assert!(!socket.exists() && !lock.exists());
}

#[test]
fn a_second_daemon_by_the_binary_is_refused_too() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let host = folder.path().join("host.toml");
    let text = format!(
        "name = \"h1\"\n[[uplink]]\nname = \"up0\"\ndevice = \"net_null0\"\nprovider_addresses = [\"192.168.50.1/24\"]\n\
         [store]\nkind = \"file\"\npath = \"{}/policy.toml\"\n",
        folder.path().display()
    );
    std::fs::write(&host, text).unwrap();
    let output = weir(&[
        "run",
        "--host",
        host.to_str().unwrap(),
        "--socket",
        fake.path(),
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        stderr(&output).contains("already running there, pid"),
        "{output:?}"
    );
    fake.stop().unwrap();
}

#[test]
fn the_socket_is_the_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.sock");
    let claim = Claim::take(&path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    assert_eq!(claim.path(), path);
    drop(claim);
    assert!(!path.exists() && !lock_path(&path).exists());
}

#[test]
fn a_stale_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.sock");
    // As a killed daemon leaves it: both files, no lock, nobody listening.
    drop(UnixListener::bind(&path).unwrap());
    std::fs::write(lock_path(&path), "1\n").unwrap();
    let fake = Fake::start(&path);
    fake.stop().unwrap();
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let text = problem(Claim::take(&file).unwrap_err());
    assert!(text.contains("is there already and is no socket"), "{text}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert!(!lock_path(&file).exists());

    let other = folder.path().join("other.sock");
    let listener = UnixListener::bind(&other).unwrap();
    let answer = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let text = problem(Claim::take(&other).unwrap_err());
    assert!(text.contains("another program has it"), "{text}");
    answer.join().unwrap();
    assert!(other.exists());

    let long = folder.path().join("x".repeat(120));
    let text = problem(Claim::take(&long).unwrap_err());
    assert!(text.contains("at most 107 bytes"), "{text}");
    let text = problem(Claim::take(Path::new("/proc/nowhere/w.sock")).unwrap_err());
    assert!(text.contains("cannot be made"), "{text}");
}

#[test]
fn of_many_that_start_at_once_exactly_one_wins_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.sock");
    for _ in 0..20 {
        // Every other round begins with a stale socket.
        drop(UnixListener::bind(&path));
        let barrier = Arc::new(Barrier::new(6));
        let threads: Vec<_> = (0..6)
            .map(|_| {
                let (path, barrier) = (path.clone(), barrier.clone());
                std::thread::spawn(move || {
                    barrier.wait();
                    let claim = Claim::take(&path);
                    // A winner keeps it until all have tried.
                    barrier.wait();
                    claim.is_ok()
                })
            })
            .collect();
        let winners = threads
            .into_iter()
            .map(|t| t.join().unwrap())
            .filter(|won| *won)
            .count();
        assert_eq!(winners, 1);
        assert!(!path.exists() && !lock_path(&path).exists());
    }
}

#[test]
fn claims_that_come_and_go_never_overlap() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.sock");
    let (owners, taken) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (path, owners, taken) = (path.clone(), owners.clone(), taken.clone());
            std::thread::spawn(move || {
                for _ in 0..100 {
                    if let Ok(claim) = Claim::take(&path) {
                        assert_eq!(
                            owners.fetch_add(1, Ordering::SeqCst),
                            0,
                            "two own the socket"
                        );
                        assert!(path.exists());
                        taken.fetch_add(1, Ordering::SeqCst);
                        owners.fetch_sub(1, Ordering::SeqCst);
                        drop(claim);
                    }
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert!(taken.load(Ordering::SeqCst) > 0);
}

#[test]
fn questions_before_the_agent_runs_are_told_to_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.sock");
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let socket = path.clone();
    let life = std::thread::spawn(move || {
        supervise(&socket, Halt::default(), move || {
            may_go.recv().unwrap();
            Ok(common::control(common::Log::default()))
        })
    });
    let name = path.to_str().unwrap();
    wait_for("the API says that the daemon starts", || {
        stderr(&weir(&["status", "--socket", name])).contains("still starting")
    });
    // A second daemon is refused at this time too, by the lock's own word.
    let text = problem(Claim::take(&path).unwrap_err());
    assert!(
        text.contains(&format!("pid {}", std::process::id())),
        "{text}"
    );
    go.send(()).unwrap();
    wait_for("the daemon answers", || {
        weir(&["status", "--socket", name]).status.success()
    });
    let client = weir::client::Client::new(&path);
    client
        .request(
            hyper::Method::POST,
            "stop",
            hyper::body::Bytes::new(),
            std::time::Duration::from_secs(5),
        )
        .unwrap();
    life.join().unwrap().unwrap();
}

#[test]
fn a_start_that_fails_gives_the_socket_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.sock");
    let failed = supervise(&path, Halt::default(), || -> Result<Started, Failure> {
        Err(Failure::one("uplink up0", "is not there", "plug it in"))
    });
    assert!(problem(failed.unwrap_err()).contains("uplink up0"));
    assert!(!path.exists() && !lock_path(&path).exists());
}

#[test]
fn the_daemon_that_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path();
    let find = |socket: Option<&str>, env: Option<&str>| {
        locate(socket.map(Path::new), None, env.map(Into::into), empty)
    };
    assert_eq!(find(Some("/a"), Some("/b")).unwrap(), Path::new("/a"));
    assert_eq!(find(None, Some("/b")).unwrap(), Path::new("/b"));
    assert!(problem(find(None, Some("")).unwrap_err()).contains("no daemon found"));
    let first = UnixListener::bind(empty.join("h1.sock")).unwrap();
    std::fs::write(empty.join("h3.sock"), "no socket").unwrap();
    assert_eq!(find(None, None).unwrap(), empty.join("h1.sock"));
    let _second = UnixListener::bind(empty.join("h2.sock")).unwrap();
    let text = problem(find(None, None).unwrap_err());
    assert!(
        text.contains("h1.sock") && text.contains("h2.sock") && text.contains("--socket"),
        "{text}"
    );
    // A dead one does not count beside a living one.
    drop(first);
    assert_eq!(find(None, None).unwrap(), empty.join("h2.sock"));
}
