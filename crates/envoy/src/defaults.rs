//! What applies where no policy says otherwise: the defaults created with each mesh (`spec/dataplane.md` §2.5) and the
//! ones measured for multi-zone services (§11).

use std::time::Duration;

/// Towards other services.
pub(crate) mod outbound {
    use super::{Duration, minutes};

    /// Kuma's is 5 s. A lost zone does not refuse connections, it is silent, and each attempt waits this long; two seconds still
    /// are several round trips to the other side of the world.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
    /// To destinations outside of the mesh, which are nobody's zone.
    pub const PASSTHROUGH_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// Between pings on connections to other proxies, and how long an answer may take.
    pub const PING_INTERVAL: Duration = Duration::from_secs(1);
    pub const PING_TIMEOUT: Duration = Duration::from_secs(1);
    pub const IDLE_TIMEOUT: Duration = minutes(60);
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
    pub const STREAM_IDLE_TIMEOUT: Duration = minutes(30);

    /// Connections, pending requests, requests and retries, each. Kuma permits 3 retries at a time; when a zone is lost all
    /// requests under way are retried at the same moment, and all beyond the third would fail.
    pub const CIRCUIT_BREAKER_THRESHOLD: u32 = 1024;

    pub const TCP_CONNECT_ATTEMPTS: u32 = 5;
    pub const HTTP_RETRIES: u32 = 5;
    pub const PER_TRY_TIMEOUT: Duration = Duration::from_secs(16);
    pub const RETRY_BACK_OFF: Duration = Duration::from_millis(25);
    pub const RETRY_BACK_OFF_MAX: Duration = Duration::from_millis(250);
    pub const HTTP_RETRY_ON: &str = "gateway-error,connect-failure,refused-stream";
    pub const GRPC_RETRY_ON: &str =
        "cancelled,connect-failure,gateway-error,refused-stream,reset,resource-exhausted,unavailable";

    /// Leave a zone when less than half of it is healthy.
    pub const OVERPROVISIONING_FACTOR: u32 = 200;
    /// Behind a zone ingress Envoy balances per connection, so a connection must not live for ever (§3.4).
    pub const REQUESTS_PER_INGRESS_CONNECTION: u32 = 100;
}

/// From the listener of an inbound to the application.
pub(crate) mod inbound {
    use super::{Duration, minutes};

    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
    pub const IDLE_TIMEOUT: Duration = minutes(120);
    pub const STREAM_IDLE_TIMEOUT: Duration = minutes(60);
    /// How long a Permissive listener waits for a client that may never speak first, before it takes it for plaintext.
    pub const PROTOCOL_DETECTION_TIMEOUT: Duration = Duration::from_secs(1);
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}
