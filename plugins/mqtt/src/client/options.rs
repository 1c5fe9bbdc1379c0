//! How to connect, in the terms of both libraries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rumqttc_v4 as v4;
use rumqttc_v4::TlsConfiguration;
use rumqttc_v5 as v5;
use rustls::ClientConfig;

use super::{Client, Driver, LARGEST_PACKET, Qos};

/// Largest packet that is taken: messages for us are small, and there is memory for a few.
const LARGEST_INCOMING: u32 = 16 << 20;
/// Messages that may wait for their acknowledgements. MQTT 5 brokers lower it. The library reads acknowledgements only when it
/// has nothing to write: more would be written to a slow broker at a time than it can acknowledge in time.
const IN_FLIGHT: u16 = 200;
/// The same for MQTT 3.1.1 where messages go out with QoS 2. Its brokers cannot say how many of those they take: Mosquitto drops
/// what is beyond 20 (`max_inflight_messages`), and acknowledges it all the same.
const IN_FLIGHT_EXACTLY_ONCE: u16 = 20;
/// Messages that may wait to be written.
const QUEUE: usize = 1_000;
/// Messages that are written with one system call, if so many wait.
const WRITTEN_AT_ONCE: usize = 100;
/// Messages from the broker that may be under way: of MQTT 5 brokers it is asked.
const INCOMING_IN_FLIGHT: u16 = 100;
/// Longest time for writing what waits. A dead connection is found by pings.
const FLUSH: Duration = Duration::from_mins(1);

/// Version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V311,
    V5,
}

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Host name or IP address, an IPv6 one without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) encrypted: bool,
    /// With MQTT over WebSocket: path and query.
    pub(crate) websocket: Option<String>,
}

impl Target {
    /// Host and port as in an address.
    pub(crate) fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.encrypted { "wss" } else { "ws" }, self.address())
    }
}

/// What the broker publishes when the connection is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
}

/// All that a connection needs.
pub(crate) struct Connect {
    pub(crate) target: Target,
    pub(crate) version: Version,
    pub(crate) client_id: String,
    /// User and password.
    pub(crate) login: Option<(String, Option<String>)>,
    pub(crate) keep_alive: Duration,
    pub(crate) will: Option<Will>,
    /// Whether messages may go out with QoS 2.
    pub(crate) exactly_once: bool,
    /// For encrypted targets.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Set as soon as the TCP connection is there.
    pub(crate) reached: Arc<AtomicBool>,
}

impl Connect {
    /// Client and driver of one connection. The error tells of settings that the library does not take.
    pub(crate) fn make(self) -> Result<(Client, Driver), String> {
        match self.version {
            Version::V311 => self.v311(),
            Version::V5 => self.v5(),
        }
    }

    fn keep_alive_seconds(&self) -> u16 {
        u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX)
    }

    fn v311(self) -> Result<(Client, Driver), String> {
        let tls = self.tls.clone().map(TlsConfiguration::Rustls);
        let transport = match (&self.target.websocket, &tls) {
            (None, None) => v4::Transport::tcp(),
            (None, Some(tls)) => v4::Transport::tls_with_config(tls.clone()),
            (Some(_), None) => v4::Transport::ws(),
            (Some(_), Some(tls)) => v4::Transport::wss_with_config(tls.clone()),
        };
        let mut options = match (&self.target.websocket, &tls) {
            (None, _) => {
                v4::MqttOptions::new(&self.client_id, v4::Broker::tcp(self.target.host.clone(), self.target.port))
            }
            (Some(path), None) => {
                let broker = v4::Broker::websocket(self.target.url(path)).map_err(|error| error.to_string())?;
                v4::MqttOptions::new(&self.client_id, broker)
            }
            (Some(path), Some(tls)) => {
                let url = self.target.url(path);
                v4::MqttOptions::websocket_with_tls_config(&self.client_id, url, tls.clone())
                    .map_err(|error| error.to_string())?
            }
        };
        options
            .set_transport(transport)
            .set_keep_alive(self.keep_alive_seconds())
            .set_clean_session(true)
            .set_max_packet_size(LARGEST_INCOMING as usize, LARGEST_PACKET)
            .set_request_channel_capacity(QUEUE)
            .set_max_request_batch(WRITTEN_AT_ONCE)
            .set_inflight(if self.exactly_once { IN_FLIGHT_EXACTLY_ONCE } else { IN_FLIGHT })
            .set_ack_mode(v4::AckMode::Manual);
        match self.login {
            Some((user, Some(password))) => drop(options.set_credentials(user, password)),
            Some((user, None)) => drop(options.set_username(user)),
            None => {}
        }
        if let Some(Will { topic, payload, qos, retain }) = self.will {
            options.set_last_will(v4::LastWill::new(topic, payload, qos.into(), retain));
        }
        let (address, reached) = (self.target.address(), self.reached);
        options.set_socket_connector(move |_, network| {
            let (address, reached) = (address.clone(), reached.clone());
            async move {
                let stream = v4::default_socket_connect(address, network).await?;
                reached.store(true, Ordering::Relaxed);
                Ok(stream)
            }
        });
        let (client, mut driver) = v4::AsyncClient::builder(options).try_build().map_err(|error| error.to_string())?;
        driver.network_options.set_tcp_nodelay(true);
        driver.network_options.set_connection_timeout(FLUSH.as_secs());
        Ok((Client::V4(client), Driver::V4(Box::new(driver))))
    }

    fn v5(self) -> Result<(Client, Driver), String> {
        let tls = self.tls.clone().map(TlsConfiguration::Rustls);
        let transport = match (&self.target.websocket, &tls) {
            (None, None) => v5::Transport::tcp(),
            (None, Some(tls)) => v5::Transport::tls_with_config(tls.clone()),
            (Some(_), None) => v5::Transport::ws(),
            (Some(_), Some(tls)) => v5::Transport::wss_with_config(tls.clone()),
        };
        let mut options = match (&self.target.websocket, &tls) {
            (None, _) => {
                v5::MqttOptions::new(&self.client_id, v5::Broker::tcp(self.target.host.clone(), self.target.port))
            }
            (Some(path), None) => {
                let broker = v5::Broker::websocket(self.target.url(path)).map_err(|error| error.to_string())?;
                v5::MqttOptions::new(&self.client_id, broker)
            }
            (Some(path), Some(tls)) => {
                let url = self.target.url(path);
                v5::MqttOptions::websocket_with_tls_config(&self.client_id, url, tls.clone())
                    .map_err(|error| error.to_string())?
            }
        };
        options
            .set_transport(transport)
            .set_keep_alive(self.keep_alive_seconds())
            .set_clean_start(true)
            .set_max_packet_size(Some(LARGEST_INCOMING))
            .set_receive_maximum(Some(INCOMING_IN_FLIGHT))
            .set_request_channel_capacity(QUEUE)
            .set_max_request_batch(WRITTEN_AT_ONCE)
            .set_outgoing_inflight_upper_limit(IN_FLIGHT)
            .set_connect_timeout(FLUSH)
            .set_ack_mode(v5::AckMode::Manual);
        match self.login {
            Some((user, Some(password))) => drop(options.set_credentials(user, password)),
            Some((user, None)) => drop(options.set_username(user)),
            None => {}
        }
        if let Some(Will { topic, payload, qos, retain }) = self.will {
            options.set_last_will(v5::LastWill::new(topic, payload, qos.into(), retain, None));
        }
        let (address, reached) = (self.target.address(), self.reached);
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        options.set_socket_connector(move |_, network| {
            let (address, reached) = (address.clone(), reached.clone());
            async move {
                let stream = v5::default_socket_connect(address, network).await?;
                reached.store(true, Ordering::Relaxed);
                Ok(stream)
            }
        });
        let (client, driver) = v5::AsyncClient::builder(options).try_build().map_err(|error| error.to_string())?;
        Ok((Client::V5(client), Driver::V5(Box::new(driver))))
    }
}
