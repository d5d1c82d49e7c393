//! The IPv6 among the arbitrary packets: to the gateway and past it, neighbour discovery honest and forged, extension
//! headers and fragments.

use crate::testing::dice::Dice;
use crate::testing::frames;
use crate::testing::packets::{GATEWAYS, POOL, ca, ca2, mac};
use std::net::{Ipv4Addr, Ipv6Addr};
use weir_tables::domain::{GATEWAY_LINK_LOCAL, GATEWAY_MAC};
use weir_wire::{Mac, icmp6, nd};

/// The IPv6 address beside an IPv4 one: of the /24 fd00:AABB::/64, so that gateways are where they are.
pub(super) fn six(v4: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = v4.octets();
    let high = u16::from_be_bytes([a, b]);
    Ipv6Addr::new(0xfd00, high, u16::from(c), 0, 0, 0, 0, u16::from(d))
}

/// Somebody in IPv6.
fn somebody(to: usize, dice: &mut impl Dice) -> Ipv6Addr {
    match dice.below(8) {
        4 => six(ca2(to)),
        5 => six(dice.one_of(&GATEWAYS)),
        6 => mac(to).link_local(),
        7 => dice.one_of(&[
            GATEWAY_LINK_LOCAL,
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
            Ipv6Addr::LOCALHOST,
            six(ca2(200)),
        ]),
        _ => six(ca(to)),
    }
}

/// A tenant's IPv6 packet of one of many kinds; `ip`: the IPv4 address that its sender has, or claims.
pub(super) fn packet6(
    (dst, src): (Mac, Mac),
    ip: Ipv4Addr,
    l4: impl FnOnce(Ipv6Addr, Ipv6Addr) -> (u8, Vec<u8>),
    dice: &mut impl Dice,
) -> Vec<u8> {
    let to = dice.below(POOL);
    let from = match dice.below(6) {
        4 => src.link_local(),
        5 => dice.one_of(&[Ipv6Addr::UNSPECIFIED, six(ca2(to)), mac(to).link_local()]),
        _ => six(ip),
    };
    let there = somebody(to, dice);
    let mut packet = match dice.below(8) {
        0..4 => {
            let (protocol, l4) = l4(from, there);
            frames::ipv6(from, there, protocol, &l4)
        }
        4 => {
            let kind = dice.one_of(&[
                icmp6::ECHO_REQUEST,
                icmp6::ECHO_REPLY,
                icmp6::UNREACHABLE,
                icmp6::PACKET_TOO_BIG,
                icmp6::REDIRECT,
            ]);
            let (_, payload) = l4(from, there);
            let message = [&[kind, 0, 0, 0, 0, 7, 0, 1], &payload[..]].concat();
            frames::icmp6(from, there, 64, &message)
        }
        5 => {
            // Extension headers, a fragment among them, and neighbour discovery behind them.
            let (protocol, l4) = match dice.rarely(2) {
                true => (58, discovery(src, to, dice)),
                false => l4(from, there),
            };
            let fragment = dice.one_of(&[0x00, 0x01, 0x09]);
            let hidden = dice.one_of(&[44, protocol]);
            let mut inner = vec![hidden, 0, 1, 4, 0, 0, 0, 0];
            if hidden == 44 {
                inner.extend([protocol, 0, 0, fragment, 0, 0, 0, 7]);
            }
            inner.extend(l4);
            frames::ipv6(from, there, 0, &inner)
        }
        _ => return question((dst, src), from, to, dice),
    };
    if dice.rarely(4) {
        packet[7] = dice.one_of(&[0, 1, 2, 255]);
    }
    frames::ether(dst, src, 0x86dd, &packet)
}

/// Neighbour discovery, mostly to those who listen for it.
fn question((dst, src): (Mac, Mac), from: Ipv6Addr, to: usize, dice: &mut impl Dice) -> Vec<u8> {
    let message = discovery(src, to, dice);
    let many = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    let to = dice.one_of(&[many, six(GATEWAYS[0]), GATEWAY_LINK_LOCAL]);
    let dst = match dice.below(4) {
        2 => GATEWAY_MAC,
        3 => dst,
        _ => Mac::new([0x33, 0x33, 0, 0, 0, 2]),
    };
    let hops = if dice.rarely(8) { 64 } else { 255 };
    frames::ether(dst, src, 0x86dd, &frames::icmp6(from, to, hops, &message))
}

/// A message without its checksum.
fn discovery(src: Mac, to: usize, dice: &mut impl Dice) -> Vec<u8> {
    let target = match dice.below(6) {
        3 => six(GATEWAYS[0]),
        4 => dice.one_of(&[GATEWAY_LINK_LOCAL, six(GATEWAYS[1]), six(ca2(to))]),
        5 => mac(to).link_local(),
        _ => six(ca(to)),
    };
    let claimed = if dice.rarely(4) { mac(to) } else { src };
    let any = Ipv6Addr::UNSPECIFIED;
    let mut message = match dice.below(4) {
        2 => {
            let flags = nd::Flags::OVERRIDE;
            let mac = claimed;
            let said = nd::Advertisement { flags, target, mac };
            said.octets(any, any).to_vec()
        }
        3 => {
            let kind = dice.one_of(&[icmp6::ROUTER_SOLICITATION, icmp6::ROUTER_ADVERTISEMENT]);
            let fixed = if kind == icmp6::ROUTER_ADVERTISEMENT {
                16
            } else {
                8
            };
            let mut message = vec![0; fixed];
            message[0] = kind;
            message.extend([1, 1]);
            message.extend(claimed.octets());
            message
        }
        _ => {
            let asked = nd::Solicitation {
                target,
                mac: claimed,
            };
            asked.octets(any, any).to_vec()
        }
    };
    if dice.rarely(4) {
        message.truncate(message.len() - 8);
    }
    message
}
