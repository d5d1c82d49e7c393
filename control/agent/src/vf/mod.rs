//! Virtual functions of SR-IOV NICs: which there are, what they are set to, who drives and who uses them.
//!
//! *Which question:* what does this machine's hardware offer a VM instead of the software path, and how is it taken, programmed and given
//! back? *Which place:* control only; `weir vf` calls it in a process of its own, without a daemon.
//! *Trade-offs:* nothing is remembered: each call reads sysfs and netlink anew, so that whatever somebody else did meanwhile is seen.
//! What was written is read back, since drivers accept what they then ignore. A refusal changes nothing, and has a [name](error::Name).
//!
//! | file | subject |
//! |---|---|
//! | [`host`] | the machine: files of sysfs, rtnetlink |
//! | [`hurried`] | the machine, whose drivers are not waited for for long |
//! | [`error`] | why something was refused, by name |
//! | [`discover`] | PFs and their VFs in sysfs |
//! | [`netlink`] | answers of netlink: errors, attributes |
//! | [`link`] | a VF's settings on netlink |
//! | [`devlink`] | the NIC's own switch: its mode, representors, rates |
//! | [`settings`] | what a VF is set to |
//! | [`change`] | changing it: read back, or put back |
//! | [`refusals`] | what an error number of a driver means for which setting |
//! | [`heard`] | which MACs a PF hears besides its own |
//! | [`users`] | who uses a VF |
//! | [`token`] | which devices the kernel opens with a token alone |
//! | [`count`] | making and removing VFs |
//! | [`bind`] | which driver has a VF |
//! | [`release`] | a VF as it was before anybody had it |
//!
//! The kernel's side: Documentation/PCI/pci-iov-howto.rst, Documentation/ABI/testing/sysfs-bus-pci, drivers/pci/iov.c, net/core/rtnetlink.c.

pub mod bind;
pub mod change;
pub mod count;
pub mod devlink;
pub mod discover;
pub mod error;
pub mod heard;
pub mod host;
pub mod hurried;
pub mod link;
pub mod netlink;
pub mod refusals;
pub mod release;
pub mod settings;
pub mod token;
pub mod users;

#[cfg(test)]
mod devlink_tests;
#[cfg(test)]
pub(crate) mod recorded;
#[cfg(test)]
mod tests;
