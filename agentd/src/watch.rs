//! A descriptor in the epoll set, with the interest it has there.
//!
//! A hung-up descriptor wakes epoll even when nothing is asked of it, so "no interest" takes it out.

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
    /// Not watched yet: say what is wanted with [`want`](Self::want).
    pub fn new(epoll: &Rc<OwnedFd>, descriptor: OwnedFd, token: u64) -> Self {
        Self { epoll: Rc::clone(epoll), descriptor, token, interest: EventFlags::empty() }
    }

    /// The same descriptor, watched by nobody yet, under another token.
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
    /// Closing alone does not do: a descriptor that a child still holds a copy of stays in the set.
    fn drop(&mut self) {
        let _ = self.want(EventFlags::empty());
    }
}
