//! Who may speak for a zone: asked when a stream opens, and again whenever the answer may have become another one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use meshspan_model::{Kind, ResourceKey};
use meshspan_store::Store;
use time::OffsetDateTime;
use tonic::Status;

use super::caller::Caller;
use super::connection::Connection;
use super::{GlobalOptions, Shared};

/// Checks the token of a zone, given its name and the token without scheme; gives the time when the token expires.
pub type CheckToken = Arc<dyn Fn(&str, &str) -> Result<Option<OffsetDateTime>, String> + Send + Sync>;

/// Longest wait for the expiry of a token: clocks are set and machines sleep.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// A token as a zone showed it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ShownToken(pub(super) String);

impl fmt::Debug for ShownToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShownToken")
    }
}

/// Lets a caller speak for its zone, until the time given if there is one.
///
/// # Errors
/// `UNAUTHENTICATED` where tokens are checked, `PERMISSION_DENIED` where they are not and there is no such zone; both
/// with the remedy.
pub(super) fn authorize(
    options: &GlobalOptions,
    store: &dyn Store,
    caller: &Caller,
) -> Result<Option<OffsetDateTime>, Status> {
    let zone = &caller.zone;
    let Some(check) = &options.check_token else {
        // Whoever comes can say any name: at least it must be one that somebody made on purpose.
        return match store.get(&ResourceKey::new(Kind::Zone, "", zone.as_str())) {
            Some(_) => Ok(None),
            None => Err(Status::permission_denied(format!(
                "zone \"{zone}\" does not exist, and this global control plane makes no zones of callers without a token: create it there (type: \
                 Zone, name: {zone}), or let the global check tokens with KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE=cpToken"
            ))),
        };
    };
    let make = format!("meshspan generate zone-token --zone {zone} --scope cp --valid-for 8760h");
    let Some(ShownToken(token)) = &caller.token else {
        return Err(Status::unauthenticated(format!(
            "zone \"{zone}\" showed no token: make one at the global control plane with `{make}`, and name its file to the control plane of the \
             zone in KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH. One that cannot show a token, as Kuma without Kong's extensions, is let in only \
             if the global runs with KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE=none"
        )));
    };
    check(zone, token).map_err(|reason| {
        Status::unauthenticated(format!(
            "the token of zone \"{zone}\" was refused: {reason}; a new one is made at the global control plane with `{make}`"
        ))
    })
}

/// Waits until the caller of a connection may no longer speak for its zone: its token expired or was revoked, or its
/// key is gone.
pub(super) async fn revoked(shared: &Shared, connection: &Connection) -> Status {
    loop {
        let expires = match authorize(&shared.options, &*shared.store, &connection.caller) {
            Ok(expires) => expires,
            Err(status) => return status,
        };
        let expired = async {
            match expires {
                Some(expires) => {
                    let left = Duration::try_from(expires - OffsetDateTime::now_utc()).unwrap_or_default();
                    tokio::time::sleep(left.min(LONGEST_WAIT)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = expired => {}
            () = connection.keys_changed.notified() => {}
        }
    }
}
