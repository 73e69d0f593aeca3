//! Bytes of secrets, and data sources that point to them (`spec/resources.md` §2.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meshspan_model::kinds::Spec;
use meshspan_model::kinds::secret::{GlobalSecret, Secret};
use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_store::Snapshot;
use serde_json::Value;

/// What a data source holds.
pub(crate) enum Data {
    /// The bytes.
    Bytes(Vec<u8>),
    /// It names a file, which is read where it is used and not by the API: a caller must not learn about files here.
    File,
}

/// Reads a data source of a mesh.
///
/// # Errors
/// The field at fault below the data source ("" for itself), and the reason.
pub(crate) fn read(source: &Value, mesh: &str, snapshot: &Snapshot) -> Result<Data, (&'static str, String)> {
    let fields = ["secret", "file", "inline", "inlineString"];
    let given: Vec<(&'static str, &str)> = fields
        .into_iter()
        .filter_map(|field| Some((field, source.get(field)?.as_str()?)))
        .filter(|(_, text)| !text.is_empty())
        .collect();
    match given.as_slice() {
        [("file", _)] => Ok(Data::File),
        [("inlineString", text)] => Ok(Data::Bytes(text.as_bytes().to_vec())),
        [("inline", text)] => STANDARD
            .decode(text)
            .map(Data::Bytes)
            .map_err(|_| ("inline", "must be base64".to_owned())),
        [("secret", name)] => snapshot
            .get(&ResourceKey::new(Kind::Secret, mesh, *name))
            .and_then(|stored| secret_bytes(&stored.resource))
            .map(Data::Bytes)
            .ok_or_else(|| {
                (
                    "secret",
                    format!("there is no usable Secret \"{name}\" in mesh \"{mesh}\"; create it first"),
                )
            }),
        _ => Err((
            "",
            "must have exactly one of secret, file, inline, inlineString".to_owned(),
        )),
    }
}

/// The bytes of a Secret or GlobalSecret; `None` if it holds no base64.
pub(crate) fn secret_bytes(resource: &Resource) -> Option<Vec<u8>> {
    STANDARD.decode(resource.spec.get("data")?.as_str()?).ok()
}

/// A Secret that holds `bytes`.
pub(crate) fn secret(mesh: &str, name: impl Into<String>, bytes: &[u8]) -> Resource {
    let spec = Secret {
        data: STANDARD.encode(bytes),
    };
    Resource::new(Kind::Secret, mesh, name, spec.to_value())
}

/// A GlobalSecret that holds `bytes`.
pub(crate) fn global_secret(name: impl Into<String>, bytes: &[u8]) -> Resource {
    let spec = GlobalSecret {
        data: STANDARD.encode(bytes),
    };
    Resource::new(Kind::GlobalSecret, "", name, spec.to_value())
}
