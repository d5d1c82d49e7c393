//! What a misspelt word was probably meant to be.

/// The known field that `name` was probably meant to be: at most two letters off, or one with the other's end cut.
pub fn nearest(name: &str, fields: &'static [&'static str]) -> Option<&'static str> {
    if name.len() > 32 {
        return None;
    }
    let close = fields
        .iter()
        .map(|field| (distance(name, field), *field))
        .min();
    close
        .filter(|(distance, field)| *distance <= 2 && *distance < field.len() / 2 + 1)
        .map(|(_, field)| field)
}

/// Levenshtein's distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y))
                .min(above + 1)
                .min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_field_is_answered_with_the_one_meant() {
        const FIELDS: &[&str] = &["name", "prefixes", "vsid"];
        assert_eq!(nearest("prefix", FIELDS), Some("prefixes"));
        assert_eq!(nearest("vsdi", FIELDS), Some("vsid"));
        assert_eq!(nearest("colour", FIELDS), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
