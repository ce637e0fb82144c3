//! The schema registry over HTTP: writer schemas by id, the latest of a subject, references. Caches only what it was given (ENV-1): an outage is
//! an error for the caller to wait out, and an unknown id becomes a bad record only after a bounded wait. Blocks; never call it from a task.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::blocking::{Client, ClientBuilder, Response};
use reqwest::{Certificate, Identity, StatusCode, Url, redirect};
use serde::Deserialize;

use super::Error;
use super::reject::shorten;
use super::written::{Referenced, WriterSchema};
use crate::clock::{Clock, Instant};
use crate::config::settings::{RegistryAuth, RegistryTls, SchemaRegistry};

/// How long one request may take, with its connection and redirects.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an unknown id is waited for, since registries replicate.
const UNKNOWN_ID_WAIT: Duration = Duration::from_secs(30);

/// How long the next unknown ids are waited for, so that a topic full of garbage does not wait for every record.
const UNKNOWN_ID_NEXT_WAIT: Duration = Duration::from_secs(2);

/// How long the shorter wait holds after an id turned out unknown.
const UNKNOWN_ID_MEMORY: Duration = Duration::from_secs(600);

/// How long an unknown id is not asked for again.
const UNKNOWN_ID_PAUSE: Duration = Duration::from_secs(10);

/// How many schemas, and how many unknown ids, are remembered.
const CACHE_MAX: usize = 1024;

/// How large an answer may be.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// How many schemas one schema may refer to, directly and indirectly.
const REFERENCES_MAX: usize = 256;

const REDIRECTS_MAX: usize = 5;

/// A client of one schema registry; shared by lanes.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    base: Url,
    auth: RegistryAuth,
    clock: Clock,
    schemas: Mutex<HashMap<u32, Arc<WriterSchema>>>,
    unknown: Mutex<UnknownIds>,
}

/// The latest version of a subject.
#[derive(Debug, Clone)]
pub struct Latest {
    /// Its schema id.
    pub id: u32,
    /// Its version in the subject.
    pub version: u32,
    /// The schema.
    pub schema: Arc<WriterSchema>,
}

/// What the registry says about an id.
#[derive(Debug)]
pub(super) enum Lookup {
    Found(Arc<WriterSchema>),
    /// It does not know the id, also after the wait.
    Unknown,
}

#[derive(Debug, Default)]
struct UnknownIds {
    ids: HashMap<u32, Asked>,
    /// When an id last turned out unknown after its wait.
    confirmed_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    first_at: Instant,
    last_at: Instant,
    is_confirmed: bool,
}

/// A schema as the registry sends it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaAnswer {
    schema: String,
    #[serde(default)]
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<Reference>>,
    #[serde(default)]
    id: Option<u32>,
    #[serde(default)]
    version: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
struct Reference {
    #[serde(default)]
    name: Option<String>,
    subject: String,
    version: i64,
}

#[derive(Debug, Deserialize)]
struct ErrorAnswer {
    error_code: u32,
}

/// What a request came to, where the registry answered as one.
enum Answer {
    Schema(SchemaAnswer),
    NotFound,
}

impl Registry {
    /// Builds the client; asks nothing yet.
    pub fn connect(settings: &SchemaRegistry, clock: Clock) -> Result<Self, Error> {
        Registry::with_timeout(settings, clock, REQUEST_TIMEOUT)
    }

    pub(super) fn with_timeout(
        settings: &SchemaRegistry,
        clock: Clock,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let builder = Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout)
            .redirect(redirect::Policy::custom(stay_on_host))
            .user_agent(concat!("lakeward/", env!("CARGO_PKG_VERSION")))
            // Loading the machine's certificates takes tens of milliseconds of a start; over http nothing uses them, and a redirect to https is another origin.
            .tls_built_in_root_certs(settings.url.scheme() != "http");
        let client =
            with_tls(builder, &settings.tls)?
                .build()
                .map_err(|error| Error::RegistryClient {
                    reason: chain(&error),
                })?;
        if settings.url.cannot_be_a_base() {
            return Err(Error::RegistryClient {
                reason: "the url has no host".to_owned(),
            });
        }
        let schemas = Mutex::new(HashMap::new());
        let unknown = Mutex::new(UnknownIds::default());
        Ok(Registry {
            client,
            base: settings.url.clone(),
            auth: settings.auth.clone(),
            clock,
            schemas,
            unknown,
        })
    }

    /// The schema with an id. An id that the registry does not know is an error to wait out.
    pub fn schema_by_id(&self, id: u32) -> Result<Arc<WriterSchema>, Error> {
        match self.lookup(id)? {
            Lookup::Found(schema) => Ok(schema),
            Lookup::Unknown => Err(Error::UnknownSchemaId {
                id,
                url: self.shown(&self.url(&["schemas", "ids", &id.to_string()])),
            }),
        }
    }

    /// The latest version of a subject.
    pub fn latest(&self, subject: &str) -> Result<Latest, Error> {
        let url = self.url(&["subjects", subject, "versions", "latest"]);
        let Answer::Schema(answer) = self.get(&url)? else {
            return Err(Error::UnknownSubject {
                subject: subject.to_owned(),
                url: self.shown(&url),
            });
        };
        let (Some(id), Some(version)) = (answer.id, answer.version) else {
            return Err(self.unavailable(&url, "the answer has no `id` and `version`"));
        };
        let schema = self.remember(id, self.writer_schema(answer)?);
        Ok(Latest {
            id,
            version,
            schema,
        })
    }

    /// The schema with an id, or the verdict that there is none. Until the wait for an unknown id is over, it is an error.
    pub(super) fn lookup(&self, id: u32) -> Result<Lookup, Error> {
        if let Some(schema) = lock(&self.schemas).get(&id) {
            return Ok(Lookup::Found(Arc::clone(schema)));
        }
        if self.is_known_to_be_unknown(id) {
            return Ok(Lookup::Unknown);
        }
        let url = self.url(&["schemas", "ids", &id.to_string()]);
        match self.get(&url)? {
            Answer::Schema(answer) => {
                let schema = self.remember(id, self.writer_schema(answer)?);
                lock(&self.unknown).ids.remove(&id);
                Ok(Lookup::Found(schema))
            }
            Answer::NotFound if self.has_been_waited_for(id) => Ok(Lookup::Unknown),
            Answer::NotFound => Err(Error::UnknownSchemaId {
                id,
                url: self.shown(&url),
            }),
        }
    }

    fn remember(&self, id: u32, schema: WriterSchema) -> Arc<WriterSchema> {
        let mut schemas = lock(&self.schemas);
        if schemas.len() >= CACHE_MAX {
            schemas.clear();
        }
        Arc::clone(schemas.entry(id).or_insert_with(|| Arc::new(schema)))
    }

    fn is_known_to_be_unknown(&self, id: u32) -> bool {
        let unknown = lock(&self.unknown);
        let asked = unknown.ids.get(&id);
        asked.is_some_and(|asked| {
            asked.is_confirmed && self.clock.now().since(asked.last_at) < UNKNOWN_ID_PAUSE
        })
    }

    /// Notes that the registry does not know an id, and says whether the wait for it is over.
    fn has_been_waited_for(&self, id: u32) -> bool {
        let now = self.clock.now();
        let mut unknown = lock(&self.unknown);
        if unknown.ids.len() >= CACHE_MAX && !unknown.ids.contains_key(&id) {
            unknown.ids.clear();
        }
        let is_recent = |confirmed_at: Instant| now.since(confirmed_at) < UNKNOWN_ID_MEMORY;
        let wait = if unknown.confirmed_at.is_some_and(is_recent) {
            UNKNOWN_ID_NEXT_WAIT
        } else {
            UNKNOWN_ID_WAIT
        };
        let asked = unknown.ids.entry(id).or_insert(Asked {
            first_at: now,
            last_at: now,
            is_confirmed: false,
        });
        asked.last_at = now;
        asked.is_confirmed |= now.since(asked.first_at) >= wait;
        let is_confirmed = asked.is_confirmed;
        if is_confirmed {
            unknown.confirmed_at = Some(now);
        }
        is_confirmed
    }

    /// Parses an answer with all that it refers to. A schema that we cannot use is an answer too.
    fn writer_schema(&self, answer: SchemaAnswer) -> Result<WriterSchema, Error> {
        let mut references = Vec::new();
        let mut seen = HashSet::new();
        self.collect_references(
            answer.references.unwrap_or_default(),
            &mut references,
            &mut seen,
        )?;
        let kind = answer.schema_type.as_deref().unwrap_or("AVRO");
        Ok(WriterSchema::parse(kind, &answer.schema, references))
    }

    /// Gathers the texts of references, each after those that it refers to itself.
    fn collect_references(
        &self,
        references: Vec<Reference>,
        texts: &mut Vec<Referenced>,
        seen: &mut HashSet<Reference>,
    ) -> Result<(), Error> {
        for reference in references {
            if seen.len() >= REFERENCES_MAX || !seen.insert(reference.clone()) {
                continue;
            }
            let Reference {
                name,
                subject,
                version,
            } = reference;
            let url = self.url(&["subjects", &subject, "versions", &version.to_string()]);
            let Answer::Schema(answer) = self.get(&url)? else {
                return Err(
                    self.unavailable(&url, "a schema refers to this version, and it is not there")
                );
            };
            self.collect_references(answer.references.unwrap_or_default(), texts, seen)?;
            texts.push(Referenced {
                name: name.unwrap_or_default(),
                text: answer.schema,
            });
        }
        Ok(())
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// A URL for a message: without credentials.
    fn shown(&self, url: &Url) -> String {
        let mut shown = url.clone();
        // A URL with a host takes both.
        let _accepted = shown
            .set_username("")
            .and_then(|()| shown.set_password(None));
        shown.set_query(None);
        shown.to_string()
    }

    fn unavailable(&self, url: &Url, reason: impl Into<String>) -> Error {
        Error::RegistryUnavailable {
            url: self.shown(url),
            reason: reason.into(),
        }
    }

    /// Asks once. Anything but a schema or the registry's own "not found" is an environment failure (ENV-1).
    fn get(&self, url: &Url) -> Result<Answer, Error> {
        let request = self.client.get(url.clone()).header(
            "accept",
            "application/vnd.schemaregistry.v1+json, application/json",
        );
        let request = match &self.auth {
            RegistryAuth::None => request,
            RegistryAuth::Basic { username, password } => {
                request.basic_auth(username, Some(password.reveal()))
            }
            RegistryAuth::Bearer(token) => request.bearer_auth(token.reveal()),
        };
        let response = request
            .send()
            .map_err(|error| self.unavailable(url, chain(&error.without_url())))?;
        let status = response.status();
        let body = self.body(url, response)?;
        match status {
            StatusCode::OK => {
                let answer = serde_json::from_slice(&body);
                answer.map(Answer::Schema).map_err(|error| {
                    self.unavailable(
                        url,
                        format!(
                            "the answer is no schema ({error}): {}",
                            shorten(&String::from_utf8_lossy(&body))
                        ),
                    )
                })
            }
            // A server that is no registry, or the wrong path of one, answers 404 too, but not in the registry's words.
            StatusCode::NOT_FOUND if is_registry_not_found(&body) => Ok(Answer::NotFound),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.unavailable(
                url,
                format!("{status}: see schema_registry.basic_auth or bearer_token"),
            )),
            _ => Err(self.unavailable(
                url,
                format!("{status}: {}", shorten(&String::from_utf8_lossy(&body))),
            )),
        }
    }

    fn body(&self, url: &Url, response: Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        let read = response.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut body);
        read.map_err(|error| self.unavailable(url, format!("the answer breaks off: {error}")))?;
        if body.len() as u64 > ANSWER_BYTES_MAX {
            return Err(self.unavailable(
                url,
                format!("the answer is larger than {ANSWER_BYTES_MAX} bytes"),
            ));
        }
        Ok(body)
    }
}

/// Adds what the config trusts and shows.
fn with_tls(mut builder: ClientBuilder, tls: &RegistryTls) -> Result<ClientBuilder, Error> {
    let read = |path: &Path, key: &str| {
        fs::read(path).map_err(|error| Error::RegistryClient {
            reason: format!("cannot read {} (tls.{key}): {error}", path.display()),
        })
    };
    let unusable = |path: &Path, key: &str, error: reqwest::Error| Error::RegistryClient {
        reason: format!(
            "{} (tls.{key}) is not usable: {}",
            path.display(),
            chain(&error)
        ),
    };
    if let Some(path) = &tls.ca {
        let certificates = Certificate::from_pem_bundle(&read(path, "ca")?)
            .map_err(|error| unusable(path, "ca", error))?;
        if certificates.is_empty() {
            let reason = format!("{} (tls.ca) holds no certificate", path.display());
            return Err(Error::RegistryClient { reason });
        }
        for certificate in certificates {
            builder = builder.add_root_certificate(certificate);
        }
    }
    if let Some((certificate, key)) = &tls.identity {
        let mut pem = read(certificate, "certificate")?;
        pem.push(b'\n');
        pem.extend(read(key, "key")?);
        let identity = Identity::from_pem(&pem)
            .map_err(|error| unusable(certificate, "certificate", error))?;
        builder = builder.identity(identity);
    }
    Ok(builder)
}

/// Whether a 404 says, in the registry's words, that a subject, version or schema does not exist.
fn is_registry_not_found(body: &[u8]) -> bool {
    let answer = serde_json::from_slice::<ErrorAnswer>(body);
    answer.is_ok_and(|answer| matches!(answer.error_code, 404 | 40401..=40403))
}

/// Follows redirects on the same host only, so that credentials and trust stay where the config put them.
fn stay_on_host(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let origin = attempt.previous().first().map(Url::origin);
    if origin != Some(attempt.url().origin()) {
        return attempt.error("a redirect to another host is refused");
    }
    if attempt.previous().len() > REDIRECTS_MAX {
        return attempt.error("too many redirects");
    }
    attempt.follow()
}

/// An error with its causes, which is where the reason is.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The maps are whole between statements, whatever a panicking thread did.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
