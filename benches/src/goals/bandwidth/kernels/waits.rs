//! How long packets wait for a maximum, as the switch itself sees them come and go.
//!
//! `weir capture` stamps a packet where it was received from its vNIC and where it is given to the receiver's queue. Nothing is between
//! but the stages of one turn and the queue that is meant: no kernel, no ring of a device. A packet is known again by its IPv4
//! identification and its TCP sequence number, so that one which is sent again is another one.

use crate::bandwidth::stand::Around;
use crate::halt::Halt;
use crate::process::{Process, tied};
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::block_common::Block;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_wire::ether::Ether;
use weir_wire::ipv4::Ipv4;
use weir_wire::{EtherType, IpProtocol};

/// Bytes of a packet that are kept: Ethernet, IPv4, TCP.
const KEPT: &str = "64";
/// How long the capture may take until it looks. Where nothing says that it does, that much is waited.
const BEGINS_WITHIN: Duration = Duration::from_secs(1);
/// How long what is on its way to the file may take.
const SETTLES: Duration = Duration::from_millis(300);

/// A look at the packets of a connection.
pub struct Look<'a> {
    around: Around<'a>,
    capture: Process,
    file: PathBuf,
}

impl<'a> Look<'a> {
    /// Begins to look at TCP from this address, at one packet in so many (a power of two).
    pub fn begin(
        around: Around<'a>,
        socket: &Path,
        folder: &Path,
        (from, one_in): (&str, u64),
    ) -> Result<Look<'a>, Halt> {
        let file = folder.join("waits.pcapng");
        // Of the round before.
        let _ = std::fs::remove_file(&file);
        // By the identification, which counts the connection's packets.
        let filter = format!("tcp and src host {from} and ip[4:2] & {} = 0", one_in - 1);
        let arguments = [
            "capture",
            "vnic-rx,vnic-tx",
            "-s",
            KEPT,
            "--filter",
            &filter,
        ];
        let mut command = tied(&around.plan.program, arguments);
        command.arg("-w").arg(&file).arg("--socket").arg(socket);
        let capture = Process::start("capture", &mut command, folder)?;
        around
            .stop
            .wait_for(BEGINS_WITHIN, || Ok(file.exists().then_some(())))?;
        Ok(Look {
            around,
            capture,
            file,
        })
    }

    /// How long packets waited, in seconds, sorted: of those that were seen to come and to go.
    pub fn end(mut self) -> Result<Vec<f64>, Halt> {
        self.capture.check()?;
        self.around.stop.sleep(SETTLES)?;
        if !self.capture.end().is_some_and(|status| status.success()) {
            return Err(self.capture.trouble("does not end well"));
        }
        let file = std::fs::File::open(&self.file);
        let file = file.map_err(|error| Halt::io(self.file.display(), &error))?;
        let mut waits = waits(file).map_err(|why| self.capture.trouble(&why))?;
        waits.sort_by(f64::total_cmp);
        Ok(waits)
    }
}

/// Of a capture of `vnic-rx` and `vnic-tx`.
fn waits(file: impl Read) -> Result<Vec<f64>, String> {
    let mut reader = PcapNgReader::new(file).map_err(|error| error.to_string())?;
    // Whether what is seen there has come.
    let mut comes = Vec::new();
    let mut came = HashMap::new();
    let mut waits = Vec::new();
    while let Some(block) = reader.next_block() {
        let (block, _) = block.map_err(|error| error.to_string())?;
        match block {
            Block::InterfaceDescription(interface) => {
                comes.push(interface.options.iter().any(|option| {
                    matches!(option, InterfaceDescriptionOption::IfName(name) if name.starts_with("vnic-rx"))
                }));
            }
            Block::EnhancedPacket(packet) => {
                let Some(key) = key(&packet.data) else {
                    continue;
                };
                let at = packet.timestamp;
                match comes.get(packet.interface_id as usize) {
                    Some(true) => drop(came.insert(key, at)),
                    _ => waits.extend(
                        came.remove(&key)
                            .map(|came: Duration| at.saturating_sub(came).as_secs_f64()),
                    ),
                }
            }
            _ => {}
        }
    }
    Ok(waits)
}

/// What a TCP packet over IPv4 is known by.
fn key(frame: &[u8]) -> Option<(u16, u32)> {
    let ethernet = Ether::parse(frame).ok()?;
    if ethernet.ethertype() != EtherType::IPV4 {
        return None;
    }
    // What is kept of a packet is not all of it.
    let ip = Ipv4::parse_quote(ethernet.payload()).ok()?;
    if ip.protocol() != IpProtocol::TCP {
        return None;
    }
    let sequence = ip.payload().get(4..8)?.first_chunk::<4>()?;
    Some((ip.identification(), u32::from_be_bytes(*sequence)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::DataLink;
    use pcap_file::pcapng::PcapNgWriter;
    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
    use pcap_file::pcapng::blocks::interface_description::{
        InterfaceDescriptionBlock, InterfaceTsResolution,
    };
    use pcap_file::pcapng::blocks::section_header::SectionHeaderBlock;
    use std::net::Ipv4Addr;
    use weir_wire::ipv4::Fragmentation;
    use weir_wire::{Mac, ether, ipv4};

    /// The beginning of a TCP packet.
    fn packet(identification: u16, sequence: u32) -> Vec<u8> {
        let ether = ether::Header {
            dst: Mac::from_u64(2),
            src: Mac::from_u64(1),
            ethertype: EtherType::IPV4,
        };
        let ip = ipv4::Header {
            tos: 2,
            total_length: 1500,
            identification,
            fragmentation: Fragmentation::DONT,
            ttl: 64,
            protocol: IpProtocol::TCP,
            source: Ipv4Addr::new(10, 1, 0, 11),
            destination: Ipv4Addr::new(10, 1, 0, 12),
        };
        let ports_and_sequence = [&[0x14, 0x51, 0x80, 0][..], &sequence.to_be_bytes()].concat();
        [
            &ether.octets()[..],
            &ip.octets()[..],
            &ports_and_sequence,
            &[0; 22],
        ]
        .concat()
    }

    /// A capture of packets: when, in microseconds, at which point, and which.
    fn capture(packets: &[(u64, &'static str, Vec<u8>)]) -> Vec<u8> {
        let mut points: Vec<&str> = Vec::new();
        let section = SectionHeaderBlock::default();
        let mut writer = PcapNgWriter::with_section_header(Vec::new(), section).unwrap();
        for (at, point, bytes) in packets {
            let place = points.iter().position(|known| known == point);
            let place = place.unwrap_or_else(|| {
                let options = vec![
                    InterfaceDescriptionOption::IfName((*point).into()),
                    InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
                ];
                let interface = InterfaceDescriptionBlock {
                    linktype: DataLink::ETHERNET,
                    snaplen: 64,
                    options,
                };
                writer.write_pcapng_block(interface).unwrap();
                points.push(point);
                points.len() - 1
            });
            let block = EnhancedPacketBlock {
                interface_id: place as u32,
                timestamp: Duration::from_micros(*at),
                original_len: 1514,
                data: bytes.into(),
                options: Vec::new(),
            };
            writer.write_pcapng_block(block).unwrap();
        }
        writer.into_inner()
    }

    #[test]
    fn a_packet_waits_from_where_it_comes_to_where_it_goes() {
        let (comes, goes) = ("vnic-rx:a", "vnic-tx:b");
        let file = capture(&[
            (1_000_000, comes, packet(7, 100)),
            (1_000_100, comes, packet(8, 1548)),
            (1_004_000, goes, packet(7, 100)),
            // The same bytes again, and an answer that nobody saw come.
            (1_005_000, comes, packet(9, 100)),
            (1_006_500, goes, packet(9, 100)),
            (1_007_000, goes, packet(1, 1)),
            (1_020_100, goes, packet(8, 1548)),
        ]);
        let waits = waits(&file[..]).unwrap();
        let micros: Vec<u32> = waits
            .iter()
            .map(|wait| (1e6 * wait).round() as u32)
            .collect();
        assert_eq!(micros, [4000, 1500, 20_000]);
    }

    #[test]
    fn what_is_no_tcp_over_ipv4_is_not_looked_at() {
        let mut other = packet(7, 100);
        other[23] = 17;
        assert_eq!(key(&other), None);
        assert_eq!(key(&packet(7, 100)), Some((7, 100)));
        assert_eq!(key(&packet(7, 100)[..38]), None);
    }
}
