//! Congestion marks and service classes across the tunnel: RFC 6040 for ECN in both directions; DSCP is copied out.

use weir_tables::reason::Reason;
use weir_wire::EtherType;
use weir_wire::ipv4;

/// Both bits: congestion experienced (RFC 3168 §5).
pub(crate) const CE: u8 = 0b11;
/// ECT(1).
const ECT1: u8 = 0b01;
/// The ECN field of a type of service or traffic class.
pub(crate) const MASK: u8 = 0b11;

/// DSCP and ECN of a tenant's frame, which the outer header bears too: RFC 6040 §4.1, normal mode; RFC 2983 §3, uniform
/// model. 0 for what is no IP.
#[inline(always)]
pub fn outgoing(frame: &[u8]) -> u8 {
    match frame.first_chunk::<16>() {
        Some([.., 0x08, 0x00, _, tos]) => *tos,
        Some([.., 0x86, 0xdd, high, low]) => high << 4 | low >> 4,
        _ => 0,
    }
}

/// Brings the outer header's ECN field to a decapsulated frame, as RFC 6040 §4.2, figure 4, says.
#[inline(always)]
pub fn incoming(outer_tos: u8, ethertype: EtherType, frame: &mut [u8]) -> Result<(), Reason> {
    match outer_tos & MASK {
        mark @ (CE | ECT1) => apply(mark, ethertype, frame),
        _ => Ok(()),
    }
}

#[cold]
fn apply(outer: u8, ethertype: EtherType, frame: &mut [u8]) -> Result<(), Reason> {
    if ethertype != EtherType::IPV4 && ethertype != EtherType::IPV6 {
        return Ok(());
    }
    let inner = outgoing(frame) & MASK;
    let marked = match (outer, inner) {
        // Its sender would not understand the mark: only a loss tells it of congestion.
        (CE, 0) => return Err(Reason::EcnNotCapable),
        (CE, _) => CE,
        // ECT(1) is the more severe of the two; Not-ECT and CE stay what they are.
        (ECT1, 0b10) => ECT1,
        _ => inner,
    };
    set(ethertype, frame, marked);
    Ok(())
}

fn set(ethertype: EtherType, frame: &mut [u8], mark: u8) {
    let Some((_, l3)) = frame.split_first_chunk_mut::<14>() else {
        return;
    };
    if ethertype == EtherType::IPV6 {
        if let Some([_, low, ..]) = l3.first_chunk_mut::<40>() {
            *low = *low & !(MASK << 4) | mark << 4;
        }
    } else if let Some(header) = l3.first_chunk_mut::<{ ipv4::HEADER }>() {
        let tos = header[1] & !MASK | mark;
        ipv4::set_tos(header, tos);
    }
}
