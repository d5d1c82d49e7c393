//! Mbufs for what is received, as a NIC's driver has them ready in its ring.

use crate::burst::Burst;
use crate::mbuf::prefetch_fresh_for_write;
use crate::pool::Pool;

/// Empty mbufs, a burst of which is always taken out of the pool before it is wanted.
///
/// That is what drivers of NICs do: their rings are filled beforehand, and of a descriptor they write the first line alone. `next`, in the
/// second, is NULL in whatever a pool gives out, so that this line stays with whoever sent or freed the packet last.
/// *Trade-off:* as long as it lives it keeps up to [`Burst::CAPACITY`] mbufs.
#[derive(Debug)]
pub struct Supply {
    pool: Pool,
    next: Burst,
}

impl Supply {
    /// Of mbufs of `pool`. It takes none yet.
    #[must_use]
    pub fn new(pool: Pool) -> Supply {
        Supply {
            pool,
            next: Burst::new(),
        }
    }

    /// Fills an empty burst with empty mbufs that have [`HEADROOM`](crate::HEADROOM) bytes in front, of which the first `lines` lines of 64
    /// bytes are going to be written. False, and nothing, while the pool has not as many.
    #[inline]
    #[must_use]
    pub fn fill(&mut self, burst: &mut Burst, lines: usize) -> bool {
        if !burst.is_empty() || !self.take() {
            return false;
        }
        if let Some(all) = self.next.take_full() {
            let _ = burst.fill(all);
        }
        burst.renew();
        // Those of the next burst, which another core may have had, come closer while this one is worked at.
        if self.take() {
            for mbuf in self.next.as_slice() {
                prefetch_fresh_for_write(mbuf, lines);
            }
        }
        true
    }

    #[inline]
    fn take(&mut self) -> bool {
        self.next.is_full() || self.pool.take_bulk(&mut self.next, Burst::CAPACITY)
    }
}
