//! Who leads, by what was seen and written when. Pure: it is told the time, and reads and writes nothing.

use std::time::Duration;

use crate::Head;

/// Time since any one moment of this process; only differences count.
type Moment = Duration;

/// One lease, as one process sees it.
#[derive(Clone, Debug)]
pub struct Lease {
    me: String,
    length: Duration,
    role: Role,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    /// Watches: the record, and since when it has been so.
    Follows(Option<(Option<Head>, Moment)>),
    /// Decides until then, unless it writes before.
    Leads { epoch: u64, beat: u64, until: Moment },
}

/// What a look at the record means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Another one leads.
    Follow,
    /// Nobody does: write a record with this epoch.
    TakeOver {
        /// Of the record to write.
        epoch: u64,
    },
    /// This process leads, and the record is its own.
    Own,
}

impl Lease {
    /// Follows until it is told more. `me` names this process among all others, for good.
    #[must_use]
    pub fn new(me: String, length: Duration) -> Self {
        Self { me, length, role: Role::Follows(None) }
    }

    /// Whether this process may decide.
    #[must_use]
    pub fn is_held(&self, now: Moment) -> bool {
        matches!(self.role, Role::Leads { until, .. } if now < until)
    }

    /// The head of the record that this process should write now, after one that it saw or wrote; `None`: it does not lead.
    #[must_use]
    pub fn renewal(&self, now: Moment) -> Option<Head> {
        match self.role {
            Role::Leads { epoch, beat, until } if now < until => Some(self.head(epoch, beat + 1)),
            Role::Leads { .. } | Role::Follows(_) => None,
        }
    }

    /// The head of the record that takes over.
    #[must_use]
    pub fn claim(&self, epoch: u64) -> Head {
        self.head(epoch, 0)
    }

    fn head(&self, epoch: u64, beat: u64) -> Head {
        Head { epoch, beat, holder: Some(self.me.clone()) }
    }

    /// How often to look or to write.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.length / 3
    }

    /// Takes in what the store has, read by `now`.
    pub fn saw(&mut self, now: Moment, found: Option<&Head>) -> Seen {
        if let (Role::Leads { epoch, beat, until }, Some(head)) = (&mut self.role, found)
            && now < *until
            && head.epoch == *epoch
            && head.holder.as_deref() == Some(&self.me)
        {
            // A write of ours whose outcome was not known has happened. It renews nothing: when it did is not known.
            *beat = (*beat).max(head.beat);
            return Seen::Own;
        }
        let since = match &self.role {
            Role::Follows(Some((before, since))) if before.as_ref() == found => *since,
            Role::Follows(_) | Role::Leads { .. } => now,
        };
        self.role = Role::Follows(Some((found.cloned(), since)));
        let Some(head) = found else { return Seen::TakeOver { epoch: 1 } };
        let is_free = match &head.holder {
            None => true,
            // This process led once, and does not any more: nobody knows better that its lease is free.
            Some(holder) => *holder == self.me || now.saturating_sub(since) >= self.length,
        };
        if is_free { Seen::TakeOver { epoch: head.epoch + 1 } } else { Seen::Follow }
    }

    /// A record was written under this head; the write began at `began`.
    pub fn wrote(&mut self, began: Moment, head: &Head) {
        let until = began + self.length * 9 / 10;
        self.role = Role::Leads { epoch: head.epoch, beat: head.beat, until };
    }

    /// A write was refused: the record is another's.
    pub fn refused(&mut self) {
        self.role = Role::Follows(None);
    }

    /// The head that gives the lease up; `None`: it is not held.
    #[must_use]
    pub fn release(&self, now: Moment) -> Option<Head> {
        self.renewal(now).map(|head| Head { holder: None, ..head })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    fn lease(me: &str) -> Lease {
        Lease::new(me.to_owned(), LENGTH)
    }

    #[test]
    fn the_first_to_look_takes_an_empty_place_and_keeps_it_by_writing() {
        let mut a = lease("a");
        assert_eq!(a.saw(at(0), None), Seen::TakeOver { epoch: 1 });
        assert!(!a.is_held(at(0)), "not before it is written");
        a.wrote(at(0), &a.claim(1));
        assert!(a.is_held(at(8)) && !a.is_held(at(9)));
        let renewal = a.renewal(at(3)).unwrap();
        assert_eq!((renewal.epoch, renewal.beat), (1, 1));
        a.wrote(at(3), &renewal);
        assert!(a.is_held(at(11)) && !a.is_held(at(12)));
        assert_eq!(a.renewal(at(12)), None, "too late: it may be another's");
    }

    #[test]
    fn a_lease_that_nobody_renews_is_taken_over_by_who_watched_it_for_its_length() {
        let mut b = lease("b");
        let head = |beat| Head { epoch: 4, beat, holder: Some("a".to_owned()) };
        assert_eq!(
            b.saw(at(100), Some(&head(7))),
            Seen::Follow,
            "it was there before; how long, nobody knows"
        );
        assert_eq!(b.saw(at(105), Some(&head(8))), Seen::Follow);
        assert_eq!(b.saw(at(114), Some(&head(8))), Seen::Follow);
        assert_eq!(b.saw(at(115), Some(&head(8))), Seen::TakeOver { epoch: 5 });
        b.refused();
        assert_eq!(b.saw(at(116), Some(&head(8))), Seen::Follow, "somebody was faster: it watches anew");
    }

    #[test]
    fn a_lease_that_was_given_up_is_free_at_once() {
        let mut a = lease("a");
        a.wrote(at(0), &a.claim(1));
        let released = a.release(at(1)).unwrap();
        assert_eq!(lease("b").saw(at(1), Some(&released)), Seen::TakeOver { epoch: 2 });
    }

    #[test]
    fn a_leader_that_slept_follows_and_finds_the_next_one() {
        let mut a = lease("a");
        a.wrote(at(0), &a.claim(1));
        assert!(!a.is_held(at(60)) && a.renewal(at(60)).is_none());
        let next = Head { epoch: 2, beat: 12, holder: Some("b".to_owned()) };
        assert_eq!(a.saw(at(60), Some(&next)), Seen::Follow);
        // Where nobody took over, it goes on under a new epoch: somebody may be about to.
        let mut a = lease("a");
        a.wrote(at(0), &a.claim(1));
        assert_eq!(a.saw(at(60), Some(&lease("a").claim(1))), Seen::TakeOver { epoch: 2 });
    }

    #[test]
    fn a_write_whose_answer_was_lost_is_found_again_and_renews_nothing() {
        let mut a = lease("a");
        a.wrote(at(0), &a.claim(1));
        let lost = a.renewal(at(3)).unwrap();
        assert_eq!(a.saw(at(4), Some(&lost)), Seen::Own);
        assert!(!a.is_held(at(9)));
        assert_eq!(a.renewal(at(5)).unwrap().beat, 2);
    }

    /// A process and its clock, which is off by a constant.
    struct Process {
        lease: Lease,
        offset: u64,
        /// What it read or wrote last: the condition of its next write.
        tag: Option<Head>,
        is_stopped: bool,
    }

    proptest! {
        #[test]
        fn at_no_time_do_two_lead_and_no_older_epoch_is_written_over_a_newer(
            steps in prop::collection::vec((0_usize..3, 0_u64..3000, 0_u8..10), 1..400),
        ) {
            let mut processes: Vec<Process> = (0..3_u64)
                .map(|number| Process {
                    lease: lease(&format!("p{number}")),
                    offset: number * 1_000_000,
                    tag: None,
                    is_stopped: false,
                })
                .collect();
            let (mut store, mut now) = (None::<Head>, 0_u64);
            for (who, passes, what) in steps {
                now += passes;
                let process = &mut processes[who];
                let clock = Duration::from_millis(now + process.offset);
                match what {
                    0 => process.is_stopped = true,
                    1 => process.is_stopped = false,
                    _ if process.is_stopped => {}
                    // A write that takes its time: it began up to two seconds ago, and lands now.
                    _ => {
                        let began = clock.saturating_sub(Duration::from_millis(passes.min(2000)));
                        let head = match process.lease.renewal(clock) {
                            Some(head) => Some(head),
                            None => {
                                process.tag.clone_from(&store);
                                match process.lease.saw(clock, store.as_ref()) {
                                    Seen::TakeOver { epoch } => Some(process.lease.claim(epoch)),
                                    Seen::Follow | Seen::Own => None,
                                }
                            }
                        };
                        if let Some(head) = head {
                            if store == process.tag {
                                prop_assert!(store.as_ref().is_none_or(|old| old.epoch <= head.epoch));
                                store = Some(head.clone());
                                process.tag = Some(head.clone());
                                process.lease.wrote(began, &head);
                            } else {
                                process.lease.refused();
                            }
                        }
                    }
                }
                let leaders = processes
                    .iter()
                    .filter(|one| one.lease.is_held(Duration::from_millis(now + one.offset)))
                    .count();
                prop_assert!(leaders <= 1, "{leaders} lead");
            }
        }
    }
}
