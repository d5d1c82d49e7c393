//! NVGRE: what is read is written back but for bits that are to be ignored.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_wire::gre::{NVGRE_HEADER, Nvgre, NvgreRefusal};

fuzz_target!(|bytes: &[u8]| match Nvgre::parse(bytes) {
    Ok(nvgre) => {
        let mut header = *bytes.first_chunk::<NVGRE_HEADER>().unwrap();
        // RFC 2784 §2.3: bits 6 to 12 are ignored.
        header[0] &= !0x03;
        header[1] &= !0xf8;
        assert_eq!(nvgre.octets(), header);
        assert_eq!(Nvgre::parse(&header), Ok(nvgre));
    }
    Err(NvgreRefusal::Truncated) => assert!(bytes.len() < NVGRE_HEADER),
    Err(_) => {}
});
