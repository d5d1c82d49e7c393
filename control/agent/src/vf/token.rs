//! Devices that want a VF token: VFs of a PF that vfio-pci has, and such a PF whose VFs are open (Linux:
//! `vfio_pci_validate_vf_token`).

use super::discover::{self, folder};
use super::host::Host;

/// The driver that asks for a token.
const VFIO: &str = "vfio-pci";

/// The PF, where a PCI device is a VF of one that vfio-pci has: its address, and the VF's index.
pub fn fenced(host: &impl Host, address: &str) -> Option<(String, u16)> {
    let (pf, index) = discover::vf_at(host, address)?;
    (discover::driver(host, &pf)? == VFIO).then_some((pf, index))
}

/// How many VFs a PCI device has of which DPDK's driver is the PF's: none of what is no PF, and of a PF that has an interface of the kernel,
/// whose driver it shares (mlx5).
pub fn vfs(host: &impl Host, address: &str) -> u16 {
    if !host.names(&format!("{}/net", folder(address))).is_empty() {
        return 0;
    }
    let count = host.number(&format!("{}/sriov_numvfs", folder(address)));
    count
        .and_then(|count| u16::try_from(count).ok())
        .unwrap_or(0)
}

/// What a refusal to open a device may be due to, and the mend: for who has a token or none. None where the kernel asks for none.
pub fn why_not(host: &impl Host, address: &str) -> Option<(String, &'static str)> {
    if let Some((pf, index)) = fenced(host, address) {
        return Some((
            format!(
                "it is VF {index} of {pf}, which vfio-pci has: the kernel opens it to those alone who name the token that {pf} was opened with"
            ),
            "write that token as vf_token at [dataplane] in host.toml, and have who drives the PF run (Weir: the same vf_token there; DPDK: --vfio-vf-token)",
        ));
    }
    let is_vfio = discover::driver(host, address).as_deref() == Some(VFIO);
    (is_vfio && vfs(host, address) > 0).then(|| {
        (
            "it has VFs; while any of them is open, the kernel opens it to those alone who name the token that they were opened with".to_owned(),
            "write that token as vf_token at [dataplane] in host.toml, or end who has the VFs (weir vf list)",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vf::recorded::{IGB, Recorded};

    #[test]
    fn vfs_of_a_pf_on_vfio_pci_want_one_and_the_pf_beside_them() {
        let host = Recorded::new(IGB);
        let pf = discover::all(&host)[0].clone();
        let vf = pf.vfs[1].address.clone();
        assert_eq!(vfs(&host, &pf.pf), 0, "the kernel's driver has it");
        host.remove(&format!("{}/net", folder(&pf.pf)));
        assert_eq!(vfs(&host, &pf.pf), 2);
        assert_eq!(vfs(&host, &vf), 0);
        assert_eq!(vfs(&host, "net_af_packet0"), 0);
        // The kernel's driver has the PF.
        assert_eq!(fenced(&host, &vf), None);
        assert_eq!(why_not(&host, &vf), None);
        assert_eq!(why_not(&host, &pf.pf), None);
        let driver = format!("{}/driver", folder(&pf.pf));
        host.remove(&driver);
        host.point(&driver, "x/vfio-pci");
        assert_eq!(fenced(&host, &vf), Some((pf.pf.clone(), 1)));
        let (why, mend) = why_not(&host, &vf).unwrap();
        assert!(
            why.contains(&format!("VF 1 of {}", pf.pf)) && mend.contains("vf_token"),
            "{why}"
        );
        let (why, mend) = why_not(&host, &pf.pf).unwrap();
        assert!(
            why.contains("has VFs") && mend.contains("vf_token"),
            "{why}"
        );
        host.put(&format!("{}/sriov_numvfs", folder(&pf.pf)), "0\n");
        assert_eq!(why_not(&host, &pf.pf), None);
    }
}
