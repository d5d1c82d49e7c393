//! IGMP, as a host speaks it about groups that it listens to: RFC 3376 (version 3) and RFC 2236 (version 2).

use crate::checksum;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Everybody on the link: to whom general queries go.
pub const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// To whom version 2 says that a group is left (RFC 2236 §9).
pub const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
/// To whom version 3 reports (RFC 3376 §4.2.14).
pub const ROUTERS_V3: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);

const QUERY: u8 = 0x11;
const REPORT_V2: u8 = 0x16;
const LEAVE_V2: u8 = 0x17;
const REPORT_V3: u8 = 0x22;
/// A version 1 query has no time in it and means ten seconds (RFC 2236 §4).
const V1_TIME: Duration = Duration::from_secs(10);

/// A router asks who listens to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// To this group, or with `None` to any.
    pub group: Option<Ipv4Addr>,
    /// Within this time it wants to know.
    pub within: Duration,
    /// Whether it understands version 3 (RFC 3376 §7.1: by the length).
    pub is_v3: bool,
}

impl Query {
    /// Reads the payload of an IPv4 packet. `None` if it is no query, or a broken one.
    pub fn parse(payload: &[u8]) -> Option<Query> {
        let [kind, code, _, _, group @ ..] = *payload.first_chunk::<8>()?;
        let is_v3 = match payload.len() {
            8 => false,
            12.. => true,
            _ => return None,
        };
        if kind != QUERY || checksum::sum(payload) != 0xffff {
            return None;
        }
        let group = Ipv4Addr::from(group);
        let within = match code {
            0 if !is_v3 => V1_TIME,
            code if is_v3 => tenths(float(code)),
            code => tenths(code.into()),
        };
        Some(Query {
            group: (!group.is_unspecified()).then_some(group),
            within,
            is_v3,
        })
    }

    /// The payload of a query of version 3, or 2.
    pub fn octets(&self) -> Vec<u8> {
        let code = (self.within.as_millis() / 100).min(127) as u8;
        let mut message = vec![QUERY, code, 0, 0];
        message.extend(self.group.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        if self.is_v3 {
            // Robustness 2, asked every 125 s, no sources.
            message.extend([2, 125, 0, 0]);
        }
        finish(message)
    }
}

fn tenths(number: u32) -> Duration {
    Duration::from_millis(u64::from(number) * 100)
}

/// RFC 3376 §4.1.1: from 128 on a mantissa of four bits and an exponent of three.
fn float(code: u8) -> u32 {
    let code = u32::from(code);
    match code {
        0..128 => code,
        _ => (code & 0x0f | 0x10) << ((code >> 4 & 7) + 3),
    }
}

/// What a version 3 report says of a group, from any source (RFC 3376 §4.2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Asked: this host listens.
    Listens = 2,
    /// It listens no longer.
    Leaves = 3,
    /// From now on it listens.
    Joins = 4,
}

/// The payload of a version 3 report of one group, to [`ROUTERS_V3`].
pub fn report_v3(says: Says, group: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![REPORT_V3, 0, 0, 0, 0, 0, 0, 1, says as u8, 0, 0, 0];
    message.extend(group.octets());
    finish(message)
}

/// The payload of a version 2 report, to the group, or of its leave, to [`ALL_ROUTERS`].
pub fn report_v2(leaves: bool, group: Ipv4Addr) -> Vec<u8> {
    let kind = if leaves { LEAVE_V2 } else { REPORT_V2 };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(group.octets());
    finish(message)
}

fn finish(mut message: Vec<u8>) -> Vec<u8> {
    let sum = checksum::checksum(&message).to_be_bytes();
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&sum);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);

    #[test]
    fn golden_reports() {
        assert_eq!(
            report_v3(Says::Joins, GROUP),
            [0x22, 0, 0xe9, 0xfb, 0, 0, 0, 1, 4, 0, 0, 0, 239, 1, 1, 1]
        );
        assert_eq!(report_v2(false, GROUP), [0x16, 0, 0xf9, 0xfc, 239, 1, 1, 1]);
        assert_eq!(report_v2(true, GROUP), [0x17, 0, 0xf8, 0xfc, 239, 1, 1, 1]);
    }

    #[test]
    fn queries_are_read_and_broken_ones_are_not() {
        for group in [None, Some(GROUP)] {
            for is_v3 in [false, true] {
                let within = Duration::from_secs(5);
                let query = Query {
                    group,
                    within,
                    is_v3,
                };
                let octets = query.octets();
                assert_eq!(Query::parse(&octets), Some(query));
                for at in 0..octets.len() {
                    let mut broken = octets.clone();
                    broken[at] ^= 1;
                    assert_eq!(Query::parse(&broken), None);
                }
                assert_eq!(Query::parse(&octets[..7]), None);
            }
        }
        // Version 1, and the largest time of version 3.
        let v1 = finish(vec![0x11, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Query::parse(&v1).unwrap().within, V1_TIME);
        let long = finish(vec![0x11, 0xff, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]);
        assert_eq!(
            Query::parse(&long).unwrap().within,
            Duration::from_millis(3_174_400)
        );
        assert_eq!(Query::parse(&report_v2(false, GROUP)), None);
        assert_eq!(Query::parse(&[]), None);
    }
}
