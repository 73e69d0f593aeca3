//! Where logs go: standard error, filtered by `RUST_LOG`, `info` by default.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Starts logging, once per process.
pub fn start() {
    start_at(LevelFilter::INFO);
}

/// Starts logging of a client command; `RUST_LOG` overrides the flag.
pub fn start_for_client(level: meshspan_cli::LogLevel) {
    start_at(match level {
        meshspan_cli::LogLevel::Off => LevelFilter::OFF,
        meshspan_cli::LogLevel::Info => LevelFilter::INFO,
        meshspan_cli::LogLevel::Debug => LevelFilter::DEBUG,
    });
}

fn start_at(level: LevelFilter) {
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .from_env_lossy();
    let ansi = std::io::stderr().is_terminal();
    // Fails only if somebody else started logging already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Bounded(io::stderr()))
        .with_ansi(ansi)
        .try_init();
}

/// Longest line, in bytes. Texts of peers are cut where they are logged; this holds for whatever was forgotten.
const MAX_LINE: usize = 16 * 1024;

/// Writes lines, each in one call, and cuts those that are too long.
struct Bounded<W>(W);

impl<W: Write> Write for Bounded<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match line.get(..MAX_LINE) {
            Some(start) if line.len() > MAX_LINE => {
                let mut cut = String::from_utf8_lossy(start).into_owned();
                cut.push_str(&format!("… ({} bytes more)\n", line.len() - MAX_LINE));
                self.0.write_all(cut.as_bytes())?;
            }
            _ => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded() {
        let mut written = Bounded(Vec::new());
        for line in ["short\n".to_owned(), "x".repeat(1 << 20), "ä".repeat(1 << 20)] {
            assert!(written.write_all(line.as_bytes()).is_ok());
        }
        assert!(written.0.starts_with(b"short\nxxx"));
        assert!(written.0.len() < 3 * MAX_LINE);
        assert!(written.0.ends_with(b"bytes more)\n"));
    }
}
