//! What a capture saw, as pcapng: one interface a point and party, nanoseconds, and why a packet was dropped in its comment.

use std::collections::HashMap;
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use weir_switch::watch::{Point, Who};
use weir_tables::ids::VnicId;
use weir_worker::tap::Head;

/// Why a block cannot be written.
pub type Unwritable = Box<dyn std::error::Error + Send + Sync>;

/// A capture being written.
pub struct Capture {
    writer: PcapNgWriter<Vec<u8>>,
    /// Numbers of interfaces, and how many packets each has.
    interfaces: HashMap<(Point, Who), u32>,
    packets: Vec<u64>,
    snap: u32,
    filter: String,
}

impl Capture {
    /// The beginning of a file.
    pub fn new(host: &str, snap: u32, filter: &str) -> Result<Capture, Unwritable> {
        let application = format!("weir {}", env!("CARGO_PKG_VERSION"));
        let comment = format!("host {host}");
        let section = SectionHeaderBlock {
            options: vec![
                SectionHeaderOption::UserApplication(application.into()),
                SectionHeaderOption::Common(CommonOption::Comment(comment.into())),
            ],
            ..SectionHeaderBlock::default()
        };
        Ok(Capture {
            writer: PcapNgWriter::with_section_header(Vec::new(), section)?,
            interfaces: HashMap::new(),
            packets: Vec::new(),
            snap,
            filter: filter.to_owned(),
        })
    }

    /// Writes a packet. `name`: what people call `head.who`.
    pub fn packet(
        &mut self,
        head: &Head,
        name: Option<String>,
        time: Duration,
        bytes: &[u8],
    ) -> Result<(), Unwritable> {
        let interface_id = self.interface(head.point, head.who, name)?;
        // The tag that a device took off is a part of the packet.
        let (tagged, length);
        let (data, original_len) = match head.vlan {
            Some(tci) if bytes.len() >= 12 => {
                let (macs, rest) = bytes.split_at(12);
                tagged = [macs, &[0x81, 0x00], &tci.to_be_bytes(), rest].concat();
                length = tagged.len().min(self.snap as usize);
                (tagged.get(..length).unwrap_or_default(), head.length + 4)
            }
            _ => (bytes, head.length),
        };
        let comment = head
            .reason
            .map(|reason| format!("{}: {}", reason.name(), reason.help()));
        let options =
            comment.map(|text| EnhancedPacketOption::Common(CommonOption::Comment(text.into())));
        self.writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id,
            timestamp: time,
            original_len,
            data: data.into(),
            options: options.into_iter().collect(),
        })?;
        if let Some(packets) = self.packets.get_mut(interface_id as usize) {
            *packets += 1;
        }
        Ok(())
    }

    fn interface(
        &mut self,
        point: Point,
        who: Who,
        name: Option<String>,
    ) -> Result<u32, Unwritable> {
        if let Some(&id) = self.interfaces.get(&(point, who)) {
            return Ok(id);
        }
        let name = match name {
            Some(name) => format!("{}:{name}", point.name()),
            None => point.name().to_owned(),
        };
        let mut options = vec![
            InterfaceDescriptionOption::IfName(name.into()),
            InterfaceDescriptionOption::IfDescription(point.help().into()),
            InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
        ];
        if !self.filter.is_empty() {
            // 0: the text of an expression follows (pcapng, if_filter).
            let text = [&[0], self.filter.as_bytes()].concat();
            options.push(InterfaceDescriptionOption::IfFilter(text.into()));
        }
        self.writer.write_pcapng_block(InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: self.snap,
            options,
        })?;
        let id = self.packets.len() as u32;
        self.packets.push(0);
        self.interfaces.insert((point, who), id);
        Ok(id)
    }

    /// A vNIC's index is about to be somebody else's, whose packets are another interface's.
    pub fn forget(&mut self, vnic: VnicId) {
        self.interfaces
            .retain(|(_, who), _| *who != Who::Vnic(vnic));
    }

    /// The end: what each interface saw. What was lost is not known by interface, and stands with the first.
    pub fn end(&mut self, time: Duration, lost: u64) -> Result<(), Unwritable> {
        for (id, &packets) in self.packets.iter().enumerate() {
            let mut options = vec![InterfaceStatisticsOption::IsbUsrDeliv(packets)];
            if id == 0 {
                options.push(InterfaceStatisticsOption::IsbIfDrop(lost));
                let text = "isb_ifdrop counts for all interfaces of this capture";
                options.push(InterfaceStatisticsOption::Common(CommonOption::Comment(
                    text.into(),
                )));
            }
            self.writer.write_pcapng_block(InterfaceStatisticsBlock {
                interface_id: id as u32,
                timestamp: time,
                options,
            })?;
        }
        Ok(())
    }

    /// What is written and not yet taken.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.get_mut())
    }
}
