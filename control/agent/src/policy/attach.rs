//! How a vNIC is connected: the `attach` of policy.toml.

use std::fmt;
use std::str::FromStr;

use crate::config::device::Device;
use crate::config::fields::{self, Fault, Name};

/// How a vNIC is connected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attach {
    /// By a port of its own.
    Port(Device),
    /// By a port of host.toml that carries many vNICs: `trunk:PORT` tells it by its source MAC address,
    /// `trunk:PORT/VLAN` by its VLAN.
    Trunk {
        /// The trunk's name.
        port: Name,
        /// The VLAN, 1 to 4094.
        vlan: Option<u16>,
    },
}

impl FromStr for Attach {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Attach, Fault> {
        let Some(rest) = text.strip_prefix("trunk:") else {
            return text.parse().map(Attach::Port).map_err(|fault: Fault| {
                match fault.mend.strip_suffix("\"memif:PATH\"") {
                    Some(forms) => Fault::new(
                        fault.problem,
                        format!("{forms}\"memif:PATH\", \"trunk:PORT\""),
                    ),
                    None => fault,
                }
            });
        };
        let (port, vlan) = match rest.split_once('/') {
            Some((port, vlan)) => (port, Some(vlan)),
            None => (rest, None),
        };
        let port = fields::name(port)?;
        let Some(vlan) = vlan else {
            return Ok(Attach::Trunk { port, vlan: None });
        };
        match vlan.parse::<u16>() {
            Ok(vlan @ 1..=4094) if !rest.contains('+') => Ok(Attach::Trunk {
                port,
                vlan: Some(vlan),
            }),
            _ => Err(Fault::new(
                format!("\"{}\" is not a VLAN", vlan.escape_debug()),
                format!("write \"trunk:{port}/VLAN\" with a VLAN of 1 to 4094"),
            )),
        }
    }
}

impl fmt::Display for Attach {
    /// As it is written in policy.toml.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attach::Port(device) => device.fmt(f),
            Attach::Trunk { port, vlan: None } => write!(f, "trunk:{port}"),
            Attach::Trunk {
                port,
                vlan: Some(vlan),
            } => write!(f, "trunk:{port}/{vlan}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trunks_and_ports_read_and_show() {
        for (text, attach) in [
            (
                "trunk:vms",
                Attach::Trunk {
                    port: "vms".into(),
                    vlan: None,
                },
            ),
            (
                "trunk:vms/7",
                Attach::Trunk {
                    port: "vms".into(),
                    vlan: Some(7),
                },
            ),
            ("tap:blue1", Attach::Port(Device::Tap("blue1".into()))),
        ] {
            assert_eq!(text.parse(), Ok(attach.clone()));
            assert_eq!(attach.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_attach_says_why_and_how_to_mend() {
        for (text, why) in [
            ("trunk:", "name is empty"),
            ("trunk:vms/", "VLAN of 1 to 4094"),
            ("trunk:vms/0", "VLAN of 1 to 4094"),
            ("trunk:vms/4095", "VLAN of 1 to 4094"),
            ("trunk:vms/+7", "VLAN of 1 to 4094"),
            ("eth0", "\"trunk:PORT\""),
        ] {
            let fault = text.parse::<Attach>().unwrap_err().to_string();
            assert!(fault.contains(why), "{text}: {fault}");
        }
    }
}
