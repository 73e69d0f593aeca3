//! The one task that writes. Commits that are waiting when it is free share one transaction of the file, and so one
//! fsync. Those that break a rule are sorted out before anything is written; if the file refuses the rest, each is
//! tried by itself, so that all stay all-or-nothing and none fails for another's sake.

use std::path::PathBuf;
use std::sync::Arc;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::files::Files;
use super::{backup, failure, rows};
use crate::feed::Feed;
use crate::transaction::{Plan, State};
use crate::{Applied, Backup, Clock, StoreError, Write};

/// Callers whose commits share one fsync, at most: bounds the time that the first of them waits for the last.
const MAX_GROUP: usize = 64;

/// What callers send to the writer.
pub(super) enum Command {
    /// [`crate::Store::apply`].
    Apply {
        writes: Vec<Write>,
        reply: oneshot::Sender<Result<Applied, StoreError>>,
    },
    /// [`crate::Store::backup`].
    Backup {
        reply: oneshot::Sender<Result<Backup, StoreError>>,
    },
    /// [`super::SqliteStore::close`].
    Close { done: oneshot::Sender<()> },
}

struct Request {
    writes: Vec<Write>,
    reply: oneshot::Sender<Result<Applied, StoreError>>,
}

/// Owns the connection and the state that the file holds.
pub(super) struct Writer {
    path: PathBuf,
    files: Files,
    connection: SqliteConnection,
    state: State,
    feed: Arc<Feed>,
    clock: Clock,
}

impl Writer {
    pub(super) fn new(
        path: PathBuf,
        connection: SqliteConnection,
        state: State,
        feed: Arc<Feed>,
        clock: Clock,
    ) -> Self {
        Self {
            files: Files::opened(&path),
            path,
            connection,
            state,
            feed,
            clock,
        }
    }

    /// Serves until told to close, or until all who could send are gone.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = commands.recv().await else { break };
            let (mut group, mut backups) = (Vec::new(), Vec::new());
            let mut next = Some(first);
            while let Some(command) = next {
                match command {
                    Command::Apply { writes, reply } => group.push(Request { writes, reply }),
                    Command::Backup { reply } => backups.push(reply),
                    Command::Close { done } => closing = Some(done),
                }
                let more = closing.is_none() && group.len() < MAX_GROUP;
                next = if more { commands.try_recv().ok() } else { None };
            }
            self.serve(group).await;
            for reply in backups {
                // A caller that went away is no reason not to go on.
                let _ = reply.send(self.backup().await);
            }
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(path = %self.path.display(), %error, "database not closed cleanly; nothing is lost");
        }
        if let Some(done) = closing {
            // Nobody waits any more if this fails.
            let _ = done.send(());
        }
    }

    async fn serve(&mut self, group: Vec<Request>) {
        let (transactions, replies): (Vec<_>, Vec<_>) =
            group.into_iter().map(|request| (request.writes, request.reply)).unzip();
        let mut outcomes = Vec::new();
        match self.commit(&transactions).await {
            Ok(shared) => outcomes = shared,
            Err(error) if transactions.len() == 1 => outcomes.push(Err(error)),
            // One of them may be at fault, such as one that is too large for what is left of the disk: each by itself.
            Err(_) => {
                for transaction in transactions.chunks(1) {
                    match self.commit(transaction).await {
                        Ok(single) => outcomes.extend(single),
                        Err(error) => outcomes.push(Err(error)),
                    }
                }
            }
        }
        for (outcome, reply) in outcomes.into_iter().zip(replies) {
            // A caller that went away is no reason not to go on.
            let _ = reply.send(outcome);
        }
    }

    /// Makes a group of transactions durable and visible, each on top of those before it.
    ///
    /// # Errors
    /// The inner one fails a transaction that breaks the rules, the outer one all of them: nothing has changed then.
    async fn commit(&mut self, transactions: &[Vec<Write>]) -> Result<Vec<Result<Applied, StoreError>>, StoreError> {
        let now = (self.clock)();
        let mut state = self.state.clone();
        let mut plans = Vec::with_capacity(transactions.len());
        for writes in transactions {
            let plan = state.plan(writes.clone(), now);
            if let Ok(plan) = &plan {
                state = plan.state.clone();
            }
            plans.push(plan);
        }
        if let Err(error) = self.write(&plans).await {
            tracing::error!(%error, "write failed");
            // Fails if SQLite has already rolled back by itself, as it may when the disk is full; should it fail
            // otherwise, the next BEGIN fails too and gets here again.
            let _ = self.execute("ROLLBACK").await;
            return Err(error);
        }
        Ok(plans
            .into_iter()
            .map(|plan| plan.map(|plan| self.publish(plan)))
            .collect())
    }

    fn publish(&mut self, plan: Plan) -> Applied {
        let applied = plan.applied();
        if !plan.changes.is_empty() {
            self.feed.publish(plan.state.snapshot().clone(), plan.changes);
            self.state = plan.state;
        }
        applied
    }

    /// Writes the rows of all that was planned and waits for the disk. Leaves the transaction open on error.
    async fn write(&mut self, plans: &[Result<Plan, StoreError>]) -> Result<(), StoreError> {
        if plans.iter().flatten().all(|plan| plan.changes.is_empty()) {
            return Ok(());
        }
        self.files.check()?;
        self.execute("BEGIN IMMEDIATE").await?;
        for plan in plans.iter().flatten() {
            for change in &plan.changes {
                rows::write(&mut self.connection, &self.path, change).await?;
            }
        }
        self.execute("COMMIT").await?;
        self.files.written();
        Ok(())
    }

    async fn backup(&mut self) -> Result<Backup, StoreError> {
        self.files.check()?;
        backup::copy(&mut self.connection, &self.path).await
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), StoreError> {
        sqlx::query(sql)
            .execute(&mut self.connection)
            .await
            .map(drop)
            .map_err(|error| failure::of(&self.path, &error))
    }
}
