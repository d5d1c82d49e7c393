//! A packet's way as people read it.

use std::fmt::Write;
use weir_agent::observe::ask::{Line, PacketTrace};

/// Bytes that are shown unless all are asked for.
const SHOWN: usize = 96;

/// The text of a trace; `full`: with all bytes.
pub fn text(trace: &PacketTrace, full: bool) -> String {
    let mut text = String::new();
    let what = match (trace.imagined, trace.core, trace.time_ns) {
        (true, _, _) => "imagined: nothing was sent, nothing was counted".to_string(),
        (_, core, time) => format!(
            "met on core {} at {}",
            core.map_or("?".into(), |core| core.to_string()),
            time.map_or("?".into(), seconds)
        ),
    };
    let _ = writeln!(text, "packet, {what}");
    for line in &trace.lines {
        match line {
            Line::At {
                point,
                party,
                length,
                bytes,
            } => {
                let party = party.as_deref().unwrap_or("-");
                let _ = writeln!(text, "  at {point:<10} {party:<12} {length} bytes");
                dump(&mut text, bytes, *length, full);
            }
            Line::Step {
                stage,
                verdict,
                text: sentence,
                ..
            } => {
                let _ = writeln!(text, "  {stage:<10} {verdict:<15} {sentence}");
            }
        }
    }
    let reason = trace.reason.as_deref();
    let reason = reason.map_or(String::new(), |reason| format!(", {reason}"));
    let _ = writeln!(text, "verdict: {}{reason}", trace.verdict);
    if trace.lost > 0 {
        let _ = writeln!(
            text,
            "({} lines found no room: some of these may be missing)",
            trace.lost
        );
    }
    text
}

/// Nanoseconds since 1970 as seconds with a fraction, which date(1) takes as `@SECONDS`.
fn seconds(nanoseconds: u64) -> String {
    format!(
        "@{}.{:09}",
        nanoseconds / 1_000_000_000,
        nanoseconds % 1_000_000_000
    )
}

/// Sixteen bytes a line, with what of them is text.
fn dump(text: &mut String, hex: &str, length: u64, full: bool) {
    let digits: Vec<&str> = (0..hex.len() / 2)
        .filter_map(|i| hex.get(2 * i..2 * i + 2))
        .collect();
    let shown = if full {
        digits.len()
    } else {
        digits.len().min(SHOWN)
    };
    for (row, bytes) in digits[..shown].chunks(16).enumerate() {
        let written: Vec<String> = bytes.chunks(8).map(|half| half.join(" ")).collect();
        let plain: String = bytes.iter().map(|byte| printable(byte)).collect();
        let _ = writeln!(
            text,
            "     {:04x}  {:<48}  {plain}",
            row * 16,
            written.join("  ")
        );
    }
    let rest = length.saturating_sub(shown as u64);
    if rest > 0 {
        let _ = writeln!(
            text,
            "     …     {rest} more bytes{}",
            if full { " were not kept" } else { "" }
        );
    }
}

fn printable(hex: &str) -> char {
    match u8::from_str_radix(hex, 16) {
        Ok(byte) if byte.is_ascii_graphic() || byte == b' ' => char::from(byte),
        _ => '.',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_far_as_asked() {
        let trace = PacketTrace {
            imagined: true,
            verdict: "dropped".into(),
            reason: Some("no_record".into()),
            lines: vec![
                Line::At {
                    point: "vnic-rx".into(),
                    party: Some("blue1".into()),
                    length: 100,
                    bytes: "41".repeat(100),
                },
                Line::Step {
                    stage: "lookup".into(),
                    verdict: "none".into(),
                    text: "no vNIC has it".into(),
                    detail: Default::default(),
                },
            ],
            ..PacketTrace::default()
        };
        let short = text(&trace, false);
        assert!(
            short.contains("AAAAAAAAAAAAAAAA\n") && short.contains("4 more bytes"),
            "{short}"
        );
        assert!(
            short.contains("  lookup     none            no vNIC has it\n"),
            "{short}"
        );
        assert!(short.ends_with("verdict: dropped, no_record\n"), "{short}");
        let long = text(&trace, true);
        assert!(
            long.contains("0060  41 41 41 41 ") && !long.contains("more bytes"),
            "{long}"
        );
        assert_eq!(seconds(1_700_000_000_000_000_042), "@1700000000.000000042");
    }
}
