//! Many proxies of one zone that hold everything Envoy would hold, and come back as Envoy does when their stream ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use meshspan_xds::ResourceType;
use meshspan_xds::client::AdsClient;
use meshspan_xds::proto::ads::DeltaDiscoveryResponse;
use prost::Message;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::data_plane_server::DataPlaneServer;
use crate::fake_envoy::{Identity, has_ready_endpoint, node, wants_endpoints};

/// Envoy's first pause before it connects again; proxies draw theirs from half of it to the whole.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest time for a change to reach everybody.
const LIMIT: Duration = Duration::from_secs(300);

/// What all proxies together have received and lost sight of.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Counted {
    /// Responses of all types.
    pub responses: u64,
    /// Their size on the wire, before HTTP/2 and TLS.
    pub bytes: u64,
    /// How often a proxy saw a service that it knew with no endpoint that takes requests.
    pub outages: u64,
    /// The longest such time that has ended, in seconds.
    pub longest_outage: f64,
    /// Streams that ended.
    pub ended: u64,
    /// Why the last stream ended that did not end in good order.
    #[serde(skip)]
    last_error: String,
    /// How many proxies hold each of the clusters that are waited for.
    #[serde(skip)]
    holders: BTreeMap<String, usize>,
}

/// The running proxies. Dropping it disconnects them.
pub struct Fleet {
    size: usize,
    counted: Arc<watch::Sender<Counted>>,
    drop_all: watch::Sender<()>,
    _proxies: JoinSet<()>,
}

impl Fleet {
    /// Starts proxies that register these Dataplanes. Clusters whose names contain `marker` can be waited for.
    pub fn start(server: &DataPlaneServer, proxies: Vec<(Identity, Value)>, marker: &'static str) -> Self {
        let counted = Arc::new(watch::Sender::default());
        let drop_all = watch::Sender::new(());
        let size = proxies.len();
        let mut running = JoinSet::new();
        for (index, (who, dataplane)) in proxies.into_iter().enumerate() {
            let proxy = Proxy {
                server: server.clone(),
                who,
                dataplane,
                marker,
                pause: PAUSE / 2 + PAUSE.mul_f64(0.5 * index as f64 / size as f64),
                counted: counted.clone(),
                dropped: drop_all.subscribe(),
                held: BTreeMap::new(),
                dark: HashMap::new(),
            };
            running.spawn(proxy.live());
        }
        Self {
            size,
            counted,
            drop_all,
            _proxies: running,
        }
    }

    /// All proxies break off their streams now, and come back.
    pub fn drop_all(&self) {
        self.drop_all.send_replace(());
    }

    /// Forgets what was counted, except what proxies hold.
    pub fn reset(&self) {
        self.counted.send_modify(|counted| {
            let holders = std::mem::take(&mut counted.holders);
            *counted = Counted {
                holders,
                ..Counted::default()
            };
        });
    }

    /// What was counted.
    pub fn counted(&self) -> Counted {
        self.counted.borrow().clone()
    }

    /// Waits until every proxy holds a cluster.
    ///
    /// # Errors
    /// Some do not within minutes.
    pub async fn all_hold(&self, cluster: &str) -> Result<()> {
        let mut counted = self.counted.subscribe();
        let held = |counted: &Counted| counted.holders.get(cluster).copied().unwrap_or_default();
        let all = timeout(LIMIT, counted.wait_for(|counted| held(counted) >= self.size)).await;
        match all {
            Ok(all) => all.map(drop).context("the fleet has ended"),
            Err(_) => {
                let counted = self.counted();
                bail!(
                    "{} of {} proxies have {cluster} after {LIMIT:?}; {} streams ended, last of all: {:?}",
                    held(&counted),
                    self.size,
                    counted.ended,
                    counted.last_error
                )
            }
        }
    }

    /// Why the last stream ended, if one did.
    pub fn last_error(&self) -> String {
        self.counted.borrow().last_error.clone()
    }

    /// Waits until nothing was received for so long.
    pub async fn quiet(&self, pause: Duration) {
        let mut counted = self.counted.subscribe();
        while timeout(pause, counted.changed()).await.is_ok() {}
    }
}

struct Proxy {
    server: DataPlaneServer,
    who: Identity,
    dataplane: Value,
    marker: &'static str,
    pause: Duration,
    counted: Arc<watch::Sender<Counted>>,
    dropped: watch::Receiver<()>,
    /// Versions by type and name.
    held: BTreeMap<ResourceType, HashMap<String, String>>,
    /// Clusters that had endpoints, and since when they have none that takes requests.
    dark: HashMap<String, Option<Instant>>,
}

impl Proxy {
    async fn live(mut self) {
        loop {
            let outcome = self.stream().await;
            self.counted.send_modify(|counted| {
                counted.ended += 1;
                if let Err(error) = outcome {
                    counted.last_error = format!("{}: {error:#}", self.who.name);
                }
            });
            tokio::time::sleep(self.pause).await;
        }
    }

    async fn stream(&mut self) -> Result<()> {
        let channel = self.server.connect().await?;
        let mut ads = AdsClient::new(channel, node(&self.who, &self.dataplane), Some(&self.who.token))?;
        for ty in ResourceType::ALL {
            let held = self.held.get(&ty).cloned().unwrap_or_default();
            let names: Vec<&str> = held.keys().map(String::as_str).collect();
            match ty.is_wildcard() {
                true => ads.resume(ty, &[], held.clone()).await?,
                false if names.is_empty() => {}
                false => ads.resume(ty, &names, held.clone()).await?,
            }
        }
        self.dropped.mark_unchanged();
        loop {
            let response = tokio::select! {
                response = ads.next() => response?,
                _ = self.dropped.changed() => return Ok(()),
            };
            let Some(response) = response else {
                return Ok(());
            };
            let wanted = self.note(&response)?;
            ads.ack(&response).await?;
            for (ty, names) in wanted {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                ads.subscribe(ty, &names).await?;
            }
        }
    }

    /// Notes a response. Returns what Envoy would subscribe to because of it.
    fn note(&mut self, response: &DeltaDiscoveryResponse) -> Result<BTreeMap<ResourceType, Vec<String>>> {
        let bytes = u64::try_from(response.encoded_len())?;
        let ty = ResourceType::from_type_url(&response.type_url).context("a type that nobody asked for")?;
        let mut wanted: BTreeMap<ResourceType, Vec<String>> = BTreeMap::new();
        let mut change = Counted {
            responses: 1,
            bytes,
            ..Counted::default()
        };
        for name in &response.removed_resources {
            self.held.entry(ty).or_default().remove(name);
            if self.dark.remove(name).is_some() {
                change.outages += 1;
            }
        }
        for resource in &response.resources {
            let version = (resource.name.clone(), resource.version.clone());
            let known = self.held.entry(ty).or_default().insert(version.0.clone(), version.1);
            let Some(any) = &resource.resource else { continue };
            match ty {
                ResourceType::Cluster if known.is_none() => {
                    if wants_endpoints(&any.value)? {
                        let names = wanted.entry(ResourceType::Endpoint).or_default();
                        names.push(resource.name.clone());
                    }
                    if resource.name.contains(self.marker) {
                        change.holders.insert(resource.name.clone(), 1);
                    }
                }
                ResourceType::Endpoint => {
                    let ready = has_ready_endpoint(&any.value)?;
                    self.see(&resource.name, ready, &mut change);
                }
                _ => {}
            }
        }
        if ty == ResourceType::Cluster && !self.held.contains_key(&ResourceType::Secret) {
            let mesh = &self.who.mesh;
            let secrets = [format!("identity_cert:secret:{mesh}"), format!("mesh_ca:secret:{mesh}")];
            self.held.insert(ResourceType::Secret, HashMap::new());
            wanted.insert(ResourceType::Secret, secrets.to_vec());
        }
        self.counted.send_modify(|counted| {
            counted.responses += change.responses;
            counted.bytes += change.bytes;
            counted.outages += change.outages;
            counted.longest_outage = counted.longest_outage.max(change.longest_outage);
            for name in change.holders.into_keys() {
                *counted.holders.entry(name).or_default() += 1;
            }
        });
        Ok(wanted)
    }

    fn see(&mut self, cluster: &str, ready: bool, change: &mut Counted) {
        match self.dark.get_mut(cluster) {
            Some(since @ None) if !ready => {
                *since = Some(Instant::now());
                change.outages += 1;
            }
            Some(since) if ready => {
                let took = since.take().map_or(0.0, |since| since.elapsed().as_secs_f64());
                change.longest_outage = change.longest_outage.max(took);
            }
            None if ready => {
                self.dark.insert(cluster.to_owned(), None);
            }
            _ => {}
        }
    }
}
