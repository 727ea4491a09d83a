//! Ports: free ones for a trial, and whether wanted ones are free.

use isobar_api::{ApiError, ErrorCode};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// Numbers tried before giving up: each must be free for TCP and for UDP.
const TRIES_MAX: usize = 1_000;

/// Loopback addresses whose port is free for TCP (requests) and UDP (gossip). All are held until the last one is
/// found, so they differ; they are released at return and may be taken by somebody else before they are used.
pub fn free_addresses(count: usize) -> Result<Vec<SocketAddr>, ApiError> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut held: Vec<(TcpListener, Option<UdpSocket>)> = Vec::new();
    let mut found = Vec::new();
    for _ in 0..TRIES_MAX {
        if found.len() == count {
            return Ok(found);
        }
        let bound = TcpListener::bind(any).and_then(|tcp| Ok((tcp.local_addr()?, tcp)));
        let (address, tcp) = bound.map_err(|why| taken(any, &why))?;
        let udp = UdpSocket::bind(address).ok();
        if udp.is_some() {
            found.push(address);
        }
        held.push((tcp, udp));
    }
    Err(ApiError::new(ErrorCode::BadAddress, "no free ports on the loopback interface"))
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
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() > 0));
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
