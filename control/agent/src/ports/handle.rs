//! A device that is open: what may be asked of it, and how it is closed.

use std::sync::Arc;

use rte::{Flow, FlowMatch, PortStats, VhostPort};
use weir_tables::offloads::Offloads;
use weir_wire::Mac;
use weir_worker::device::{Rx, Tx, passed_on};
use weir_worker::rig::senders;
use weir_worker::rig::sink::Log;
use weir_worker::rig::wire;

use crate::aims::choice::Means;
use crate::nic_classes::Tree;

/// What a driver says that cannot choose ([`rte::Port::set_promiscuous`]).
const ENOTSUP: i32 = 95;

/// A device that is open. Its queues are with the workers.
pub enum Handle {
    /// A DPDK port, and transmit queues of it that nobody uses: it could choose among DCB traffic classes (`class_queues`).
    Eth(rte::Port, Vec<rte::TxQueue>),
    /// A vhost-user socket.
    Vhost(VhostPort),
    /// A source for measurements, which is no device at all.
    Rig,
    /// Many of them; control's end of it.
    Senders(senders::Control),
    /// A sink for measurements, and what it logs.
    Sink(Arc<Log>),
    /// The wire of an uplink of several queues.
    Wire(Arc<wire::Wire>),
}

impl Handle {
    /// Closes the device. Every queue that [`open`](super::open) gave must be there: that proves that nobody polls.
    pub fn close(self, rx: Vec<Rx>, tx: Vec<Tx>) -> Result<(), String> {
        let (mut eth_rx, mut vhost_rx, mut rig) = (Vec::new(), None, false);
        let mut sink = false;
        for queue in rx {
            match queue {
                Rx::Eth(queue) | Rx::Vf(queue) => eth_rx.push(queue),
                Rx::Vhost(queue) => vhost_rx = Some(queue),
                Rx::Rig(_) | Rx::Senders(_) | Rx::Arrivals(_) => rig = true,
            }
        }
        let (mut eth_tx, mut vhost_tx) = (Vec::new(), None);
        for queue in tx {
            match queue {
                Tx::Eth(queue) => eth_tx.push(queue),
                Tx::Vhost(queue) => vhost_tx = Some(queue),
                Tx::Rig => {}
                Tx::Sink(_) | Tx::Wire(_) => sink = true,
            }
        }
        match (self, vhost_rx, vhost_tx) {
            (Handle::Eth(port, spare), None, None) => {
                eth_tx.extend(spare);
                port.close(eth_rx, eth_tx).map_err(|e| e.to_string())
            }
            (Handle::Vhost(port), Some(rx), Some(tx)) => {
                port.close(rx, tx).map_err(|e| e.to_string())
            }
            (Handle::Rig | Handle::Senders(_), None, None) if rig => Ok(()),
            (Handle::Sink(_) | Handle::Wire(_), None, None) if sink => Ok(()),
            _ => Err("the queues given back are another device's".into()),
        }
    }

    /// Whether the link is up (a guest is there), and its speed in Mbit/s where the device knows it.
    pub fn link(&self) -> (bool, Option<u32>) {
        match self {
            Handle::Eth(port, _) => {
                let link = port.link();
                (link.up, link.mbit)
            }
            Handle::Vhost(port) => (port.link_up(), None),
            Handle::Rig | Handle::Senders(_) | Handle::Sink(_) | Handle::Wire(_) => (true, None),
        }
    }

    /// What its hardware has for traffic classes.
    pub fn class_hardware(&self) -> rte::ClassHardware {
        match self {
            Handle::Eth(port, _) => port.class_hardware(),
            _ => rte::ClassHardware::default(),
        }
    }

    /// Transmit queues that it was started with so that it can choose among them: those of workers, which have one, and those that nobody
    /// uses.
    pub fn class_queues(&self) -> u16 {
        match self {
            Handle::Eth(_, spare) => spare.len() as u16 + 1,
            _ => 1,
        }
    }

    /// Has it choose among its transmit queues; `first` is the one that is in use. Those that have a class, in their order, or what is
    /// against it.
    pub fn choose_among(&mut self, first: Tx, tree: &Tree) -> Result<Vec<Tx>, (String, Tx)> {
        let (port, spare, first) = match (self, first) {
            (Handle::Eth(port, spare), Tx::Eth(first)) => (port, spare, first),
            (_, first) => return Err(("the device is no port of DPDK".into(), first)),
        };
        let mut all = std::mem::take(spare);
        all.insert(0, first);
        match port.choose_among(&mut all, tree.level, tree.levels, &tree.queues) {
            Ok(()) => {
                *spare = all.split_off(tree.tcs.len().min(all.len()));
                Ok(all.into_iter().map(Tx::Eth).collect())
            }
            Err(error) => {
                let first = all.remove(0);
                *spare = all;
                Err((error.to_string(), Tx::Eth(first)))
            }
        }
    }

    /// The NUMA node of its device, if it has one.
    pub fn node(&self) -> Option<u8> {
        match self {
            Handle::Eth(port, _) => u8::try_from(port.info().socket?).ok(),
            _ => None,
        }
    }

    /// Has it receive what is addressed to others too, or no longer. A device that cannot choose receives it anyway.
    pub fn set_promiscuous(&mut self, on: bool) -> Result<(), String> {
        match self {
            Handle::Eth(port, _) => match port.set_promiscuous(on) {
                Err(rte::PortError::Dpdk { cause, .. }) if cause.errno == ENOTSUP => Ok(()),
                other => other.map_err(|error| error.to_string()),
            },
            Handle::Vhost(_)
            | Handle::Rig
            | Handle::Senders(_)
            | Handle::Sink(_)
            | Handle::Wire(_) => Ok(()),
        }
    }

    /// Has it give frames to a receive queue: to the pool of that number, or by a rule, which is what it returns.
    pub fn aim(&mut self, of: FlowMatch, queue: u16, means: Means) -> Result<Option<Flow>, String> {
        let said = |error: rte::PortError| error.to_string();
        match (self, means, of) {
            (Handle::Eth(port, _), Means::Pools, FlowMatch::To(mac)) => {
                port.add_mac(mac, u32::from(queue)).map_err(said)?;
                Ok(None)
            }
            (Handle::Eth(port, _), Means::Flows { .. }, _) => {
                port.add_flow(of, queue).map(Some).map_err(said)
            }
            _ => Err("the device steers nothing".into()),
        }
    }

    /// Undoes [`Handle::aim`].
    pub fn unaim(&mut self, of: FlowMatch, flow: Option<Flow>) {
        let Handle::Eth(port, _) = self else { return };
        let undone = match (flow, of) {
            (Some(flow), _) => port.remove_flow(flow),
            (None, FlowMatch::To(mac) | FlowMatch::NvgreTo(mac)) => port.remove_mac(mac),
        };
        if let Err(error) = undone {
            tracing::warn!("a device goes on steering what it should not: {error}");
        }
    }

    /// What the guest that is on a socket has agreed to take; `None` for any other device.
    pub fn guest_offloads(&self) -> Option<Offloads> {
        match self {
            Handle::Eth(..)
            | Handle::Rig
            | Handle::Senders(_)
            | Handle::Sink(_)
            | Handle::Wire(_) => None,
            Handle::Vhost(port) => Some(passed_on(port.offloads())),
        }
    }

    /// Has it receive what is for these groups, and for no others. `false` if it cannot choose among groups.
    pub fn set_groups(&mut self, groups: &[Mac]) -> bool {
        let groups: Vec<[u8; 6]> = groups.iter().map(|group| group.octets()).collect();
        match self {
            Handle::Eth(port, _) => port.set_groups(&groups).is_ok(),
            Handle::Vhost(_)
            | Handle::Rig
            | Handle::Senders(_)
            | Handle::Sink(_)
            | Handle::Wire(_) => true,
        }
    }

    /// The driver of the device, and all that it counts, by the driver's own names; `None` for what is no port of DPDK.
    pub fn xstats(&self) -> Option<(String, Vec<(String, u64)>)> {
        match self {
            Handle::Eth(port, _) => Some((port.driver(), port.xstats())),
            _ => None,
        }
    }

    /// What the device itself counts; nothing for vhost-user, whose copies fail only into `tx_full`, and for a source.
    pub fn stats(&self) -> PortStats {
        match self {
            Handle::Eth(port, _) => port.stats(),
            Handle::Vhost(_)
            | Handle::Rig
            | Handle::Senders(_)
            | Handle::Sink(_)
            | Handle::Wire(_) => PortStats::default(),
        }
    }
}
