//! IPv6 and its extension headers (RFC 8200).

use crate::{IpProtocol, Malformed};

/// Extension headers that are walked before giving up: more than any honest packet has, and a bound on work.
pub const MAX_EXTENSIONS: usize = 8;

/// What lies behind the extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper<'a> {
    /// The upper layer's protocol.
    pub protocol: IpProtocol,
    /// Its bytes, as far as they are there; of a later fragment, not its header.
    pub payload: &'a [u8],
    /// Whether a fragment header was passed, be it an atomic one (RFC 6946) or not.
    pub is_fragment: bool,
    /// Whether the upper layer's header is elsewhere: a fragment offset other than 0.
    pub is_later_fragment: bool,
}

/// Walks from the fixed header of `packet` to the upper layer.
#[inline]
pub fn walk(packet: &[u8]) -> Result<Upper<'_>, Malformed> {
    let (header, mut rest) = packet
        .split_first_chunk::<40>()
        .ok_or(Malformed::Truncated)?;
    let mut next = IpProtocol(header[6]);
    let mut is_fragment = false;
    for _ in 0..=MAX_EXTENSIONS {
        let (len, later) = match next {
            IpProtocol::HOP_BY_HOP | IpProtocol::ROUTING | IpProtocol::DESTINATION => {
                // RFC 8200 §4.3: in 8-octet units, not counting the first.
                let [_, len] = *rest.first_chunk::<2>().ok_or(Malformed::Truncated)?;
                (8 + usize::from(len) * 8, false)
            }
            IpProtocol::AUTHENTICATION => {
                // RFC 4302 §2.2: in 4-octet units, minus 2.
                let [_, len] = *rest.first_chunk::<2>().ok_or(Malformed::Truncated)?;
                ((usize::from(len) + 2) * 4, false)
            }
            IpProtocol::FRAGMENT => {
                let [_, _, o0, o1] = *rest.first_chunk::<4>().ok_or(Malformed::Truncated)?;
                is_fragment = true;
                (8, u16::from_be_bytes([o0, o1]) & 0xfff8 != 0)
            }
            protocol => {
                return Ok(Upper {
                    protocol,
                    payload: rest,
                    is_fragment,
                    is_later_fragment: false,
                });
            }
        };
        next = IpProtocol(*rest.first().ok_or(Malformed::Truncated)?);
        rest = rest.get(len..).ok_or(Malformed::Truncated)?;
        if later {
            return Ok(Upper {
                protocol: next,
                payload: rest,
                is_fragment,
                is_later_fragment: true,
            });
        }
    }
    Err(Malformed::HeaderLength)
}

/// The upper layer's protocol and bytes; `None` for a packet that is cut short or is a fragment.
#[inline]
pub fn upper_layer(packet: &[u8]) -> Option<(IpProtocol, &[u8])> {
    let upper = walk(packet).ok()?;
    (!upper.is_fragment).then_some((upper.protocol, upper.payload))
}
