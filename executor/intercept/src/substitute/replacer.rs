//! Replaces the occurrences of patterns in a stream.

use super::matcher::{Matcher, Occurrence, Patterns};
use super::violation::{Cause, Place, Violation};
use crate::secret::Secret;
use bytes::{Buf, Bytes, BytesMut};
use schemas::spec::OnViolation;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Patterns, and the secrets that they belong to.
pub(super) struct Vocabulary {
    pub(super) patterns: Patterns,
    /// The index of the secret, by pattern.
    pub(super) owners: Vec<usize>,
}

impl Vocabulary {
    /// Prepares the texts of secrets, by index. Empty texts are left out.
    pub(super) fn new<P: AsRef<[u8]>>(texts: impl IntoIterator<Item = (usize, P)>) -> Arc<Self> {
        let (owners, texts): (Vec<_>, Vec<_>) =
            texts.into_iter().filter(|(_, text)| !text.as_ref().is_empty()).unzip();
        // The number of secrets and the sizes of values are limited far below that.
        let patterns = Patterns::new(&texts).expect("the texts of secrets have less than 2³¹ bytes");
        Arc::new(Self { patterns, owners })
    }
}

/// What happens to an occurrence.
#[derive(Clone)]
pub(super) enum Action {
    /// It stays.
    Keep,
    /// This text replaces it.
    Insert(Arc<Zeroizing<Vec<u8>>>),
    /// The request is refused.
    Refuse(Cause),
}

/// A replacement in progress: bytes go in as they arrive, and come out with the occurrences replaced. Only bytes that may
/// be the beginning of an occurrence are held back, fewer than the longest pattern has (up to three times as many in
/// bodies with percent-encoding).
///
/// After an error, the request is refused: no more bytes may be pushed.
#[derive(Clone)]
pub struct Replacer {
    vocabulary: Arc<Vocabulary>,
    /// By pattern.
    actions: Arc<[Action]>,
    secrets: Arc<[Secret]>,
    place: Place,
    matcher: Matcher,
    /// Bytes that were pushed and are not written yet.
    held: BytesMut,
    /// The position of the first byte that is not written yet, as the matcher counts.
    written: u64,
    percent: Option<Percent>,
    /// The secret whose value was inserted last.
    inserted: Option<usize>,
}

/// The state of percent-decoding.
#[derive(Clone, Default)]
struct Percent {
    /// The number of bytes that encode each byte which is not written yet.
    widths: VecDeque<u8>,
    partial: Partial,
}

/// The beginning of an encoded byte.
#[derive(Clone, Copy, Default)]
enum Partial {
    #[default]
    None,
    /// `%`.
    Percent,
    /// `%` and a digit.
    Digit(u8),
}

/// A part of the input while it is read.
struct Chunk<'a> {
    bytes: &'a [u8],
    /// The number of bytes that are written or replaced.
    done: usize,
}

/// The destination of the result.
trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts bytes.
struct Length(u64);

impl Sink for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len() as u64;
    }
}

impl Replacer {
    pub(super) fn new(
        vocabulary: Arc<Vocabulary>,
        actions: Arc<[Action]>,
        secrets: Arc<[Secret]>,
        place: Place,
    ) -> Self {
        let matcher = Matcher::new(&vocabulary.patterns);
        Self {
            vocabulary,
            actions,
            secrets,
            place,
            matcher,
            held: BytesMut::new(),
            written: 0,
            percent: None,
            inserted: None,
        }
    }

    /// Finds patterns that are percent-encoded, in whole or in part, too.
    pub(super) fn percent_encoded(mut self) -> Self {
        self.percent = Some(Percent::default());
        self
    }

    /// Appends the next bytes of the result to `out`. The result may be larger than the input by the length of the value
    /// for each placeholder: [`Self::push_bounded`] limits it.
    ///
    /// # Errors
    ///
    /// If the request is refused.
    pub fn push(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), Violation> {
        self.push_to(&mut &*bytes, out, |_| false)
    }

    /// Appends the next bytes of the result to `out`, and removes those that were read from `bytes`. It returns with some
    /// of them left as soon as values made `out` grow by `limit` bytes: besides those, it appends less than one value
    /// and the bytes that were read.
    ///
    /// # Errors
    ///
    /// If the request is refused.
    pub fn push_bounded(
        &mut self,
        bytes: &mut Bytes,
        out: &mut BytesMut,
        limit: usize,
    ) -> Result<(), Violation> {
        let full = out.len().saturating_add(limit.max(1));
        let mut rest: &[u8] = bytes;
        let result = self.push_to(&mut rest, out, |out| out.len() >= full);
        let read = bytes.len() - rest.len();
        bytes.advance(read);
        result
    }

    /// Appends the rest of the result to `out`.
    ///
    /// # Errors
    ///
    /// If the request is refused.
    pub fn finish(mut self, out: &mut BytesMut) -> Result<(), Violation> {
        self.finish_to(out)
    }

    /// Returns the length of the result for a whole body, of which nothing was pushed yet, in linear time and without
    /// making it.
    ///
    /// # Errors
    ///
    /// If the request is refused.
    pub fn replaced_length(&self, body: &[u8]) -> Result<u64, Violation> {
        let mut length = Length(0);
        let mut copy = self.clone();
        copy.push_to(&mut &*body, &mut length, |_| false)?;
        copy.finish_to(&mut length)?;
        Ok(length.0)
    }

    /// Returns the result for a whole text, or `None` if nothing is replaced. More than `limit` bytes are an error.
    pub(super) fn replace_all(mut self, text: &[u8], limit: usize) -> Result<Option<BytesMut>, Violation> {
        let mut out = BytesMut::with_capacity(text.len());
        let mut rest = text;
        self.push_to(&mut rest, &mut out, |out| out.len() > limit)?;
        if rest.is_empty() {
            self.finish_to(&mut out)?;
        }
        match self.inserted {
            None => Ok(None),
            Some(owner) if out.len() > limit => Err(self.violation(owner, Cause::TooLong)),
            Some(_) => Ok(Some(out)),
        }
    }

    fn push_to<S: Sink>(
        &mut self,
        rest: &mut &[u8],
        out: &mut S,
        is_full: impl Fn(&S) -> bool,
    ) -> Result<(), Violation> {
        if self.percent.is_some() {
            self.push_encoded(rest, out, is_full)
        } else {
            self.push_plain(rest, out, is_full)
        }
    }

    fn push_plain<S: Sink>(
        &mut self,
        rest: &mut &[u8],
        out: &mut S,
        is_full: impl Fn(&S) -> bool,
    ) -> Result<(), Violation> {
        let mut chunk = Chunk { bytes: rest, done: 0 };
        while let Some((&byte, following)) = rest.split_first()
            && !is_full(out)
        {
            let skipped = self.matcher.skip(&self.vocabulary.patterns, rest);
            if skipped > 0 {
                *rest = &rest[skipped..];
                continue;
            }
            *rest = following;
            self.step(byte, &mut chunk, out)?;
        }
        self.write_open(&mut chunk, out);
        let read = chunk.bytes.len() - rest.len();
        self.held.extend_from_slice(&chunk.bytes[chunk.done..read]);
        Ok(())
    }

    fn push_encoded<S: Sink>(
        &mut self,
        rest: &mut &[u8],
        out: &mut S,
        is_full: impl Fn(&S) -> bool,
    ) -> Result<(), Violation> {
        let mut chunk = Chunk { bytes: &[], done: 0 };
        while let Some((&byte, following)) = rest.split_first()
            && !is_full(out)
        {
            *rest = following;
            self.held.extend_from_slice(&[byte]);
            self.decode(byte, &mut chunk, out)?;
        }
        self.write_open(&mut chunk, out);
        Ok(())
    }

    /// Decodes the next byte of the input.
    fn decode<S: Sink>(&mut self, byte: u8, chunk: &mut Chunk<'_>, out: &mut S) -> Result<(), Violation> {
        let Some(percent) = &mut self.percent else { return Ok(()) };
        let digit = char::from(byte).to_digit(16).map(|digit| digit as u8);
        match (percent.partial, digit) {
            (Partial::Percent, Some(_)) => {
                percent.partial = Partial::Digit(byte);
                Ok(())
            }
            (Partial::Digit(high), Some(low)) => {
                percent.partial = Partial::None;
                let high = char::from(high).to_digit(16).unwrap_or(0) as u8;
                self.step_decoded(high << 4 | low, 3, chunk, out)
            }
            _ => {
                self.end_partial(chunk, out)?;
                if byte != b'%' {
                    return self.step_decoded(byte, 1, chunk, out);
                }
                if let Some(percent) = &mut self.percent {
                    percent.partial = Partial::Percent;
                }
                Ok(())
            }
        }
    }

    /// Takes the beginning of an encoded byte as it is, because it does not go on.
    fn end_partial<S: Sink>(&mut self, chunk: &mut Chunk<'_>, out: &mut S) -> Result<(), Violation> {
        let partial = self.percent.as_mut().map(|percent| std::mem::take(&mut percent.partial));
        match partial {
            None | Some(Partial::None) => Ok(()),
            Some(Partial::Percent) => self.step_decoded(b'%', 1, chunk, out),
            Some(Partial::Digit(digit)) => {
                self.step_decoded(b'%', 1, chunk, out)?;
                self.step_decoded(digit, 1, chunk, out)
            }
        }
    }

    fn step_decoded<S: Sink>(
        &mut self,
        byte: u8,
        width: u8,
        chunk: &mut Chunk<'_>,
        out: &mut S,
    ) -> Result<(), Violation> {
        if let Some(percent) = &mut self.percent {
            percent.widths.push_back(width);
        }
        self.step(byte, chunk, out)
    }

    fn step<S: Sink>(&mut self, byte: u8, chunk: &mut Chunk<'_>, out: &mut S) -> Result<(), Violation> {
        self.matcher.step(&self.vocabulary.patterns, byte);
        while let Some(occurrence) = self.matcher.choose(&self.vocabulary.patterns) {
            self.replace(occurrence, chunk, out)?;
        }
        Ok(())
    }

    fn finish_to<S: Sink>(&mut self, out: &mut S) -> Result<(), Violation> {
        let mut chunk = Chunk { bytes: &[], done: 0 };
        self.end_partial(&mut chunk, out)?;
        while let Some(occurrence) = self.matcher.choose_last(&self.vocabulary.patterns) {
            self.replace(occurrence, &mut chunk, out)?;
        }
        out.put(&self.held);
        self.held.clear();
        Ok(())
    }

    fn replace<S: Sink>(
        &mut self,
        occurrence: Occurrence,
        chunk: &mut Chunk<'_>,
        out: &mut S,
    ) -> Result<(), Violation> {
        let owner = self.vocabulary.owners.get(occurrence.pattern).copied().unwrap_or_default();
        match self.actions.get(occurrence.pattern) {
            None | Some(Action::Keep) => self.advance(occurrence.end, chunk, Some(out)),
            Some(Action::Insert(text)) => {
                let text = Arc::clone(text);
                self.advance(occurrence.start, chunk, Some(out));
                self.advance::<S>(occurrence.end, chunk, None);
                out.put(&text);
                self.inserted = Some(owner);
            }
            Some(&Action::Refuse(cause)) => return Err(self.violation(owner, cause)),
        }
        Ok(())
    }

    /// Writes all bytes that are part of no later occurrence.
    fn write_open<S: Sink>(&mut self, chunk: &mut Chunk<'_>, out: &mut S) {
        let open = self.matcher.open(&self.vocabulary.patterns);
        self.advance(open, chunk, Some(out));
    }

    /// Writes the bytes before a position to `out`, or drops them.
    fn advance<S: Sink>(&mut self, position: u64, chunk: &mut Chunk<'_>, mut out: Option<&mut S>) {
        // Not more than what is in memory.
        let count = position.saturating_sub(self.written) as usize;
        self.written += count as u64;
        let length = match &mut self.percent {
            None => count,
            Some(Percent { widths, .. }) => widths.drain(..count.min(widths.len())).map(usize::from).sum(),
        };
        let held = length.min(self.held.len());
        let end = chunk.bytes.len().min(chunk.done + (length - held));
        if let Some(out) = &mut out {
            out.put(&self.held[..held]);
            out.put(&chunk.bytes[chunk.done..end]);
        }
        self.held.advance(held);
        chunk.done = end;
    }

    /// The number of bytes that are held back.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    fn violation(&self, owner: usize, cause: Cause) -> Violation {
        let secret = self.secrets.get(owner);
        let action = match (cause, secret) {
            (Cause::Host | Cause::WithoutTls, Some(secret))
                if secret.on_violation != OnViolation::Passthrough =>
            {
                secret.on_violation
            }
            _ => OnViolation::BlockAndLog,
        };
        let secret = secret.map(|secret| secret.name.clone()).unwrap_or_default();
        Violation { secret, action, place: self.place.clone(), cause }
    }
}

impl fmt::Debug for Replacer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replacer")
            .field("place", &self.place)
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}
