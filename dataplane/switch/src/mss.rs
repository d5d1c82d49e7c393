//! MSS clamping, for networks that ask for it: a TCP handshake that leaves for another host says no larger segments than fit the
//! way there, so that TCP needs no path MTU discovery.

use crate::frame::{Frame, L4Checksum};
use crate::l4::L4;
use crate::ledger::Ledger;
use crate::watch::Step;
use weir_tables::view::Vnic;
use weir_wire::tcp::Flags;
use weir_wire::{IpProtocol, checksum, ipv4, ipv6};

/// Fixed TCP header, in bytes.
const TCP: usize = 20;
/// Options of one byte: end of the list, no operation. And maximum segment size, of four bytes (RFC 9293 §3.2).
const END: u8 = 0;
const NOTHING: u8 = 1;
const MSS: u8 = 2;

/// Lowers the MSS that a SYN says to what an inner frame of `max_inner` bytes carries; never raises it. One that says none is left
/// alone: its receiver sends 536 bytes (RFC 9293 §3.7.1), or 1220 over IPv6.
#[inline(never)]
pub fn clamp<F: Frame>(ledger: &Ledger, from: &Vnic, max_inner: u16, frame: &mut F) {
    if let Some(mss) = lower(frame, usize::from(max_inner)) {
        frame.note(|| Step::Clamped { mss });
        ledger.mss_clamped(&from.cells);
    }
}

fn lower<F: Frame>(frame: &mut F, max_inner: usize) -> Option<u16> {
    let l4 = L4::find(frame.head(), frame.len())?;
    let flags = frame.head().get(l4.offset + 13)?;
    if l4.protocol != IpProtocol::TCP || flags & Flags::SYN.0 == 0 {
        return None;
    }
    // RFC 6691 §2: less the fixed headers alone; who sends options makes room for them.
    let ip = if l4.is_v6 { ipv6::HEADER } else { ipv4::HEADER };
    let fits = u16::try_from(max_inner.checked_sub(14 + ip + TCP)?).ok()?;
    let end = l4.headers(frame.head())?;
    let at = find(frame.head().get(l4.offset + TCP..end)?)? + l4.offset + TCP;
    let is_partial = frame.l4_checksum() == L4Checksum::Partial;
    let head = frame.head_mut();
    let place = head.get_mut(at..)?.first_chunk_mut::<2>()?;
    let old = u16::from_be_bytes(*place);
    if old <= fits {
        return None;
    }
    *place = fits.to_be_bytes();
    // An unfinished checksum is of the pseudo-header alone.
    if !is_partial {
        let sum = head.get_mut(l4.offset + l4.field..)?.first_chunk_mut()?;
        // RFC 1624; at an odd place the bytes count the other way round (RFC 1071 §2(B)).
        let odd = (at - l4.offset) % 2 == 1;
        let word = |value: u16| if odd { value.swap_bytes() } else { value };
        *sum = checksum::update16(u16::from_be_bytes(*sum), word(old), word(fits)).to_be_bytes();
    }
    Some(fits)
}

/// Where in these options the MSS's value is.
fn find(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *options.get(at)? {
            END => return None,
            NOTHING => at += 1,
            kind => {
                let length = usize::from(*options.get(at + 1)?);
                if kind == MSS && length == 4 {
                    return (at + 4 <= options.len()).then_some(at + 2);
                }
                if length < 2 {
                    return None;
                }
                at += length;
            }
        }
    }
}
