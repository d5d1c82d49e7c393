//! Whether the rig's count and Weir's agree, packet for packet. The rig's is that of the devices' own drivers: what the source gave,
//! what the sink took. Weir's is that of `weir stats`. Both are read when everything stands still, so that nothing excuses a difference.

use crate::scenario::End;
use weir_agent::measure::Measured;
use weir_agent::stats::Stats;

/// Packets from which on their mean length means something.
const ENOUGH: u64 = 10_000;
/// How far that may be off: a mix of lengths is cut somewhere.
const APART: f64 = 0.01;

/// Counts of a daemon's whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// Packets that the source's driver gave; none where it counts none.
    pub source: Option<u64>,
    /// Packets that it lost before anybody could take them.
    pub missed: u64,
    /// Packets that the sink's driver took; none where it counts none.
    pub sink: Option<u64>,
    /// Packets that Weir received from the source.
    pub received: u64,
    /// Packets that Weir sent to the sink.
    pub sent: u64,
    /// Packets that Weir dropped.
    pub dropped: u64,
    /// Everything that came, by all workers: received, taken over, made, copied.
    pub came: u64,
    /// What it became: sent, delivered, handed over, ended here, dropped, waiting.
    pub went: u64,
    /// Whether dropped is how packets are to end.
    pub to_drop: bool,
    /// Bytes that Weir sent to the sink.
    pub bytes: u64,
    /// Bytes that a packet must have there, in the mean.
    pub each: Option<f64>,
}

impl Counts {
    /// Of a daemon between two devices: `[source, sink]`.
    pub fn of(
        stats: &Stats,
        measured: &Measured,
        from_wire: bool,
        end: End,
        [source, sink]: &[String; 2],
        each: Option<f64>,
    ) -> Counts {
        let device = |name: &String| measured.devices.iter().find(|it| it.device == *name);
        let vnic = |name: &str| stats.vnics.iter().find(|vnic| vnic.vnic == name);
        let uplink = stats.uplinks.first();
        let received = match from_wire {
            true => uplink.map(|uplink| uplink.rx_packets),
            false => vnic("source").map(|vnic| vnic.rx_packets),
        };
        // Where there is a vNIC of that name, the sink is its device; else the uplink's.
        let sent = vnic("sink").map(|vnic| (vnic.tx_packets, vnic.tx_bytes));
        let sent = sent.or(uplink.map(|uplink| (uplink.tx_packets, uplink.tx_bytes)));
        let (sent, bytes) = sent.unwrap_or_default();
        let workers = || stats.workers.iter();
        let came = workers().map(|it| it.rx_packets + it.handoff_in + it.generated + it.copies);
        let went = workers().map(|it| {
            it.tx_packets + it.delivered + it.handoff_out + it.consumed + it.dropped + it.queued
        });
        Counts {
            source: device(source).map(|it| it.rx_packets),
            missed: device(source).map_or(0, |it| it.lost),
            sink: device(sink).map(|it| it.tx_packets),
            received: received.unwrap_or(0),
            sent,
            bytes,
            each,
            dropped: workers().map(|it| it.dropped).sum(),
            came: came.sum(),
            went: went.sum(),
            to_drop: end == End::Dropped,
        }
    }
}

/// Packets lost, if everybody has counted the same; else who has not.
pub(super) fn agree(counts: &Counts) -> Result<u64, String> {
    let Counts {
        received,
        sent,
        dropped,
        came,
        went,
        ..
    } = *counts;
    let source = counts.source.unwrap_or(received);
    let sink = counts.sink.unwrap_or(sent);
    if source == received && sink == sent && came == went {
        return ended_right(counts);
    }
    Err(format!(
        "does not count as the rig does: the source gave {source} packets and Weir received {received}; \
         the sink took {sink} and Weir sent {sent}; Weir dropped {dropped}, and of {came} that came {went} have an end"
    ))
}

/// Whether packets came to the end that they must come to, as long as they must be there; how many did not, if that may be.
fn ended_right(counts: &Counts) -> Result<u64, String> {
    let Counts {
        received,
        sent,
        dropped,
        bytes,
        ..
    } = *counts;
    if counts.to_drop {
        return match dropped >= received {
            true => Ok(0),
            false => Err(format!(
                "received {received} packets, all of them to drop, and dropped {dropped}"
            )),
        };
    }
    // Few packets of its own (who asks for neighbours) may be among many.
    let mean = bytes as f64 / sent.max(1) as f64;
    match counts.each {
        Some(each) if sent >= ENOUGH && (mean / each - 1.0).abs() > APART => {
            Err(format!("sends {mean:.1} bytes a packet and not {each:.1}"))
        }
        _ => Ok(counts.missed + dropped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_agent::measure::DeviceCount;
    use weir_agent::stats::{UplinkStats, VnicStats, WorkerStats};

    /// Ten packets came from the source's vNIC, nine went out, one was dropped; an ARP request of Weir's own went out, too.
    fn life() -> (Stats, Measured) {
        let stats = Stats {
            workers: vec![WorkerStats {
                rx_packets: 10,
                generated: 1,
                tx_packets: 10,
                dropped: 1,
                ..WorkerStats::default()
            }],
            vnics: vec![VnicStats {
                vnic: "source".into(),
                rx_packets: 10,
                ..VnicStats::default()
            }],
            uplinks: vec![UplinkStats {
                tx_packets: 10,
                ..UplinkStats::default()
            }],
            ..Stats::default()
        };
        let device = |device: &str, rx_packets, tx_packets| DeviceCount {
            device: device.into(),
            rx_packets,
            tx_packets,
            lost: 0,
        };
        let measured = Measured {
            devices: vec![device("from", 10, 0), device("to", 0, 10)],
            ..Measured::default()
        };
        (stats, measured)
    }

    fn judged(stats: &Stats, measured: &Measured) -> Result<u64, String> {
        let devices = ["from".to_string(), "to".to_string()];
        agree(&Counts::of(
            stats,
            measured,
            false,
            End::Uplink,
            &devices,
            Some(102.0),
        ))
    }

    #[test]
    fn packets_that_end_elsewhere_or_are_too_long_are_noticed() {
        let (stats, measured) = life();
        let devices = ["from".to_string(), "to".to_string()];
        let to_drop = Counts::of(&stats, &measured, false, End::Dropped, &devices, None);
        assert!(agree(&to_drop).unwrap_err().contains("dropped 1"));
        let all = Counts {
            dropped: 10,
            ..to_drop
        };
        assert_eq!(agree(&all), Ok(0));
        let long = |bytes| Counts {
            source: None,
            sink: None,
            sent: ENOUGH,
            bytes,
            each: Some(102.0),
            ..Counts::default()
        };
        assert_eq!(agree(&long(102 * ENOUGH + 500)), Ok(0));
        assert!(
            agree(&long(106 * ENOUGH))
                .unwrap_err()
                .contains("106.0 bytes")
        );
    }

    #[test]
    fn a_life_whose_counts_agree_has_lost_what_was_dropped() {
        let (stats, mut measured) = life();
        assert_eq!(judged(&stats, &measured), Ok(1));
        measured.devices[0].lost = 5;
        assert_eq!(judged(&stats, &measured), Ok(6));
        // A device that counts nothing cannot disagree.
        measured.devices.clear();
        assert_eq!(judged(&stats, &measured), Ok(1));
    }

    #[test]
    fn one_packet_that_one_of_them_has_not_counted_is_noticed() {
        type Fault = Box<dyn Fn(&mut Stats, &mut Measured)>;
        let mut each: Vec<Fault> = Vec::new();
        each.push(Box::new(|_, measured| measured.devices[0].rx_packets += 1));
        each.push(Box::new(|_, measured| measured.devices[1].tx_packets -= 1));
        each.push(Box::new(|stats, _| stats.vnics[0].rx_packets -= 1));
        each.push(Box::new(|stats, _| stats.uplinks[0].tx_packets += 1));
        each.push(Box::new(|stats, _| stats.workers[0].dropped -= 1));
        each.push(Box::new(|stats, _| stats.workers[0].rx_packets += 1));
        for off in each {
            let (mut stats, mut measured) = life();
            off(&mut stats, &mut measured);
            let why = judged(&stats, &measured).unwrap_err();
            assert!(
                why.contains("the source gave") && why.contains("Weir dropped"),
                "{why}"
            );
        }
    }
}
