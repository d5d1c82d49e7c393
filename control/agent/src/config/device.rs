//! What a port can be made of, as it is written in `device` (host.toml) and `attach` (policy.toml).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use weir_worker::rig::Frames;
use weir_worker::rig::arrivals::Arrivals;
use weir_worker::rig::senders::Senders;
use weir_worker::rig::sink::Sinks;
use weir_worker::rig::wire::Wires;

use super::fields::Fault;
use super::rig_device;

/// A device that DPDK or librte_vhost can open.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Device {
    /// A PCI address with domain, in lower case, perhaps with DPDK's arguments: `0000:03:00.0`, `0000:03:00.0,k=v`.
    Pci(String),
    /// A DPDK virtual device with its arguments: `net_af_packet1,iface=blue1`, `net_null0`.
    Vdev(String),
    /// `vhost-user:PATH`: QEMU listens (`server=on`), Weir connects.
    VhostClient(PathBuf),
    /// `vhost-user-server:PATH`: Weir listens.
    VhostServer(PathBuf),
    /// `tap:NAME`: a tap interface of this name.
    Tap(String),
    /// `memif:PATH`: shared memory by this control socket.
    Memif(PathBuf),
    /// `rig:mappings=N,…`: a source for measurements.
    Rig(Frames),
    /// `rig:senders=N,…`: many VMs for a trunk, for measurements.
    Senders(Senders),
    /// `rig:sink=N,…`: an uplink that logs what they send.
    Sink(Sinks),
    /// `rig:wire=N,…`: an uplink of several queues that overtake each other.
    Wire(Wires),
    /// `rig:arrivals=N,…`: an uplink at which NVGRE for many arrives.
    Arrivals(Arrivals),
    /// `rig:void=N`: a hole to send to, one of several.
    Void(u32),
}

/// The longest path of a Unix socket: `sun_path` without its NUL, unix(7).
pub const SOCKET_PATH_MAX: usize = 107;

/// The longest name of a Linux interface: `IFNAMSIZ` without its NUL, netdevice(7).
const INTERFACE_NAME_MAX: usize = 15;

/// What a device may look like, for mends.
pub const DEVICE_FORMS: &str = "write a PCI address such as \"0000:03:00.0\", a DPDK vdev such as \
    \"net_af_packet1,iface=blue1\", or \"vhost-user:PATH\", \"vhost-user-server:PATH\", \"tap:NAME\", \"memif:PATH\"";

impl Device {
    /// What the device takes for itself alone: its DPDK name, its interface, its socket. Two devices of one host that
    /// have a claim in common cannot both be opened.
    pub fn claims(&self) -> Vec<String> {
        match self {
            Device::Pci(address) => vec![format!("device {}", before_comma(address))],
            Device::Vdev(args) => {
                let interface = args
                    .split(',')
                    .skip(1)
                    .find_map(|arg| arg.strip_prefix("iface="));
                let name = format!("device {}", before_comma(args));
                std::iter::once(name)
                    .chain(interface.map(|name| format!("interface {name}")))
                    .collect()
            }
            Device::VhostClient(path) | Device::VhostServer(path) | Device::Memif(path) => {
                vec![format!("socket {}", path.display())]
            }
            Device::Tap(name) => vec![format!("interface {name}")],
            Device::Rig(frames) => vec![format!("source {}", frames.from.mac)],
            Device::Senders(of) => vec![format!("source {}", of.from.mac)],
            Device::Void(of) => vec![format!("hole {of}")],
            Device::Sink(_) | Device::Wire(_) | Device::Arrivals(_) => {
                vec!["the rig's sink".to_owned()]
            }
        }
    }
}

impl FromStr for Device {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Device, Fault> {
        if let Some(odd) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
            let problem = format!("the device {text:?} contains {odd:?}");
            return Err(Fault::new(problem, "write it without spaces"));
        }
        if let Some((scheme, rest)) = text.split_once(':')
            && !scheme.bytes().all(|byte| byte.is_ascii_hexdigit())
            && !scheme.contains(',')
        {
            return match scheme {
                "vhost-user" => socket(text, rest).map(Device::VhostClient),
                "vhost-user-server" => socket(text, rest).map(Device::VhostServer),
                "memif" => socket(text, rest).map(Device::Memif),
                "tap" => interface(rest).map(Device::Tap),
                "rig" => rig_device::device(rest),
                _ => Err(Fault::new(
                    format!("{text:?} is not a device"),
                    DEVICE_FORMS,
                )),
            };
        }
        if let Some(address) = pci(text) {
            return Ok(Device::Pci(address));
        }
        let driver = before_comma(text);
        if driver.starts_with("net_vhost") {
            return Err(Fault::new(
                format!(
                    "\"{driver}\" is not used: Weir speaks vhost-user through librte_vhost, which takes no DPDK port"
                ),
                "write \"vhost-user:PATH\" (QEMU server=on) or \"vhost-user-server:PATH\"",
            ));
        }
        let named = driver.strip_prefix("net_").is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_ascii_alphabetic())
                && rest
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        });
        if !named {
            return Err(Fault::new(
                format!("{text:?} is not a device"),
                DEVICE_FORMS,
            ));
        }
        if !driver.ends_with(|c: char| c.is_ascii_digit()) {
            return Err(Fault::new(
                format!("the vdev \"{driver}\" has no number"),
                format!(
                    "DPDK tells vdevs apart by a number: write \"{driver}0{}\"",
                    &text[driver.len()..]
                ),
            ));
        }
        if driver.starts_with("net_af_packet")
            && !text
                .split(',')
                .any(|arg| arg.len() > 6 && arg.starts_with("iface="))
        {
            return Err(Fault::new(
                format!("{text:?} names no interface"),
                format!("write \"{driver},iface=NAME\""),
            ));
        }
        Ok(Device::Vdev(text.to_owned()))
    }
}

impl fmt::Display for Device {
    /// As it is written in a file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Pci(text) | Device::Vdev(text) => f.write_str(text),
            Device::VhostClient(path) => write!(f, "vhost-user:{}", path.display()),
            Device::VhostServer(path) => write!(f, "vhost-user-server:{}", path.display()),
            Device::Tap(name) => write!(f, "tap:{name}"),
            Device::Memif(path) => write!(f, "memif:{}", path.display()),
            Device::Rig(frames) => write!(f, "rig:{frames}"),
            Device::Senders(of) => write!(f, "rig:{of}"),
            Device::Sink(of) => write!(f, "rig:{of}"),
            Device::Wire(of) => write!(f, "rig:{of}"),
            Device::Arrivals(of) => write!(f, "rig:{of}"),
            Device::Void(of) => write!(f, "rig:void={of}"),
        }
    }
}

fn before_comma(text: &str) -> &str {
    text.split(',').next().unwrap_or_default()
}

/// `[DDDD:]BB:DD.F`, perhaps with arguments, as DPDK writes it: with the domain and in lower case.
fn pci(text: &str) -> Option<String> {
    let address = before_comma(text);
    let (slot, function) = address.rsplit_once('.')?;
    let mut parts = slot.rsplit(':');
    let (device, bus, domain) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0000"));
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let function_fits = matches!(function.as_bytes(), [b'0'..=b'7']);
    let device_fits =
        hex(device, 2) && u8::from_str_radix(device, 16).is_ok_and(|device| device < 32);
    let fits =
        function_fits && device_fits && hex(bus, 2) && hex(domain, 4) && parts.next().is_none();
    let arguments = &text[address.len()..];
    fits.then(|| {
        format!(
            "{}:{}:{}.{function}{arguments}",
            domain.to_lowercase(),
            bus.to_lowercase(),
            device.to_lowercase()
        )
    })
}

/// The path of a Unix socket.
fn socket(text: &str, path: &str) -> Result<PathBuf, Fault> {
    if !path.starts_with('/') {
        return Err(Fault::new(
            format!("the socket's path in {text:?} is not absolute"),
            "write it from the root, such as \"/run/vm/blue1.sock\": the daemon's folder is not yours",
        ));
    }
    socket_fits(Path::new(path))?;
    Ok(PathBuf::from(path))
}

/// Whether the kernel takes `path` for a Unix socket.
pub fn socket_fits(path: &Path) -> Result<(), Fault> {
    let len = path.as_os_str().len();
    if len > SOCKET_PATH_MAX {
        let problem = format!("the socket's path {} is {len} bytes long", path.display());
        return Err(Fault::new(
            problem,
            format!("use one of at most {SOCKET_PATH_MAX} bytes"),
        ));
    }
    Ok(())
}

/// The name of a Linux interface.
fn interface(name: &str) -> Result<String, Fault> {
    let fits = (1..=INTERFACE_NAME_MAX).contains(&name.len()) && !name.contains(['/', ':', ',']);
    if !fits || name == "." || name == ".." {
        return Err(Fault::new(
            format!("\"{name}\" cannot be an interface's name"),
            format!("use 1 to {INTERFACE_NAME_MAX} bytes without '/', ':' and ','"),
        ));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RIG: &str =
        "rig:mappings=7,frame=64,from=02:00:00:00:00:01/10.0.0.2,to=02:01:00:00:00:00/10.1.0.0";

    #[test]
    fn every_form_reads_and_shows() {
        for (text, device) in [
            ("0000:03:00.0", Device::Pci("0000:03:00.0".into())),
            ("0000:af:1f.7,tx=1", Device::Pci("0000:af:1f.7,tx=1".into())),
            ("net_null0", Device::Vdev("net_null0".into())),
            (
                "net_pcap0,rx_pcap=/a:b.pcap,infinite_rx=1",
                Device::Vdev("net_pcap0,rx_pcap=/a:b.pcap,infinite_rx=1".into()),
            ),
            (
                "net_af_packet1,iface=blue1",
                Device::Vdev("net_af_packet1,iface=blue1".into()),
            ),
            (
                "vhost-user:/run/a.sock",
                Device::VhostClient("/run/a.sock".into()),
            ),
            (
                "vhost-user-server:/run/a.sock",
                Device::VhostServer("/run/a.sock".into()),
            ),
            ("tap:blue1", Device::Tap("blue1".into())),
            ("memif:/run/m.sock", Device::Memif("/run/m.sock".into())),
            (RIG, Device::Rig(rig_device::parse(&RIG[4..]).unwrap())),
        ] {
            let read: Device = text.parse().unwrap();
            assert_eq!(read, device, "{text}");
            assert_eq!(read.to_string(), text);
        }
        assert_eq!("AF:00.1".parse(), Ok(Device::Pci("0000:af:00.1".into())));
    }

    #[test]
    fn what_is_no_device_says_why_and_how_to_mend() {
        for (text, why) in [
            ("", "is not a device"),
            ("eth0", "is not a device"),
            ("0000:03:20.0", "is not a device"),
            ("0000:03:00.8", "is not a device"),
            ("net_", "is not a device"),
            ("usb:3", "is not a device"),
            ("net_null", "\"net_null0\""),
            ("net_af_packet0", "iface=NAME"),
            ("net_af_packet0,iface=", "iface=NAME"),
            ("net_vhost0,iface=/run/a", "librte_vhost"),
            ("net_null0, size=64", "contains ' '"),
            ("vhost-user:a.sock", "not absolute"),
            ("memif:", "not absolute"),
            ("tap:", "interface's name"),
            ("rig:", "no argument"),
            ("rig:mappings=7", "without from"),
            ("tap:sixteen-letters-", "interface's name"),
        ] {
            let fault = text.parse::<Device>().unwrap_err().to_string();
            assert!(fault.contains(why), "{text}: {fault}");
        }
        let long = format!("vhost-user:/{}", "a".repeat(107));
        assert!(
            long.parse::<Device>()
                .unwrap_err()
                .problem
                .contains("108 bytes")
        );
    }

    #[test]
    fn two_devices_clash_when_they_claim_the_same() {
        let claims = |text: &str| text.parse::<Device>().unwrap().claims();
        assert_eq!(
            claims("net_af_packet1,iface=a"),
            ["device net_af_packet1", "interface a"]
        );
        assert_eq!(claims("tap:a"), ["interface a"]);
        assert_eq!(claims("03:00.0,x=1"), claims("0000:03:00.0"));
        assert_eq!(claims("vhost-user:/a"), claims("vhost-user-server:/a"));
        assert_eq!(claims(RIG), ["source 02:00:00:00:00:01"]);
    }

    proptest! {
        #[test]
        fn what_reads_shows_as_something_that_reads_the_same(text in "(vhost-user|tap|memif|net_null0)?[:,]?[0-9a-f:./]{0,16}|.{0,24}") {
            if let Ok(device) = text.parse::<Device>() {
                prop_assert_eq!(device.to_string().parse::<Device>().unwrap(), device.clone());
                prop_assert!(!device.claims().is_empty());
            }
        }
    }
}
