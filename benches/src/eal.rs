//! DPDK in the rig's own process, once: for its generator and receiver, for rte_hash, for the source without a switch.

use crate::halt::Halt;
use rte::{Eal, EalConfig, LogLevel, Memory};
use std::sync::{Arc, OnceLock};

/// Ordinary memory where there are no hugepages, in MB: two tables of ten million.
const MEGABYTES: u32 = 1536;

/// DPDK, started at the first call, in hugepages or not, with these PCI devices; a later call gets what the first has started.
pub fn eal(huge: bool, pci: &[String]) -> Result<&'static Arc<Eal>, Halt> {
    static EAL: OnceLock<Result<Arc<Eal>, String>> = OnceLock::new();
    let started = EAL.get_or_init(|| {
        let config = EalConfig {
            memory: match huge {
                true => Memory::Huge,
                false => Memory::NoHuge {
                    megabytes: MEGABYTES,
                },
            },
            pci: !pci.is_empty(),
            allow: pci.to_vec(),
            single_file_segments: huge,
            log_level: Some(LogLevel::Silent),
            ..EalConfig::default()
        };
        Eal::init(config)
            .map(Arc::new)
            .map_err(|error| error.to_string())
    });
    started
        .as_ref()
        .map_err(|why| Halt::failed("the rig", why, "weir doctor says what is missing"))
}
