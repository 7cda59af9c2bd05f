//! [`Interposed`]: something in front of a back end that looks on, or stands in the way. Tests and measurements use it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    backend::{Backend, Change, RawBatch, RawCommitted, RawRange, RawRow, RowKey, Touched},
    error::{CommitError, Error},
    position::Position,
    table::Order,
    verify::Report,
};

/// A back end that is another one but for what it does itself. Whatever is not said goes to the one behind it.
#[async_trait]
pub trait Interposed: Send + Sync + 'static {
    /// The one behind it.
    fn behind(&self) -> &dyn Backend;

    /// [`Backend::get`].
    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, Error> {
        self.behind().get(keys).await
    }

    /// [`Backend::scan`].
    async fn scan(&self, ranges: &[RawRange], order: Order, limit: usize) -> Result<Vec<Vec<RawRow>>, Error> {
        self.behind().scan(ranges, order, limit).await
    }

    /// [`Backend::commit`].
    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        self.behind().commit(batches).await
    }

    /// [`Backend::changes`].
    async fn changes(&self, after: Position, limit: usize) -> Result<Vec<Change>, Error> {
        self.behind().changes(after, limit).await
    }

    /// [`Backend::head`].
    async fn head(&self) -> Result<Position, Error> {
        self.behind().head().await
    }

    /// [`Backend::is_shared`].
    fn is_shared(&self) -> bool {
        self.behind().is_shared()
    }

    /// [`Backend::touched`].
    async fn touched(&self, after: Position, limit: usize) -> Result<Touched, Error> {
        self.behind().touched(after, limit).await
    }

    /// [`Backend::moved_on`].
    async fn moved_on(&self, after: Position) -> Result<(), Error> {
        self.behind().moved_on(after).await
    }

    /// [`Backend::heal`].
    async fn heal(&self) -> Result<Touched, Error> {
        self.behind().heal().await
    }

    /// [`Backend::verify`].
    async fn verify(&self, report: Report) -> Result<Report, Error> {
        self.behind().verify(report).await
    }
}

#[async_trait]
impl<T: Interposed> Backend for T {
    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, Error> {
        Interposed::get(self, keys).await
    }

    async fn scan(&self, ranges: &[RawRange], order: Order, limit: usize) -> Result<Vec<Vec<RawRow>>, Error> {
        Interposed::scan(self, ranges, order, limit).await
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        Interposed::commit(self, batches).await
    }

    async fn changes(&self, after: Position, limit: usize) -> Result<Vec<Change>, Error> {
        Interposed::changes(self, after, limit).await
    }

    async fn head(&self) -> Result<Position, Error> {
        Interposed::head(self).await
    }

    fn is_shared(&self) -> bool {
        Interposed::is_shared(self)
    }

    async fn touched(&self, after: Position, limit: usize) -> Result<Touched, Error> {
        Interposed::touched(self, after, limit).await
    }

    async fn moved_on(&self, after: Position) -> Result<(), Error> {
        Interposed::moved_on(self, after).await
    }

    async fn heal(&self) -> Result<Touched, Error> {
        Interposed::heal(self).await
    }

    async fn give_back(&self, range: &RawRange) -> Result<(), Error> {
        self.behind().give_back(range).await
    }

    async fn verify(&self, report: Report) -> Result<Report, Error> {
        Interposed::verify(self, report).await
    }

    async fn close(&self) -> Result<(), Error> {
        self.behind().close().await
    }
}
