//! policy.toml: what is true of the network.
//!
//! [`Policy::parse`] reads the whole file and returns a policy in which everything that is referred to exists, or every
//! refusal at once. What this version does not carry is refused with its reason, never ignored. [`Policy::check_host`]
//! holds a policy against one machine's host.toml; [`Policy::parse_for_host`] is both in one go, so that a person
//! who applies a file sees all that is wrong with it the first time.
//!
//! Reading is one pass over hosts, switches, VM networks and vNICs, and one over the routes' next hops, which are vNICs'
//! addresses; linear in the file but for one sort of the prefixes. Duplicates are found by hash maps.

pub mod as_json;
pub mod attach;
pub mod bandwidth;
mod check_host;
pub mod dcb;
mod isolation;
pub mod model;
mod networks;
mod prefixes;
mod rewrite;
mod routes;
mod to_many;
pub mod traffic_class;
mod validate;
pub mod vnic_set;
mod vnics;

pub use attach::Attach;
pub use bandwidth::{Bandwidth, Minimum};
pub use dcb::Dcb;
pub use model::{
    BandwidthMode, Host, Iov, Isolation, Network, Policy, Route, SegmentKey, Subnet, Switch,
    Translation, VfPin, Vnic,
};
pub use to_many::ToMany;
pub use traffic_class::{BuiltIn, Custom, Filter, TrafficClass};
pub use vnic_set::{VnicRef, Vnics};

use crate::config::host::HostConfig;
use crate::config::present;
use crate::config::spans::Line;
use crate::halt::Halt;
use crate::stats::PolicyError;

impl Policy {
    /// Reads `text` as a whole policy; `origin` is what refusals call the file.
    ///
    /// All refusals are returned at once, in the order of lines. That vNICs name hosts that exist is for
    /// [`Policy::check_host`] to see, since host.toml describes one that need not be here.
    pub fn parse(text: &str, origin: &str) -> Result<Policy, Vec<PolicyError>> {
        validate::read(text, origin, &Halt::default(), |_| Vec::new())
    }

    /// As [`Policy::parse`] and, also when it refuses something, [`Policy::check_host`].
    pub fn parse_for_host(
        text: &str,
        origin: &str,
        host: &HostConfig,
    ) -> Result<Policy, Vec<PolicyError>> {
        Policy::parse_unless(text, origin, host, &Halt::default())
    }

    /// As [`Policy::parse_for_host`], unless it is asked to end.
    pub fn parse_unless(
        text: &str,
        origin: &str,
        host: &HostConfig,
        halt: &Halt,
    ) -> Result<Policy, Vec<PolicyError>> {
        validate::read(text, origin, halt, |draft| draft.check_host(host))
    }

    /// What makes this policy impossible on the machine that `host` describes: a description of the same host that
    /// differs, hosts that nobody describes, local vNICs without a port or on one that is not there or is taken.
    pub fn check_host(&self, host: &HostConfig) -> Vec<PolicyError> {
        check_host::check(self, host)
    }

    /// What keeps this machine from opening the port of `vnic`: an interface or a PCI device that is not there. Asks the
    /// machine; for vNICs whose port is to be opened, since an open one may lose its interface and still be right.
    pub fn check_port(&self, vnic: VnicRef<'_>) -> Option<PolicyError> {
        let Some(Attach::Port(device)) = vnic.attach() else {
            return None;
        };
        let fault = present::check(device).err()?;
        let problem = format!("attach: {}", fault.problem);
        Some(self.refusal(
            vnic.attach_line(),
            &format!("vnic {}", vnic.name()),
            &problem,
            &fault.mend,
        ))
    }

    /// A refusal of something that is written at `line` of this policy, for checks that others make.
    pub fn refusal(&self, line: Line, object: &str, problem: &str, mend: &str) -> PolicyError {
        PolicyError {
            file: self.origin.clone(),
            line: Some(line.0),
            object: object.to_owned(),
            problem: problem.to_owned(),
            mend: mend.to_owned(),
        }
    }
}
