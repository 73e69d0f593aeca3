//! Checks that many fields share.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use crate::duration::GoDuration;
use crate::violation::Violations;

use super::decimal::Decimal;

/// A field must be set.
pub fn required(is_set: bool, path: String, violations: &mut Violations) {
    if !is_set {
        violations.add(path, "must be defined");
    }
}

/// A share must be 0 to 100.
pub fn percentage(value: Option<Decimal>, path: String, violations: &mut Violations) {
    if let Some(value) = value.filter(|value| !(0.0..=100.0).contains(&value.value())) {
        violations.add(path, format!("is {value}, must be 0 to 100"));
    }
}

/// A duration must be longer than nothing.
pub fn positive(value: Option<GoDuration>, path: String, violations: &mut Violations) {
    if value.is_some_and(|value| value.0 == Duration::ZERO) {
        violations.add(path, "is 0s, must be greater than 0");
    }
}

/// A number must not be less than `least`.
pub fn at_least<T: PartialOrd + Display>(value: Option<T>, least: T, path: String, violations: &mut Violations) {
    if let Some(value) = value.filter(|value| *value < least) {
        violations.add(path, format!("is {value}, must be at least {least}"));
    }
}

/// A number must not be more than `most`.
pub fn at_most<T: PartialOrd + Display>(value: Option<T>, most: T, path: String, violations: &mut Violations) {
    if let Some(value) = value.filter(|value| *value > most) {
        violations.add(path, format!("is {value}, must be at most {most}"));
    }
}

/// One of several fields must be set.
pub fn required_at_least_one(fields: &[(&str, bool)], path: &str, violations: &mut Violations) {
    if !fields.iter().any(|(_, is_set)| *is_set) {
        let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
        violations.add(path, format!("must have at least one defined: {}", names.join(", ")));
    }
}

/// Of the fields of an object that names by its type which one is meant, that one must be set and the others not. The
/// field of a type has its name, but for the case of the first letter.
pub fn only_field_of_type(kind: &str, fields: &[(&str, bool)], path: &str, violations: &mut Violations) {
    for (field, is_set) in fields {
        match (field.eq_ignore_ascii_case(kind), is_set) {
            (true, false) => violations.add(format!("{path}.{field}"), format!("must be defined with type {kind}")),
            (false, true) => violations.add(format!("{path}.{field}"), format!("must not be set with type {kind}")),
            _ => {}
        }
    }
}

/// A list must not be longer than `most`.
pub fn check_count(count: usize, most: usize, path: &str, violations: &mut Violations) {
    if count > most {
        violations.add(path, format!("has {count} items, must have no more than {most}"));
    }
}

/// A list must not have two items of one name; `names` are those of the items before. `what` says what is named.
pub fn check_unique<'a>(
    names: &mut BTreeSet<&'a str>,
    what: &str,
    name: &'a str,
    path: &str,
    violations: &mut Violations,
) {
    if !names.insert(name) {
        violations.add(path, format!("{what} \"{name}\" is named more than once"));
    }
}
