//! Which lines of Envoy's log people are shown: warnings and what is worse, unless they ask for more.

/// Warnings that every Envoy prints, and of which nobody has to know.
const HARMLESS: [&[u8]; 3] = [
    b"--cpuset-threads is now the default behavior",
    b"no configured limit to the number of allowed active downstream connections",
    b"caught ENVOY_SIGTERM",
];

/// In the warning that Envoy repeats with each attempt to reach a control plane that refuses it.
const STREAM_CLOSED: &[u8] = b"gRPC config stream to";

/// Longest beginning of a line that is waited for.
const MAX_LINE: usize = 64 * 1024;

/// Cuts output into lines and tells those to show from others.
#[derive(Debug)]
pub(super) struct LogFilter {
    all: bool,
    unfinished: Vec<u8>,
    /// Why Envoy's stream was closed when that was shown last, without the numbers in it.
    closed: Vec<u8>,
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
            closed: Vec::new(),
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

    fn judge(&mut self, mut line: Vec<u8>) -> Line {
        if let Some(level) = level(&line) {
            let has = |text: &[u8]| line.windows(text.len()).any(|part| part == text);
            self.shows = !matches!(level, b"trace" | b"debug" | b"info") && !HARMLESS.into_iter().any(has);
            if self.shows && has(STREAM_CLOSED) {
                line = without_escapes(&line);
                let reason = reason(&line);
                self.shows = reason != self.closed;
                self.closed = reason;
            }
        }
        if self.shows || self.all {
            Line::Shown(line)
        } else {
            Line::Hidden(line)
        }
    }
}

/// The text of a line without numbers, such as the seconds since something.
fn reason(line: &[u8]) -> Vec<u8> {
    let start = line.windows(STREAM_CLOSED.len()).position(|part| part == STREAM_CLOSED);
    let text = line.iter().skip(start.unwrap_or_default());
    text.copied().filter(|byte| !byte.is_ascii_digit()).collect()
}

/// gRPC escapes texts as URLs do, and Envoy prints them so. Control characters stay escaped.
fn without_escapes(line: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%');
        let byte = escaped
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok())
            .filter(|byte| !byte.is_ascii_control());
        plain.push(byte.unwrap_or(*first));
        rest = if byte.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    plain
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
    fn why_a_stream_was_closed_is_shown_once_and_in_plain_text() {
        let closed = |seconds: u32, why: &str| {
            format!(
                "[2026-11-30 15:04:{seconds}.678][1234][warning][config] [a.cc:1] DeltaAggregatedResources gRPC config stream to \
                 ads_cluster closed since {seconds}s ago: 16, token%20of%20Dataplane%20redis-1:%20{why}%0a\n"
            )
        };
        let output = [
            closed(10, "100%"),
            closed(12, "100%"),
            closed(14, "late"),
            closed(16, "late"),
            closed(18, "100%"),
        ];
        let output: Vec<&[u8]> = output.iter().map(|line| line.as_bytes()).collect();
        let found = shown(false, &output);
        let ends: Vec<&str> = found.iter().filter_map(|line| line.split("redis-1: ").nth(1)).collect();
        assert_eq!(ends, ["100%%0a", "late%0a", "100%%0a"]);
        assert_eq!(shown(true, &output).len(), 5);
    }

    #[test]
    fn a_line_without_end_is_not_kept_for_ever() {
        let mut filter = LogFilter::new(false);
        assert_eq!(filter.push(&vec![b'x'; 100_000]).len(), 1);
        assert!(filter.finish().is_none());
    }
}
