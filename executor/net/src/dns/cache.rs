//! Cache of DNS answers.

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::Record;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The memory limit of the whole cache, in bytes.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest answer that is cached, in bytes of memory.
const ANSWER_BYTES_MAX: usize = BYTES_MAX / 8;
/// The longest lifetime of an entry, whatever its TTL.
const LIFETIME_MAX: Duration = Duration::from_secs(60 * 60);
/// The lifetime of a negative answer.
const NEGATIVE_LIFETIME: Duration = Duration::from_secs(5);
/// The longest domain name, in bytes (RFC 1035, 2.3.4). Compression can make it two bytes in a message.
const NAME_BYTES_MAX: usize = 255;

/// A cached answer and its age in seconds.
pub(super) struct CachedAnswer {
    pub(super) answer: Arc<Message>,
    pub(super) age: u32,
}

struct Entry {
    answer: Arc<Message>,
    since: Instant,
    until: Instant,
    bytes: usize,
}

#[derive(Default)]
pub(super) struct Cache {
    known: HashMap<Query, Entry>,
    bytes: usize,
}

impl Cache {
    /// Caches an answer of `length` bytes on the wire.
    pub(super) fn put(&mut self, query: Query, answer: Arc<Message>, length: usize, now: Instant) {
        let entry = match answer.response_code() {
            ResponseCode::NoError if !answer.answers().is_empty() && !answer.truncated() => {
                let least = answer.answers().iter().map(Record::ttl).min().unwrap_or_default();
                Duration::from_secs(least.into()).min(LIFETIME_MAX)
            }
            ResponseCode::NoError | ResponseCode::NXDomain if !answer.truncated() => NEGATIVE_LIFETIME,
            _ => return,
        };
        let bytes = memory(&answer, length);
        if entry.is_zero() || bytes > ANSWER_BYTES_MAX {
            return;
        }
        if self.bytes + bytes > BYTES_MAX {
            self.purge(now);
        }
        if self.bytes + bytes > BYTES_MAX {
            return;
        }
        let entry = Entry { answer, since: now, until: now + entry, bytes };
        self.bytes += bytes;
        if let Some(before) = self.known.insert(query, entry) {
            self.bytes -= before.bytes;
        }
    }

    /// Returns the answer to a query until it expires.
    pub(super) fn get(&self, query: &Query, now: Instant) -> Option<CachedAnswer> {
        let entry = self.known.get(query).filter(|entry| now < entry.until)?;
        let age = now.saturating_duration_since(entry.since).as_secs();
        Some(CachedAnswer { answer: entry.answer.clone(), age: u32::try_from(age).unwrap_or(u32::MAX) })
    }

    pub(super) fn purge(&mut self, now: Instant) {
        self.known.retain(|_, entry| now < entry.until);
        self.bytes = self.known.values().map(|entry| entry.bytes).sum();
    }
}

/// An upper bound of the memory that an answer of `length` bytes takes: each record with its own name and one in its
/// data.
fn memory(answer: &Message, length: usize) -> usize {
    let records = answer.answers().len() + answer.name_servers().len() + answer.additionals().len();
    size_of::<Message>()
        + size_of::<Query>()
        + length
        + (records + 1) * (size_of::<Record>() + 2 * NAME_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::{Name, RData, RecordType, rdata::A};

    fn put(cache: &mut Cache, number: u32, records: u32, now: Instant) -> Query {
        let name = Name::from_ascii(format!("n{number}.test.")).unwrap();
        let mut answer = Message::new();
        let record = |last: u32| Record::from_rdata(name.clone(), 3600, RData::A(A(last.into())));
        answer.add_answers((0..records).map(record));
        let query = Query::query(name.clone(), RecordType::A);
        cache.put(query.clone(), Arc::new(answer), 16 * records as usize, now);
        query
    }

    #[test]
    fn answers_stay_within_the_memory_limit() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        for number in 0..100 {
            put(&mut cache, number, 1000, start);
            // Replacing an entry takes no further memory.
            put(&mut cache, number, 1000, start);
        }
        let entry: usize = cache.known.values().map(|entry| memory(&entry.answer, 16_000)).sum();
        assert_eq!(cache.bytes, entry);
        assert!(entry <= BYTES_MAX && entry > BYTES_MAX / 2, "{entry}");
        let huge = put(&mut cache, 1000, 4000, start);
        assert!(cache.get(&huge, start).is_none());
        let later = start + LIFETIME_MAX;
        let query = put(&mut cache, 0, 1000, later);
        assert_eq!(cache.get(&query, later + Duration::from_secs(9)).unwrap().age, 9);
        assert_eq!(cache.known.len(), 1);
    }
}
