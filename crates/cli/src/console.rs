//! What a command reads and writes, so that tests need no process.

use std::io::{self, Read, Write};

use time::OffsetDateTime;

use crate::output::Format;
use crate::table::Table;

/// The streams and the clock of one command.
pub struct Console<'a> {
    /// Read for `-f -`.
    pub input: &'a mut dyn Read,
    /// Results.
    pub out: &'a mut dyn Write,
    /// Warnings and failures.
    pub err: &'a mut dyn Write,
    /// The version of the program.
    pub version: &'static str,
    /// The time from which ages count and at which offline tokens start.
    pub now: OffsetDateTime,
    /// Columns of the terminal that shows `out`; `None` if it is none, which has room for everything.
    pub width: Option<usize>,
}

impl Console<'_> {
    /// Writes a table: in full if that is wanted, else as far as the terminal has room. One without rows is said to be
    /// empty where no program reads that.
    ///
    /// # Errors
    /// Those of the streams.
    pub(crate) fn table(&mut self, table: &Table, format: Format, nothing: &str) -> io::Result<()> {
        let limit = self.width.filter(|_| format != Format::Wide);
        table.write_within(self.out, "", limit)?;
        if table.is_empty() {
            writeln!(self.err, "{nothing}")?;
        }
        Ok(())
    }
}
