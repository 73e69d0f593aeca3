//! What policies mean: which of them apply to a proxy and what they say together, and the reverse
//! (`spec/http-api.md` §2.2, §2.4, §3.6). Computed from the store on each read, on the global as in a zone.

mod mesh_policies;

pub(crate) use mesh_policies::MeshPolicies;
