//! The payload that all kinds of policies share: the document as written, and how it is checked.

use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::check;
use super::conf::{Conf, Place};
use super::document::Document;
use super::matrix::{Part, PolicyInfo, Routing};
use super::role::Role;
use super::target_ref::TargetRef;
use crate::kind::Kind;
use crate::kinds::{self, Spec};
use crate::reading::readable;
use crate::violation::{Violations, unknown_field};

/// The `spec` of a policy exactly as it was written.
///
/// It is never rebuilt from what was understood of it: what a user, or a control plane of another version, wrote comes
/// back unchanged.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySpec<C> {
    written: Value,
    conf: PhantomData<fn() -> C>,
}

impl<C> PolicySpec<C> {
    /// The document as written.
    pub fn written(&self) -> &Value {
        &self.written
    }
}

impl<C> Default for PolicySpec<C> {
    fn default() -> Self {
        Self {
            written: Value::Object(Map::new()),
            conf: PhantomData,
        }
    }
}

impl<C> Serialize for PolicySpec<C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written.serialize(serializer)
    }
}

impl<'de, C> Deserialize<'de> for PolicySpec<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self {
            written: Value::deserialize(deserializer)?,
            conf: PhantomData,
        })
    }
}

impl<C: Conf + 'static> Spec for PolicySpec<C> {
    const KIND: Kind = C::KIND.kind();

    fn validate(&self, _root: &str, violations: &mut Violations) {
        if let Err(found) = check_document::<C>(&self.written, Role::System) {
            violations.extend(found);
        }
    }

    fn check_payload(payload: &Value) -> Result<kinds::Checked, Violations> {
        Ok(kinds::Checked {
            warnings: check_document::<C>(payload, Role::System)?,
            spec: payload.clone(),
        })
    }
}

/// Checks a policy of a role as a whole; returns what the user should know.
fn check_document<C: Conf>(spec: &Value, role: Role) -> Result<Vec<String>, Violations> {
    // Confs are looked at even if something around them is wrong, so that one answer tells all.
    let mut unknown = Vec::new();
    let document = Document::parse(spec, &mut unknown).map_err(|violations| violations.beside_unknown(&unknown))?;
    let (mut warnings, around) = match check::check(C::KIND, spec, role) {
        Ok(checked) => (checked.warnings, Violations::new()),
        Err(violations) => (Vec::new(), violations),
    };
    let mut violations = Violations::new();
    for_each_conf(C::KIND.info(), &document, &mut |conf, place| {
        let parsed = parse::<C>(conf, place, &mut |field| {
            warnings.push(unknown_field(&field));
            unknown.push(field);
        });
        match parsed {
            Ok(conf) => {
                conf.check(place, &mut violations);
                conf.warn(place, &mut warnings);
            }
            Err(found) => violations.extend(found),
        }
    });
    let mut all = around.clone();
    for violation in violations.iter() {
        if !around.iter().any(|known| known.field == violation.field) {
            all.add(violation.field.clone(), violation.message.clone());
        }
    }
    all.into_result()
        .map_err(|violations| violations.beside_unknown(&unknown))?;
    if C::KIND.info().stored_only {
        warnings.push(format!(
            "{} is stored and shown, but does not change traffic yet",
            C::KIND
        ));
    }
    Ok(warnings)
}

/// Visits the confs of a document; a missing one counts as empty.
fn for_each_conf(info: &PolicyInfo, document: &Document, found: &mut dyn FnMut(Value, &Place<'_>)) {
    let top = document.top_kind();
    let mut visit = |path: String, part: Part, target: Option<&TargetRef>, conf: Value| {
        let place = Place {
            path: &path,
            part,
            top,
            target,
        };
        found(conf, &place);
    };
    let or_empty = |conf: Option<&Value>| match conf {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(conf) => conf.clone(),
    };
    for (index, item) in document.to().iter().enumerate() {
        let target = item.target_ref.as_ref();
        if info.routing == Routing::None {
            let path = format!("spec.to[{index}].default");
            visit(path, Part::To, target, or_empty(item.default.as_ref()));
        } else {
            let mut conf = Map::new();
            conf.insert("rules".to_owned(), Value::Array(item.rules.clone().unwrap_or_default()));
            visit(format!("spec.to[{index}]"), Part::To, target, Value::Object(conf));
        }
    }
    for (index, item) in document.from().iter().enumerate() {
        let path = format!("spec.from[{index}].default");
        visit(
            path,
            Part::From,
            item.target_ref.as_ref(),
            or_empty(item.default.as_ref()),
        );
    }
    for (index, item) in document.rules().iter().enumerate() {
        let path = format!("spec.rules[{index}].default");
        visit(path, Part::Rules, None, or_empty(item.default.as_ref()));
    }
    if info.default {
        visit(
            "spec.default".to_owned(),
            Part::Default,
            None,
            or_empty(document.default.as_ref()),
        );
    }
}

fn parse<C: Conf>(conf: Value, place: &Place<'_>, found: &mut dyn FnMut(String)) -> Result<C, Violations> {
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(conf, &mut track);
    let unknown = |field: serde_ignored::Path<'_>| found(place.field(&super::document::relative_path(&field)));
    serde_ignored::deserialize(tracked, unknown).map_err(|error| {
        let path = match track.path().to_string().as_str() {
            "." => place.path.to_owned(),
            field => place.field(field),
        };
        Violations::one(path, readable(&error.to_string()))
    })
}
