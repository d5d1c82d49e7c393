//! A walk of a TOML document that goes on after a mistake, so that every mistake is named at once.
//!
//! serde would stop at the first; here an [`Object`] is one of its tables whose
//! fields are known by name, and whatever is wrong goes into one [`Refusals`] with file, line, object and mend.

use std::collections::HashSet;
use std::fmt::Display;
use std::hash::Hash;
use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::document::{At, Table};
use super::fields::Fault;
use super::misspelt::nearest;
use super::refusals::Refusals;
use super::spans::Line;

/// One table of the document: an object with a fixed set of fields.
#[derive(Debug)]
pub struct Object<'d> {
    table: &'d Table<'d>,
    label: String,
    line: Line,
    fields: &'static [&'static str],
}

impl<'d> Object<'d> {
    /// The object that `table` describes, called `label` in refusals; a field that is not among `fields` is refused.
    pub fn new(
        table: At<&'d Table<'d>>,
        label: String,
        fields: &'static [&'static str],
        refusals: &mut Refusals,
    ) -> Object<'d> {
        for key in table.value.keys() {
            let name: &str = key.get_ref();
            if !fields.contains(&name) {
                let line = refusals.line(key.span());
                let mend = match nearest(name, fields) {
                    Some(near) => format!("write \"{near}\""),
                    None => format!("take it out; the fields here are {}", fields.join(", ")),
                };
                refusals.refuse(
                    line,
                    &label,
                    format!("unknown field \"{}\"", name.escape_debug()),
                    mend,
                );
            }
        }
        Object {
            table: table.value,
            label,
            line: table.line,
            fields,
        }
    }

    /// What it is called in refusals, e.g. `vnic blue1`.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The line of its header.
    pub fn line(&self) -> Line {
        self.line
    }

    /// Whether the field is written.
    pub fn has(&self, field: &str) -> bool {
        self.value(field).is_some()
    }

    /// How many items the field is written with, good or bad; `None` unless it is written and is a list.
    pub fn items(&self, field: &str) -> Option<usize> {
        self.value(field)
            .and_then(|value| value.get_ref().as_array())
            .map(|array| array.len())
    }

    /// Whether so many items are all that is written as `field`.
    pub fn all_read(&self, field: &str, read: usize) -> bool {
        !self.has(field) || self.items(field) == Some(read)
    }

    fn value(&self, field: &str) -> Option<&'d toml::Spanned<DeValue<'d>>> {
        debug_assert!(
            self.fields.contains(&field),
            "{field} is read but not known"
        );
        self.table.get(field)
    }

    fn wrong_type(
        &self,
        field: &str,
        value: &toml::Spanned<DeValue<'d>>,
        expected: &str,
        refusals: &mut Refusals,
    ) {
        let line = refusals.line(value.span());
        let problem = format!("{field} is of type {}", value.get_ref().type_str());
        refusals.refuse(line, &self.label, problem, format!("write {expected}"));
    }

    /// A string, read by `read`.
    pub fn parsed<T>(
        &self,
        field: &str,
        read: impl FnOnce(&str) -> Result<T, Fault>,
        refusals: &mut Refusals,
    ) -> Option<At<T>> {
        let value = self.value(field)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(field, value, "a string in quotation marks", refusals);
            return None;
        };
        let line = refusals.line(value.span());
        match read(text) {
            Ok(value) => Some(At { value, line }),
            Err(fault) => {
                refusals.refuse(
                    line,
                    &self.label,
                    format!("{field}: {}", fault.problem),
                    fault.mend,
                );
                None
            }
        }
    }

    /// As [`Object::parsed`], and refused if it is not written.
    pub fn required<T>(
        &self,
        field: &str,
        read: impl FnOnce(&str) -> Result<T, Fault>,
        example: &str,
        refusals: &mut Refusals,
    ) -> Option<At<T>> {
        if !self.has(field) {
            self.missing(field, example, refusals);
        }
        self.parsed(field, read, refusals)
    }

    /// Refuses the object since `field` is not written.
    pub fn missing(&self, field: &str, example: &str, refusals: &mut Refusals) {
        refusals.refuse(
            self.line,
            &self.label,
            format!("{field} is missing"),
            format!("add {field} = {example}"),
        );
    }

    /// One of a few words.
    pub fn one_of<T: Copy>(
        &self,
        field: &str,
        words: &[(&str, T)],
        refusals: &mut Refusals,
    ) -> Option<At<T>> {
        let read = |text: &str| match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let known: Vec<String> = words
                    .iter()
                    .map(|(word, _)| format!("\"{word}\""))
                    .collect();
                let problem = format!("\"{}\" is not known", text.escape_debug());
                Err(Fault::new(problem, format!("write {}", known.join(" or "))))
            }
        };
        self.parsed(field, read, refusals)
    }

    /// A list of strings, each read by `read`; those that it refuses are left out.
    pub fn list<T>(
        &self,
        field: &str,
        read: impl Fn(&str) -> Result<T, Fault>,
        refusals: &mut Refusals,
    ) -> Vec<At<T>> {
        let Some(value) = self.value(field) else {
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(
                field,
                value,
                "a list of strings in square brackets",
                refusals,
            );
            return Vec::new();
        };
        let mut items = Vec::with_capacity(array.len());
        for item in array.iter() {
            let Some(text) = item.get_ref().as_str() else {
                self.wrong_type(
                    &format!("an item of {field}"),
                    item,
                    "a string in quotation marks",
                    refusals,
                );
                continue;
            };
            let line = refusals.line(item.span());
            match read(text) {
                Ok(value) => items.push(At { value, line }),
                Err(fault) => {
                    refusals.refuse(
                        line,
                        &self.label,
                        format!("{field}: {}", fault.problem),
                        fault.mend,
                    );
                }
            }
        }
        items
    }

    /// As [`Object::list`], and an item that is there twice is refused.
    pub fn set<T: Copy + Eq + Hash + Display>(
        &self,
        field: &str,
        read: impl Fn(&str) -> Result<T, Fault>,
        refusals: &mut Refusals,
    ) -> Vec<At<T>> {
        let mut items = self.list(field, read, refusals);
        if items.len() < 2 {
            return items;
        }
        let mut seen = HashSet::with_capacity(items.len());
        items.retain(|item| {
            let new = seen.insert(item.value);
            if !new {
                let problem = format!("{field}: {} is listed twice", item.value);
                refusals.refuse(item.line, &self.label, problem, "list it once");
            }
            new
        });
        items
    }

    /// A whole number within `range`.
    pub fn integer(
        &self,
        field: &str,
        range: RangeInclusive<i64>,
        refusals: &mut Refusals,
    ) -> Option<At<i64>> {
        let value = self.value(field)?;
        let Some(number) = value.get_ref().as_integer() else {
            self.wrong_type(
                field,
                value,
                "a whole number without quotation marks",
                refusals,
            );
            return None;
        };
        self.within(
            field,
            i64::from_str_radix(number.as_str(), number.radix()).ok(),
            value,
            range,
            refusals,
        )
    }

    fn within(
        &self,
        field: &str,
        number: Option<i64>,
        value: &toml::Spanned<DeValue<'d>>,
        range: RangeInclusive<i64>,
        refusals: &mut Refusals,
    ) -> Option<At<i64>> {
        let line = refusals.line(value.span());
        match number {
            Some(number) if range.contains(&number) => Some(At {
                value: number,
                line,
            }),
            other => {
                let shown =
                    other.map_or_else(|| "the number".to_owned(), |number| number.to_string());
                let problem = format!("{field}: {shown} is out of range");
                let mend = format!("use {} to {}", range.start(), range.end());
                refusals.refuse(line, &self.label, problem, mend);
                None
            }
        }
    }

    /// A list of whole numbers within `range`; those that are not are left out.
    pub fn integers(
        &self,
        field: &str,
        range: RangeInclusive<i64>,
        refusals: &mut Refusals,
    ) -> Vec<At<i64>> {
        let Some(value) = self.value(field) else {
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(
                field,
                value,
                "a list of whole numbers in square brackets",
                refusals,
            );
            return Vec::new();
        };
        let mut numbers = Vec::with_capacity(array.len());
        for item in array.iter() {
            let label = format!("an item of {field}");
            match item.get_ref().as_integer() {
                None => self.wrong_type(
                    &label,
                    item,
                    "a whole number without quotation marks",
                    refusals,
                ),
                Some(number) => {
                    let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
                    numbers.extend(self.within(&label, number, item, range.clone(), refusals));
                }
            }
        }
        numbers
    }

    /// `true` or `false`.
    pub fn boolean(&self, field: &str, refusals: &mut Refusals) -> Option<At<bool>> {
        let value = self.value(field)?;
        let Some(flag) = value.get_ref().as_bool() else {
            self.wrong_type(
                field,
                value,
                "true or false without quotation marks",
                refusals,
            );
            return None;
        };
        Some(At {
            value: flag,
            line: refusals.line(value.span()),
        })
    }

    /// A table inside this one.
    pub fn table(&self, field: &str, refusals: &mut Refusals) -> Option<At<&'d Table<'d>>> {
        let value = self.value(field)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(
                field,
                value,
                &format!("a table, as {field} = {{ }}"),
                refusals,
            );
            return None;
        };
        Some(At {
            value: table,
            line: refusals.line(value.span()),
        })
    }

    /// A list of tables inside this one; `header` is how one is begun.
    pub fn tables(
        &self,
        field: &str,
        header: &str,
        refusals: &mut Refusals,
    ) -> Vec<At<&'d Table<'d>>> {
        let Some(value) = self.value(field) else {
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(
                field,
                value,
                &format!("[[{header}]] before each one"),
                refusals,
            );
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(array.len());
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => tables.push(At {
                    value: table,
                    line: refusals.line(item.span()),
                }),
                None => self.wrong_type(
                    field,
                    item,
                    &format!("[[{header}]] before each one"),
                    refusals,
                ),
            }
        }
        tables
    }
}
