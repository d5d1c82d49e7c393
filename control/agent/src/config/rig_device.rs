//! Devices for measurements: `rig:mappings=1000000,frame=64,from=MAC/IP,to=MAC/IP`, a source of one VM to many;
//! `rig:senders=1000,from=MAC/IP,to=MAC/IP`, many VMs for a trunk; `rig:sink=1000,from=MAC,events=1000000`, an uplink that logs what they send;
//! `rig:wire=2,senders=8,from=MAC`, an uplink of several queues that overtake each other;
//! `rig:arrivals=8,…`, an uplink at which NVGRE for many arrives; `rig:void=1`, a hole to send to.

use std::net::Ipv4Addr;

use weir_wire::Mac;
use weir_worker::rig::arrivals::Arrivals;
use weir_worker::rig::senders::{SENDERS_MOST, Senders};
use weir_worker::rig::sink::{EVENTS_MOST, Sinks};
use weir_worker::rig::wire::Wires;
use weir_worker::rig::{FRAME_BYTES, Frames, MAPPINGS_MOST, Vm};

use super::device::Device;
use super::fields::{self, Fault};

/// How it is written, for mends.
const FORM: &str = "write \"rig:mappings=1000,frame=64,from=02:00:00:00:00:01/10.0.0.2,to=02:01:00:00:00:00/10.1.0.0\"";

/// The others.
const SENDERS_FORM: &str =
    "write \"rig:senders=1000,from=02:00:00:00:00:01/10.0.0.2,to=02:01:00:00:00:00/10.1.0.0\"";
const SINK_FORM: &str = "write \"rig:sink=1000,from=02:00:00:00:00:01,events=1000000\"";
const ARRIVALS_FORM: &str =
    "write \"rig:arrivals=8,queues=2,vsid=5001,to=MAC/IP,from=MAC/IP,peer=MAC/IP,own=MAC/IP\"";
const VOID_FORM: &str = "write \"rig:void=1\", each with a number of its own";
const WIRE_FORM: &str = "write \"rig:wire=2,senders=8,from=02:00:00:00:00:01\"";
/// Frames that a log holds if it is not said.
const EVENTS: u32 = 1 << 22;

/// Reads what stands behind `rig:`, whichever of them it is.
pub fn device(text: &str) -> Result<Device, Fault> {
    match text.split_once('=') {
        Some(("senders", _)) => senders(text).map(Device::Senders),
        Some(("sink", _)) => sink(text).map(Device::Sink),
        Some(("arrivals", _)) => arrivals(text).map(Device::Arrivals),
        Some(("void", _)) => void(text).map(Device::Void),
        Some(("wire", _)) => wire(text).map(Device::Wire),
        _ => parse(text).map(Device::Rig),
    }
}

/// What is written for each of these names, all of them known and none twice.
fn arguments<'t, const N: usize>(
    text: &'t str,
    names: [&str; N],
    form: &str,
) -> Result<[Option<&'t str>; N], Fault> {
    let mut values = [None; N];
    for argument in text.split(',') {
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        let place = names.iter().position(|known| *known == name);
        match place.and_then(|place| values.get_mut(place)) {
            None => {
                let problem = format!("this device of the rig has no argument {name:?}");
                return Err(Fault::new(problem, form));
            }
            Some(Some(_)) => {
                let problem = format!("{name} is written twice");
                return Err(Fault::new(problem, "write it once"));
            }
            Some(free) => *free = Some(value),
        }
    }
    Ok(values)
}

fn senders(text: &str) -> Result<Senders, Fault> {
    let values = arguments(text, ["senders", "from", "to", "flood"], SENDERS_FORM)?;
    let [Some(many), Some(from), Some(to), flood] = values else {
        return Err(Fault::new("senders, from or to is missing", SENDERS_FORM));
    };
    let of = Senders {
        senders: number("senders", many, 1..=SENDERS_MOST)?,
        from: vm("from", from)?,
        to: vm("to", to)?,
        flood: flood.map(|bytes| frame_bytes("flood", bytes)).transpose()?,
    };
    fits("from", of.from.mac, of.senders - 1)?;
    if u32::from(of.from.ca).checked_add(of.senders - 1).is_none() {
        let problem = format!("from=…/{} and more run over the end", of.from.ca);
        return Err(Fault::new(problem, SENDERS_FORM));
    }
    Ok(of)
}

fn sink(text: &str) -> Result<Sinks, Fault> {
    let values = arguments(text, ["sink", "from", "events"], SINK_FORM)?;
    let [Some(many), Some(from), events] = values else {
        return Err(Fault::new("from is missing", SINK_FORM));
    };
    let from = fields::station_mac(from)?;
    let of = Sinks {
        senders: number("sink", many, 1..=SENDERS_MOST)?,
        from,
        events: match events {
            Some(events) => number("events", events, 1..=EVENTS_MOST)?,
            None => EVENTS,
        },
    };
    fits("from", from, of.senders - 1)?;
    Ok(of)
}

/// Whether so many MACs more are a VM's, too.
fn fits(name: &str, first: Mac, more: u32) -> Result<(), Fault> {
    let (mac, kind) = (first.to_u64(), |mac: u64| mac >> 40);
    if kind(mac + u64::from(more)) == kind(mac) {
        return Ok(());
    }
    Err(Fault::new(
        format!("{name}={first} and {more} more run over the end"),
        "start lower, such as with 02:01:00:00:00:00",
    ))
}

/// Reads a source of one VM to many. Each is written once; `frame` may be left out, which is 64.
pub fn parse(text: &str) -> Result<Frames, Fault> {
    let (mut mappings, mut frame, mut from, mut to) = (None, None, None, None);
    for argument in text.split(',') {
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        let twice = match name {
            "mappings" => mappings
                .replace(number(name, value, 1..=MAPPINGS_MOST)?)
                .is_some(),
            "frame" => frame.replace(frame_bytes(name, value)?).is_some(),
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
    all_fit(&frames)?;
    Ok(frames)
}

/// Whether the last destination's addresses are addresses of a VM, too.
fn all_fit(frames: &Frames) -> Result<(), Fault> {
    let last = frames.mappings - 1;
    fits("to", frames.to.mac, last)?;
    if u32::from(frames.to.ca).checked_add(last).is_some() {
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

fn arrivals(text: &str) -> Result<Arrivals, Fault> {
    let names = [
        "arrivals", "queues", "frame", "vsid", "to", "from", "peer", "own",
    ];
    let values = arguments(text, names, ARRIVALS_FORM)?;
    let [
        Some(receivers),
        Some(queues),
        frame,
        Some(vsid),
        Some(to),
        Some(from),
        Some(peer),
        Some(own),
    ] = values
    else {
        return Err(Fault::new("all but frame is to be written", ARRIVALS_FORM));
    };
    let of = Arrivals {
        receivers: number("arrivals", receivers, 0..=SENDERS_MOST)?,
        queues: number("queues", queues, 1..=64)? as u16,
        frame: frame.map_or(Ok(*FRAME_BYTES.start()), |it| frame_bytes("frame", it))?,
        vsid: number("vsid", vsid, 0x1000..=0xff_fffe)?,
        to: vm("to", to)?,
        from: vm("from", from)?,
        peer: vm("peer", peer)?,
        own: vm("own", own)?,
    };
    fits("to", of.to.mac, of.receivers.saturating_sub(1))?;
    Ok(of)
}

/// A hole to send to, one of so many.
fn void(text: &str) -> Result<u32, Fault> {
    let [Some(of)] = arguments(text, ["void"], VOID_FORM)? else {
        return Err(Fault::new("its number is missing", VOID_FORM));
    };
    number("void", of, 0..=SENDERS_MOST)
}

fn frame_bytes(name: &str, text: &str) -> Result<u16, Fault> {
    let bytes = u32::from(*FRAME_BYTES.start())..=u32::from(*FRAME_BYTES.end());
    Ok(number(name, text, bytes)? as u16)
}

fn wire(text: &str) -> Result<Wires, Fault> {
    let values = arguments(text, ["wire", "senders", "from"], WIRE_FORM)?;
    let [Some(queues), Some(senders), Some(from)] = values else {
        return Err(Fault::new("senders or from is missing", WIRE_FORM));
    };
    let of = Wires {
        queues: number("wire", queues, 1..=64)? as u16,
        senders: number("senders", senders, 1..=SENDERS_MOST)?,
        from: fields::station_mac(from)?,
    };
    fits("from", of.from, of.senders - 1)?;
    Ok(of)
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
    fn senders_and_sinks_are_read_and_shown() {
        for text in [
            "rig:senders=1000,from=02:00:00:00:00:01/10.0.0.2,to=02:01:00:00:00:00/10.1.0.0",
            "rig:sink=16000,from=02:00:00:00:00:01,events=100",
            "rig:wire=2,senders=8,from=02:00:00:00:00:01",
            "rig:arrivals=8,queues=2,frame=64,vsid=5001,to=02:00:00:00:00:01/10.0.0.2,from=02:01:00:00:00:00/10.1.0.0,peer=02:bb:00:00:00:02/192.168.50.2,own=02:bb:00:00:00:01/192.168.50.1",
            "rig:void=3",
            "rig:senders=1,from=02:00:00:00:00:01/10.0.0.2,to=02:01:00:00:00:00/10.1.0.0,flood=64",
        ] {
            let device: Device = text.parse().unwrap();
            assert_eq!(device.to_string(), text);
        }
        let short: Device = "rig:sink=7,from=02:00:00:00:00:01".parse().unwrap();
        assert!(short.to_string().ends_with("events=4194304"), "{short}");
        for (text, why) in [
            ("rig:senders=1000", "missing"),
            (
                "rig:senders=16001,from=02:00:00:00:00:01/10.0.0.2,to=02:01:00:00:00:00/10.1.0.0",
                "16000",
            ),
            (
                "rig:senders=9,from=02:ff:ff:ff:ff:ff/10.0.0.2,to=02:01:00:00:00:00/10.1.0.0",
                "run over",
            ),
            (
                "rig:senders=9,from=02:00:00:00:00:01/255.255.255.255,to=02:01:00:00:00:00/10.1.0.0",
                "run over",
            ),
            ("rig:senders=9,senders=9", "twice"),
            ("rig:senders=9,frame=64", "no argument"),
            ("rig:sink=1000", "from is missing"),
            ("rig:sink=1000,from=02:00:00:00:00:01,events=0", "67108864"),
            ("rig:sink=1000,from=03:00:00:00:00:01", ""),
        ] {
            let fault = text.parse::<Device>().unwrap_err();
            assert!(fault.problem.contains(why), "{text}: {fault}");
            assert!(!fault.mend.is_empty());
        }
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
