//! The oracle of [`classes`](crate::classes): one rule after another, the frame read anew for each, in the plainest way; and arbitrary
//! rules from dice, with few values, so that rules and frames meet.

use crate::testing::dice::Dice;
use weir_tables::bandwidth::ClassId;
use weir_tables::filters::{Net, Rule};
use weir_tables::ids::VnicId;

/// The oracle: one rule after another, the frame read anew for each.
pub fn slow(rules: &[Rule], from: VnicId, stripped: Option<u16>, bytes: &[u8]) -> ClassId {
    let fits = |rule: &&Rule| fits(rule, from, stripped, bytes);
    let found = rules.iter().find(fits);
    found.map_or(ClassId::NONE, |rule| rule.class)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn within(net: Net, v4: bool, address: &[u8]) -> bool {
    let number = address
        .iter()
        .fold(0_u128, |all, byte| all << 8 | u128::from(*byte));
    match net {
        Net::V4(net, mask) => v4 && number as u32 & mask == net,
        Net::V6(net, mask) => !v4 && number & mask == net,
    }
}

fn fits(rule: &Rule, from: VnicId, stripped: Option<u16>, bytes: &[u8]) -> bool {
    if bytes.len() < 14 {
        return false;
    }
    if rule.vnics.as_ref().is_some_and(|own| !own.contains(&from)) {
        return false;
    }
    let outer = be16(bytes, 12).unwrap();
    let is_tag = outer == 0x8100 || outer == 0x88a8;
    let (tci, at) = match stripped {
        Some(tci) => (Some(tci), 12),
        None if is_tag && bytes.len() < 18 => return false,
        None if is_tag => (be16(bytes, 14), 16),
        None => (None, 12),
    };
    if rule.pcp.is_some() && rule.pcp != tci.map(|tci| (tci >> 13) as u8) {
        return false;
    }
    let ethertype = be16(bytes, at).unwrap();
    if rule.ethertype.is_some_and(|own| own != ethertype) {
        return false;
    }
    let asks_ip = rule.dscp.is_some()
        || !rule.protocols.is_empty()
        || rule.source.is_some()
        || rule.destination.is_some()
        || rule.port.is_some()
        || rule.source_port.is_some()
        || rule.destination_port.is_some();
    if !asks_ip {
        return true;
    }
    let ip = &bytes[at + 2..];
    let (v4, tos, protocol, l4, source, destination);
    if ethertype == 0x0800 && ip.len() >= 20 && ip[0] >> 4 == 4 {
        let length = usize::from(ip[0] & 15) * 4;
        if length < 20 || length > ip.len() {
            return false;
        }
        let later = be16(ip, 6).unwrap() & 0x1fff != 0;
        (v4, tos, protocol) = (true, ip[1], ip[9]);
        l4 = if later { &[] } else { &ip[length..] };
        (source, destination) = (&ip[12..16], &ip[16..20]);
    } else if ethertype == 0x86dd && ip.len() >= 40 && ip[0] >> 4 == 6 {
        let walked = weir_wire::ipv6::walk(ip);
        protocol = walked.map_or(59, |upper| upper.protocol.0);
        l4 = match walked {
            Ok(upper) if !upper.is_later_fragment => upper.payload,
            _ => &[],
        };
        (v4, tos) = (false, ip[0] << 4 | ip[1] >> 4);
        (source, destination) = (&ip[8..24], &ip[24..40]);
    } else {
        return false;
    }
    let has_ports = [6, 17, 132].contains(&protocol) && l4.len() >= 4;
    let ports = has_ports.then(|| (be16(l4, 0).unwrap(), be16(l4, 2).unwrap()));
    let ports_fit = match ports {
        Some((from, to)) => {
            rule.port.is_none_or(|own| own == from || own == to)
                && rule.source_port.is_none_or(|own| own == from)
                && rule.destination_port.is_none_or(|own| own == to)
        }
        None => rule
            .port
            .or(rule.source_port)
            .or(rule.destination_port)
            .is_none(),
    };
    ports_fit
        && rule.dscp.is_none_or(|own| own == tos >> 2)
        && (rule.protocols.is_empty() || rule.protocols.contains(&protocol))
        && rule.source.is_none_or(|net| within(net, v4, source))
        && rule
            .destination
            .is_none_or(|net| within(net, v4, destination))
}

/// An arbitrary rule; zeroes make one that takes everything.
pub fn rule<D: Dice>(dice: &mut D) -> Rule {
    let class = ClassId(1 + dice.below(7) as u8);
    let ports = [445, 446, 701, 2049, 0, 65_535];
    let port = |dice: &mut D| maybe(dice, |dice| dice.one_of(&ports));
    let nets = [
        Net::V4(0x0a01_0000, 0xffff_0000),
        Net::V4(0x0a02_000c, 0xffff_ffff),
        Net::V6(0xfd << 120, 0xff << 120),
        Net::V6(1, u128::MAX),
    ];
    let net = |dice: &mut D| maybe(dice, |dice| dice.one_of(&nets));
    Rule {
        class,
        vnics: maybe(dice, |dice| {
            let count = dice.below(3);
            (0..count).map(|_| VnicId(dice.below(3) as u32)).collect()
        }),
        ethertype: maybe(dice, |dice| {
            dice.one_of(&[0x0800, 0x86dd, 0x8906, 0x8100, 0x0806])
        }),
        pcp: maybe(dice, |dice| dice.below(8) as u8),
        dscp: maybe(dice, |dice| dice.one_of(&[0, 46, 63])),
        protocols: maybe(dice, |dice| {
            let count = 1 + dice.below(2);
            let protocols = [6, 17, 132, 1, 58];
            (0..count).map(|_| dice.one_of(&protocols)).collect()
        })
        .unwrap_or_default(),
        port: port(dice),
        source_port: port(dice),
        destination_port: port(dice),
        source: net(dice),
        destination: net(dice),
    }
}

fn maybe<D: Dice, T>(dice: &mut D, of: impl FnOnce(&mut D) -> T) -> Option<T> {
    (dice.below(4) == 1).then(|| of(dice))
}
