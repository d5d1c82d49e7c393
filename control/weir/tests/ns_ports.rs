//! Every kind of port, as vNIC and as trunk, added and removed while the daemon runs and while a neighbour's traffic
//! flows. Where a peer can be behind it, packets pass: kernels behind af_packet and tap, DPDK's testpmd in icmpecho
//! mode behind memif and vhost-user, files behind pcap. Ring and null have none: their counters are the proof.

mod world;

use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::Duration;
use world::frames::{self, IPV4};
use world::traffic::{self, Load};
use world::{Daemon, HostToml, Policy, Vm, World, wait_until};

const PORT_MAC: &str = "02:00:00:00:01:50";
const PORT_OCTETS: [u8; 6] = [2, 0, 0, 0, 1, 0x50];
const PORT_CA: &str = "10.1.0.50";

/// One host, its VMs `a` and `b`, which talk all the time; the vNIC `p` comes and goes beside them.
struct Bench {
    daemon: Daemon,
    a: Vm,
    base: Policy,
    steady: Load,
}

impl Bench {
    fn new(world: &mut World, more: &str) -> Bench {
        let h1 = world.ns("h1");
        let a = world.vm(&h1, "a", [2, 0, 0, 0, 1, 1], "10.1.0.11/24");
        let b = world.vm(&h1, "b", [2, 0, 0, 0, 1, 2], "10.1.0.12/24");
        let base = Policy::default()
            .host("h1", "192.168.50.1")
            .tenant("blue", 5001, "10.1.0.0/24");
        let base = base.vm(&a, "h1", "blue", 1).vm(&b, "h1", "blue", 2);
        let mut host = HostToml::new("h1", "192.168.50.1/24", 0);
        // A host of one: its uplink leads nowhere.
        host.uplink = "device = \"net_null0,no-rx=1\"\nprovider_addresses = [\"192.168.50.1/24\"]\nmac = \"02:bb:00:00:00:01\"\n".into();
        host.more = more.into();
        let daemon = world.daemon(&h1, &host, &base);
        let steady = Load::start(&a.ns, &b.ns, &b.ca, "steady", Duration::from_millis(2));
        Bench {
            daemon,
            a,
            base,
            steady,
        }
    }

    fn with(&self, attach: &str) -> Policy {
        self.base
            .clone()
            .vnic("p", "h1", "blue", PORT_MAC, PORT_CA, attach)
    }

    /// Adds `p`, does `work`, removes it; twice, so that what was closed can be opened again.
    fn twice(&self, attach: &str, mut work: impl FnMut(usize)) {
        for round in 0..2 {
            let report = self.daemon.apply(&self.with(attach));
            assert_eq!(report.added, ["vnic p"]);
            work(round);
            self.steps();
            let report = self.daemon.apply(&self.base);
            assert_eq!(report.removed, ["vnic p"]);
            assert!(!self.daemon.weir(&["get", "vnic", "p"]).status.success());
            self.steps();
        }
    }

    fn steps(&self) {
        let so_far = self.steady.arrived.load(Ordering::Relaxed);
        wait_until("the neighbours talk on", || {
            self.steady.arrived.load(Ordering::Relaxed) > so_far + 10
        });
    }

    /// Pings `p` until the peer is there, then ten times without a loss.
    fn ping(&self) {
        wait_until("the peer behind the port answers", || {
            traffic::ping(&self.a.ns, PORT_CA, 1) == 1
        });
        let before = self.daemon.vnic("p");
        traffic::reaches(&self.a.ns, PORT_CA);
        let after = self.daemon.vnic("p");
        assert!(
            after.tx_packets >= before.tx_packets + 10
                && after.rx_packets >= before.rx_packets + 10,
            "{after:?}"
        );
    }

    /// The neighbours have lost nothing; everything has an end; the daemon ends well.
    fn end(self, world: World) {
        let done = self.steady.end();
        assert_eq!((done.received, done.strange), (done.sent, 0), "{done:?}");
        world.finish([self.daemon]);
    }
}

/// Whether there is memory that two processes can share; says so where there is not.
fn can_share() -> bool {
    if world::free_hugepages() < 100 {
        world::skipped(
            "needs 100 free hugepages of 2 MB for shared memory: echo 256 > /proc/sys/vm/nr_hugepages",
        );
        return false;
    }
    true
}

/// A host, and memory that it can share with a testpmd beside it; none where that cannot be.
fn with_testpmd() -> Option<(World, Bench)> {
    let mut world = World::new(&["dpdk-testpmd"])?;
    if !can_share() {
        return None;
    }
    let bench = Bench::new(&mut world, "");
    Some((world, bench))
}

#[test]
fn af_packet() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let bench = Bench::new(&mut world, "");
    let p = world.vm(&bench.daemon.ns.clone(), "p", PORT_OCTETS, "10.1.0.50/24");
    bench.twice("net_af_packet3,iface=p", |_| {
        bench.ping();
        traffic::tcp(&bench.a.ns, &p.ns, PORT_CA, 1, 1 << 20);
    });
    // An interface that goes away while it is used: counted or quiet, never a crash; and the port can be closed.
    bench.daemon.apply(&bench.with("net_af_packet4,iface=p"));
    bench.ping();
    bench.daemon.ns.ip("link del dev p");
    traffic::ping(&bench.a.ns, PORT_CA, 3);
    bench.daemon.apply(&bench.base);
    bench.end(world);
}

/// net_af_packet (22.11) numbers its socket's group by process and interface, and so may another daemon in this namespace for another
/// interface: pids follow each other as interfaces do.
#[test]
fn another_process_has_the_group_of_its_packet_socket() {
    let Some(mut world) = World::new(&["perl"]) else {
        return;
    };
    let bench = Bench::new(&mut world, "");
    let h1 = bench.daemon.ns.clone();
    let p = world.vm(&h1, "p", PORT_OCTETS, "10.1.0.50/24");
    let index = |name: &str| -> u32 {
        let shown = h1.must(&format!("ip -o link show {name}"));
        let (index, _) = shown.split_once(':').expect("INDEX: NAME");
        index.parse().expect("a number")
    };
    // sockaddr_ll (packet(7)): AF_PACKET 17, ETH_P_ALL 3. SOL_PACKET 263, PACKET_FANOUT 18, of another interface than the driver's,
    // by round robin.
    let group = (bench.daemon.pid() ^ index("p")) & 0xffff | 1 << 16;
    let script = format!(
        "my $s; socket($s, 17, 3, 0x300) && bind($s, pack('SnlSCCa8', 17, 3, {}, 0, 0, 0, '')) && setsockopt($s, 263, 18, pack('L', {group})) or die $!;
         syswrite(STDOUT, \"held\"); sleep 600",
        index("lo")
    );
    let mut holder = h1.command("perl");
    let mut holder = holder
        .args(["-e", &script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("perl");
    let mut said = [0; 4];
    let told = holder.stdout.as_mut().map(|out| out.read_exact(&mut said));
    assert!(matches!(told, Some(Ok(()))), "perl has the group");
    bench.twice("net_af_packet3,iface=p", |_| {
        bench.ping();
        traffic::tcp(&bench.a.ns, &p.ns, PORT_CA, 1, 1 << 20);
    });
    assert!(bench.daemon.log().contains("PACKET_FANOUT"), "it was taken");
    holder.kill().expect("it is there");
    holder.wait().expect("it ends");
    bench.end(world);
}

#[test]
fn tap() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    if !Path::new("/dev/net/tun").exists() {
        return world::skipped("needs /dev/net/tun");
    }
    let bench = Bench::new(&mut world, "");
    bench.twice("tap:ptap", |_| {
        // The interface appears in the daemon's namespace, whose kernel is the VM here.
        let ns = &bench.daemon.ns;
        // It shall not answer at the interfaces that lead to other VMs.
        ns.sysctl("net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.arp_ignore=1");
        ns.ip(&format!("link set dev ptap address {PORT_MAC} up"));
        ns.ip("addr add 10.1.0.50/24 dev ptap");
        bench.ping();
        traffic::tcp(&bench.a.ns, ns, PORT_CA, 1, 1 << 20);
    });
    let shown = bench.daemon.ns.try_run("ip link show ptap");
    assert!(!shown.status.success(), "the tap interface is still there");
    bench.end(world);
}

#[test]
fn memif() {
    let Some((world, bench)) = with_testpmd() else {
        return;
    };
    let socket = world.path("p.memif");
    let peer = format!(
        "net_memif0,role=client,id=0,socket={},socket-abstract=no",
        socket.display()
    );
    bench.twice(&format!("memif:{}", socket.display()), |_| {
        for _ in 0..2 {
            // The peer may restart: the socket takes the next one.
            let _peer = world.testpmd(&bench.daemon.ns, "memif", &[&peer], "icmpecho");
            bench.ping();
        }
    });
    bench.end(world);
}

#[test]
fn vhost_user_server() {
    let Some((world, bench)) = with_testpmd() else {
        return;
    };
    let socket = world.path("p.vhost");
    let peer = format!(
        "net_virtio_user0,path={},queues=1,queue_size=256",
        socket.display()
    );
    bench.twice(&format!("vhost-user-server:{}", socket.display()), |_| {
        assert!(socket.exists());
        for _ in 0..2 {
            let _peer = world.testpmd(&bench.daemon.ns, "virtio", &[&peer], "icmpecho");
            bench.ping();
        }
    });
    assert!(!socket.exists(), "its socket is still there");
    bench.end(world);
}

#[test]
fn vhost_user_client() {
    let Some((world, bench)) = with_testpmd() else {
        return;
    };
    let socket = world.path("p.vhost");
    let peer = format!(
        "net_virtio_user0,path={},queues=1,queue_size=256,server=1",
        socket.display()
    );
    bench.twice(&format!("vhost-user:{}", socket.display()), |_| {
        for _ in 0..2 {
            // The other side listens, and may restart: we connect again.
            let _peer = world.testpmd(&bench.daemon.ns, "virtio", &[&peer], "icmpecho");
            bench.ping();
            drop(_peer);
            let _ = std::fs::remove_file(&socket);
        }
    });
    bench.end(world);
}

/// A pcap file of these frames.
fn pcap(path: &Path, frames: &[Vec<u8>]) {
    let mut bytes: Vec<u8> = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    for frame in frames {
        let length = frame.len() as u32;
        bytes.extend(
            [1, 0, length, length]
                .iter()
                .flat_map(|word: &u32| word.to_ne_bytes()),
        );
        bytes.extend(frame);
    }
    std::fs::write(path, bytes).expect("a capture");
}

#[test]
fn pcap_files() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let bench = Bench::new(&mut world, "");
    let (from, to) = (world.path("from.pcap"), world.path("to.pcap"));
    let said = |word: &str| {
        let packet = frames::udp(
            (PORT_CA.parse().unwrap(), 5),
            (bench.a.ca.parse().unwrap(), 6),
            word.as_bytes(),
        );
        frames::ethernet(bench.a.mac, PORT_OCTETS, IPV4, &packet)
    };
    pcap(
        &from,
        &(0..40)
            .map(|i| said(&format!("from a file {i}.")))
            .collect::<Vec<_>>(),
    );
    let ear = bench.a.raw();
    bench.twice(
        &format!(
            "net_pcap3,rx_pcap={},tx_pcap={}",
            from.display(),
            to.display()
        ),
        |round| {
            let heard = ear.wait("the file's last frame", |frame| {
                frames::says(frame, "from a file 39.")
            });
            assert_eq!(
                heard
                    .iter()
                    .filter(|frame| frames::says(frame, "from a file"))
                    .count(),
                40
            );
            ear.send(&frames::marked(
                PORT_OCTETS,
                bench.a.mac,
                &format!("into a file {round}"),
            ));
            wait_until("it is delivered", || bench.daemon.vnic("p").tx_packets >= 1);
            assert_eq!(bench.daemon.vnic("p").rx_packets, 40);
        },
    );
    let written = std::fs::read(&to).expect("the file");
    assert!(frames::says(&written, "into a file 1"));
    bench.end(world);
}

#[test]
fn ring_and_null() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let bench = Bench::new(&mut world, "");
    let mouth = bench.a.raw();
    // A ring gives back what it was given: frames of a, which p may not send.
    bench.twice("net_ring3", |_| {
        let before = bench.daemon.dropped("spoofed_mac");
        for _ in 0..10 {
            mouth.send(&frames::marked(PORT_OCTETS, bench.a.mac, "round and round"));
        }
        wait_until("all ten came back and were refused", || {
            bench.daemon.dropped("spoofed_mac") == before + 10
        });
        let p = bench.daemon.vnic("p");
        assert_eq!(
            (p.tx_packets, p.rx_packets, p.dropped),
            (10, 10, 10),
            "{p:?}"
        );
    });
    // A sink takes.
    bench.twice("net_null3,no-rx=1", |_| {
        for _ in 0..10 {
            mouth.send(&frames::marked(PORT_OCTETS, bench.a.mac, "down the sink"));
        }
        wait_until("all ten are taken", || {
            bench.daemon.vnic("p").tx_packets == 10
        });
        assert_eq!(bench.daemon.vnic("p").rx_packets, 0);
    });
    // A source of frames from nobody: each is refused.
    bench.twice("net_null4,size=64,copy=1", |_| {
        wait_until("it pours", || bench.daemon.vnic("p").rx_packets > 10_000);
        let p = bench.daemon.vnic("p");
        assert_eq!(p.tx_packets, 0);
        assert!(p.dropped > 10_000 && bench.daemon.dropped("spoofed_mac") > 10_000);
    });
    // The source starves nobody for good, but two cores are two cores: what was lost there is not looked at.
    let Bench { daemon, steady, .. } = bench;
    steady.end();
    world.finish([daemon]);
}

#[test]
fn a_trunk_by_mac() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let bench_ns = "[[trunk]]\nname = \"vms\"\ndevice = \"net_af_packet9,iface=vms\"\n";
    // The trunk's interface has to be there before the daemon; its namespace is the first that the bench makes.
    let h1 = world.ns("h1");
    let below = world.ns("below");
    world.veth((&h1, "vms"), (&below, "eth0"), 1500);
    below.must("ethtool -K eth0 tso off gso off gro off tx off");
    let a = world.vm(&h1, "a", [2, 0, 0, 0, 1, 1], "10.1.0.11/24");
    // Two VMs on one port: macvlan in VEPA mode sends everything, also to each other, through the switch.
    let members: Vec<Vm> = [(0x51_u8, "t1"), (0x52, "t2")]
        .into_iter()
        .map(|(last, name)| {
            let ns = world.ns(name);
            must_macvlan(&below.name, &ns.name);
            let mac = [2, 0, 0, 0, 1, last];
            World::ready_eth0(&ns, mac, &format!("10.1.0.{last}/24"));
            ns.must("ethtool -K eth0 tx off");
            ns.ip("link set dev eth0 up");
            Vm {
                ns,
                tap: name.into(),
                mac,
                ca: format!("10.1.0.{last}"),
            }
        })
        .collect();
    let base = Policy::default()
        .host("h1", "192.168.50.1")
        .tenant("blue", 5001, "10.1.0.0/24")
        .vm(&a, "h1", "blue", 1);
    let mut host = HostToml::new("h1", "192.168.50.1/24", 0);
    host.uplink = "device = \"net_null0,no-rx=1\"\nprovider_addresses = [\"192.168.50.1/24\"]\nmac = \"02:bb:00:00:00:01\"\n".into();
    host.more = bench_ns.into();
    let daemon = world.daemon(&h1, &host, &base);
    let full = members.iter().fold(base.clone(), |policy, vm| {
        policy.vnic(&vm.tap, "h1", "blue", &vm.mac(), &vm.ca, "trunk:vms")
    });
    for _ in 0..2 {
        daemon.apply(&full);
        for vm in &members {
            traffic::reaches(&a.ns, &vm.ca);
            traffic::reaches(&vm.ns, &a.ca);
        }
        traffic::reaches(&members[0].ns, &members[1].ca);
        traffic::tcp(&members[0].ns, &a.ns, &a.ca, 1, 1 << 20);
        let shown: Vec<u64> = members
            .iter()
            .map(|vm| daemon.vnic(&vm.tap).rx_packets)
            .collect();
        assert!(shown.iter().all(|&packets| packets >= 20), "{shown:?}");
        // One goes; its frames are nobody's, and the other stays.
        assert!(daemon.weir(&["delete", "vnic", "t2"]).status.success());
        let before = daemon.dropped("trunk_unknown");
        members[1]
            .raw()
            .send(&frames::marked(a.mac, members[1].mac, "nobody"));
        wait_until("it is nobody's", || {
            daemon.dropped("trunk_unknown") > before
        });
        traffic::reaches(&members[0].ns, &a.ca);
        daemon.apply(&base);
    }
    world.finish([daemon]);
}

fn must_macvlan(below: &str, ns: &str) {
    world::must(&format!("ip -n {below} link set dev eth0 promisc on"));
    world::must(&format!(
        "ip -n {below} link add name mv0 link eth0 type macvlan mode vepa"
    ));
    world::must(&format!("ip -n {below} link set dev mv0 netns {ns}"));
    world::must(&format!("ip -n {ns} link set dev mv0 name eth0"));
}

#[test]
fn a_trunk_by_vlan_keeps_tenants_with_the_same_addresses_apart() {
    let Some(mut world) = World::new(&["dpdk-testpmd"]) else {
        return;
    };
    if !can_share() {
        return;
    }
    let socket = world.path("trunk.memif");
    let h1 = world.ns("h1");
    let tenants = [("blue", 5001, 10), ("red", 6001, 20)];
    let vms = tenants.map(|(tenant, _, _)| {
        world.vm(
            &h1,
            &format!("{tenant}1"),
            [2, 0, 0, 0, 1, 1],
            "10.1.0.11/24",
        )
    });
    let mut policy = Policy::default().host("h1", "192.168.50.1");
    for (number, ((tenant, vsid, vlan), vm)) in tenants.into_iter().zip(&vms).enumerate() {
        policy = policy
            .tenant(tenant, vsid, "10.1.0.0/24")
            .vm(vm, "h1", tenant, 1 + number as u32);
        policy = policy.vnic(
            &format!("{tenant}9"),
            "h1",
            tenant,
            PORT_MAC,
            PORT_CA,
            &format!("trunk:vms/{vlan}"),
        );
    }
    let mut host = HostToml::new("h1", "192.168.50.1/24", 0);
    host.uplink = "device = \"net_null0,no-rx=1\"\nprovider_addresses = [\"192.168.50.1/24\"]\nmac = \"02:bb:00:00:00:01\"\n".into();
    host.more = format!(
        "[[trunk]]\nname = \"vms\"\ndevice = \"memif:{}\"\nby = \"vlan\"\n",
        socket.display()
    );
    let daemon = world.daemon(&h1, &host, &policy);
    // testpmd answers in the VLAN in which it was asked: an answer in the wrong one, or in none, would be nobody's.
    let peer = format!(
        "net_memif0,role=client,id=0,socket={},socket-abstract=no",
        socket.display()
    );
    let _peer = world.testpmd(&h1, "trunk", &[&peer], "icmpecho");
    for (vm, (tenant, _, _)) in vms.iter().zip(tenants) {
        wait_until("the peer behind the trunk answers", || {
            traffic::ping(&vm.ns, PORT_CA, 1) == 1
        });
        let names = [
            format!("{tenant}9"),
            format!("{}9", if tenant == "blue" { "red" } else { "blue" }),
        ];
        let before = names.clone().map(|name| daemon.vnic(&name));
        traffic::reaches(&vm.ns, PORT_CA);
        let after = names.map(|name| daemon.vnic(&name));
        assert_eq!(
            (
                after[0].rx_packets - before[0].rx_packets,
                after[1].rx_packets - before[1].rx_packets
            ),
            (10, 0),
            "{after:?}"
        );
    }
    assert_eq!(daemon.dropped("trunk_unknown"), 0, "{:?}", daemon.drops());
    drop(_peer);
    world.finish([daemon]);
}

#[test]
fn an_uplink_of_memif_between_two_switches() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    if !can_share() {
        return;
    }
    let (h1, h2) = (world.ns("h1"), world.ns("h2"));
    let a = world.vm(&h1, "a", [2, 0, 0, 0, 1, 1], "10.1.0.11/24");
    let c = world.vm(&h2, "c", [2, 0, 0, 0, 1, 2], "10.1.0.12/24");
    let policy = Policy::two_hosts()
        .tenant("blue", 5001, "10.1.0.0/24")
        .vm(&a, "h1", "blue", 1)
        .vm(&c, "h2", "blue", 1);
    let socket = world.path("wire.memif").display().to_string();
    let uplink = |host: u32, device: &str| {
        let mut toml = HostToml::new(
            &format!("h{host}"),
            &format!("192.168.50.{host}/24"),
            host - 1,
        );
        toml.uplink =
            format!("device = \"{device}\"\nprovider_addresses = [\"192.168.50.{host}/24\"]\n");
        toml
    };
    let one = world.daemon(&h1, &uplink(1, &format!("memif:{socket}")), &policy);
    let two = world.daemon(
        &h2,
        &uplink(
            2,
            &format!("net_memif5,role=client,id=0,socket={socket},socket-abstract=no"),
        ),
        &policy,
    );
    one.wait_resolved();
    two.wait_resolved();
    // memif has an MTU of 1,500: the VM's is lowered by the outer headers' 42.
    for vm in [&a, &c] {
        vm.ns.ip("link set dev eth0 mtu 1458");
    }
    traffic::reaches(&a.ns, &c.ca);
    traffic::reaches(&c.ns, &a.ca);
    traffic::tcp(&a.ns, &c.ns, &c.ca, 1, 1 << 20);
    world.finish([one, two]);
}
