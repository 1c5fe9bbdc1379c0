//! What Butler tells of itself as events: that it has started, listens, cannot listen, stops.

use std::net::SocketAddr;
use std::sync::Arc;

use butler_plugin_api::{Butler, Data, Udp, kind};
use tokio::sync::{Notify, watch};

use crate::ingest::{self, Faults};
use crate::stop::stopping as asked_to_stop;
use crate::store::{NewEvent, Store, StoreError, now_ms};

/// Tells the start and the sockets, and goes on to tell of sockets that cannot be read until `stop`.
pub(super) async fn begun(
    store: Store,
    accepted: Arc<Notify>,
    udp: Option<Arc<ingest::Running>>,
    mut stop: watch::Receiver<bool>,
) {
    let data = about_butler(format!("Butler {} has started", env!("CARGO_PKG_VERSION")));
    if !tell(&store, &accepted, kind::BUTLER_STARTED, data).await {
        return;
    }
    let Some(udp) = udp else { return };
    for address in [Some(udp.local_addr()), udp.sessions_addr()].into_iter().flatten() {
        if !tell(&store, &accepted, kind::UDP_LISTENING, listening(address)).await {
            return;
        }
    }
    let mut faults = udp.faults();
    let mut known = Faults::new();
    loop {
        let now = faults.borrow_and_update().clone();
        for (kind, data) in changes(&known, &now) {
            if !tell(&store, &accepted, kind, data).await {
                return;
            }
        }
        known = now;
        tokio::select! {
            () = asked_to_stop(&mut stop) => return,
            changed = faults.changed() => if changed.is_err() { return },
        }
    }
}

/// Tells that Butler stops.
pub(super) async fn stopping(store: &Store, accepted: &Notify) {
    tell(store, accepted, kind::BUTLER_STOPPING, about_butler("Butler is stopping".to_owned())).await;
}

/// The events between two states of the sockets.
fn changes(before: &Faults, now: &Faults) -> Vec<(&'static str, Data)> {
    let failed = now.iter().filter(|(address, _)| !before.contains_key(address));
    let failed = failed.map(|(address, error)| (kind::UDP_FAILED, failed_at(*address, error)));
    let well = before.keys().filter(|address| !now.contains_key(address));
    failed.chain(well.map(|address| (kind::UDP_LISTENING, listening(*address)))).collect()
}

fn listening(address: SocketAddr) -> Data {
    about_udp(format!("receives events at {address}"), Udp { address: Some(address.to_string()), ..Udp::default() })
}

fn failed_at(address: SocketAddr, error: &str) -> Data {
    let message =
        format!("the UDP socket {address} cannot be read, events are lost: {error}; restart Butler if it stays so");
    about_udp(message, Udp { address: Some(address.to_string()), error: Some(error.to_owned()) })
}

fn about_udp(message: String, udp: Udp) -> Data {
    Data { message: Some(message), udp: Some(Box::new(udp)), ..Data::default() }
}

fn about_butler(message: String) -> Data {
    let butler = Butler { version: Some(env!("CARGO_PKG_VERSION").to_owned()), ..Butler::default() };
    Data { message: Some(message), butler: Some(Box::new(butler)), ..Data::default() }
}

/// Accepts an event about Butler itself; false when the store is closed and takes no further one.
async fn tell(store: &Store, accepted: &Notify, kind: &str, data: Data) -> bool {
    let now = now_ms();
    let source = "butler".to_owned();
    let event = NewEvent { kind: kind.to_owned(), time: now, received: now, source, keys: Vec::new(), data };
    match store.accept(vec![event]).await {
        Ok(_) => accepted.notify_one(),
        Err(error) => {
            tracing::error!(kind, %error, "an event of Butler itself cannot be stored");
            return !matches!(error, StoreError::Closed);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_of_a_socket_is_told_once() {
        let address = "127.0.0.1:9998".parse().unwrap();
        let failed = Faults::from([(address, "no buffer space".to_owned())]);
        let kinds =
            |before: &Faults, now: &Faults| -> Vec<_> { changes(before, now).iter().map(|one| one.0).collect() };
        assert_eq!(kinds(&Faults::new(), &failed), [kind::UDP_FAILED]);
        assert_eq!(kinds(&failed, &failed), [""; 0]);
        assert_eq!(kinds(&failed, &Faults::new()), [kind::UDP_LISTENING]);
        let (_, data) = changes(&Faults::new(), &failed).remove(0);
        assert_eq!(data.udp.unwrap().error.as_deref(), Some("no buffer space"));
        assert!(data.message.unwrap().contains("127.0.0.1:9998"));
    }
}
