//! host.toml, as tests write it.

use std::fmt::Write;
use std::path::Path;

/// What a host.toml says.
#[derive(Clone, Debug)]
pub struct HostToml {
    /// The host's name.
    pub name: String,
    /// The workers' cores.
    pub workers: Vec<u32>,
    /// The uplink's lines.
    pub uplink: String,
    /// Lines of `[dataplane]` besides.
    pub dataplane: String,
    /// Lines of `[store]` besides.
    pub store: String,
    /// Whatever else, such as trunks.
    pub more: String,
}

impl HostToml {
    /// A host whose uplink is its namespace's `up0`, with this PA such as `192.168.50.1/24`, and one worker on `core`.
    pub fn new(name: &str, pa: &str, core: u32) -> HostToml {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u32;
        HostToml {
            name: name.into(),
            workers: vec![core % cores],
            uplink: format!(
                "device = \"net_af_packet0,iface=up0,framecnt=4096\"\nprovider_addresses = [\"{pa}\"]\nmtu = 1600\n"
            ),
            dataplane: String::new(),
            store: String::new(),
            more: String::new(),
        }
    }

    /// The file's text, with its socket in `folder`.
    pub fn text(&self, folder: &Path) -> String {
        let (name, folder) = (&self.name, folder.display());
        let mut text = format!("name = \"{name}\"\nsocket = \"{folder}/weir.sock\"\n");
        // Adaptive and small: several daemons share two cores and 512 MB of hugepages.
        let _ = writeln!(
            text,
            "[dataplane]\nworkers = {:?}\nidle = \"adaptive\"\nmbufs = 8191\n{}",
            self.workers, self.dataplane
        );
        if !self.uplink.is_empty() {
            let _ = writeln!(text, "[[uplink]]\nname = \"up0\"\n{}", self.uplink);
        }
        let _ = writeln!(
            text,
            "{}\n[store]\nkind = \"file\"\npath = \"policy.toml\"\n{}",
            self.more, self.store
        );
        text
    }
}
