//! The MTU of a net_af_packet port. The driver says 1500 whatever the interface; what passes is the lesser of
//! the interface's own MTU and what a frame of the socket's ring holds. A larger packet the driver would free and
//! call sent, so that the switch has to know.

use std::path::PathBuf;

use rte::{Burst, Pool, RxQueue};

use crate::config::device::Device;
use crate::ports::Refused;

/// Bytes of a ring frame unless `framesz` says otherwise: the driver's DFLT_FRAME_SIZE.
const FRAME: usize = 2048;
/// Frames of a ring unless `framecnt` says otherwise: the driver's DFLT_FRAME_COUNT.
const FRAMES: usize = 512;
/// What the kernel puts before a packet in its ring frame: TPACKET2_HDRLEN, rounded up.
const RING_HEADER: usize = 64;
/// Ethernet header and a VLAN tag.
const ETHERNET: usize = 18;

/// Bytes of a ring frame, if `device` is a packet socket whose arguments say them.
pub fn frame(device: &Device) -> Option<u16> {
    match device {
        Device::Vdev(devargs) if devargs.starts_with("net_af_packet") => {
            argument(devargs, "framesz")?.parse().ok()
        }
        _ => None,
    }
}

fn argument<'d>(devargs: &'d str, name: &str) -> Option<&'d str> {
    devargs
        .split(',')
        .find_map(|arg| arg.strip_prefix(name)?.strip_prefix('='))
}

/// The MTU in bytes of the port that `devargs` describe. Sets the interface's if `wanted` differs.
pub fn mtu(devargs: &str, wanted: Option<u16>) -> Result<u16, Refused> {
    let interface = argument(devargs, "iface").unwrap_or_default();
    let path: PathBuf = ["/sys/class/net", interface, "mtu"].iter().collect();
    let own = std::fs::read_to_string(&path)
        .ok()
        .and_then(|text| text.trim().parse::<u16>().ok());
    let Some(own) = own else {
        return Err(Refused {
            problem: format!("there is no interface \"{interface}\""),
            mend: "create it first (ip link add …), in the network namespace in which the daemon runs, or correct the name".into(),
        });
    };
    let frame = argument(devargs, "framesz")
        .and_then(|text| text.parse().ok())
        .unwrap_or(FRAME);
    let holds = frame
        .saturating_sub(RING_HEADER + ETHERNET)
        .min(usize::from(u16::MAX)) as u16;
    let Some(wanted) = wanted else {
        return Ok(own.min(holds));
    };
    if wanted > holds {
        return Err(Refused {
            problem: format!(
                "an MTU of {wanted} does not fit a frame of {frame} bytes of net_af_packet"
            ),
            mend: format!(
                "use an MTU of at most {holds}, or a larger framesz (and blocksz) in the device"
            ),
        });
    }
    if wanted != own {
        std::fs::write(&path, wanted.to_string()).map_err(|error| Refused {
            problem: format!(
                "the MTU of \"{interface}\" is {own} and cannot be set to {wanted}: {error}"
            ),
            mend: format!("ip link set {interface} mtu {wanted}"),
        })?;
    }
    Ok(wanted)
}

/// Takes out of a new port's ring what was there before it was the port's own. The driver makes its socket for every
/// interface (ETH_P_ALL), gives it its ring and binds it only then: until then the ring hears the whole namespace, other
/// tenants included, and where those have the same MACs and addresses no guard would tell. bind(2) waits for the receivers
/// that are under way, so that it is the ring's first round at most. `false` if a free mbuf was missing.
pub fn forget(devargs: &str, rx: &mut [RxQueue], pool: Pool) -> bool {
    let most = argument(devargs, "framecnt").and_then(|text| text.parse().ok());
    let most = most.unwrap_or(FRAMES);
    rx.iter_mut().all(|queue| {
        let mut burst = Burst::new();
        let mut taken = 0;
        while taken < most {
            let now = queue.rx(&mut burst);
            burst.clear();
            // Without mbufs the driver says that nothing came.
            if now == 0 {
                return pool.alloc().is_some();
            }
            taken += now;
        }
        true
    })
}
