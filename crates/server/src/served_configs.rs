//! Says to the API what proxies are served.

use meshspan_api::{ProxyConfigError, ProxyConfigFuture, ProxyConfigs, ProxyProblemsFuture, XdsResources};
use meshspan_policy::Mode;

use crate::engine::{Engine, Inspection};
use crate::proxy_key::ProxyKey;

/// What the engine serves, as JSON.
pub(crate) struct ServedConfigs(Engine);

impl ServedConfigs {
    pub(crate) fn new(engine: Engine) -> Self {
        Self(engine)
    }
}

impl ProxyConfigs for ServedConfigs {
    fn resources(&self, mesh: String, name: String, shadow: bool) -> ProxyConfigFuture {
        let engine = self.0.clone();
        let mode = if shadow { Mode::WithShadow } else { Mode::Live };
        Box::pin(async move {
            let served = engine.inspect(ProxyKey::sidecar(mesh, name), mode).await;
            let Some(served) = served.map_err(|_| ProxyConfigError::Stopped)? else {
                return Ok(None);
            };
            // A large mesh takes a while, in which other answers must not wait.
            match tokio::task::spawn_blocking(move || projected(&served)).await {
                Ok(resources) => resources.map(Some),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => Err(ProxyConfigError::Stopped),
            }
        })
    }

    fn problems(&self) -> ProxyProblemsFuture {
        let engine = self.0.clone();
        Box::pin(async move { engine.problems().await.map_err(|_| ProxyConfigError::Stopped) })
    }
}

fn projected(served: &Inspection) -> Result<XdsResources, ProxyConfigError> {
    let mut resources = XdsResources::new();
    for encoded in served.resources() {
        let json = encoded
            .to_json()
            .map_err(|error| ProxyConfigError::Projection(format!("{}: {error}", encoded.name)))?;
        resources
            .entry(encoded.resource_type.type_url())
            .or_default()
            .insert(encoded.name.to_string(), json);
    }
    Ok(resources)
}
