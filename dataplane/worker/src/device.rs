//! A queue of an ethdev or of a vhost-user socket, behind one face.

use rte::{Burst, RxQueue, TxQueue, VhostRx, VhostTx};

/// A queue to receive from.
pub enum Rx {
    /// Of a DPDK ethdev.
    Eth(RxQueue),
    /// Of a vhost-user socket.
    Vhost(VhostRx),
}

/// A queue to send to.
pub enum Tx {
    /// Of a DPDK ethdev.
    Eth(TxQueue),
    /// Of a vhost-user socket.
    Vhost(VhostTx),
}

impl Rx {
    /// Receives up to 32 packets into an empty burst; how many.
    #[inline(always)]
    pub fn rx(&mut self, burst: &mut Burst) -> usize {
        match self {
            Rx::Eth(queue) => queue.rx(burst),
            Rx::Vhost(queue) => queue.rx(burst),
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
        }
    }
}
