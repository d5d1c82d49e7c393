//! `[[switch.dcb]]`: the DCB traffic classes of the switch's uplinks (IEEE 802.1Qaz), which of them priorities go to, and how the link
//! chooses among them.

use std::collections::HashMap;

use weir_tables::bandwidth::{TCS, Tc};

use crate::config::document::At;
use crate::config::reader::Object;
use crate::config::refusals::Refusals;
use crate::config::spans::Line;

/// One DCB traffic class, as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Dcb {
    /// Its number, 0 to 7.
    pub tc: u8,
    /// Whether it goes before those that are not.
    pub strict: bool,
    /// Its ETS share in percent; `None` of a strict one.
    pub share: Option<u8>,
    /// The priorities (802.1Q PCP) that are of it, each of one class alone.
    pub priorities: Vec<u8>,
    /// Where it is written.
    pub line: Line,
}

/// How a link chooses: the classes, and which of them each priority goes to. Priorities that no class has, and the shares that
/// the others leave, are those of class 0.
pub fn table(dcb: &[Dcb]) -> ([Tc; TCS], [u8; 8]) {
    let mut tcs = [Tc::ets(0); TCS];
    let mut priorities = [0; 8];
    let mut left = 100_u8;
    for class in dcb {
        let share = class.share.unwrap_or(0);
        left = left.saturating_sub(share);
        if let Some(place) = tcs.get_mut(usize::from(class.tc)) {
            *place = Tc {
                strict: class.strict,
                share,
            };
        }
        for priority in &class.priorities {
            if let Some(place) = priorities.get_mut(usize::from(*priority)) {
                *place = class.tc;
            }
        }
    }
    if dcb.iter().all(|class| class.tc != 0) {
        tcs[0] = Tc::ets(left);
    }
    (tcs, priorities)
}

/// Reads all of a switch.
pub fn read(switch: &Object<'_>, refusals: &mut Refusals) -> Vec<Dcb> {
    let mut read = Vec::new();
    let (mut numbers, mut owners) = (HashMap::new(), HashMap::new());
    for table in switch.tables("dcb", "switch.dcb", refusals) {
        let label = format!("{}, dcb in line {}", switch.label(), table.line.0);
        let fields = &["tc", "strict", "share", "priorities"];
        let object = Object::new(table, label, fields, refusals);
        let tc = object.integer("tc", 0..=7, refusals);
        if !object.has("tc") {
            object.missing("tc", "1, the number of the DCB traffic class", refusals);
        }
        let strict = object.boolean("strict", refusals);
        let is_strict = strict.is_some_and(|strict| strict.value);
        let share = object.integer("share", 1..=100, refusals);
        match (&share, is_strict) {
            (Some(share), true) => {
                let problem = "share: a strict class takes what it needs before the others";
                let mend = "take share out, or strict = true";
                refusals.refuse(share.line, object.label(), problem, mend);
            }
            (None, false) if !object.has("share") => {
                object.missing(
                    "share",
                    "40, percent of the link; or strict = true",
                    refusals,
                );
            }
            _ => {}
        }
        let priorities = object.integers("priorities", 0..=7, refusals);
        for At { value, line } in &priorities {
            if let Some(first) = owners.insert(*value, *line) {
                let problem = format!(
                    "priorities: {value} is already that of a class in line {}",
                    first.0
                );
                let mend = "give each priority to one DCB traffic class";
                refusals.refuse(*line, object.label(), problem, mend);
            }
        }
        let Some(tc) = tc else { continue };
        if let Some(first) = numbers.insert(tc.value, tc.line) {
            let problem = format!("tc: {} is already the class in line {}", tc.value, first.0);
            refusals.refuse(
                tc.line,
                object.label(),
                problem,
                "give each a number of its own",
            );
            continue;
        }
        let small = |number: i64| u8::try_from(number).unwrap_or(0);
        read.push(Dcb {
            tc: small(tc.value),
            strict: is_strict,
            share: share.filter(|_| !is_strict).map(|share| small(share.value)),
            priorities: priorities.iter().map(|own| small(own.value)).collect(),
            line: object.line(),
        });
    }
    check_sum(&read, switch, refusals);
    read
}

/// Shares are percent of one link.
fn check_sum(read: &[Dcb], switch: &Object<'_>, refusals: &mut Refusals) {
    let sum: u32 = read
        .iter()
        .map(|dcb| u32::from(dcb.share.unwrap_or(0)))
        .sum();
    let has_zero = read.iter().any(|dcb| dcb.tc == 0);
    let Some(last) = read.last() else { return };
    let (problem, mend) = match (sum, has_zero) {
        (101.., _) => (
            format!("share: the shares of all DCB traffic classes are {sum} % together"),
            "write shares of 100 % together",
        ),
        (100, false) => (
            "share: nothing is left for class 0, which has all that is of no other".to_owned(),
            "leave it some, or write [[switch.dcb]] with tc = 0",
        ),
        _ => return,
    };
    refusals.refuse(last.line, switch.label(), problem, mend);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_0_has_what_the_others_leave() {
        let dcb = |tc, share, priorities: &[u8]| Dcb {
            tc,
            strict: share == 0,
            share: (share > 0).then_some(share),
            priorities: priorities.into(),
            line: Line(1),
        };
        let (tcs, priorities) = table(&[]);
        assert_eq!((tcs[0], tcs[1]), (Tc::ets(100), Tc::ets(0)));
        assert_eq!(priorities, [0; 8]);
        let (tcs, priorities) = table(&[dcb(1, 40, &[3, 4]), dcb(7, 0, &[6])]);
        assert_eq!((tcs[0], tcs[1]), (Tc::ets(60), Tc::ets(40)));
        assert!(tcs[7].strict && !tcs[1].strict);
        assert_eq!(priorities, [0, 0, 0, 1, 1, 0, 7, 0]);
        let (tcs, _) = table(&[dcb(0, 10, &[]), dcb(1, 40, &[])]);
        assert_eq!(tcs[0], Tc::ets(10));
    }
}
