//! DELETE of one resource and of all that it owns.

use axum::response::Response;
use meshspan_model::{Kind, Violations};
use meshspan_store::{StoreError, Write};
use serde_json::json;

use super::put::ATTEMPTS;
use super::{meta, permission};
use crate::caller::Caller;
use crate::error::{ApiError, COULD_NOT_DELETE};
use crate::path::Target;
use crate::response;
use crate::rules::{self, Context};
use crate::state::ApiState;

pub(super) async fn delete(
    kind: Kind,
    state: &ApiState,
    caller: &Caller,
    target: &Target,
) -> Result<Response, ApiError> {
    permission::require_writable(kind, &state.settings)?;
    permission::require_writer(caller, &state.settings)?;
    state.settings.access.require_kind(kind, caller)?;
    let key = target.key(kind);
    let _turn = state.write_turns.take(&key).await;
    let mut attempts = 1;
    loop {
        let snapshot = state.store.snapshot();
        let stored = snapshot
            .get(&key)
            .ok_or_else(|| ApiError::not_found(COULD_NOT_DELETE))?;
        let mut violations = Violations::new();
        meta::check_owner(&stored.resource, &state.settings, &mut violations);
        let context = Context {
            settings: &state.settings,
            snapshot: &snapshot,
            now: state.now(),
        };
        violations
            .into_result()
            .and_then(|()| rules::before_delete(&context, &stored.resource))
            .map_err(|violations| ApiError::invalid(COULD_NOT_DELETE, &violations))?;
        let warnings = rules::warnings_of_delete(&context, &key);
        let write = Write::Delete {
            key: key.clone(),
            expected: Some(stored.spec_version),
        };
        match state.store.apply(vec![write]).await {
            Ok(_) if warnings.is_empty() => return Ok(response::ok(&json!({}))),
            Ok(_) => return Ok(response::ok(&json!({ "warnings": warnings }))),
            Err(StoreError::Conflict { .. }) if attempts < ATTEMPTS => attempts += 1,
            Err(error) => return Err(ApiError::store(COULD_NOT_DELETE, error)),
        }
    }
}
