//! Answers that may be given again.

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::Record;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many answers are kept.
const ANSWERS_MAX: usize = 1024;
/// The longest that one is kept.
const KEPT_MAX: Duration = Duration::from_secs(60 * 60);
/// How long it is known that there is nothing.
const NOTHING_KEPT: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Cache {
    known: HashMap<Query, (Message, Instant, Instant)>,
}

impl Cache {
    pub(super) fn put(&mut self, query: Query, answer: Message, now: Instant) {
        let kept = match answer.response_code() {
            ResponseCode::NoError if !answer.answers().is_empty() && !answer.truncated() => {
                let least = answer.answers().iter().map(Record::ttl).min().unwrap_or_default();
                Duration::from_secs(least.into()).min(KEPT_MAX)
            }
            ResponseCode::NoError | ResponseCode::NXDomain if !answer.truncated() => NOTHING_KEPT,
            _ => return,
        };
        if self.known.len() >= ANSWERS_MAX {
            self.purge(now);
        }
        if self.known.len() < ANSWERS_MAX && !kept.is_zero() {
            self.known.insert(query, (answer, now, now + kept));
        }
    }

    /// The answer, with what is left of its lifetime.
    pub(super) fn get(&self, query: &Query, now: Instant) -> Option<Message> {
        let (answer, since, until) = self.known.get(query)?;
        if *until <= now {
            return None;
        }
        let age = u32::try_from(now.saturating_duration_since(*since).as_secs()).unwrap_or(u32::MAX);
        let mut answer = answer.clone();
        for record in answer.answers_mut() {
            record.set_ttl(record.ttl().saturating_sub(age));
        }
        Some(answer)
    }

    pub(super) fn purge(&mut self, now: Instant) {
        self.known.retain(|_, (_, _, until)| *until > now);
    }
}
