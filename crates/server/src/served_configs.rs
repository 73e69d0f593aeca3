//! Tells the API what proxies are served.

use meshspan_api::{ProxyConfigError, ProxyConfigFuture, ProxyConfigs, ProxyProblemsFuture, XdsResources};
use meshspan_policy::Mode;

use crate::engine::Engine;
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
            let mut resources = XdsResources::new();
            for encoded in served {
                let json = encoded
                    .to_json()
                    .map_err(|error| ProxyConfigError::Projection(format!("{}: {error}", encoded.name)))?;
                resources
                    .entry(encoded.resource_type.type_url())
                    .or_default()
                    .insert(encoded.name.to_string(), json);
            }
            Ok(Some(resources))
        })
    }

    fn problems(&self) -> ProxyProblemsFuture {
        let engine = self.0.clone();
        Box::pin(async move { engine.problems().await.map_err(|_| ProxyConfigError::Stopped) })
    }
}
