//! Names of the Secrets and GlobalSecrets that hold keys, certificates, tokens and revocations.
//!
//! Compatible with existing stores: `spec/zone-sync.md` §5.1, §5.3, `spec/resources.md` §2.1, §2.6, `spec/dataplane.md` §5.1.

/// GlobalSecret with the token of the administrator made at first start.
pub const ADMIN_USER_TOKEN: &str = "admin-user-token";
/// GlobalSecret with the ids of revoked user tokens.
pub const USER_TOKEN_REVOCATIONS: &str = "user-token-revocations";
/// GlobalSecret with the ids of revoked zone tokens.
pub const ZONE_TOKEN_REVOCATIONS: &str = "zone-token-revocations";

/// Prefix of the private zone signing keys, without the dash before the serial. Zone sync replaces it by
/// [`ZONE_PUBLIC_KEY_PREFIX`] on the way to a zone.
pub const ZONE_SIGNING_KEY_PREFIX: &str = "zone-token-signing-key";
/// Prefix of the public zone keys that federated zones get.
pub const ZONE_PUBLIC_KEY_PREFIX: &str = "zone-token-signing-public-key";

/// Secret of the mesh with the ids of its revoked dataplane tokens.
pub fn dataplane_token_revocations(mesh: &str) -> String {
    format!("dataplane-token-revocations-{mesh}")
}

/// Secret of the mesh with the certificate of a builtin CA.
pub fn builtin_ca_cert(mesh: &str, backend: &str) -> String {
    format!("{mesh}.ca-builtin-cert-{backend}")
}

/// Secret of the mesh with the private key of a builtin CA.
pub fn builtin_ca_key(mesh: &str, backend: &str) -> String {
    format!("{mesh}.ca-builtin-key-{backend}")
}

/// The name under which a zone gets the public half of a zone signing key; `None` for other secrets.
pub fn zone_public_key_name(signing_key_name: &str) -> Option<String> {
    let serial = SigningKeyFamily::Zone.serial_of(signing_key_name)?;
    let suffix = signing_key_name.strip_prefix(ZONE_SIGNING_KEY_PREFIX)?;
    // An unsuffixed name keeps meaning serial 0.
    Some(if suffix.is_empty() {
        ZONE_PUBLIC_KEY_PREFIX.to_owned()
    } else {
        SigningKeyFamily::ZonePublic.secret_name(serial)
    })
}

/// The keys that sign, or verify, one sort of token. Within a family each key has a serial, which is the `kid` of the
/// tokens it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKeyFamily<'a> {
    /// Secrets of the mesh, synced to all zones.
    Dataplane { mesh: &'a str },
    /// GlobalSecrets that stay where they were made.
    User,
    /// GlobalSecrets of the global control plane or an unfederated zone.
    Zone,
    /// GlobalSecrets of a federated zone: public keys only.
    ZonePublic,
}

impl SigningKeyFamily<'_> {
    /// `<prefix>-<serial>`, for instance `dataplane-token-signing-key-default-1`.
    pub fn secret_name(&self, serial: u64) -> String {
        format!("{}-{serial}", self.prefix())
    }

    /// The serial in a secret's name: 0 for a name without suffix, `None` when the secret does not belong to the family.
    pub fn serial_of(&self, secret_name: &str) -> Option<u64> {
        let suffix = secret_name.strip_prefix(&self.prefix())?;
        if suffix.is_empty() {
            return Some(0);
        }
        let digits = suffix.strip_prefix('-')?;
        let serial: u64 = digits.parse().ok()?;
        // Not "+1" or "01", so that no two names claim one serial; "-0" does, next to the unsuffixed name, and means the same.
        (serial.to_string() == digits).then_some(serial)
    }

    /// The highest serial among the names: the key that signs new tokens. Names outside the family are ignored.
    pub fn newest<'n>(&self, secret_names: impl IntoIterator<Item = &'n str>) -> Option<(u64, &'n str)> {
        secret_names
            .into_iter()
            .filter_map(|name| Some((self.serial_of(name)?, name)))
            .max()
    }

    fn prefix(&self) -> String {
        match self {
            Self::Dataplane { mesh } => format!("dataplane-token-signing-key-{mesh}"),
            Self::User => "user-token-signing-key".to_owned(),
            Self::Zone => ZONE_SIGNING_KEY_PREFIX.to_owned(),
            Self::ZonePublic => ZONE_PUBLIC_KEY_PREFIX.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DP: SigningKeyFamily = SigningKeyFamily::Dataplane { mesh: "default" };

    #[test]
    fn names() {
        assert_eq!(DP.secret_name(1), "dataplane-token-signing-key-default-1");
        assert_eq!(SigningKeyFamily::User.secret_name(2), "user-token-signing-key-2");
        assert_eq!(SigningKeyFamily::Zone.secret_name(3), "zone-token-signing-key-3");
        assert_eq!(
            SigningKeyFamily::ZonePublic.secret_name(4),
            "zone-token-signing-public-key-4"
        );
        assert_eq!(builtin_ca_cert("default", "ca-1"), "default.ca-builtin-cert-ca-1");
        assert_eq!(builtin_ca_key("default", "ca-1"), "default.ca-builtin-key-ca-1");
        assert_eq!(
            dataplane_token_revocations("default"),
            "dataplane-token-revocations-default"
        );
    }

    #[test]
    fn serials() {
        for (name, serial) in [
            ("dataplane-token-signing-key-default-1", Some(1)),
            ("dataplane-token-signing-key-default-42", Some(42)),
            ("dataplane-token-signing-key-default", Some(0)),
            ("dataplane-token-signing-key-default-", None),
            ("dataplane-token-signing-key-default-x", None),
            ("dataplane-token-signing-key-default-01", None),
            ("dataplane-token-signing-key-default-+1", None),
            ("dataplane-token-signing-key-default-99999999999999999999", None),
            ("dataplane-token-signing-key-default2", None),
            ("dataplane-token-signing-key-other-1", None),
            ("user-token-signing-key-1", None),
        ] {
            assert_eq!(DP.serial_of(name), serial, "{name}");
        }
    }

    #[test]
    fn newest_is_the_highest_number_not_the_last_text() {
        let names = [
            "zone-token-signing-key-9",
            "zone-token-signing-key-10",
            "zone-token-signing-key",
            "zz",
        ];
        assert_eq!(
            SigningKeyFamily::Zone.newest(names),
            Some((10, "zone-token-signing-key-10"))
        );
        assert_eq!(SigningKeyFamily::User.newest(names), None);
    }

    #[test]
    fn public_names_of_zone_keys() {
        assert_eq!(
            zone_public_key_name("zone-token-signing-key-7").unwrap(),
            "zone-token-signing-public-key-7"
        );
        assert_eq!(
            zone_public_key_name("zone-token-signing-key").unwrap(),
            "zone-token-signing-public-key"
        );
        assert_eq!(zone_public_key_name("user-token-signing-key-1"), None);
    }
}
