//! Open vSwitch with DPDK is the far host. It takes our NVGRE, whatever its FlowID, and answers with NVGRE of its
//! own (FlowID 0): kernels of two tenants with the same addresses, one side behind Weir and one behind Open vSwitch, over a
//! provider network of IPv4 and over one of IPv6.

mod world;

use std::path::PathBuf;
use std::process::Command;
use world::peers::{Peer, tshark, wait_captured};
use world::{HostToml, Ns, Policy, Vm, World, must, text, traffic, wait_for};

/// Debian's Open vSwitch that is linked with DPDK.
const VSWITCHD: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// A running Open vSwitch: its own database and its own switch, in a folder and a namespace of their own.
struct Ovs {
    folder: PathBuf,
    _switch: Peer,
    _database: Peer,
}

impl Ovs {
    fn start(world: &World, ns: &Ns) -> Ovs {
        let folder = world.path("ovs");
        std::fs::create_dir_all(&folder).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        must(&format!("ovsdb-tool create {} {SCHEMA}", at("conf.db")));
        let own = |program: &str| {
            let mut command = ns.command("env");
            for name in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"] {
                command.arg(format!("{name}={}", folder.display()));
            }
            command.arg(program);
            command
        };
        let mut server = own("ovsdb-server");
        server.args([
            at("conf.db"),
            format!("--remote=punix:{}", at("db.sock")),
            format!("--unixctl={}", at("db.ctl")),
        ]);
        let database = Peer::start("ovsdb-server", &world.path("ovsdb.log"), &mut server);
        wait_for("the database's socket", || {
            folder.join("db.sock").exists().then_some(())
        });
        let mut ovs = Ovs {
            folder: folder.clone(),
            _switch: database,
            _database: Peer::start("true", &world.path("none.log"), &mut Command::new("true")),
        };
        ovs.vsctl("--no-wait init");
        // Open vSwitch wants hugepages (it adds --in-memory, which excludes --no-huge): as few as it starts with.
        for setting in [
            "dpdk-init=true",
            "dpdk-extra=\"--no-pci --no-telemetry\"",
            "dpdk-socket-limit=\"128\"",
            "pmd-cpu-mask=2",
        ] {
            ovs.vsctl_args(&[
                "--no-wait",
                "set",
                "Open_vSwitch",
                ".",
                &format!("other_config:{setting}"),
            ]);
        }
        let mut switch = own(VSWITCHD);
        switch
            .arg(format!("unix:{}", at("db.sock")))
            .arg(format!("--unixctl={}", at("switch.ctl")));
        let switch = Peer::start(
            "ovs-vswitchd-dpdk",
            &world.path("vswitchd.log"),
            &mut switch,
        );
        ovs._database = std::mem::replace(&mut ovs._switch, switch);
        wait_for("Open vSwitch with DPDK", || {
            (ovs.vsctl("get Open_vSwitch . dpdk_initialized").trim() == "true").then_some(())
        });
        ovs
    }

    fn vsctl(&self, line: &str) -> String {
        self.vsctl_args(&line.split_whitespace().collect::<Vec<_>>())
    }

    fn vsctl_args(&self, args: &[&str]) -> String {
        let mut command = Command::new("ovs-vsctl");
        command
            .arg(format!("--db=unix:{}/db.sock", self.folder.display()))
            .arg("--timeout=30")
            .args(args);
        let output = command.output().expect("ovs-vsctl");
        assert!(
            output.status.success(),
            "ovs-vsctl {args:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    fn flow(&self, flow: &str) {
        must(&format!(
            "ovs-ofctl add-flow unix:{}/br-int.mgmt {flow}",
            self.folder.display()
        ));
    }
}

/// The provider network's family: our PA, the far one, and what Open vSwitch calls the tunnel's ends.
struct Family {
    ours: &'static str,
    theirs: &'static str,
    length: u8,
    source: &'static str,
    destination: &'static str,
}

#[test]
fn open_vswitch_with_dpdk_takes_our_nvgre_and_answers() {
    both_ways(&Family {
        ours: "192.168.50.1",
        theirs: "192.168.50.2",
        length: 24,
        source: "tun_src",
        destination: "tun_dst",
    });
}

#[test]
fn open_vswitch_with_dpdk_takes_our_nvgre_over_ipv6_and_answers() {
    both_ways(&Family {
        ours: "fd00:50::1",
        theirs: "fd00:50::2",
        length: 64,
        source: "tun_ipv6_src",
        destination: "tun_ipv6_dst",
    });
}

fn both_ways(family: &Family) {
    let Family {
        ours,
        theirs,
        length,
        source,
        destination,
    } = *family;
    let Some(mut world) = World::new(&[
        "ovs-vsctl",
        "ovsdb-server",
        "ovs-ofctl",
        "tcpdump",
        "tshark",
    ]) else {
        return;
    };
    if !std::path::Path::new(VSWITCHD).exists() {
        return world::skipped("needs Debian's openvswitch-switch-dpdk; scripts/test installs it");
    }
    if world::free_hugepages() < 80 {
        return world::skipped(
            "needs 80 free hugepages of 2 MB for Open vSwitch: echo 256 > /proc/sys/vm/nr_hugepages",
        );
    }
    let (h1, far) = world.two_hosts();
    let macs = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]];
    let tenants = [("blue", 5001_u32), ("red", 6001)];
    let mut policy = Policy::default().host("h1", ours).host("h2", theirs);
    let mut pairs: Vec<[Vm; 2]> = Vec::new();
    for (number, (tenant, vsid)) in tenants.into_iter().enumerate() {
        let one = world.vm(&h1, &format!("{tenant}1"), macs[0], "10.1.0.11/24");
        let two = world.vm(&far, &format!("{tenant}2"), macs[1], "10.1.0.12/24");
        for vm in [&one, &two] {
            // Open vSwitch's af_packet has no more than 1,500 bytes on the wire, and finishes no checksum.
            vm.ns.ip("link set dev eth0 mtu 1400");
            vm.ns.must("ethtool -K eth0 tx off");
        }
        policy =
            policy
                .tenant(tenant, vsid, "10.1.0.0/24")
                .vm(&one, "h1", tenant, 1 + number as u32);
        policy = policy.vnic(&two.tap, "h2", tenant, &two.mac(), &two.ca, "");
        pairs.push([one, two]);
    }

    let ovs = Ovs::start(&world, &far);
    ovs.vsctl("add-br br-phy -- set bridge br-phy datapath_type=netdev other_config:hwaddr=02:bb:00:00:00:02");
    ovs.vsctl("add-port br-phy up0 -- set interface up0 type=dpdk options:dpdk-devargs=net_af_packet0,iface=up0");
    if length == 64 {
        far.sysctl("net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.br-phy.disable_ipv6=0 net.ipv6.conf.br-phy.accept_dad=0 net.ipv6.conf.br-phy.router_solicitations=0");
    }
    far.ip(&format!("addr add {theirs}/{length} dev br-phy"));
    far.ip("link set dev br-phy up");
    ovs.vsctl("add-br br-int -- set bridge br-int datapath_type=netdev fail-mode=secure");
    ovs.vsctl("add-port br-int gre0 -- set interface gre0 type=gre options:remote_ip=flow options:key=flow ofport_request=1");
    for (number, (tenant, vsid)) in tenants.into_iter().enumerate() {
        let port = 10 + number;
        let name = format!("{tenant}2");
        ovs.vsctl(&format!(
            "add-port br-int {name} -- set interface {name} type=dpdk options:dpdk-devargs=net_af_packet{port},iface={name} ofport_request={port}"
        ));
        // In: any FlowID of that VSID, from our PA. Out: the VSID with FlowID 0, to our PA.
        let key = vsid << 8;
        ovs.flow(&format!(
            "in_port=1,{source}={ours},tun_id={key:#x}/0xffffff00,actions=output:{port}"
        ));
        ovs.flow(&format!("in_port={port},actions=set_field:{key:#x}->tun_id,set_field:{ours}->{destination},output:1"));
    }
    let errors = ovs.vsctl("--bare --columns=name,error find interface error!=[]");
    assert_eq!(errors.trim(), "", "Open vSwitch could not open a port");

    let file = world.path("from-ovs.pcap");
    let mut tap = world.tcpdump(&h1, "up0", &file);
    let host = HostToml::new("h1", &format!("{ours}/{length}"), 0);
    let one = world.daemon(&h1, &host, &policy);
    one.wait_resolved();
    assert_eq!(
        one.json(&["get", "peer", theirs])[0]["status"]["mac"],
        "02:bb:00:00:00:02"
    );

    // Open vSwitch learns flows and our MAC by the first packets and may lose them; then every one is answered.
    for [near, distant] in &pairs {
        wait_for("a first ping each way", || {
            (traffic::ping(&near.ns, &distant.ca, 1) == 1
                && traffic::ping(&distant.ns, &near.ca, 1) == 1)
                .then_some(())
        });
        assert_eq!(
            traffic::ping(&near.ns, &distant.ca, 20),
            20,
            "Weir to Open vSwitch: {:?}",
            one.drops()
        );
        assert_eq!(
            traffic::ping(&distant.ns, &near.ca, 20),
            20,
            "Open vSwitch to Weir: {:?}",
            one.drops()
        );
    }
    // The same addresses in both tenants: who answers says who they are. Many flows, so many FlowIDs.
    let speakers: Vec<traffic::Says> = tenants
        .iter()
        .zip(&pairs)
        .map(|((name, _), [_, two])| traffic::Says::start(&two.ns, &two.ca, 7001, name, name))
        .collect();
    for ((name, _), [near, distant]) in tenants.iter().zip(&pairs) {
        for _ in 0..16 {
            let socket = traffic::udp_socket(&near.ns, &near.ca, 0);
            assert_eq!(&traffic::udp_ask(&socket, &distant.ca, 7001, name), name);
        }
    }
    assert!(
        speakers
            .iter()
            .all(|speaker| speaker.strange.load(std::sync::atomic::Ordering::Relaxed) == 0)
    );
    drop(speakers);
    for ([near, distant], tag) in pairs.iter().zip(1..) {
        traffic::tcp(&near.ns, &distant.ns, &distant.ca, tag, 500_000);
    }
    // What Open vSwitch sent was NVGRE with FlowID 0, one VSID a tenant.
    wait_captured(&file, "gre", 100);
    tap.end();
    let keys = tshark(
        &file,
        &["-Y", "gre && icmp", "-T", "fields", "-e", "gre.key"],
    );
    let keys: std::collections::BTreeSet<&str> = keys.lines().collect();
    assert_eq!(
        keys.into_iter().collect::<Vec<_>>(),
        ["0x00138900", "0x00177100"]
    );
    let drops: Vec<_> = one
        .drops()
        .into_iter()
        .filter(|row| {
            row.reason.starts_with("gre_")
                || row.reason.starts_with("inner_")
                || row.reason == "unknown_vsid"
        })
        .collect();
    assert!(drops.is_empty(), "{drops:?}");
    drop(ovs);
    if length == 64 {
        far.sysctl("net.ipv6.conf.all.disable_ipv6=1");
    }
    world.finish([one]);
}
