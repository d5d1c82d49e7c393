//! `weir top` on a terminal: it shows what a daemon says, obeys keys, and leaves the terminal as it was, however it ends.

mod common;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::Fake;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

/// A terminal, and a program on it.
struct Screen {
    /// The end that a person looks at.
    master: OwnedFd,
    /// The program's own end.
    slave: File,
    before: Termios,
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    fn start(mut command: Command) -> Screen {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let mut both = File::options();
        both.read(true).write(true);
        let slave = both.open(name.to_str().unwrap()).unwrap();
        resize(&master, 80, 24);
        let before = tcgetattr(&slave).unwrap();
        let child = command
            .env("TERM", "xterm")
            .env_remove("WEIR_SOCKET")
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stdout(Stdio::from(slave.try_clone().unwrap()))
            .stderr(Stdio::from(slave.try_clone().unwrap()))
            .spawn()
            .unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, all) = (File::from(master.try_clone().unwrap()), seen.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                all.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Screen {
            master,
            slave,
            before,
            child,
            seen,
        }
    }

    /// `weir top` of a daemon, with the terminal as its own (so that the size is the terminal's).
    fn top(fake: &Fake) -> Screen {
        Screen::top_of(fake.path(), "red1")
    }

    /// The same of the daemon at that socket, once it shows that vNIC.
    fn top_of(socket: &str, vnic: &str) -> Screen {
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_weir")]);
        command.args(["top", "-d", "0.05", "--socket", socket]);
        let screen = Screen::start(command);
        screen.until("a screen", |text| text.contains(vnic));
        screen
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    #[track_caller]
    fn until(&self, what: &str, so: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        while !so(&self.text()) {
            let text = self.text();
            let end: String = text.chars().rev().take(2000).collect();
            let end: String = end.chars().rev().collect();
            assert!(begun.elapsed().as_secs() < 20, "{what}: …{end:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn keys(&self, keys: &str) {
        rustix::io::write(&self.master, keys.as_bytes()).unwrap();
    }

    fn is_raw(&self) -> bool {
        let now = tcgetattr(&self.slave).unwrap();
        now.local_modes != self.before.local_modes
    }

    /// Waits for the end; the terminal is as it was. What was shown in all.
    #[track_caller]
    fn ends(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let now = tcgetattr(&self.slave).unwrap();
        assert_eq!(now.local_modes, self.before.local_modes);
        assert_eq!(now.input_modes, self.before.input_modes);
        assert_eq!(now.output_modes, self.before.output_modes);
        self.until("the main screen and the cursor", |text| {
            let (screen, cursor) = (text.rfind("\x1b[?1049l"), text.rfind("\x1b[?25h"));
            let hidden = text.rfind("\x1b[?25l");
            screen > text.rfind("\x1b[?1049h") && screen.is_some() && cursor > hidden
        });
        let text = self.text();
        (status, text)
    }
}

fn resize(master: &OwnedFd, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).unwrap();
}

#[test]
fn keys_end_it_and_the_terminal_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    for keys in ["q", "\x03", "/q\x03"] {
        let screen = Screen::top(&fake);
        assert!(screen.is_raw());
        screen.until("a rate", |text| text.contains("4.00M"));
        screen.keys(keys);
        let (status, text) = screen.ends();
        assert_eq!(status.code(), Some(0), "{text:?}");
    }
    fake.stop().unwrap();
}

#[test]
fn a_filter_and_another_size_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let screen = Screen::top(&fake);
    screen.keys("/blu");
    // Only what differs is written.
    screen.until("a filter", |text| text.contains("blu_  (Enter"));
    screen.keys("\x1b");
    // In eighty columns there is none for packets.
    assert!(!screen.text().contains("sent p"));
    resize(&screen.master, 130, 30);
    screen.until("wide columns", |text| text.contains("sent p"));
    // Nobody has asked for everything twice.
    let log = fake.log.lock().unwrap().join("\n");
    assert_eq!(log.matches("Top(None)").count(), 1, "{log}");
    screen.keys("q");
    screen.ends();
    fake.stop().unwrap();
}

#[test]
fn signals_end_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let screen = Screen::top(&fake);
        // setsid has become weir: it was no leader of a group, so it did not fork.
        kill_process(Pid::from_child(&screen.child), signal).unwrap();
        let (status, text) = screen.ends();
        assert_eq!(status.code(), Some(0), "{signal:?} {text:?}");
    }
    fake.stop().unwrap();
}

#[test]
fn a_daemon_that_leaves_is_said_on_the_terminal_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let screen = Screen::top(&fake);
    fake.stop().unwrap();
    let (status, text) = screen.ends();
    assert_eq!(status.code(), Some(1));
    let after = text.rsplit("\x1b[?1049l").next().unwrap();
    assert!(after.contains("no daemon at"), "{text:?}");
}

/// A daemon whose one vNIC sends for ever, to nobody.
const HOST: &str = r#"
name = "h1"
socket = "weir.sock"
state_dir = "state"
[dataplane]
hugepages = "none"
[[uplink]]
name = "up0"
device = "net_null1,no-rx=1"
provider_addresses = ["192.168.50.1/24"]
[store]
kind = "file"
path = "policy.toml"
"#;

const POLICY: &str = r#"
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "web"
vsid = 5001
prefixes = ["10.0.0.0/8"]
[[vnic]]
name = "source"
host = "h1"
subnet = "web"
mac = "02:00:00:00:00:01"
addresses = ["10.0.0.2"]
attach = "rig:mappings=1,frame=64,from=02:00:00:00:00:01/10.0.0.2,to=02:01:00:00:00:00/10.1.0.0"
"#;

#[test]
fn a_daemon_of_dpdk_is_shown_until_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("host.toml"), HOST).unwrap();
    std::fs::write(folder.path().join("policy.toml"), POLICY).unwrap();
    let mut daemon = common::run_in(folder.path());
    let socket = folder.path().join("weir.sock");
    let socket = socket.to_str().unwrap();
    common::wait_for("the daemon answers", || {
        common::weir(&["get", "vnic", "source", "--socket", socket])
            .status
            .success()
    });
    let screen = Screen::top_of(socket, "source");
    // What it sends is dropped: nobody is there.
    let sample = common::json(&common::weir(&[
        "top", "-d", "0.1", "--json", "--socket", socket,
    ]));
    let rate = |of: &str| sample["vnics"][0][of].as_u64().unwrap_or(0);
    assert!(rate("sent_packets_per_second") > 0, "{sample}");
    assert!(rate("dropped_packets_per_second") > 0, "{sample}");
    let workers = sample["workers"].as_array().unwrap();
    let queues: u64 = workers.iter().filter_map(|w| w["queues"].as_u64()).sum();
    assert_eq!(queues, 2, "{sample}");
    let busy = workers
        .iter()
        .filter_map(|w| w["cycles_per_packet"].as_u64());
    assert!(busy.max() > Some(0), "{sample}");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let (status, _) = screen.ends();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_panic_puts_the_terminal_back_before_it_is_told() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "it_panics", "--nocapture"]);
    let screen = Screen::start(command);
    let (status, text) = screen.ends();
    assert!(!status.success());
    let after = text.rsplit("\x1b[?25h").next().unwrap();
    assert!(after.contains("on purpose"), "{text:?}");
}

/// What the test before it runs in a process of its own.
#[test]
#[ignore = "run by a_panic_puts_the_terminal_back_before_it_is_told, on a terminal"]
fn it_panics() {
    // Leaked, as in the program that ships, where a panic ends the process and drops nothing.
    std::mem::forget(weir::top::live::Held::take().unwrap());
    panic!("on purpose");
}
