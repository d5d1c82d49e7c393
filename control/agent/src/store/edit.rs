//! Taking one object out of a policy's text, comments and layout kept.

use ipnet::IpNet;
use toml_edit::{ArrayOfTables, DocumentMut, Item, RawString, Table, TableLike};

/// Why nothing was taken out.
#[derive(Debug, PartialEq, Eq)]
pub enum EditError {
    /// The text is not TOML: where (a byte offset), and why.
    NotToml(Option<usize>, String),
    /// There is no such kind.
    UnknownKind,
    /// There is no such object.
    NoSuch,
    /// So many objects have this name.
    Ambiguous(usize),
}

/// `text` without the object of this `kind` and `name`. The comment right above it goes with it; what stands above
/// that, behind a blank line, stays.
pub fn without(text: &str, kind: &str, name: &str) -> Result<String, EditError> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        EditError::NotToml(
            error.span().map(|span| span.start),
            error.message().to_owned(),
        )
    })?;
    let taken = match kind {
        "host" | "switch" | "vm_network" | "traffic_class" | "vnic" => {
            take(document.as_table_mut(), kind, &|table| named(table, name))
        }
        "subnet" => take_inner(&mut document, "subnet", |_| true, &|table| {
            named(table, name)
        }),
        "route" => {
            let (network, prefix) = name.split_once('/').ok_or(EditError::NoSuch)?;
            take_inner(
                &mut document,
                "route",
                |table| named(table, network),
                &|table| to(table, prefix),
            )
        }
        _ => return Err(EditError::UnknownKind),
    }?;
    if let Taken::Table { position, prefix } = taken {
        keep_comment(&mut document, position, &prefix);
    }
    Ok(document.to_string())
}

/// What was taken out.
enum Taken {
    /// A table with a header: where it stood among the document's tables, and what was written above it.
    Table {
        position: Option<isize>,
        prefix: String,
    },
    /// A value in a list; what is written around it went with it.
    Value,
}

fn named(table: &dyn TableLike, name: &str) -> bool {
    table.get("name").and_then(Item::as_str) == Some(name)
}

/// Whether a route leads to this prefix, however it is written.
fn to(route: &dyn TableLike, prefix: &str) -> bool {
    let written = route.get("prefix").and_then(Item::as_str);
    let same = |written: &str| match (written.parse::<IpNet>(), prefix.parse::<IpNet>()) {
        (Ok(written), Ok(prefix)) => written == prefix,
        _ => written == prefix,
    };
    written.is_some_and(same)
}

/// Takes the one object that `wanted` says out of the list `key` of `table`.
fn take(
    table: &mut dyn TableLike,
    key: &str,
    wanted: &dyn Fn(&dyn TableLike) -> bool,
) -> Result<Taken, EditError> {
    let Some(list) = table.get_mut(key) else {
        return Err(EditError::NoSuch);
    };
    let (taken, empty) = match list {
        Item::ArrayOfTables(tables) => {
            let at = only(tables.iter().map(|table| wanted(table)))?;
            let taken = taken(tables, at);
            tables.remove(at);
            (taken, tables.is_empty())
        }
        Item::Value(toml_edit::Value::Array(array)) => {
            let matches = array
                .iter()
                .map(|item| item.as_inline_table().is_some_and(|table| wanted(table)));
            let at = only(matches)?;
            array.remove(at);
            (Taken::Value, array.is_empty())
        }
        _ => return Err(EditError::NoSuch),
    };
    if empty {
        table.remove(key);
    }
    Ok(taken)
}

/// As [`take`], in the list `key` of the VM networks that `of` says.
fn take_inner(
    document: &mut DocumentMut,
    key: &str,
    of: impl Fn(&dyn TableLike) -> bool,
    wanted: &dyn Fn(&dyn TableLike) -> bool,
) -> Result<Taken, EditError> {
    let Some(networks) = document.get_mut("vm_network") else {
        return Err(EditError::NoSuch);
    };
    let networks: Vec<&mut dyn TableLike> = match networks {
        Item::ArrayOfTables(tables) => tables
            .iter_mut()
            .map(|table| table as &mut dyn TableLike)
            .collect(),
        Item::Value(toml_edit::Value::Array(array)) => array
            .iter_mut()
            .filter_map(|item| item.as_inline_table_mut())
            .map(|table| table as &mut dyn TableLike)
            .collect(),
        _ => return Err(EditError::NoSuch),
    };
    let mut holder = None;
    for network in networks.into_iter().filter(|network| of(*network)) {
        let count = count(network.get(key), wanted);
        match (count, &holder) {
            (0, _) => {}
            (1, None) => holder = Some(network),
            (more, None) => return Err(EditError::Ambiguous(more)),
            (more, Some(_)) => return Err(EditError::Ambiguous(more + 1)),
        }
    }
    take(holder.ok_or(EditError::NoSuch)?, key, wanted)
}

/// How many of a list are wanted.
fn count(list: Option<&Item>, wanted: &dyn Fn(&dyn TableLike) -> bool) -> usize {
    match list {
        Some(Item::ArrayOfTables(tables)) => tables.iter().filter(|table| wanted(*table)).count(),
        Some(Item::Value(toml_edit::Value::Array(array))) => array
            .iter()
            .filter_map(|item| item.as_inline_table())
            .filter(|table| wanted(*table))
            .count(),
        _ => 0,
    }
}

/// The place of the only one that is wanted.
fn only(wanted: impl Iterator<Item = bool>) -> Result<usize, EditError> {
    let places: Vec<usize> = wanted
        .enumerate()
        .filter(|(_, wanted)| *wanted)
        .map(|(at, _)| at)
        .collect();
    match places[..] {
        [] => Err(EditError::NoSuch),
        [at] => Ok(at),
        _ => Err(EditError::Ambiguous(places.len())),
    }
}

fn taken(tables: &ArrayOfTables, at: usize) -> Taken {
    let table = tables.get(at);
    let prefix = table
        .and_then(|table| table.decor().prefix())
        .and_then(RawString::as_str);
    Taken::Table {
        position: table.and_then(Table::position),
        prefix: prefix.unwrap_or_default().to_owned(),
    }
}

/// Puts what of `prefix` is not about the table that it stood above on top of the table that comes next, or at the
/// document's end.
fn keep_comment(document: &mut DocumentMut, position: Option<isize>, prefix: &str) {
    let kept = apart(prefix);
    if !kept.contains('#') {
        return;
    }
    let mut next: Option<isize> = None;
    each_table(document.as_table_mut(), &mut |table| {
        if let Some(at) = table.position()
            && Some(at) > position
            && next.is_none_or(|next| at < next)
        {
            next = Some(at);
        }
    });
    let Some(next) = next else {
        let trailing = document.trailing().as_str().unwrap_or_default();
        let trailing = format!("{kept}{trailing}");
        document.set_trailing(trailing);
        return;
    };
    each_table(document.as_table_mut(), &mut |table| {
        if table.position() == Some(next) {
            let own = table
                .decor()
                .prefix()
                .and_then(RawString::as_str)
                .unwrap_or_default();
            let joined = format!("{kept}{}", own.trim_start_matches(['\n', '\r']));
            table.decor_mut().set_prefix(joined);
        }
    });
}

/// The part of the text above a header that ends with its last blank line.
fn apart(prefix: &str) -> &str {
    let mut end = 0;
    let mut at = 0;
    for line in prefix.split_inclusive('\n') {
        at += line.len();
        if line.trim().is_empty() && line.ends_with('\n') {
            end = at;
        }
    }
    &prefix[..end]
}

/// Calls `visit` with every table that has a header of its own, or might have.
fn each_table(table: &mut Table, visit: &mut dyn FnMut(&mut Table)) {
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(inner) => {
                visit(inner);
                each_table(inner, visit);
            }
            Item::ArrayOfTables(tables) => {
                for inner in tables.iter_mut() {
                    visit(inner);
                    each_table(inner, visit);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"# The whole network.
# Ask Ada before changing it.

# Ours.
[[host]]
name = "h1"   # in rack 1

# Theirs.
[[host]]
name = "h2"

[[vm_network]]
name = "blue"

# The web servers.
[[vm_network.subnet]]
name = "web"
[[vm_network.subnet]]
name = "db"
[[vm_network.route]]
prefix = "0.0.0.0/0"

[[vnic]]
name = "blue1"
[vnic.bandwidth]
min = "1Mbit"

# Said of all that follows.

# The last.
[[vnic]]
name = "blue2"
# The end.
"#;

    #[test]
    fn a_comment_above_goes_along_and_the_files_own_stays() {
        let text = without(POLICY, "host", "h1").unwrap();
        let expected = POLICY.replace("# Ours.\n[[host]]\nname = \"h1\"   # in rack 1\n\n", "");
        assert_eq!(text, expected);
    }

    #[test]
    fn everything_else_is_kept_as_it_is_written() {
        for (kind, name, gone) in [
            ("host", "h2", "\n# Theirs.\n[[host]]\nname = \"h2\"\n"),
            (
                "subnet",
                "web",
                "# The web servers.\n[[vm_network.subnet]]\nname = \"web\"\n",
            ),
            ("subnet", "db", "[[vm_network.subnet]]\nname = \"db\"\n"),
            (
                "route",
                "blue/0.0.0.0/0",
                "[[vm_network.route]]\nprefix = \"0.0.0.0/0\"\n",
            ),
            (
                "vnic",
                "blue1",
                "\n[[vnic]]\nname = \"blue1\"\n[vnic.bandwidth]\nmin = \"1Mbit\"\n",
            ),
            ("vnic", "blue2", "# The last.\n[[vnic]]\nname = \"blue2\"\n"),
        ] {
            let text = without(POLICY, kind, name).unwrap();
            let squeezed = |text: &str| text.replace("\n\n", "\n");
            assert_eq!(
                squeezed(&text),
                squeezed(&POLICY.replace(gone, "")),
                "{kind} {name}"
            );
        }
    }

    #[test]
    fn a_network_goes_with_its_subnets_and_routes() {
        let text = without(POLICY, "vm_network", "blue").unwrap();
        assert!(!text.contains("vm_network"), "{text}");
        assert!(text.contains("Said of all") && text.contains("blue1"));
    }

    #[test]
    fn lists_of_inline_tables_work_too() {
        let text = "vnic = [{ name = \"a\" }, { name = \"b\" }] # all\nvm_network = [{ name = \"n\", subnet = [{ name = \"s\" }] }]\n";
        assert_eq!(
            without(text, "vnic", "a").unwrap().lines().next(),
            Some("vnic = [ { name = \"b\" }] # all")
        );
        assert!(without(text, "subnet", "s").unwrap().starts_with(
            "vnic = [{ name = \"a\" }, { name = \"b\" }] # all\nvm_network = [{ name = \"n\""
        ));
    }

    #[test]
    fn what_cannot_be_taken_out_is_named() {
        assert_eq!(without(POLICY, "vnic", "blue9"), Err(EditError::NoSuch));
        assert_eq!(without(POLICY, "route", "blue"), Err(EditError::NoSuch));
        assert_eq!(
            without(POLICY, "route", "red/0.0.0.0/0"),
            Err(EditError::NoSuch)
        );
        assert_eq!(without(POLICY, "switch", "default"), Err(EditError::NoSuch));
        assert_eq!(
            without(POLICY, "uplink", "up0"),
            Err(EditError::UnknownKind)
        );
        let twice = "[[vnic]]\nname = \"a\"\n[[vnic]]\nname = \"a\"\n";
        assert_eq!(without(twice, "vnic", "a"), Err(EditError::Ambiguous(2)));
        // Routes of one prefix that differ in their metric.
        let to_all = "prefix = \"0.0.0.0/0\"";
        let twice = format!(
            "{POLICY}[[vm_network]]\nname = \"red\"\nroute = [{{ {to_all} }}, {{ {to_all} }}]\n"
        );
        assert_eq!(
            without(&twice, "route", "red/0.0.0.0/0"),
            Err(EditError::Ambiguous(2))
        );
        assert!(matches!(
            without("a = \n", "vnic", "a"),
            Err(EditError::NotToml(Some(_), _))
        ));
    }
}
