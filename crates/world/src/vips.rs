//! Virtual IPs as a function of identity (DESIGN §3.5): a hash in the kind's range, the next free address on a
//! collision, and an address that a service already has is kept.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use meshspan_model::{ServiceIdentity, ServiceKind};
use xxhash_rust::xxh3::xxh3_64;

/// The range of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VipRange(IpNet);

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a CIDR: use for example 243.0.0.0/8")]
pub struct CidrError {
    text: String,
}

impl VipRange {
    /// Parses a CIDR; host bits are ignored.
    ///
    /// # Errors
    /// If the text is no CIDR.
    pub fn parse(text: &str) -> Result<Self, CidrError> {
        text.parse::<IpNet>()
            .map(|net| Self(net.trunc()))
            .map_err(|_| CidrError { text: text.to_owned() })
    }

    /// Number of addresses; network and broadcast addresses count, as nothing ever broadcasts here.
    pub fn size(&self) -> u128 {
        let bits = self.0.max_prefix_len() - self.0.prefix_len();
        1_u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX)
    }

    /// True if the two ranges share an address.
    pub fn overlaps(&self, other: &VipRange) -> bool {
        self.0.contains(&other.0) || other.0.contains(&self.0)
    }

    /// True if an address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Its first address.
    pub fn first(&self) -> IpAddr {
        self.0.network()
    }

    /// How many bits its addresses have in common.
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }

    fn at(&self, offset: u128) -> IpAddr {
        match self.0.network() {
            IpAddr::V4(base) => IpAddr::V4(Ipv4Addr::from_bits(
                base.to_bits().wrapping_add(u32::try_from(offset).unwrap_or(0)),
            )),
            IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from_bits(base.to_bits().wrapping_add(offset))),
        }
    }
}

impl std::fmt::Display for VipRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The addresses of one kind that are taken, over all meshes.
#[derive(Clone, Debug)]
struct VipPool {
    range: VipRange,
    by_address: BTreeMap<IpAddr, ServiceIdentity>,
    by_identity: BTreeMap<ServiceIdentity, IpAddr>,
    /// A service went without an address.
    exhausted: bool,
    /// An address became free after that.
    freed: bool,
}

impl VipPool {
    fn new(range: VipRange) -> Self {
        Self {
            range,
            by_address: BTreeMap::new(),
            by_identity: BTreeMap::new(),
            exhausted: false,
            freed: false,
        }
    }

    /// The address of a service: the one in its status unless another service holds it, else the one it got before,
    /// else a new one. `None` if the range is exhausted.
    fn assign(&mut self, identity: &ServiceIdentity, in_status: Option<IpAddr>) -> Option<IpAddr> {
        if let Some(address) = in_status
            && self.by_address.get(&address).is_none_or(|holder| holder == identity)
        {
            self.take(identity, address);
            return Some(address);
        }
        if let Some(address) = self.by_identity.get(identity) {
            return Some(*address);
        }
        let Some(address) = self.probe(identity) else {
            self.exhausted = true;
            return None;
        };
        self.take(identity, address);
        Some(address)
    }

    /// True if an address became free since a service went without one.
    fn take_freed(&mut self) -> bool {
        let freed = std::mem::take(&mut self.freed);
        self.exhausted &= !freed;
        freed
    }

    /// Frees the address of a service that is gone.
    fn release(&mut self, identity: &ServiceIdentity) {
        if let Some(address) = self.by_identity.remove(identity) {
            self.by_address.remove(&address);
            self.freed |= self.exhausted;
        }
    }

    fn take(&mut self, identity: &ServiceIdentity, address: IpAddr) {
        if self.by_identity.get(identity) == Some(&address) {
            return;
        }
        self.release(identity);
        self.by_address.insert(address, identity.clone());
        self.by_identity.insert(identity.clone(), address);
    }

    fn probe(&self, identity: &ServiceIdentity) -> Option<IpAddr> {
        let size = self.range.size();
        if self.by_address.len() as u128 >= size
            && (0..size).all(|offset| self.by_address.contains_key(&self.range.at(offset)))
        {
            return None;
        }
        let start = u128::from(hash(identity)) % size;
        let mut offset = start;
        loop {
            let address = self.range.at(offset);
            if !self.by_address.contains_key(&address) {
                return Some(address);
            }
            offset = (offset + 1) % size;
            if offset == start {
                return None;
            }
        }
    }
}

/// A pool for each kind of service.
#[derive(Clone, Debug)]
pub(crate) struct VipPools(BTreeMap<ServiceKind, VipPool>);

impl VipPools {
    pub(crate) fn new(range: impl Fn(ServiceKind) -> VipRange) -> Self {
        let pools = ServiceKind::ALL.iter().map(|kind| (*kind, VipPool::new(range(*kind))));
        Self(pools.collect())
    }

    /// The address of a service, see [`VipPool::assign`].
    pub(crate) fn assign(
        &mut self,
        kind: ServiceKind,
        identity: &ServiceIdentity,
        in_status: Option<IpAddr>,
    ) -> Option<IpAddr> {
        self.0.get_mut(&kind)?.assign(identity, in_status)
    }

    /// Frees the address of a service that is gone.
    pub(crate) fn release(&mut self, kind: ServiceKind, identity: &ServiceIdentity) {
        if let Some(pool) = self.0.get_mut(&kind) {
            pool.release(identity);
        }
    }

    /// True if an address became free since a service went without one: those without should ask again.
    pub(crate) fn has_freed(&self) -> bool {
        self.0.values().any(|pool| pool.freed)
    }

    /// The kinds of which that is so; the next call names those of which it is so from now on.
    pub(crate) fn take_freed(&mut self) -> Vec<ServiceKind> {
        let freed = self
            .0
            .iter_mut()
            .filter_map(|(kind, pool)| pool.take_freed().then_some(*kind));
        freed.collect()
    }
}

fn hash(identity: &ServiceIdentity) -> u64 {
    // NUL cannot be part of a name, so the concatenation is unambiguous.
    let ServiceIdentity {
        kind,
        mesh,
        zone,
        namespace,
        name,
    } = identity;
    xxh3_64([kind.name(), mesh, zone, namespace, name].join("\0").as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use meshspan_model::ServiceKind;
    use proptest::prelude::*;

    fn identity(name: &str) -> ServiceIdentity {
        ServiceIdentity {
            kind: ServiceKind::MeshMultiZoneService,
            mesh: "default".into(),
            zone: String::new(),
            namespace: String::new(),
            name: name.into(),
        }
    }

    #[test]
    fn an_address_never_moves() {
        // A changed value here changes every user's addresses: that is a breaking change.
        let mut pool = VipPool::new(VipRange::parse("243.0.0.0/8").unwrap());
        assert_eq!(
            pool.assign(&identity("redis"), None).unwrap().to_string(),
            pool.assign(&identity("redis"), None).unwrap().to_string()
        );
        let first = pool.assign(&identity("redis"), None);
        pool.release(&identity("redis"));
        assert_eq!(pool.assign(&identity("redis"), None), first);
    }

    #[test]
    fn an_address_in_status_is_kept_unless_taken() {
        let mut pool = VipPool::new(VipRange::parse("243.0.0.0/8").unwrap());
        let old = "10.0.0.1".parse().unwrap();
        assert_eq!(
            pool.assign(&identity("a"), Some(old)),
            Some(old),
            "also outside of the range"
        );
        assert_ne!(pool.assign(&identity("b"), Some(old)), Some(old));
    }

    #[test]
    fn a_small_range_is_used_up_to_the_last_address() {
        let mut pool = VipPool::new(VipRange::parse("10.0.0.0/30").unwrap());
        let taken: std::collections::BTreeSet<_> = (0..4)
            .map(|n| pool.assign(&identity(&n.to_string()), None).unwrap())
            .collect();
        assert_eq!(taken.len(), 4);
        assert_eq!(pool.assign(&identity("x"), None), None);
        pool.release(&identity("2"));
        assert!(pool.assign(&identity("x"), None).is_some());
    }

    #[test]
    fn ranges() {
        assert!(VipRange::parse("243.0.0.0").is_err());
        assert!(VipRange::parse("nonsense/8").is_err());
        let (a, b) = (
            VipRange::parse("241.0.0.0/8").unwrap(),
            VipRange::parse("241.1.0.0/16").unwrap(),
        );
        assert!(a.overlaps(&b) && b.overlaps(&a));
        assert!(!a.overlaps(&VipRange::parse("243.0.0.0/8").unwrap()));
        assert_eq!(VipRange::parse("fd00::/64").unwrap().size(), 1 << 64);
    }

    proptest! {
        #[test]
        fn addresses_are_unique_and_in_range(names in proptest::collection::btree_set("[a-z]{1,6}", 1..200)) {
            let range = VipRange::parse("10.1.0.0/24").unwrap();
            let mut pool = VipPool::new(range);
            let addresses: Vec<_> = names.iter().filter_map(|name| pool.assign(&identity(name), None)).collect();
            prop_assert_eq!(addresses.len(), names.len().min(256));
            let unique: std::collections::BTreeSet<_> = addresses.iter().collect();
            prop_assert_eq!(unique.len(), addresses.len());
            prop_assert!(addresses.iter().all(|address| range.0.contains(address)));
        }
    }
}
