//! KRI: one string that names a resource everywhere (`spec/resources.md` §1.6).

use std::fmt;
use std::str::FromStr;

use crate::kind::Kind;
use crate::resource::{Resource, ServiceIdentity};

/// `kri_<short>_<mesh>_<zone>_<namespace>_<name>_<section>`, absent parts empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kri {
    /// The kind.
    pub kind: Kind,
    /// Mesh, empty for global kinds.
    pub mesh: String,
    /// Zone label, or "".
    pub zone: String,
    /// Namespace label, or "".
    pub namespace: String,
    /// Display name.
    pub name: String,
    /// Port or inbound name, or port number; "" for the whole resource.
    pub section: String,
}

impl Kri {
    /// The KRI of a resource's section; `None` for kinds without a short name.
    pub fn of(resource: &Resource, section: &str) -> Option<Kri> {
        if resource.kind.info().short_name.is_empty() {
            return None;
        }
        // A zone-originated resource is named by its zone; a global one has none, wherever it is read.
        Some(Kri {
            kind: resource.kind,
            mesh: resource.mesh.clone(),
            zone: resource.zone().to_owned(),
            namespace: resource.namespace().to_owned(),
            name: resource.display_name().to_owned(),
            section: section.to_owned(),
        })
    }

    /// The KRI of a service's section; of the whole service if that is "".
    pub fn of_service(service: &ServiceIdentity, section: &str) -> Kri {
        Kri {
            kind: service.kind.kind(),
            mesh: service.mesh.clone(),
            zone: service.zone.clone(),
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            section: section.to_owned(),
        }
    }
}

impl fmt::Display for Kri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kri {
            kind,
            mesh,
            zone,
            namespace,
            name,
            section,
        } = self;
        write!(
            f,
            "kri_{}_{mesh}_{zone}_{namespace}_{name}_{section}",
            kind.info().short_name
        )
    }
}

/// Why a text is not a KRI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KriError {
    /// Not seven parts starting with `kri`.
    #[error("\"{0}\" is not a KRI: expected kri_<short name>_<mesh>_<zone>_<namespace>_<name>_<section>")]
    Shape(String),
    /// The short name is unknown.
    #[error("unknown short name \"{0}\" in KRI")]
    ShortName(String),
}

impl FromStr for Kri {
    type Err = KriError;

    fn from_str(text: &str) -> Result<Self, KriError> {
        let mut parts = text.splitn(7, '_');
        let mut next = || {
            parts
                .next()
                .map(str::to_owned)
                .ok_or_else(|| KriError::Shape(text.to_owned()))
        };
        if next()? != "kri" {
            return Err(KriError::Shape(text.to_owned()));
        }
        let short = next()?;
        let kind = Kind::ALL
            .iter()
            .copied()
            .find(|kind| !short.is_empty() && kind.info().short_name == short)
            .ok_or(KriError::ShortName(short))?;
        Ok(Kri {
            kind,
            mesh: next()?,
            zone: next()?,
            namespace: next()?,
            name: next()?,
            section: next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn round_trip() {
        for text in [
            "kri_mzsvc_payments___ledger_grpc",
            "kri_m____default_",
            "kri_msvc_default_east_ns_redis_6379",
        ] {
            assert_eq!(text.parse::<Kri>().unwrap().to_string(), text);
        }
        assert!("kri_mzsvc_payments".parse::<Kri>().is_err());
        assert!("kri_nope_a_b_c_d_e".parse::<Kri>().is_err());
    }
}
