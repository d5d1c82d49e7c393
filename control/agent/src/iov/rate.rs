//! What of a vNIC's bandwidth its VF can keep, and what is remembered of a NIC that would not.
//!
//! A VF has two rates of what it sends, in whole Mbit/s. Whatever else policy says of bandwidth is kept in software alone. What a driver
//! refuses is asked again when what it was asked of has changed, and not before: to ask may mean to take the VF from another vNIC.

use std::collections::BTreeMap;

use super::survey::Survey;
use crate::config::fields::Name;
use crate::config::units::BitRate;
use crate::plan::VnicPlan;
use crate::policy::{Bandwidth, Minimum};
use crate::vf::discover::Pf;
use crate::vf::error::{self, Error};
use crate::vf::host::Host;
use crate::vf::settings::Settings;

/// What a VF promises and allows its user to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// In Mbit/s; 0: nothing is promised.
    pub min_mbit: u32,
    /// In Mbit/s; 0: no limit.
    pub max_mbit: u32,
}

/// What of a vNIC's bandwidth no VF keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// What it receives.
    Receives,
    /// That what is over its maximum is dropped.
    Polices,
    /// A share by weight.
    Weight,
    /// A minimum, or a maximum, that is not in whole Mbit/s: the field.
    Parts(&'static str),
    /// host.toml leaves all of it to software.
    Host,
}

impl Rates {
    /// No promise and no limit, as a new VF has it.
    pub const NONE: Rates = Rates {
        min_mbit: 0,
        max_mbit: 0,
    };

    /// What a VF would have to keep of a vNIC's bandwidth. Fails with what of it no VF does.
    pub fn of(own: &Bandwidth) -> Result<Rates, Beyond> {
        let minimum = match own.minimum {
            Some(Minimum::Weight(_)) => return Err(Beyond::Weight),
            Some(Minimum::Rate(rate)) => Some(rate),
            None => None,
        };
        if own.max_rx.is_some() {
            return Err(Beyond::Receives);
        }
        if own.police {
            return Err(Beyond::Polices);
        }
        Ok(Rates {
            min_mbit: mbit(minimum).ok_or(Beyond::Parts("min"))?,
            max_mbit: mbit(own.max).ok_or(Beyond::Parts("max"))?,
        })
    }

    /// Those of a vNIC that may have a VF; none of one that may not.
    pub fn planned(vnic: &VnicPlan) -> Rates {
        Rates::of(&vnic.bandwidth).unwrap_or(Rates::NONE)
    }

    /// Whether a VF is set so.
    pub fn are(self, settings: &Settings) -> bool {
        (settings.min_mbit, settings.max_mbit) == (self.min_mbit, self.max_mbit)
    }

    /// For people.
    pub fn told(self) -> String {
        let one = |mbit: u32| match mbit {
            0 => "none".to_owned(),
            mbit => format!("{mbit} Mbit/s"),
        };
        format!(
            "minimum {}, maximum {}",
            one(self.min_mbit),
            one(self.max_mbit)
        )
    }
}

/// In whole Mbit/s, 0 for none; none if it is not whole, or more than netlink can say.
fn mbit(rate: Option<BitRate>) -> Option<u32> {
    let Some(rate) = rate else { return Some(0) };
    let bits = rate.bits_per_second();
    (bits % 1_000_000 == 0)
        .then(|| u32::try_from(bits / 1_000_000).ok())
        .flatten()
}

/// Whether a refusal is of the rate itself, and not of a driver that is busy, a user without rights or a NIC that has gone.
pub fn is_final(error: &Error) -> bool {
    use error::Name::{BadValue, NotKept, NotOfDriver, ValueRefused};
    matches!(error.name, NotOfDriver | ValueRefused | NotKept | BadValue)
}

/// What a NIC's answer depends on, as far as can be seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// What it is asked to keep.
    pub rates: Rates,
    /// The minima of all vNICs of the host, in bit/s: a NIC may promise no more than its link.
    pub minima: u64,
    /// The NIC.
    pub nic: Nic,
}

/// A NIC, in what its rates depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Nic {
    pf: Option<String>,
    driver: Option<String>,
    /// Of its link, in Mbit/s, as the kernel says it: without a link that is nothing, or -1 (SPEED_UNKNOWN, linux/ethtool.h).
    speed: Option<i64>,
    vfs: usize,
}

impl Nic {
    /// What was found, and its link's speed now.
    pub fn now(host: &impl Host, survey: &Survey) -> Nic {
        Nic::of(host, survey.pf.as_ref())
    }

    /// That of a PF, and its link's speed now.
    pub fn of(host: &impl Host, pf: Option<&Pf>) -> Nic {
        let interface = pf.and_then(|pf| pf.interface.as_deref());
        let speed = interface.and_then(|name| host.number(&format!("/sys/class/net/{name}/speed")));
        Nic {
            pf: pf.map(|pf| pf.pf.clone()),
            driver: pf.and_then(|pf| pf.driver.clone()),
            speed,
            vfs: pf.map_or(0, |pf| pf.vfs.len()),
        }
    }
}

/// What NICs would not keep, by vNIC.
#[derive(Debug, Default)]
pub struct Refusals {
    all: BTreeMap<Name, (Asked, Error)>,
}

impl Refusals {
    /// Whether there are none, so that nobody need look at the NIC for them.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Remembers that this was refused.
    pub fn note(&mut self, vnic: &Name, asked: Asked, error: Error) {
        self.all.insert(vnic.clone(), (asked, error));
    }

    /// Forgets those of which what was asked has changed; `now`: what each vNIC would ask, none if it is not here.
    pub fn review(&mut self, now: impl Fn(&Name) -> Option<Asked>) {
        self.all
            .retain(|vnic, (asked, _)| now(vnic).is_some_and(|now| now == *asked));
    }

    /// Why a vNIC's rates are not asked for now; none if they may be.
    pub fn of(&self, vnic: &Name) -> Option<&Error> {
        self.all.get(vnic).map(|(_, error)| error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iov::program;
    use crate::vf::discover;
    use crate::vf::recorded::{EOPNOTSUPP, EPERM, ICE, Recorded};

    fn rate(text: &str) -> Option<BitRate> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn whole_rates_of_what_is_sent_are_a_vfs_and_nothing_else() {
        let none = Bandwidth::default();
        assert_eq!(Rates::of(&none), Ok(Rates::NONE));
        let both = Bandwidth {
            minimum: rate("1Mbit").map(Minimum::Rate),
            max: rate("2.5Gbit"),
            ..none
        };
        let kept = Rates {
            min_mbit: 1,
            max_mbit: 2500,
        };
        assert_eq!(Rates::of(&both), Ok(kept));
        let max = |text: &str| Bandwidth {
            max: rate(text),
            ..none
        };
        let cases = [
            (max("1500Kbit"), Beyond::Parts("max")),
            (max("999999bit"), Beyond::Parts("max")),
            (max("4294967296Mbit"), Beyond::Parts("max")),
            (
                Bandwidth {
                    minimum: rate("1Kbit").map(Minimum::Rate),
                    ..both
                },
                Beyond::Parts("min"),
            ),
            (
                Bandwidth {
                    minimum: Some(Minimum::Weight(1)),
                    ..none
                },
                Beyond::Weight,
            ),
            (
                Bandwidth {
                    max_rx: rate("1Gbit"),
                    ..both
                },
                Beyond::Receives,
            ),
            (
                Bandwidth {
                    police: true,
                    ..both
                },
                Beyond::Polices,
            ),
        ];
        for (own, beyond) in cases {
            assert_eq!(Rates::of(&own), Err(beyond), "{own:?}");
        }
        assert_eq!(
            Rates::of(&max("4294967295Mbit")).unwrap().max_mbit,
            u32::MAX
        );
    }

    #[test]
    fn what_was_refused_is_asked_again_when_anything_of_it_has_changed() {
        let nic = Nic {
            pf: Some("p".into()),
            driver: Some("igb".into()),
            speed: Some(1000),
            vfs: 2,
        };
        let asked = Asked {
            rates: Rates {
                min_mbit: 0,
                max_mbit: 2000,
            },
            minima: 0,
            nic: nic.clone(),
        };
        let why = Error::new(error::Name::ValueRefused, "o", "p", "m");
        let vnic: Name = "v".into();
        let after = |now: Option<Asked>| {
            let mut refusals = Refusals::default();
            refusals.note(&vnic, asked.clone(), why.clone());
            refusals.review(|_| now.clone());
            refusals.of(&vnic).is_some()
        };
        assert!(after(Some(asked.clone())));
        assert!(!after(None));
        let other = [
            Asked {
                rates: Rates::NONE,
                ..asked.clone()
            },
            Asked {
                minima: 1,
                ..asked.clone()
            },
            Asked {
                nic: Nic {
                    speed: Some(10_000),
                    ..nic.clone()
                },
                ..asked.clone()
            },
            Asked {
                nic: Nic {
                    vfs: 3,
                    ..nic.clone()
                },
                ..asked.clone()
            },
            Asked {
                nic: Nic {
                    driver: None,
                    ..nic
                },
                ..asked.clone()
            },
        ];
        for other in other {
            assert!(!after(Some(other.clone())), "{other:?}");
        }
    }

    #[test]
    fn what_a_nic_is_is_seen_in_all_that_its_rates_depend_on() {
        let host = Recorded::new(ICE);
        let pf = &discover::all(&host)[0];
        let speed = |mbit: &str| {
            let interface = pf.interface.as_deref().unwrap();
            host.put(&format!("/sys/class/net/{interface}/speed"), mbit);
            Nic::of(&host, Some(pf))
        };
        let slow = speed("1000\n");
        assert_ne!(slow, speed("10000\n"));
        assert_eq!(slow, speed("1000\n"));
        let others = [
            Pf {
                pf: "0000:09:00.0".into(),
                ..pf.clone()
            },
            Pf {
                driver: None,
                ..pf.clone()
            },
            Pf {
                vfs: pf.vfs[1..].to_vec(),
                ..pf.clone()
            },
        ];
        for other in others {
            assert_ne!(slow, Nic::of(&host, Some(&other)), "{other:?}");
        }
    }

    /// What has no rates, or not this one, will not have it the next time; whoever is busy, or may not ask, may then.
    #[test]
    fn only_what_a_nic_says_of_the_rate_is_final() {
        let host = Recorded::new(ICE);
        let pf = &discover::all(&host)[0];
        let rates = Rates {
            min_mbit: 0,
            max_mbit: 100,
        };
        const EBUSY: i32 = 16;
        const EINVAL: i32 = 22;
        for (errno, wanted) in [
            (EOPNOTSUPP, true),
            (EINVAL, true),
            (EBUSY, false),
            (EPERM, false),
        ] {
            host.refuse.set(Some(errno));
            let refused = program::keep(&host, pf, 0, rates).unwrap_err();
            assert_eq!(is_final(&refused), wanted, "{errno}: {refused}");
        }
    }
}
