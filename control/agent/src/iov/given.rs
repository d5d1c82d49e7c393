//! Which VFs vNICs were given, on disk: a VF keeps its MAC and its VM its path when the daemon ends, and the policy of the next start may
//! not know the vNIC any more.
//!
//! What is written is at least what was given: it is written before the NIC is told. What is read is held against the NIC: a VF that has
//! another MAC by now is somebody else's. Nothing is synced: a machine that loses its power loses its VFs, too.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_wire::Mac;

use super::place::VfId;
use super::program::Wanted;
use super::rate::Rates;
use super::shadow::Held;
use crate::config::fields::Name;
use crate::policy::SegmentKey;

/// A VF that a vNIC was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    vnic: String,
    pf: String,
    vf: u16,
    address: String,
    mac: String,
    vlan: u16,
}

impl Given {
    fn of(vnic: &Name, held: &Held) -> Given {
        Given {
            vnic: vnic.to_string(),
            pf: held.vf.pf.to_string(),
            vf: held.vf.index,
            address: held.address.clone(),
            mac: held.wanted.mac.to_string(),
            vlan: held.wanted.vlan,
        }
    }

    /// As it was held, as far as taking it away goes; none if it is not what this writes.
    fn held(&self) -> Option<(Name, Held)> {
        let mac: Mac = self.mac.parse().ok()?;
        let held = Held {
            vf: VfId {
                pf: self.pf.as_str().into(),
                index: self.vf,
            },
            address: self.address.clone(),
            wanted: Wanted {
                mac,
                vlan: self.vlan,
            },
            rates: Rates::NONE,
            segment: match self.vlan {
                0 => SegmentKey::Flat,
                vlan => SegmentKey::Vlan(vlan),
            },
            macs: vec![mac],
            before: None,
        };
        Some((self.vnic.as_str().into(), held))
    }
}

/// The file of a host, beside its last good state.
#[derive(Debug, Default)]
pub struct Book {
    /// None where no state is kept.
    path: Option<PathBuf>,
    /// What it says; none if that is not known.
    written: Option<Vec<Given>>,
    /// Whether it could not be written last, which was said.
    fails: bool,
}

impl Book {
    /// That of the host `name` in `folder`, and what was given before. One that cannot be read is as none, which is logged.
    pub fn open(folder: Option<&Path>, name: &str) -> (Book, Vec<(Name, Held)>) {
        let path = folder.map(|folder| folder.join(format!("{name}.vfs")));
        let read = path.as_deref().map(std::fs::read);
        let written = match read {
            Some(Ok(text)) => serde_json::from_slice(&text).map_err(|error| error.to_string()),
            Some(Err(error)) if error.kind() != ErrorKind::NotFound => Err(error.to_string()),
            _ => Ok(Vec::new()),
        };
        let written: Option<Vec<Given>> = written
            .inspect_err(|problem| {
                let path = path.as_deref().unwrap_or(Path::new("")).display();
                tracing::warn!(%path, problem, "which VFs were given before is not known: weir vf list shows what they are set to");
            })
            .ok();
        let before = written.iter().flatten().filter_map(Given::held).collect();
        let book = Book {
            path,
            written,
            fails: false,
        };
        (book, before)
    }

    /// Has it say that these are given, if it does not yet.
    pub fn note<'a>(&mut self, all: impl Iterator<Item = (&'a Name, &'a Held)>) {
        let Some(path) = &self.path else { return };
        let mut all: Vec<Given> = all.map(|(vnic, held)| Given::of(vnic, held)).collect();
        all.sort_by(|a, b| (&a.pf, a.vf, &a.vnic).cmp(&(&b.pf, b.vf, &b.vnic)));
        all.dedup();
        if self.written.as_ref() == Some(&all) {
            return;
        }
        match write(path, &all) {
            Ok(()) => {
                self.written = Some(all);
                self.fails = false;
            }
            // Tried again with the next look.
            Err(error) if !self.fails => {
                let path = path.display();
                tracing::warn!(%path, %error, "which VFs are given is not kept: the next daemon would leave them to vNICs that policy has taken out meanwhile");
                self.fails = true;
            }
            Err(_) => {}
        }
    }
}

/// Beside it, then over it.
fn write(path: &Path, all: &[Given]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let beside = path.with_extension("vfs.new");
    std::fs::write(&beside, serde_json::to_vec_pretty(all)?)?;
    std::fs::rename(&beside, path)
}
