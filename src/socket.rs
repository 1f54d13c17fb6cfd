//! The places where Rust uses a socket itself: a liveness check, a small exchange, one large body, and a drain.
//!
//! None of them owns the socket: the caller holds the lease, and with it the descriptor, for the whole call. Every
//! wait has the bound that it was given, whatever mode Python left the descriptor in, and ends when the socket is shut down.

use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{recv, send, RecvFlags, SendFlags};

use crate::body::Chunked;
use crate::error::WireError;

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All that was asked for came.
    Complete,
    /// The peer ended the connection first.
    Eof,
    /// Nothing came for the stall limit.
    Stalled,
    /// The deadline passed, however the bytes trickled.
    Deadline,
    /// As much as may be read was read.
    Limit,
    /// A signal arrived: look at it, then call again.
    Interrupted,
    /// The socket failed with this errno.
    Failed(i32),
}

/// How long a read may take: between two pieces, and in all.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Longest silence.
    pub stall: Option<Duration>,
    /// The end, whatever happens.
    pub deadline: Option<Instant>,
}

/// Whether the descriptor has bytes, an end of file or an error to report right now.
#[must_use]
pub fn readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(n) if n > 0)
}

/// Waits for input; `Err` says why there will be none.
fn wait(fd: BorrowedFd<'_>, patience: Patience) -> Result<(), Outcome> {
    let left = patience
        .deadline
        .map(|at| at.saturating_duration_since(Instant::now()));
    let (bound, outcome) = match (patience.stall, left) {
        (Some(stall), Some(left)) if stall < left => (Some(stall), Outcome::Stalled),
        (_, Some(left)) => (Some(left), Outcome::Deadline),
        (Some(stall), None) => (Some(stall), Outcome::Stalled),
        (None, None) => (None, Outcome::Deadline),
    };
    let timeout = bound.map(|bound| Timespec {
        tv_sec: i64::try_from(bound.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: bound.subsec_nanos().into(),
    });
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(0) => Err(outcome),
        Ok(_) => Ok(()),
        Err(Errno::INTR) => Err(Outcome::Interrupted),
        Err(errno) => Err(Outcome::Failed(errno.raw_os_error())),
    }
}

/// One piece; never zero bytes.
fn receive(
    fd: BorrowedFd<'_>,
    patience: Patience,
    mut attempt: impl FnMut() -> Result<usize, Errno>,
) -> Result<usize, Outcome> {
    loop {
        if patience.deadline.is_some_and(|at| Instant::now() >= at) {
            return Err(Outcome::Deadline);
        }
        match attempt() {
            Ok(0) => return Err(Outcome::Eof),
            Ok(n) => return Ok(n),
            Err(Errno::AGAIN) => wait(fd, patience)?,
            Err(Errno::INTR) => return Err(Outcome::Interrupted),
            Err(errno) => return Err(Outcome::Failed(errno.raw_os_error())),
        }
    }
}

/// Fills `buf` from the front; returns how much of it is initialised by now and how it ended.
pub fn read_exact(
    fd: BorrowedFd<'_>,
    buf: &mut [MaybeUninit<u8>],
    patience: Patience,
) -> (usize, Outcome) {
    let mut filled = 0;
    while filled < buf.len() {
        let rest = &mut buf[filled..];
        let got = receive(fd, patience, || {
            recv(fd, &mut *rest, RecvFlags::DONTWAIT).map(|((init, _), _)| init.len())
        });
        match got {
            Ok(n) => filled += n,
            Err(outcome) => return (filled, outcome),
        }
    }
    (filled, Outcome::Complete)
}

/// Writes a small message without waiting: how many bytes the socket took, and why not all if it was not for want of room.
#[must_use]
pub fn write_now(fd: BorrowedFd<'_>, data: &[u8]) -> (usize, Outcome) {
    // A peer that is gone is told by the error alone.
    match send(fd, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(n) => (n, Outcome::Complete),
        Err(Errno::AGAIN | Errno::INTR) => (0, Outcome::Complete),
        Err(errno) => (0, Outcome::Failed(errno.raw_os_error())),
    }
}

/// Waits for the first piece of an answer; returns how much of `buf` is initialised by now and how it ended.
pub fn read_some(
    fd: BorrowedFd<'_>,
    buf: &mut [MaybeUninit<u8>],
    patience: Patience,
) -> (usize, Outcome) {
    let unbounded = patience.deadline.is_none() && patience.stall.is_none();
    // The answer is not there yet: without a bound let the system wait in `recv` itself, else wait first and then look.
    let flags = if unbounded {
        RecvFlags::empty()
    } else {
        RecvFlags::DONTWAIT
    };
    if !unbounded {
        if let Err(outcome) = wait(fd, patience) {
            return (0, outcome);
        }
    }
    let got = receive(fd, patience, || {
        recv(fd, &mut *buf, flags).map(|((init, _), _)| init.len())
    });
    match got {
        Ok(n) => (n, Outcome::Complete),
        Err(outcome) => (0, outcome),
    }
}

/// Linux drops the bytes of a TCP socket without copying them (tcp(7)); elsewhere the flag has another meaning.
#[cfg(target_os = "linux")]
const DROP: RecvFlags = RecvFlags::DONTWAIT.union(RecvFlags::TRUNC);
#[cfg(not(target_os = "linux"))]
const DROP: RecvFlags = RecvFlags::DONTWAIT;

/// Scratch space of a drain: large enough for one `recv` to be worth its system call, small enough for the cache.
const DRAIN_BUFFER: usize = 256 * 1024;

/// Reads and drops `length` bytes of body. The limit is the caller's: it knows `length` beforehand.
#[must_use]
pub fn drain_length(fd: BorrowedFd<'_>, length: u64, patience: Patience) -> (u64, Outcome) {
    let mut scratch =
        vec![0; usize::try_from(length).map_or(DRAIN_BUFFER, |n| n.min(DRAIN_BUFFER))];
    let mut left = length;
    while left > 0 {
        let want = usize::try_from(left).map_or(scratch.len(), |n| n.min(scratch.len()));
        let got = receive(fd, patience, || {
            recv(fd, &mut scratch[..want], DROP).map(|(n, _)| n)
        });
        match got {
            Ok(n) => left -= n as u64,
            Err(outcome) => return (length - left, outcome),
        }
    }
    (length, Outcome::Complete)
}

/// What draining a chunked body came to.
#[derive(Debug)]
pub struct Drained {
    /// Bytes read off the socket.
    pub bytes: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether bytes came behind the body: the connection can't be trusted then.
    pub excess: bool,
}

/// Reads and drops the rest of a chunked body, `limit` bytes of the wire at most.
///
/// # Errors
/// [`WireError`] when the body's framing is broken.
pub fn drain_chunked(
    fd: BorrowedFd<'_>,
    decoder: &mut Chunked,
    limit: u64,
    patience: Patience,
) -> Result<Drained, WireError> {
    let mut scratch = vec![0; DRAIN_BUFFER];
    let mut bytes = 0;
    let mut excess = false;
    let outcome = loop {
        if decoder.done() {
            break Outcome::Complete;
        }
        if bytes >= limit {
            break Outcome::Limit;
        }
        let want = usize::try_from(limit - bytes).map_or(DRAIN_BUFFER, |n| n.min(DRAIN_BUFFER));
        let got = receive(fd, patience, || {
            recv(fd, &mut scratch[..want], RecvFlags::DONTWAIT).map(|(n, _)| n)
        });
        let n = match got {
            Ok(n) => n,
            Err(outcome) => break outcome,
        };
        bytes += n as u64;
        let mut at = 0;
        while at < n && !decoder.done() {
            at = decoder.step(&scratch[..n], at, usize::MAX)?.next;
        }
        excess = at < n;
    };
    Ok(Drained {
        bytes,
        outcome,
        excess,
    })
}
