//! Which destination of a proxy a request is about: a service and one of its ports.

use std::sync::Arc;

use meshspan_model::kri::Kri;
use meshspan_model::{Kind, Resource, ServiceIdentity, ServiceKind};

use super::inspected::Inspected;
use super::policies::parse_kri;
use crate::error::{ApiError, COULD_NOT_RETRIEVE};

/// A port of a service.
pub(super) struct Outbound<'a> {
    /// The service, in every control plane.
    pub(super) service: &'a ServiceIdentity,
    /// Its resource here.
    pub(super) resource: &'a Resource,
    /// The port by name, else number.
    pub(super) section: String,
    /// The port.
    pub(super) port: u32,
}

impl Outbound<'_> {
    /// The KRI of the port.
    pub(super) fn kri(&self) -> Option<String> {
        Kri::of(self.resource, &self.section).map(|kri| kri.to_string())
    }
}

impl Inspected<'_> {
    /// The outbound of a KRI with the port as section, which may be left out where there is only one.
    ///
    /// # Errors
    /// 400 if it is no KRI or names no port of several; 404 if there is no such service or port.
    pub(super) fn outbound(&self, text: &str) -> Result<Outbound<'_>, ApiError> {
        let kri = parse_kri(text)?;
        let section = (!kri.section.is_empty()).then_some(kri.section.as_str());
        let mut found: Vec<_> = self
            .services(&kri)
            .flat_map(|(service, resource)| self.ports(service, resource, section))
            .collect();
        match (found.pop(), found.as_slice()) {
            (Some(only), []) => Ok(only),
            (Some(_), _) => Err(ApiError::bad_request(format!(
                "\"{text}\" has several ports; put the name or number of one at the end"
            ))),
            (None, _) => Err(ApiError::not_found(COULD_NOT_RETRIEVE)),
        }
    }

    /// The outbounds to services of that name, in every zone, or of that KRI.
    ///
    /// # Errors
    /// 400 if there are none, with what there is instead.
    pub(super) fn outbounds(
        &self,
        name: &str,
        kind: Option<&str>,
        port: Option<&str>,
    ) -> Result<Vec<Outbound<'_>>, ApiError> {
        let invalid = |field, reason| ApiError::bad_query("Invalid destination", field, reason);
        let kind = kind
            .map(|kind| {
                let service = Kind::from_argument(kind).and_then(Kind::service);
                service.ok_or_else(|| invalid("kind", format!("\"{kind}\" is no kind of service")))
            })
            .transpose()?;
        let is_meant = |resource: &Resource| resource.name == name || resource.display_name() == name;
        let mut services: Vec<_> = match name.starts_with("kri_") {
            true => self.services(&parse_kri(name)?).collect(),
            false => self
                .mesh
                .destinations()
                .iter()
                .filter(|(_, resource)| is_meant(resource))
                .collect(),
        };
        services.retain(|(service, _)| kind.is_none_or(|kind| service.kind == kind));
        if services.is_empty() {
            let what = match kind {
                Some(kind) => kind.name().to_owned(),
                None => {
                    let names: Vec<_> = ServiceKind::ALL.iter().map(|kind| kind.name()).collect();
                    names.join(" or ")
                }
            };
            let mesh = &self.resource.mesh;
            return Err(invalid(
                "destination",
                format!("mesh \"{mesh}\" has no {what} \"{name}\""),
            ));
        }
        let of = |section| -> Vec<_> {
            let services = services.iter();
            services
                .flat_map(|(service, resource)| self.ports(service, resource, section))
                .collect()
        };
        let found = of(port);
        match port {
            Some(port) if found.is_empty() => {
                let ports: Vec<_> = of(None).into_iter().map(|outbound| outbound.section).collect();
                let reason = format!("\"{name}\" has no port \"{port}\", only {}", ports.join(", "));
                Err(invalid("port", reason))
            }
            _ => Ok(found),
        }
    }

    /// Services by KRI, whatever its section.
    fn services(&self, kri: &Kri) -> impl Iterator<Item = (&ServiceIdentity, &Arc<Resource>)> {
        let wanted = Kri {
            section: String::new(),
            ..kri.clone()
        };
        let services = self.mesh.destinations().iter();
        services.filter(move |(_, resource)| resource.kri().as_ref() == Some(&wanted))
    }

    /// The ports of a service: that of a name or number, or all.
    fn ports<'s>(
        &'s self,
        service: &'s ServiceIdentity,
        resource: &'s Resource,
        section: Option<&str>,
    ) -> Vec<Outbound<'s>> {
        let Some(known) = self.mesh.services.get(service) else {
            return Vec::new();
        };
        let ports: Vec<_> = match section {
            Some(section) => known.port(section).into_iter().collect(),
            None => known.ports.iter().collect(),
        };
        let outbounds = ports.into_iter().map(|port| Outbound {
            service,
            resource,
            section: port.section(),
            port: port.port,
        });
        outbounds.collect()
    }
}
