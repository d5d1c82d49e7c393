//! A machine's host.toml.

use std::path::Path;

use weir_agent::config::host::HostConfig;
use weir_agent::stats::PolicyError;

/// A host.toml that is good.
pub const HOST: &str = r#"
name = "h1"
[dataplane]
workers = [1]
hugepages = "auto"
idle = "poll"
[[uplink]]
name = "up0"
device = "0000:03:00.0"
provider_addresses = ["192.168.50.1/24"]
[[trunk]]
name = "vms"
device = "net_af_packet7,iface=vms"
[[trunk]]
name = "tags"
device = "net_af_packet8,iface=tags"
by = "vlan"
[store]
kind = "file"
path = "policy.toml"
"#;

/// Reads `text` as the host.toml of a machine with cores 0 to 2.
pub fn host(text: &str) -> Result<HostConfig, Vec<PolicyError>> {
    HostConfig::parse(text, "etc/host.toml", Path::new("etc"), &[0, 1, 2])
}
