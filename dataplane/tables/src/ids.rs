//! The indexes by which tables name things. Each is given out by control and reused only after every
//! worker has passed a quiescent point.

/// A local vNIC's place in [`View::vnics`](crate::view::View::vnics).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VnicId(pub u32);

/// A virtual subnet's place in [`View::segments`](crate::view::View::segments). A host uses far fewer
/// than 65,536 of the 16 M VSIDs, so that segment and MAC fit one 8-byte key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub u16);

/// A VM network, which is a routing domain: its place in [`View::domains`](crate::view::View::domains). 16 bits, so
/// that a domain and an IPv4 address fit one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainId(pub u16);

/// Another host's provider address: its place in [`View::peers`](crate::view::View::peers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);

/// A port's place in [`View::ports`](crate::view::View::ports): a device, a trunk or a vhost-user socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

/// An uplink's place in [`View::uplinks`](crate::view::View::uplinks).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UplinkId(pub u16);

/// A worker, from 0. Its core is another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u8);

impl VnicId {
    /// The index as a slice index.
    #[inline(always)]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl SegmentId {
    /// The index as a slice index.
    #[inline(always)]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl DomainId {
    /// The index as a slice index.
    #[inline(always)]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl PeerId {
    /// The index as a slice index.
    #[inline(always)]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl PortId {
    /// The index as a slice index.
    #[inline(always)]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl UplinkId {
    /// The index as a slice index.
    #[inline(always)]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl WorkerId {
    /// The index as a slice index.
    #[inline(always)]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
