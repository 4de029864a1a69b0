//! Ports for servers.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use anyhow::{Context, Result};

/// Below the ports which systems give to outgoing connections: while a killed server is down, no
/// client can be given its port, and a client that keeps trying never connects to itself.
const PORTS: Range<u16> = 20_000..32_000;

/// A port on which nobody listens at the moment, another one for each call.
///
/// # Errors
///
/// If there is none.
pub fn free() -> Result<u16> {
    let count = u64::from(PORTS.end - PORTS.start);
    let random =
        || PORTS.start + u16::try_from(RandomState::new().hash_one(0) % count).unwrap_or(0);
    (0..200)
        .map(|_| random())
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .with_context(|| {
            format!(
                "found no free port on 127.0.0.1 between {} and {}",
                PORTS.start, PORTS.end
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_free_and_in_range() {
        let port = free().unwrap();
        assert!(PORTS.contains(&port));
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    }
}
