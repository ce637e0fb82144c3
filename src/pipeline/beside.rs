//! Work that blocks, beside the tasks that wait for it. Owns where it runs; not what it is.

use tokio::runtime::Handle;
use tokio::task::JoinError;

/// Runs what blocks on a thread that may block. A simulation has no runtime: there it runs at once, in its turn.
pub(super) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    match Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await,
        Err(_) => Ok(work()),
    }
}
