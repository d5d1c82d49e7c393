//! Packet filters as tcpdump writes them: libpcap compiles the expression to classic BPF, and DPDK translates, verifies and
//! compiles that to machine code.
//!
//! Not every program: of DPDK 22.11 the compiler for x86 gets jumps on set bits wrong (`ether multicast` takes every packet),
//! and interpreter and compiler alike what is behind an IPv4 header (`tcp[13] = 2` takes none). Programs with either are run by
//! libpcap's own interpreter. The test that compares the two found both.

use std::ffi::{CStr, CString, c_void};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use dpdk_sys::{bpf_program, pcap_pkthdr, pcap_t, rte_bpf, rte_bpf_jit, timeval};

use crate::error::Cause;
use crate::{Eal, Mbuf, log};

/// A compiled filter expression (pcap-filter(7)) over Ethernet frames. Shared freely: it holds no state.
pub struct Filter {
    classic: Classic,
    native: Option<Native>,
}

/// The same as machine code.
struct Native {
    bpf: NonNull<rte_bpf>,
    run: unsafe extern "C" fn(*mut c_void) -> u64,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("native", &self.is_native())
            .finish()
    }
}

// SAFETY: both programs are only read from then on: no maps, no external symbols; running them writes to the stack alone.
unsafe impl Send for Filter {}
// SAFETY: as above.
unsafe impl Sync for Filter {}

/// Why there is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The expression is none. What libpcap says of it.
    #[error("{0}")]
    Expression(String),
    /// DPDK does not take what libpcap made of it.
    #[error("DPDK does not run it: {0}")]
    Load(Cause),
}

/// A handle of libpcap's that is no capture: it lends its link type to the compiler.
struct Dead(NonNull<pcap_t>);

impl Drop for Dead {
    fn drop(&mut self) {
        // SAFETY: opened by `pcap_open_dead`, closed once.
        unsafe { dpdk_sys::pcap_close(self.0.as_ptr()) }
    }
}

/// A classic program.
struct Classic(bpf_program);

impl Drop for Classic {
    fn drop(&mut self) {
        // SAFETY: filled in by `pcap_compile`, freed once.
        unsafe { dpdk_sys::pcap_freecode(&mut self.0) }
    }
}

/// Longest packet that a filter is compiled for, in bytes: no packet is longer.
const LONGEST: i32 = 262_144;

impl Classic {
    /// Whether DPDK runs it rightly: see the module.
    fn suits_dpdk(&self) -> bool {
        let length = self.0.bf_len as usize;
        // SAFETY: libpcap's array of that many instructions, which lives as long as the program.
        let instructions = unsafe { std::slice::from_raw_parts(self.0.bf_insns, length) };
        instructions.iter().all(|i| {
            let (class, mode) = (i.code & CLASS, i.code & MODE);
            let load = class == LD || class == LDX;
            i.code & !FROM_X != JUMP_IF_SET && !(load && (mode == INDEXED || mode == HEADER_LENGTH))
        })
    }

    /// Runs it on the first bytes of a packet, by libpcap.
    fn takes(&self, first: &[u8], length: usize) -> bool {
        let header = pcap_pkthdr {
            ts: timeval {
                tv_sec: 0,
                tv_usec: 0,
            },
            caplen: first.len() as u32,
            len: length as u32,
        };
        // SAFETY: a compiled program, which is only read, and as many bytes as the header says.
        unsafe { dpdk_sys::pcap_offline_filter(&self.0, &header, first.as_ptr()) != 0 }
    }
}

// Classic BPF's opcodes (pcap/bpf.h): classes, modes of a load, and a jump.
const CLASS: u16 = 0x07;
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const MODE: u16 = 0xe0;
const INDEXED: u16 = 0x40;
const HEADER_LENGTH: u16 = 0xa0;
const JUMP_IF_SET: u16 = 0x45;
const FROM_X: u16 = 0x08;

/// Bytes of a chain that a filter sees, at least: more than all headers that an expression can name.
const FIRST: usize = 512;

fn classic(expression: &str) -> Result<Classic, FilterError> {
    let refused = |text: &str| FilterError::Expression(text.to_owned());
    let text = CString::new(expression).map_err(|_| refused("it contains a NUL"))?;
    // SAFETY: two numbers in, a handle or null out.
    let dead = unsafe { dpdk_sys::pcap_open_dead(dpdk_sys::DLT_EN10MB as i32, LONGEST) };
    let dead = Dead(NonNull::new(dead).ok_or_else(|| refused("no memory"))?);
    let mut program = MaybeUninit::zeroed();
    // SAFETY: the handle is open, `program` is written when the call succeeds, and `text` ends in NUL. The netmask is unknown, so
    // that `ip broadcast` is refused rather than wrong.
    let done = unsafe {
        let mask = dpdk_sys::PCAP_NETMASK_UNKNOWN;
        dpdk_sys::pcap_compile(
            dead.0.as_ptr(),
            program.as_mut_ptr(),
            text.as_ptr(),
            1,
            mask,
        )
    };
    if done != 0 {
        // SAFETY: the handle's own string, which ends in NUL and lives as long as the handle; it is copied before that.
        let said = unsafe { CStr::from_ptr(dpdk_sys::pcap_geterr(dead.0.as_ptr())) };
        return Err(refused(&said.to_string_lossy()));
    }
    // SAFETY: the call succeeded.
    Ok(Classic(unsafe { program.assume_init() }))
}

impl Native {
    /// `None` where this machine or DPDK has no compiler.
    fn load(classic: &Classic) -> Result<Option<Native>, FilterError> {
        let since = log::mark();
        // SAFETY: a valid program in; a translation in memory of DPDK's out, or null.
        let parameters = unsafe { dpdk_sys::rte_bpf_convert(&classic.0) };
        if parameters.is_null() {
            let cause = Cause::of_rte_errno("rte_bpf_convert", since);
            return Err(FilterError::Load(cause));
        }
        // SAFETY: `rte_bpf_load` verifies and copies the program; the translation is DPDK's allocation and freed once.
        let bpf = unsafe {
            let bpf = dpdk_sys::rte_bpf_load(parameters);
            let cause = Cause::of_rte_errno("rte_bpf_load", since);
            dpdk_sys::rte_free(parameters.cast());
            NonNull::new(bpf).ok_or(FilterError::Load(cause))?
        };
        let mut jit = MaybeUninit::<rte_bpf_jit>::zeroed();
        // SAFETY: a loaded program; `jit` is written when the call succeeds and may be all zeroes, which says that there is none.
        let jit = unsafe {
            dpdk_sys::rte_bpf_get_jit(bpf.as_ptr(), jit.as_mut_ptr());
            jit.assume_init()
        };
        match jit.func {
            Some(run) => Ok(Some(Native { bpf, run })),
            None => {
                // SAFETY: loaded above, destroyed once.
                unsafe { dpdk_sys::rte_bpf_destroy(bpf.as_ptr()) };
                Ok(None)
            }
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: loaded by `rte_bpf_load`, destroyed once; nobody runs it any more, as running it borrows the filter.
        unsafe { dpdk_sys::rte_bpf_destroy(self.bpf.as_ptr()) }
    }
}

impl Filter {
    /// Compiles an expression; the empty one takes every packet. Fails with what libpcap says of it, or if DPDK's verifier
    /// refuses the program.
    pub fn compile(_eal: &Eal, expression: &str) -> Result<Filter, FilterError> {
        let classic = classic(expression)?;
        let native = match classic.suits_dpdk() {
            true => Native::load(&classic)?,
            false => None,
        };
        Ok(Filter { classic, native })
    }

    /// Whether it takes this packet. Of a chain it sees 512 bytes at least.
    #[inline]
    #[must_use]
    pub fn takes(&self, mbuf: &Mbuf) -> bool {
        if let Some(native) = &self.native {
            // SAFETY: `rte_bpf_convert` makes programs whose argument is an mbuf, which this is, and which is alive and this
            // owner's alone during the call; the verifier has seen that the program ends, and reads the packet only by loads
            // whose bounds are checked against the chain, and nothing else but its own stack.
            return unsafe { (native.run)(mbuf.as_ptr().cast()) != 0 };
        }
        let head = mbuf.head();
        if head.len() >= FIRST.min(mbuf.len()) {
            return self.classic.takes(head, mbuf.len());
        }
        let mut first = [0; FIRST];
        let mut filled = 0;
        for segment in mbuf.segments_iter() {
            let room = &mut first[filled..];
            let part = segment.len().min(room.len());
            room[..part].copy_from_slice(&segment[..part]);
            filled += part;
        }
        self.classic.takes(&first[..filled], mbuf.len())
    }

    /// Whether it runs as machine code.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self.native.is_some()
    }
}
