//! Connections to nodes, one per address, made when first used.

use isobar_api::{ApiError, ErrorCode, limits, proto::node_client::NodeClient};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tonic::transport::{Channel, Endpoint};

/// Connections kept; addresses beyond it get one of their own for each use.
const CONNECTIONS_MAX: usize = 4_096;

/// A cache of connections; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeConnections {
    channels: Arc<Mutex<BTreeMap<String, Channel>>>,
}

impl NodeConnections {
    /// A client for the node at an address. Does not wait for the connection.
    pub(crate) fn client(&self, address: &str) -> Result<NodeClient<Channel>, ApiError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = match channels.get(address) {
            Some(channel) => channel.clone(),
            None => {
                let channel = endpoint(address)?.connect_lazy();
                if channels.len() < CONNECTIONS_MAX {
                    channels.insert(address.to_owned(), channel.clone());
                }
                channel
            }
        };
        Ok(NodeClient::new(channel)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX))
    }
}

/// Checks an address and says how to connect to it.
fn endpoint(address: &str) -> Result<Endpoint, ApiError> {
    let bad = |why: &dyn std::fmt::Display| {
        ApiError::new(
            ErrorCode::BadAddress,
            format!("`{address}` is not an address (HOST:PORT): {why}"),
        )
    };
    let port = address.rsplit_once(':').map(|(_, port)| port).unwrap_or_default();
    port.parse::<u16>().map_err(|why| bad(&why))?;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|why| bad(&why))?;
    // Keep-alive notices a peer that vanished without a word, as after kill -9 of its machine.
    Ok(endpoint
        .connect_timeout(Duration::from_secs(2))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true))
}

/// Whether every address can be used; the first that cannot is named.
pub(crate) fn check_addresses(addresses: &[String]) -> Result<(), ApiError> {
    addresses.iter().try_for_each(|address| endpoint(address).map(|_| ()))
}
