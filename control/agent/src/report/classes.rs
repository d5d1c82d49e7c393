//! What vNICs send, by traffic class.

use std::collections::BTreeMap;

use weir_tables::bandwidth::ClassId;
use weir_tables::by_class::ClassCount;
use weir_tables::counters::Cells;

use crate::config::fields::Name;
use crate::state::State;
use crate::stats::{ClassRefused, ClassStats};

/// The names of traffic classes by their numbers.
pub(super) type Names = BTreeMap<ClassId, Name>;

impl State {
    /// The names of the traffic classes that there are.
    pub(super) fn class_names(&self) -> Names {
        let classes = self.plan.sharing.classes.iter();
        let named =
            classes.filter_map(|own| Some((self.tables.class(&own.name)?, own.name.clone())));
        named.collect()
    }
}

/// What all workers counted, by class, of those that there are and of none.
fn counts(cells: &Cells, names: &Names) -> BTreeMap<ClassId, ClassCount> {
    let mut all = BTreeMap::<_, ClassCount>::new();
    for (class, own) in cells.iter().flat_map(|cell| cell.classes.iter()) {
        let count = own.count();
        if count != ClassCount::default() && (class == ClassId::NONE || names.contains_key(&class))
        {
            let sum = all.entry(class).or_default();
            *sum = sum.plus(count);
        }
    }
    all
}

fn name(class: ClassId, names: &Names) -> String {
    names.get(&class).map_or(String::new(), ToString::to_string)
}

/// What a vNIC has sent in each class, where there are classes.
pub(super) fn sent(cells: &Cells, names: &Names) -> Vec<ClassStats> {
    if names.is_empty() {
        return Vec::new();
    }
    let rows = counts(cells, names);
    let rows = rows.into_iter().map(|(class, own)| ClassStats {
        class: name(class, names),
        sent_packets: own.sent_packets,
        sent_bytes: own.sent_bytes,
        queued: own.queued_packets,
        queue_bytes: own.queued_bytes,
        dropped: own.dropped_packets,
        dropped_bytes: own.dropped_bytes,
    });
    rows.collect()
}

/// What was refused of it, by class.
pub(super) fn refused(cells: &Cells, names: &Names) -> Vec<ClassRefused> {
    let mut all = BTreeMap::from([(ClassId::NONE, 0)]);
    for cell in cells.iter() {
        *all.entry(ClassId::NONE).or_default() += cell.classes.unclassed.get();
    }
    for (class, own) in counts(cells, names) {
        *all.entry(class).or_default() += own.dropped_packets;
    }
    let some = all.into_iter().filter(|(_, packets)| *packets > 0);
    let rows = some.map(|(class, packets)| ClassRefused {
        class: name(class, names),
        packets,
    });
    rows.collect()
}
