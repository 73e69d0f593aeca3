//! The smallest set that fails: leaves out what is not needed for that, whole documents first, then parts of them.

use serde_json::Value;

use crate::set::{Rejection, Set, verify};

/// Tries before a set counts as small enough.
const TRIES: usize = 300;

/// A smaller set that Envoy rejects, and what it says then.
pub fn shrink(set: Set, rejection: Rejection) -> (Set, Rejection) {
    let mut smallest = Smallest {
        set,
        rejection,
        tries: 0,
    };
    smallest.documents();
    smallest.parts();
    (smallest.set, smallest.rejection)
}

struct Smallest {
    set: Set,
    rejection: Rejection,
    tries: usize,
}

impl Smallest {
    /// Takes `candidate` if it fails as well.
    fn try_it(&mut self, candidate: Set) -> bool {
        if self.tries == TRIES {
            return false;
        }
        self.tries += 1;
        match verify(&candidate) {
            Ok(()) => false,
            Err(rejection) => {
                self.set = candidate;
                self.rejection = rejection;
                true
            }
        }
    }

    fn documents(&mut self) {
        let mut size = self.set.len();
        while size > 0 {
            let mut start = 0;
            while start < self.set.len() {
                let mut candidate = self.set.clone();
                candidate.drain(start..(start + size).min(self.set.len()));
                if !self.try_it(candidate) {
                    start += size;
                }
            }
            size /= 2;
        }
    }

    fn parts(&mut self) {
        let mut index = 0;
        while index < self.set.len() {
            let mut pointers = Vec::new();
            collect(&self.set[index], "", &mut pointers);
            let smaller = pointers.into_iter().any(|pointer| {
                let mut candidate = self.set.clone();
                remove(&mut candidate[index], &pointer);
                self.try_it(candidate)
            });
            if !smaller {
                index += 1;
            }
        }
    }
}

/// Pointers to all that may be left out of a document, outermost first.
fn collect(value: &Value, pointer: &str, pointers: &mut Vec<String>) {
    let children: Vec<_> = match value {
        Value::Object(fields) => fields.iter().map(|(key, child)| (escape(key), child)).collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, child)| (index.to_string(), child))
            .collect(),
        _ => return,
    };
    pointers.extend(children.iter().map(|(key, _)| format!("{pointer}/{key}")));
    for (key, child) in children {
        collect(child, &format!("{pointer}/{key}"), pointers);
    }
}

fn remove(document: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return;
    };
    match document.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.shift_remove(&key.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            items.remove(key.parse().unwrap());
        }
        _ => {}
    }
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
