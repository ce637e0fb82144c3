//! An object store at the far end of a bad line: requests take their time, are lost before they are done, are done and their answer lost, are done long after everybody
//! gave up, are answered "exists" (409, 412) falsely. It loses nothing that it acknowledged. What is on its way outlives whoever sent it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::channel::oneshot;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};

use crate::testing::random::Random;
use crate::testing::timeline::{EPOCH_MS, Timeline};
use crate::testing::trace::Trace;

/// How long the client waits for an answer.
const CLIENT_LIMIT: Duration = Duration::from_secs(45);

/// How bad the line is; shares are of a thousand requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Requests that are lost before they are done.
    pub lost: u64,
    /// Puts that are done while their answer is lost.
    pub answer_lost: u64,
    /// Conditional puts that are answered "exists" without being done.
    pub false_exists: u64,
    /// Puts that are answered with an error and done later.
    pub late: u64,
    /// Puts that are never answered, and done later or never.
    pub silent: u64,
    /// How long a request may take one way.
    pub delay_max_ms: u64,
}

/// Who sees a put, its key and its bytes, before it leaves its sender.
pub type Gate = Arc<dyn Fn(&str, &[u8]) + Send + Sync>;

/// The far end; every instance has its own line to it.
#[derive(Debug, Clone, Default)]
pub struct FarEnd(Arc<Mutex<End>>);

#[derive(Debug)]
struct End {
    objects: Arc<InMemory>,
    weather: Weather,
    on_their_way: BTreeMap<(u64, u64), Put>,
    /// When an object was put, by the time line.
    put_ms: BTreeMap<Path, u64>,
    newest_put: Option<Path>,
    counted: u64,
}

impl Default for End {
    fn default() -> Self {
        End {
            objects: Arc::new(InMemory::new()),
            weather: Weather::default(),
            on_their_way: BTreeMap::new(),
            put_ms: BTreeMap::new(),
            newest_put: None,
            counted: 0,
        }
    }
}

#[derive(Debug)]
struct Put {
    location: Path,
    payload: PutPayload,
    options: PutOptions,
    sender: String,
    answer: oneshot::Sender<Result<PutResult>>,
}

impl FarEnd {
    fn lock(&self) -> MutexGuard<'_, End> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The objects themselves.
    pub fn objects(&self) -> Arc<InMemory> {
        Arc::clone(&self.lock().objects)
    }

    /// Changes the weather.
    pub fn set_weather(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    /// What it says of an object, dated by the time line; what no line put is as old as the world.
    fn dated(&self, meta: ObjectMeta) -> ObjectMeta {
        let put_ms = self.lock().put_ms.get(&meta.location).copied().unwrap_or(0);
        let wall_ms = EPOCH_MS + i64::try_from(put_ms).unwrap_or(0);
        ObjectMeta {
            last_modified: DateTime::from_timestamp_millis(wall_ms).unwrap_or_default(),
            ..meta
        }
    }

    /// Whether the last object that was put is a data file, whose commit is still to come.
    pub fn has_staged_file(&self) -> bool {
        let end = self.lock();
        let name = end.newest_put.as_ref().and_then(Path::filename);
        name.is_some_and(|name| name.starts_with("part-"))
    }

    /// When the next put arrives.
    pub fn next_arrival_ms(&self) -> Option<u64> {
        self.lock().on_their_way.keys().next().map(|(at, _)| *at)
    }

    /// Does what has arrived.
    pub fn arrive(&self, now_ms: u64, trace: &Trace) {
        loop {
            let mut end = self.lock();
            let due = end
                .on_their_way
                .first_key_value()
                .filter(|((at, _), _)| *at <= now_ms)
                .map(|(key, _)| *key);
            let Some(put) = due.and_then(|key| end.on_their_way.remove(&key)) else {
                return;
            };
            let objects = Arc::clone(&end.objects);
            drop(end);
            let name = put.location.filename().unwrap_or("").to_owned();
            let done = objects
                .put_opts(&put.location, put.payload, put.options)
                .now_or_never();
            let Some(result) = done else { continue };
            if result.is_ok() {
                let mut end = self.lock();
                end.put_ms.insert(put.location.clone(), now_ms);
                end.newest_put = Some(put.location.clone());
            }
            let word = if result.is_ok() { "done" } else { "refused" };
            trace.note(
                now_ms,
                "store",
                format_args!("{word} {name} of {}", put.sender),
            );
            // Whoever sent it may be gone.
            drop(put.answer.send(result));
        }
    }
}

/// One instance's line.
#[derive(Clone)]
pub struct DistantStore {
    end: FarEnd,
    timeline: Timeline,
    trace: Trace,
    name: String,
    random: Arc<Mutex<Random>>,
    gate: Gate,
}

impl fmt::Debug for DistantStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DistantStore")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for DistantStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Distant({})", self.name)
    }
}

/// What becomes of a put.
enum Fate {
    Done,
    Lost,
    AnswerLost,
    FalseExists,
    Late,
    Silent,
}

impl DistantStore {
    /// A line to the far end.
    pub fn new(
        end: &FarEnd,
        timeline: &Timeline,
        trace: &Trace,
        name: &str,
        random: Random,
    ) -> Self {
        DistantStore {
            end: end.clone(),
            timeline: timeline.clone(),
            trace: trace.clone(),
            name: name.to_owned(),
            random: Arc::new(Mutex::new(random)),
            gate: Arc::new(|_, _| {}),
        }
    }

    /// The same, and `gate` sees every put before it leaves.
    pub fn with_gate(self, gate: Gate) -> Self {
        DistantStore { gate, ..self }
    }

    fn random(&self) -> MutexGuard<'_, Random> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delay_ms(&self) -> u64 {
        let most = self.end.lock().weather.delay_max_ms;
        let mut random = self.random();
        // Mostly quick, seldom as slow as can be.
        let most = if random.per_mille(100) {
            most
        } else {
            most / 20
        };
        random.within(0..=most)
    }

    async fn travel(&self) {
        let ms = self.delay_ms();
        if ms > 0 {
            self.timeline.sleep(Duration::from_millis(ms)).await;
        }
    }

    fn fate(&self, is_conditional: bool) -> Fate {
        let weather = self.end.lock().weather;
        let mut drawn = self.random().within(0..=999);
        let mut fits = |share: u64| {
            let fits = drawn < share;
            drawn = drawn.wrapping_sub(share);
            fits
        };
        if fits(weather.lost) {
            Fate::Lost
        } else if fits(weather.answer_lost) {
            Fate::AnswerLost
        } else if fits(weather.late) {
            Fate::Late
        } else if fits(weather.silent) {
            Fate::Silent
        } else if fits(weather.false_exists) && is_conditional {
            Fate::FalseExists
        } else {
            Fate::Done
        }
    }

    /// A read goes there, happens, and comes back.
    async fn read<T>(&self, what: impl Future<Output = Result<T>>) -> Result<T> {
        self.travel().await;
        let lost = self.end.lock().weather.lost;
        if self.random().per_mille(lost) {
            return Err(reset());
        }
        let found = what.await;
        self.travel().await;
        found
    }

    fn send(
        &self,
        delay_ms: u64,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> oneshot::Receiver<Result<PutResult>> {
        let (answer, answered) = oneshot::channel();
        let at = self.timeline.now_ms() + delay_ms;
        let mut end = self.end.lock();
        end.counted += 1;
        let key = (at, end.counted);
        let put = Put {
            location: location.clone(),
            payload,
            options,
            sender: self.name.clone(),
            answer,
        };
        end.on_their_way.insert(key, put);
        answered
    }
}

fn reset() -> Error {
    Error::Generic {
        store: "distant",
        source: "simulated: connection reset".into(),
    }
}

fn exists(location: &Path) -> Error {
    Error::AlreadyExists {
        path: location.to_string(),
        source: "simulated: false 409".into(),
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for DistantStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let bytes = Bytes::from(payload.clone());
        (self.gate)(location.as_ref(), &bytes);
        let fate = self.fate(options.mode == PutMode::Create);
        let word = match fate {
            Fate::Done => "puts",
            Fate::Lost => "puts and it is lost:",
            Fate::AnswerLost => "puts and the answer is lost:",
            Fate::FalseExists => "puts and a false 409:",
            Fate::Late => "puts and it arrives late:",
            Fate::Silent => "puts and hears nothing:",
        };
        let name = location.filename().unwrap_or("").to_owned();
        self.trace.note(
            self.timeline.now_ms(),
            &self.name,
            format_args!("{word} {name} of {} bytes", bytes.len()),
        );
        match fate {
            Fate::Lost => {
                self.travel().await;
                Err(reset())
            }
            Fate::FalseExists => {
                self.travel().await;
                Err(exists(location))
            }
            Fate::Done | Fate::AnswerLost => {
                let answered = self.send(self.delay_ms(), location, payload, options);
                let answer = answered.await.unwrap_or_else(|_| Err(reset()));
                self.travel().await;
                if matches!(fate, Fate::AnswerLost) {
                    return Err(reset());
                }
                answer
            }
            Fate::Late => {
                let delay_ms = self.random().within(1..=20_000);
                drop(self.send(delay_ms, location, payload, options));
                self.travel().await;
                Err(reset())
            }
            Fate::Silent => {
                let delay_ms = self.random().within(1..=90_000);
                if self.random().per_mille(700) {
                    drop(self.send(delay_ms, location, payload, options));
                }
                // The client's own limit; whoever is less patient has given up.
                self.timeline.sleep(CLIENT_LIMIT).await;
                Err(reset())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.end
            .objects()
            .put_multipart_opts(location, options)
            .await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let objects = self.end.objects();
        let found = self.read(objects.get_opts(location, options)).await?;
        Ok(GetResult {
            meta: self.end.dated(found.meta.clone()),
            ..found
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let objects = self.end.objects();
        self.read(objects.get_ranges(location, ranges)).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.end.objects().delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_after(prefix.cloned(), None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_after(prefix.cloned(), Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let objects = self.end.objects();
        self.read(objects.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.end.objects().copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.end.objects().rename_opts(from, to, options).await
    }
}

impl DistantStore {
    fn list_after(
        &self,
        prefix: Option<Path>,
        offset: Option<Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let line = self.clone();
        let listing = async move {
            let objects = line.end.objects();
            let all = async {
                let listed = match &offset {
                    Some(offset) => objects.list_with_offset(prefix.as_ref(), offset),
                    None => objects.list(prefix.as_ref()),
                };
                listed.try_collect::<Vec<_>>().await
            };
            let all = line.read(all).await?;
            let end = line.end;
            let dated = all.into_iter().map(move |meta| Ok(end.dated(meta)));
            Ok::<_, Error>(futures::stream::iter(dated))
        };
        futures::stream::once(listing).try_flatten().boxed()
    }
}
