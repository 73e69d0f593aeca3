//! What access logs call a proxy, as its node says it: listeners that proxies share take it from there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use meshspan_world::view::Source;

/// Key of the node's metadata with the service.
pub(crate) const SERVICE: &str = "accessLog.source.service";
/// Key of the node's metadata with the address.
pub(crate) const ADDRESS: &str = "accessLog.source.address";
/// Key of the node's metadata with the address as Kuma writes it where a port is asked for.
pub(crate) const ADDRESS_WITH_PORT: &str = "accessLog.source.addressWithPort";

/// The metadata of a node that says what access logs call its proxy.
pub fn metadata(source: &Source) -> BTreeMap<&'static str, String> {
    [
        (SERVICE, source.service.clone()),
        (ADDRESS, source.address.clone()),
        (ADDRESS_WITH_PORT, with_port(&source.address)),
    ]
    .into()
}

/// What a node says; `None` if it does not, as one that was started by an older release. `text` reads its metadata.
pub fn read<'a>(text: impl Fn(&'static str) -> &'a str) -> Option<Source> {
    let source = Source {
        service: text(SERVICE).to_owned(),
        address: text(ADDRESS).to_owned(),
    };
    let says = metadata(&source);
    says.iter()
        .all(|(key, value)| !value.is_empty() && text(key) == value)
        .then_some(source)
}

/// An address with the port 0, for the port is another each time.
pub(crate) fn with_port(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]:0"),
        _ => format!("{address}:0"),
    }
}
