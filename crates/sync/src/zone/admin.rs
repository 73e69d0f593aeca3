//! Questions of the global about Envoys of this zone (`spec/zone-sync.md` §1.8).

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, ready};

use crate::proto::kds::{
    AdminOutputFormat, ClustersRequest, ClustersResponse, StatsRequest, StatsResponse, XdsConfigRequest,
    XdsConfigResponse, clusters_response, stats_response, xds_config_response,
};

/// Limit of one answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Form of statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminFormat {
    /// As Envoy prints it.
    Text,
    /// JSON.
    Json,
}

/// What is asked about one proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminQuestion {
    /// `/config_dump`, with endpoints if asked for.
    Config {
        /// With endpoints.
        include_eds: bool,
    },
    /// `/stats`.
    Stats(AdminFormat),
    /// `/clusters`.
    Clusters(AdminFormat),
}

/// Asks Envoys of this zone; the server implements it.
pub trait EnvoyAdmin: Send + Sync {
    /// Answers one question about the proxy `name` of `mesh` (empty for zone proxies); `resource_type` is `Dataplane`,
    /// `ZoneIngress` or `ZoneEgress`. The error is shown to the one who asked.
    fn answer(
        &self,
        question: AdminQuestion,
        resource_type: String,
        mesh: String,
        name: String,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>>;
}

/// Answers that nothing can be asked.
#[derive(Clone, Copy, Debug)]
pub struct Unavailable;

impl EnvoyAdmin for Unavailable {
    fn answer(
        &self,
        _question: AdminQuestion,
        resource_type: String,
        _mesh: String,
        name: String,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        ready(Err(format!(
            "this zone control plane cannot ask the Envoy of {resource_type} {name}"
        )))
        .boxed()
    }
}

/// A pair of question and answer messages of one of the three streams.
pub(super) trait Exchange: Send + 'static {
    /// The answer message.
    type Answer: Send + 'static;

    /// Asks, and wraps the outcome.
    fn answer(self, admin: &dyn EnvoyAdmin) -> BoxFuture<'static, Self::Answer>;
}

fn format(number: i32) -> AdminFormat {
    match AdminOutputFormat::try_from(number) {
        Ok(AdminOutputFormat::Json) => AdminFormat::Json,
        _ => AdminFormat::Text,
    }
}

async fn limited(answer: BoxFuture<'static, Result<Vec<u8>, String>>) -> Result<Vec<u8>, String> {
    tokio::time::timeout(LIMIT, answer)
        .await
        .unwrap_or_else(|_| Err(format!("Envoy did not answer within {LIMIT:?}")))
}

impl Exchange for XdsConfigRequest {
    type Answer = XdsConfigResponse;

    fn answer(self, admin: &dyn EnvoyAdmin) -> BoxFuture<'static, XdsConfigResponse> {
        use xds_config_response::Result as Outcome;
        let question = AdminQuestion::Config {
            include_eds: self.include_eds,
        };
        let answer = limited(admin.answer(question, self.resource_type, self.resource_mesh, self.resource_name));
        async move {
            XdsConfigResponse {
                request_id: self.request_id,
                result: Some(answer.await.map_or_else(Outcome::Error, Outcome::Config)),
            }
        }
        .boxed()
    }
}

impl Exchange for StatsRequest {
    type Answer = StatsResponse;

    fn answer(self, admin: &dyn EnvoyAdmin) -> BoxFuture<'static, StatsResponse> {
        use stats_response::Result as Outcome;
        let answer = limited(admin.answer(
            AdminQuestion::Stats(format(self.format)),
            self.resource_type,
            self.resource_mesh,
            self.resource_name,
        ));
        async move {
            StatsResponse {
                request_id: self.request_id,
                result: Some(answer.await.map_or_else(Outcome::Error, Outcome::Stats)),
            }
        }
        .boxed()
    }
}

impl Exchange for ClustersRequest {
    type Answer = ClustersResponse;

    fn answer(self, admin: &dyn EnvoyAdmin) -> BoxFuture<'static, ClustersResponse> {
        use clusters_response::Result as Outcome;
        let answer = limited(admin.answer(
            AdminQuestion::Clusters(format(self.format)),
            self.resource_type,
            self.resource_mesh,
            self.resource_name,
        ));
        async move {
            ClustersResponse {
                request_id: self.request_id,
                result: Some(answer.await.map_or_else(Outcome::Error, Outcome::Clusters)),
            }
        }
        .boxed()
    }
}
