//! A machine whose drivers are waited for a while, and not longer: in all, whatever is asked of it. The control thread has other things to
//! do than to wait for each VF of a NIC that resets.

use super::host::Host;
use std::cell::Cell;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A machine, and how long it may still be waited for. Who has waited that long is told at once that a driver is busy.
pub struct Hurried<'a, H> {
    host: &'a H,
    left: Cell<Duration>,
}

impl<'a, H: Host> Hurried<'a, H> {
    /// A machine that is waited for so long, in all.
    pub fn new(host: &'a H, patience: Duration) -> Hurried<'a, H> {
        Hurried {
            host,
            left: Cell::new(patience),
        }
    }
}

impl<H: Host> Host for Hurried<'_, H> {
    fn root(&self) -> &Path {
        self.host.root()
    }

    fn write(&self, path: &str, text: &str) -> io::Result<()> {
        self.host.write(path, text)
    }

    fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        self.host.ask(request)
    }

    fn ask_generic(&self, request: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.host.ask_generic(request)
    }

    fn pause(&self, time: Duration) {
        let time = time.min(self.left.get());
        self.left.set(self.left.get() - time);
        if !time.is_zero() {
            self.host.pause(time);
        }
    }
}
