//! What users write: the kinds of policies, the references in them, and whether a document is well formed.
//!
//! Depends on the resource model only. Start at [`matrix`], the one table that decides what may stand where.

pub mod backend_ref;
pub mod check;
pub mod document;
pub mod matrix;
pub mod role;
pub mod target_kind;
pub mod target_ref;
