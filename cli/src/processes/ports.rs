//! Ports: free ones for a trial, and whether wanted ones are free.

use isobar_api::{ApiError, ErrorCode};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
};

/// Below the numbers that systems give to outgoing connections (32768 and up on Linux, 49152 and up elsewhere): one of
/// these must not take a port between the choice and the start, or while a killed process is started again.
const NUMBERS: Range<u16> = 10_000..32_000;
/// Numbers that processes which search at the same time are apart.
const APART: u32 = 100;
/// Numbers tried for each port before giving up.
const TRIES_MAX: usize = 1_000;

/// Loopback addresses whose port is free for TCP (requests) and UDP (gossip). In one process a number comes again only
/// after all others; another program may take one before it is used. [`ErrorCode::BadAddress`] if none is free.
pub fn free_addresses(count: usize) -> Result<Vec<SocketAddr>, ApiError> {
    let next = || SocketAddr::from((Ipv4Addr::LOCALHOST, next_number()));
    let free = |_| {
        let mut tried = std::iter::repeat_with(next).take(TRIES_MAX);
        tried.find(|address| check_free(*address).is_ok()).ok_or_else(|| {
            ApiError::new(ErrorCode::BadAddress, "no free ports on the loopback interface")
        })
    };
    (0..count).map(free).collect()
}

fn next_number() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(APART);
    let at = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
    NUMBERS.start + (at % NUMBERS.len() as u32) as u16
}

/// Refuses an address that somebody listens on.
pub fn check_free(address: SocketAddr) -> Result<(), ApiError> {
    let tcp = TcpListener::bind(address).map_err(|why| taken(address, &why))?;
    let udp = UdpSocket::bind(address).map_err(|why| taken(address, &why))?;
    drop((tcp, udp));
    Ok(())
}

fn taken(address: SocketAddr, why: &std::io::Error) -> ApiError {
    let kind = if address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        ""
    } else {
        " (is it an address of this machine?)"
    };
    ApiError::new(ErrorCode::BadAddress, format!("{address} cannot be used: {why}{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn free_ports_differ_and_a_taken_one_is_refused() {
        let found = free_addresses(6).expect("six ports");
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 6);
        assert!(found.iter().all(|a| a.ip().is_loopback() && NUMBERS.contains(&a.port())));
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let error = check_free(tcp.local_addr().expect("bound")).expect_err("taken");
        assert_eq!(error.code, ErrorCode::BadAddress);
    }

    #[test]
    fn gossip_needs_the_port_too() {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        assert!(check_free(udp.local_addr().expect("bound")).is_err());
    }
}
