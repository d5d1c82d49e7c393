//! `--keep`: everything stays up. How to look at it, and how to take it down.

use super::world::World;
use std::io::Write;
use std::path::PathBuf;

/// What was left running.
pub struct Kept {
    daemons: Vec<(&'static str, u32)>,
    namespaces: Vec<String>,
    prefix: String,
    folder: PathBuf,
}

impl Kept {
    /// Leaves a world and the daemons of these hosts and process ids as they are.
    pub fn new(daemons: Vec<(&'static str, u32)>, world: World) -> Kept {
        let prefix = world.name("");
        let (namespaces, folder) = world.keep();
        Kept {
            daemons,
            namespaces,
            prefix,
            folder,
        }
    }

    /// Says on stderr how to go on.
    pub fn explain(&self) {
        let folder = self.folder.display();
        let prefix = &self.prefix;
        let pids: Vec<String> = self
            .daemons
            .iter()
            .map(|(_, pid)| pid.to_string())
            .collect();
        let mut text = String::from("\nEverything is left running. Look around:\n");
        for (host, _) in &self.daemons {
            text.push_str(&format!("  weir stats --socket {folder}/{host}.sock\n"));
        }
        text.push_str(&format!("  ip netns exec {prefix}blue1 ping 10.1.0.12\n"));
        text.push_str(&format!(
            "  edit {folder}/policy.toml: a saved change is applied at once\n"
        ));
        text.push_str("Remove it:\n");
        if !pids.is_empty() {
            text.push_str(&format!("  kill {}\n", pids.join(" ")));
        }
        for namespace in &self.namespaces {
            text.push_str(&format!("  ip netns delete {namespace}\n"));
        }
        text.push_str(&format!("  rm -r {folder}\n"));
        // Where stderr is gone there is nobody left to tell.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}
