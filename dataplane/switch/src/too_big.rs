//! What does not fit the way to a peer as it is to travel. RFC 7637 §4.4: the outer packet must not be fragmented. So the
//! tenant's own is, where IPv4 allows it, and where it does not, or it is IPv6, the VM is told the MTU (RFC 1191,
//! RFC 8201), by its gateway.

use crate::door::Door;
use crate::family::{V4, V6};
use crate::frame::Frame;
use crate::icmp_error::Problem;
use crate::ledger::Ledger;
use crate::outlet::Outlet;
use crate::rewrite::Rewritable;
use crate::watch::Step;
use crate::{dispatch, encap, icmp_error, rewrite};
use arrayvec::ArrayVec;
use weir_tables::counters::Cells;
use weir_tables::peer::Peer;
use weir_tables::reason::Reason;
use weir_tables::view::{View, Vnic};
use weir_wire::ipv4::{self, Fragmentation};
use weir_wire::rewrite::Change;
use weir_wire::{EtherType, checksum, flow};

/// What every link must carry of IPv6 (RFC 8200 §5).
const MTU6: u16 = 1280;

/// The longest IPv4 options (RFC 791 §3.1: a header has 60 bytes at most).
const OPTIONS: usize = 40;

/// Ethernet and IPv4 header of a fragment, without options.
const HEADERS: usize = 14 + ipv4::HEADER;

/// How a frame gets to a peer.
#[derive(Clone, Copy, Debug)]
pub enum Way<A> {
    /// Inside NVGRE, with this key.
    Nvgre(u32),
    /// With these addresses.
    Rewrite(Change<A>),
}

impl<A> Way<A> {
    /// Largest frame that fits, in bytes.
    pub fn most(&self, peer: &Peer) -> u16 {
        match self {
            Way::Nvgre(_) => peer.max_inner,
            Way::Rewrite(_) => peer.max_plain,
        }
    }

    /// The door of what goes there so.
    pub fn door(&self, peer: &Peer) -> Door {
        match self {
            Way::Nvgre(_) => encap::door(peer),
            Way::Rewrite(_) => rewrite::door(peer),
        }
    }
}

/// A vNIC's frame that is larger than `peer` takes.
#[cold]
pub fn from_vnic<F: Rewritable, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    way: Way<F::Address>,
    peer: &Peer,
    frame: O::Frame,
    out: &mut O,
) {
    match headers(frame.head()) {
        Some((_, ip)) if fragmentation(ip).dont_fragment() => {
            refuse(view, ledger, from, way.most(peer), frame, out);
        }
        Some(_) => {
            fragment(
                ledger,
                &from.cells,
                way.most(peer),
                frame,
                out,
                |out, header, mut piece| {
                    let done = match &way {
                        // RFC 7637 §4.1: every fragment of a packet has one FlowID.
                        Way::Nvgre(key) => {
                            let key = key & !0xff | flow::ipv4(header, header) & 0xff;
                            encap::push(peer, key, &mut piece)
                        }
                        Way::Rewrite(change) => rewrite::push::<F, _>(peer, change, &mut piece),
                    };
                    match done {
                        Ok(()) => out.push(Some(from.id), way.door(peer), piece),
                        Err(reason) => ledger.dropped(Some(&from.cells), reason, piece),
                    }
                },
            );
        }
        None if is_ipv6(frame.head()) => {
            refuse(view, ledger, from, way.most(peer), frame, out);
        }
        _ => ledger.dropped(Some(&from.cells), Reason::TooBig, frame),
    }
}

/// Whether a frame must not be fragmented: IPv4 that says so, and IPv6 (RFC 8200 §5).
pub fn must_be_whole(head: &[u8]) -> bool {
    headers(head).map_or(is_ipv6(head), |(_, ip)| fragmentation(ip).dont_fragment())
}

fn is_ipv6(head: &[u8]) -> bool {
    head.get(12..14) == Some(&EtherType::IPV6.0.to_be_bytes()[..])
}

/// Whether what is too long may be fragmented: IPv4 without DF.
pub fn may_be_fragmented(head: &[u8]) -> bool {
    headers(head).is_some_and(|(_, ip)| !fragmentation(ip).dont_fragment())
}

/// Drops it, and says what would fit: a frame of `most` bytes.
#[cold]
pub fn refuse<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    most: u16,
    frame: O::Frame,
    out: &mut O,
) {
    let mtu = most.saturating_sub(14);
    let problem = Problem::TooBig(mtu);
    if !is_ipv6(frame.head()) {
        icmp_error::refuse::<V4, O>(view, ledger, from, problem, Reason::TooBig, frame, out);
    } else if mtu < MTU6 {
        // Below what IPv6 asks of a link: a host would not believe it (RFC 8201 §4), and less than that it does not send.
        ledger.dropped(Some(&from.cells), Reason::TooBig, frame);
    } else {
        icmp_error::refuse::<V6, O>(view, ledger, from, problem, Reason::TooBig, frame, out);
    }
}

/// The Ethernet and IPv4 headers of an IPv4 frame.
fn headers(head: &[u8]) -> Option<(&[u8; 14], &[u8; ipv4::HEADER])> {
    let (ethernet, l3) = head.split_first_chunk::<14>()?;
    let is_ipv4 = ethernet[12..] == EtherType::IPV4.0.to_be_bytes();
    is_ipv4.then_some((ethernet, l3.first_chunk()?))
}

fn fragmentation(ip: &[u8; ipv4::HEADER]) -> Fragmentation {
    Fragmentation(u16::from_be_bytes([ip[6], ip[7]]))
}

/// A frame from another host that is larger than the port of the vNIC takes, on the last of its hops: the wire may carry
/// more, and a packet socket puts fragments together.
#[cold]
pub fn to_vnic<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    to: &Vnic,
    most: u32,
    frame: O::Frame,
    out: &mut O,
) {
    match headers(frame.head()) {
        Some((_, ip)) if ip[0] >> 4 == 4 && !fragmentation(ip).dont_fragment() => {
            let most = most.min(u32::from(u16::MAX)) as u16;
            fragment(ledger, &to.cells, most, frame, out, |out, _, piece| {
                dispatch::to_vnic(view, ledger, None, to.id, piece, out);
            });
        }
        _ => dispatch::to_vnic(view, ledger, None, to.id, frame, out),
    }
}

/// RFC 791 §3.2: pieces of a multiple of eight bytes, each with the header, no frame longer than `most`; the packet itself ends
/// here, the pieces are copies of its parts. `each` takes a piece and its header.
fn fragment<O: Outlet>(
    ledger: &Ledger,
    account: &Cells,
    most: u16,
    frame: O::Frame,
    out: &mut O,
    mut each: impl FnMut(&mut O, &[u8; ipv4::HEADER], O::Frame),
) {
    let Some((&ethernet, &ip)) = headers(frame.head()) else {
        return ledger.dropped(Some(account), Reason::TooBig, frame);
    };
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let before = 14 + usize::from(ip[0] & 0x0f) * 4;
    let options = frame.head().get(HEADERS..before).map(ArrayVec::try_from);
    let Some(Ok(options)) = options else {
        return ledger.dropped(Some(account), Reason::Malformed, frame);
    };
    let further = copied(&options);
    let payload = total.saturating_sub(before - 14);
    let most = usize::from(most).saturating_sub(before) & !7;
    if most == 0 || payload == 0 || before + payload > frame.len() {
        return ledger.dropped(Some(account), Reason::TooBig, frame);
    }
    let original = fragmentation(&ip);
    // More than an IPv4 packet can have: its pieces would overlap.
    if original.offset() + total > usize::from(u16::MAX) {
        return ledger.dropped(Some(account), Reason::Malformed, frame);
    }
    frame.note(|| Step::Fragmented { most: most as u16 });
    for start in (0..payload).step_by(most) {
        let length = most.min(payload - start);
        let last = start + length == payload;
        let more = !last || original.more_fragments();
        let mut header = ip;
        let offset = (original.0 & 0x1fff) + (start / 8) as u16;
        let flags = if more { Fragmentation::MORE.0 } else { 0 };
        ipv4::set_fragmentation(&mut header, Fragmentation(offset & 0x1fff | flags));
        let options = if start == 0 { &options } else { &further };
        ipv4::set_total_length(&mut header, (ipv4::HEADER + options.len() + length) as u16);
        if before != HEADERS {
            set_options(&mut header, options);
        }
        let mut front = ArrayVec::<u8, { HEADERS + OPTIONS }>::new();
        front.extend(ethernet.into_iter().chain(header));
        front.extend(options.iter().copied());
        ledger.cells().copies.add(1);
        match out.part(&frame, &front, before + start, length) {
            Some(piece) => each(out, &header, piece),
            None => {
                let bytes = (front.len() + length) as u64;
                ledger.lost(Some(account), Reason::PoolEmpty, bytes);
            }
        }
    }
    ledger.cells().consumed.add(1);
}

/// The options that every fragment has: those whose copied flag is set (RFC 791 §3.1), to whole words.
fn copied(options: &[u8]) -> ArrayVec<u8, OPTIONS> {
    let mut kept = ArrayVec::new();
    let mut rest = options;
    while let [kind, behind @ ..] = rest {
        let length = match (kind, behind) {
            // End of the list; no operation.
            (0, _) | (2.., []) => break,
            (1, _) => 1,
            (2.., [length, ..]) => usize::from(*length).max(2),
        };
        let Some((option, after)) = rest.split_at_checked(length) else {
            break;
        };
        if kind & 0x80 != 0 {
            kept.extend(option.iter().copied());
        }
        rest = after;
    }
    while !kept.len().is_multiple_of(4) {
        kept.extend([0]);
    }
    kept
}

/// Says that these options follow a header, and sums both anew.
fn set_options(header: &mut [u8; ipv4::HEADER], options: &[u8]) {
    header[0] = 0x45 + (options.len() / 4) as u8;
    [header[10], header[11]] = [0, 0];
    let mut sum = checksum::Sum::new();
    sum.add(header);
    sum.add(options);
    [header[10], header[11]] = sum.finish().to_be_bytes();
}
