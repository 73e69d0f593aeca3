//! Who may call whom (`spec/policies.md` §2.8).

use meshspan_model::kinds::mesh_traffic_permission::Conf;
use meshspan_policy::InboundRules;

use super::{Effect, Incoming};
use crate::parts::Chain;
use crate::{names, rbac};

/// [`Effect`] of the kind.
pub(crate) struct MeshTrafficPermission;

impl Effect for MeshTrafficPermission {
    type Conf = Conf;

    fn inbound(rules: Option<&InboundRules>, from: &Incoming<'_>, chain: &mut Chain<'_>) {
        if !from.has_identity {
            return;
        }
        let conf = rules.and_then(|rules| rules.for_all()).map(|effective| &effective.conf);
        let action = conf
            .and_then(|conf| conf.get("action"))
            .and_then(|action| action.as_str());
        let allowed = matches!(action, Some("Allow" | "AllowWithShadowDeny"));
        match chain {
            Chain::Http(http) => http.filters.insert(0, rbac::http(allowed)),
            Chain::Tcp(tcp) => {
                let name = names::inbound(&from.port.section);
                tcp.filters.insert(0, rbac::network(&name, allowed));
            }
        }
    }
}
