//! The commit (ARCHITECTURE section 4): the only place that puts a version. Owns the loop of check, put and settle; an unclear result is settled by reading
//! the log, never by guessing (COMMIT-1), and nothing is put on an aged base, over a hole, or into another table's life (COMMIT-2).
//!
//! | what the store says of version N+1 | what the log then shows | outcome |
//! |---|---|---|
//! | put | entry N is still the one we read | committed |
//! | put | entry N is gone or another | reopened: ours among the entries that count -> committed, else unknown |
//! | anything else | our UUID at N+1 | as after "put" |
//! | anything else | somebody else's entry | superseded, conflict, or the next try on the new base |
//! | anything else | nothing | the same version again: "exists" may be false, and a put may still arrive |

use std::time::Duration;

use bytes::Bytes;
use deltalake::kernel::transaction::TransactionError;
use deltalake::logstore::CommitOrBytes;

use crate::clock::{Clock, Instant};
use crate::delta::change::{Change, Plan, Refusal};
use crate::delta::error::{Error, brief};
use crate::delta::log::{self, Read};
use crate::delta::mend::Mending;
use crate::delta::outbox::Publication;
use crate::delta::replay;
use crate::delta::sources::TopicStart;
use crate::delta::table::Table;
use crate::model::commit::{Append, CommitOutcome, Replay, Rewrite, STAGED_AGE_MAX};
use crate::trial::{self, Bug};

/// How long one commit may take before its result counts as unknown.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long the store may take for one request.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// The age at which a base is reopened before anything is put on it (COMMIT-2); the clock counts suspension.
const BASE_AGE_MAX: Duration = Duration::from_secs(120);
const PAUSE_FIRST_MS: u64 = 10;
const PAUSE_MAX_MS: u64 = 2_000;

/// One commit from its first try to its outcome.
#[derive(Debug)]
struct Attempt {
    /// The commit's UUID; the same on every try.
    id: String,
    started_ms: i64,
    deadline: Instant,
    /// The version of a put whose result is not settled: it may have arrived, or still arrive.
    in_flight: Option<u64>,
    tries: u32,
    trouble: String,
}

/// What one try came to.
enum Step {
    Done(CommitOutcome),
    Again,
}

/// What lies behind the base.
enum Followed {
    /// Our commit is at the base's next version; nothing was taken in.
    Ours(Box<Read>),
    /// The base is the newest version now.
    Newest,
    /// The base is not in the log any more.
    Lost,
    /// Somebody else's commit excludes ours.
    Refused(Refusal),
}

impl Table {
    /// Commits files and offsets at once (OFF-4), or says why nothing of them is in the table. An advance that moves nothing commits nothing.
    pub async fn commit(&mut self, append: &Append, name: &str) -> CommitOutcome {
        if append.advance.is_empty() && append.files.is_empty() {
            return CommitOutcome::Committed(self.version());
        }
        Box::pin(self.settle(&Change::Append { append, name })).await
    }

    /// Names topics that are new to the table, or higher-numbered topic partitions of known ones, with their first offsets. What another instance named first is adopted.
    pub async fn begin_topics(&mut self, sources: &[TopicStart]) -> Result<CommitOutcome, Error> {
        sources
            .iter()
            .try_for_each(|start| self.check_known(&start.topic))?;
        let outcome = Box::pin(self.settle(&Change::Begin(sources))).await;
        self.hand_out(&[]);
        Ok(outcome)
    }

    /// Changes what the table says of its sources, without a record; all of it or nothing.
    pub async fn mend(&mut self, mending: &Mending) -> CommitOutcome {
        Box::pin(self.settle(&Change::Mend(mending))).await
    }

    /// Puts files in the place of others, or says why not: when one of them is gone or touched since this table was loaded, the whole is dropped (COMP-2).
    pub async fn rewrite(&mut self, rewrite: &Rewrite) -> CommitOutcome {
        Box::pin(self.settle(&Change::Rewrite(rewrite))).await
    }

    /// Takes a replay's rows into the main table, or says why not: another replay since its records were read drops it whole (DLQ-1).
    pub async fn replay(&mut self, replay: &Replay, name: &str) -> CommitOutcome {
        Box::pin(self.settle(&Change::Replay { replay, name })).await
    }

    /// Shows rejected records in their own table, once (DLQ-1).
    pub(crate) async fn publish(&mut self, publication: &Publication) -> CommitOutcome {
        Box::pin(self.settle(&Change::Publish(publication))).await
    }

    /// Follows the log to its newest version. A table that is gone, or another one in its place, is an error (COMMIT-2).
    pub async fn refresh(&mut self) -> Result<(), Error> {
        self.follow_to_newest().await?;
        let (was, is) = (&self.handed_out.shape.metadata.id, self.id());
        if was == is {
            return Ok(());
        }
        Err(Error::Replaced {
            location: self.location().to_owned(),
            was: was.clone(),
            is: is.to_owned(),
        })
    }

    async fn follow_to_newest(&mut self) -> Result<(), Error> {
        let mut attempt = Attempt::new(&self.clock);
        match Box::pin(self.follow(&Change::Begin(&[]), &mut attempt)).await? {
            Followed::Newest | Followed::Refused(_) | Followed::Ours(_) => Ok(()),
            Followed::Lost => {
                let gone = || Error::Gone {
                    location: self.location().to_owned(),
                };
                let loaded = match Box::pin(replay::load(&self.store, &self.clock, None)).await {
                    // Its data files may outlive its log.
                    Err(Error::NotATable { .. }) => Err(gone()),
                    loaded => loaded?.ok_or_else(gone),
                };
                self.state = loaded?.state;
                Ok(())
            }
        }
    }

    async fn settle(&mut self, change: &Change<'_>) -> CommitOutcome {
        let mut attempt = Attempt::new(&self.clock);
        loop {
            let step = match self.step(change, &mut attempt).await {
                Ok(step) => step,
                Err(error @ Error::Store { .. }) => {
                    attempt.trouble = error.to_string();
                    Step::Again
                }
                Err(error) => Step::Done(attempt.refuse(Refusal::Conflict(error.to_string()))),
            };
            match step {
                Step::Done(outcome) => {
                    change.note(&attempt.id, &outcome);
                    return outcome;
                }
                Step::Again if self.clock.now() >= attempt.deadline => {
                    let outcome = attempt.give_up();
                    change.note(&attempt.id, &outcome);
                    return outcome;
                }
                Step::Again => self.clock.sleep(attempt.pause(&self.clock)).await,
            }
        }
    }

    /// One try: base, plan, put, settle.
    async fn step(&mut self, change: &Change<'_>, attempt: &mut Attempt) -> Result<Step, Error> {
        attempt.tries += 1;
        if self.clock.now().since(self.state.confirmed) >= BASE_AGE_MAX {
            // What rests on files must see every entry since its base; all else takes a fresh base.
            if change.rests_on_files() {
                match self.follow(change, attempt).await? {
                    Followed::Newest => {}
                    Followed::Ours(read) => return self.conclude(change, *read, attempt).await,
                    Followed::Lost => return self.reopened(change, attempt).await,
                    Followed::Refused(refusal) => return Ok(Step::Done(attempt.refuse(refusal))),
                }
            } else if let Some(outcome) = self.reopen(change, attempt).await? {
                return Ok(Step::Done(outcome));
            }
        }
        let entry = match change.plan(self, &attempt.id, attempt.started_ms)? {
            Plan::Put(entry) => entry,
            Plan::Nothing => return Ok(Step::Done(CommitOutcome::Committed(self.version()))),
            Plan::Refused(refusal) => return Ok(Step::Done(attempt.refuse(refusal))),
        };
        if !self.holds().await? {
            return self.reopened(change, attempt).await;
        }
        if !change.may_start() {
            return Ok(Step::Done(
                attempt.refuse(Refusal::Superseded("its epoch has ended".to_owned())),
            ));
        }
        if let Some(file) = change.aged(self.clock.now()) {
            return Ok(Step::Done(attempt.refuse(Refusal::Conflict(format!(
                "`{}` has waited for its commit for more than {} minutes, and a vacuum may be near; its rows are read again (H19)",
                file.path,
                STAGED_AGE_MAX.as_secs() / 60
            )))));
        }
        let version = self.version() + 1;
        match self.put(version, entry, attempt).await {
            Ok(()) => match self.read(version).await? {
                Some(read) if attempt.is_author_of(&read) => {
                    self.conclude(change, read, attempt).await
                }
                Some(_) | None => self.reopened(change, attempt).await,
            },
            Err(trouble) => {
                attempt.trouble = trouble;
                self.settle_by_reading(change, attempt).await
            }
        }
    }

    async fn settle_by_reading(
        &mut self,
        change: &Change<'_>,
        attempt: &mut Attempt,
    ) -> Result<Step, Error> {
        match self.follow(change, attempt).await? {
            Followed::Ours(read) => self.conclude(change, *read, attempt).await,
            Followed::Newest => Ok(Step::Again),
            Followed::Lost => self.reopened(change, attempt).await,
            Followed::Refused(refusal) => Ok(Step::Done(attempt.refuse(refusal))),
        }
    }

    /// Our entry is at the base's next version. It counts only if the base is still the one it was written for (COMMIT-2).
    async fn conclude(
        &mut self,
        change: &Change<'_>,
        read: Read,
        attempt: &mut Attempt,
    ) -> Result<Step, Error> {
        if !self.holds().await? {
            return self.reopened(change, attempt).await;
        }
        self.state.apply(&self.store, read)?;
        self.state.confirmed = self.clock.now();
        Ok(Step::Done(CommitOutcome::Committed(self.version())))
    }

    /// Reads what lies behind the base and takes it in, up to the newest version or our own commit.
    async fn follow(
        &mut self,
        change: &Change<'_>,
        attempt: &mut Attempt,
    ) -> Result<Followed, Error> {
        let now = self.clock.now();
        let mut reads = Vec::new();
        let mut next = self.version() + 1;
        while let Some(read) = self.read(next).await? {
            let is_ours = attempt.recognises(&read);
            reads.push(read);
            if is_ours {
                break;
            }
            next += 1;
        }
        // Only while the base stands do these entries continue it, rather than another table's log.
        if !self.holds().await? {
            return Ok(Followed::Lost);
        }
        for read in reads {
            if attempt.recognises(&read) {
                return Ok(Followed::Ours(Box::new(read)));
            }
            let refusal = change.excluded_by(&self.state, &read.entry);
            self.state.apply(&self.store, read)?;
            if attempt.in_flight == Some(self.version()) {
                attempt.in_flight = None;
            }
            if let Some(refusal) = refusal {
                return Ok(Followed::Refused(refusal));
            }
        }
        self.state.confirmed = now;
        Ok(Followed::Newest)
    }

    async fn reopened(
        &mut self,
        change: &Change<'_>,
        attempt: &mut Attempt,
    ) -> Result<Step, Error> {
        Ok(self
            .reopen(change, attempt)
            .await?
            .map_or(Step::Again, Step::Done))
    }

    /// Takes a fresh base; answers the outcome if that settles the commit.
    async fn reopen(
        &mut self,
        change: &Change<'_>,
        attempt: &mut Attempt,
    ) -> Result<Option<CommitOutcome>, Error> {
        let loaded = Box::pin(replay::load(&self.store, &self.clock, Some(&attempt.id)));
        let Some(loaded) = bounded(&self.clock, DEADLINE, loaded)
            .await
            .unwrap_or_else(|| Err(self.silent("reopen the table")))?
        else {
            return Ok(Some(
                attempt.refuse(Refusal::Conflict("the table is gone".to_owned())),
            ));
        };
        self.state = loaded.state;
        if let Some(version) = loaded.found.filter(|_| !trial::has(Bug::NoReadBack)) {
            return Ok(Some(CommitOutcome::Committed(version)));
        }
        match attempt.in_flight {
            // The entry may be among those that a checkpoint stands for, or below it and never counted.
            Some(version) if version < loaded.read_from => Ok(Some(CommitOutcome::Unknown(
                format!("the log was cleaned up over version {version}"),
            ))),
            Some(version) if version <= self.version() => {
                attempt.in_flight = None;
                Ok(attempt.refuse_unseen(change))
            }
            Some(version) if version > self.version() + 1 => Ok(Some(CommitOutcome::Unknown(
                format!("a put of version {version} lies over a hole"),
            ))),
            Some(_) | None => Ok(attempt.refuse_unseen(change)),
        }
    }

    async fn put(&self, version: u64, entry: Bytes, attempt: &mut Attempt) -> Result<(), String> {
        attempt.in_flight = Some(version);
        let put = self.store.log().write_commit_entry(
            version,
            CommitOrBytes::LogBytes(entry),
            self.clock.new_uuid(),
        );
        match bounded(&self.clock, REQUEST_LIMIT, put).await {
            Some(Ok(())) => Ok(()),
            Some(Err(TransactionError::VersionAlreadyExists(_))) => Err(format!(
                "the store says that version {version} exists, but does not show it"
            )),
            Some(Err(error)) => Err(brief(&error)),
            None => Err(format!(
                "the store did not answer the put of version {version} within {} s",
                REQUEST_LIMIT.as_secs()
            )),
        }
    }

    async fn read(&self, version: u64) -> Result<Option<Read>, Error> {
        bounded(&self.clock, REQUEST_LIMIT, log::read(&self.store, version))
            .await
            .unwrap_or_else(|| Err(self.silent("read the log")))
    }

    async fn holds(&mut self) -> Result<bool, Error> {
        let silent = self.silent("look at the log");
        bounded(&self.clock, REQUEST_LIMIT, self.state.holds(&self.store))
            .await
            .unwrap_or(Err(silent))
    }

    fn silent(&self, action: &str) -> Error {
        self.store.failed(action, "no answer in time")
    }
}

impl Attempt {
    fn new(clock: &Clock) -> Self {
        Attempt {
            id: clock.new_id(),
            started_ms: clock.wall_ms(),
            deadline: clock.now().after(DEADLINE),
            in_flight: None,
            tries: 0,
            trouble: "every try lost its race".to_owned(),
        }
    }

    fn is_author_of(&self, read: &Read) -> bool {
        read.entry.info.txn_id.as_deref() == Some(self.id.as_str())
    }

    /// Whether an entry that is read after an unclear result is ours (COMMIT-1).
    fn recognises(&self, read: &Read) -> bool {
        self.is_author_of(read) && !trial::has(Bug::NoReadBack)
    }

    /// A refusal is certain only while no put of ours can still arrive.
    fn refuse(&self, refusal: Refusal) -> CommitOutcome {
        match (self.in_flight, refusal) {
            (Some(version), Refusal::Superseded(reason) | Refusal::Conflict(reason)) => {
                CommitOutcome::Unknown(format!(
                    "a put of version {version} is not settled, and {reason}"
                ))
            }
            (None, Refusal::Superseded(reason)) => CommitOutcome::Superseded(reason),
            (None, Refusal::Conflict(reason)) => CommitOutcome::Conflict(reason),
        }
    }

    /// On a base that was taken afresh nobody can say whether the files are still there (COMP-2).
    fn refuse_unseen(&self, change: &Change<'_>) -> Option<CommitOutcome> {
        change.rests_on_files().then(|| {
            self.refuse(Refusal::Conflict(
                "the log was taken afresh, and what became of the files in between is unknown (COMP-2)".to_owned(),
            ))
        })
    }

    fn give_up(&self) -> CommitOutcome {
        CommitOutcome::Unknown(format!(
            "no certain result after {} tries within {} s; last: {}",
            self.tries,
            DEADLINE.as_secs(),
            self.trouble
        ))
    }

    /// Doubles with every try and is jittered over its second half, so that rivals do not meet again.
    fn pause(&self, clock: &Clock) -> Duration {
        let full = PAUSE_FIRST_MS
            .saturating_mul(1_u64 << self.tries.min(10))
            .min(PAUSE_MAX_MS);
        let (random, _) = clock.new_uuid().as_u64_pair();
        Duration::from_millis(full / 2 + random % (full / 2 + 1))
    }
}

/// Bounds one piece of waiting; boxed, since the futures of the store are large.
async fn bounded<F: Future>(clock: &Clock, limit: Duration, work: F) -> Option<F::Output> {
    clock.timeout(limit, Box::pin(work)).await
}
