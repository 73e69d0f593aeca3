//! Inbounds that lead Envoy to its own listeners.

use std::net::IpAddr;

use super::{Dataplane, Inbound};

impl Dataplane {
    /// Why inbounds reach no application, with field, value and remedy: where traffic is not intercepted Envoy listens on the address and port of
    /// an inbound itself, and an application that is looked for there is Envoy. A probe of it succeeds, so nothing else notices.
    /// With the place of each in the list.
    pub fn inbounds_that_lead_to_envoy(&self) -> Vec<(usize, String)> {
        if self.networking.transparent_proxying.is_some() {
            return Vec::new();
        }
        let inbounds = || self.networking.inbound.iter();
        let leads_to_envoy = |inbound: &Inbound| {
            if u16::try_from(inbound.port).is_err() {
                // Refused, and by another name.
                return false;
            }
            let (address, port) = (self.workload_address(inbound), inbound.workload_port());
            inbounds().any(|other| other.port == port && covers(self.inbound_address(other), address))
        };
        inbounds()
            .enumerate()
            .filter(|(_, inbound)| leads_to_envoy(inbound))
            .map(|(index, inbound)| {
                let problem = format!(
                    "networking.inbound[{index}] is not served: the application is looked for at {}:{}, where Envoy itself would listen, so traffic \
                     would go round in a circle: let the application listen on another address and name it in serviceAddress (for example \
                     127.0.0.1) or servicePort, or intercept traffic (`meshspan install transparent-proxy` and a transparentProxying section)",
                    self.workload_address(inbound),
                    inbound.workload_port()
                );
                (index, problem)
            })
            .collect()
    }

    fn workload_address<'a>(&'a self, inbound: &'a Inbound) -> &'a str {
        match inbound.service_address.as_str() {
            "" => self.inbound_address(inbound),
            address => address,
        }
    }
}

/// Whether a listener at `listener` takes connections to `address`.
fn covers(listener: &str, address: &str) -> bool {
    let is_unspecified = |text: &str| text.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
    listener == address || is_unspecified(listener)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn problems(networking: &str) -> Vec<String> {
        let networking: serde_json::Value = serde_json::from_str(networking).unwrap();
        let dataplane: Dataplane = serde_json::from_value(serde_json::json!({ "networking": networking })).unwrap();
        let found = dataplane.inbounds_that_lead_to_envoy();
        found.into_iter().map(|(_, problem)| problem).collect()
    }

    #[test]
    fn the_application_must_be_elsewhere() {
        let found = problems(
            r#"{"address": "10.0.0.1", "inbound": [{"port": 80, "serviceAddress": "127.0.0.1"}, {"port": 6379}]}"#,
        );
        assert!(
            matches!(found.as_slice(), [only] if only.starts_with("networking.inbound[1] is not served:") && only.contains("10.0.0.1:6379")),
            "{found:?}"
        );
        for itself in [
            r#"{"address": "10.0.0.1", "inbound": [{"port": 80, "serviceAddress": "10.0.0.1", "servicePort": 80}]}"#,
            r#"{"address": "10.0.0.1", "inbound": [{"port": 80, "address": "127.0.0.1", "serviceAddress": "127.0.0.1"}]}"#,
            r#"{"address": "0.0.0.0", "inbound": [{"port": 80, "serviceAddress": "127.0.0.1"}]}"#,
            r#"{"address": "10.0.0.1", "inbound": [{"port": 80, "servicePort": 81}, {"port": 81, "servicePort": 82}]}"#,
        ] {
            assert_eq!(problems(itself).len(), 1, "{itself}");
        }
        for elsewhere in [
            r#"{"address": "10.0.0.1", "inbound": [{"port": 80, "servicePort": 8080}]}"#,
            r#"{"address": "10.0.0.1", "inbound": [{"port": 80, "serviceAddress": "127.0.0.1"}]}"#,
            r#"{"address": "10.0.0.1", "inbound": [{"port": 80}], "transparentProxying": {"redirectPortInbound": 15006}}"#,
        ] {
            assert_eq!(problems(elsewhere), Vec::<String>::new(), "{elsewhere}");
        }
    }
}
