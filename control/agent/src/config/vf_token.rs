//! The secret of a PF that vfio-pci has: the kernel opens its VFs to whoever names it (Linux: `vfio_pci_validate_vf_token`).

use std::str::FromStr;

use super::fields::Fault;

/// A UUID (RFC 4122 §3). Who has it may drive the PF's VFs, so that it is never shown: neither logged nor in an answer nor in a refusal.
#[derive(Clone, PartialEq, Eq)]
pub struct VfToken(String);

/// Hexadecimal digits of its groups.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

impl VfToken {
    /// Its text, for DPDK alone.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl FromStr for VfToken {
    type Err = Fault;

    fn from_str(text: &str) -> Result<VfToken, Fault> {
        let fault = |problem: &str| Fault::new(problem, "write what uuidgen prints");
        let groups: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        let mut digits = groups.iter().flat_map(|group| group.bytes());
        if lengths != GROUPS || !digits.clone().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(fault("it is no UUID"));
        }
        // DPDK's and the kernel's word for none (`rte_uuid_is_null`).
        if digits.all(|byte| byte == b'0') {
            return Err(fault("a UUID of zeroes is none"));
        }
        Ok(VfToken(text.to_ascii_lowercase()))
    }
}

impl std::fmt::Debug for VfToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VfToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_uuid_and_shown_to_nobody() {
        let token: VfToken = "14D63F20-8445-11ea-8900-1f9ce7d5650d".parse().unwrap();
        assert_eq!(token.secret(), "14d63f20-8445-11ea-8900-1f9ce7d5650d");
        assert_eq!(format!("{token:?}"), "VfToken(…)");
        for wrong in [
            "",
            "14d63f20844511ea89001f9ce7d5650d",
            "14d63f20-8445-11ea-8900-1f9ce7d5650",
            "14d63f20-8445-11ea-8900-1f9ce7d5650dd",
            "14d63f20-8445-11ea-89001-f9ce7d5650d",
            "14d63f20-8445-11ea-8900-1f9ce7d5650g",
            "14d63f20-8445-11ea-8900-1f9ce7d5650d,-a",
            "00000000-0000-0000-0000-000000000000",
        ] {
            let fault = wrong.parse::<VfToken>().unwrap_err();
            assert!(fault.mend.contains("uuidgen"), "{wrong}");
            assert!(wrong.len() < 9 || !fault.problem.contains(&wrong[..8]));
        }
    }
}
