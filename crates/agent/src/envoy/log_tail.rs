//! The end of a process's output, kept for the error message when it dies.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

const MAX_BYTES: usize = 16 * 1024;

/// Shared by the tasks that copy Envoy's output.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogTail(Arc<Mutex<VecDeque<u8>>>);

impl LogTail {
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let surplus = kept.len().saturating_sub(MAX_BYTES);
        kept.drain(..surplus);
    }

    /// The last `count` lines that were seen, fewer if they are long.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(kept.make_contiguous());
        let lines: Vec<&str> = text.lines().collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(count))
            .copied()
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::{LogTail, MAX_BYTES};

    #[test]
    fn only_the_end_is_kept() {
        let tail = LogTail::default();
        for number in 0..5000 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        assert_eq!(tail.last_lines(2), "line 4998\nline 4999");
        tail.push(&vec![b'x'; 3 * MAX_BYTES]);
        assert_eq!(tail.last_lines(10).len(), MAX_BYTES);
    }
}
