//! By what a device gives each vNIC's frames to the queue of its worker, and why by that: what the device answers is weighed here, and
//! nothing is asked of it.

use rte::PortInfo;

use crate::config::host::SteerBy;

/// The driver of Intel's igb (82576, 82580, I350).
pub(crate) const IGB: &str = "net_e1000_igb";
/// Bytes of the largest IP packet that a pool of igb's takes: its driver sets no larger frames for pools.
const IGB_POOL_MTU: u16 = 1500;

/// By what a device steers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Means {
    /// By nothing that follows vNICs: workers hand frames over.
    #[default]
    Software,
    /// A VMDq pool for each worker's queue, with the MAC addresses of bridged vNICs.
    Pools,
    /// Rules.
    Flows {
        /// By the destination MAC address: of bridged vNICs.
        to: bool,
        /// By that of the frame inside NVGRE.
        nvgre: bool,
    },
}

impl Means {
    /// Its name in `weir get`.
    pub fn word(self) -> &'static str {
        match self {
            Means::Software => "software",
            Means::Pools => "vmdq",
            Means::Flows { .. } => "flow",
        }
    }
}

/// What a device steers by, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// By what.
    pub means: Means,
    /// Why by that.
    pub why: String,
}

impl Choice {
    /// Of a device that has no queues to choose among.
    pub fn none() -> Choice {
        Choice {
            means: Means::Software,
            why: "the device has one receive queue".into(),
        }
    }
}

/// What is wished, and what is known of a device before it is started.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// host.toml's `steering`.
    pub wish: SteerBy,
    /// DPDK's driver.
    pub driver: &'a str,
    /// What it says that it has.
    pub info: &'a PortInfo,
    /// The MTU that it will have, in bytes.
    pub mtu: u16,
    /// Its receive queues, one a worker; fewer where it has not so many.
    pub queues: u16,
    /// How many workers there are.
    pub workers: u16,
    /// The VFs that it has.
    pub vfs: u16,
}

/// A device that cannot do what host.toml wants of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cannot {
    /// Why.
    pub problem: String,
    /// The mend.
    pub mend: &'static str,
}

impl Asked<'_> {
    /// Whether it is to be started with pools. Refused if they are wanted and cannot be had.
    pub fn pools(&self) -> Result<bool, Cannot> {
        if self.wish != SteerBy::Vmdq || self.workers < 2 {
            return Ok(false);
        }
        match self.no_pools() {
            None => Ok(true),
            Some(why) => Err(Cannot {
                problem: format!("steering: \"vmdq\" cannot be had: {why}"),
                mend: "leave steering out: the device's rules are used where it has them, and else workers hand frames over",
            }),
        }
    }

    /// Why there can be no pools, if there cannot.
    fn no_pools(&self) -> Option<String> {
        let (info, driver) = (self.info, self.driver);
        if info.pools == 0 {
            Some(format!("the device ({driver}) has no VMDq pools"))
        } else if driver != IGB {
            Some(format!(
                "which queues are a pool's is a matter of the driver, and Weir knows that of {IGB} only, not of {driver}"
            ))
        } else if self.vfs > 0 {
            Some(format!("its pools are those of its {} VFs", self.vfs))
        } else if info.pools < self.workers || self.queues < self.workers {
            let (pools, queues, workers) = (info.pools, self.queues, self.workers);
            Some(format!(
                "each of {workers} workers needs a pool and a queue, and the device has {pools} and {queues}"
            ))
        } else if self.mtu > IGB_POOL_MTU {
            let mtu = self.mtu;
            Some(format!(
                "its pools take IP packets of {IGB_POOL_MTU} bytes, and the uplink's MTU is {mtu}"
            ))
        } else {
            None
        }
    }

    /// Whether the device is to be asked about rules, once it is started.
    pub fn asks_flows(&self) -> bool {
        let wished = matches!(self.wish, SteerBy::Auto | SteerBy::Flow);
        wished && self.workers > 1 && self.queues > 1
    }

    /// What it steers by. `to` and `nvgre`: whether it takes such a rule, or why not. Refused if rules are wanted and it takes none.
    pub fn choose(
        &self,
        pools: bool,
        to: Result<(), String>,
        nvgre: Result<(), String>,
    ) -> Result<Choice, Cannot> {
        let software = |why: String| Choice {
            means: Means::Software,
            why,
        };
        if pools {
            let why = format!(
                "host.toml says so; {} pools, {} MAC addresses; the device chooses no queue by RSS meanwhile",
                self.info.pools, self.info.max_macs
            );
            let means = Means::Pools;
            return Ok(Choice { means, why });
        }
        if self.wish == SteerBy::Software {
            return Ok(software("host.toml says so".into()));
        }
        if self.workers < 2 {
            return Ok(software("there is one worker".into()));
        }
        if self.queues < 2 {
            return Ok(software(match self.vfs {
                0 => "the device has one receive queue".into(),
                vfs => format!("the device has {vfs} VFs, and one receive queue beside them"),
            }));
        }
        let (to, refused) = (to.is_ok(), to.err());
        let (nvgre, refused_nvgre) = (nvgre.is_ok(), nvgre.err());
        let (both, means) = (to && nvgre, Means::Flows { to, nvgre });
        if to || nvgre {
            let of = match (both, to) {
                (true, _) => "a MAC address, and of one inside NVGRE",
                (_, true) => "a MAC address, and not of one inside NVGRE",
                _ => "a MAC address inside NVGRE, and not of the outer one",
            };
            let said = refused.or(refused_nvgre);
            let said = said.map(|said| format!(": {said}")).unwrap_or_default();
            let why = format!("the device takes rules of {of}{said}");
            return Ok(Choice { means, why });
        }
        let said = refused.or(refused_nvgre).unwrap_or_default();
        let why = format!("the device takes no rule of a MAC address: {said}");
        if self.wish == SteerBy::Flow {
            return Err(Cannot {
                problem: format!("steering: \"flow\" cannot be had: {why}"),
                mend: "leave steering out: workers hand frames over",
            });
        }
        let other = match self.no_pools() {
            None => format!(
                "; its {} VMDq pools are used with steering = \"vmdq\", in place of RSS",
                self.info.pools
            ),
            Some(_) => String::new(),
        };
        Ok(software(why + &other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As igb's driver answers for an 82576.
    fn igb() -> PortInfo {
        PortInfo {
            max_rx_queues: 16,
            max_tx_queues: 16,
            max_macs: 24,
            pools: 8,
            pool_queues: 16,
            ..PortInfo::default()
        }
    }

    fn asked(info: &PortInfo, wish: SteerBy) -> Asked<'_> {
        Asked {
            wish,
            driver: "net_e1000_igb",
            info,
            mtu: 1500,
            queues: 2,
            workers: 2,
            vfs: 0,
        }
    }

    fn no() -> Result<(), String> {
        Err("Not supported".into())
    }

    #[test]
    fn pools_are_had_where_each_worker_gets_one_and_only_if_they_are_written() {
        let igb = igb();
        let vmdq = asked(&igb, SteerBy::Vmdq);
        assert_eq!(vmdq.pools(), Ok(true));
        for wish in [SteerBy::Auto, SteerBy::Flow, SteerBy::Software] {
            assert_eq!(asked(&igb, wish).pools(), Ok(false), "{wish:?}");
        }
        let one = Asked {
            workers: 1,
            queues: 1,
            ..vmdq
        };
        assert_eq!(one.pools(), Ok(false));
        let nine = Asked {
            workers: 9,
            queues: 9,
            ..vmdq
        };
        let large = Asked { mtu: 1600, ..vmdq };
        let few = Asked { queues: 1, ..vmdq };
        let ixgbe = PortInfo {
            pools: 64,
            pool_queues: 128,
            ..igb
        };
        let ixgbe = Asked {
            driver: "net_ixgbe",
            ..asked(&ixgbe, SteerBy::Vmdq)
        };
        let with_vfs = Asked { vfs: 2, ..vmdq };
        let none = PortInfo { pools: 0, ..igb };
        let none = asked(&none, SteerBy::Vmdq);
        for (asked, word) in [
            (nine, "9 workers"),
            (large, "1600"),
            (few, "8 and 1"),
            (ixgbe, "not of net_ixgbe"),
            (none, "has no VMDq pools"),
            (with_vfs, "those of its 2 VFs"),
        ] {
            let problem = asked.pools().map_err(|cannot| cannot.problem);
            assert!(
                matches!(&problem, Err(problem) if problem.contains(word)),
                "{problem:?}"
            );
        }
    }

    #[test]
    fn rules_are_used_as_far_as_the_device_takes_them() {
        let info = igb();
        let auto = asked(&info, SteerBy::Auto);
        let means = |to, nvgre| auto.choose(false, to, nvgre).map(|choice| choice.means);
        for (to, nvgre) in [(true, true), (true, false), (false, true)] {
            let answer = |takes: bool| if takes { Ok(()) } else { no() };
            let chosen = means(answer(to), answer(nvgre));
            assert_eq!(chosen, Ok(Means::Flows { to, nvgre }));
        }
        let none = auto.choose(false, no(), no()).unwrap();
        assert_eq!(none.means, Means::Software);
        assert!(none.why.contains("Not supported"), "{}", none.why);
        assert!(none.why.contains("steering = \"vmdq\""), "{}", none.why);
        let flow = asked(&info, SteerBy::Flow);
        assert!(flow.choose(false, no(), no()).is_err());
        let off = asked(&info, SteerBy::Software);
        assert_eq!(
            off.choose(false, Ok(()), Ok(())).unwrap().means,
            Means::Software
        );
        assert!(auto.asks_flows() && flow.asks_flows() && !off.asks_flows());
        let beside = Asked {
            queues: 1,
            vfs: 2,
            ..auto
        };
        let why = beside.choose(false, no(), no()).unwrap().why;
        assert!(why.contains("2 VFs, and one receive queue"), "{why}");
        let one = Asked { workers: 1, ..auto };
        assert!(!one.asks_flows());
        assert_eq!(
            one.choose(false, Ok(()), Ok(())).unwrap().means,
            Means::Software
        );
    }
}
