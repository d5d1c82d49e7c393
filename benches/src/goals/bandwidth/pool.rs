//! One tenant floods: its vNICs' queues are full all the time, in short frames and in long ones. How many mbufs are free then, and what
//! becomes of another tenant's frames, which offers half of what it is promised on the same uplink.

use super::{WARM_UP, What, rounds};
use crate::bandwidth::scene::{Group, Load, Promise, Scene, tenant_name};
use crate::bandwidth::stand::{Around, Stand};
use crate::halt::Halt;
use crate::rounds::Watcher;
use std::time::{Duration, Instant};

/// kbit/s of the link.
const CAPACITY: u64 = 1_000_000;
/// vNICs that flood, and kbit/s of the maximum of each: together they could have six times as many frames waiting as half of the pool holds.
const FLOODERS: (u32, u64) = (64, 100_000);
/// The other tenant's, and kbit/s of the minimum of each.
const OTHERS: (u32, u64) = (50, 2_000);
/// The part of its minimum that each offers.
const OFFERED: f64 = 0.5;
/// Of that, as much has to come: else the source was held up, and nothing is known.
const CAME: f64 = 0.95;
/// How long it is looked at, and how often.
const LENGTH: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(5);
/// Bytes of a flooder's frame, and of the others'.
const MIXES: [(u16, u16); 3] = [(64, 64), (1518, 64), (64, 1518)];
/// The reason why a flooder's frames are dropped.
const FULL: &str = "queue_full";

/// A round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// Percent of all mbufs that were free, at the least.
    free: f64,
    /// Packets of the others that were dropped.
    lost: u64,
}

impl Round {
    /// In what is asked for.
    pub fn of(&self, what: What) -> f64 {
        match what {
            What::Pool => self.free,
            _ => self.lost as f64,
        }
    }
}

fn scene() -> Scene {
    let ((flooders, max), (others, min)) = (FLOODERS, OTHERS);
    let flood = Group {
        vnics: flooders,
        tenant: 0,
        promise: Promise {
            max: Some(max),
            ..Promise::default()
        },
    };
    let other = Group {
        vnics: others,
        tenant: 1,
        promise: Promise {
            min: Some(min),
            ..Promise::default()
        },
    };
    Scene {
        capacity: Some(CAPACITY),
        groups: vec![flood, other],
        events: 1,
    }
}

fn loads((flood, other): (u16, u16)) -> Vec<Load> {
    let offered = OFFERED * 1e3 * OTHERS.1 as f64;
    vec![Load::even(flood, None), Load::even(other, Some(offered))]
}

/// What the daemon has counted.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Packets that the others have sent.
    came: u64,
    /// Packets of theirs that were dropped, and those of nobody's.
    lost: u64,
    /// Packets of the flooders that found their queue full.
    full: u64,
}

fn count(stand: &Stand<'_>) -> Result<Counts, Halt> {
    let (flooders, others) = (tenant_name(0), tenant_name(1));
    let stats = stand.stats()?;
    let own = stats.vnics.iter().filter(|vnic| vnic.tenant == others);
    let mut counts = Counts {
        came: own.map(|vnic| vnic.rx_packets).sum(),
        ..Counts::default()
    };
    for row in stand.drops()? {
        // Whose it was is not known of every packet: the others' it may have been.
        if row.tenant.as_deref() != Some(&flooders) {
            counts.lost += row.packets;
        } else if row.reason == FULL {
            counts.full += row.packets;
        }
    }
    Ok(counts)
}

/// Rounds of all mixes, the worst of each.
pub fn measure(around: Around<'_>, watcher: &mut dyn Watcher) -> Result<Vec<Round>, Halt> {
    let scene = scene();
    let stand = Stand::start(around, &scene, true)?;
    rounds(around, |number| {
        let mut worst: Option<Round> = None;
        for mix in MIXES {
            let (flood, other) = mix;
            let title = format!("pool, round {number}, {flood} bytes beside {other}");
            watcher.doing(&title);
            stand.offer(scene.offers(&loads(mix)))?;
            around.stop.sleep(WARM_UP)?;
            let before = count(&stand)?;
            let (began, mut free) = (Instant::now(), 100.0_f64);
            while began.elapsed() < LENGTH {
                free = free.min(stand.free_mbufs()?);
                around.stop.sleep(LOOK)?;
            }
            let seconds = began.elapsed().as_secs_f64();
            let after = count(&stand)?;
            let rate = loads(mix)[1]
                .offer(0..1)
                .packets_per_second
                .unwrap_or_default();
            let offered = rate * seconds;
            let came = (after.came - before.came) as f64;
            if came < CAME * offered {
                watcher.note(&format!(
                    "{title}: thrown away: {came:.0} of {offered:.0} packets came"
                ));
                return Ok(None);
            }
            if after.full == before.full {
                return Err(stand.trouble("has no queue full: nobody floods it"));
            }
            let round = Round {
                free,
                lost: after.lost - before.lost,
            };
            watcher.note(&format!(
                "{title}: {free:.1} % of all mbufs were free, {} of the others' {came:.0} packets lost",
                round.lost
            ));
            worst = Some(worst.map_or(round, |known| Round {
                free: known.free.min(round.free),
                lost: known.lost + round.lost,
            }));
        }
        Ok(worst)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_offer_less_than_they_are_promised_and_the_flooders_more_than_there_is_room_for() {
        let scene = scene();
        for mix in MIXES {
            let ideal = scene.ideal(&loads(mix));
            let others = ideal.iter().skip(FLOODERS.0 as usize);
            let offered = OFFERED * 1e3 * OTHERS.1 as f64;
            assert_eq!(
                others.filter(|rate| **rate == offered).count(),
                OTHERS.0 as usize
            );
        }
        let (flooders, max) = FLOODERS;
        // 50 ms of 60 bytes.
        let frames = u64::from(flooders) * max * 1000 / 20 / 8 / 60;
        assert!(frames > 6 * 34_000 / 2, "{frames}");
    }

    #[test]
    fn each_goal_takes_its_own_figure() {
        let round = Round {
            free: 31.0,
            lost: 2,
        };
        assert_eq!(
            (round.of(What::Pool), round.of(What::PoolLost)),
            (31.0, 2.0)
        );
    }
}
