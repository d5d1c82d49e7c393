//! Values that are refused: what cannot be, and what this version does not carry.

mod policy_cases;

use policy_cases::{Case, case, check};

/// For a change inside quotation marks: the comment goes behind them.
trait Quoted {
    fn quoted(self) -> Case;
}

impl Quoted for Case {
    /// For a change inside quotation marks: the comment goes behind them.
    fn quoted(mut self) -> Case {
        let to = self.to.replace(" # HERE", "\" # HERE\n#\"");
        self.to = to.leak();
        self
    }
}

#[test]
fn values_that_cannot_be() {
    check(vec![
        case(
            "vsid = 5002",
            "vsid = 4095 # HERE",
            "subnet blue-db",
            "4095 is reserved (RFC 7637 §3.4)",
            "4096 to",
        ),
        case(
            "vsid = 5002",
            "vsid = 0 # HERE",
            "subnet blue-db",
            "0 is reserved",
            "4096 to 16777214",
        ),
        case(
            "vsid = 5002",
            "vsid = 16777215 # HERE",
            "subnet blue-db",
            "for vendors",
            "4096 to 16777214",
        ),
        case(
            "vsid = 5002",
            "vsid = 16777216 # HERE",
            "subnet blue-db",
            "not of 24 bits",
            "4096 to 16777214",
        ),
        case(
            "vsid = 5002",
            "vsid = -5 # HERE",
            "subnet blue-db",
            "not of 24 bits",
            "4096 to 16777214",
        ),
        case(
            "vsid = 5002",
            "vsid = 0xffffffffffffffffff # HERE",
            "subnet blue-db",
            "out of range",
            "use ",
        ),
        case(
            "\"10.2.0.0/24\"",
            "\"10.2.0.1/24\"] # HERE\n#",
            "subnet blue-db",
            "bits set",
            "\"10.2.0.0/24\"",
        ),
        case(
            "\"10.2.0.0/24\"",
            "\"10.2.0.0\"] # HERE\n#",
            "subnet blue-db",
            "no prefix length",
            "/32",
        ),
        case(
            "\"10.2.0.0/24\"",
            "\"10.2.0.0/31\"] # HERE\n#",
            "subnet blue-db",
            "no room",
            "/30 or shorter",
        ),
        case(
            "\"10.2.0.0/24\"",
            "\"224.0.0.0/24\"] # HERE\n#",
            "subnet blue-db",
            "no machine",
            "unicast",
        ),
        case(
            "\"10.2.0.0/24\"",
            "\"10.1.0.128/25\"] # HERE\n#",
            "subnet blue-db",
            "10.1.0.128/25 overlaps 10.1.0.0/24 of subnet blue-web in line 19",
            "apart",
        ),
        case(
            "\"10.2.0.0/24\"",
            "\"10.0.0.0/8\"] # HERE\n#",
            "subnet blue-db",
            "10.0.0.0/8 overlaps 10.1.0.0/24 of subnet blue-web",
            "apart",
        ),
        case(
            "\"10.2.0.0/24\"",
            "\"10.2.0.0/24\",\n\"10.2.0.0/24\"] # HERE\n#",
            "subnet blue-db",
            "overlaps 10.2.0.0/24 of subnet blue-db",
            "apart",
        ),
        case(
            "\"10.1.0.12\"",
            "\"10.3.0.12\"] # HERE\n#",
            "vnic blue2",
            "in no prefix of its subnet",
            "inside",
        ),
        case(
            "\"10.1.0.12\"",
            "\"fd02::12\"] # HERE\n#",
            "vnic blue2",
            "in no prefix of its subnet",
            "inside",
        ),
        case(
            "\"10.1.0.12\"",
            "\"10.1.0.1\"] # HERE\n#",
            "vnic blue2",
            "the gateway's address",
            "another",
        ),
        case(
            "\"10.1.0.12\"",
            "\"fd01::1\"] # HERE\n#",
            "vnic blue2",
            "the gateway's address",
            "another",
        ),
        case(
            "\"10.1.0.12\"",
            "\"10.1.0.0\"] # HERE\n#",
            "vnic blue2",
            "network's address",
            "between",
        ),
        case(
            "\"10.1.0.12\"",
            "\"10.1.0.255\"] # HERE\n#",
            "vnic blue2",
            "broadcast address",
            "between",
        ),
        case(
            "\"10.1.0.12\"",
            "\"fd01::\"] # HERE\n#",
            "vnic blue2",
            "anycast",
            "another",
        ),
        case(
            "\"10.1.0.12\"",
            "\"10.1.0.12/24\"] # HERE\n#",
            "vnic blue2",
            "a prefix",
            "without \"/24\"",
        ),
        case(
            "\"10.1.0.12\"",
            "\"224.0.0.1\"] # HERE\n#",
            "vnic blue2",
            "multicast",
            "its own",
        ),
        case(
            "02:00:00:00:01:02",
            "02:00:00:00:01 # HERE",
            "vnic blue2",
            "not a MAC address",
            "six pairs",
        )
        .quoted(),
        case(
            "02:00:00:00:01:02",
            "03:00:00:00:01:02 # HERE",
            "vnic blue2",
            "multicast",
            "02:00:00:00:01:02",
        )
        .quoted(),
        case(
            "02:00:00:00:01:02",
            "00:00:00:00:00:00 # HERE",
            "vnic blue2",
            "nobody's",
            "02:",
        )
        .quoted(),
        case(
            "",
            "allowed_macs = [\"01:00:00:00:00:01\"] # HERE",
            "vnic blue2",
            "multicast",
            "clear",
        ),
        case(
            "",
            "allowed_sources = [\"10.9.0.1/16\"] # HERE",
            "vnic blue2",
            "bits set",
            "\"10.9.0.0/16\"",
        ),
        case(
            "",
            "mtu = 500 # HERE",
            "vnic blue2",
            "mtu: 500 is out of range",
            "576 to 65535",
        ),
        case(
            "trunk:vms/7",
            "trunk:vms/4095 # HERE",
            "vnic blue2",
            "not a VLAN",
            "1 to 4094",
        )
        .quoted(),
        case(
            "trunk:vms/7",
            "eth0 # HERE",
            "vnic blue2",
            "not a device",
            "trunk:PORT",
        )
        .quoted(),
        case(
            "trunk:vms/7",
            "net_vhost0 # HERE",
            "vnic blue2",
            "librte_vhost",
            "vhost-user:PATH",
        )
        .quoted(),
        case(
            "\"192.168.50.1\"",
            "\"fe80::1\"] # HERE\n#",
            "host h1",
            "link-local",
            "routed in the provider's network",
        ),
        case(
            "\"192.168.50.1\"",
            "\"192.168.50.1/24\"] # HERE\n#",
            "host h1",
            "a prefix",
            "without \"/24\"",
        ),
        case(
            "mac = \"02:00:00:00:01:02\"",
            "mac = \"02:57:45:49:52:01\" # HERE",
            "vnic blue2",
            "mac: 02:57:45:49:52:01 is the gateway's MAC address, which is the switch's own",
            "another",
        ),
        case(
            "",
            "allowed_macs = [\"02:00:00:00:01:09\", \"02:57:45:49:52:01\"] # HERE",
            "vnic blue2",
            "allowed_macs: 02:57:45:49:52:01 is the gateway's MAC address",
            "another",
        ),
        case(
            "host = \"h2\"\nsubnet = \"blue-web\"",
            "host = \"h2\"\nsubnet = \"green\" # HERE",
            "vnic blue2",
            "there is no subnet \"green\"",
            "[[vm_network.subnet]]",
        ),
        case(
            "= [\"192.168.50.3\"]",
            "= [\"192.168.50.9\"] # HERE",
            "vnic blue2",
            "192.168.50.9 is not one of host h2",
            "one of the host's",
        ),
        case(
            "= [\"192.168.50.3\"]",
            "= [\"192.168.50.2\", \"192.168.50.3\"] # HERE",
            "vnic blue2",
            "by one provider address",
            "list one",
        ),
        case(
            "isolation = \"nv\"",
            "isolation = \"nvgre\" # HERE",
            "vm_network blue",
            "not known",
            "\"nv\"",
        ),
        case(
            "isolation = \"nv\"",
            "isolation = \"nv\"\nvlan = 7 # HERE",
            "vm_network blue",
            "only a VM network of",
            "out",
        ),
    ]);
}

#[test]
fn what_this_version_does_not_carry() {
    check(vec![
        case(
            "vsid = 5002",
            "vsid = 5002\ncopies_limit = 0 # HERE",
            "subnet blue-db",
            "copies_limit: 0",
            "65535",
        ),
        case(
            "vsid = 5002",
            "vsid = 5002\nmulticast_group = \"10.1.1.1\" # HERE",
            "subnet blue-db",
            "10.1.1.1 is no multicast group",
            "239",
        ),
        case(
            "vsid = 5002",
            "vsid = 5002\nmulticast_group = \"224.0.0.5\" # HERE",
            "subnet blue-db",
            "the link's own protocols",
            "239",
        ),
        case(
            "vsid = 5002",
            "vsid = 5002\nmulticast_group = \"ff0e::1\" # HERE",
            "subnet blue-db",
            "groups of IPv6 are not built",
            "239",
        ),
        case(
            "vsid = 5002",
            "vsid = 5002\nmulticast_group = \"all\" # HERE",
            "subnet blue-db",
            "is not an IPv4 address",
            "239",
        ),
        case(
            "isolation = \"nv\"",
            "isolation = \"external\" # HERE",
            "vm_network blue",
            "no forwarding extension",
            "nv",
        ),
        case(
            "bandwidth_mode = \"none\"",
            "bandwidth_mode = \"fair\" # HERE",
            "switch default",
            "not known",
            "none",
        ),
        case(
            "bandwidth_mode = \"none\"",
            "iov = \"yes\" # HERE",
            "switch default",
            "of type string",
            "true",
        ),
        case(
            "",
            "[[switch]] # HERE\nname = \"second\"",
            "switch second",
            "one switch a host",
            "\"default\"",
        ),
        case(
            "",
            "iov_weight = 50 # HERE",
            "vnic blue2",
            "iov_weight: the switch is not made for SR-IOV",
            "iov = true",
        ),
        case(
            "",
            "iov_weight = 101 # HERE",
            "vnic blue2",
            "out of range",
            "0 to 100",
        ),
        case(
            "",
            "vf = \"up0/3\" # HERE",
            "vnic blue2",
            "vf: the switch is not made for SR-IOV",
            "take vf out",
        ),
        case(
            "",
            "vf = \"up0\" # HERE",
            "vnic blue2",
            "not PF/INDEX",
            "\"up0/3\"",
        ),
        case(
            "",
            "[vnic.bandwidth]\nmin = \"200Mbit\" # HERE",
            "vnic blue2",
            "bandwidth.min: the switch promises nothing (bandwidth_mode = \"none\" in line ",
            "\"absolute\"",
        ),
        case(
            "",
            "[vnic.bandwidth]\nweight = 30 # HERE",
            "vnic blue2",
            "bandwidth.weight: the switch promises nothing",
            "\"weight\"",
        ),
        // What is malformed is refused for that.
        case(
            "",
            "[vnic.bandwidth]\nmin = \"200MB\" # HERE",
            "vnic blue2",
            "not a bit rate",
            "\"200Mbit\"",
        ),
        case(
            "",
            "[vnic.bandwidth]\nweight = 0 # HERE",
            "vnic blue2",
            "out of range",
            "1 to 100",
        ),
        case(
            "",
            "[vnic.bandwidth]\nmax = 5 # HERE",
            "vnic blue2",
            "of type integer",
            "quotation marks",
        ),
    ]);
}
