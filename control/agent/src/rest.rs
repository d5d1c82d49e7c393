//! How a worker without work knows that a device has something again: by its interrupt, by looking in time, or by looking all the time;
//! and why so. What the device answered is weighed here, and nothing is asked of it.

use crate::patience::{self, Pace};
use serde_json::{Value, json};
use std::time::Duration;

/// What a kernel takes to wake a worker, as a bound on what an interrupt is good for: what comes meanwhile must fit into the ring. Seen: 16
/// microseconds at the median on a virtual machine.
const WAKES_WITHIN: Duration = Duration::from_micros(15);
/// The shortest sleep of a worker (`weir_worker::idle`).
const SHORTEST: Duration = Duration::from_micros(10);

/// By what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// It is looked at all the time.
    #[default]
    Poll,
    /// It is looked at before its ring can be full.
    Timer,
    /// It calls.
    Interrupt,
}

/// By what, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// By what.
    pub by: By,
    /// Why by that.
    pub why: String,
}

/// Whether a device is asked for interrupts: NICs, taps, packet sockets and memifs may have them; the other virtual devices of DPDK 22.11 have
/// none, and some log an error of theirs when they are asked.
pub fn may_call(devargs: &str) -> bool {
    let able = ["net_tap", "net_af_packet", "net_memif"];
    !devargs.starts_with("net_") || able.iter().any(|driver| devargs.starts_with(driver))
}

impl Rest {
    /// Of a device that keeps what is not taken, or has a rate: `interrupts` is what it said of those:
    /// what they are, or why there are none.
    pub fn choose(adaptive: bool, pace: Pace, interrupts: Result<&str, String>) -> Rest {
        let rest = |by, why| Rest { by, why };
        if !adaptive {
            return rest(By::Poll, "dataplane.idle is \"poll\"".into());
        }
        let (lasts, patience) = (pace.lasts(), pace.patience());
        let why = match interrupts {
            Ok(why) if lasts >= WAKES_WITHIN => return rest(By::Interrupt, why.into()),
            Ok(_) => format!(
                "its ring is full within {} µs at its fastest, sooner than an interrupt wakes a worker",
                lasts.as_micros()
            ),
            Err(why) => why,
        };
        match patience >= SHORTEST {
            true => rest(
                By::Timer,
                format!("{why}; looked at every {} µs", patience.as_micros()),
            ),
            false => rest(By::Poll, why),
        }
    }

    /// Of a device whose sender keeps what is not taken; `why` it has no interrupts.
    pub fn of_guest(adaptive: bool, why: &str) -> Rest {
        Rest::choose(adaptive, patience::of_guest(), Err(why.to_owned()))
    }

    /// As `weir get` has it.
    pub fn told(&self) -> Value {
        let by = match self.by {
            By::Poll => "poll",
            By::Timer => "timer",
            By::Interrupt => "interrupt",
        };
        json!({"by": by, "why": self.why})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_calls_where_it_can_and_its_ring_lasts_until_a_worker_is_there() {
        let of = |mbit, interrupts: Result<&str, &str>| {
            let pace = patience::of_port("net_ixgbe", "0000:03:00.0", 1024, Some(mbit));
            let rest = Rest::choose(true, pace, interrupts.map_err(str::to_owned));
            (rest.by, rest.why)
        };
        assert_eq!(
            of(1_000, Ok("it calls")),
            (By::Interrupt, "it calls".into())
        );
        // A timer would have to look every 8 µs, which is no sleep.
        assert_eq!(of(40_000, Ok("it calls")).0, By::Interrupt);
        let (by, why) = of(40_000, Err("no interrupts"));
        assert_eq!((by, &*why), (By::Poll, "no interrupts"));
        let (by, why) = of(100_000, Ok("it calls"));
        assert_eq!(by, By::Poll);
        assert!(why.contains("within 6 µs"), "{why}");
        let (by, why) = of(10_000, Err("no interrupts"));
        assert_eq!(
            (by, &*why),
            (By::Timer, "no interrupts; looked at every 34 µs")
        );
        let polled = Rest::choose(false, patience::of_guest(), Ok("it calls"));
        assert_eq!(polled.told()["by"], "poll");
        assert!(polled.why.contains("dataplane.idle"));
        assert!(may_call("0000:03:00.0") && may_call("net_tap3,iface=a"));
        assert!(may_call("net_memif0,role=server") && may_call("net_af_packet1,iface=a"));
        assert!(!may_call("net_ring0") && !may_call("net_null0"));
    }
}
