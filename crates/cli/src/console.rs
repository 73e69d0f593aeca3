//! What a command reads and writes, so that tests need no process.

use std::io::{Read, Write};

use time::OffsetDateTime;

/// The streams and the clock of one command.
pub struct Console<'a> {
    /// Read for `-f -`.
    pub input: &'a mut dyn Read,
    /// Results.
    pub out: &'a mut dyn Write,
    /// Warnings and failures.
    pub err: &'a mut dyn Write,
    /// The time from which ages count and at which offline tokens start.
    pub now: OffsetDateTime,
}
