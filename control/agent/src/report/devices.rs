//! What uplinks' devices count by themselves: beside the switch's counts, since a NIC knows of frames that no worker was given.

use weir_tables::ids::PortId;

use crate::config::device::Device;
use crate::state::State;
use crate::stats::{DeviceStats, UplinkStats};
use crate::vf::discover;
use crate::vf::host::ThisMachine;

impl State {
    /// Each uplink's counters, with those of its device.
    pub(super) fn uplinks_and_devices(&self) -> impl Iterator<Item = UplinkStats> {
        let uplinks = self.tables.view.uplinks.iter().flatten();
        let ports = uplinks.map(|uplink| uplink.port);
        let each = self.uplink_stats().zip(ports);
        each.map(|(uplink, port)| UplinkStats {
            device: self.device_counters(port),
            ..uplink
        })
    }

    fn device_counters(&self, port: PortId) -> Option<DeviceStats> {
        let (device, open) = self.ports.iter().find(|(_, open)| open.id == port)?;
        let (driver, counters) = open.handle.xstats()?;
        let vf = match device {
            Device::Pci(address) => {
                let address = address.split(',').next().unwrap_or_default();
                discover::vf_at(&ThisMachine, address)
            }
            _ => None,
        };
        Some(told(driver, vf, counters))
    }
}

fn told(driver: String, vf: Option<(String, u16)>, counters: Vec<(String, u64)>) -> DeviceStats {
    let note = counters
        .is_empty()
        .then(|| format!("driver {driver} counts nothing"));
    DeviceStats {
        driver,
        vf: vf.map(|(pf, index)| format!("{pf}/{index}")),
        xstats: counters.into_iter().collect(),
        note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_counts_nothing_says_so() {
        let none = told(
            "net_some_vf".into(),
            Some(("0000:03:00.0".into(), 2)),
            Vec::new(),
        );
        assert_eq!(none.vf.as_deref(), Some("0000:03:00.0/2"));
        let note = none.note.expect("a note");
        assert_eq!(note, "driver net_some_vf counts nothing");
        let zero = told("net_some_vf".into(), None, vec![("rx".into(), 0)]);
        assert_eq!((zero.vf, zero.note), (None, None));
        assert_eq!(zero.xstats["rx"], 0);
    }
}
