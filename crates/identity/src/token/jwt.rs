//! What all tokens share: signing, verification, times, revocation.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime, UtcOffset};
use uuid::Uuid;

use super::revocations::Revocations;
use crate::signing_key::{SigningKey, VerificationKey};

/// Longest token accepted, in bytes: more than HTTP servers allow for all headers together.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Ids of keys are serials here; configured keys may have longer ones. It is repeated in errors before anything is verified.
const MAX_KEY_ID_BYTES: usize = 128;

/// Longest name in a message that comes from a token of which nothing is verified, in characters.
const MAX_SHOWN: usize = 64;

/// Tokens are valid from this long before they are issued, for peers whose clock is behind.
const BACKDATING: Duration = Duration::minutes(5);

/// The key that signs, with the serial by which validators find its public half.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    /// Serial of the key, see [`SigningKeyFamily`](crate::SigningKeyFamily).
    pub kid: &'a str,
    pub key: &'a SigningKey,
}

/// Id and times of a token to be issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifespan {
    /// Becomes `jti`, by which the token can be revoked.
    pub id: Uuid,
    pub now: OffsetDateTime,
    /// Counted from `now`; at least one second.
    pub valid_for: Duration,
}

impl Lifespan {
    /// From now on, under a new random id.
    pub fn new(now: OffsetDateTime, valid_for: Duration) -> Self {
        Self {
            id: Uuid::new_v4(),
            now,
            valid_for,
        }
    }
}

/// What a control plane accepts for one kind of token (and, for dataplane tokens, one mesh).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenTrust {
    /// By `kid`. Where configured public keys and keys from secrets share a `kid`, the configured one must be the one in here.
    pub keys: BTreeMap<String, VerificationKey>,
    pub revocations: Revocations,
}

/// A token that proved to be ours and to hold at the time of the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token<C> {
    /// `jti`; empty when the token has none (then it cannot be revoked).
    pub id: String,
    /// `None`: holds until its key is removed. Such tokens are not issued here, but Kuma accepts them.
    pub expires_at: Option<OffsetDateTime>,
    pub claims: C,
}

/// Why a token was not issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    #[error("token cannot be valid for {seconds} s: it must be at least one second and end before the year 10000")]
    Lifetime { seconds: i64 },
    #[error(
        "token would be {length} bytes long, more than the {MAX_TOKEN_BYTES} that are accepted: name fewer tags or groups"
    )]
    TooLong { length: usize },
    #[error("token could not be signed: {0}")]
    Sign(String),
}

/// Why a token is not accepted. Never contains the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("token of {length} bytes is longer than {MAX_TOKEN_BYTES}")]
    TooLong { length: usize },
    #[error("token is malformed: {reason}; give the text exactly as it was generated")]
    Malformed { reason: String },
    #[error("token is signed with {algorithm:?}, only RS256 is accepted: generate a new token")]
    Algorithm { algorithm: String },
    #[error("token has no key id (header kid): generate a new token")]
    NoKeyId,
    #[error(
        "token is signed with key {kid:?}, which is not known here (known: {known:?}): generate a new token, or restore that signing key"
    )]
    UnknownKey { kid: String, known: Vec<String> },
    #[error("this is a {shown} token, needed is a {needed} token: {} makes one", needed.made_by())]
    WrongKind { shown: TokenKind, needed: TokenKind },
    #[error(
        "token signature does not match key {kid:?}: it was changed, or signed by the key of another control plane{}; generate a new token",
        of_mesh(mesh)
    )]
    Signature {
        kid: String,
        /// The mesh that the token names, not verified; empty where it names none.
        mesh: String,
    },
    #[error("token expired at {}: generate a new token", calendar(*at))]
    Expired { at: OffsetDateTime },
    #[error("token is valid from {} only: check the clocks of this host and of the issuer", calendar(*from))]
    NotYetValid { from: OffsetDateTime },
    #[error("token {id:?} is revoked: generate a new token")]
    Revoked { id: String },
}

/// Whose token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    User,
    Dataplane,
    Zone,
}

impl TokenKind {
    /// What a payload looks like; claims have lower case names. `None` if it could be several, or none.
    fn of_claims(claims: &Map<String, Value>) -> Option<Self> {
        let kinds = [
            (Self::User, &["groups"][..]),
            (Self::Dataplane, &["mesh", "tags", "type"]),
            (Self::Zone, &["zone", "scope"]),
        ];
        let has = |names: &[&str]| names.iter().any(|name| claims.contains_key(*name));
        let mut fitting = kinds.iter().filter(|(_, names)| has(names)).map(|(kind, _)| *kind);
        fitting.next().filter(|_| fitting.next().is_none())
    }

    fn made_by(self) -> &'static str {
        match self {
            Self::User => "`meshspan generate user-token`",
            Self::Dataplane => "`meshspan generate dataplane-token`, asked of the control plane of the zone,",
            Self::Zone => "`meshspan generate zone-token`, asked of the global control plane,",
        }
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Dataplane => "dataplane",
            Self::Zone => "zone",
        })
    }
}

fn of_mesh(mesh: &str) -> String {
    match mesh {
        "" => String::new(),
        mesh => format!(" or of another mesh (it says that it is for mesh {mesh:?})"),
    }
}

/// RFC 3339 to the second.
fn calendar(time: OffsetDateTime) -> String {
    let whole = time.to_offset(UtcOffset::UTC).replace_nanosecond(0).unwrap_or(time);
    whole.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}

#[derive(Serialize)]
struct Registered {
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

#[derive(Serialize)]
struct Payload<'a, C> {
    #[serde(flatten)]
    custom: &'a C,
    #[serde(flatten)]
    registered: Registered,
}

/// Signs the custom claims together with id and times.
pub(super) fn issue<C: Serialize>(signer: &Signer<'_>, claims: &C, lifespan: &Lifespan) -> Result<String, IssueError> {
    let Lifespan { id, now, valid_for } = lifespan;
    let lifetime = || IssueError::Lifetime {
        seconds: valid_for.whole_seconds(),
    };
    if *valid_for < Duration::SECOND {
        return Err(lifetime());
    }
    let not_before = now.checked_sub(BACKDATING).ok_or_else(lifetime)?;
    let expiry = now.checked_add(*valid_for).ok_or_else(lifetime)?;
    let payload = Payload {
        custom: claims,
        registered: Registered {
            jti: id.to_string(),
            iat: now.unix_timestamp(),
            nbf: not_before.unix_timestamp(),
            exp: expiry.unix_timestamp(),
        },
    };
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(signer.kid.to_owned());
    let key = EncodingKey::from_rsa_der(signer.key.pkcs1_der());
    let token = jsonwebtoken::encode(&header, &payload, &key).map_err(|e| IssueError::Sign(e.to_string()))?;
    if token.len() > MAX_TOKEN_BYTES {
        return Err(IssueError::TooLong { length: token.len() });
    }
    Ok(token)
}

/// Only the parts of the header that decide how to verify.
#[derive(Deserialize)]
struct UntrustedHeader {
    alg: String,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Times {
    #[serde(default, deserialize_with = "null_is_default")]
    jti: String,
    /// Seconds since 1970. RFC 7519 allows fractions.
    nbf: Option<f64>,
    exp: Option<f64>,
}

/// Checks signature, then times, then revocation; only then reads the custom claims.
pub(super) fn validate<C: DeserializeOwned>(
    token: &str,
    kind: TokenKind,
    trust: &TokenTrust,
    now: OffsetDateTime,
) -> Result<Token<C>, TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::TooLong { length: token.len() });
    }
    let kid = key_id(token)?;
    let key = trust.keys.get(&kid).ok_or_else(|| {
        explained(token, kind).unwrap_or_else(|| TokenError::UnknownKey {
            kid: kid.clone(),
            known: trust.keys.keys().cloned().collect(),
        })
    })?;

    let mut rules = Validation::new(Algorithm::RS256);
    // The library would look at the system clock; times are checked below against `now`.
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    rules.validate_nbf = false;
    rules.validate_aud = false;
    let decoded =
        jsonwebtoken::decode::<Map<String, Value>>(token, &DecodingKey::from_rsa_der(key.pkcs1_der()), &rules);
    let payload = match decoded {
        Ok(data) => Value::Object(lowercase_keys(data.claims)),
        Err(e) => return Err(refusal(e, token, kind, kid)),
    };

    let times: Times = read(&payload)?;
    let expires_at = times.exp.map(instant).transpose()?;
    if let Some(at) = expires_at.filter(|at| now >= *at) {
        return Err(TokenError::Expired { at });
    }
    if let Some(from) = times.nbf.map(instant).transpose()?.filter(|from| now < *from) {
        return Err(TokenError::NotYetValid { from });
    }
    if trust.revocations.contains(&times.jti) {
        return Err(TokenError::Revoked { id: times.jti });
    }
    Ok(Token {
        id: times.jti,
        expires_at,
        claims: read(&payload)?,
    })
}

/// The `kid` of a token whose header promises RS256. Nothing is verified yet.
fn key_id(token: &str) -> Result<String, TokenError> {
    let malformed = |reason: &str| TokenError::Malformed {
        reason: reason.to_owned(),
    };
    let mut parts = token.split('.');
    let header = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(_), Some(_), None) => header,
        _ => return Err(malformed("it must have three parts separated by dots")),
    };
    let header = URL_SAFE_NO_PAD
        .decode(header)
        .map_err(|_| malformed("header is not base64"))?;
    let header: UntrustedHeader = serde_json::from_slice(&header)
        .map_err(|_| malformed("header is not a JSON object with the text fields alg and kid"))?;
    if header.alg != "RS256" {
        return Err(TokenError::Algorithm {
            algorithm: header.alg.chars().take(16).collect(),
        });
    }
    let kid = header.kid.filter(|kid| !kid.is_empty()).ok_or(TokenError::NoKeyId)?;
    if kid.len() > MAX_KEY_ID_BYTES {
        return Err(malformed("its key id is longer than that of any key"));
    }
    Ok(kid)
}

fn refusal(error: jsonwebtoken::errors::Error, token: &str, kind: TokenKind, kid: String) -> TokenError {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidSignature => explained(token, kind).unwrap_or_else(|| TokenError::Signature {
            mesh: unverified(token)
                .and_then(|claims| Some(claims.get("mesh")?.as_str()?.chars().take(MAX_SHOWN).collect()))
                .unwrap_or_default(),
            kid,
        }),
        _ => TokenError::Malformed {
            reason: error.to_string(),
        },
    }
}

/// Each kind has its own keys, so that a token of another kind looks forged. It says itself what it is, which is believed for
/// the message only.
fn explained(token: &str, needed: TokenKind) -> Option<TokenError> {
    let shown = TokenKind::of_claims(&unverified(token)?)?;
    (shown != needed).then_some(TokenError::WrongKind { shown, needed })
}

/// The claims of a token of which nothing is verified.
fn unverified(token: &str) -> Option<Map<String, Value>> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok().map(lowercase_keys)
}

/// Go, and therefore Kuma, matches claim names without regard to case, the last one winning.
fn lowercase_keys(claims: Map<String, Value>) -> Map<String, Value> {
    claims
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect()
}

fn read<T: DeserializeOwned>(payload: &Value) -> Result<T, TokenError> {
    T::deserialize(payload).map_err(|e| TokenError::Malformed {
        reason: format!("claims: {e}"),
    })
}

fn instant(seconds: f64) -> Result<OffsetDateTime, TokenError> {
    // The cast saturates; what is out of range for a date is refused by the conversion.
    OffsetDateTime::from_unix_timestamp(seconds as i64).map_err(|e| TokenError::Malformed {
        reason: format!("claims: time {seconds}: {e}"),
    })
}

/// Go writes empty lists and maps as `null`.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
