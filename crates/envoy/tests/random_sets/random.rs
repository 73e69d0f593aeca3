//! Random choices from a seed: the same seed makes the same choices on every machine and in every release.

use serde_json::{Map, Value};

/// Makes a random value.
pub type Make = fn(&mut Random) -> Value;

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 on, less than `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    /// A number from `least` to `most`.
    pub fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.below(most - least + 1)
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Some of `of`, in random order; at least `least`.
    pub fn several<T: Clone>(&mut self, of: &[T], least: usize) -> Vec<T> {
        let mut left = of.to_vec();
        let count = self.between(least, of.len());
        (0..count).map(|_| left.remove(self.below(left.len()))).collect()
    }

    /// One of these values.
    pub fn one_of<T: Clone + Into<Value>>(&mut self, of: &[T]) -> Value {
        self.pick(of).clone().into()
    }

    /// An array of `least` to `most` items.
    pub fn list(&mut self, least: usize, most: usize, make: Make) -> Value {
        (0..self.between(least, most)).map(|_| make(self)).collect()
    }

    /// An object with any of these fields.
    pub fn maybe(&mut self, fields: &[(&str, Make)]) -> Value {
        self.fields(fields, 0)
    }

    /// An object with at least one of these fields.
    pub fn some(&mut self, fields: &[(&str, Make)]) -> Value {
        self.fields(fields, 1)
    }

    fn fields(&mut self, fields: &[(&str, Make)], least: usize) -> Value {
        let chosen = self.several(fields, least);
        chosen
            .into_iter()
            .map(|(name, make)| (name.to_owned(), make(self)))
            .collect::<Map<_, _>>()
            .into()
    }
}
