//! Formats of `logging` backends, as the reference reads them (`pkg/envoy/accesslog` of Kuma 2.9). They are another language
//! than the formats of a MeshAccessLog, which Envoy reads: names may be anything, and `%%` is no percent sign.

/// Why the reference would not take a format.
pub(super) fn check(format: &str) -> Result<(), String> {
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        let (_, operator) = rest.split_at(start);
        let Some(command) = Command::parse(operator) else {
            return Err(format!(
                "\"{}\" starts no operator: write %NAME% or %NAME(parameters):length%, with a name of upper case letters, digits and \
                 '_'; a percent sign alone is not possible",
                operator.chars().take(SHOWN).collect::<String>()
            ));
        };
        command.check()?;
        rest = operator.get(command.length..).unwrap_or_default();
    }
    Ok(())
}

/// Characters of a wrong format that are repeated.
const SHOWN: usize = 40;

/// `%NAME(parameters):limit%`.
struct Command<'a> {
    name: &'a str,
    parameters: Option<&'a str>,
    limit: Option<&'a str>,
    /// In the format, in bytes.
    length: usize,
}

impl<'a> Command<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let after_percent = text.strip_prefix('%')?;
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let (name, mut rest) = after_percent.split_at(after_percent.find(|c| !is_name(c))?);
        if name.is_empty() {
            return None;
        }
        let mut parameters = None;
        if let Some(inside) = rest.strip_prefix('(') {
            let (found, after) = inside.split_once(')')?;
            (parameters, rest) = (Some(found), after);
        }
        let mut limit = None;
        if let Some(digits) = rest.strip_prefix(':') {
            let (found, after) = digits.split_at(digits.find(|c: char| !c.is_ascii_digit())?);
            (limit, rest) = (Some(found), after);
        }
        if limit == Some("") {
            return None;
        }
        let after = rest.strip_prefix('%')?;
        Some(Self {
            name,
            parameters,
            limit,
            length: text.len() - after.len(),
        })
    }

    fn check(&self) -> Result<(), String> {
        let (name, parameters) = (self.name, self.parameters.unwrap_or_default());
        let expected = match name {
            "REQ" | "RESP" | "TRAILER" if self.parameters.is_none() => {
                "needs the name of a header, such as (X-ID?X-OTHER)"
            }
            "REQ" | "RESP" | "TRAILER" if parameters.matches('?').count() > 1 => "takes one alternative header",
            "REQ" | "RESP" | "TRAILER" if parameters.contains(['\0', '\r', '\n']) => {
                "must not have line breaks in a name"
            }
            "DYNAMIC_METADATA" if self.parameters.is_none() => "needs the name of a filter, such as (filter:key)",
            "FILTER_STATE" if parameters.is_empty() => "needs a key, such as (key)",
            "START_TIME" if breaks_line(parameters) => "must not have %n in its format",
            "REQ" | "RESP" | "TRAILER" | "DYNAMIC_METADATA" | "FILTER_STATE" | "START_TIME" => return Ok(()),
            _ if self.parameters.is_some() || self.limit.is_some() => "takes neither parameters nor a length",
            _ => return Ok(()),
        };
        Err(format!("%{name}% {expected}"))
    }
}

/// Whether a format of times has an `n` behind a percent sign and its flags.
fn breaks_line(time_format: &str) -> bool {
    let mut conversions = time_format.split('%').skip(1);
    conversions.any(|conversion| {
        let width = conversion.trim_start_matches(['-', '_', '0', '^', '#']);
        width.trim_start_matches(|c| ('1'..='9').contains(&c)).starts_with('n')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_reference_reads_is_taken() {
        for format in [
            "",
            "plain",
            "[%START_TIME%] %KUMA_MESH% %REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH):10% %RESP()%\n",
            "%START_TIME(%Y/%m/%dT%H:%M:%S%z %s)%",
            "%DYNAMIC_METADATA(com.test.my_filter:test_key):3%%FILTER_STATE(a):1%",
            "%SOMETHING_NEWER_42%",
        ] {
            assert_eq!(check(format), Ok(()), "{format}");
        }
    }

    #[test]
    fn what_it_cannot_read_is_named() {
        for (format, named) in [
            ("100%", "\"%\" starts no operator"),
            ("a %% b", "\"%% b\" starts no operator"),
            ("%start_time%", "\"%start_time%\" starts no operator"),
            ("%START_TIME", "\"%START_TIME\" starts no operator"),
            ("%REQ(a%", "\"%REQ(a%\" starts no operator"),
            ("%REQ(a):%", "\"%REQ(a):%\" starts no operator"),
            ("%REQ%", "%REQ% needs the name of a header"),
            ("%RESP(a?b?c)%", "%RESP% takes one alternative"),
            ("%TRAILER(a\nb)%", "%TRAILER% must not have line breaks"),
            ("%DYNAMIC_METADATA%", "%DYNAMIC_METADATA% needs"),
            ("%FILTER_STATE()%", "%FILTER_STATE% needs a key"),
            ("%START_TIME(%s%-3n)%", "%START_TIME% must not have %n"),
            ("%PROTOCOL(x)%", "%PROTOCOL% takes neither"),
            ("%BYTES_SENT:3%", "%BYTES_SENT% takes neither"),
        ] {
            let refused = check(format);
            assert!(
                refused.as_ref().is_err_and(|reason| reason.starts_with(named)),
                "{format}: {refused:?}"
            );
        }
    }
}
