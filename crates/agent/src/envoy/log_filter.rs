//! Which lines of Envoy's log people are shown: warnings and what is worse, unless they ask for more.

/// Warnings that every Envoy prints, and of which nobody has to know.
const HARMLESS: [&[u8]; 2] = [
    b"no configured limit to the number of allowed active downstream connections",
    b"caught ENVOY_SIGTERM",
];

/// Longest beginning of a line that is waited for.
const MAX_LINE: usize = 64 * 1024;

/// Cuts output into lines and tells those to show from others.
#[derive(Debug)]
pub(super) struct LogFilter {
    all: bool,
    unfinished: Vec<u8>,
    /// A line without a level belongs to the one before. What comes before any is no log: Envoy says why it cannot start.
    shows: bool,
}

/// A line as it came, with its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Shown(Vec<u8>),
    Hidden(Vec<u8>),
}

impl LogFilter {
    /// `all` shows every line.
    pub(super) fn new(all: bool) -> Self {
        Self {
            all,
            unfinished: Vec::new(),
            shows: true,
        }
    }

    /// The lines that `bytes` completes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Line> {
        self.unfinished.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.unfinished.iter().position(|byte| *byte == b'\n') {
            let line = self.unfinished.drain(..=end).collect();
            lines.push(self.judge(line));
        }
        if self.unfinished.len() > MAX_LINE {
            lines.extend(self.finish());
        }
        lines
    }

    /// What is left without an end of line.
    pub(super) fn finish(&mut self) -> Option<Line> {
        let rest = std::mem::take(&mut self.unfinished);
        (!rest.is_empty()).then(|| self.judge(rest))
    }

    fn judge(&mut self, line: Vec<u8>) -> Line {
        if let Some(level) = level(&line) {
            let is_harmless = |text: &&[u8]| line.windows(text.len()).any(|part| part == *text);
            self.shows = !matches!(level, b"trace" | b"debug" | b"info") && !HARMLESS.iter().any(is_harmless);
        }
        if self.shows || self.all {
            Line::Shown(line)
        } else {
            Line::Hidden(line)
        }
    }
}

/// `warning` of `[2026-11-30 15:04:05.678][1234][warning][main] [source/server/server.cc:900] text`
fn level(line: &[u8]) -> Option<&[u8]> {
    let mut parts = line.strip_prefix(b"[")?.split(|byte| *byte == b']');
    let (_time, _thread, level) = (parts.next()?, parts.next()?, parts.next()?);
    let level = level.strip_prefix(b"[")?;
    let known: [&[u8]; 6] = [b"trace", b"debug", b"info", b"warning", b"error", b"critical"];
    known.contains(&level).then_some(level)
}

#[cfg(test)]
mod tests {
    use super::{Line, LogFilter};

    const OUTPUT: &str = "cannot read the file\n\
        [2026-11-30 15:04:05.678][1234][info][main] [source/server/server.cc:900] initializing epoch 0\n\
        statically linked extensions:\n\
        [2026-11-30 15:04:05.679][1234][warning][config] [a.cc:1] gRPC config rejected:\n\
        listener redis: too old\n\
        [2026-11-30 15:04:05.680][1234][warning][main] [a.cc:1] caught ENVOY_SIGTERM\n\
        [2026-11-30 15:04:05.680][1234][debug][main] [a.cc:1] more\n\
        [2026-11-30 15:04:05.681][1234][critical][main] [a.cc:1] the end";

    fn shown(all: bool, parts: &[&[u8]]) -> Vec<String> {
        let mut filter = LogFilter::new(all);
        let mut lines: Vec<Line> = parts.iter().flat_map(|part| filter.push(part)).collect();
        lines.extend(filter.finish());
        let shown = lines.into_iter().filter_map(|line| match line {
            Line::Shown(line) => Some(String::from_utf8_lossy(&line).trim_end().to_owned()),
            Line::Hidden(_) => None,
        });
        shown.collect()
    }

    #[test]
    fn warnings_and_their_second_lines_are_shown() {
        let (first, second) = OUTPUT.as_bytes().split_at(200);
        let found = shown(false, &[first, second]);
        let found: Vec<&str> = found
            .iter()
            .map(|line| line.rsplit("] ").next().unwrap_or(line))
            .collect();
        assert_eq!(
            found,
            [
                "cannot read the file",
                "gRPC config rejected:",
                "listener redis: too old",
                "the end"
            ]
        );
        assert_eq!(shown(true, &[OUTPUT.as_bytes()]).len(), OUTPUT.lines().count());
    }

    #[test]
    fn a_line_without_end_is_not_kept_for_ever() {
        let mut filter = LogFilter::new(false);
        assert_eq!(filter.push(&vec![b'x'; 100_000]).len(), 1);
        assert!(filter.finish().is_none());
    }
}
