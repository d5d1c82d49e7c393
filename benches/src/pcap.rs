//! A capture file, as net_pcap reads it: <https://www.tcpdump.org/manpages/pcap-savefile.5.html>.

use crate::halt::Halt;
use crate::process;
use std::io::{self, Write};
use std::path::Path;

/// Microsecond stamps, in the order of bytes of the machine that writes.
const MAGIC: u32 = 0xa1b2_c3d4;
/// Frames longer than this would be cut off; net_pcap does not look at it.
const SNAPLEN: u32 = 65_535;
/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;

/// Writes frames as a capture, little-endian, all at time 0.
pub fn write<'a>(
    to: &mut impl Write,
    frames: impl IntoIterator<Item = &'a [u8]>,
) -> io::Result<()> {
    to.write_all(&MAGIC.to_le_bytes())?;
    to.write_all(&2u16.to_le_bytes())?;
    to.write_all(&4u16.to_le_bytes())?;
    to.write_all(&[0; 8])?;
    to.write_all(&SNAPLEN.to_le_bytes())?;
    to.write_all(&ETHERNET.to_le_bytes())?;
    for frame in frames {
        let len = u32::try_from(frame.len())
            .map_err(io::Error::other)?
            .to_le_bytes();
        to.write_all(&[0; 8])?;
        to.write_all(&len)?;
        to.write_all(&len)?;
        to.write_all(frame)?;
    }
    Ok(())
}

/// Writes frames as a capture to a file.
pub fn write_file(path: &Path, frames: &[Vec<u8>]) -> Result<(), Halt> {
    let mut file = Vec::new();
    write(&mut file, frames.iter().map(Vec::as_slice))
        .map_err(|error| Halt::io(path.display(), &error))?;
    process::write(path, file)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_bytes_are_those_of_the_format() {
        let mut file = Vec::new();
        super::write(&mut file, [&[0xaa, 0xbb, 0xcc][..], &[0xdd][..]]).unwrap();
        #[rustfmt::skip]
        let expected = [
            0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 0xaa, 0xbb, 0xcc,
            0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0xdd,
        ];
        assert_eq!(file, expected);
    }
}
