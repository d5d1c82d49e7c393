//! The traffic of a measuring rig: what its senders offer from now on, and the log of what its sink has sent.
//!
//! Only where host.toml has `[rig] traffic = true` and the devices are (`rig:senders=…` of a trunk, `rig:sink=…` of an uplink).

use serde::{Deserialize, Serialize};
use weir_worker::rig::FRAME_BYTES;
use weir_worker::rig::senders::{OFFERS_MOST, Offer, Offers};
use weir_worker::rig::stalls::{self, Gap};

use crate::config::device::Device;
use crate::ports::Handle;
use crate::state::State;
use crate::stats::PolicyError;

/// Seconds that a turn may last, or be put off.
const LONGEST: f64 = 3600.0;

/// What is asked for. What is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrafficWish {
    /// What is offered from now on, in the place of what was.
    pub offers: Option<Vec<OfferWish>>,
    /// Whether the sink logs: from empty, before anything new is offered; or no more.
    pub log: Option<bool>,
}

/// What some senders, whose numbers follow each other, offer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OfferWish {
    /// The number of the first.
    pub first: u32,
    /// How many.
    pub senders: u32,
    /// Bytes of a frame with its FCS.
    pub frame: u16,
    /// Frames a second of each; null: all they can.
    pub packets_per_second: Option<f64>,
    /// Frames of one before the next has its turn.
    pub burst: u32,
    /// They send for so many seconds,
    pub on: f64,
    /// then are silent for so many; 0: never.
    pub off: f64,
    /// They begin after so many.
    pub after: f64,
}

impl Default for OfferWish {
    fn default() -> Self {
        OfferWish {
            first: 0,
            senders: 1,
            frame: *FRAME_BYTES.start(),
            packets_per_second: None,
            burst: 1,
            on: 0.0,
            off: 0.0,
            after: 0.0,
        }
    }
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrafficReport {
    /// Cycles of the TSC a second, as the daemon has it.
    pub tsc_hz: u64,
    /// The TSC at which what is offered now began.
    pub offered_at: u64,
    /// The log.
    pub log: LogReport,
}

/// What the sink has logged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogReport {
    /// Whether it goes on.
    pub on: bool,
    /// The TSC at which it began.
    pub began: u64,
    /// The TSC at which it ended: every frame that left before is in it. 0 while it goes on.
    pub ended: u64,
    /// Frames in it.
    pub events: u64,
    /// Frames that found no room.
    pub missed: u64,
    /// Frames that left after a later one of the same sender, in all logs of this daemon.
    pub reordered: u64,
    /// From when to when nobody called the senders or the sink for 20 µs or more, as far as it ended after the log began, of the TSC; and for how
    /// many cycles of that, at most, the kernel knows that somebody else had the core.
    pub gaps: Vec<(u64, u64, u64)>,
}

impl OfferWish {
    /// In cycles, of so many a second; else what is wrong.
    fn offer(&self, senders: u32, hz: u64) -> Result<Offer, String> {
        let end = self.first.checked_add(self.senders);
        if self.senders == 0 || end.is_none_or(|end| end > senders) {
            return Err(format!(
                "senders {} and {} more: there are {senders}",
                self.first, self.senders
            ));
        }
        if !FRAME_BYTES.contains(&self.frame) {
            return Err(format!("frame: {} is not from 64 to 1518", self.frame));
        }
        let hz = hz as f64;
        let cycles = |name: &str, seconds: f64| {
            let fits = (0.0..=LONGEST).contains(&seconds);
            let wrong = || format!("{name}: {seconds} is not from 0 to {LONGEST}");
            fits.then_some((seconds * hz) as u64).ok_or_else(wrong)
        };
        let interval = match self.packets_per_second {
            None => 0,
            Some(rate) => {
                let all = rate * f64::from(self.senders);
                let interval = (256.0 * hz / all) as u64;
                if !(rate > 0.0 && interval > 0 && interval < 1 << 56) {
                    return Err(format!("packets_per_second: {rate} cannot be offered"));
                }
                interval
            }
        };
        Ok(Offer {
            first: self.first,
            senders: self.senders,
            frame: self.frame,
            burst: self.burst.max(1),
            interval,
            on: cycles("on", self.on)?,
            off: cycles("off", self.off)?,
            after: cycles("after", self.after)?,
        })
    }
}

impl State {
    /// Does what is asked for, and tells how it stands. Refused whole unless host.toml allows it and has the devices.
    pub fn traffic(&mut self, wish: &TrafficWish) -> Result<TrafficReport, Vec<PolicyError>> {
        if !self.host.rig.traffic {
            let mend = "write [rig] traffic = true in the host.toml of a host that is measured, and start it again";
            return Err(self.no_traffic("this daemon was not started for the rig", mend));
        }
        let hz = rte::clock::hz();
        let many = self.ports.keys().find_map(|device| match device {
            Device::Senders(of) => Some(of.senders),
            _ => None,
        });
        let offers = match (&wish.offers, many) {
            (None, _) => None,
            (Some(_), None) => {
                let mend = "give a [[trunk]] the device \"rig:senders=…\"";
                return Err(self.no_traffic("it has no senders", mend));
            }
            (Some(offers), Some(_)) if offers.len() > OFFERS_MOST => {
                let mend = format!("send {OFFERS_MOST} at most");
                return Err(self.no_traffic(&format!("{} offers", offers.len()), &mend));
            }
            (Some(offers), Some(senders)) => {
                let offers = offers.iter().map(|offer| offer.offer(senders, hz));
                let offers: Result<Offers, String> = offers.collect();
                Some(offers.map_err(|why| self.no_traffic(&why, "see the API's description"))?)
            }
        };
        if let Some(on) = wish.log {
            self.log(on)?;
        }
        if let Some(offers) = offers {
            let now = rte::clock::tsc();
            let told = self
                .ports
                .values_mut()
                .find_map(|open| match &mut open.handle {
                    Handle::Senders(told) => Some(told),
                    _ => None,
                });
            if !told.is_some_and(|source| source.offer(offers, now)) {
                let mend = "wait a moment: its worker has not taken up the last ones";
                return Err(self.no_traffic("there is no room for offers", mend));
            }
            self.offered_at = now;
        }
        Ok(TrafficReport {
            tsc_hz: hz,
            offered_at: self.offered_at,
            log: self.logged(),
        })
    }

    /// The log of the sink: a word a frame ([`weir_worker::rig::sink::Event`]), little endian.
    pub fn traffic_log(&self) -> Result<Vec<u8>, Vec<PolicyError>> {
        let Some(log) = self.sink() else {
            return Err(self.no_traffic("it has no sink", NO_SINK));
        };
        Ok(log.words().flat_map(u64::to_le_bytes).collect())
    }

    fn sink(&self) -> Option<&weir_worker::rig::sink::Log> {
        self.ports.values().find_map(|open| match &open.handle {
            Handle::Sink(log) => Some(&**log),
            _ => None,
        })
    }

    /// Logs from empty, or no more: when it returns no worker is at it.
    fn log(&mut self, on: bool) -> Result<(), Vec<PolicyError>> {
        let Some(log) = self.sink() else {
            return Err(self.no_traffic("it has no sink", NO_SINK));
        };
        log.end(rte::clock::tsc());
        self.crew.round();
        if on && let Some(log) = self.sink() {
            log.begin(rte::clock::tsc());
        }
        Ok(())
    }

    fn logged(&self) -> LogReport {
        let since = self.sink().map_or(0, |log| log.began());
        let polled = self.ports.values().find_map(|open| match &open.handle {
            Handle::Senders(source) => Some(source.gaps(since)),
            _ => None,
        });
        let sent = self.sink().map(|log| log.gaps(since));
        let both = polled.zip(sent).map(|(polled, sent)| {
            let shortest = stalls::shortest(rte::clock::hz());
            stalls::common(&polled, &sent, shortest)
        });
        let gaps = both.into_iter().flatten();
        let gaps = gaps
            .map(|Gap { from, to, away }| (from, to, away))
            .collect();
        self.sink().map_or(LogReport::default(), |log| LogReport {
            gaps,
            on: log.is_on(),
            began: log.began(),
            ended: if log.is_on() { 0 } else { log.ended() },
            events: log.words().len() as u64,
            missed: log.missed(),
            reordered: log.reordered(),
        })
    }

    fn no_traffic(&self, problem: &str, mend: &str) -> Vec<PolicyError> {
        vec![PolicyError {
            file: self.host.origin.clone(),
            line: None,
            object: "traffic".into(),
            problem: problem.to_owned(),
            mend: mend.to_owned(),
        }]
    }
}

const NO_SINK: &str = "give an [[uplink]] the device \"rig:sink=…\"";
