//! Bit rates and times as people write them: `200Mbit`, `2.5Gbit`, `50ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::fields::Fault;

/// A rate in bits per second, never zero. Multiples are decimal, as those of `tc` (tc(8), "rates").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitRate(u64);

/// Names of the multiples and how many decimal digits each adds.
const UNITS: [(&str, u32); 5] = [
    ("Tbit", 12),
    ("Gbit", 9),
    ("Mbit", 6),
    ("Kbit", 3),
    ("bit", 0),
];

impl BitRate {
    /// So many bits per second; `None` of none.
    pub fn new(bits_per_second: u64) -> Option<BitRate> {
        (bits_per_second > 0).then_some(BitRate(bits_per_second))
    }

    /// Bits per second.
    pub fn bits_per_second(self) -> u64 {
        self.0
    }
}

impl FromStr for BitRate {
    type Err = Fault;

    /// Reads a decimal number and one of `bit`, `Kbit`, `Mbit`, `Gbit`, `Tbit` (in any case); a fraction is fine as
    /// long as the rate is whole bits per second. Exact: no floating point on the way.
    fn from_str(text: &str) -> Result<BitRate, Fault> {
        let fault = |why: &str| {
            Fault::new(
                format!("{text:?} is not a bit rate: {why}"),
                "write a number and one of bit, Kbit, Mbit, Gbit, Tbit, such as \"200Mbit\" or \"2.5Gbit\"",
            )
        };
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let name = &text[number.len()..];
        if name.is_empty() {
            return Err(fault("it has no unit"));
        }
        let Some(&(_, digits)) = UNITS
            .iter()
            .find(|(unit, _)| unit.eq_ignore_ascii_case(name))
        else {
            return Err(fault(&format!("there is no unit \"{name}\"")));
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let dangling = number.contains('.') && fraction.is_empty();
        if whole.is_empty() || dangling || !all_digits(whole) || !all_digits(fraction) {
            return Err(fault(&format!("{number:?} is not a decimal number")));
        }
        let fraction = fraction.trim_end_matches('0');
        let Some(rest) = u32::try_from(fraction.len())
            .ok()
            .and_then(|len| digits.checked_sub(len))
        else {
            return Err(fault("it is not a whole number of bits per second"));
        };
        let value = format!("{whole}{fraction}").parse::<u64>().ok();
        match value.and_then(|value| value.checked_mul(10u64.pow(rest))) {
            None => Err(fault(
                "it is more than 18,446,744,073,709,551,615 bits per second",
            )),
            Some(0) => Err(fault("it is zero")),
            Some(bits) => Ok(BitRate(bits)),
        }
    }
}

impl fmt::Display for BitRate {
    /// The largest unit of which the rate is a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS
            .iter()
            .map(|(unit, digits)| (unit, 10u64.pow(*digits)));
        match whole
            .into_iter()
            .find(|(_, size)| self.0.is_multiple_of(*size))
        {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}bit", self.0),
        }
    }
}

/// Ten seconds: what is waited for longer is a mistake.
const LONGEST: u64 = 10_000;

/// A time: a whole number and `ms` or `s`, at most ten seconds.
pub fn duration(text: &str) -> Result<Duration, Fault> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "ms" => Some(1),
        "s" => Some(1000),
        _ => None,
    };
    let number = number.parse::<u64>().ok();
    let ms = number.zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
    match ms {
        Some(ms) if ms <= LONGEST => Ok(Duration::from_millis(ms)),
        _ => Err(Fault::new(
            format!("{text:?} is not a time of at most ten seconds"),
            "write a whole number and ms or s, such as \"50ms\"",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_are_exact_decimal_multiples() {
        for (text, bits, shown) in [
            ("1bit", 1, "1bit"),
            ("64Kbit", 64_000, "64Kbit"),
            ("200Mbit", 200_000_000, "200Mbit"),
            ("1Gbit", 1_000_000_000, "1Gbit"),
            ("2.5Gbit", 2_500_000_000, "2500Mbit"),
            ("0.0010Kbit", 1, "1bit"),
            ("1000mbit", 1_000_000_000, "1Gbit"),
            (
                "18446744073709551615bit",
                u64::MAX,
                "18446744073709551615bit",
            ),
        ] {
            let rate: BitRate = text.parse().unwrap();
            assert_eq!(rate.bits_per_second(), bits, "{text}");
            assert_eq!(rate.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_rate_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "no unit"),
            ("200", "no unit"),
            ("200 Mbit", "not a decimal number"),
            ("200Mb", "no unit \"Mb\""),
            ("200MB/s", "no unit \"s\""),
            ("Mbit", "not a decimal number"),
            ("-1Mbit", "not a decimal number"),
            ("1.Mbit", "not a decimal number"),
            (".5Mbit", "not a decimal number"),
            ("1.2.3Mbit", "not a decimal number"),
            ("0.5bit", "not a whole number"),
            ("1.0001Kbit", "not a whole number"),
            ("0Mbit", "zero"),
            ("18446744073709551616bit", "more than"),
            ("99999999999Gbit", "more than"),
        ] {
            let fault = text.parse::<BitRate>().unwrap_err();
            assert!(fault.problem.contains(why), "{text}: {}", fault.problem);
            assert!(fault.mend.contains("200Mbit"));
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bits in 1u64..) {
            let rate = BitRate(bits);
            prop_assert_eq!(rate.to_string().parse::<BitRate>().unwrap(), rate);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<BitRate>();
        }
    }
}
