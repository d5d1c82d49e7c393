//! What a VF is set to, and has carried.

use serde::{Serialize, Serializer};
use weir_wire::Mac;

/// The tag that the NIC puts on what a VF sends, and takes off what it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VlanProtocol {
    /// 802.1Q (0x8100).
    #[default]
    #[serde(rename = "802.1q")]
    Q,
    /// 802.1ad (0x88a8).
    #[serde(rename = "802.1ad")]
    Ad,
}

/// What a VF sees of its link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// What the PF's is.
    #[default]
    Auto,
    /// Up, also between VFs while the PF's cable is out.
    Up,
    /// Down.
    Down,
}

/// What a VF is set to, as its driver tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Settings {
    /// Its MAC as given by the PF; zero: the VF's driver may choose.
    #[serde(serialize_with = "shown")]
    pub mac: Mac,
    /// Its VLAN; 0: none.
    pub vlan: u16,
    /// The priority (PCP) of its tag.
    pub qos: u8,
    /// Which tag.
    pub vlan_protocol: VlanProtocol,
    /// Whether frames with another source are dropped; none: the driver does not tell.
    pub spoof_check: Option<bool>,
    /// Whether it may ask for what others must not, as to be promiscuous; none: the driver does not tell.
    pub trust: Option<bool>,
    /// Its link.
    pub link_state: LinkState,
    /// What it is promised to send, in Mbit/s; 0: nothing.
    pub min_mbit: u32,
    /// What it may send at most, in Mbit/s; 0: no limit.
    pub max_mbit: u32,
}

fn shown<S: Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(mac)
}

/// What a VF has carried, as its driver counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Counters {
    /// Packets it got.
    pub rx_packets: u64,
    /// Bytes of them.
    pub rx_bytes: u64,
    /// Packets it sent.
    pub tx_packets: u64,
    /// Bytes of them.
    pub tx_bytes: u64,
    /// Packets for it that were dropped.
    pub rx_dropped: u64,
    /// Packets of it that were dropped.
    pub tx_dropped: u64,
}

impl Counters {
    /// What was counted between two looks.
    pub fn since(&self, before: &Counters) -> Counters {
        let less = |now: u64, before: u64| now.saturating_sub(before);
        Counters {
            rx_packets: less(self.rx_packets, before.rx_packets),
            rx_bytes: less(self.rx_bytes, before.rx_bytes),
            tx_packets: less(self.tx_packets, before.tx_packets),
            tx_bytes: less(self.tx_bytes, before.tx_bytes),
            rx_dropped: less(self.rx_dropped, before.rx_dropped),
            tx_dropped: less(self.tx_dropped, before.tx_dropped),
        }
    }

    /// Adds to what was counted.
    pub fn add(&mut self, more: &Counters) {
        self.rx_packets += more.rx_packets;
        self.rx_bytes += more.rx_bytes;
        self.tx_packets += more.tx_packets;
        self.tx_bytes += more.tx_bytes;
        self.rx_dropped += more.rx_dropped;
        self.tx_dropped += more.tx_dropped;
    }
}

/// One setting, as the kernel takes them one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// [`Settings::mac`].
    Mac,
    /// VLAN, priority and protocol together.
    Vlan,
    /// [`Settings::spoof_check`].
    SpoofCheck,
    /// [`Settings::trust`].
    Trust,
    /// [`Settings::link_state`].
    LinkState,
    /// [`Settings::min_mbit`].
    MinRate,
    /// [`Settings::max_mbit`].
    MaxRate,
}

impl Setting {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Setting::Mac => "MAC",
            Setting::Vlan => "VLAN",
            Setting::SpoofCheck => "spoof check",
            Setting::Trust => "trust",
            Setting::LinkState => "link state",
            Setting::MinRate => "minimum rate",
            Setting::MaxRate => "maximum rate",
        }
    }

    /// Its value in some settings, for people.
    pub fn value(self, of: &Settings) -> String {
        let switch = |on: Option<bool>| match on {
            None => "not told".to_string(),
            Some(true) => "on".to_string(),
            Some(false) => "off".to_string(),
        };
        let rate = |mbit: u32| format!("{mbit} Mbit/s");
        match self {
            Setting::Mac => of.mac.to_string(),
            Setting::Vlan => {
                let protocol = match of.vlan_protocol {
                    VlanProtocol::Q => "",
                    VlanProtocol::Ad => " 802.1ad",
                };
                format!("{} qos {}{protocol}", of.vlan, of.qos)
            }
            Setting::SpoofCheck => switch(of.spoof_check),
            Setting::Trust => switch(of.trust),
            Setting::LinkState => format!("{:?}", of.link_state).to_lowercase(),
            Setting::MinRate => rate(of.min_mbit),
            Setting::MaxRate => rate(of.max_mbit),
        }
    }

    /// Whether two settings agree in it.
    pub fn same(self, a: &Settings, b: &Settings) -> bool {
        match self {
            Setting::Mac => a.mac == b.mac,
            Setting::Vlan => {
                // Without a VLAN and a priority there is no tag to have a protocol.
                let untagged = a.vlan == 0 && a.qos == 0;
                (a.vlan, a.qos) == (b.vlan, b.qos)
                    && (untagged || a.vlan_protocol == b.vlan_protocol)
            }
            Setting::SpoofCheck => a.spoof_check == b.spoof_check,
            Setting::Trust => a.trust == b.trust,
            Setting::LinkState => a.link_state == b.link_state,
            Setting::MinRate => a.min_mbit == b.min_mbit,
            Setting::MaxRate => a.max_mbit == b.max_mbit,
        }
    }

    /// Takes its value over from other settings.
    pub fn copy(self, from: &Settings, to: &mut Settings) {
        match self {
            Setting::Mac => to.mac = from.mac,
            Setting::Vlan => {
                (to.vlan, to.qos, to.vlan_protocol) = (from.vlan, from.qos, from.vlan_protocol);
            }
            Setting::SpoofCheck => to.spoof_check = from.spoof_check,
            Setting::Trust => to.trust = from.trust,
            Setting::LinkState => to.link_state = from.link_state,
            Setting::MinRate => to.min_mbit = from.min_mbit,
            Setting::MaxRate => to.max_mbit = from.max_mbit,
        }
    }
}
