//! What may be typed about virtual functions.

use super::FormArgs;
use clap::{Args, Subcommand, ValueEnum};
use weir_agent::config::units::BitRate;
use weir_agent::vf::change::Change;
use weir_agent::vf::settings::{LinkState, VlanProtocol};
use weir_wire::Mac;

/// `weir vf`.
#[derive(Debug, Args)]
#[command(
    after_help = "A PF is named by its PCI address (0000:03:00.0, 03:00.0) or its interface (eth0), a VF by its index in its PF.\n\n\
    Examples:\n  \
    weir vf list                                   which NICs offer VFs, and what those are set to\n  \
    weir vf create eth0 4                          eth0's NIC has four VFs; 0 removes them\n  \
    weir vf set eth0 2 --mac 02:00:00:00:01:02 --vlan 100 --max 1Gbit\n  \
    weir vf bind eth0 2 vfio-pci                   for DPDK or a VM\n  \
    weir vf release eth0 2                         as a new one, with its kernel driver\n  \
    weir vf switch 03:00.0 switchdev               the NIC's own switch: each VF gets a representor\n\n\
    Needs no daemon; changes want root. What a VM, an interface or a running daemon uses is not taken away. Everything is read back:\n\
    a driver that accepts a value and does not keep it is a refusal, and a refusal changes nothing.\n\
    docs/nics.md: which driver has which setting."
)]
pub struct VfArgs {
    /// What to do with VFs.
    #[command(subcommand)]
    pub verb: VfVerb,
}

/// `weir vf VERB`.
#[derive(Debug, Subcommand)]
pub enum VfVerb {
    /// NICs that offer VFs, their VFs, what these are set to and who uses them
    List(ListArgs),
    /// Give a PF so many VFs; 0 removes them
    Create(CreateArgs),
    /// Set a VF; what is not named stays as it is
    Set(SetArgs),
    /// Bind a VF to vfio-pci, or back to its kernel driver
    Bind(BindArgs),
    /// Put a VF back as it was when it was new: settings and driver
    Release(OneArgs),
    /// Put a NIC's own switch into a mode (devlink): legacy, or switchdev with a representor for each VF
    Switch(SwitchArgs),
}

impl VfVerb {
    /// How to print.
    pub fn form(&self) -> FormArgs {
        match self {
            VfVerb::List(args) => args.form,
            VfVerb::Create(args) => args.form,
            VfVerb::Set(args) => args.one.form,
            VfVerb::Bind(args) => args.one.form,
            VfVerb::Release(args) => args.form,
            VfVerb::Switch(args) => args.form,
        }
    }
}

/// `weir vf list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only this one
    #[arg(value_name = "PF")]
    pub pf: Option<String>,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
}

/// `weir vf create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The PF: a PCI address or an interface
    #[arg(value_name = "PF")]
    pub pf: String,
    /// How many VFs it is to have
    #[arg(value_name = "COUNT")]
    pub count: u16,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
}

/// `weir vf switch`.
#[derive(Debug, Args)]
pub struct SwitchArgs {
    /// The PF: a PCI address or an interface
    #[arg(value_name = "PF")]
    pub pf: String,
    /// How the NIC's own switch is to work
    #[arg(value_name = "MODE")]
    pub mode: SwitchMode,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
}

/// How a NIC's own switch works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SwitchMode {
    /// By MAC and VLAN
    Legacy,
    /// By rules of the host; each VF has a representor
    Switchdev,
}

/// Which VF.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The PF: a PCI address or an interface
    #[arg(value_name = "PF")]
    pub pf: String,
    /// The VF's index
    #[arg(value_name = "VF")]
    pub vf: u16,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
}

/// `weir vf set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Which.
    #[command(flatten)]
    pub one: OneArgs,
    /// What it is to be.
    #[command(flatten)]
    pub to: ToArgs,
}

/// The settings of a VF.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct ToArgs {
    /// Its MAC; 00:00:00:00:00:00 leaves it to the VF's driver
    #[arg(long, value_name = "MAC")]
    pub mac: Option<Mac>,
    /// Its VLAN, put on and taken off by the NIC; 0 is none
    #[arg(long, value_name = "VLAN")]
    pub vlan: Option<u16>,
    /// The priority in its tag, 0 to 7
    #[arg(long, value_name = "PRIORITY")]
    pub qos: Option<u8>,
    /// The kind of its tag
    #[arg(long, value_name = "PROTOCOL")]
    pub vlan_protocol: Option<Protocol>,
    /// Whether frames from another MAC are dropped
    #[arg(long, value_name = "ON|OFF")]
    pub spoof_check: Option<Switch>,
    /// Whether it may be promiscuous and have more MACs
    #[arg(long, value_name = "ON|OFF")]
    pub trust: Option<Switch>,
    /// What it sees of its link
    #[arg(long, value_name = "STATE")]
    pub link: Option<Link>,
    /// What it is promised to send, such as 200Mbit; 0 is nothing
    #[arg(long, value_name = "RATE", value_parser = mbit)]
    pub min: Option<u32>,
    /// What it may send at most, such as 1Gbit; 0 is no limit
    #[arg(long, value_name = "RATE", value_parser = mbit)]
    pub max: Option<u32>,
}

impl ToArgs {
    /// As control takes it.
    pub fn change(&self) -> Change {
        Change {
            mac: self.mac,
            vlan: self.vlan,
            qos: self.qos,
            vlan_protocol: self.vlan_protocol.map(|protocol| match protocol {
                Protocol::Q => VlanProtocol::Q,
                Protocol::Ad => VlanProtocol::Ad,
            }),
            spoof_check: self.spoof_check.map(|switch| switch == Switch::On),
            trust: self.trust.map(|switch| switch == Switch::On),
            link_state: self.link.map(|link| match link {
                Link::Auto => LinkState::Auto,
                Link::Up => LinkState::Up,
                Link::Down => LinkState::Down,
            }),
            min_mbit: self.min,
            max_mbit: self.max,
        }
    }
}

/// `weir vf bind`.
#[derive(Debug, Args)]
pub struct BindArgs {
    /// Which.
    #[command(flatten)]
    pub one: OneArgs,
    /// Who is to have it
    #[arg(value_name = "DRIVER")]
    pub driver: Driver,
}

/// Who is to have a VF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// User space: DPDK, or a VM
    #[value(name = "vfio-pci")]
    Vfio,
    /// The driver that the kernel chooses
    #[value(name = "kernel")]
    Kernel,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On
    On,
    /// Off
    Off,
}

/// The kind of a VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// 0x8100
    #[value(name = "802.1q")]
    Q,
    /// 0x88a8
    #[value(name = "802.1ad")]
    Ad,
}

/// A VF's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Link {
    /// As the PF's
    Auto,
    /// Up, whatever the PF's is
    Up,
    /// Down
    Down,
}

/// A rate in the kernel's unit for VFs, Mbit/s.
fn mbit(text: &str) -> Result<u32, String> {
    if text == "0" {
        return Ok(0);
    }
    let rate: BitRate = text
        .parse()
        .map_err(|fault: weir_agent::config::fields::Fault| format!("{fault}"))?;
    let bits = rate.bits_per_second();
    match bits % 1_000_000 {
        0 => u32::try_from(bits / 1_000_000)
            .map_err(|_| "that is more than the kernel can say".into()),
        _ => Err("the kernel sets VFs in whole Mbit: write such as 200Mbit or 1.5Gbit".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::mbit;

    #[test]
    fn rates_are_whole_megabits() {
        assert_eq!(mbit("0"), Ok(0));
        assert_eq!(mbit("1.5Gbit"), Ok(1500));
        assert_eq!(mbit("100Gbit"), Ok(100_000));
        assert!(mbit("1.5Mbit").is_err());
        assert!(mbit("1500").is_err());
        assert!(mbit("5000000Gbit").is_err());
    }
}
