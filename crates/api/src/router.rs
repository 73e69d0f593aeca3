//! All paths of the API.

use axum::Router;
use axum::extract::State;
use axum::middleware::{from_fn, from_fn_with_state, map_response_with_state};
use axum::response::Response;
use http::{HeaderValue, header};
use meshspan_model::Kind;

use crate::negotiation::{json_body, json_only, no_such_path, no_such_verb};
use crate::state::ApiState;
use crate::{authentication, cors, insights, inspect, resources, system, tokens};

/// The API as a service.
///
/// Whoever serves it adds [`ConnectInfo`](axum::extract::ConnectInfo) with the peer's `SocketAddr` to each request,
/// without which nobody is taken for a local administrator, and on TLS connections
/// [`ConnectionScheme::Https`](crate::ConnectionScheme).
pub fn router(state: ApiState) -> Router {
    let kinds = Kind::ALL.iter().copied().filter(|kind| kind.info().in_api);
    let json = kinds
        .fold(Router::new(), |router, kind| router.merge(resources::routes(kind)))
        .merge(insights::routes())
        .merge(inspect::routes())
        .merge(system::routes())
        .route_layer(from_fn(json_only));
    let text = tokens::routes().route_layer(from_fn(json_body));
    let binary = system::backup::routes();
    let api = json.merge(text).merge(binary);
    let based = match state.settings.base_path.trim_matches('/') {
        "" => api,
        // Without the slash the index would be missing, with it the rest.
        path => Router::new()
            .route(&format!("/{path}/"), system::index_route())
            .nest(&format!("/{path}"), api),
    };
    based
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_verb)
        .layer(from_fn_with_state(state.clone(), authentication::authenticate))
        .layer(map_response_with_state(state.clone(), say_who_answers))
        // Outermost: a browser asks for permission before it shows a token.
        .layer(from_fn_with_state(state.clone(), cors::cross_origin))
        .with_state(state)
}

/// The index keeps the product that compatible clients look for; who it really is stands in the header.
async fn say_who_answers(State(state): State<ApiState>, mut response: Response) -> Response {
    let (product, version) = (&state.settings.product, &state.settings.version);
    let name = format!(
        "Meshspan/{} (compatible with {product} {version})",
        env!("CARGO_PKG_VERSION")
    );
    if let Ok(name) = HeaderValue::try_from(name) {
        response.headers_mut().entry(header::SERVER).or_insert(name);
    }
    response
}
