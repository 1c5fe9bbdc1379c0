//! The signal to stop, as every long-running part gets it.

use tokio::sync::watch;

/// Ends when the part is to stop, or when nobody is left who could say so.
pub(crate) async fn stopping(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
