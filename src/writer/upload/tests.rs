//! Files into real and failing stores: keys as they are, parts in order, nothing left behind by a failure.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, ObjectMeta, PutMultipartOptions, PutOptions,
    PutResult, UploadPart,
};
use url::Url;

use super::*;
use crate::error::Kind;
use crate::writer::testing::{encode, field, identity, layout, schema};

const HOSTILE: [&str; 16] = [
    "a/b",
    "..",
    ".",
    "../../x",
    "50%",
    "%2F",
    "a=b",
    "a:b",
    "a b",
    " ",
    "tab\tnew\nline",
    "nul\0",
    "ü漢🦀",
    "?#[]{}^\"'*\\",
    "__HIVE_DEFAULT_PARTITION__",
    "~",
];

fn files(values: &[&str]) -> Vec<EncodedFile> {
    let columns = schema(vec![
        field("p", DataType::Utf8),
        field("n", DataType::Int64),
    ]);
    let names: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(
        0..i64::try_from(values.len()).unwrap(),
    ));
    let batch = RecordBatch::try_new(Arc::clone(&columns), vec![names, numbers]).unwrap();
    encode(layout(&columns, &[identity("p")]), &[batch])
}

/// Many bytes that are no Parquet: only their way matters here.
fn large(megabytes: usize) -> EncodedFile {
    let mut file = files(&["x"]).remove(0);
    file.segments_mut().clear();
    file.segments_mut().extend(
        (0..megabytes)
            .map(|number| Bytes::from(vec![u8::try_from(number % 256).unwrap(); 1024 * 1024])),
    );
    file
}

/// The way of `add.path`: everything that is not plainly allowed in a URL's path is encoded.
fn url_encoded(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/=".contains(&byte);
    key.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn on_disk(root: &Url, key: &str) -> PathBuf {
    root.join(&url_encoded(key))
        .unwrap()
        .to_file_path()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_are_found_where_the_log_says() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("a table 100%");
    std::fs::create_dir(&root).unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(&root).unwrap());
    let long = "漢%".repeat(3000);
    let values: Vec<&str> = HOSTILE.into_iter().chain([long.as_str()]).collect();
    let encoded = files(&values);
    assert_eq!(encoded.len(), values.len());
    let staged = upload(
        &store,
        Some(&root),
        encoded.clone(),
        &Clock::manual(77, 0),
        3,
    )
    .await
    .unwrap();
    let url = Url::from_directory_path(&root).unwrap();
    for (staged, encoded) in staged.iter().zip(&encoded) {
        let path = on_disk(&url, &staged.path);
        assert_eq!(
            path,
            root.join(&staged.path),
            "the key is the path, character for character"
        );
        assert_eq!(std::fs::read(&path).unwrap(), encoded.segments().concat());
        assert_eq!(
            (staged.size_bytes, staged.rows, staged.modified_ms),
            (encoded.size_bytes(), 1, 77)
        );
        assert!(
            staged.path.len() < 900
                && staged
                    .path
                    .split('/')
                    .all(|component| component.len() < 255),
            "{}",
            staged.path
        );
    }
    let mut found: Vec<_> = staged
        .iter()
        .map(|file| file.partition_values["p"].clone().unwrap())
        .collect();
    let mut expected: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "the log keeps the true values");
    let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    assert_eq!(listed.len(), values.len(), "nothing escapes the table");
    let mut keys: Vec<_> = listed
        .iter()
        .map(|object| object.location.to_string())
        .collect();
    let mut paths: Vec<_> = staged.into_iter().map(|file| file.path).collect();
    keys.sort_unstable();
    paths.sort_unstable();
    assert_eq!(keys, paths);
}

#[tokio::test]
async fn large_files_go_up_in_parts_and_arrive_whole() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let file = large(29);
    assert_eq!(
        parts(file.segments())
            .iter()
            .map(PutPayload::content_length)
            .collect::<Vec<_>>(),
        [8 << 20, 8 << 20, 8 << 20, 5 << 20]
    );
    let whole = file.segments().concat();
    let staged = upload(&store, None, vec![file], &Clock::manual(0, 0), 1)
        .await
        .unwrap();
    let back = store
        .get(&Path::parse(&staged[0].path).unwrap())
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert!(back == whole, "the bytes differ");
}

#[tokio::test]
async fn a_failing_part_takes_back_the_others_and_names_the_file() {
    let failing = Arc::new(Failing::default());
    let store: Arc<dyn ObjectStore> = Arc::<Failing>::clone(&failing);
    let file = large(40);
    let path = file.path.clone();
    let error = upload(&store, None, vec![file], &Clock::manual(0, 0), 1)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(
        error.to_string(),
        format!(
            "storage.url: {path} could not be written: Generic failing error: no space left on device"
        )
    );
    assert!(failing.is_aborted.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_failing_put_names_the_file() {
    let store: Arc<dyn ObjectStore> = Arc::new(Failing::default());
    let error = upload(&store, None, files(&["x"]), &Clock::manual(0, 0), 1)
        .await
        .unwrap_err();
    assert!(
        error.to_string().starts_with("storage.url: p=x/part-"),
        "{error}"
    );
}

#[test]
fn syncing_names_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let staged = StagedFile {
        path: "p=1/gone.parquet".into(),
        partition_values: std::collections::BTreeMap::new(),
        size_bytes: 0,
        rows: 0,
        stats: String::new(),
        modified_ms: 0,
        staged: crate::clock::Instant::from_millis(0),
    };
    let error = sync(directory.path(), &[staged]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("p=1/gone.parquet could not be synced"),
        "{error}"
    );
    assert_eq!(error.kind(), Kind::Unavailable);
}

/// A store whose disk is full.
#[derive(Debug, Default)]
struct Failing {
    is_aborted: Arc<AtomicBool>,
    inner: InMemory,
}

impl std::fmt::Display for Failing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failing")
    }
}

fn full() -> object_store::Error {
    object_store::Error::Generic {
        store: "failing",
        source: "no space left on device".into(),
    }
}

#[derive(Debug)]
struct FailingUpload {
    is_aborted: Arc<AtomicBool>,
    parts: Mutex<u32>,
}

#[async_trait::async_trait]
impl MultipartUpload for FailingUpload {
    fn put_part(&mut self, _: PutPayload) -> UploadPart {
        let mut parts = self.parts.lock().unwrap();
        *parts += 1;
        let outcome = if *parts > 2 { Err(full()) } else { Ok(()) };
        async move { outcome }.boxed()
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        panic!("completed though a part failed")
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.is_aborted.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[async_trait::async_trait]
impl ObjectStore for Failing {
    async fn put_opts(
        &self,
        _: &Path,
        _: PutPayload,
        _: PutOptions,
    ) -> object_store::Result<PutResult> {
        Err(full())
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(FailingUpload {
            is_aborted: Arc::clone(&self.is_aborted),
            parts: Mutex::new(0),
        }))
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
