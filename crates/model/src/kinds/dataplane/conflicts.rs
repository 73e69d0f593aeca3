//! Listeners of one proxy that get into each other's way: Envoy takes the first, and the service of the other is answered
//! by the wrong application, or not at all.
//!
//! This is no part of what makes a Dataplane valid, since those of Kubernetes zones have an inbound for each Service, and
//! several Services may share a port. It is asked where Dataplanes are written, outside of Kubernetes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Dataplane, Inbound};
use crate::violation::Violations;

impl Dataplane {
    /// Checks that no two listeners of the proxy want the same address and port.
    ///
    /// # Errors
    /// Each listener that another one stands in the way of.
    pub fn check_conflicts(&self) -> Result<(), Violations> {
        let mut violations = Violations::new();
        let mut taken: BTreeMap<(String, u32), String> = BTreeMap::new();
        let redirect = self.check_redirection(&mut violations);
        for (index, inbound) in self.networking.inbound.iter().enumerate() {
            let path = format!("networking.inbound[{index}]");
            let place = (self.occupied_address(inbound), inbound.port);
            refuse_redirect_port(&redirect, inbound.port, &path, &mut violations);
            claim(&mut taken, place, path, &mut violations);
        }
        // Beside interception outbounds are ignored.
        if self.networking.transparent_proxying.is_none() {
            for (index, outbound) in self.networking.outbound.iter().enumerate() {
                let place = (canonical(outbound.listen_address()), outbound.port);
                claim(
                    &mut taken,
                    place,
                    format!("networking.outbound[{index}]"),
                    &mut violations,
                );
            }
        }
        violations.into_result()
    }

    /// Where others find an inbound: of one on all addresses it is that of the proxy.
    fn occupied_address(&self, inbound: &Inbound) -> String {
        let address = canonical(self.inbound_address(inbound));
        match address.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => canonical(&self.networking.address),
            _ => address,
        }
    }

    /// The ports to which traffic is redirected, with the fields that name them.
    fn check_redirection(&self, violations: &mut Violations) -> Vec<(u32, &'static str)> {
        let Some(settings) = &self.networking.transparent_proxying else {
            return Vec::new();
        };
        let (inbound, outbound) = (settings.redirect_port_inbound, settings.redirect_port_outbound);
        if inbound != 0 && inbound == outbound {
            violations.add(
                "networking.transparentProxying.redirectPortOutbound",
                format!("is {outbound} like redirectPortInbound, must be another port; 15001 and 15006 are usual"),
            );
        }
        let ports = [(inbound, "redirectPortInbound"), (outbound, "redirectPortOutbound")];
        ports.into_iter().filter(|(port, _)| *port != 0).collect()
    }
}

fn refuse_redirect_port(redirect: &[(u32, &str)], port: u32, path: &str, violations: &mut Violations) {
    if let Some((_, field)) = redirect.iter().find(|(taken, _)| *taken == port) {
        violations.add(
            format!("{path}.port"),
            format!("is {port} like networking.transparentProxying.{field}, must be another port"),
        );
    }
}

fn claim(taken: &mut BTreeMap<(String, u32), String>, place: (String, u32), path: String, violations: &mut Violations) {
    match taken.get(&place) {
        Some(first) => violations.add(
            format!("{path}.port"),
            format!(
                "is {} on {} like {first}: the proxy can listen there only once; change one of them",
                place.1, place.0
            ),
        ),
        None => {
            taken.insert(place, path);
        }
    }
}

/// One spelling of an IP address, and names in lower case.
fn canonical(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().to_string(),
        Err(_) => address.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use serde_json::{Value, json};

    use super::*;
    use crate::Spec;

    fn fields(networking: Value) -> Vec<String> {
        let mut networking = networking;
        networking["address"] = "10.0.0.1".into();
        let dataplane = Dataplane::from_value(&json!({ "networking": networking })).unwrap();
        match dataplane.check_conflicts() {
            Ok(()) => Vec::new(),
            Err(violations) => violations.iter().map(|violation| violation.field.clone()).collect(),
        }
    }

    fn inbound(address: &str, port: u32) -> Value {
        json!({"address": address, "port": port, "tags": {"kuma.io/service": "a"}})
    }

    fn outbound(address: &str, port: u32) -> Value {
        json!({"address": address, "port": port, "backendRef": {"kind": "MeshService", "name": "a", "port": 80}})
    }

    #[test]
    fn a_port_is_listened_on_once() {
        for (second, expected) in [
            (inbound("", 80), vec!["networking.inbound[1].port"]),
            (inbound("10.0.0.1", 80), vec!["networking.inbound[1].port"]),
            (inbound("::ffff:10.0.0.1", 80), vec!["networking.inbound[1].port"]),
            (inbound("0.0.0.0", 80), vec!["networking.inbound[1].port"]),
            (inbound("::", 80), vec!["networking.inbound[1].port"]),
            (inbound("10.0.0.2", 80), vec![]),
            (inbound("", 81), vec![]),
        ] {
            assert_eq!(
                fields(json!({"inbound": [inbound("", 80), second]})),
                expected,
                "{second}"
            );
        }
        for (outbounds, expected) in [
            (
                json!([outbound("", 80), outbound("127.0.0.1", 80)]),
                vec!["networking.outbound[1].port"],
            ),
            (json!([outbound("", 80), outbound("127.0.0.2", 80)]), vec![]),
            (json!([outbound("10.0.0.1", 80)]), vec!["networking.outbound[0].port"]),
            (json!([outbound("", 80)]), vec![]),
        ] {
            let networking = json!({"inbound": [inbound("", 80)], "outbound": outbounds});
            assert_eq!(fields(networking), expected, "{outbounds}");
        }
    }

    #[test]
    fn ports_of_interception_are_its_own() {
        let intercepted = |inbound_port: u32, outbound_port: u32, port: u32| {
            json!({
                "inbound": [inbound("", port)],
                "outbound": [outbound("", 1), outbound("", 1)],
                "transparentProxying": {"redirectPortInbound": inbound_port, "redirectPortOutbound": outbound_port},
            })
        };
        assert_eq!(fields(intercepted(15006, 15001, 80)), [""; 0]);
        for port in [15001, 15006] {
            assert_eq!(fields(intercepted(15006, 15001, port)), ["networking.inbound[0].port"]);
        }
        assert_eq!(
            fields(intercepted(15006, 15006, 80)),
            ["networking.transparentProxying.redirectPortOutbound"]
        );
    }
}
