//! The token in the form in which Envoy takes it: as a secret in a file that Envoy reads again whenever it is replaced. So
//! a renewed token is used for the next stream without a restart, and Envoy's `config_dump`, which is open to every user of
//! this host, does not show it.

use crate::bootstrap::TokenSecretLocation;
use crate::token::{Token, TokenError};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use serde_json::json;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::NamedTempFile;
use tokio::net::unix::pipe;
use tokio::sync::watch;

/// Name of the secret; the control plane puts it into Envoy's bootstrap.
const NAME: &str = "dataplane_token";
const FILE: &str = "token.json";
const SECRET_TYPE: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenSecretError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("{}: the token cannot be written for Envoy: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// The token and its copy for Envoy.
pub(crate) struct TokenSecret {
    token: Token,
    path: PathBuf,
    /// What the copy holds.
    written: Mutex<Option<String>>,
    /// The same, for those who follow it.
    current: watch::Sender<Option<String>>,
}

impl TokenSecret {
    /// The copy will be in `folder`, which is absolute and not for others to read.
    pub(crate) fn new(token: Token, folder: &Path) -> Self {
        Self {
            token,
            path: folder.join(FILE),
            written: Mutex::new(None),
            current: watch::Sender::new(None),
        }
    }

    /// What the control plane is told of it; `None` without a token.
    pub(crate) fn location(&self) -> Option<TokenSecretLocation> {
        match self.token {
            Token::None => None,
            Token::Text(_) | Token::File(_) => Some(TokenSecretLocation {
                name: NAME,
                path: self.path.display().to_string(),
            }),
        }
    }

    /// The token as it is now, without surrounding white space; the copy for Envoy is the same afterwards.
    pub(crate) fn refresh(&self) -> Result<Option<String>, TokenSecretError> {
        let Some(token) = self.token.read()? else {
            return Ok(None);
        };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.as_ref() != Some(&token) {
            self.write(&token).map_err(|source| TokenSecretError::Write {
                path: self.path.clone(),
                source,
            })?;
            *written = Some(token.clone());
            self.current.send_replace(Some(token.clone()));
        }
        Ok(Some(token))
    }

    /// Where the token comes from.
    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// The token as it was read last, whenever it is another.
    pub(crate) fn current(&self) -> watch::Receiver<Option<String>> {
        self.current.subscribe()
    }

    fn write(&self, token: &str) -> io::Result<()> {
        let secret = json!({ "resources": [{
            "@type": SECRET_TYPE,
            "name": NAME,
            "generic_secret": { "secret": { "inline_string": token } },
        }] });
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        // Made with mode 0600; Envoy notices when it is moved into place.
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(secret.to_string().as_bytes())?;
        file.persist(&self.path)?;
        Ok(())
    }

    /// Keeps the copy current while the token's file is replaced or rewritten. Never ends.
    pub(crate) async fn follow(self: Arc<Self>) {
        if let Token::File(path) = &self.token
            && let Err(error) = self.follow_file(path).await
        {
            tracing::warn!(file = %path.display(), %error, "the token file cannot be watched; it is read again when a stream is opened");
        }
        std::future::pending().await
    }

    async fn follow_file(&self, path: &Path) -> io::Result<()> {
        let changes = Changes::of_folder(path)?;
        loop {
            changes.next().await?;
            let before = self.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match self.refresh() {
                Ok(now) if now != before => {
                    tracing::info!(file = %path.display(), "the token was renewed; Envoy uses it from its next stream on");
                }
                Ok(_) => {}
                // Half-written or being replaced: the next change tells more, and the last token stays in use.
                Err(error) => tracing::warn!("{error}; the last token stays in use"),
            }
        }
    }
}

/// What happens in the folder of a file. Watching the file itself would lose it when another one takes its place. The kernel's
/// watcher is read as a pipe is.
struct Changes(pipe::Receiver);

impl Changes {
    fn of_folder(file: &Path) -> io::Result<Self> {
        let watcher = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let folder = std::path::absolute(file)?;
        let folder = folder.parent().unwrap_or(Path::new("/"));
        let events = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE | WatchFlags::ONLYDIR;
        inotify::add_watch(&watcher, folder, events)?;
        Ok(Self(pipe::Receiver::from_owned_fd_unchecked(watcher)?))
    }

    /// Waits until something has happened; several events at once count as one.
    async fn next(&self) -> io::Result<()> {
        self.0.readable().await?;
        let mut buffer = [0; 4096];
        loop {
            match self.0.try_read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    fn copy(folder: &Path) -> String {
        std::fs::read_to_string(folder.join(FILE)).unwrap()
    }

    async fn until_copied(folder: &Path, token: &str) {
        let watch = Changes::of_folder(&folder.join(FILE)).unwrap();
        let wait = async {
            while !copy(folder).contains(token) {
                watch.next().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .expect("the copy of the token never came");
    }

    #[tokio::test]
    async fn the_copy_follows_the_file_however_it_is_renewed() {
        let (source, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = source.path().join("token");
        std::fs::write(&path, "first\n").unwrap();
        let secret = Arc::new(TokenSecret::new(Token::File(path.clone()), folder.path()));
        assert_eq!(secret.refresh().unwrap().unwrap(), "first");
        assert!(copy(folder.path()).contains("\"first\""));
        let mode = std::fs::metadata(folder.path().join(FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);

        let following = tokio::spawn(secret.clone().follow());
        tokio::task::yield_now().await;
        std::fs::write(&path, "second").unwrap();
        until_copied(folder.path(), "second").await;
        // As most tools do it.
        std::fs::write(source.path().join("new"), "third").unwrap();
        std::fs::rename(source.path().join("new"), &path).unwrap();
        until_copied(folder.path(), "third").await;
        // An empty file is no token.
        std::fs::write(&path, "").unwrap();
        std::fs::write(&path, "fourth").unwrap();
        until_copied(folder.path(), "fourth").await;
        following.abort();
    }

    #[test]
    fn without_a_token_there_is_no_copy() {
        let folder = tempfile::tempdir().unwrap();
        let secret = TokenSecret::new(Token::None, folder.path());
        assert_eq!(secret.refresh().unwrap(), None);
        assert_eq!(secret.location(), None);
        assert!(!folder.path().join(FILE).exists());
    }
}
