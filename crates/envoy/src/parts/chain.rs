//! The filters of a listener's chain under construction.

use envoy_types::pb::envoy::config::listener::v3::Filter;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteAction, RouteConfiguration, VirtualHost};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter,
};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use meshspan_policy::Confs;

use crate::http::http_filter;
use crate::network::network_filter;

/// What handles the connections of a filter chain.
#[derive(Clone, Debug)]
pub(crate) enum Chain<'a> {
    /// Requests.
    Http(Box<HttpChain<'a>>),
    /// Bytes.
    Tcp(Box<TcpChain>),
}

/// A connection manager and its routes.
#[derive(Clone, Debug)]
pub(crate) struct HttpChain<'a> {
    /// All but filters and routes.
    pub(crate) manager: HttpConnectionManager,
    /// HTTP filters before the router.
    pub(crate) filters: Vec<HttpFilter>,
    /// The route configuration, all but the routes.
    pub(crate) route_configuration: RouteConfiguration,
    /// The routes; the first that matches counts.
    pub(crate) routes: Vec<RouteParts<'a>>,
}

/// A route, and what is said about the traffic that takes it.
#[derive(Clone, Debug)]
pub(crate) struct RouteParts<'a> {
    /// The route.
    pub(crate) route: Route,
    /// What policies say, those for this route among them; empty for inbounds.
    pub(crate) confs: &'a Confs,
}

/// A TCP proxy.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TcpChain {
    /// Network filters before the proxy.
    pub(crate) filters: Vec<Filter>,
    /// The proxy.
    pub(crate) proxy: TcpProxy,
}

impl RouteParts<'_> {
    /// The action that forwards; `None` for redirects and direct responses.
    pub(crate) fn action(&mut self) -> Option<&mut RouteAction> {
        match &mut self.route.action {
            Some(Action::Route(action)) => Some(action),
            _ => None,
        }
    }
}

impl Chain<'_> {
    /// The network filters of the chain.
    pub(crate) fn build(self) -> Vec<Filter> {
        match self {
            Chain::Http(chain) => vec![chain.build()],
            Chain::Tcp(chain) => {
                let proxy = network_filter("envoy.filters.network.tcp_proxy", chain.proxy);
                chain.filters.into_iter().chain([proxy]).collect()
            }
        }
    }
}

impl HttpChain<'_> {
    fn build(self) -> Filter {
        let mut routes = self.route_configuration;
        routes.virtual_hosts = vec![VirtualHost {
            name: routes.name.clone(),
            domains: vec!["*".to_owned()],
            routes: self.routes.into_iter().map(|parts| parts.route).collect(),
            ..Default::default()
        }];
        let router = http_filter("envoy.filters.http.router", Router::default());
        network_filter(
            "envoy.filters.network.http_connection_manager",
            HttpConnectionManager {
                http_filters: self.filters.into_iter().chain([router]).collect(),
                route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
                ..self.manager
            },
        )
    }
}
