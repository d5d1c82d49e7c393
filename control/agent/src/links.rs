//! What workers are told of bandwidths besides the view: how each uplink is shared, and room for as many vNICs as the view has. Control
//! makes the values, which takes memory, and frees those that come back.

use std::sync::Arc;

use weir_switch::shape::leases::Leases;
use weir_switch::shape::{LinkState, Room, Settings};
use weir_tables::bandwidth::{Link, Pace};
use weir_tables::ids::UplinkId;
use weir_tables::view::View;
use weir_worker::Command;

/// Uplinks that a worker can share out.
const UPLINKS: u16 = 64;
/// Frames that may wait on one worker, however large the pool is: 50 ms at 30 Gbit/s of full frames.
const ITEMS: u32 = 1 << 17;
/// vNICs that it has room for before it is told of more.
const VNICS: u32 = 64;

/// What workers know.
pub struct Links {
    settings: Settings,
    workers: usize,
    /// By [`UplinkId`].
    uplinks: Vec<Known>,
}

/// What they know of an uplink.
struct Known {
    link: Option<Arc<Link>>,
    leases: Arc<Leases>,
}

impl Links {
    /// Of so many workers that share a pool of so many mbufs, on a machine of `hz`: nothing yet.
    ///
    /// Half of the pool may wait, each worker's part of that by itself: of the other half devices have theirs, and it is what is left for
    /// all that does not wait.
    pub fn new(workers: usize, mbufs: u32, hz: u64) -> Links {
        let items = (mbufs / 2 / (workers as u32).max(1)).min(ITEMS);
        Links {
            settings: Settings::new(hz, items, VNICS, UPLINKS),
            workers,
            uplinks: Vec::new(),
        }
    }

    /// What a worker's scheduler is made of.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// What each worker is to be told before this view, by worker.
    pub fn before(&mut self, view: &View) -> Vec<Vec<Command>> {
        let mut commands: Vec<Vec<Command>> = (0..self.workers).map(|_| Vec::new()).collect();
        let vnics = view.vnics.len() as u32;
        if vnics > self.settings.vnics {
            self.settings.vnics = vnics.next_power_of_two();
            let settings = Settings {
                uplinks: view.uplinks.len().min(usize::from(UPLINKS)) as u16,
                ..self.settings
            };
            for own in &mut commands {
                let room = Room::new(&settings, settings.vnics);
                own.push(Command::Room(Box::new(room)));
            }
        }
        let promised = view
            .vnics
            .iter()
            .flatten()
            .any(|vnic| vnic.promise.is_some());
        for (place, uplink) in view.uplinks.iter().enumerate().take(usize::from(UPLINKS)) {
            let link = uplink.as_ref().and_then(|uplink| uplink.link.clone());
            // Of one that nobody knows the device alone says what it carries; what it pushes back waits in its vNICs' queues.
            let plain = || promised.then(|| Arc::new(Link::plain(Pace::UNLIMITED)));
            let link = link.or_else(plain);
            self.share(UplinkId(place as u16), link, &mut commands);
        }
        commands
    }

    fn share(&mut self, id: UplinkId, link: Option<Arc<Link>>, commands: &mut [Vec<Command>]) {
        while self.uplinks.len() <= id.index() {
            self.uplinks.push(Known {
                link: None,
                leases: Leases::new(self.workers),
            });
        }
        let Some(known) = self.uplinks.get_mut(id.index()) else {
            return;
        };
        // What waits for an uplink that is shared no longer has to leave by it all the same.
        let left = || known.link.is_some().then(|| Link::plain(Pace::UNLIMITED));
        let link = link.or_else(|| left().map(Arc::new));
        if known.link == link {
            return;
        }
        for (worker, own) in commands.iter_mut().enumerate() {
            let state = link.as_ref().map(|link| {
                let leases = known.leases.clone();
                LinkState::new(link, leases, worker, &self.settings)
            });
            own.push(Command::Link(id, state));
        }
        known.link = link;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_pool_may_wait_whatever_the_number_of_workers() {
        for workers in [1, 2, 3, 16] {
            let items = Links::new(workers, 65_535, 1).settings().items;
            assert!(items as usize * workers <= 32_767, "{workers}");
            assert!(items as usize * workers > 32_767 - workers, "{workers}");
        }
    }
}
