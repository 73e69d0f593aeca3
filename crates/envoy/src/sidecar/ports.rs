//! The inbounds of a Dataplane in the form that Envoy needs: addresses parsed, names unique.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use meshspan_model::kinds::dataplane::{Dataplane, Inbound};
use meshspan_world::view::Protocol;

/// One inbound.
#[derive(Debug)]
pub(crate) struct Port {
    /// Its place in the Dataplane.
    pub index: usize,
    /// Its name, else its port.
    pub section: String,
    pub listen: IpAddr,
    pub port: u32,
    pub app: IpAddr,
    pub app_port: u32,
    pub protocol: Protocol,
}

/// The inbounds that can be served, also `Ignored` ones, and what is wrong with the others.
pub(crate) fn ports(dataplane: &Dataplane) -> (Vec<Port>, Vec<String>) {
    let mut ports: Vec<Port> = Vec::new();
    let mut problems = Vec::new();
    let mut sections = BTreeSet::new();
    let circles: BTreeMap<usize, String> = dataplane.inbounds_that_lead_to_envoy().into_iter().collect();
    for (index, inbound) in dataplane.networking.inbound.iter().enumerate() {
        if let Some(problem) = circles.get(&index) {
            problems.push(problem.clone());
            continue;
        }
        match port(dataplane, index, inbound) {
            Err((field, value)) => problems.push(format!(
                "networking.inbound[{index}] is not served: {field} is \"{value}\"; \
                 set an IP address (in networking.address also a name that resolves on the control plane's host)"
            )),
            Ok(port)
                if ports
                    .iter()
                    .any(|other| (other.listen, other.port) == (port.listen, port.port)) =>
            {
                problems.push(format!(
                    "networking.inbound[{index}] is not served: another inbound listens on {} port {}; \
                     give it another port",
                    port.listen, port.port
                ));
            }
            Ok(mut port) => {
                if !sections.insert(port.section.clone()) {
                    port.section = format!("{}-{}", port.section, port.port);
                    problems.push(format!(
                        "networking.inbound[{index}].name is \"{}\" like another inbound's; \
                         it is called {} in Envoy, give it a name of its own",
                        inbound.name, port.section
                    ));
                    sections.insert(port.section.clone());
                }
                ports.push(port);
            }
        }
    }
    (ports, problems)
}

/// The inbound, or the field whose value is no IP address.
fn port<'a>(dataplane: &'a Dataplane, index: usize, inbound: &'a Inbound) -> Result<Port, (&'static str, &'a str)> {
    let ip = |field: &'static str, text: &'a str| text.parse::<IpAddr>().map_err(|_| (field, text));
    let listen = ip("its address", dataplane.inbound_address(inbound))?;
    let app = match inbound.service_address.as_str() {
        "" => listen,
        address => ip("serviceAddress", address)?,
    };
    Ok(Port {
        index,
        section: inbound.section(),
        listen,
        port: inbound.port,
        app,
        app_port: inbound.workload_port(),
        protocol: Protocol::parse(inbound.protocol()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use meshspan_model::kinds::dataplane::TransparentProxying;

    fn dataplane(address: &str, inbounds: &[(&str, u32)]) -> Dataplane {
        let mut dataplane = Dataplane::default();
        dataplane.networking.address = address.to_owned();
        dataplane.networking.transparent_proxying = Some(TransparentProxying::default());
        dataplane.networking.inbound = inbounds
            .iter()
            .map(|(name, port)| Inbound {
                name: (*name).to_owned(),
                port: *port,
                ..Default::default()
            })
            .collect();
        dataplane
    }

    #[test]
    fn one_bad_inbound_leaves_the_others() {
        let mut mixed = dataplane("10.0.0.1", &[("", 80), ("", 81), ("", 80)]);
        mixed.networking.inbound[1].service_address = "localhost".to_owned();
        let (ports, problems) = ports(&mixed);
        assert_eq!(
            ports.iter().map(|port| port.section.as_str()).collect::<Vec<_>>(),
            ["80"]
        );
        assert!(
            problems[0].contains("inbound[1]") && problems[0].contains("localhost"),
            "{problems:?}"
        );
        assert!(
            problems[1].contains("inbound[2]") && problems[1].contains("port 80"),
            "{problems:?}"
        );
    }

    #[test]
    fn what_would_lead_envoy_to_itself_is_not_served() {
        let mut bare = dataplane("10.0.0.1", &[("", 80), ("", 81)]);
        bare.networking.transparent_proxying = None;
        bare.networking.inbound[1].service_address = "127.0.0.1".to_owned();
        let (ports, problems) = ports(&bare);
        assert_eq!(ports.iter().map(|port| port.index).collect::<Vec<_>>(), [1]);
        assert!(
            problems.len() == 1 && problems[0].starts_with("networking.inbound[0] is not served"),
            "{problems:?}"
        );
    }

    #[test]
    fn equal_names_are_told_apart() {
        let (ports, problems) = ports(&dataplane("::1", &[("http", 80), ("http", 81)]));
        assert_eq!(
            ports.iter().map(|port| port.section.as_str()).collect::<Vec<_>>(),
            ["http", "http-81"]
        );
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn the_application_is_where_the_inbound_is_unless_said_otherwise() {
        let mut moved = dataplane("10.0.0.1", &[("", 80), ("", 81)]);
        moved.networking.inbound[1].service_address = "127.0.0.1".to_owned();
        moved.networking.inbound[1].service_port = 8081;
        let (ports, _) = ports(&moved);
        let apps: Vec<_> = ports.iter().map(|port| (port.app.to_string(), port.app_port)).collect();
        assert_eq!(apps, [("10.0.0.1".to_owned(), 80), ("127.0.0.1".to_owned(), 8081)]);
    }
}
