//! Word to a daemon that still starts, which may take seconds with a large policy, that it is to end instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::stats::PolicyError;

/// What is said of a start that was ended.
const HALTED: &str = "it was asked to stop while it started";

/// Shared by who asks and who starts. A start looks at it between its steps and every so many vNICs.
#[derive(Clone, Debug, Default)]
pub struct Halt(Arc<AtomicBool>);

impl Halt {
    /// Asks.
    pub fn ask(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody has asked.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Refuses to go on with `origin` if somebody has asked.
    pub fn check(&self, origin: &str) -> Result<(), Vec<PolicyError>> {
        if !self.asked() {
            return Ok(());
        }
        Err(vec![PolicyError {
            file: origin.to_owned(),
            line: None,
            object: "the host".into(),
            problem: HALTED.into(),
            mend: "start it again".into(),
        }])
    }
}

/// Whether these say that a start was ended, and no more.
pub fn is_halted(errors: &[PolicyError]) -> bool {
    errors.iter().any(|error| error.problem == HALTED)
}
