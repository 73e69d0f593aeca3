//! What the demo prints: short lines for people.

use std::time::{Duration, Instant};

/// Prints lines with the time that each step took.
#[derive(Debug)]
pub(super) struct Screen {
    step: Instant,
}

impl Screen {
    pub fn new() -> Self {
        Self { step: Instant::now() }
    }

    /// A new paragraph.
    pub fn heading(&mut self, text: &str) {
        println!("\n{text}");
        self.step = Instant::now();
    }

    /// Something that was observed, and how long it took since the line before.
    pub fn done(&mut self, text: &str) {
        println!("  ✓ {text:<78} {:>7}", seconds(self.step.elapsed()));
        self.step = Instant::now();
    }

    /// Something that was measured, without a time of its own.
    pub fn measured(&self, text: &str) {
        println!("      {text}");
    }

    /// Text as it is, indented.
    pub fn block(&self, text: &str) {
        println!();
        for line in text.trim_end().lines() {
            println!("      {line}");
        }
        println!();
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Milliseconds below a second, seconds above.
pub(super) fn short(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        seconds(duration)
    }
}

/// `1 request`, `2 requests`
pub(super) fn requests(count: usize) -> String {
    format!("{count} request{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_counts_read_well() {
        assert_eq!(short(Duration::from_micros(12_900)), "12 ms");
        assert_eq!(short(Duration::from_millis(1250)), "1.2 s");
        assert_eq!(requests(0), "0 requests");
        assert_eq!(requests(1), "1 request");
    }
}
