//! The answers to requests in the tagged form, of clients that send and expect no acknowledgements.

use std::collections::VecDeque;

use protocol::latest::{
    FileAck, FileResponse, Message, TaggedFileData, TaggedFileEntry, TaggedFileRequest, TaggedFileResponse,
    TaggedResult,
};

use crate::link::Link;

/// The data that may wait to be written, in bytes: several times the longest frame.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The approximate size of the longest listing, which has to fit into a frame, in bytes.
const LISTING_BYTES_MAX: usize = 3 * 1024 * 1024;
/// The approximate size of an entry without its path, in bytes.
const ENTRY_BYTES: usize = 96;
/// The failure of a client that sends more than can wait.
pub const TOO_MUCH_DATA: &str = "more data came than could be written: write more slowly";

pub struct Tagged {
    path: Vec<u8>,
    result: TaggedResult,
    entries: Vec<TaggedFileEntry>,
    listing_bytes: usize,
    /// The sizes of the data frames that were not taken yet.
    waiting: VecDeque<usize>,
    waiting_bytes: usize,
    /// The data frames that the thread has taken.
    taken: u64,
    /// The frames that were passed on to the client, and those of them that are acknowledged.
    passed_on: u64,
    acknowledged: u64,
}

/// The operation cannot go on.
pub struct Ended;

impl Tagged {
    pub fn new(request: &TaggedFileRequest) -> Self {
        Self {
            path: request.request.path.clone(),
            result: request.result,
            entries: Vec::new(),
            listing_bytes: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            taken: 0,
            passed_on: 0,
            acknowledged: 0,
        }
    }

    /// Counts a frame of data to be written; returns whether it may wait.
    pub fn is_room_for(&mut self, bytes: usize) -> bool {
        self.waiting.push_back(bytes);
        self.waiting_bytes += bytes;
        self.waiting_bytes <= WAITING_BYTES_MAX
    }

    /// Sends to the client what a message means in its form.
    pub fn pass_on(&mut self, id: u32, message: Message, last: bool, link: &mut Link) -> Result<(), Ended> {
        match message {
            Message::FileAck(FileAck { frames }) => self.take(frames),
            Message::FileData(_) => {
                self.passed_on += 1;
                link.send(id, message);
            }
            Message::FileResponse(response) if last => {
                let answer = self.answer(response);
                match answer.encode(id) {
                    Ok(frame) => link.send_frame(&frame),
                    Err(error) => refuse(id, error.to_string(), link),
                }
            }
            Message::FileResponse(response) => {
                self.passed_on += 1;
                self.add(response);
                if self.listing_bytes > LISTING_BYTES_MAX {
                    let message = "the directory has too many entries for one answer".to_owned();
                    refuse(id, message, link);
                    return Err(Ended);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the number of frames to acknowledge, if there are more than before.
    pub fn unacknowledged(&mut self) -> Option<u64> {
        let is_more = self.passed_on > self.acknowledged;
        self.acknowledged = self.passed_on;
        is_more.then_some(self.passed_on)
    }

    fn take(&mut self, frames: u64) {
        while self.taken < frames {
            self.taken += 1;
            self.waiting_bytes -= self.waiting.pop_front().unwrap_or_default();
        }
    }

    /// Adds a part of a listing.
    fn add(&mut self, response: FileResponse) {
        let directory = self.path.strip_suffix(b"/").unwrap_or(&self.path);
        for entry in response.entries {
            let whole = [directory, b"/", &entry.name].concat();
            self.listing_bytes += whole.len() + ENTRY_BYTES;
            self.entries.push(TaggedFileEntry::new(&whole, &entry.stat));
        }
    }

    fn answer(&mut self, response: FileResponse) -> TaggedFileResponse {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if let Some(failure) = response.failure {
            return TaggedFileResponse::failed(failure.message);
        }
        TaggedFileResponse::done(match self.result {
            TaggedResult::Stat => {
                let stat = response.stat.map(|stat| TaggedFileEntry::new(&self.path, &stat));
                stat.map(TaggedFileData::Stat)
            }
            TaggedResult::Target => match response.stat.and_then(|stat| stat.target) {
                Some(target) => Some(TaggedFileData::Path(text(&target))),
                None => return TaggedFileResponse::failed(format!("'{}' is not a link", text(&self.path))),
            },
            TaggedResult::List => Some(TaggedFileData::List(std::mem::take(&mut self.entries))),
            TaggedResult::Path => response.path.map(|path| TaggedFileData::Path(text(&path))),
            TaggedResult::Nothing => None,
        })
    }
}

/// Tells the client that its operation has failed.
pub fn refuse(id: u32, message: String, link: &mut Link) {
    if let Ok(frame) = TaggedFileResponse::failed(message).encode(id) {
        link.send_frame(&frame);
    }
}
