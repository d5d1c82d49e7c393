//! NVGRE: what is read is written back but for bits that are to be ignored.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_wire::gre::{NVGRE_HEADER, Nvgre, NvgreRefusal};

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    // Four bytes at once are seldom found by chance.
    let mut stamped = bytes.to_vec();
    if let Some(start) = stamped.first_chunk_mut() {
        *start = [0x20, 0, 0x65, 0x58];
        assert_eq!(read(&stamped), stamped.len() >= NVGRE_HEADER);
    }
});

/// Whether it is NVGRE.
fn read(bytes: &[u8]) -> bool {
    match Nvgre::parse(bytes) {
        Ok(nvgre) => {
            let mut header = *bytes.first_chunk::<NVGRE_HEADER>().unwrap();
            // RFC 2784 §2.3: bits 6 to 12 are ignored.
            header[0] &= !0x03;
            header[1] &= !0xf8;
            assert_eq!(nvgre.octets(), header);
            assert_eq!(Nvgre::parse(&header), Ok(nvgre));
            true
        }
        Err(NvgreRefusal::Truncated) => {
            assert!(bytes.len() < NVGRE_HEADER);
            false
        }
        Err(_) => false,
    }
}
