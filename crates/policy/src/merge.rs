//! Merging confs (`spec/policies.md` §1.7): JSON merge patch (RFC 7396) with two kinds of lists that do not simply
//! replace each other.
//!
//! Merging is associative, absent is not the same as empty, and there is no way to unset: null counts as absent.

use serde_json::{Map, Value};

use meshspan_model::policy::{PolicyKind, Routing};

/// Which lists of a conf do not replace each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRules {
    /// Names of fields, beside all that start with `append`, whose lists are concatenated, at any depth.
    pub appended: &'static [&'static str],
    /// Whether the list `rules` of the conf itself is merged by the `matches` of its items.
    pub rules_by_matches: bool,
}

impl ListRules {
    /// The rules of a policy kind.
    pub fn of(kind: PolicyKind) -> Self {
        let info = kind.info();
        Self {
            appended: info.appended,
            rules_by_matches: info.routing == Routing::ByMatches,
        }
    }

    fn appends(&self, field: &str) -> bool {
        field.starts_with("append") || self.appended.contains(&field)
    }
}

const RULES: &str = "rules";
const MATCHES: &str = "matches";
const DEFAULT: &str = "default";

/// Merges confs, the one of lowest precedence first; null if there are none.
pub fn merge<'a>(confs: impl IntoIterator<Item = &'a Value>, lists: ListRules) -> Value {
    confs
        .into_iter()
        .fold(Value::Null, |below, above| merge_two(below, above, lists))
}

/// Lays `above` over `below`.
pub fn merge_two(below: Value, above: &Value, lists: ListRules) -> Value {
    let (mut below, above) = match (below, above) {
        (below, Value::Null) => return below,
        (Value::Object(below), Value::Object(above)) => (below, above),
        (_, Value::Object(above)) => (Map::new(), above),
        (_, above) => return above.clone(),
    };
    for (field, value) in above {
        if field == RULES && lists.rules_by_matches {
            let rules = merge_rules(below.get(field), value, lists);
            below.insert(field.clone(), rules);
        } else {
            merge_field(&mut below, field, value, lists);
        }
    }
    Value::Object(below)
}

fn merge_field(below: &mut Map<String, Value>, field: &str, value: &Value, lists: ListRules) {
    match (below.get_mut(field), value) {
        (_, Value::Null) => {}
        (Some(Value::Array(list)), Value::Array(more)) if lists.appends(field) => list.extend(more.iter().cloned()),
        (Some(Value::Object(inner)), Value::Object(above)) => {
            for (field, value) in above {
                merge_field(inner, field, value, lists);
            }
        }
        (_, Value::Object(above)) => {
            let mut inner = Map::new();
            for (field, value) in above {
                merge_field(&mut inner, field, value, lists);
            }
            below.insert(field.to_owned(), Value::Object(inner));
        }
        (_, value) => {
            below.insert(field.to_owned(), value.clone());
        }
    }
}

/// Rules of higher precedence come first, since routes are tried in order; rules with equal matches become one, at the
/// place of the higher one, with their defaults merged.
fn merge_rules(below: Option<&Value>, above: &Value, lists: ListRules) -> Value {
    let mut merged: Vec<Value> = Vec::new();
    for rule in [Some(above), below]
        .into_iter()
        .flatten()
        .filter_map(Value::as_array)
        .flatten()
    {
        let twin = merged
            .iter_mut()
            .find(|earlier| earlier.get(MATCHES) == rule.get(MATCHES));
        match twin {
            Some(earlier) => lay_under(earlier, rule, lists),
            None => merged.push(merge_two(Value::Null, rule, without_rules(lists))),
        }
    }
    Value::Array(merged)
}

/// Fills in from a rule of lower precedence with the same matches.
fn lay_under(above: &mut Value, below: &Value, lists: ListRules) {
    let lists = without_rules(lists);
    let Some(object) = above.as_object_mut() else { return };
    let lower = merge_two(Value::Null, below.get(DEFAULT).unwrap_or(&Value::Null), lists);
    let default = match object.get(DEFAULT) {
        Some(higher) => merge_two(lower, higher, lists),
        None => lower,
    };
    if !default.is_null() {
        object.insert(DEFAULT.to_owned(), default);
    }
}

/// Only the list of the conf itself is merged by matches.
fn without_rules(lists: ListRules) -> ListRules {
    ListRules {
        rules_by_matches: false,
        ..lists
    }
}
