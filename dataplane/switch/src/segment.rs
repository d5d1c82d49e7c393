//! Frames that stand for many (virtio's GSO): TCP that a VM left to its device to cut into segments. They survive local delivery
//! to a port that takes them whole, and an uplink that cuts inside NVGRE; on every other way they are cut here. UDP that is to be
//! cut (UFO, USO) no guest is offered.

use crate::finish;
use crate::frame::{Frame, Gso, GsoKind};
use crate::l4::L4;
use crate::ledger::Ledger;
use crate::outlet::Outlet;
use crate::shape;
use crate::watch::Step;
use weir_tables::bandwidth::Pace;
use weir_tables::counters::Cells;
use weir_tables::offloads::Offloads;
use weir_tables::reason::Reason;
use weir_wire::checksum::{self, Sum};
use weir_wire::tcp::Flags;
use weir_wire::{IpProtocol, ipv6};

/// Segments that one frame may become: 64 KiB at the least MSS that hosts use in earnest (536 bytes, RFC 9293 §3.7.1) are 123.
/// A VM that asked for more would have the switch work for it beyond measure.
pub const MOST: usize = 256;
/// Bytes of headers that are copied to every segment: Ethernet, IPv6 with extension headers or IPv4 with options, TCP with options.
const HEADERS: usize = 192;
/// Flags that the last segment alone has.
const LAST: u8 = Flags::FIN.0 | Flags::PSH.0;

/// Whether a port with these offloads takes an unfinished frame as it is. What only claims to be TCP or UDP none takes.
#[inline]
pub fn is_taken<F: Frame>(offloads: Offloads, frame: &F) -> bool {
    let gso = frame.gso();
    let segments = Offloads::SEGMENTS.when(gso.is_some());
    offloads.contains(Offloads::CHECKSUM.union(segments)) && is_sound(frame, gso)
}

/// Whether a frame is short enough to leave whole at this pace: a maximum would be over by what is longer than its burst.
#[inline]
pub fn fits_burst<F: Frame>(pace: Pace, hz: u64, frame: &F) -> bool {
    frame.gso().is_none() || pace.time(frame.len() as u64) >> 32 <= u128::from(hz / shape::EARLY)
}

/// Whether it takes it inside NVGRE, where it is not yet.
#[inline]
pub fn is_taken_tunneled<F: Frame>(offloads: Offloads, frame: &F) -> bool {
    let gso = frame.gso();
    let segments = Offloads::TUNNEL_SEGMENTS.when(gso.is_some());
    offloads.contains(Offloads::TUNNEL_CHECKSUM.union(segments)) && is_sound(frame, gso)
}

/// Whether it could be finished or cut here.
fn is_sound<F: Frame>(frame: &F, gso: Option<Gso>) -> bool {
    match gso {
        None => L4::find(frame.head(), frame.len()).is_some(),
        Some(gso) => Cut::of(frame, gso).is_some(),
    }
}

/// Bytes of the largest packet that a frame stands for: its own, or those of its segments. What an MTU is held against.
#[inline]
pub fn longest<F: Frame>(frame: &F) -> usize {
    match frame.gso() {
        None => frame.len(),
        Some(gso) => of_segments(frame, gso),
    }
}

#[inline(never)]
fn of_segments<F: Frame>(frame: &F, gso: Gso) -> usize {
    let l4 = L4::find(frame.head(), frame.len());
    let headers = l4.and_then(|l4| l4.headers(frame.head()));
    let segment = headers.map(|headers| headers + usize::from(gso.segment_size));
    segment.unwrap_or(usize::MAX).min(frame.len())
}

/// Gives `each` what a frame becomes in software, finished: its segments, or the frame itself with its checksum. Who sent it
/// accounts for what cannot be.
#[inline(never)]
pub fn finished<O: Outlet>(
    ledger: &Ledger,
    sender: &Cells,
    mut frame: O::Frame,
    out: &mut O,
    mut each: impl FnMut(&mut O, O::Frame),
) {
    if let Some(gso) = frame.gso() {
        return match Cut::of(&frame, gso) {
            Some(cut) => cut.run(ledger, sender, frame, out, each),
            None => ledger.dropped(Some(sender), Reason::GsoUnsupported, frame),
        };
    }
    if frame.is_unfinished() {
        if let Err(reason) = finish::finish(&mut frame) {
            return ledger.dropped(Some(sender), reason, frame);
        }
        frame.note(|| Step::Finished);
        ledger.checksum_finished(sender);
    }
    each(out, frame);
}

/// How a frame is cut.
struct Cut {
    l4: L4,
    /// The headers before the payload, and how many bytes they are.
    headers: [u8; HEADERS],
    length: usize,
    /// Payload of all segments, in bytes.
    payload: usize,
    /// Payload of each but the last, in bytes.
    segment: usize,
}

impl Cut {
    /// `None` if it is not TCP as `gso` says, or becomes too many.
    fn of<F: Frame>(frame: &F, gso: Gso) -> Option<Cut> {
        let head = frame.head();
        let l4 = L4::find(head, frame.len())?;
        let kind = if l4.is_v6 {
            GsoKind::Tcp6
        } else {
            GsoKind::Tcp4
        };
        let length = l4.headers(head)?;
        let payload = l4.offset + l4.length - length;
        let segment = usize::from(gso.segment_size);
        let mut headers = [0; HEADERS];
        headers
            .get_mut(..length)?
            .copy_from_slice(head.get(..length)?);
        // SYN takes a sequence number, so that it is never cut.
        let syn = headers.get(l4.offset + 13)? & Flags::SYN.0 != 0;
        let is_tcp = l4.protocol == IpProtocol::TCP && gso.kind == kind && !syn;
        // What the checksum covers is told from the IP header: behind a routing header it would be another destination.
        let is_plain = !l4.is_v6 || !has_routing_header(headers.get(14..)?);
        let few = payload <= segment * MOST;
        (is_tcp && is_plain && few && segment != 0).then_some(Cut {
            l4,
            headers,
            length,
            payload,
            segment,
        })
    }

    /// Gives each segment to `each`. The frame ends here; the segments are copies of its parts.
    fn run<O: Outlet>(
        mut self,
        ledger: &Ledger,
        sender: &Cells,
        frame: O::Frame,
        out: &mut O,
        mut each: impl FnMut(&mut O, O::Frame),
    ) {
        // A frame without payload is one segment.
        let count = self.payload.div_ceil(self.segment).max(1);
        frame.note(|| Step::Cut {
            segments: count as u16,
        });
        let id = self.word(18);
        let sequence = self.sequence();
        let flags = self.flags();
        for number in 0..count {
            let start = number * self.segment;
            let part = self.segment.min(self.payload - start);
            self.patch(id, sequence, flags, number, part, number + 1 == count);
            ledger.cells().copies.add(1);
            let front = self.headers.get(..self.length).unwrap_or_default();
            let Some(mut piece) = out.part(&frame, front, self.length + start, part) else {
                ledger.lost(Some(sender), Reason::PoolEmpty, (self.length + part) as u64);
                continue;
            };
            // Headers that were contiguous are so again, unless mbufs are tiny.
            match finish::finish(&mut piece) {
                Ok(()) => each(out, piece),
                Err(reason) => ledger.dropped(Some(sender), reason, piece),
            }
        }
        ledger.cells().consumed.add(1);
        ledger.segmented(sender);
    }

    /// The headers of one segment, its TCP checksum unfinished.
    fn patch(
        &mut self,
        id: u16,
        sequence: u32,
        flags: u8,
        number: usize,
        part: usize,
        is_last: bool,
    ) {
        let l4_len = self.length - self.l4.offset + part;
        let ip_len = self.l4.offset - 14 + l4_len;
        if self.l4.is_v6 {
            self.put(18, ((ip_len - ipv6::HEADER) as u16).to_be_bytes());
        } else {
            self.put(16, (ip_len as u16).to_be_bytes());
            // RFC 6864 §4: an identification is one packet's own; the VM's next packet counts on as it likes, as with any NIC.
            self.put(18, id.wrapping_add(number as u16).to_be_bytes());
            self.put(24, [0, 0]);
            let header = self.headers.get(14..self.l4.offset).unwrap_or_default();
            let sum = checksum::checksum(header);
            self.put(24, sum.to_be_bytes());
        }
        let tcp = self.l4.offset;
        let offset = (number * self.segment) as u32;
        self.put(tcp + 4, sequence.wrapping_add(offset).to_be_bytes());
        let mut own = flags;
        if !is_last {
            own &= !LAST;
        }
        // RFC 3168 §6.1.2: one CWR for one window that was reduced.
        if number != 0 {
            own &= !Flags::CWR.0;
        }
        self.put(tcp + 13, [own]);
        let addresses = if self.l4.is_v6 { 22..54 } else { 26..34 };
        let mut pseudo = Sum::new();
        pseudo.add(self.headers.get(addresses).unwrap_or_default());
        pseudo.add(&(l4_len as u32).to_be_bytes());
        pseudo.add(&[0, IpProtocol::TCP.0]);
        self.put(tcp + 16, pseudo.fold().to_be_bytes());
    }

    fn word(&self, at: usize) -> u16 {
        let bytes = self.headers.get(at..).and_then(|b| b.first_chunk());
        u16::from_be_bytes(bytes.copied().unwrap_or_default())
    }

    fn sequence(&self) -> u32 {
        let at = self.l4.offset + 4;
        let bytes = self.headers.get(at..).and_then(|b| b.first_chunk());
        u32::from_be_bytes(bytes.copied().unwrap_or_default())
    }

    fn flags(&self) -> u8 {
        let flags = self.headers.get(self.l4.offset + 13);
        flags.copied().unwrap_or_default()
    }

    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        let place = self.headers.get_mut(at..);
        if let Some(place) = place.and_then(<[u8]>::first_chunk_mut) {
            *place = bytes;
        }
    }
}

/// Whether a routing header is among the extension headers that [`ipv6::upper_layer`] has walked.
fn has_routing_header(packet: &[u8]) -> bool {
    let Some((header, mut rest)) = packet.split_first_chunk::<{ ipv6::HEADER }>() else {
        return true;
    };
    let mut next = IpProtocol(header[6]);
    loop {
        match next {
            IpProtocol::TCP => return false,
            IpProtocol::HOP_BY_HOP | IpProtocol::DESTINATION => {}
            _ => return true,
        }
        let [following, length, ..] = *rest else {
            return true;
        };
        next = IpProtocol(following);
        rest = rest.get(8 + usize::from(length) * 8..).unwrap_or_default();
    }
}
