//! Charts as SVG text: bars with whiskers, and curves over a logarithmic axis. Colours come from the page's style.

use std::fmt::Write;

/// Bytes that mean something in HTML, written so that they do not.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A bar.
#[derive(Clone, Debug, Default)]
pub struct Bar {
    /// What it is of.
    pub name: String,
    /// How long it is.
    pub value: f64,
    /// From where to where its whisker reaches.
    pub range: Option<(f64, f64)>,
}

/// A curve.
#[derive(Clone, Debug, Default)]
pub struct Curve {
    /// What it is of.
    pub name: String,
    /// Its points, by x.
    pub points: Vec<(f64, f64)>,
}

/// Colours of curves: Weir has the page's own.
const COLOURS: [&str; 7] = [
    "#e8590c", "#7048e8", "#2b8a3e", "#c2255c", "#1971c2", "#f08c00", "#868e96",
];

const WIDTH: f64 = 520.0;
/// A curve of more points than this has no dots on it.
const DOTS: usize = 40;

/// Horizontal bars, each with its figure.
pub fn bars(all: &[Bar], unit: &str) -> String {
    // Names are of 12 pixels, about 6.7 a letter.
    let longest = all.iter().map(|bar| bar.name.chars().count()).max();
    let left = (longest.unwrap_or(0) as f64 * 6.7 + 16.0).clamp(110.0, 220.0);
    let (row, right) = (28.0, 95.0);
    let most = all
        .iter()
        .map(|bar| bar.range.map_or(bar.value, |it| it.1.max(bar.value)));
    let most = most.fold(0.0, f64::max).max(1e-9);
    let scale = (WIDTH - left - right) / most;
    let height = row * all.len() as f64 + 6.0;
    let mut svg = open(height);
    for (place, bar) in all.iter().enumerate() {
        let top = row * place as f64 + 3.0;
        let middle = top + row / 2.0;
        let colour = if all.iter().any(|it| it.name == "weir") && bar.name != "weir" {
            "var(--other)"
        } else {
            "var(--weir)"
        };
        let _ = write!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{left}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" style=\"fill:{colour}\"/>",
            left - 8.0,
            middle + 4.0,
            escape(&bar.name),
            top + 4.0,
            (bar.value * scale).max(0.5),
            row - 8.0,
        );
        let mut end = left + bar.value * scale;
        if let Some((low, high)) = bar.range {
            let (from, to) = (left + low * scale, left + high * scale);
            let _ = write!(
                svg,
                "<path class=\"whisker\" fill=\"none\" d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}v8M{to:.1} {:.1}v8\"/>",
                middle - 4.0,
                middle - 4.0,
            );
            end = end.max(to);
        }
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\">{}<tspan class=\"dim\"> {}</tspan></text>",
            end + 7.0,
            middle + 4.0,
            figure(bar.value),
            escape(unit)
        );
    }
    svg + "</svg>"
}

/// Curves with a legend below; `ticks` are marks of the x axis.
pub fn curves(all: &[Curve], ticks: &[(f64, String)], log: bool) -> String {
    let (left, right, top, deep) = (46.0, 16.0, 10.0, 210.0);
    let x_of = |x: f64| if log { x.max(1.0).log10() } else { x };
    let xs = ticks.iter().map(|tick| x_of(tick.0));
    let (from, to) = xs.fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
    let span = (to - from).max(1e-9);
    let points = all.iter().flat_map(|curve| &curve.points);
    let step = step(points.map(|point| point.1).fold(0.0, f64::max));
    let most = step * 5.0;
    let x = |value: f64| left + 14.0 + (x_of(value) - from) / span * (WIDTH - left - right - 28.0);
    let y = |value: f64| top + deep * (1.0 - value / most);
    let legend = all.len().div_ceil(3) as f64 * 20.0;
    let mut svg = open(top + deep + 34.0 + legend);
    for line in 0..=5 {
        let value = step * f64::from(line);
        let _ = write!(
            svg,
            "<path class=\"axis\" d=\"M{left} {0:.1}H{1:.1}\"/><text class=\"dim\" x=\"{2:.1}\" y=\"{3:.1}\" text-anchor=\"end\">{4}</text>",
            y(value),
            WIDTH - right,
            left - 7.0,
            y(value) + 4.0,
            figure(value)
        );
    }
    for (value, label) in ticks {
        let _ = write!(
            svg,
            "<text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x(*value),
            top + deep + 18.0,
            escape(label)
        );
    }
    let others = all
        .iter()
        .filter(|curve| curve.name != "weir")
        .map(|curve| &curve.name);
    let others: Vec<&String> = others.collect();
    for (place, curve) in all.iter().enumerate() {
        let rank = others.iter().position(|name| **name == curve.name);
        let colour = rank.map_or("var(--weir)", |rank| COLOURS[rank % COLOURS.len()]);
        let wide = if rank.is_none() { 3.0 } else { 2.0 };
        let mut path = String::new();
        for (number, point) in curve.points.iter().enumerate() {
            let letter = if number == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", x(point.0), y(point.1));
            if curve.points.len() > DOTS {
                continue;
            }
            let _ = write!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" style=\"fill:{colour}\"><title>{}: {}</title></circle>",
                x(point.0),
                y(point.1),
                escape(&curve.name),
                figure(point.1)
            );
        }
        let (column, line) = ((place % 3) as f64, (place / 3) as f64);
        let (at, under) = (left + column * 155.0, top + deep + 40.0 + 20.0 * line);
        let _ = write!(
            svg,
            "<path d=\"{path}\" style=\"fill:none;stroke:{colour};stroke-width:{wide};stroke-linejoin:round\"/>\
             <path d=\"M{at:.1} {under:.1}h18\" style=\"stroke:{colour};stroke-width:{wide}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            at + 24.0,
            under + 4.0,
            escape(&curve.name)
        );
    }
    svg + "</svg>"
}

fn open(height: f64) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\">")
}

/// Three digits or so.
fn figure(value: f64) -> String {
    match value {
        0.0 => "0".into(),
        v if v >= 1e6 => format!("{:.0} M", v / 1e6),
        v if v >= 100.0 || v.fract() == 0.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// A fifth of the axis, which reaches at least to `most`: 1, 2, 4, 5 or 8 times a power of ten.
fn step(most: f64) -> f64 {
    let least = (most / 5.0).max(1e-9);
    let power = 10f64.powf(least.log10().floor());
    let nice = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    power
        * nice
            .into_iter()
            .find(|it| it * power >= least)
            .unwrap_or(10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_reaches_to_the_most_and_not_far_beyond() {
        for most in [0.03, 1.0, 7.3, 12.0, 49.9, 50.0, 51.0, 9999.0] {
            let axis = 5.0 * step(most);
            assert!(
                axis >= most * 0.999_999 && axis <= 2.5 * most,
                "{most}: {axis}"
            );
        }
    }

    #[test]
    fn what_is_empty_or_zero_draws_no_nonsense() {
        let flat = Bar {
            name: "a<b".into(),
            ..Bar::default()
        };
        let curve = Curve {
            name: "weir".into(),
            points: vec![(1000.0, 0.0)],
        };
        let all = bars(&[flat], "x")
            + &bars(&[], "x")
            + &curves(&[curve], &[(1000.0, "1 k".into())], true);
        assert!(
            !all.contains("NaN") && !all.contains("\"inf") && all.contains("a&lt;b"),
            "{all}"
        );
    }
}
