//! IPv6 addresses by a number of 32 bits, for values of tables that have room for no more.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Addresses a page.
const PAGE: usize = 1024;

/// An address in 32 bits: of IPv4 itself, of IPv6 its place in [`Addresses`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short(pub u32);

impl From<Ipv4Addr> for Short {
    fn from(address: Ipv4Addr) -> Short {
        Short(address.to_bits())
    }
}

/// Part of the snapshot: a place has one address from before its number is in any table until no reader can hold that
/// number any more. Pages are shared with the snapshots before; one that changes is copied.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    pages: Vec<Arc<[Ipv6Addr; PAGE]>>,
}

impl Addresses {
    /// The address of a place; `None` beyond all pages.
    #[inline(always)]
    pub fn get(&self, place: Short) -> Option<Ipv6Addr> {
        let place = place.0 as usize;
        let page = self.pages.get(place / PAGE)?;
        page.get(place % PAGE).copied()
    }

    /// Gives a place an address.
    pub fn set(&mut self, place: Short, address: Ipv6Addr) {
        let place = place.0 as usize;
        while self.pages.len() <= place / PAGE {
            self.pages.push(Arc::new([Ipv6Addr::UNSPECIFIED; PAGE]));
        }
        if let Some(page) = self.pages.get_mut(place / PAGE)
            && let Some(slot) = Arc::make_mut(page).get_mut(place % PAGE)
        {
            *slot = address;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_stays_as_it_was_and_shares_what_did_not_change() {
        let address = |last| Ipv6Addr::new(0xfd50, 0, 0, 0, 0, 0, 0, last);
        let mut now = Addresses::default();
        assert_eq!(now.get(Short(0)), None);
        now.set(Short(1023), address(1));
        now.set(Short(1024), address(2));
        let before = now.clone();
        now.set(Short(1024), address(3));
        let seen = |of: &Addresses| [1023, 1024, 2047, 2048].map(|place| of.get(Short(place)));
        let none = Some(Ipv6Addr::UNSPECIFIED);
        assert_eq!(
            seen(&before),
            [Some(address(1)), Some(address(2)), none, None]
        );
        assert_eq!(seen(&now), [Some(address(1)), Some(address(3)), none, None]);
        assert!(Arc::ptr_eq(&before.pages[0], &now.pages[0]));
        assert!(!Arc::ptr_eq(&before.pages[1], &now.pages[1]));
    }
}
