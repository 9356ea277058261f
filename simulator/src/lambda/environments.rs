//! Environments of one function, by memory size: which are warm, which are at work.
//!
//! Rule: an invocation takes the environment of its size that was idle for the shortest time; with none, a new one has to be started. What
//! stays idle for longer than the keep-alive is gone.
//! Reference: AWS Lambda documentation for the reuse of environments. The keep-alive is not documented; five minutes are commonly measured.
//! Deliberately absent: the two-hour or so life that Lambda gives an environment that is never idle.

use gateway_contract::Mebibytes;

use crate::random::Random;

/// For how long an idle environment is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeepAlive {
    /// So many seconds.
    Fixed(f64),
    /// Anything between so many seconds, drawn each time that it becomes idle.
    Uniform(f64, f64),
    /// Exponential with this mean in seconds, drawn each time that it becomes idle.
    Exponential(f64),
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self::Fixed(300.0)
    }
}

impl KeepAlive {
    /// Nanoseconds that one is kept.
    fn nanos(self, random: &mut Random) -> u64 {
        let seconds = match self {
            Self::Fixed(seconds) => seconds,
            Self::Uniform(from, to) => from + (to - from) * random.unit(),
            Self::Exponential(mean) => random.exponential(1.0 / mean),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is not negative"
        )]
        let nanos = (seconds * 1e9) as u64;
        nanos
    }
}

/// Environments of one size.
#[derive(Clone, Debug)]
struct Pool {
    memory: Mebibytes,
    /// When each is taken away, in the order in which they became idle.
    idle: Vec<u64>,
    busy: u32,
}

/// Environments of one function.
#[derive(Clone, Debug, Default)]
pub struct Environments {
    /// A handful.
    pools: Vec<Pool>,
    keep_alive: KeepAlive,
}

impl Environments {
    /// None yet.
    #[must_use]
    pub fn new(keep_alive: KeepAlive) -> Self {
        Self { pools: Vec::new(), keep_alive }
    }

    /// Takes a warm one into work. Whether there was one.
    #[inline]
    pub fn take_warm(&mut self, memory: Mebibytes, now: u64) -> bool {
        let pool = self.pool(memory);
        while let Some(gone_at) = pool.idle.pop() {
            if gone_at > now {
                pool.busy += 1;
                return true;
            }
        }
        false
    }

    /// Puts a new one to work.
    pub fn start(&mut self, memory: Mebibytes) {
        self.pool(memory).busy += 1;
    }

    /// One is done with its work and stays.
    #[inline]
    pub fn give_back(&mut self, memory: Mebibytes, now: u64, random: &mut Random) {
        let gone_at = now.saturating_add(self.keep_alive.nanos(random));
        let pool = self.pool(memory);
        pool.busy -= 1;
        pool.idle.push(gone_at);
    }

    /// One is done for.
    pub fn lose(&mut self, memory: Mebibytes) {
        self.pool(memory).busy -= 1;
    }

    /// All that are idle are gone.
    pub fn lose_idle(&mut self) {
        self.pools.iter_mut().for_each(|pool| pool.idle.clear());
    }

    /// Environments of a size, warm or at work.
    #[must_use]
    pub fn count(&self, memory: Mebibytes, now: u64) -> u32 {
        let pool = self.pools.iter().find(|pool| pool.memory == memory);
        pool.map_or(0, |pool| {
            let idle = pool.idle.iter().filter(|&&gone_at| gone_at > now).count();
            pool.busy + u32::try_from(idle).unwrap_or(u32::MAX)
        })
    }

    fn pool(&mut self, memory: Mebibytes) -> &mut Pool {
        let known = self.pools.iter().position(|pool| pool.memory == memory);
        let at = known.unwrap_or_else(|| {
            self.pools.push(Pool { memory, idle: Vec::new(), busy: 0 });
            self.pools.len() - 1
        });
        &mut self.pools[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Mebibytes = Mebibytes(1769);
    const SECOND: u64 = 1_000_000_000;

    fn given_back(at_s: &[u64]) -> Environments {
        let mut environments = Environments::new(KeepAlive::Fixed(300.0));
        for &at in at_s {
            environments.start(SIZE);
            environments.give_back(SIZE, at * SECOND, &mut Random::new(1));
        }
        environments
    }

    #[test]
    fn the_last_to_become_idle_is_taken_and_the_others_age() {
        let mut environments = given_back(&[0, 100]);
        assert!(environments.take_warm(SIZE, 350 * SECOND), "the one from 100 s");
        assert!(!environments.take_warm(SIZE, 350 * SECOND), "the other is gone since 300 s");
    }

    #[test]
    fn sizes_have_environments_of_their_own() {
        let mut environments = given_back(&[0]);
        assert!(!environments.take_warm(Mebibytes(1024), SECOND));
        assert_eq!((environments.count(SIZE, SECOND), environments.count(SIZE, 301 * SECOND)), (1, 0));
    }

    #[test]
    fn what_is_lost_is_not_warm() {
        let mut environments = given_back(&[0, 0]);
        assert!(environments.take_warm(SIZE, SECOND));
        environments.lose(SIZE);
        environments.lose_idle();
        assert_eq!(environments.count(SIZE, SECOND), 0);
        assert!(!environments.take_warm(SIZE, SECOND));
    }
}
