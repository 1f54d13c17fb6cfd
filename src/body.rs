//! Chunked bodies (RFC 9112 section 7.1), decoded without I/O and without a copy of the payload.
//!
//! Our own state machine: `httparse::parse_chunk_size` reads an empty line as the last chunk and lets a bare LF pass.

use crate::error::WireError;

/// The longest chunk-size line, extensions included. Go stops at 4 KiB, urllib3 at 64 KiB.
pub const MAX_CHUNK_LINE: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the digits of a chunk size; how many came.
    Size(u8),
    /// In a chunk extension.
    Extension,
    /// After the CR of a chunk-size line.
    SizeLf,
    /// In chunk data; `remaining` says how much is left.
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    TrailerStart,
    /// Inside a trailer line that is not empty; whether the last byte was a CR.
    Trailer(bool),
    /// After a CR at the start of a trailer line.
    EndLf,
    Done,
}

/// What a step found: the payload's place in the input, and how far the input is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Where payload starts.
    pub start: usize,
    /// Where it ends; equal to `start` when the step gave none.
    pub end: usize,
    /// The next input byte to look at.
    pub next: usize,
    /// Whether `end` is the end of a chunk.
    pub chunk_ended: bool,
}

/// The state between two pieces of input.
#[derive(Debug, Clone)]
pub struct Chunked {
    state: State,
    remaining: u64,
    line: usize,
    trailers: usize,
    max_trailers: usize,
}

impl Chunked {
    /// A decoder at the start of a body, whose trailer section may take `max_trailers` bytes.
    #[must_use]
    pub const fn new(max_trailers: usize) -> Self {
        Self {
            state: State::Size(0),
            remaining: 0,
            line: 0,
            trailers: 0,
            max_trailers,
        }
    }

    /// Whether the body, its trailer section included, has ended.
    #[must_use]
    pub fn done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes of the present chunk are still to come; 0 between two chunks.
    #[must_use]
    pub fn chunk_left(&self) -> u64 {
        if self.state == State::Data {
            self.remaining
        } else {
            0
        }
    }

    /// Uses up input from `from` until one run of payload (of `limit` bytes at most) was found, the input ends or the body does.
    ///
    /// # Errors
    /// [`WireError`] at the first byte that breaks the grammar; the decoder is of no use afterwards.
    pub fn step(&mut self, input: &[u8], from: usize, limit: usize) -> Result<Step, WireError> {
        let mut at = from.min(input.len());
        while at < input.len() && self.state != State::Done {
            if self.state == State::Data {
                return Ok(self.payload(input.len(), at, limit));
            }
            self.frame(input[at])?;
            at += 1;
        }
        Ok(Step {
            start: at,
            end: at,
            next: at,
            chunk_ended: false,
        })
    }

    fn payload(&mut self, input_len: usize, at: usize, limit: usize) -> Step {
        let available = (input_len - at).min(limit);
        let take = usize::try_from(self.remaining).map_or(available, |left| left.min(available));
        self.remaining -= take as u64;
        if self.remaining == 0 {
            self.state = State::DataCr;
        }
        Step {
            start: at,
            end: at + take,
            next: at + take,
            chunk_ended: self.remaining == 0,
        }
    }

    /// One byte of framing.
    fn frame(&mut self, byte: u8) -> Result<(), WireError> {
        self.state = match (self.state, byte) {
            (State::Size(digits), _) if byte.is_ascii_hexdigit() => self.digit(digits, byte)?,
            (State::Size(1..) | State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\n' | 0) => return Err(WireError::ChunkSize),
            (State::Size(1..), b';') | (State::Extension, _) => {
                self.count_line(State::Extension)?
            }
            (State::SizeLf, b'\n') => self.size_done(),
            (State::Size(_) | State::SizeLf, _) => return Err(WireError::ChunkSize),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size(0),
            (State::DataCr | State::DataLf, _) => return Err(WireError::ChunkEnd),
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart | State::EndLf, b'\n') => State::Done,
            (State::Trailer(_), b'\n') => self.count_trailer(State::TrailerStart)?,
            (State::EndLf | State::Trailer(true), _) | (_, 0) => return Err(WireError::Trailer),
            (State::TrailerStart | State::Trailer(false), _) => {
                self.count_trailer(State::Trailer(byte == b'\r'))?
            }
            (State::Data | State::Done, _) => self.state,
        };
        Ok(())
    }

    fn digit(&mut self, digits: u8, byte: u8) -> Result<State, WireError> {
        let value = (byte as char).to_digit(16).map_or(0, u64::from);
        self.remaining = self
            .remaining
            .checked_mul(16)
            .map(|size| size | value)
            .ok_or(WireError::ChunkSize)?;
        // Leading zeros are legal and endless; the line's limit stops them.
        self.count_line(State::Size(digits.saturating_add(1)))
    }

    fn size_done(&mut self) -> State {
        self.line = 0;
        if self.remaining == 0 {
            State::TrailerStart
        } else {
            State::Data
        }
    }

    fn count_line(&mut self, next: State) -> Result<State, WireError> {
        self.line += 1;
        if self.line > MAX_CHUNK_LINE {
            return Err(WireError::ChunkLineTooLong);
        }
        Ok(next)
    }

    fn count_trailer(&mut self, next: State) -> Result<State, WireError> {
        self.trailers += 1;
        if self.trailers > self.max_trailers {
            return Err(WireError::HeadTooLarge(self.max_trailers));
        }
        Ok(next)
    }
}
