//! A queue of an ethdev, of a vhost-user socket or of the rig, behind one face.

use crate::rig::Source;
use crate::rig::arrivals;
use crate::rig::senders;
use crate::rig::sink::Sink;
use crate::rig::wire;
use rte::{Burst, Called, RxQueue, TxOffloads, TxQueue, VhostRx, VhostTx};
use weir_tables::offloads::Offloads;

/// A queue to receive from.
pub enum Rx {
    /// Of a DPDK ethdev.
    Eth(RxQueue),
    /// Of a virtual function whose network is untagged: a tag that its PF has taken off is not the wire's, and nothing is known of it.
    Vf(RxQueue),
    /// Of a vhost-user socket.
    Vhost(VhostRx),
    /// A source for measurements.
    Rig(Source),
    /// Many VMs, for measurements.
    Senders(senders::Source),
    /// What arrives at an uplink, for measurements.
    Arrivals(arrivals::Source),
}

/// A queue to send to.
pub enum Tx {
    /// Of a DPDK ethdev.
    Eth(TxQueue),
    /// Of a vhost-user socket.
    Vhost(VhostTx),
    /// The other way of a source for measurements: takes everything and keeps nothing.
    Rig,
    /// An uplink's, for measurements: takes everything and logs it.
    Sink(Sink),
    /// One of several of an uplink's, for measurements: its wire takes from them by turns.
    Wire(wire::Queue),
}

impl Rx {
    /// Whether it can call a worker that sleeps.
    pub fn has_interrupt(&self) -> bool {
        match self {
            Rx::Eth(queue) | Rx::Vf(queue) => queue.has_interrupt(),
            Rx::Vhost(_) => true,
            Rx::Rig(_) | Rx::Senders(_) | Rx::Arrivals(_) => false,
        }
    }

    /// Has it call from now on. What came before does not: look once more. Whether it does.
    pub(crate) fn arm(&mut self) -> bool {
        match self {
            Rx::Eth(queue) | Rx::Vf(queue) => queue.has_interrupt() && queue.arm().is_ok(),
            Rx::Vhost(queue) => queue.arm().is_ok(),
            Rx::Rig(_) | Rx::Senders(_) | Rx::Arrivals(_) => false,
        }
    }

    /// It need not call. Whether it still does: then this is to be said again.
    pub(crate) fn disarm(&mut self) -> bool {
        match self {
            Rx::Eth(queue) | Rx::Vf(queue) => queue.disarm(),
            Rx::Vhost(queue) => queue.disarm(),
            Rx::Rig(_) | Rx::Senders(_) | Rx::Arrivals(_) => {}
        }
        self.is_armed()
    }

    /// Whether it calls.
    pub(crate) fn is_armed(&self) -> bool {
        match self {
            Rx::Eth(queue) | Rx::Vf(queue) => queue.is_armed(),
            Rx::Vhost(queue) => queue.is_armed(),
            Rx::Rig(_) | Rx::Senders(_) | Rx::Arrivals(_) => false,
        }
    }

    /// Whether what comes while it is armed calls for certain: not who is another process, and may leave and come unheard.
    pub(crate) fn is_sure_to_call(&self) -> bool {
        match self {
            Rx::Eth(queue) | Rx::Vf(queue) => queue.is_sure_to_call(),
            Rx::Vhost(_) | Rx::Rig(_) | Rx::Senders(_) | Rx::Arrivals(_) => false,
        }
    }

    /// What a sleep listens to, while it calls.
    pub(crate) fn called(&self) -> Option<Called> {
        match self {
            Rx::Eth(queue) | Rx::Vf(queue) => queue.called(),
            Rx::Vhost(queue) => queue.called(),
            Rx::Rig(_) | Rx::Senders(_) | Rx::Arrivals(_) => None,
        }
    }

    /// Its device is gone: nothing comes.
    pub(crate) fn lose(&mut self) {
        match self {
            Rx::Eth(queue) | Rx::Vf(queue) => queue.lose(),
            Rx::Vhost(_) | Rx::Rig(_) | Rx::Senders(_) | Rx::Arrivals(_) => {}
        }
    }

    /// Receives up to 32 packets into an empty burst; how many.
    #[inline(always)]
    pub fn rx(&mut self, burst: &mut Burst) -> usize {
        match self {
            Rx::Eth(queue) => queue.rx(burst),
            Rx::Vf(queue) => {
                let received = queue.rx(burst);
                forget_tags(burst);
                received
            }
            Rx::Vhost(queue) => queue.rx(burst),
            Rx::Rig(source) => source.rx(burst),
            Rx::Senders(source) => source.rx(burst),
            Rx::Arrivals(source) => source.rx(burst),
        }
    }
}

impl Tx {
    /// Sends from the burst's front; how many the device took. The rest stays, moved to the front.
    #[inline(always)]
    pub fn tx(&mut self, burst: &mut Burst) -> usize {
        match self {
            Tx::Eth(queue) => queue.tx(burst),
            Tx::Vhost(queue) => queue.tx(burst),
            Tx::Rig => {
                let taken = burst.len();
                burst.clear();
                taken
            }
            Tx::Sink(sink) => sink.tx(burst),
            Tx::Wire(queue) => queue.tx(burst),
        }
    }

    /// Whether what it took before the last `since` packets has left; `None` if that cannot be told apart from its having been taken, as
    /// with every device that is software.
    pub fn is_out(&self, since: u64) -> Option<bool> {
        match self {
            Tx::Eth(queue) => queue.is_out(since),
            Tx::Wire(queue) => Some(queue.is_out(since)),
            Tx::Vhost(_) | Tx::Rig | Tx::Sink(_) => None,
        }
    }

    /// Adapts the burst's packets to the driver, where they ask it for work. How many are fit to be sent; the one behind is not.
    pub fn prepare(&mut self, burst: &mut Burst) -> usize {
        match self {
            Tx::Eth(queue) => queue.prepare(burst),
            Tx::Vhost(_) | Tx::Rig | Tx::Sink(_) | Tx::Wire(_) => burst.len(),
        }
    }

    /// What the device does to frames now. Of an ethdev that is what its port was opened with; of a socket, what the guest that is
    /// there has agreed to.
    pub fn offloads(&self, port: Offloads) -> Offloads {
        match self {
            Tx::Eth(_) | Tx::Rig | Tx::Sink(_) | Tx::Wire(_) => port,
            Tx::Vhost(queue) => passed_on(queue.offloads()),
        }
    }
}

/// Where a PF puts its VF into a VLAN, the VF is in that network as if untagged, and some NICs' descriptors show it the tag all the same
/// (82576: the PF's driver has the VF's queues strip, VMOLR.STRVLAN; DPDK's then says VLAN_STRIPPED whoever asked for it).
fn forget_tags(burst: &mut Burst) {
    for mbuf in burst.as_mut_slice() {
        if mbuf.vlan().is_some() {
            mbuf.set_vlan(None);
        }
    }
}

/// What a VM's device takes, which passes frames on as they are.
pub fn passed_on(offloads: TxOffloads) -> Offloads {
    let checksums = TxOffloads::TCP_CHECKSUM | TxOffloads::UDP_CHECKSUM;
    let checksum = Offloads::CHECKSUM.when(offloads.contains(checksums));
    checksum.union(Offloads::SEGMENTS.when(offloads.contains(checksums | TxOffloads::TCP_TSO)))
}
