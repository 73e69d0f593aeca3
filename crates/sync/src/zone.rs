//! The zone side: dials the global and keeps one connection with all streams.
//!
//! Without a global a zone works on with what it has. When the connection fails everything is set up again: at once
//! the first time, then after growing pauses. What was received is remembered while the process lives, so a new
//! connection carries only differences.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use meshspan_log_limit::LogLimit;
use meshspan_store::Store;
use time::OffsetDateTime;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::node::About;
use crate::outgoing::Direction;
use crate::publisher::Publisher;
use crate::receiver::{CheckSecret, Receiver};

/// How often it is logged that a connection still fails for the same reason.
const REMINDER: Duration = Duration::from_secs(60);

mod admin;
mod backoff;
mod dial;
mod explain;
mod files;
pub(crate) mod headers;
mod session;

pub use admin::{AdminFormat, AdminQuestion, EnvoyAdmin, Unavailable};
pub use dial::{AddressError, DialError, Trust};
pub use files::ZoneToken;

use backoff::Backoff;
use dial::Target;

/// Settings of the zone side.
#[derive(Clone)]
pub struct ZoneOptions {
    /// Name of the zone.
    pub zone: String,
    /// Instance id, version and masked configuration of this control plane.
    pub about: About,
    /// `grpcs://host[:port]`, or `grpc://host[:port]` without TLS.
    pub global_address: String,
    /// How the global's certificate is checked.
    pub trust: Trust,
    /// Zone token of scope `cp`, unless the global wants none.
    pub token: Option<ZoneToken>,
    /// Largest message, in bytes (`maxMsgSize`).
    pub max_message: usize,
    /// Pause after the first failure; doubles with each further one.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
    /// Answers the global's questions about Envoys of this zone.
    pub admin: Arc<dyn EnvoyAdmin>,
    /// Refuses secrets that hold something else than their name says.
    pub check_secret: CheckSecret,
}

impl ZoneOptions {
    /// Defaults: system certificates, no token, pauses from 0.2 s to 4 s, no answers about Envoys.
    pub fn new(
        zone: impl Into<String>,
        about: About,
        global_address: impl Into<String>,
        check_secret: CheckSecret,
    ) -> Self {
        Self {
            zone: zone.into(),
            about,
            global_address: global_address.into(),
            trust: Trust::System,
            token: None,
            max_message: crate::MAX_MESSAGE,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(4),
            admin: Arc::new(Unavailable),
            check_secret,
        }
    }
}

impl fmt::Debug for ZoneOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZoneOptions")
            .field("zone", &self.zone)
            .field("global_address", &self.global_address)
            .finish_non_exhaustive()
    }
}

/// Whether the zone is connected to its global, for users to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionState {
    /// True while all streams are open.
    pub connected: bool,
    /// When that last changed; `None` before the first attempt ended.
    pub since: Option<OffsetDateTime>,
    /// Why the last connection or attempt ended; kept while connected.
    pub last_error: Option<String>,
}

/// The zone side.
pub struct ZoneSync {
    options: ZoneOptions,
    target: Target,
    store: Arc<dyn Store>,
    receiver: Arc<Mutex<Receiver>>,
    state: watch::Sender<ConnectionState>,
    /// What the global may make this process log.
    log_limit: LogLimit,
    /// Why there was no connection when that was logged last, and when that was.
    reported: std::sync::Mutex<Option<(String, Instant)>>,
}

impl ZoneSync {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`AddressError`] if the address of the global is not one.
    pub fn new(options: ZoneOptions, store: Arc<dyn Store>) -> Result<Self, AddressError> {
        let target = Target::parse(&options.global_address)?;
        let receiver = Receiver::of_global(&options.zone, options.about.clone(), options.check_secret.clone());
        let receiver = Arc::new(Mutex::new(receiver));
        Ok(Self {
            options,
            target,
            store,
            receiver,
            state: watch::Sender::new(ConnectionState::default()),
            log_limit: LogLimit::default(),
            reported: std::sync::Mutex::default(),
        })
    }

    /// Follows the state of the connection.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    /// Stays connected until `cancel`.
    pub async fn run(&self, cancel: CancellationToken) {
        let direction = Direction::ToGlobal {
            zone: self.options.zone.clone(),
        };
        let publisher = Publisher::start(&*self.store, direction, cancel.clone());
        let mut backoff = Backoff::new(self.options.first_pause, self.options.longest_pause);
        loop {
            let started = tokio::time::Instant::now();
            let error = tokio::select! {
                error = self.session(&publisher) => error,
                () = cancel.cancelled() => {
                    self.state.send_modify(|state| {
                        state.connected = false;
                        state.since = Some(OffsetDateTime::now_utc());
                    });
                    return;
                }
            };
            let pause = backoff.next(started.elapsed());
            self.report(&error, pause);
            self.state.send_modify(|state| {
                if state.connected || state.since.is_none() {
                    state.since = Some(OffsetDateTime::now_utc());
                }
                state.connected = false;
                state.last_error = Some(error);
            });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = cancel.cancelled() => return,
            }
        }
    }

    /// The same reason again is worth a line from time to time only.
    fn report(&self, error: &str, pause: Duration) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |(known, when): &(String, Instant)| known == error && when.elapsed() < REMINDER;
        if reported.as_ref().is_some_and(is_known) {
            tracing::debug!(error, retry_in = ?pause, "not connected to the global control plane");
            return;
        }
        tracing::warn!(
            zone = self.options.zone,
            global = self.options.global_address,
            error,
            retry_in = ?pause,
            "not connected to the global control plane; tried again until it is"
        );
        *reported = Some((error.to_owned(), Instant::now()));
    }

    /// Called by the first stream that knows.
    fn connected(&self) {
        if self.state.borrow().connected {
            return;
        }
        tracing::info!(
            zone = self.options.zone,
            global = self.options.global_address,
            "connected to the global control plane"
        );
        self.state.send_modify(|state| {
            state.connected = true;
            state.since = Some(OffsetDateTime::now_utc());
        });
    }
}
