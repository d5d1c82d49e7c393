//! How the daemon comes to its policy: from the store, or, when that is away, holds nothing that can be applied, or holds just
//! what it held, from the last good state on disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::Control;
use crate::config::host::HostConfig;
use crate::halt::is_halted;
use crate::last_good::keeper::Keeper;
use crate::last_good::{self, Kept, Refused};
use crate::policy::Policy;
use crate::stats::{LastGood, PolicyError};
use crate::store::{Loaded, Mark, StoreError};
use crate::transaction::compare::{Became, differences};

/// What is known of the last good state.
#[derive(Default)]
pub(super) struct Recall {
    keeper: Option<Keeper>,
    /// The store's content that is applied.
    applied: Option<Mark>,
    /// Whether what is applied came from disk, and the store has not been seen to hold it.
    in_use: bool,
    /// Why what was on disk was not used.
    refused: Option<String>,
}

impl Recall {
    /// Of a host whose last good state is kept where host.toml says; and what is there.
    pub(super) fn open(host: &HostConfig) -> (Recall, Option<Kept>) {
        let Some(folder) = &host.state_dir else {
            return (Recall::default(), None);
        };
        let path = last_good::path(folder, host);
        let (kept, refused) = match Kept::open(&path, host) {
            Ok(kept) => (kept, None),
            Err(refused) => (None, Some(refused)),
        };
        let saved = kept.as_ref().map(|kept| kept.saved);
        let keeper = match Keeper::start(path, host.clone(), saved) {
            Ok(keeper) => Some(keeper),
            Err(error) => {
                tracing::warn!(%error, "no thread: the last good state is not kept");
                None
            }
        };
        let mut recall = Recall {
            keeper,
            ..Recall::default()
        };
        if let Some(refused) = refused {
            recall.refuse(&refused);
        }
        (recall, kept)
    }

    fn refuse(&mut self, why: &Refused) {
        if let Some(keeper) = &self.keeper {
            let path = keeper.path().display();
            tracing::warn!(%path, "the last good state is not used: {why}; the store is read, and it is written anew");
        }
        self.refused = Some(format!("not used at the start: {why}"));
    }

    /// What is on disk, once more.
    fn open_again(&self, host: &HostConfig) -> Option<Kept> {
        let keeper = self.keeper.as_ref()?;
        Kept::open(keeper.path(), host).ok().flatten()
    }

    pub(super) fn told(&self) -> Option<LastGood> {
        let keeper = self.keeper.as_ref()?;
        let done = keeper.done();
        let age = |saved| SystemTime::now().duration_since(saved).ok();
        Some(LastGood {
            path: keeper.path().display().to_string(),
            in_use: self.in_use,
            saved_seconds: done.saved.and_then(age).map(|age| age.as_secs()),
            problem: done.problem.or_else(|| self.refused.clone()),
        })
    }
}

impl Control {
    /// At the start: makes true what the store holds, or else what was true last.
    pub(super) fn begin(&mut self, kept: Option<Kept>) {
        let Some(kept) = kept else {
            return self.reload();
        };
        self.store.was_there();
        let now = self.store.stamp();
        if now.is_some() && now == kept.mark.stamp {
            if self.come_up(kept) {
                // The content is looked at while workers forward.
                self.changed.store(true, Ordering::Release);
            } else {
                self.reload();
            }
            return;
        }
        let loaded = self.store.load();
        if let Ok(loaded) = &loaded
            && loaded.mark.content == kept.mark.content
            && self.come_up(kept)
        {
            self.confirm(loaded.mark);
            return;
        }
        let Err(errors) = self.take(loaded) else {
            return;
        };
        if self.state.halt.asked() {
            return;
        }
        // Opened anew: the first attempt may have used it up.
        if self.state.revision == 0
            && let Some(kept) = self.recall.open_again(&self.state.host)
        {
            self.come_up(kept);
        }
        self.state.errors = errors;
    }

    /// Makes true what was true last; says why not if that cannot be.
    fn come_up(&mut self, kept: Kept) -> bool {
        let mark = kept.mark;
        let policy = match kept.policy() {
            Ok(policy) => policy,
            Err(refused) => {
                self.recall.refuse(&refused);
                return false;
            }
        };
        let vnics = policy.vnics.len();
        if let Err(errors) = self.state.make_true(Arc::new(policy)) {
            for error in &errors {
                tracing::error!("the last good state: {error}");
            }
            self.recall.refused = errors.first().map(ToString::to_string);
            return false;
        }
        self.recall.applied = Some(mark);
        self.recall.in_use = true;
        tracing::info!(vnics, "applied the last good state");
        true
    }

    /// Makes the store's content true, or says in `status` why it is not.
    pub(super) fn reload(&mut self) {
        let loaded = self.store.load();
        let _ = self.take(loaded);
    }

    fn take(&mut self, loaded: Result<Loaded, StoreError>) -> Result<(), Vec<PolicyError>> {
        match self.apply_loaded(loaded) {
            Ok(note) => {
                self.state.errors = note.into_iter().collect();
                Ok(())
            }
            Err(errors) => {
                for error in errors.iter().filter(|_| !is_halted(&errors)) {
                    tracing::error!("{error}");
                }
                self.state.errors = errors.clone();
                Err(errors)
            }
        }
    }

    fn apply_loaded(
        &mut self,
        loaded: Result<Loaded, StoreError>,
    ) -> Result<Option<PolicyError>, Vec<PolicyError>> {
        let loaded = loaded.map_err(|error| vec![error.refusal()])?;
        let applied = self.recall.applied.map(|mark| mark.content);
        if applied == Some(loaded.mark.content) && loaded.note.is_none() {
            self.confirm(loaded.mark);
            return Ok(None);
        }
        let origin = self.store.origin();
        let halt = &self.state.halt;
        let policy = Policy::parse_unless(&loaded.text, &origin, &self.state.host, halt)?;
        drop(loaded.text);
        if policy != *self.state.policy || self.state.revision == 0 {
            let old = self.state.policy.clone();
            self.state.make_true(Arc::new(policy))?;
            // What it has of a policy then may be half of it.
            self.state.halt.check(&origin)?;
            let (mut added, mut changed, mut removed) = (0, 0, 0);
            differences(&old, &self.state.policy, |became, _, _| match became {
                Became::Added => added += 1,
                Became::Changed => changed += 1,
                Became::Removed => removed += 1,
                Became::Unchanged => {}
            });
            let revision = self.state.revision;
            tracing::info!(revision, added, changed, removed, "applied {origin}");
        }
        if loaded.note.is_none() {
            self.keep(loaded.mark);
        }
        Ok(loaded.note)
    }

    /// The store holds what is applied.
    fn confirm(&mut self, mark: Mark) {
        let before = self.recall.applied;
        if before.is_none_or(|before| before.stamp.is_none() && mark.stamp.is_some()) {
            self.keep(mark);
        }
        self.recall.in_use = false;
    }

    /// Has what is applied, and what the store is known by that holds it, written to disk.
    pub(super) fn keep(&mut self, mark: Mark) {
        self.recall.applied = Some(mark);
        self.recall.in_use = false;
        if let Some(keeper) = &self.recall.keeper {
            keeper.keep(self.state.policy.clone(), mark);
            self.recall.refused = None;
        }
    }
}
