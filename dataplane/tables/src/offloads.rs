//! What a port's device does to a frame on its way out: asked of the device when it is opened, never assumed.

/// Work that a device takes off the switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads(u8);

impl Offloads {
    /// Nothing: every frame is finished in software.
    pub const NONE: Offloads = Offloads(0);
    /// Finishes TCP's and UDP's checksum, over IPv4 and IPv6; a VM's device passes it on unfinished.
    pub const CHECKSUM: Offloads = Offloads(1);
    /// Cuts TCP into segments, over IPv4 and IPv6, in any number of mbufs; a VM's device passes it on whole.
    pub const SEGMENTS: Offloads = Offloads(2);
    /// The former inside NVGRE.
    pub const TUNNEL_CHECKSUM: Offloads = Offloads(4);
    /// The latter inside NVGRE, with the outer IPv4 checksum of each segment.
    pub const TUNNEL_SEGMENTS: Offloads = Offloads(8);
    /// Computes the IPv4 header's checksum, of each segment too. Who passes frames on does not need it.
    pub const IPV4_CHECKSUM: Offloads = Offloads(16);

    /// All names, as `weir get` shows them.
    const NAMES: [(Offloads, &'static str); 5] = [
        (Offloads::CHECKSUM, "checksum"),
        (Offloads::SEGMENTS, "segments"),
        (Offloads::TUNNEL_CHECKSUM, "tunnel_checksum"),
        (Offloads::TUNNEL_SEGMENTS, "tunnel_segments"),
        (Offloads::IPV4_CHECKSUM, "ipv4_checksum"),
    ];

    /// Whether all of `other` is in this.
    #[inline(always)]
    pub const fn contains(self, other: Offloads) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Offloads) -> Offloads {
        Offloads(self.0 | other.0)
    }

    /// This if `so`, else nothing.
    #[must_use]
    pub const fn when(self, so: bool) -> Offloads {
        if so { self } else { Offloads::NONE }
    }

    /// The stable names of what is in it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let named = Offloads::NAMES.into_iter();
        named
            .filter(move |(one, _)| self.contains(*one))
            .map(|(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let some = Offloads::CHECKSUM.union(Offloads::TUNNEL_SEGMENTS);
        assert!(some.contains(Offloads::CHECKSUM) && !some.contains(Offloads::SEGMENTS));
        assert_eq!(
            some.names().collect::<Vec<_>>(),
            ["checksum", "tunnel_segments"]
        );
        assert_eq!(Offloads::CHECKSUM.when(false), Offloads::NONE);
    }
}
