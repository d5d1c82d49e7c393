//! What objects of the policy and changes of it look like.

use super::pairs;
use crate::table::Table;
use serde_json::Value;
use weir_agent::stats::ApplyReport;

/// How many names a report lists before it says how many more there are.
const NAMES: usize = 40;

/// What a transaction changed.
pub fn report(report: &ApplyReport, _terminal: bool) -> String {
    let mut text = String::new();
    for (sign, names) in [
        ('+', &report.added),
        ('~', &report.changed),
        ('-', &report.removed),
    ] {
        for name in names.iter().take(NAMES) {
            text.push_str(&format!("{sign} {name}\n"));
        }
        if names.len() > NAMES {
            text.push_str(&format!(
                "{sign} … and {} more (-o json names all)\n",
                names.len() - NAMES
            ));
        }
    }
    let (added, changed, removed) = (
        report.added.len(),
        report.changed.len(),
        report.removed.len(),
    );
    let (prefix, revision) = match report.dry_run {
        true => ("dry run, nothing is changed: would be ", String::new()),
        false => ("", format!("; revision {}", report.revision)),
    };
    let unchanged = report.unchanged;
    text.push_str(&format!("{prefix}{added} added, {changed} changed, {removed} removed, {unchanged} unchanged{revision}\n"));
    text
}

/// Objects of one kind: a table with a column for each field that any of them has; one alone as a list of its fields.
pub fn objects(objects: &[Value], one: bool, terminal: bool) -> String {
    if let ([Value::Object(object)], true) = (objects, one) {
        let lines: Vec<(String, String)> = fields(object);
        return pairs(
            lines
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        );
    }
    if objects.is_empty() && terminal {
        return "there is none\n".into();
    }
    let rows: Vec<Vec<(String, String)>> = objects
        .iter()
        .filter_map(Value::as_object)
        .map(fields)
        .collect();
    let mut heads: Vec<String> = Vec::new();
    for (key, _) in rows.iter().flatten() {
        if !heads.contains(key) {
            heads.push(key.clone());
        }
    }
    let mut table = Table::new(heads.iter().map(String::as_str));
    for row in &rows {
        table.row(heads.iter().map(|head| {
            row.iter()
                .find(|(key, _)| key == head)
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        }));
    }
    table.render(terminal)
}

/// Fields in order; those of tables within it by their path, such as `bandwidth.max`.
fn fields(object: &serde_json::Map<String, Value>) -> Vec<(String, String)> {
    let mut fields_ = Vec::new();
    for (key, value) in object {
        match value {
            Value::Object(inner) => {
                fields_.extend(
                    fields(inner)
                        .into_iter()
                        .map(|(inner_key, v)| (format!("{key}.{inner_key}"), v)),
                );
            }
            other => fields_.push((key.clone(), scalar(other))),
        }
    }
    fields_
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(scalar).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
