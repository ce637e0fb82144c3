//! An object store that fails by script: before or after it has applied a request, with false answers, hidden keys and ignored conditions. Owns the faults; what
//! is stored is the inner store's.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};

use crate::clock::Clock;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Writes a whole object.
    Put,
    /// Begins a multipart upload.
    PutMultipart,
    /// Reads an object or what is known of it.
    Get,
    /// Lists objects.
    List,
    /// Deletes an object.
    Delete,
}

/// How a request goes wrong.
#[derive(Clone)]
pub enum Fault {
    /// It takes that long, on the store's clock.
    Delay(Duration),
    /// It fails before anything is done.
    FailBefore(Failure),
    /// It is done, and then fails: the answer is lost.
    FailAfter(Failure),
    /// A conditional put is answered "exists" without being done (S3's 409).
    FalseExists,
    /// A conditional put is done as an unconditional one.
    IgnoreCondition,
    /// A conditional put looks first and writes later, as two requests.
    CheckThenWrite,
    /// The object is not there for reads and listings.
    Hide,
    /// Something else happens first.
    First(Interruption),
}

/// What happens first, on the inner store.
pub type Interruption = Arc<dyn Fn(Arc<dyn ObjectStore>) -> BoxFuture<'static, ()> + Send + Sync>;

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Delay(duration) => write!(f, "Delay({duration:?})"),
            Fault::FailBefore(failure) => write!(f, "FailBefore({failure:?})"),
            Fault::FailAfter(failure) => write!(f, "FailAfter({failure:?})"),
            Fault::FalseExists => f.write_str("FalseExists"),
            Fault::IgnoreCondition => f.write_str("IgnoreCondition"),
            Fault::CheckThenWrite => f.write_str("CheckThenWrite"),
            Fault::Hide => f.write_str("Hide"),
            Fault::First(_) => f.write_str("First(..)"),
        }
    }
}

/// What a failed request answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A reset connection or a 503.
    Unavailable,
    /// A 403.
    Forbidden,
}

/// Which of the requests that a rule matches it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// All.
    Always,
    /// The first that many.
    First(u64),
    /// Only this one, counted from 1.
    Nth(u64),
    /// Every so manieth.
    Every(u64),
    /// So many of a thousand, by the store's seed.
    PerMille(u64),
}

/// A decorator that injects faults; clones share the script.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    clock: Clock,
    rules: Arc<Mutex<Vec<Rule>>>,
    random: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Rule {
    operation: Operation,
    path_part: String,
    when: When,
    fault: Fault,
    matched: u64,
}

impl FaultyStore {
    /// Decorates a store; without rules it changes nothing.
    pub fn new(inner: Arc<dyn ObjectStore>, clock: Clock, seed: u64) -> Self {
        FaultyStore {
            inner,
            clock,
            rules: Arc::default(),
            random: Arc::new(AtomicU64::new(seed | 1)),
            requests: Arc::default(),
        }
    }

    /// Adds a rule: requests of `operation` whose key contains `path_part` suffer `fault`.
    pub fn rule(&self, operation: Operation, path_part: &str, when: When, fault: Fault) {
        self.lock().push(Rule {
            operation,
            path_part: path_part.to_owned(),
            when,
            fault,
            matched: 0,
        });
    }

    /// Removes all rules.
    pub fn heal(&self) {
        self.lock().clear();
    }

    /// How many requests were made, of every kind.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// The undecorated store.
    pub fn inner(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The faults of one request, counted.
    fn strike(&self, operation: Operation, path: &Path) -> Vec<Fault> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let mut rules = self.lock();
        let struck = rules
            .iter_mut()
            .filter(|rule| rule.operation == operation && path.as_ref().contains(&rule.path_part))
            .filter_map(|rule| {
                rule.matched += 1;
                let strikes = match rule.when {
                    When::Always => true,
                    When::First(count) => rule.matched <= count,
                    When::Nth(number) => rule.matched == number,
                    When::Every(count) => rule.matched % count.max(1) == 0,
                    When::PerMille(share) => self.draw() % 1000 < share,
                };
                strikes.then(|| rule.fault.clone())
            });
        struck.collect()
    }

    fn hides(&self, path: &Path) -> bool {
        self.lock().iter().any(|rule| {
            matches!(rule.fault, Fault::Hide) && path.as_ref().contains(&rule.path_part)
        })
    }

    /// Xorshift: the same seed, the same faults.
    fn draw(&self) -> u64 {
        let step = |mut state: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^ (state << 17)
        };
        match self
            .random
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| {
                Some(step(state))
            }) {
            Ok(before) | Err(before) => step(before),
        }
    }

    /// Lets what comes before a request happen; an error ends the request undone.
    async fn before(&self, faults: &[Fault], path: &Path) -> Result<()> {
        for fault in faults {
            match fault {
                Fault::Delay(duration) => self.clock.sleep(*duration).await,
                Fault::First(interruption) => interruption(Arc::clone(&self.inner)).await,
                Fault::FailBefore(failure) => return Err(failure.error(path)),
                Fault::FalseExists => return Err(exists(path)),
                Fault::FailAfter(_)
                | Fault::IgnoreCondition
                | Fault::CheckThenWrite
                | Fault::Hide => {}
            }
        }
        Ok(())
    }
}

/// Replaces the answer of a request that was done.
fn after<T>(faults: &[Fault], path: &Path, answer: Result<T>) -> Result<T> {
    let lost = faults.iter().find_map(|fault| {
        if let Fault::FailAfter(failure) = fault {
            Some(failure)
        } else {
            None
        }
    });
    lost.map_or(answer, |failure| Err(failure.error(path)))
}

fn exists(path: &Path) -> Error {
    Error::AlreadyExists {
        path: path.to_string(),
        source: "scripted".into(),
    }
}

impl Failure {
    fn error(self, path: &Path) -> Error {
        match self {
            Failure::Unavailable => Error::Generic {
                store: "faulty",
                source: "scripted: connection reset".into(),
            },
            Failure::Forbidden => Error::PermissionDenied {
                path: path.to_string(),
                source: "scripted: 403".into(),
            },
        }
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        let faults = self.strike(Operation::Put, location);
        self.before(&faults, location).await?;
        let is_conditional = options.mode == PutMode::Create;
        if is_conditional
            && faults
                .iter()
                .any(|fault| matches!(fault, Fault::IgnoreCondition))
        {
            options.mode = PutMode::Overwrite;
        }
        if is_conditional
            && faults
                .iter()
                .any(|fault| matches!(fault, Fault::CheckThenWrite))
        {
            let found = self
                .inner
                .get_opts(
                    location,
                    GetOptions {
                        head: true,
                        ..GetOptions::default()
                    },
                )
                .await;
            tokio::task::yield_now().await;
            if found.is_ok() {
                return Err(exists(location));
            }
            options.mode = PutMode::Overwrite;
        }
        after(
            &faults,
            location,
            self.inner.put_opts(location, payload, options).await,
        )
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let faults = self.strike(Operation::PutMultipart, location);
        self.before(&faults, location).await?;
        after(
            &faults,
            location,
            self.inner.put_multipart_opts(location, options).await,
        )
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let faults = self.strike(Operation::Get, location);
        self.before(&faults, location).await?;
        if self.hides(location) {
            return Err(Error::NotFound {
                path: location.to_string(),
                source: "scripted".into(),
            });
        }
        after(
            &faults,
            location,
            self.inner.get_opts(location, options).await,
        )
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let faults = self.strike(Operation::Get, location);
        self.before(&faults, location).await?;
        after(
            &faults,
            location,
            self.inner.get_ranges(location, ranges).await,
        )
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .and_then(move |location| {
                let store = store.clone();
                async move {
                    let faults = store.strike(Operation::Delete, &location);
                    store.before(&faults, &location).await?;
                    let one =
                        futures::stream::once(futures::future::ready(Ok(location.clone()))).boxed();
                    let answer = store
                        .inner
                        .delete_stream(one)
                        .try_collect::<Vec<_>>()
                        .await
                        .map(|_| location.clone());
                    after(&faults, &location, answer)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let path = prefix.cloned().unwrap_or_default();
        let (store, listed) = (self.clone(), self.inner.list(prefix));
        scripted_list(store, path, listed)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let path = prefix.cloned().unwrap_or_default();
        let (store, listed) = (self.clone(), self.inner.list_with_offset(prefix, offset));
        scripted_list(store, path, listed)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let path = prefix.cloned().unwrap_or_default();
        let faults = self.strike(Operation::List, &path);
        self.before(&faults, &path).await?;
        let mut answer = after(&faults, &path, self.inner.list_with_delimiter(prefix).await)?;
        answer.objects.retain(|meta| !self.hides(&meta.location));
        Ok(answer)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

/// A listing that happens after what the script puts before it, without the hidden keys.
fn scripted_list(
    store: FaultyStore,
    path: Path,
    listed: BoxStream<'static, Result<ObjectMeta>>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let faults = store.strike(Operation::List, &path);
    let guard = store.clone();
    let begin =
        async move { after(&faults, &path, guard.before(&faults, &path).await).map(|()| listed) };
    futures::stream::once(begin)
        .try_flatten()
        .try_filter(move |meta| futures::future::ready(!store.hides(&meta.location)))
        .boxed()
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;
    use object_store::memory::InMemory;

    use super::*;

    async fn failures(seed: u64) -> Vec<bool> {
        let store = FaultyStore::new(Arc::new(InMemory::new()), Clock::manual(0, 0), seed);
        let fault = Fault::FailAfter(Failure::Unavailable);
        store.rule(Operation::Put, "a", When::PerMille(300), fault);
        let mut failures = Vec::new();
        for _ in 0..100 {
            failures.push(store.put(&Path::from("a"), "x".into()).await.is_err());
        }
        assert!(
            store.get(&Path::from("a")).await.is_ok(),
            "it was done all the same"
        );
        failures
    }

    #[tokio::test]
    async fn the_same_seed_fails_in_the_same_places() {
        let first = failures(7).await;
        assert_eq!(first, failures(7).await);
        assert_ne!(first, failures(8).await);
        let count = first.iter().filter(|failed| **failed).count();
        assert!((15..45).contains(&count), "{count} of 100");
    }
}
