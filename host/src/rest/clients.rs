//! What is remembered of the addresses that requests come from, in bounded memory.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::sync::Cache;

/// So many clients are remembered, those that come often rather than those that came once. Who was forgotten begins anew.
const CLIENTS: usize = 10_000;

/// Something about each client.
pub(super) struct Clients<T>(Cache<IpAddr, Arc<Mutex<T>>>);

impl<T> Default for Clients<T> {
    fn default() -> Self {
        Self(Cache::new(CLIENTS))
    }
}

impl<T: Default> Clients<T> {
    /// Looks at, or changes, what is remembered of the client at this address.
    pub(super) fn with<R>(&self, peer: IpAddr, work: impl FnOnce(&mut T) -> R) -> R {
        let new = || Ok::<_, std::convert::Infallible>(Arc::default());
        let Ok(entry) = self.0.get_or_insert_with(&client(peer), new);
        let mut entry = entry.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut entry)
    }
}

/// What counts as one client: an address of IPv4, and a /64 of IPv6, which one machine has for itself.
fn client(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(clients: &Clients<u32>, peer: &str) -> u32 {
        clients.with(peer.parse().unwrap(), |count| {
            *count += 1;
            *count
        })
    }

    #[test]
    fn one_machine_is_one_client() {
        let clients = Clients::default();
        assert_eq!(seen(&clients, "10.0.0.1"), 1);
        assert_eq!(seen(&clients, "::ffff:10.0.0.1"), 2);
        assert_eq!(seen(&clients, "10.0.0.2"), 1);
        assert_eq!(seen(&clients, "2001:db8:1:2::1"), 1);
        assert_eq!(seen(&clients, "2001:db8:1:2:ffff::7"), 2);
        assert_eq!(seen(&clients, "2001:db8:1:3::1"), 1);
    }

    #[test]
    fn strangers_do_not_fill_the_memory_nor_drive_out_who_comes_often() {
        let clients = Clients::default();
        for round in 0..100_000_u32 {
            clients
                .with(IpAddr::from((0xfd00_u128 << 112 | u128::from(round) << 64).to_be_bytes()), |count| *count += 1);
            if round % 100 == 0 {
                assert_eq!(seen(&clients, "10.0.0.1"), round / 100 + 1, "forgotten");
            }
        }
        assert!(clients.0.len() <= CLIENTS, "{}", clients.0.len());
    }
}
