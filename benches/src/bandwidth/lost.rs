//! What a core loses by itself: to interrupts, and to a hypervisor that does not say so. The kernel charges both to whoever runs.

use crate::halt::Halt;
use std::time::{Duration, Instant};

/// How long it is looked: 50 ticks of a kernel that has 250 a second.
const LENGTH: Duration = Duration::from_millis(200);
/// Longer than it ever takes to read the clock twice.
const SHORT: Duration = Duration::from_micros(2);

/// The part of its time that a thread loses on this core which does nothing but read the clock, beside what the kernel knows to be others'.
/// Nobody else may poll there meanwhile.
pub fn share(core: u32) -> Result<f64, Halt> {
    let look = move || {
        rte::pin_current(core).map_err(|error| error.to_string())?;
        let ran = rte::clock::thread();
        let begin = Instant::now();
        let (mut last, mut lost) = (begin, Duration::ZERO);
        while last.duration_since(begin) < LENGTH {
            let now = Instant::now();
            let took = now.duration_since(last);
            if took > SHORT {
                lost += took;
            }
            last = now;
        }
        let ran = Duration::from_nanos(rte::clock::thread().saturating_sub(ran));
        Ok(unknown(lost, last.duration_since(begin), ran))
    };
    let looked = std::thread::spawn(look).join();
    let looked = looked.unwrap_or_else(|_| Err("the thread that looks ended".into()));
    let mend = "give [dataplane] a core that this process may run on";
    looked.map_err(|why: String| Halt::failed("what the core loses by itself", why, mend))
}

/// Of a time in which a thread ran for so long and lost so much: the part that it lost without the kernel's knowing.
fn unknown(lost: Duration, all: Duration, ran: Duration) -> f64 {
    let known = all.saturating_sub(ran);
    lost.saturating_sub(known).as_secs_f64() / all.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_knows_of_is_not_lost_by_itself() {
        let ms = Duration::from_millis;
        assert_eq!(unknown(ms(2), ms(200), ms(200)), 0.01);
        assert_eq!(unknown(ms(52), ms(200), ms(150)), 0.01);
        assert_eq!(unknown(ms(49), ms(200), ms(150)), 0.0);
    }

    #[test]
    fn a_core_loses_less_than_all_of_it() {
        let lost = share(0).expect("core 0 is there");
        assert!((0.0..1.0).contains(&lost), "{lost}");
        assert!(share(100_000).is_err());
    }
}
