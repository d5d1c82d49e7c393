//! What the demo found: checks, the traffic behind them, and the hosts' counters; as a table or as one JSON object.

use crate::output::Out;
use crate::table::Table;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::io;
use weir_agent::stats::{DropRow, Stats};

/// One thing that was to be so.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What, with stable words.
    pub name: String,
    /// Whether it is so.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
    /// The row of the table of traffic, if it is about traffic.
    #[serde(skip)]
    pub row: Option<Row>,
}

/// A row of the table: who sent what to whom, and what came of it.
#[derive(Debug, Default)]
pub struct Row {
    /// The sender's name.
    pub from: String,
    /// The receiver's name, or an address.
    pub to: String,
    /// The kind of traffic.
    pub traffic: String,
    /// Whether it was to arrive.
    pub allowed: bool,
    /// What arrived.
    pub seen: String,
    /// Mbit/s, where it was measured.
    pub mbit: Option<f64>,
    /// Loss in percent, where it was measured.
    pub loss: Option<f64>,
}

impl Check {
    /// A check without a row.
    pub fn new(name: impl Into<String>, ok: bool, detail: impl Into<String>) -> Check {
        Check {
            name: name.into(),
            ok,
            detail: detail.into(),
            row: None,
        }
    }

    /// A check of traffic; what was seen is its detail.
    pub fn of(name: impl Into<String>, ok: bool, row: Row) -> Check {
        let mut detail = row.seen.clone();
        if let Some(mbit) = row.mbit {
            detail.push_str(&format!(", {mbit:.1} Mbit/s"));
        }
        if let Some(loss) = row.loss {
            detail.push_str(&format!(", {loss:.2} % lost"));
        }
        Check {
            row: Some(row),
            ..Check::new(name, ok, detail)
        }
    }
}

/// A host's counters, just before it was ended.
#[derive(Debug, Serialize)]
pub struct Host {
    /// As `weir stats -o json`.
    pub stats: Stats,
    /// As `weir drops -o json`.
    pub drops: Vec<DropRow>,
}

/// Everything.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order of the steps.
    pub checks: Vec<Check>,
    /// By name.
    pub hosts: BTreeMap<&'static str, Host>,
}

impl Report {
    /// Whether there was anything to check and all of it was so.
    pub fn ok(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.ok)
    }

    /// Writes it.
    pub fn print(&self, out: &mut Out) -> io::Result<()> {
        if out.is_json() {
            return out.json(self);
        }
        let terminal = out.is_terminal();
        let traffic = self.traffic(terminal);
        if !traffic.is_empty() {
            out.text(&format!("\n{traffic}"))?;
        }
        if !self.hosts.is_empty() {
            out.text(&format!("\nDrops by reason:\n{}", self.drops(terminal)))?;
        }
        out.text("")?;
        for check in self.checks.iter().filter(|check| !check.ok) {
            out.text(&format!("NOT OK  {}: {}", check.name, check.detail))?;
        }
        let good = self.checks.iter().filter(|check| check.ok).count();
        let all = self.checks.len();
        out.text(&format!("{good} of {all} checks are as they should be"))
    }

    fn traffic(&self, terminal: bool) -> String {
        let heads = [
            "from", "to", "traffic", "is to", "seen", "#Mbit/s", "#loss %", "verdict",
        ];
        let mut table = Table::new(heads);
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(String::new, |value| format!("{value:.digits$}"))
        };
        for check in &self.checks {
            let Some(row) = &check.row else { continue };
            let (wish, good) = match row.allowed {
                true => ("arrive", "arrived"),
                false => ("be kept apart", "kept apart"),
            };
            table.row([
                row.from.clone(),
                row.to.clone(),
                row.traffic.clone(),
                wish.to_string(),
                row.seen.clone(),
                number(row.mbit, 1),
                number(row.loss, 2),
                if check.ok { good } else { "NOT OK" }.to_string(),
            ]);
        }
        if table.is_empty() {
            return String::new();
        }
        table.render(terminal)
    }

    fn drops(&self, terminal: bool) -> String {
        let mut table = Table::new([
            "host",
            "reason",
            "at",
            "tenant",
            "#packets",
            "what it means",
        ]);
        for (host, of) in &self.hosts {
            for row in &of.drops {
                let at = row.vnic.clone().or_else(|| row.uplink.clone());
                table.row([
                    host.to_string(),
                    row.reason.clone(),
                    at.unwrap_or_default(),
                    row.tenant.clone().unwrap_or_default(),
                    row.packets.to_string(),
                    row.help.clone(),
                ]);
            }
        }
        if table.is_empty() {
            return "none\n".into();
        }
        table.render(terminal)
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shape<'a> {
            ok: bool,
            checks: &'a [Check],
            hosts: &'a BTreeMap<&'static str, Host>,
        }
        Shape {
            ok: self.ok(),
            checks: &self.checks,
            hosts: &self.hosts,
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_exactly_its_three_parts_and_nothing_checked_is_not_ok() {
        let mut report = Report::default();
        assert!(!report.ok());
        let row = Row {
            seen: "5 of 5".into(),
            loss: Some(0.0),
            ..Row::default()
        };
        report.checks.push(Check::of("ping", true, row));
        let json = serde_json::to_value(&report).unwrap();
        let want = serde_json::json!({
            "ok": true, "hosts": {},
            "checks": [{"name": "ping", "ok": true, "detail": "5 of 5, 0.00 % lost"}],
        });
        assert_eq!(json, want);
    }
}
