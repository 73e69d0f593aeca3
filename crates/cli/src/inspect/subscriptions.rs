//! What the connections of a proxy or zone say, as the cells of a table.

use meshspan_model::kinds::dataplane_insight::{DiscoverySubscription, ServiceStats};
use meshspan_model::kinds::zone_insight::KdsSubscription;
use time::OffsetDateTime;

use crate::age::age;

/// One connection, of either kind.
pub(super) struct Connection {
    connected: Option<OffsetDateTime>,
    updated: Option<OffsetDateTime>,
    total: ServiceStats,
}

impl From<&DiscoverySubscription> for Connection {
    fn from(subscription: &DiscoverySubscription) -> Self {
        Self {
            connected: subscription.connect_time,
            updated: subscription.status.last_update_time,
            total: subscription.status.total,
        }
    }
}

impl From<&KdsSubscription> for Connection {
    fn from(subscription: &KdsSubscription) -> Self {
        Self {
            connected: subscription.connect_time,
            updated: subscription.status.last_update_time,
            total: subscription.status.total,
        }
    }
}

/// The newest connection.
pub(super) fn newest<'a, S>(subscriptions: &'a [S]) -> Option<&'a S>
where
    Connection: From<&'a S>,
{
    subscriptions
        .iter()
        .max_by_key(|subscription| Connection::from(*subscription).connected)
}

/// The columns LAST CONNECTED AGO, LAST UPDATED AGO, TOTAL UPDATES, TOTAL ERRORS.
pub(super) fn cells<'a, S>(subscriptions: &'a [S], now: OffsetDateTime) -> [String; 4]
where
    Connection: From<&'a S>,
{
    let connections: Vec<Connection> = subscriptions.iter().map(Connection::from).collect();
    let sum = |count: fn(&ServiceStats) -> u64| connections.iter().map(|c| count(&c.total)).sum::<u64>().to_string();
    [
        age(now, connections.iter().filter_map(|c| c.connected).max()),
        age(now, connections.iter().filter_map(|c| c.updated).max()),
        sum(|total| total.responses_sent),
        sum(|total| total.responses_rejected),
    ]
}
