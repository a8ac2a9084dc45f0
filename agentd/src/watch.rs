//! A descriptor in an epoll set, with its current interest.
//!
//! A hung-up descriptor wakes epoll even without interest, so one without interest is removed from the set.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io;

pub struct Watch {
    epoll: Rc<OwnedFd>,
    descriptor: OwnedFd,
    token: u64,
    interest: EventFlags,
}

impl Watch {
    /// Adds no interest yet; see [`want`](Self::want).
    pub fn new(epoll: &Rc<OwnedFd>, descriptor: OwnedFd, token: u64) -> Self {
        Self { epoll: Rc::clone(epoll), descriptor, token, interest: EventFlags::empty() }
    }

    /// The same descriptor under another token, without interest.
    pub fn with_token(mut self, token: u64) -> Self {
        let _ = self.want(EventFlags::empty());
        self.token = token;
        self
    }

    pub fn want(&mut self, interest: EventFlags) -> io::Result<()> {
        if interest == self.interest {
            return Ok(());
        }
        let data = EventData::new_u64(self.token);
        if interest.is_empty() {
            epoll::delete(&*self.epoll, &self.descriptor)?;
        } else if self.interest.is_empty() {
            epoll::add(&*self.epoll, &self.descriptor, data, interest)?;
        } else {
            epoll::modify(&*self.epoll, &self.descriptor, data, interest)?;
        }
        self.interest = interest;
        Ok(())
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Watch {
    /// Closing alone is not enough: a descriptor that a child shares stays in the set.
    fn drop(&mut self) {
        let _ = self.want(EventFlags::empty());
    }
}
