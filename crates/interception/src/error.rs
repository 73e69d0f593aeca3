//! What can go wrong, one variant per thing a caller or a user can act on.

use std::path::PathBuf;

/// Why rules could not be planned, installed or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process may not change the packet filter.
    #[error("changing iptables rules needs root or CAP_NET_ADMIN, run with sudo")]
    NoPermission,
    /// No usable iptables program was found.
    #[error("{program} was not found or does not work on this host: install the package `iptables`{detail}")]
    NoIptables {
        /// The program that was looked for.
        program: &'static str,
        /// What the programs that were found said, empty if there were none.
        detail: String,
    },
    /// A setting has a value that cannot be used.
    #[error("{field}: {value:?} {reason}")]
    Invalid {
        /// Path of the setting in the configuration file, for example `redirect.inbound.port`.
        field: String,
        /// The value as given.
        value: String,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// The settings as a whole do not have the expected form.
    #[error("{origin}: {reason}")]
    Settings {
        /// Where they came from: a file name, `--config`, or the environment.
        origin: String,
        /// The parser's words.
        reason: String,
    },
    /// A variable that no setting has and that must not be ignored.
    #[error(transparent)]
    Variable(#[from] meshspan_model::environment::UnknownVariable),
    /// The user that runs Envoy does not exist.
    #[error(
        "kumaDPUser: user {user:?} does not exist on this host: create it (`useradd --system --uid 5678 kuma-dp`), \
         name another with --kuma-dp-user, or exclude Envoy by socket mark with --kuma-dp-mark"
    )]
    UnknownUser {
        /// Name or id that was looked up.
        user: String,
    },
    /// The user id has no meaning in the user namespace of this process.
    #[error(
        "kumaDPUser: user id {uid} is not mapped into this user namespace, so iptables cannot match it: \
         map it (newuidmap, package `uidmap`) or exclude Envoy by socket mark with --kuma-dp-mark"
    )]
    UnmappedUser {
        /// The id.
        uid: u32,
    },
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// Its name.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("cannot run {program}")]
    Run {
        /// Its name.
        program: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// iptables refused the rules. Nothing was changed.
    #[error("{program} refused the {table} rules, so nothing was changed: {stderr}{}", remedy(.program))]
    Refused {
        /// The program that was run.
        program: String,
        /// The table.
        table: &'static str,
        /// Its error output.
        stderr: String,
    },
    /// The rules were refused, and those that were there before could not be put back.
    #[error(
        "{refused}; the rules that were there before could not be put back either: {reason}. See what there is with iptables-save"
    )]
    NotUndone {
        /// Why the rules were taken back.
        refused: Box<Self>,
        /// Why that failed.
        reason: String,
    },
    /// Another installation or removal is under way on this host.
    #[error(
        "another installation of interception rules has been running for {seconds} s on this host (it holds {path}): try again when it has ended"
    )]
    Busy {
        /// The lock.
        path: PathBuf,
        /// How long this process waited.
        seconds: u64,
    },
}

impl Error {
    /// An [`Error::Invalid`] for `field`.
    pub(crate) fn invalid(field: impl Into<String>, value: impl ToString, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            value: value.to_string(),
            reason: reason.into(),
        }
    }
}

fn remedy(program: &str) -> &'static str {
    if program.starts_with("ip6tables") {
        "; where IPv6 is not needed, leave it out with --ip-family-mode ipv4"
    } else {
        ""
    }
}
