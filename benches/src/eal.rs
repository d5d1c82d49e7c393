//! DPDK in the rig's own process, for what is measured there: rte_hash, and the source without a switch.

use crate::halt::Halt;
use crate::machine;
use rte::{Eal, EalConfig, LogLevel, Memory};
use std::sync::OnceLock;

/// Ordinary memory where there are no hugepages, in MB: two tables of ten million.
const MEGABYTES: u32 = 1536;

/// DPDK, started at the first call.
pub fn eal() -> Result<&'static Eal, Halt> {
    static EAL: OnceLock<Result<Eal, String>> = OnceLock::new();
    let started = EAL.get_or_init(|| {
        let config = EalConfig {
            memory: match machine::huge() {
                true => Memory::Huge,
                false => Memory::NoHuge {
                    megabytes: MEGABYTES,
                },
            },
            pci: false,
            log_level: Some(LogLevel::Silent),
            ..EalConfig::default()
        };
        Eal::init(config).map_err(|error| error.to_string())
    });
    started
        .as_ref()
        .map_err(|why| Halt::failed("dpdk", why, "weir doctor says what this machine lacks"))
}
