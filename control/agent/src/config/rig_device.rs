//! A source for measurements as a device: `rig:mappings=1000000,frame=64,from=MAC/IP,to=MAC/IP`.

use std::net::Ipv4Addr;

use weir_worker::rig::{FRAME_BYTES, Frames, MAPPINGS_MOST, Vm};

use super::fields::{self, Fault};

/// How it is written, for mends.
const FORM: &str = "write \"rig:mappings=1000,frame=64,from=02:00:00:00:00:01/10.0.0.2,to=02:01:00:00:00:00/10.1.0.0\"";

/// Reads what stands behind `rig:`. Each is written once; `frame` may be left out, which is 64.
pub fn parse(text: &str) -> Result<Frames, Fault> {
    let (mut mappings, mut frame, mut from, mut to) = (None, None, None, None);
    for argument in text.split(',') {
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        let twice = match name {
            "mappings" => mappings
                .replace(number(name, value, 1..=MAPPINGS_MOST)?)
                .is_some(),
            "frame" => {
                let bytes = u32::from(*FRAME_BYTES.start())..=u32::from(*FRAME_BYTES.end());
                frame.replace(number(name, value, bytes)? as u16).is_some()
            }
            "from" => from.replace(vm(name, value)?).is_some(),
            "to" => to.replace(vm(name, value)?).is_some(),
            _ => {
                let problem = format!("a rig's source has no argument {name:?}");
                return Err(Fault::new(problem, FORM));
            }
        };
        if twice {
            let problem = format!("{name} is written twice for a rig's source");
            return Err(Fault::new(problem, "write it once"));
        }
    }
    let missing = |name| Fault::new(format!("a rig's source is without {name}"), FORM);
    let frames = Frames {
        mappings: mappings.ok_or_else(|| missing("mappings"))?,
        frame: frame.unwrap_or(*FRAME_BYTES.start()),
        from: from.ok_or_else(|| missing("from"))?,
        to: to.ok_or_else(|| missing("to"))?,
    };
    fits(&frames)?;
    Ok(frames)
}

/// Whether the last destination's addresses are addresses of a VM, too.
fn fits(frames: &Frames) -> Result<(), Fault> {
    let (mac, last) = (frames.to.mac.to_u64(), frames.mappings - 1);
    let kind = |mac: u64| mac >> 40;
    let macs_fit = kind(mac + u64::from(last)) == kind(mac);
    if macs_fit && u32::from(frames.to.ca).checked_add(last).is_some() {
        return Ok(());
    }
    Err(Fault::new(
        format!(
            "to={}/{} and {last} more run over the end",
            frames.to.mac, frames.to.ca
        ),
        "start lower, such as with to=02:01:00:00:00:00/10.1.0.0",
    ))
}

fn number(name: &str, text: &str, within: std::ops::RangeInclusive<u32>) -> Result<u32, Fault> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text
        .parse()
        .ok()
        .filter(|number| digits && within.contains(number));
    number.ok_or_else(|| {
        let (least, most) = within.into_inner();
        let problem =
            format!("{name}={text} of a rig's source is not a number from {least} to {most}");
        Fault::new(problem, FORM)
    })
}

fn vm(name: &str, text: &str) -> Result<Vm, Fault> {
    let both = text.split_once('/').and_then(|(mac, ca)| {
        Some(Vm {
            mac: fields::station_mac(mac).ok()?,
            ca: ca.parse::<Ipv4Addr>().ok()?,
        })
    });
    both.ok_or_else(|| {
        let problem = format!("{name}={text} of a rig's source is not a VM's MAC and IPv4 address");
        Fault::new(problem, FORM)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str =
        "mappings=1000,frame=128,from=02:00:00:00:00:01/10.0.0.2,to=02:01:00:00:00:00/10.1.0.0";

    #[test]
    fn what_is_written_is_read_and_shown() {
        let frames = parse(WHOLE).unwrap();
        assert_eq!((frames.mappings, frames.frame), (1000, 128));
        assert_eq!(frames.to.ca, Ipv4Addr::new(10, 1, 0, 0));
        assert_eq!(frames.to_string(), WHOLE);
        let short = parse(&WHOLE.replace("frame=128,", "")).unwrap();
        assert_eq!(short.frame, 64);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_mend() {
        for (from, to, why) in [
            ("mappings=1000,", "", "without mappings"),
            ("mappings=1000", "mappings=0", "from 1 to 16777216"),
            ("mappings=1000", "mappings=16777217", "from 1 to 16777216"),
            ("mappings=1000", "mappings=+5", "from 1 to 16777216"),
            ("frame=128", "frame=63", "from 64 to 1518"),
            ("frame=128", "frame=65600", "from 64 to 1518"),
            ("frame=128", "size=128", "no argument \"size\""),
            ("frame=128", "mappings=5", "written twice"),
            ("from=02:00:00:00:00:01/10.0.0.2,", "", "without from"),
            (",to=02:01:00:00:00:00/10.1.0.0", "", "without to"),
            ("from=02", "from=03", "not a VM's MAC"),
            ("/10.0.0.2", "", "not a VM's MAC"),
            ("10.1.0.0", "255.255.255.0", "run over the end"),
            (
                "to=02:01:00:00:00:00",
                "to=02:ff:ff:ff:ff:00",
                "run over the end",
            ),
        ] {
            let fault = parse(&WHOLE.replace(from, to)).unwrap_err();
            assert!(fault.problem.contains(why), "{from} -> {to}: {fault}");
            assert!(!fault.mend.is_empty());
        }
    }
}
