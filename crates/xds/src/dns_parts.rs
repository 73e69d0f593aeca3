//! What an agent has of the DNS records, in a few bytes: names fall into parts by their hash, and each part has a digest of its
//! records. An agent that comes back says its digests and is sent the parts that differ.

use std::net::IpAddr;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Number of parts.
pub const PARTS: usize = 256;

/// The part to which a name belongs; the name in lower case, without trailing dot.
pub fn part_of(name: &str) -> u32 {
    u32::from(xxh3_64(name.as_bytes()).to_le_bytes()[0])
}

/// One digest for each part; the order of records does not matter.
pub fn digests<'a>(records: impl Iterator<Item = (&'a str, &'a [IpAddr])>) -> Vec<u64> {
    let mut digests = vec![0_u64; PARTS];
    for (name, addresses) in records {
        let part = usize::try_from(part_of(name)).ok();
        if let Some(digest) = part.and_then(|part| digests.get_mut(part)) {
            // A sum, since equal records never meet: names differ.
            *digest = digest.wrapping_add(digest_of(name, addresses));
        }
    }
    digests
}

fn digest_of(name: &str, addresses: &[IpAddr]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(name.as_bytes());
    for address in addresses {
        // The separator tells apart what would be equal bytes.
        match address {
            IpAddr::V4(address) => {
                hash.update(&[0, 4]);
                hash.update(&address.octets());
            }
            IpAddr::V6(address) => {
                hash.update(&[0, 6]);
                hash.update(&address.octets());
            }
        }
    }
    hash.digest()
}

/// The parts in which `theirs` differs from `ours`; `None` if theirs are none.
pub fn different(ours: &[u64], theirs: &[u64]) -> Option<Vec<u32>> {
    if theirs.len() != ours.len() {
        return None;
    }
    let parts = (0_u32..).zip(ours.iter().zip(theirs));
    Some(
        parts
            .filter(|(_, (ours, theirs))| ours != theirs)
            .map(|(part, _)| part)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(records: &[(&str, &[IpAddr])]) -> Vec<u64> {
        digests(records.iter().copied())
    }

    #[test]
    fn a_change_shows_in_its_part_alone() {
        let (one, two) = (IpAddr::from([243, 0, 0, 1]), IpAddr::from([243, 0, 0, 2]));
        let before = of(&[("a.mesh", &[one]), ("b.mesh", &[two])]);
        assert_eq!(
            different(&before, &of(&[("b.mesh", &[two]), ("a.mesh", &[one])])),
            Some(vec![])
        );
        for changed in [
            of(&[("a.mesh", &[one]), ("b.mesh", &[one])]),
            of(&[("a.mesh", &[one]), ("b.mesh", &[two, one])]),
            of(&[("a.mesh", &[one]), ("b.mesh", &[])]),
            of(&[("a.mesh", &[one])]),
        ] {
            assert_eq!(different(&before, &changed), Some(vec![part_of("b.mesh")]));
        }
        assert_eq!(different(&before, &[]), None);
        assert_eq!(different(&before, &[1, 2, 3]), None, "of another version");
    }
}
