//! Tasks in order of priority, of each subject one.

use std::collections::BTreeMap;

/// How soon a task is taken up; those of one priority in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) enum Priority {
    /// Others wait for it: a CA, or what a stream that was sent nothing yet is to begin with. Quick.
    Prerequisite,
    /// A proxy without a certificate, which serves nobody until it has one.
    Start,
    /// A proxy whose certificate still holds.
    Renewal,
}

/// A queue that is bounded by its subjects: a newer task replaces an older one of the same subject.
pub(super) struct Queue<S, T> {
    tasks: BTreeMap<(Priority, u64), (S, T)>,
    places: BTreeMap<S, (Priority, u64)>,
    pushed: u64,
}

impl<S: Ord + Clone, T> Queue<S, T> {
    pub(super) fn new() -> Self {
        Self {
            tasks: BTreeMap::new(),
            places: BTreeMap::new(),
            pushed: 0,
        }
    }

    /// Adds a task, or puts it in the place of an older one of the same subject, unless it is more urgent than that.
    pub(super) fn push(&mut self, subject: S, priority: Priority, task: T) {
        self.pushed += 1;
        let mut place = (priority, self.pushed);
        if let Some(before) = self.places.get(&subject) {
            self.tasks.remove(before);
            place = place.min(*before);
        }
        self.places.insert(subject.clone(), place);
        self.tasks.insert(place, (subject, task));
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let (_, (subject, task)) = self.tasks.pop_first()?;
        self.places.remove(&subject);
        Some(task)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(queue: &mut Queue<&str, u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn the_more_urgent_come_first_and_of_each_subject_the_newest_task() {
        let mut queue = Queue::new();
        queue.push("a", Priority::Renewal, 1);
        queue.push("b", Priority::Renewal, 2);
        queue.push("c", Priority::Start, 3);
        queue.push("ca", Priority::Prerequisite, 4);
        queue.push("a", Priority::Renewal, 5);
        assert_eq!(all(&mut queue), [4, 3, 5, 2], "it keeps its place");
        queue.push("a", Priority::Renewal, 1);
        queue.push("b", Priority::Renewal, 2);
        queue.push("b", Priority::Start, 3);
        queue.push("b", Priority::Renewal, 4);
        assert_eq!(all(&mut queue), [4, 1], "somebody waits for it");
        assert!(queue.is_empty() && queue.places.is_empty());
    }
}
