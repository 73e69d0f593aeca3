//! The one task that writes. Commits that are waiting when it is free share one transaction of the file, and so one
//! fsync; each stays all-or-nothing by a savepoint of its own.

use std::path::PathBuf;
use std::sync::Arc;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::{failure, rows};
use crate::feed::Feed;
use crate::transaction::{Plan, State};
use crate::{Applied, Change, Clock, StoreError, Write};

/// Callers whose commits share one fsync, at most: bounds the time that the first of them waits for the last.
const MAX_GROUP: usize = 64;

/// What callers send to the writer.
pub(super) enum Command {
    /// [`crate::Store::apply`].
    Apply {
        writes: Vec<Write>,
        reply: oneshot::Sender<Result<Applied, StoreError>>,
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
            let mut group = Vec::new();
            let mut next = Some(first);
            while let Some(command) = next {
                match command {
                    Command::Apply { writes, reply } => group.push(Request { writes, reply }),
                    Command::Close { done } => closing = Some(done),
                }
                let more = closing.is_none() && group.len() < MAX_GROUP;
                next = if more { commands.try_recv().ok() } else { None };
            }
            self.serve(group).await;
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
        match self.commit(transactions).await {
            Ok(outcomes) => {
                for (outcome, reply) in outcomes.into_iter().zip(replies) {
                    // A caller that went away is no reason not to go on.
                    let _ = reply.send(outcome.map(|plan| self.publish(plan)));
                }
            }
            // Also for those that failed by themselves: what they collided with may not have come to be.
            Err(error) => {
                tracing::error!(%error, "write failed");
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    fn publish(&mut self, plan: Plan) -> Applied {
        let applied = plan.applied();
        if !plan.changes.is_empty() {
            self.feed.publish(plan.state.snapshot().clone(), plan.changes);
            self.state = plan.state;
        }
        applied
    }

    /// Makes a group of transactions durable, each on top of those before it.
    ///
    /// # Errors
    /// The outer one fails all of them.
    async fn commit(&mut self, transactions: Vec<Vec<Write>>) -> Result<Vec<Result<Plan, StoreError>>, StoreError> {
        let shared = transactions.len() > 1;
        let now = (self.clock)();
        let mut state = self.state.clone();
        let mut outcomes = Vec::with_capacity(transactions.len());
        let mut begun = false;
        for writes in transactions {
            let mut outcome = state.plan(writes, now);
            if let Ok(plan) = &outcome
                && !plan.changes.is_empty()
            {
                if !begun {
                    if let Err(error) = self.execute("BEGIN IMMEDIATE").await {
                        return self.roll_back(error).await;
                    }
                    begun = true;
                }
                match self.write(&plan.changes, shared).await {
                    Ok(Ok(())) => state = plan.state.clone(),
                    Ok(Err(error)) => outcome = Err(error),
                    Err(error) => return self.roll_back(error).await,
                }
            }
            outcomes.push(outcome);
        }
        if begun && let Err(error) = self.execute("COMMIT").await {
            return self.roll_back(error).await;
        }
        Ok(outcomes)
    }

    /// Writes the rows of one transaction. In a `shared` group its failure (inner error) is undone without the others.
    async fn write(&mut self, changes: &[Change], shared: bool) -> Result<Result<(), StoreError>, StoreError> {
        if shared {
            self.execute("SAVEPOINT caller").await?;
        }
        let mut outcome = Ok(());
        for change in changes {
            outcome = rows::write(&mut self.connection, &self.path, change).await;
            if outcome.is_err() {
                break;
            }
        }
        match outcome {
            Err(error) if !shared => Err(error),
            Err(error) => {
                // Fails if SQLite has rolled back everything by itself, as it may when the disk is full.
                if self.execute("ROLLBACK TO caller").await.is_err() {
                    return Err(error);
                }
                self.execute("RELEASE caller").await?;
                Ok(Err(error))
            }
            Ok(()) => {
                if shared {
                    self.execute("RELEASE caller").await?;
                }
                Ok(Ok(()))
            }
        }
    }

    async fn roll_back<T>(&mut self, error: StoreError) -> Result<T, StoreError> {
        // Fails if SQLite has already rolled back by itself; should it fail otherwise, the next BEGIN fails too and
        // gets here again.
        let _ = self.execute("ROLLBACK").await;
        Err(error)
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), StoreError> {
        sqlx::query(sql)
            .execute(&mut self.connection)
            .await
            .map(drop)
            .map_err(|error| failure::of(&self.path, &error))
    }
}
