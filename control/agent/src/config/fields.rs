//! The values that occur in more than one place of Weir's files, read from their text.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use weir_wire::Mac;

/// A name of an object; cheap to clone, since every reference to an object is one.
pub type Name = Arc<str>;

/// MTUs in bytes: from the least that IPv4 hosts must take (RFC 791 §3.1) to what its length field can say.
pub const MTU: RangeInclusive<i64> = 576..=65_535;

/// VLANs that are not reserved (IEEE 802.1Q §9.6).
pub const VLAN: RangeInclusive<i64> = 1..=4094;

/// What is wrong with one value, and its mend; the reader adds file, line and object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub problem: String,
    /// How to mend it.
    pub mend: String,
}

impl Fault {
    /// A fault of these words.
    pub fn new(problem: impl Into<String>, mend: impl Into<String>) -> Fault {
        Fault {
            problem: problem.into(),
            mend: mend.into(),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.problem, self.mend)
    }
}

impl std::error::Error for Fault {}

/// *Choice*: names are short and plain, so that they can stand in a shell's line, in a path and in a table as they are.
const NAME_MAX: usize = 128;

/// A name: 1 to 128 ASCII letters, digits and `-_.:@+`.
pub fn name(text: &str) -> Result<Name, Fault> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@+".contains(&byte);
    if text.is_empty() {
        Err(Fault::new(
            "the name is empty",
            "give it a name such as \"blue1\"",
        ))
    } else if text.len() > NAME_MAX {
        Err(Fault::new(
            format!("the name is {} bytes long", text.len()),
            format!("use at most {NAME_MAX}"),
        ))
    } else if let Some(odd) = text.chars().find(|c| !c.is_ascii() || !plain(*c as u8)) {
        Err(Fault::new(
            format!("the name {text:?} contains {odd:?}"),
            "use ASCII letters, digits and -_.:@+ in names",
        ))
    } else if text == "." || text == ".." {
        Err(Fault::new(
            format!("{text:?} is a folder's name"),
            "give it a name such as \"blue1\"",
        ))
    } else {
        Ok(text.into())
    }
}

/// The MAC address of one station: not zero, not multicast.
pub fn station_mac(text: &str) -> Result<Mac, Fault> {
    let mac: Mac = text.parse().map_err(|_| {
        Fault::new(
            format!("{text:?} is not a MAC address"),
            "write six pairs of hexadecimal digits, such as \"02:00:00:00:01:01\"",
        )
    })?;
    if mac.is_zero() {
        return Err(Fault::new(
            "00:00:00:00:00:00 is nobody's MAC address",
            "give it an address of its own, such as \"02:00:00:00:01:01\"",
        ));
    }
    if mac.is_multicast() {
        let [first, ..] = mac.octets();
        let own = (first & !1).max(2);
        return Err(Fault::new(
            format!("{mac} is a multicast address, no station's own"),
            format!(
                "clear the lowest bit of its first byte, such as {own:02x}{}",
                &mac.to_string()[2..]
            ),
        ));
    }
    Ok(mac)
}

/// An address of one machine, of either family: not unspecified, multicast, broadcast or loopback.
pub fn unicast(text: &str) -> Result<IpAddr, Fault> {
    let address: IpAddr = text.parse().map_err(|_| {
        if text.contains('/') {
            Fault::new(
                format!("{text:?} is a prefix, not an address"),
                format!(
                    "write it without \"/{}\"",
                    text.rsplit('/').next().unwrap_or_default().escape_debug()
                ),
            )
        } else {
            Fault::new(
                format!("{text:?} is not an IP address"),
                "write an address such as \"10.1.0.11\"",
            )
        }
    })?;
    let kind = match address {
        _ if address.is_unspecified() => "the unspecified address",
        _ if address.is_multicast() => "a multicast address",
        _ if address.is_loopback() => "a loopback address",
        IpAddr::V4(Ipv4Addr::BROADCAST) => "the broadcast address",
        _ => return Ok(address),
    };
    Err(Fault::new(
        format!("{address} is {kind}"),
        "give it an address of its own",
    ))
}

/// Whether it is of IPv6's link-local addresses (RFC 4291 §2.5.6), which mean something on one link only.
pub fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// An address of one machine of the provider's network.
pub fn provider_address(text: &str) -> Result<IpAddr, Fault> {
    let address = unicast(text)?;
    let problem = match address {
        _ if is_link_local(address) => {
            format!("{address} is a link-local address, which means something on one link only")
        }
        // RFC 4291 §2.4: ::/8 is reserved; the addresses that embed one of IPv4 (§2.5.5) are in it.
        IpAddr::V6(v6) if v6.octets()[0] == 0 => {
            format!("{address} is in ::/8, which is reserved")
        }
        _ => return Ok(address),
    };
    Err(Fault::new(
        problem,
        "use an address that is routed in the provider's network, such as \"fd00:50::1\"",
    ))
}

/// A router of the provider's network, which may be known by its link-local address.
pub fn provider_gateway(text: &str) -> Result<IpAddr, Fault> {
    match unicast(text)? {
        address if is_link_local(address) => Ok(address),
        _ => provider_address(text),
    }
}

/// A provider address with the length of the prefix that its uplink reaches without a gateway.
pub fn provider_interface(text: &str) -> Result<IpNet, Fault> {
    let Ok(interface) = text.parse::<IpNet>() else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => Fault::new(
                format!("{text:?} has no prefix length"),
                format!(
                    "write it with the length of its network's prefix, such as \"{address}/{}\"",
                    if address.is_ipv4() { 24 } else { 64 }
                ),
            ),
            Err(_) => Fault::new(
                format!("{text:?} is not an address with a prefix length"),
                "write it such as \"192.168.50.1/24\"",
            ),
        });
    };
    let address = provider_address(&interface.addr().to_string())?;
    // RFC 4291 §2.6.1: the subnet-router anycast address, as the network address of IPv4, is no host's.
    let kind = if interface.prefix_len() + 2 > interface.max_prefix_len() {
        return Ok(interface);
    } else if address == interface.network() {
        "network"
    } else if address.is_ipv4() && address == interface.broadcast() {
        "broadcast"
    } else {
        return Ok(interface);
    };
    Err(Fault::new(
        format!("{address} is the {kind} address of {}", interface.trunc()),
        "use the address of this host inside that prefix",
    ))
}

/// A prefix, of either family, without host bits.
pub fn prefix(text: &str) -> Result<IpNet, Fault> {
    let Ok(net) = text.parse::<IpNet>() else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => {
                let len = if address.is_ipv4() { 32 } else { 128 };
                Fault::new(
                    format!("{text:?} has no prefix length"),
                    format!("write it such as \"{address}/{len}\" for one address"),
                )
            }
            Err(_) => Fault::new(
                format!("{text:?} is not a prefix"),
                "write it such as \"10.1.0.0/24\"",
            ),
        });
    };
    if net != net.trunc() {
        return Err(Fault::new(
            format!("{net} has bits set behind its prefix"),
            format!("write \"{}\"", net.trunc()),
        ));
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn why<T: std::fmt::Debug>(result: Result<T, Fault>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn values_that_are_fine() {
        assert_eq!(&*name("vm-1.eth0:a@b+c_d").unwrap(), "vm-1.eth0:a@b+c_d");
        assert_eq!(
            station_mac("02:00:00:00:01:Ff").unwrap().to_string(),
            "02:00:00:00:01:ff"
        );
        assert!(unicast("fd00::1").is_ok() && unicast("10.0.0.255").is_ok());
        assert_eq!(
            provider_address("192.168.50.2").unwrap(),
            Ipv4Addr::new(192, 168, 50, 2)
        );
        assert_eq!(
            provider_interface("10.0.0.0/31").unwrap().to_string(),
            "10.0.0.0/31"
        );
        assert!(provider_interface("fd00::/127").is_ok());
        assert!(provider_interface("fd00::ffff:ffff:ffff:ffff/64").is_ok());
        assert!(provider_gateway("fe80::1").is_ok());
        assert_eq!(prefix("fd00::/64").unwrap().to_string(), "fd00::/64");
    }

    #[test]
    fn values_that_are_not_say_why_and_how_to_mend() {
        assert!(why(name("")).contains("empty"));
        assert!(why(name("a b")).contains("contains ' '"));
        assert!(why(name("a/b")).contains("contains '/'"));
        assert!(why(name("bl\u{fc}e")).contains("ASCII"));
        assert!(why(name("..")).contains("folder"));
        assert!(why(name(&"a".repeat(129))).contains("129 bytes"));
        assert!(why(station_mac("02:00")).contains("six pairs"));
        assert!(why(station_mac("00:00:00:00:00:00")).contains("nobody's"));
        assert!(why(station_mac("03:00:00:00:01:01")).contains("such as 02:00:00:00:01:01"));
        assert!(why(station_mac("01:00:5e:00:01:01")).contains("such as 02:00:5e:00:01:01"));
        assert!(why(unicast("10.0.0.1/24")).contains("without \"/24\""));
        assert!(why(unicast("blue1")).contains("not an IP address"));
        assert!(why(unicast("0.0.0.0")).contains("unspecified"));
        assert!(why(unicast("ff02::1")).contains("multicast"));
        assert!(why(unicast("127.0.0.1")).contains("loopback"));
        assert!(why(unicast("255.255.255.255")).contains("broadcast"));
        assert!(why(provider_address("fe80::1")).contains("link-local"));
        assert!(why(provider_address("::ffff:192.0.2.1")).contains("reserved"));
        assert!(why(provider_interface("fd00::1")).contains("\"fd00::1/64\""));
        assert!(why(provider_interface("fd00::/64")).contains("network address"));
        assert!(why(provider_interface("fe80::1/64")).contains("link-local"));
        assert!(why(provider_interface("192.168.50.1")).contains("\"192.168.50.1/24\""));
        assert!(why(provider_interface("192.168.50.0/24")).contains("network address"));
        assert!(why(provider_interface("192.168.50.255/24")).contains("broadcast address"));
        assert!(why(prefix("10.1.0.1/24")).contains("write \"10.1.0.0/24\""));
        assert!(why(prefix("10.1.0.1")).contains("\"10.1.0.1/32\""));
        assert!(why(prefix("ten")).contains("not a prefix"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-f:./]{0,24}|.{0,24}") {
            let _ = (name(&text), station_mac(&text), unicast(&text), provider_address(&text));
            let _ = (provider_interface(&text), prefix(&text));
        }
    }
}
