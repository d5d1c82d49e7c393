//! Bindings to the DPDK that is installed, made at build time by bindgen from its headers, and `shim.c` for what the headers
//! have only as inline functions, macros or thread-local variables. Nothing is named by hand, nothing is made safe: that is
//! `rte`'s work, and nothing but `rte` may depend on this crate.
//!
//! Flags that the headers write with `RTE_BIT64()` (`RTE_ETH_RX_OFFLOAD_*`, `RTE_ETH_RSS_*`, ...), which bindgen skips, are found
//! in the headers by `build.rs` and are `u64` constants here.
//!
//! DPDK is linked dynamically and EAL loads its drivers by itself; with the feature `static` it is all in the binary.

#![allow(unsafe_code, warnings, clippy::all)]
#![allow(rustdoc::all)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
