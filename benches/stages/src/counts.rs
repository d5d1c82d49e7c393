//! Instructions a packet: what callgrind summed up, what is kept, and whether one became dearer.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

/// How much dearer a stage may become before it is a failure: this share, and never less than [`SLACK`] instructions.
pub const BOUND: f64 = 0.03;
/// Instructions a packet that are nothing: a compiler's whim.
pub const SLACK: f64 = 3.0;

/// Instructions a packet of each `scenario/stage`, and what they depend on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// The compiler: another one counts otherwise.
    pub rustc: String,
    /// What it compiled for.
    pub target_cpu: String,
    /// Mappings in each table.
    pub mappings: u32,
    /// Instructions a packet by `scenario/stage`.
    pub instructions: BTreeMap<String, f64>,
}

/// The sum of a callgrind dump, by the text of its file.
pub fn sum(dump: &str) -> Option<u64> {
    let total = |head| dump.lines().find_map(|line| line.strip_prefix(head));
    let text: &str = total("summary: ").or_else(|| total("totals: "))?;
    text.split(' ').next()?.parse().ok()
}

/// Reads the dumps of one run, `BASE.1`, `BASE.2`…, one for each of `names` in order.
pub fn read(base: &Path, names: &[String], packets: usize) -> io::Result<BTreeMap<String, f64>> {
    let mut all = BTreeMap::new();
    for (number, name) in (1..).zip(names) {
        let packets = match crate::LOADS.contains(&name.as_str()) {
            true => crate::load::LOAD_PACKETS,
            false => packets,
        };
        let file = format!("{}.{number}", base.display());
        let text = fs::read_to_string(&file)
            .map_err(|error| io::Error::other(format!("{file} of {name}: {error}")))?;
        let sum = sum(&text).ok_or_else(|| io::Error::other(format!("{file} has no sum")))?;
        // A tenth of an instruction is as fine as it means anything.
        let each = (sum as f64 / packets as f64 * 10.0).round() / 10.0;
        all.insert(name.clone(), each);
    }
    Ok(all)
}

/// What became of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it was, or so little off that it is nothing.
    Same,
    /// Cheaper by more than the bound.
    Cheaper,
    /// Dearer by more than the bound.
    Dearer,
    /// Kept, but no longer there.
    Gone,
    /// Not kept yet.
    New,
}

/// A stage before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// `scenario/stage`.
    pub name: String,
    /// What is kept.
    pub kept: Option<f64>,
    /// What was counted now.
    pub now: Option<f64>,
    /// What became of it.
    pub verdict: Verdict,
}

/// Holds what was counted against what is kept.
pub fn compare(kept: &Counts, now: &Counts) -> Vec<Change> {
    let names = kept.instructions.keys().chain(now.instructions.keys());
    let mut names: Vec<&String> = names.collect();
    names.sort();
    names.dedup();
    let change = |name: &String| {
        let (kept, now) = (kept.instructions.get(name), now.instructions.get(name));
        let verdict = match (kept, now) {
            (Some(kept), Some(now)) => {
                let slack = (kept * BOUND).max(SLACK);
                match now - kept {
                    more if more > slack => Verdict::Dearer,
                    less if less < -slack => Verdict::Cheaper,
                    _ => Verdict::Same,
                }
            }
            (Some(_), None) => Verdict::Gone,
            _ => Verdict::New,
        };
        Change {
            name: name.clone(),
            kept: kept.copied(),
            now: now.copied(),
            verdict,
        }
    };
    names.into_iter().map(change).collect()
}

/// Whether the counts may stay as they are kept. A stage that is new or gone must be kept or forgotten in so many words.
pub fn holds(changes: &[Change]) -> bool {
    let bad = [Verdict::Dearer, Verdict::Gone, Verdict::New];
    changes.iter().all(|change| !bad.contains(&change.verdict))
}

/// The table for a person.
pub fn table(changes: &[Change]) -> String {
    let number = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.1}"));
    let mut text = format!(
        "{:<24} {:>8} {:>8} {:>8}\n",
        "instructions a packet", "kept", "now", ""
    );
    for change in changes {
        let said = match (change.verdict, change.kept, change.now) {
            (Verdict::Same, ..) => String::new(),
            (Verdict::New, ..) => "new".into(),
            (Verdict::Gone, ..) => "gone".into(),
            (_, Some(kept), Some(now)) => format!("{:+.1}%", 100.0 * (now / kept - 1.0)),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "{:<24} {:>8} {:>8} {:>8}",
            change.name,
            number(change.kept),
            number(change.now),
            said
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, f64)]) -> Counts {
        let instructions = of.iter().map(|(name, count)| (name.to_string(), *count));
        Counts {
            instructions: instructions.collect(),
            ..Counts::default()
        }
    }

    #[test]
    fn a_stage_may_not_become_dearer_than_the_bound() {
        let kept = counts(&[("a", 20.0), ("b", 200.0), ("c", 100.0), ("d", 10.0)]);
        let now = counts(&[("a", 22.9), ("b", 206.1), ("c", 50.0), ("e", 1.0)]);
        let changes = compare(&kept, &now);
        let verdicts: Vec<_> = changes.iter().map(|change| change.verdict).collect();
        use Verdict::*;
        assert_eq!(verdicts, [Same, Dearer, Cheaper, Gone, New]);
        assert!(!holds(&changes));
        assert!(holds(&compare(&kept, &kept)));
        assert!(holds(&changes[..1]) && holds(&changes[2..3]));
        for bad in [1, 3, 4] {
            assert!(!holds(&changes[bad..bad + 1]));
        }
    }

    #[test]
    fn the_sum_of_a_dump_is_read() {
        let dump = "version: 1\nevents: Ir\nsummary: 5120\n\nfn=(1)\n0 5120\n\ntotals: 5120\n";
        assert_eq!(sum(dump), Some(5120));
        assert_eq!(sum("events: Ir\n"), None);
    }
}
