//! SIGTERM ends a daemon cleanly. Alone in its process, which it signals.

mod common;

use common::{Fake, weir};
use rustix::process::{Signal, getpid, kill_process};
use weir_agent::halt::Halt;

#[test]
fn sigterm_stops_the_control_thread_and_removes_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("w.sock");
    let fake = Fake::start(&socket);
    assert_eq!(
        weir(&["status", "--socket", fake.path()]).status.code(),
        Some(0)
    );
    let log = fake.log.clone();
    kill_process(getpid(), Signal::TERM).unwrap();
    fake.join().unwrap();
    assert_eq!(log.lock().unwrap().last().unwrap(), "Stop");
    assert!(!socket.exists() && !weir::socket::lock_path(&socket).exists());

    // And a signal while the agent still starts: it stops as soon as it has started.
    let log = common::Log::default();
    let seen = log.clone();
    let result = weir::run::supervise(&socket, Halt::default(), move || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        kill_process(getpid(), Signal::TERM).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(200));
        Ok(common::control(seen))
    });
    result.unwrap();
    assert_eq!(log.lock().unwrap().last().unwrap(), "Stop");
}
