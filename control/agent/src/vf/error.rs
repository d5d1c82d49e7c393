//! Why something about a VF was refused: each reason by name, each with its mend.

use crate::stats::PolicyError;
use serde::Serialize;

/// The reasons; in JSON as written here with dashes, and stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// There is no such PCI device or interface.
    NoSuchPf,
    /// The device is there and offers no VFs.
    NoSriov,
    /// More VFs are asked for than the PF has.
    TooManyVfs,
    /// The PF can have such a VF, or could not, but has not got it now.
    NoSuchVf,
    /// VFs are there already; their number changes by way of none.
    VfsThere,
    /// Somebody uses the VF, or the PF.
    InUse,
    /// The driver that is wanted is not loaded, or the device has none.
    DriverMissing,
    /// The driver was there and did not take the device.
    NotBound,
    /// No IOMMU is in use.
    NoIommu,
    /// Other devices share the VF's IOMMU group.
    SharedGroup,
    /// Not root, or without CAP_NET_ADMIN.
    NoPrivilege,
    /// A PF without an interface of the kernel in this network namespace.
    NoInterface,
    /// No VF could ever be set so.
    BadValue,
    /// The driver has no such setting.
    NotOfDriver,
    /// The driver has the setting and refuses the value.
    ValueRefused,
    /// The driver does not have that VLAN protocol.
    VlanProtocol,
    /// The driver accepted a value and shows another.
    NotKept,
    /// The driver is busy with this VF, and stayed so.
    Busy,
    /// The machine's firmware left no room for the VFs.
    NoRoom,
    /// Anything else that the kernel answered.
    Failed,
}

/// One refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// Which it is.
    pub name: Name,
    /// What it is about, e.g. `0000:03:00.0 VF 2`.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// How to mend it.
    pub mend: String,
}

impl Error {
    /// Of these parts.
    pub fn new(
        name: Name,
        object: impl Into<String>,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) -> Error {
        Error {
            name,
            object: object.into(),
            problem: problem.into(),
            mend: mend.into(),
        }
    }

    /// As every other refusal of Weir is told.
    pub fn told(&self) -> PolicyError {
        PolicyError {
            object: self.object.clone(),
            problem: self.problem.clone(),
            mend: self.mend.clone(),
            ..PolicyError::default()
        }
    }

    /// A refusal for want of rights, to do what is named.
    pub fn privilege(object: impl Into<String>, what: &str) -> Error {
        Error::new(
            Name::NoPrivilege,
            object,
            format!("this user may not {what}"),
            "run it as root (CAP_NET_ADMIN for settings; the files of sysfs are root's)",
        )
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; {}", self.object, self.problem, self.mend)
    }
}

impl std::error::Error for Error {}
