//! dpdk-testpmd between the same two devices: what the source, the sink and the loop cost where nothing is switched.

use super::telemetry::Telemetry;
use super::{Bench, Running, Subject, folder};
use crate::halt::Halt;
use crate::process::{self, Process, tied};
use crate::window::Reading;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long it may take until packets flow.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// The file prefix, which is a folder's name below the runtime folder.
const PREFIX: &str = "testpmd";
/// The sink's number: ports are numbered as they are named.
const SINK_PORT: u16 = 1;

/// What it does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Io,
    /// Writes both MAC addresses: the floor for a switch, which must touch each packet.
    Mac,
}

/// dpdk-testpmd in one mode.
pub struct Testpmd {
    mode: Mode,
    program: PathBuf,
}

impl Testpmd {
    /// In this mode; not looked for yet.
    pub fn new(mode: Mode) -> Testpmd {
        Testpmd {
            mode,
            program: PathBuf::new(),
        }
    }
}

impl Subject for Testpmd {
    fn settings(&self) -> Vec<String> {
        let name = match self.mode {
            Mode::Io => "testpmd-io",
            Mode::Mac => "testpmd-mac",
        };
        vec![name.to_string()]
    }

    fn find(&mut self) -> Result<(), Halt> {
        let found = process::find(&["dpdk-testpmd"]);
        self.program = found.ok_or_else(|| {
            Halt::failed(
                "testpmd",
                "dpdk-testpmd is not installed",
                "apt-get install dpdk-dev, or leave it out of --vs",
            )
        })?;
        Ok(())
    }

    fn start<'a>(&self, bench: &Bench<'a>) -> Result<Box<dyn Running + 'a>, Halt> {
        let Bench { core, helper, .. } = bench;
        let mut command = tied(&self.program, ["--lcores", &format!("0@{helper},1@{core}")]);
        command.args([
            "--no-pci",
            "--file-prefix",
            PREFIX,
            "--vdev",
            &bench.source(),
            "--vdev",
            &bench.sink(),
        ]);
        match bench.huge {
            true => command.arg("--in-memory"),
            false => command.args(["--no-huge", "-m", &bench.megabytes().to_string()]),
        };
        let mode = match self.mode {
            Mode::Io => "io",
            Mode::Mac => "mac",
        };
        command.args([
            "--",
            "--auto-start",
            "--nb-cores=1",
            "--disable-link-check",
            &format!("--forward-mode={mode}"),
        ]);
        command.arg(format!("--total-num-mbufs={}", bench.mbufs()));
        let runtime = folder(bench.folder.join("run"))?;
        command.env("RUNTIME_DIRECTORY", &runtime);
        let mut process = Process::start("testpmd", &mut command, bench.folder)?;
        let socket = runtime.join("dpdk").join(PREFIX).join("dpdk_telemetry.v2");
        let telemetry =
            process.wait_for(bench.stop, STARTS_WITHIN, "sends nothing", || {
                let telemetry = Telemetry::connect(&socket).ok();
                let flows = |sent: u64| sent > 0 || !bench.is_alone();
                Ok(telemetry
                    .filter(|telemetry| telemetry.port(SINK_PORT, "opackets").is_ok_and(flows)))
            })?;
        Ok(Box::new(Forwarding { process, telemetry }))
    }
}

struct Forwarding {
    process: Process,
    telemetry: Telemetry,
}

impl Running for Forwarding {
    fn process(&self) -> u32 {
        self.process.id()
    }

    fn read(&mut self) -> Result<Reading, Halt> {
        let asked = Instant::now();
        let sent = self.telemetry.port(SINK_PORT, "opackets");
        let at = asked + asked.elapsed() / 2;
        let sent = sent.map_err(|error| self.trouble(&format!("its telemetry: {error}")))?;
        // The source counts packets in another call: what is lost between them is not told by two moments.
        Ok(Reading {
            at,
            sent,
            received: None,
            bytes: None,
            own: None,
        })
    }

    fn trouble(&self, problem: &str) -> Halt {
        self.process.trouble(problem)
    }
}
