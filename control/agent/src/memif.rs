//! The MTU of a net_memif port. The driver of 22.11 says 1500 whatever its rings hold, and refuses more (memif_dev_info); what passes is what a
//! buffer of its ring holds. A longer packet it would put into two of them, and a mark of that on the first one which it never takes off again.

use crate::ports::Refused;

/// Bytes of a ring's buffer unless `bsize` says otherwise: the driver's ETH_MEMIF_DEFAULT_PKT_BUFFER_SIZE.
const BUFFER: u16 = 2048;
/// Ethernet header and a VLAN tag.
const ETHERNET: u16 = 18;
/// MTU in bytes where nobody asks for one.
const MTU: u16 = 1500;

/// The MTU in bytes of the port that `devargs` describe, `wanted` if that fits.
pub fn mtu(devargs: &str, wanted: Option<u16>) -> Result<u16, Refused> {
    let size = devargs.split(',').find_map(|it| it.strip_prefix("bsize="));
    let buffer = size.and_then(|text| text.parse().ok()).unwrap_or(BUFFER);
    let holds = buffer.saturating_sub(ETHERNET);
    match wanted {
        Some(wanted) if wanted > holds => Err(Refused {
            problem: format!(
                "an MTU of {wanted} does not fit a buffer of {buffer} bytes of net_memif"
            ),
            mend: format!(
                "use an MTU of at most {holds}, or a larger bsize in the device, also of the other end"
            ),
        }),
        Some(wanted) => Ok(wanted),
        None => Ok(MTU.min(holds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_buffer_holds_fits() {
        let of = |devargs, wanted| mtu(devargs, wanted).map_err(|it| (it.problem, it.mend));
        let memif = "net_memif0,role=server,id=0,socket=/run/m.sock";
        assert_eq!(of(memif, None), Ok(1500));
        assert_eq!(of(memif, Some(2030)), Ok(2030));
        let (problem, mend) = of(memif, Some(2031)).unwrap_err();
        assert!(problem.contains("2048") && mend.contains("2030") && mend.contains("bsize"));
        assert_eq!(of("net_memif0,bsize=9018,id=0", Some(9000)), Ok(9000));
        assert_eq!(of("net_memif0,bsize=1018,id=0", None), Ok(1000));
    }
}
