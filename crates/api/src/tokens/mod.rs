//! Tokens: issuing them (`spec/http-api.md` §2.1, `spec/zone-sync.md` §5.2) and, in [`trust`], what is needed to check
//! them. How a token looks is the matter of `meshspan-identity`.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{StatusCode, header};
use meshspan_identity::SigningKeyFamily;
use meshspan_identity::token::{
    IssueError, Lifespan, Signer, issue_dataplane_token, issue_user_token, issue_zone_token,
};
use meshspan_model::Violations;
use serde::de::DeserializeOwned;

use crate::access::{self, Grant};
use crate::body;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::ApiState;

mod request;
pub mod trust;

use request::{DataplaneTokenRequest, UserTokenRequest, ZoneTokenRequest};

/// All paths of this module.
pub(crate) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/tokens/dataplane", post(dataplane_token))
        .route("/tokens/zone", post(zone_token))
        .route("/tokens/user", post(user_token))
}

async fn dataplane_token(State(state): State<ApiState>, caller: Caller, body: Body) -> Result<Response, ApiError> {
    let settings = &state.settings;
    require(
        settings.issuers.dataplane,
        &settings.access.generate_dataplane_token,
        &caller,
        "dataplane",
    )?;
    let Some(request) = read::<DataplaneTokenRequest>(body).await? else {
        return Ok(malformed());
    };
    let (claims, valid_for) = request
        .into_claims()
        .map_err(|violations| ApiError::invalid_request(&violations))?;
    let family = SigningKeyFamily::Dataplane { mesh: &claims.mesh };
    sign(&state, &family, valid_for, |signer, lifespan| {
        issue_dataplane_token(signer, &claims, lifespan)
    })
    .await
}

async fn zone_token(State(state): State<ApiState>, caller: Caller, body: Body) -> Result<Response, ApiError> {
    let settings = &state.settings;
    require(
        settings.issuers.zone,
        &settings.access.generate_zone_token,
        &caller,
        "zone",
    )?;
    let Some(request) = read::<ZoneTokenRequest>(body).await? else {
        return Ok(malformed());
    };
    let (claims, valid_for) = request
        .into_claims()
        .map_err(|violations| ApiError::invalid_request(&violations))?;
    sign(&state, &SigningKeyFamily::Zone, valid_for, |signer, lifespan| {
        issue_zone_token(signer, &claims, lifespan)
    })
    .await
}

async fn user_token(State(state): State<ApiState>, caller: Caller, body: Body) -> Result<Response, ApiError> {
    let settings = &state.settings;
    require(
        settings.issuers.user,
        &settings.access.generate_user_token,
        &caller,
        "user",
    )?;
    let Some(request) = read::<UserTokenRequest>(body).await? else {
        return Ok(malformed());
    };
    let (claims, valid_for) = request
        .into_claims()
        .map_err(|violations| ApiError::invalid_request(&violations))?;
    sign(&state, &SigningKeyFamily::User, valid_for, |signer, lifespan| {
        issue_user_token(signer, &claims, lifespan)
    })
    .await
}

fn require(enabled: bool, grant: &Grant, caller: &Caller, sort: &str) -> Result<(), ApiError> {
    if !enabled {
        let detail = format!("issuing {sort} tokens is disabled here; sign them offline with your own key");
        return Err(ApiError::disabled("Token issuing is disabled", detail));
    }
    access::require(grant, caller, &format!("generate {sort} tokens"))
}

/// The request; `None` if it is malformed.
async fn read<T: DeserializeOwned>(body: Body) -> Result<Option<T>, ApiError> {
    Ok(serde_json::from_slice(&body::read(body).await?).ok())
}

/// 400 without a body, as in the compatible API.
fn malformed() -> Response {
    StatusCode::BAD_REQUEST.into_response()
}

async fn sign(
    state: &ApiState,
    family: &SigningKeyFamily<'_>,
    valid_for: time::Duration,
    issue: impl FnOnce(&Signer<'_>, &Lifespan) -> Result<String, IssueError>,
) -> Result<Response, ApiError> {
    let key = trust::newest_key(&state.store.snapshot(), family);
    let key = key.map_err(|error| ApiError::internal("Could not issue a token", &error))?;
    let Some((serial, key)) = key else {
        return Err(ApiError::no_signing_key(missing_key(state, family)));
    };
    let kid = serial.to_string();
    let signer = Signer { kid: &kid, key: &key };
    match issue(&signer, &Lifespan::new(state.now(), valid_for)) {
        Ok(token) => Ok(([(header::CONTENT_TYPE, "text/plain")], token).into_response()),
        Err(error @ (IssueError::Lifetime { .. } | IssueError::TooLong { .. })) => {
            let field = if matches!(error, IssueError::Lifetime { .. }) {
                "validFor"
            } else {
                ""
            };
            Err(ApiError::invalid_request(&Violations::one(field, error.to_string())))
        }
        Err(error @ IssueError::Sign(_)) => Err(ApiError::internal("Could not issue a token", &error)),
    }
}

fn missing_key(state: &ApiState, family: &SigningKeyFamily<'_>) -> String {
    let name = family.secret_name(1);
    match family {
        SigningKeyFamily::Dataplane { mesh } => {
            format!("there is no Secret \"{name}\" in mesh \"{mesh}\"; is there such a mesh?")
        }
        _ if state.settings.mode.is_federated() && matches!(family, SigningKeyFamily::Zone) => {
            "zone tokens are issued by the global control plane; ask there".to_owned()
        }
        _ => format!("there is no GlobalSecret \"{name}\"; restart the control plane to have it made"),
    }
}
