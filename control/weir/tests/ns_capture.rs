//! `weir capture` and `weir trace` on real daemons with real kernels as VMs, tshark as the reader.

mod world;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};
use world::daemon::WEIR;
use world::peers::tshark;
use world::{Daemon, HostToml, Policy, Vm, World, frames, text, traffic, wait_for, wait_until};

/// Blue: `a` and `c` on the first host, `b` on the second; the first is watched.
struct Hosts {
    one: Daemon,
    two: Daemon,
    vms: [Vm; 3],
}

/// The same VM with an IPv6 address beside its other.
fn six(vm: &Vm) -> Vm {
    let last = vm.ca.rsplit('.').next().unwrap_or_default();
    Vm {
        ca: format!("{},fd00::{last}", vm.ca),
        ..vm.clone()
    }
}

fn policy(vms: &[&Vm]) -> Policy {
    let mut policy = Policy::two_hosts().tenant("blue", 5001, "10.1.0.0/24,fd00::/64");
    for vm in vms {
        let (host, number) = match vm.tap.as_str() {
            "b" => ("h2", 1),
            "a" => ("h1", 1),
            _ => ("h1", 2),
        };
        policy = policy.vm(&six(vm), host, "blue", number);
    }
    policy
}

fn hosts(world: &mut World) -> Hosts {
    let (h1, h2) = world.two_hosts();
    let vms = [
        world.vm(&h1, "a", [2, 0, 0, 0, 1, 1], "10.1.0.11/24"),
        world.vm(&h2, "b", [2, 0, 0, 0, 1, 2], "10.1.0.12/24"),
        world.vm(&h1, "c", [2, 0, 0, 0, 1, 3], "10.1.0.13/24"),
    ];
    let text = policy(&vms.each_ref());
    let one = world.daemon(&h1, &HostToml::new("h1", "192.168.50.1/24", 0), &text);
    let two = world.daemon(&h2, &HostToml::new("h2", "192.168.50.2/24", 1), &text);
    one.wait_resolved();
    two.wait_resolved();
    Hosts { one, two, vms }
}

/// A verb that goes on until it is told to end; killed if the test fails.
struct Running(Option<Child>);

impl Running {
    fn start(daemon: &Daemon, args: &[&str]) -> Running {
        let (verb, rest) = args.split_first().expect("a verb");
        let mut command = Command::new(WEIR);
        command.arg(verb).arg("--socket").arg(daemon.socket());
        command
            .args(rest)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running(Some(command.spawn().expect("weir")))
    }

    /// A capture into a file, which is there as soon as it runs.
    fn capture(daemon: &Daemon, file: &Path, args: &[&str]) -> Running {
        let _ = std::fs::remove_file(file);
        let name = file.display().to_string();
        let running = Running::start(daemon, &[&["capture"], args, &["-w", &name]].concat());
        wait_until("the capture runs", || {
            file.metadata().is_ok_and(|m| m.len() > 0)
        });
        running
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("not ended")
    }

    fn runs(&mut self) -> bool {
        self.child().try_wait().expect("wait").is_none()
    }

    fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(self.child()), signal).expect("kill");
    }

    /// Its end: what it said.
    fn end(mut self) -> Output {
        wait_until("it ends", || !self.runs());
        let child = self.0.take().expect("not ended");
        child.wait_with_output().expect("wait")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Fields of every packet of a file, a row each.
fn fields(file: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut args = vec!["-Y", filter, "-T", "fields", "-E", "occurrence=f"];
    fields.iter().for_each(|field| args.extend(["-e", field]));
    let rows = tshark(file, &args);
    let row = |row: &str| row.split('\t').map(str::to_owned).collect();
    rows.lines().map(row).collect()
}

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs_f64()
}

#[test]
fn a_capture_is_read_while_it_is_written_and_after() {
    let Some(mut world) = World::new(&["tshark"]) else {
        return;
    };
    let hosts = hosts(&mut world);
    let [a, b, c] = &hosts.vms;
    traffic::reaches(&a.ns, &b.ca);
    traffic::reaches(&c.ns, &b.ca);

    let before = now();
    let file = world.path("a.pcapng");
    let args = [
        "vnic-rx,uplink-tx",
        "--vnic",
        "a",
        "--filter",
        "icmp or ip proto gre",
        "-s",
        "90",
    ];
    let mut capture = Running::capture(&hosts.one, &file, &args);
    traffic::all_answered(&a.ns, 3, &b.ca);
    // Another's packets are not of this capture.
    traffic::all_answered(&c.ns, 2, &b.ca);
    let columns = [
        "frame.interface_name",
        "frame.len",
        "frame.cap_len",
        "ip.src",
        "frame.time_epoch",
    ];
    let rows = wait_for("tshark reads what is there", || {
        let rows = fields(&file, "icmp", &columns);
        (rows.len() >= 6).then_some(rows)
    });
    assert!(capture.runs(), "it is read while it is written");
    for interface in ["vnic-rx:a", "uplink-tx:up0"] {
        let of_it: Vec<_> = rows.iter().filter(|row| row[0] == interface).collect();
        assert_eq!(of_it.len(), 3, "{rows:?}");
        let (length, source) = match interface {
            "vnic-rx:a" => ("98", "10.1.0.11"),
            _ => ("140", "192.168.50.1"),
        };
        for row in of_it {
            assert_eq!(
                (&row[1][..], &row[2][..], &row[3][..]),
                (length, "90", source)
            );
            // The driver's and the kernel's ways between the two clocks are short.
            let time: f64 = row[4].parse().expect("a time");
            assert!(before < time && time < now(), "{row:?}");
            assert_eq!(
                row[4].split('.').nth(1).map(str::len),
                Some(9),
                "nanoseconds"
            );
        }
    }
    capture.signal(Signal::INT);
    let output = capture.end();
    assert!(output.status.success());
    assert_eq!(
        text(&output.stderr),
        "6 packets captured, 0 lost for want of room\n"
    );
    // Whole after the end, with its statistics; nothing malformed.
    assert_eq!(fields(&file, "frame", &["frame.number"]).len(), 6);
    assert_eq!(
        tshark(
            &file,
            &["-Y", "_ws.malformed && frame.cap_len == frame.len"]
        ),
        ""
    );

    // A drop has its reason and its mend beside it; -c ends by itself; JSON says how it was.
    let file = world.path("drop.pcapng");
    let mut capture = Running::capture(&hosts.one, &file, &["drop", "-c", "1", "-o", "json"]);
    let forged = frames::marked(b.mac, [2, 0, 0, 0, 9, 9], "not mine");
    let socket = a.raw();
    wait_until("a drop is captured", || {
        socket.send(&forged);
        !capture.runs()
    });
    let output = capture.end();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(summary, serde_json::json!({"packets": 1, "lost": 0}));
    let rows = fields(
        &file,
        "frame",
        &["frame.interface_name", "frame.comment", "eth.src"],
    );
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0][0][..], &rows[0][2][..]),
        ("drop:a", "02:00:00:00:09:09")
    );
    assert!(
        rows[0][1].starts_with("spoofed_mac: Source MAC is not"),
        "{rows:?}"
    );

    // To a pipe, for so long.
    let output = hosts
        .one
        .weir(&["capture", "vnic-rx", "--seconds", "0.2", "-w", "-"]);
    assert!(output.status.success());
    assert_eq!(output.stdout[..4], [0x0a, 0x0d, 0x0d, 0x0a], "pcapng");

    // What cannot be is refused, and leaves no file.
    for (args, word) in [
        (&["vnic-rx", "--filter", "icmp adn host"][..], "syntax"),
        (&["vnic-rx", "--vnic", "b"], "not on this host"),
        (&["vnic-rx", "--uplink", "up7"], "there is none"),
    ] {
        let file = world.path("refused.pcapng");
        let name = file.display().to_string();
        let output = hosts
            .one
            .weir(&[&["capture"], args, &["-w", &name]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr).contains(word),
            "{}",
            text(&output.stderr)
        );
        assert!(!file.exists());
    }
    world.finish([hosts.one, hosts.two]);
}

#[test]
fn a_client_may_vanish_and_a_vnic_may_leave() {
    let Some(mut world) = World::new(&["tshark"]) else {
        return;
    };
    let hosts = hosts(&mut world);
    let [a, b, c] = &hosts.vms;
    // More than there may be at once, none of which says goodbye; with traffic and without.
    for number in 0..12 {
        let file = world.path(&format!("{number}.pcapng"));
        let mut capture = Running::capture(&hosts.one, &file, &["vnic-rx,drop"]);
        if number % 2 == 0 {
            traffic::reaches(&a.ns, &b.ca);
        }
        capture.signal(Signal::KILL);
        capture.end();
    }
    let all = world.path("all.pcapng");
    let name = all.display().to_string();
    let mut two = [&all, &world.path("a.pcapng")].map(|file| {
        // One that was killed is noticed within a moment.
        let running = wait_for("there is room", || {
            let _ = std::fs::remove_file(file);
            let name = file.display().to_string();
            let of: &[&str] = if file == &all { &[] } else { &["--vnic", "a"] };
            let args = [
                &["capture", "vnic-rx", "--filter", "icmp"],
                of,
                &["-w", &name],
            ]
            .concat();
            let mut running = Running::start(&hosts.one, &args);
            wait_until("it runs or ends", || {
                file.metadata().is_ok_and(|m| m.len() > 0) || !running.runs()
            });
            running.runs().then_some(running)
        });
        Some(running)
    });
    assert!(name.ends_with("all.pcapng"));
    traffic::all_answered(&a.ns, 2, &b.ca);
    // `a` leaves, and `c` moves to its device: whose a packet was stays right, and who looked at `a` has seen its end.
    hosts.one.apply(&policy(&[b, c]));
    let of_a = two[1].take().expect("it ran").end();
    assert!(of_a.status.success(), "{}", text(&of_a.stderr));
    assert!(
        text(&of_a.stderr).starts_with("2 packets"),
        "{}",
        text(&of_a.stderr)
    );
    let d = world.vm(
        &hosts.one.ns.clone(),
        "d",
        [2, 0, 0, 0, 1, 4],
        "10.1.0.14/24",
    );
    let with_d = policy(&[b, c]).vm(&six(&d), "h1", "blue", 7);
    hosts.one.apply(&with_d);
    hosts.two.apply(&with_d);
    traffic::reaches(&d.ns, &b.ca);
    traffic::all_answered(&d.ns, 3, &b.ca);
    let mut all_of_them = two[0].take().expect("it ran");
    all_of_them.signal(Signal::TERM);
    assert!(all_of_them.end().status.success());
    let count = |name: &str| {
        fields(
            &all,
            &format!("frame.interface_name == \"{name}\""),
            &["ip.src"],
        )
    };
    let (of_a, of_d) = (count("vnic-rx:a"), count("vnic-rx:d"));
    assert_eq!(of_a, vec![vec!["10.1.0.11".to_string()]; 2]);
    assert!(
        of_d.len() >= 3 && of_d.iter().all(|row| row[0] == "10.1.0.14"),
        "{of_d:?}"
    );
    // The daemon ends with a capture running, which has its end too.
    let mut last = Running::capture(&hosts.one, &all, &["vnic-rx"]);
    assert!(last.runs());
    world.finish_first([hosts.one, hosts.two]);
    drop(last);
}

/// A line of a trace: (stage, verdict), or (point, party).
fn lines(trace: &Value) -> Vec<(String, String)> {
    let lines = trace["lines"].as_array().expect("lines");
    let word = |line: &Value, key: &str| line[key].as_str().unwrap_or("-").to_owned();
    let line = |line: &Value| match line["kind"].as_str() {
        Some("at") => (word(line, "point"), word(line, "party")),
        _ => (word(line, "stage"), word(line, "verdict")),
    };
    lines.iter().map(line).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|&(a, b)| (a.into(), b.into())).collect()
}

/// The bytes at a point, in hexadecimal.
fn bytes<'v>(trace: &'v Value, point: &str) -> &'v str {
    let lines = trace["lines"].as_array().expect("lines");
    let at = lines.iter().find(|line| line["point"] == point);
    at.and_then(|line| line["bytes"].as_str()).expect("bytes")
}

const WAY_OUT: [(&str, &str); 8] = [
    ("vnic-rx", "a"),
    ("parse", "ethernet"),
    ("guard", "address"),
    ("lookup", "remote"),
    ("encap", "a"),
    ("translate", "nvgre"),
    ("uplink-tx", "up0"),
    ("dispatch", "sent"),
];
const WAY_IN: [(&str, &str); 6] = [
    ("uplink-rx", "up0"),
    ("outer", "accepted"),
    ("decap", "up0"),
    ("lookup", "local"),
    ("vnic-tx", "b"),
    ("dispatch", "delivered"),
];

#[test]
fn a_packet_is_traced_met_and_imagined() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let hosts = hosts(&mut world);
    let [a, b, _] = &hosts.vms;
    traffic::reaches(&a.ns, &b.ca);
    // The same ping where it leaves and where it arrives, of the other host by what is inside.
    let filter = format!("icmp[icmptype] = icmp-echo and dst host {}", b.ca);
    let args = ["trace", "--filter", &filter, "-o", "json"];
    let mut met = [&hosts.one, &hosts.two].map(|daemon| Some(Running::start(daemon, &args)));
    wait_until("both have met one", || {
        traffic::ping(&a.ns, &b.ca, 1);
        met.iter_mut().flatten().all(|trace| !trace.runs())
    });
    let [out, arrived] = met.map(|trace| {
        let output = trace.expect("it ran").end();
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("one line of JSON")
    });
    assert_eq!(lines(&out), pairs(&WAY_OUT), "{out}");
    assert_eq!(lines(&arrived), pairs(&WAY_IN), "{arrived}");
    assert_eq!(
        (&out["verdict"], &arrived["verdict"]),
        (&"sent".into(), &"delivered".into())
    );
    let sentences = format!("{out}{arrived}");
    for said in [
        "10.1.0.11 is one of the vNIC's addresses",
        "02:00:00:00:01:02 in subnet blue-web (VSID 5001) is behind host h2 at 192.168.50.2",
        "outer headers to host h2 at 192.168.50.2, subnet blue-web (VSID 5001)",
        "NVGRE from host h1 at 192.168.50.1 for subnet blue-web (VSID 5001); 42 bytes come off",
        "vnic b, here",
    ] {
        assert!(sentences.contains(said), "{said}: {sentences}");
    }

    // Imagined: the same way, and nobody counts it.
    // The neighbours are asked now and then, which the imagined packets have nothing to do with.
    let counted = |daemon: &Daemon| (daemon.standstill(), daemon.stats().vnics, daemon.drops());
    let still = counted(&hosts.one);
    let imagine = |daemon: &Daemon, args: &[&str]| daemon.json(&[&["trace"], args].concat());
    let out = imagine(&hosts.one, &["--vnic", "a", "--to", &b.ca]);
    assert_eq!(lines(&out), pairs(&WAY_OUT), "{out}");
    assert_eq!(out["imagined"], true);
    // What leaves is what the other host is shown; there it arrives as it was.
    let wire = bytes(&out, "uplink-tx");
    let arrived = imagine(&hosts.two, &["--uplink", "up0", "--packet", wire]);
    assert_eq!(lines(&arrived), pairs(&WAY_IN), "{arrived}");
    assert_eq!(bytes(&arrived, "vnic-tx"), bytes(&out, "vnic-rx"));

    let ends = |args: &[&str], verdict: &str, reason: Option<&str>, said: &str| {
        let trace = imagine(&hosts.one, &[&["--vnic", "a"], args].concat());
        assert_eq!(trace["verdict"], verdict, "{args:?}: {trace}");
        assert_eq!(trace["reason"].as_str(), reason, "{args:?}: {trace}");
        assert!(
            trace.to_string().contains(said),
            "{args:?}: {said}: {trace}"
        );
    };
    ends(
        &["--to", "10.1.0.13", "--udp", "53"],
        "delivered",
        None,
        "vnic c, here",
    );
    ends(
        &["--to", "10.1.0.1"],
        "answered",
        None,
        "the switch answers",
    );
    ends(
        &["--to", "10.1.0.12", "--arp"],
        "answered",
        None,
        "02:00:00:00:01:02 for 10.1.0.12",
    );
    ends(
        &["--to", "10.1.0.77", "--mac", "02:00:00:00:07:07"],
        "dropped",
        Some("no_record"),
        "no vNIC of subnet blue-web (VSID 5001) has 02:00:00:00:07:07",
    );
    ends(
        &["--to", "10.1.0.12", "--src", "10.1.0.99", "--tcp", "80"],
        "dropped",
        Some("spoofed_ip"),
        "allowed_sources",
    );
    ends(
        &["--to", "8.8.8.8"],
        "dropped",
        Some("no_route"),
        "blue has no route to 8.8.8.8",
    );
    ends(
        &["--to", "8.8.8.8"],
        "dropped",
        Some("no_route"),
        "ICMP type 3, code 0",
    );
    ends(
        &["--to", "10.1.0.12", "--size", "1590", "--df"],
        "dropped",
        Some("too_big"),
        "ICMP type 3, code 4",
    );
    ends(
        &["--to", "10.1.0.12", "--size", "1590"],
        "sent",
        None,
        "cut into fragments",
    );
    ends(
        &["--to", "255.255.255.255", "--udp", "9"],
        "copied",
        None,
        "to the other members",
    );
    ends(
        &["--to", "fd00::12", "--tcp", "443"],
        "sent",
        None,
        "fd00::11 is one of the vNIC's addresses",
    );
    ends(&["--to", "fd00::1"], "answered", None, "the switch answers");
    ends(
        &["--to", "2001:db8::1"],
        "dropped",
        Some("no_route"),
        "blue has no route to 2001:db8::1",
    );
    // For people: the same in words, with the bytes.
    let output = hosts
        .one
        .weir(&["trace", "--vnic", "a", "--to", &b.ca, "--ttl", "9"]);
    let words = text(&output.stdout);
    assert!(output.status.success());
    assert!(
        words.contains("nothing was counted") && words.ends_with("verdict: sent\n"),
        "{words}"
    );
    assert!(
        words.contains("     0000  02 00 00 00 01 02 02 00  00 00 01 01 08 00 45 00"),
        "{words}"
    );
    for (args, word) in [
        (&["--vnic", "a", "--to", "10.1.0.77"][..], "--arp"),
        (
            &["--vnic", "a", "--to", "10.1.0.12", "--src", "fd00::1"],
            "two families",
        ),
        (
            &["--vnic", "nobody", "--to", "10.1.0.12"],
            "not on this host",
        ),
        (&["--vnic", "a", "--packet", "0g"], "hexadecimal"),
        (
            &["--vnic", "a", "--to", "10.1.0.12", "--size", "20"],
            "no room",
        ),
    ] {
        let output = hosts.one.weir(&[&["trace"], args].concat());
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(
            text(&output.stderr).contains(word),
            "{args:?}: {}",
            text(&output.stderr)
        );
    }
    assert_eq!(still, counted(&hosts.one), "nothing was counted");
    world.finish([hosts.one, hosts.two]);
}
