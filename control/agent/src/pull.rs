//! Pull on miss: which records of other hosts this host has, which the store is being asked for, and which answers still
//! count. Knows no store and no table; time is an argument.
//!
//! A host with `[store] records = "on_miss"` puts what lives on other hosts into its workers' tables only when one of its
//! vNICs has sent there. It stays until the policy takes it out, or until [`PULLED`] newer ones have come.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use weir_wire::Mac;

use crate::config::fields::Name;
use crate::plan::{Place, RecordPlan};
use crate::policy::SegmentKey;

/// Questions to the store without an answer, at most. Workers ask again, and forget after a second.
const IN_FLIGHT: usize = 1024;
/// A question that was not answered for so long is forgotten.
const PATIENCE: Duration = Duration::from_secs(10);
/// Records and endpoints that were asked for and are in the workers' tables, at most.
pub const PULLED: usize = 65_536;

/// What a store is asked for, by names that outlive the workers' indexes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wanted {
    /// Who has a customer address of a VM network.
    Address(Name, IpAddr),
    /// Where a MAC of a segment is.
    Mac(SegmentKey, Mac),
}

/// What a store knows of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// Of an address.
    Record(RecordPlan),
    /// Of a MAC.
    Endpoint(Place),
}

/// Tells an answer to the question that counts from one to a question about an older policy.
pub type Ticket = u64;

/// What was asked of the store so far, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions.
    pub questions: u64,
    /// Answers that there is a record.
    pub found: u64,
    /// Answers that there is none.
    pub absent: u64,
    /// Answers that came too late, or about a policy that is no more.
    pub stale: u64,
}

/// The state of all questions.
#[derive(Debug, Default)]
pub struct Pull {
    /// Whether records come only when they are asked for.
    pub on_miss: bool,
    /// What came of it.
    pub counts: Counts,
    asked: HashMap<Wanted, Option<(Ticket, Duration)>>,
    tickets: BTreeMap<Ticket, Wanted>,
    next: Ticket,
    pulled: HashMap<Wanted, u64>,
    order: BTreeMap<u64, Wanted>,
    newest: u64,
}

impl Pull {
    /// For a host whose records come when they are asked for, or are all there.
    pub fn new(on_miss: bool) -> Pull {
        Pull {
            on_miss,
            ..Pull::default()
        }
    }

    /// A worker has met somebody without a record. Nothing if that is asked already, or too much is.
    pub fn miss(&mut self, wanted: Wanted) {
        if self.on_miss && self.asked.len() < IN_FLIGHT {
            self.asked.entry(wanted).or_insert(None);
        }
    }

    /// What the store is to be asked now: each once, and again after the policy has changed.
    pub fn questions(&mut self, now: Duration) -> Vec<(Ticket, Wanted)> {
        if self.asked.is_empty() {
            return Vec::new();
        }
        let given_up = |asked: &Option<(Ticket, Duration)>| {
            asked.is_some_and(|(_, since)| now >= since + PATIENCE)
        };
        for (_, old) in self.asked.extract_if(|_, asked| given_up(asked)) {
            if let Some((ticket, _)) = old {
                self.tickets.remove(&ticket);
            }
        }
        let mut questions = Vec::new();
        for (wanted, asked) in self.asked.iter_mut().filter(|(_, asked)| asked.is_none()) {
            *asked = Some((self.next, now));
            self.tickets.insert(self.next, wanted.clone());
            questions.push((self.next, wanted.clone()));
            self.next += 1;
        }
        self.counts.questions += questions.len() as u64;
        questions
    }

    /// What an answer is about; `None` if it does not count any more.
    pub fn answered(&mut self, ticket: Ticket) -> Option<Wanted> {
        let wanted = self.tickets.remove(&ticket);
        match &wanted {
            Some(wanted) => self.asked.remove(wanted).is_some(),
            None => {
                self.counts.stale += 1;
                false
            }
        };
        wanted
    }

    /// Answers that are under way are about what was: all questions are to be asked anew.
    pub fn policy_changed(&mut self) {
        self.tickets.clear();
        self.asked.values_mut().for_each(|asked| *asked = None);
    }

    /// Questions without an answer.
    pub fn in_flight(&self) -> usize {
        self.asked.len()
    }

    /// How many entries were asked for and are in the workers' tables.
    pub fn pulled(&self) -> usize {
        self.pulled.len()
    }

    /// It is in the workers' tables from here on, because it was asked for.
    pub fn keep(&mut self, wanted: Wanted) {
        if !self.pulled.contains_key(&wanted) {
            self.newest += 1;
            self.order.insert(self.newest, wanted.clone());
            self.pulled.insert(wanted, self.newest);
        }
    }

    /// What must leave them, one after another, because more than [`PULLED`] are there: what came first.
    pub fn overdue(&mut self) -> Option<Wanted> {
        if self.pulled.len() <= PULLED {
            return None;
        }
        let (_, oldest) = self.order.pop_first()?;
        self.pulled.remove(&oldest);
        Some(oldest)
    }

    /// It has left them, or is of this host now.
    pub fn forget(&mut self, wanted: &Wanted) {
        if let Some(number) = self.pulled.remove(wanted) {
            self.order.remove(&number);
        }
    }

    /// Whether a policy's entry stays out of the workers' tables, because nobody here has asked for it. `before`: where it
    /// was by the policy that is replaced; who was here and has moved to another host is still spoken to.
    pub fn leaves_out(&mut self, wanted: Wanted, place: &Place, before: Option<&Place>) -> bool {
        if !self.on_miss {
            return false;
        }
        match (place, before) {
            (Place::Local(_), _) => {
                self.forget(&wanted);
                false
            }
            (Place::Remote(_), Some(Place::Local(_))) => {
                self.keep(wanted);
                false
            }
            (Place::Remote(_), _) => !self.pulled.contains_key(&wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn wanted(i: u32) -> Wanted {
        Wanted::Address("blue".into(), Ipv4Addr::from(i).into())
    }

    const NOW: Duration = Duration::from_secs(1);

    #[test]
    fn workers_that_ask_the_same_are_one_question() {
        let mut pull = Pull::new(true);
        pull.miss(wanted(1));
        pull.miss(wanted(1));
        let asked = pull.questions(NOW);
        assert_eq!(asked, [(0, wanted(1))]);
        pull.miss(wanted(1));
        assert_eq!(pull.questions(NOW), [], "under way");
        assert_eq!(pull.answered(0), Some(wanted(1)));
        assert_eq!(pull.answered(0), None, "answered twice");
        pull.miss(wanted(1));
        assert_eq!(pull.questions(NOW), [(1, wanted(1))]);
    }

    #[test]
    fn an_answer_about_an_old_policy_does_not_count() {
        let mut pull = Pull::new(true);
        pull.miss(wanted(1));
        pull.questions(NOW);
        pull.policy_changed();
        assert_eq!(pull.answered(0), None);
        assert_eq!(pull.questions(NOW), [(1, wanted(1))], "asked anew");
        assert_eq!(pull.answered(1), Some(wanted(1)));
        assert_eq!(pull.counts.stale, 1);
    }

    #[test]
    fn questions_are_bounded_and_given_up() {
        let mut pull = Pull::new(true);
        for i in 0..5000 {
            pull.miss(wanted(i));
        }
        assert_eq!(pull.questions(NOW).len(), IN_FLIGHT);
        assert_eq!(pull.questions(NOW), []);
        for i in 6000..7000 {
            pull.miss(wanted(i));
        }
        assert_eq!(pull.questions(NOW + PATIENCE / 2), []);
        assert_eq!(pull.questions(NOW + PATIENCE), []);
        assert_eq!(pull.in_flight(), 0);
        assert_eq!(pull.answered(3), None, "too late");
        pull.miss(wanted(7000));
        assert_eq!(pull.questions(NOW + PATIENCE).len(), 1);
    }

    #[test]
    fn what_was_pulled_first_leaves_first() {
        let mut pull = Pull::new(true);
        for i in 0..PULLED as u32 {
            pull.keep(wanted(i));
        }
        pull.keep(wanted(0));
        assert_eq!(pull.overdue(), None, "it was there");
        pull.keep(wanted(u32::MAX));
        assert_eq!((pull.overdue(), pull.overdue()), (Some(wanted(0)), None));
        pull.forget(&wanted(1));
        pull.keep(wanted(0));
        assert_eq!(pull.overdue(), None);
        pull.keep(wanted(1));
        assert_eq!(pull.overdue(), Some(wanted(2)));
        assert_eq!(pull.pulled(), PULLED);
    }

    #[test]
    fn only_what_was_asked_for_or_was_here_is_not_left_out() {
        let here = Place::Local("b1".into());
        let there = Place::Remote(Ipv4Addr::new(192, 168, 50, 2).into());
        let mut pull = Pull::new(true);
        assert!(pull.leaves_out(wanted(1), &there, None));
        pull.keep(wanted(1));
        assert!(!pull.leaves_out(wanted(1), &there, Some(&there)));
        assert!(!pull.leaves_out(wanted(1), &here, Some(&there)));
        assert_eq!(pull.pulled(), 0, "its own is never one to leave");
        assert!(!pull.leaves_out(wanted(1), &there, Some(&here)));
        assert_eq!(pull.pulled(), 1);
        assert!(!Pull::new(false).leaves_out(wanted(1), &there, None));
    }
}
