//! Warns while there is time: a token that expires takes the proxy's stream, and so changes and new certificates.

use crate::token::Token;
use crate::token_secret::TokenSecret;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest sleep before the clock is looked at again: sleep does not see it being set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How much of its life a token has left at the first warning, as a divisor. Whoever renews tokens by program does so earlier.
const FIRST: u64 = 5;
/// No warning comes earlier than this before the end, in seconds.
const EARLIEST: u64 = 7 * 24 * 3600;

/// When a token was issued and when it ends, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    issued: u64,
    ends: u64,
}

#[derive(Deserialize)]
struct Claims {
    iat: Option<f64>,
    exp: Option<f64>,
}

impl Life {
    /// What a token says of itself; `None` if that cannot be read, or it does not expire. Nothing is verified: that is the control
    /// plane's.
    fn of(token: &str) -> Option<Self> {
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let Claims { iat, exp } = serde_json::from_slice(&payload).ok()?;
        let ends = exp? as u64;
        Some(Self {
            issued: (iat.unwrap_or_default() as u64).min(ends),
            ends,
        })
    }

    /// When to warn: with a fifth of its life left, then with a fifth of that, and so on.
    fn warnings(self) -> impl Iterator<Item = u64> {
        let first = ((self.ends - self.issued) / FIRST).min(EARLIEST);
        std::iter::successors(Some(first).filter(|left| *left > 0), |left| {
            Some(left / FIRST).filter(|left| *left > 1)
        })
        .map(move |left| self.ends - left)
    }
}

/// Warns before the token expires, each time that it is renewed anew. Never ends.
pub(crate) async fn warn(secret: Arc<TokenSecret>, proxy: String) {
    let mut current = secret.current();
    loop {
        let life = current.borrow_and_update().as_deref().and_then(Life::of);
        tokio::select! {
            changed = current.changed() => if changed.is_err() { return std::future::pending().await },
            () = warn_of(life, &secret, &proxy) => {}
        }
    }
}

/// Never ends.
async fn warn_of(life: Option<Life>, secret: &TokenSecret, proxy: &str) {
    // Of those that are in the past only the last one counts.
    let now = seconds();
    let mut warnings: Vec<u64> = life.into_iter().flat_map(Life::warnings).collect();
    let past = warnings.iter().filter(|when| **when <= now).count();
    warnings.drain(..past.saturating_sub(1));
    for when in warnings {
        while let Some(left) = when.checked_sub(seconds()).filter(|left| *left > 0) {
            tokio::time::sleep(Duration::from_secs(left).min(LONGEST_SLEEP)).await;
        }
        let left = life.map_or(0, |life| life.ends.saturating_sub(seconds()));
        if left > 0 {
            let left = humantime(left);
            tracing::warn!(
                "{proxy}: its token expires in {left}; from then on the proxy gets neither changes nor certificates: {}",
                remedy(secret.token())
            );
        }
    }
    std::future::pending().await
}

fn remedy(token: &Token) -> String {
    match token.path() {
        Some(path) => format!("write a new one into {} before; nothing is restarted", path.display()),
        None => "restart it with a new one before, or give it in a file (--dataplane-token-file), which is read again"
            .to_owned(),
    }
}

fn seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// The largest unit that fits.
fn humantime(seconds: u64) -> String {
    match seconds {
        172_800.. => format!("{} days", seconds / 86_400),
        7_200.. => format!("{} hours", seconds / 3_600),
        120.. => format!("{} minutes", seconds / 60),
        _ => format!("{seconds} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!("e30.{}.x", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn the_life_of_a_token_is_read_from_it() {
        let life = Life {
            issued: 1000,
            ends: 5000,
        };
        assert_eq!(Life::of(&token(r#"{"iat":1000,"exp":5000}"#)), Some(life));
        assert_eq!(
            Life::of(&token(r#"{"exp":5000.5}"#)),
            Some(Life { issued: 0, ends: 5000 })
        );
        assert_eq!(
            Life::of(&token(r#"{"iat":9000,"exp":5000}"#)),
            Some(Life {
                issued: 5000,
                ends: 5000
            })
        );
        for other in [
            token("{}"),
            token("x"),
            "a.b".to_owned(),
            String::new(),
            token(r#"{"exp":"soon"}"#),
        ] {
            assert_eq!(Life::of(&other), None, "{other}");
        }
    }

    #[test]
    fn warnings_become_more_frequent() {
        let day = 86_400;
        let left = |issued, ends| {
            Life { issued, ends }
                .warnings()
                .map(|when| ends - when)
                .collect::<Vec<_>>()
        };
        assert_eq!(left(0, day), [17_280, 3_456, 691, 138, 27, 5]);
        assert_eq!(left(0, 30 * day).first(), Some(&(6 * day)));
        assert_eq!(left(0, 3650 * day).first(), Some(&(7 * day)), "not a year before");
        assert_eq!(left(7, 7), Vec::<u64>::new());
    }
}
