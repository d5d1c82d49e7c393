//! Opening what host.toml names: uplinks and trunks.

use weir_tables::counters::cells;
use weir_tables::ids::{UplinkId, WorkerId};
use weir_tables::view::{Party, Port, Uplink};
use weir_wire::Mac;

use std::sync::Arc;

use super::State;
use crate::aims::choice::Means;
use crate::config::device::Device;
use crate::config::host::{ChooseBy, TrunkBy};
use crate::config::spans::Line;
use crate::ports::{self, Wish};
use crate::stats::PolicyError;
use crate::tables::set;

impl State {
    /// Opens the uplinks and trunks of host.toml. What was opened stays open when one is refused: the caller ends.
    pub fn open_host_ports(&mut self) -> Result<(), Vec<PolicyError>> {
        let host = self.host.clone();
        for (index, uplink) in host.uplinks.iter().enumerate() {
            let wish = Wish {
                mtu: uplink.mtu,
                mac: uplink.mac,
                promiscuous: false,
                all_multicast: uplink.v6().next().is_some(),
                queues: self.crew.len() as u16,
                workers: self.crew.len() as u16,
                software: !uplink.offloads,
                tagged: uplink.vlan.is_some(),
                steering: uplink.steering,
                classes: self.crew.len() == 1
                    && uplink.capacity.is_none()
                    && uplink.dcb == ChooseBy::Auto,
                adaptive: self.is_adaptive(),
            };
            let object = format!("uplink {}", uplink.name);
            let id = UplinkId(index as u16);
            let mac = self.open_host_port(
                &uplink.device,
                wish,
                Party::Uplink(id),
                &object,
                uplink.line,
            )?;
            let Some(port) = self.tables.port(&uplink.device.to_string()) else {
                continue;
            };
            let entry = Uplink {
                id,
                name: uplink.name.clone(),
                port,
                mac: uplink.mac.unwrap_or(mac),
                v4: uplink.v4().collect(),
                v6: uplink.v6().collect(),
                v4_links: uplink.v4_links().collect(),
                v6_links: uplink.v6_links().collect(),
                vlan: uplink.vlan,
                bridged: None,
                groups: [].into(),
                link: None,
                cells: cells(self.crew.len()),
            };
            set(&mut self.tables.view.uplinks, index, Some(Arc::new(entry)));
        }
        for trunk in &host.trunks {
            let wish = Wish {
                mtu: trunk.mtu,
                promiscuous: true,
                adaptive: self.is_adaptive(),
                ..Wish::default()
            };
            let party = match trunk.by {
                TrunkBy::Mac => Party::TrunkByMac,
                TrunkBy::Vlan => Party::TrunkByVlan,
            };
            self.open_host_port(
                &trunk.device,
                wish,
                party,
                &format!("trunk {}", trunk.name),
                trunk.line,
            )?;
        }
        self.crew.publish(&self.tables.view);
        // Only now, so that no worker polls a port that it does not know.
        for (device, opened) in std::mem::take(&mut self.opening) {
            self.hand_out(device, opened);
        }
        Ok(())
    }

    fn open_host_port(
        &mut self,
        device: &Device,
        wish: Wish,
        party: Party,
        object: &str,
        line: Line,
    ) -> Result<Mac, Vec<PolicyError>> {
        let refused = |problem: String, mend: String| {
            vec![PolicyError {
                file: self.host.origin.clone(),
                line: Some(line.0),
                object: object.to_owned(),
                problem,
                mend,
            }]
        };
        let opened = ports::open(&self.eal, self.pool, device, wish)
            .map_err(|r| refused(r.problem, r.mend))?;
        let Some(id) = self.tables.ports.give(device.to_string()) else {
            return Err(refused(
                "there are too many ports".into(),
                "remove some".into(),
            ));
        };
        let entry = Port {
            party,
            max_frame: u32::from(opened.mtu) + 14,
            owner: self.least_loaded(),
            suspect_checksums: opened.suspect_checksums && !matches!(party, Party::Uplink(_)),
            offloads: opened.offloads,
            pushes_back: opened.pushes_back,
            patience_us: opened.pace.patience().as_micros() as u32,
            pools: opened.steer.means == Means::Pools,
        };
        set(&mut self.tables.view.ports, id as usize, Some(entry));
        let mac = opened.mac;
        self.opening.push((device.clone(), opened));
        Ok(mac)
    }

    /// The worker that owns the fewest ports, those not yet handed out included.
    pub fn least_loaded(&self) -> WorkerId {
        let mut owned = vec![0_usize; self.crew.len()];
        for port in self.tables.view.ports.iter().flatten() {
            if let Some(count) = owned.get_mut(port.owner.index()) {
                *count += 1;
            }
        }
        let least = owned.iter().enumerate().min_by_key(|(_, count)| **count);
        WorkerId(least.map_or(0, |(index, _)| index as u8))
    }
}
