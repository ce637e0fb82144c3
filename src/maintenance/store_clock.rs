//! What the store itself says of time, and the one door through which objects are deleted. Owns both, so that no machine's clock decides what is old.

use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};

use crate::clock::Clock;
use crate::delta::TableStore;
use crate::maintenance::error::Error;

/// Readers of Delta pass over names with an underscore.
pub(super) const STAGING: &str = "_lakeward_staging";

/// Now, by the store's clock: the time stamp of a scratch object. A dry run writes nothing and believes the machine.
pub(super) async fn now_ms(
    store: &TableStore,
    clock: &Clock,
    is_dry_run: bool,
) -> Result<i64, Error> {
    if is_dry_run {
        return Ok(clock.wall_ms());
    }
    let failed = |error: object_store::Error| read(store, "the store's clock", &error);
    let path = Path::from(format!("{STAGING}/{}.clock", clock.new_id()));
    let objects = store.objects();
    objects
        .put(&path, PutPayload::from_static(b"now"))
        .await
        .map_err(failed)?;
    let meta = objects.head(&path).await;
    objects.delete(&path).await.map_err(failed)?;
    Ok(meta.map_err(failed)?.last_modified.timestamp_millis())
}

/// Deletes an object; one that is gone already is fine.
pub(super) async fn delete(store: &TableStore, path: &Path) -> Result<(), Error> {
    match store.objects().delete(path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(read(store, path.as_ref(), &error)),
    }
}

fn read(store: &TableStore, key: &str, error: &object_store::Error) -> Error {
    Error::Store {
        location: store.url().to_string(),
        key: key.to_owned(),
        reason: error.to_string(),
    }
}
