//! One form over the two client libraries, that of MQTT 3.1.1 and that of MQTT 5.
//!
//! A [`Client`] takes requests, its [`Driver`] does them: nothing happens unless [`Driver::step`] is polled. Both are made
//! for one connection. The libraries would repeat on the next one what was not acknowledged; here the host repeats it, so
//! a driver is dropped with all that is in it when its connection is lost.

mod failure;
mod options;

use std::time::Duration;

use rumqttc_v4 as v4;
use rumqttc_v5 as v5;

pub(crate) use failure::{Failure, Refusal};
pub(crate) use options::{Connect, Target, Version, Will};

/// What MQTT calls quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(clippy::enum_variant_names, reason = "so MQTT calls them")]
pub(crate) enum Qos {
    /// Written to the connection, and nobody knows whether it arrived.
    AtMostOnce,
    /// Acknowledged by PUBACK.
    AtLeastOnce,
    /// Acknowledged by PUBREC and PUBCOMP.
    ExactlyOnce,
}

/// A message that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Checked by [`topic::check`](crate::topic::check).
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
}

/// What only MQTT 5 carries beside a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Properties {
    pub(crate) content_type: Option<&'static str>,
    /// Names with values.
    pub(crate) user: Vec<(&'static str, String)>,
}

impl Properties {
    /// At least their bytes in a packet.
    fn len(&self) -> usize {
        let user: usize = self.user.iter().map(|(name, value)| 5 + name.len() + value.len()).sum();
        user + self.content_type.map_or(0, |text| 3 + text.len())
    }
}

impl Message {
    /// At least its bytes in a packet.
    pub(crate) fn packet_len(&self, properties: &Properties) -> usize {
        // Fixed header, length of the topic, packet identifier, length of the properties.
        const AROUND: usize = 5 + 2 + 2 + 4;
        AROUND + self.topic.len() + self.payload.len() + properties.len()
    }
}

/// What the broker allows, as it says when it accepts a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Largest packet in bytes.
    pub(crate) packet: usize,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
}

/// Largest packet of MQTT.
pub(crate) const LARGEST_PACKET: usize = 268_435_455;

impl Default for Limits {
    fn default() -> Self {
        Self { packet: LARGEST_PACKET, qos: Qos::ExactlyOnce, retain: true }
    }
}

/// A message that came from the broker.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// The broker had kept it: it is not new.
    pub(crate) retained: bool,
    /// It may have come before.
    pub(crate) duplicate: bool,
    /// Names it on this connection until it is acknowledged; none with QoS 0.
    pub(crate) packet: Option<u16>,
    pub(crate) acknowledgement: Option<Acknowledgement>,
}

/// What is sent back for a message that came. Subscriptions are of QoS 1, so nothing comes with QoS 2.
#[derive(Debug)]
pub(crate) enum Acknowledgement {
    V4(v4::ManualAck),
    V5(v5::ManualAck),
}

/// What has happened on the connection.
#[derive(Debug)]
pub(crate) enum Step {
    /// The broker has accepted the connection: always the first.
    Connected(Limits),
    Message(Incoming),
    /// The acknowledgement of the message with this packet identifier is on its way.
    Acknowledged(u16),
    Other,
}

/// Takes requests. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Client {
    V4(v4::AsyncClient),
    V5(v5::AsyncClient),
}

/// Does what a [`Client`] was asked.
pub(crate) enum Driver {
    V4(Box<v4::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// Tells what became of a message.
#[derive(Debug)]
pub(crate) enum Notice {
    V4(v4::PublishNotice),
    V5(v5::PublishNotice),
}

impl Client {
    /// Hands a message over; waits while too many are under way.
    pub(crate) async fn publish(&self, message: Message, properties: Properties) -> Result<Notice, Refusal> {
        let Message { topic, payload, qos, retain } = message;
        match self {
            Self::V4(client) => {
                let options = v4::PublishOptions::new(qos.into()).retain(retain);
                client.publish_tracked(topic, payload, options).await.map(Notice::V4).map_err(Refusal::from)
            }
            Self::V5(client) => {
                let options = v5::PublishOptions::new(qos.into()).retain(retain).properties(properties.into());
                client.publish_tracked(topic, payload, options).await.map(Notice::V5).map_err(Refusal::from)
            }
        }
    }

    /// Subscribes with QoS 1, and waits for the broker's answer; the error says why it refuses.
    pub(crate) async fn subscribe(&self, filter: &str) -> Result<(), String> {
        match self {
            Self::V4(client) => {
                let notice = client.subscribe_tracked(filter, v4::QoS::AtLeastOnce).await;
                let notice = notice.map_err(|error| error.to_string())?;
                notice.wait_completion_async().await.map_err(|error| failure::subscription(&error))
            }
            Self::V5(client) => {
                let notice = client.subscribe_tracked(filter, v5::QoS::AtLeastOnce).await;
                let notice = notice.map_err(|error| error.to_string())?;
                notice.wait_completion_async().await.map_err(|error| failure::subscription_v5(&error))
            }
        }
    }

    /// Sends the acknowledgement of a message. A lost connection is no error: its broker has forgotten us.
    pub(crate) async fn acknowledge(&self, acknowledgement: Acknowledgement) {
        match (self, acknowledgement) {
            (Self::V4(client), Acknowledgement::V4(ack)) => drop(client.manual_ack(ack).await),
            (Self::V5(client), Acknowledgement::V5(ack)) => drop(client.manual_ack(ack).await),
            // A client's own messages only ever have acknowledgements of its version.
            _ => {}
        }
    }

    /// Ends the connection as MQTT asks for, so that the broker does not publish the last will. Waits for what is under
    /// way, but not for long.
    pub(crate) async fn disconnect(&self, patience: Duration) {
        match self {
            Self::V4(client) => drop(client.disconnect_with_timeout(patience).await),
            Self::V5(client) => drop(client.disconnect_with_timeout(patience).await),
        }
    }
}

impl Driver {
    /// Goes on until something has happened. After an error nothing is to be had from it any more; without one it must be
    /// polled to its end, since requests are lost when it is dropped before.
    pub(crate) async fn step(&mut self) -> Result<Step, Failure> {
        match self {
            Self::V4(driver) => Ok(match driver.poll().await? {
                v4::Event::Incoming(v4::Packet::ConnAck(_)) => Step::Connected(Limits::default()),
                v4::Event::Incoming(v4::Packet::Publish(publish)) => Step::Message(publish.into()),
                v4::Event::Outgoing(v4::Outgoing::PubAck(packet)) => Step::Acknowledged(packet),
                _ => Step::Other,
            }),
            Self::V5(driver) => Ok(match driver.poll().await? {
                v5::Event::Incoming(v5::Packet::ConnAck(answer)) => Step::Connected(answer.into()),
                v5::Event::Incoming(v5::Packet::Publish(publish)) => Step::Message(publish.into()),
                v5::Event::Outgoing(v5::Outgoing::PubAck(packet)) => Step::Acknowledged(packet),
                _ => Step::Other,
            }),
        }
    }
}

impl Notice {
    /// Waits until the broker has the message (QoS 1 and 2), or it is written to the connection (QoS 0).
    pub(crate) async fn wait(self) -> Result<(), Refusal> {
        match self {
            Self::V4(notice) => notice.wait_completion_async().await.map_err(Refusal::from),
            Self::V5(notice) => match notice.wait_async().await? {
                v5::PublishResult::Qos1(answer) => Refusal::of_puback(answer.reason),
                v5::PublishResult::Qos2PubRecRejected(answer) => Refusal::of_pubrec(answer.reason),
                v5::PublishResult::Qos2Completed(_) | v5::PublishResult::Qos0Flushed => Ok(()),
            },
        }
    }
}

/// One type for both libraries.
impl From<Qos> for v4::QoS {
    fn from(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::AtMostOnce,
            Qos::AtLeastOnce => Self::AtLeastOnce,
            Qos::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

impl From<Properties> for v5::PublishProperties {
    fn from(properties: Properties) -> Self {
        Self {
            content_type: properties.content_type.map(str::to_owned),
            user_properties: properties.user.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            ..Self::default()
        }
    }
}

impl From<v5::ConnAck> for Limits {
    fn from(answer: v5::ConnAck) -> Self {
        let Some(properties) = answer.properties else { return Self::default() };
        let packet = properties.max_packet_size.and_then(|bytes| usize::try_from(bytes).ok());
        Self {
            packet: packet.map_or(LARGEST_PACKET, |bytes| bytes.min(LARGEST_PACKET)),
            qos: match properties.max_qos {
                Some(0) => Qos::AtMostOnce,
                Some(1) => Qos::AtLeastOnce,
                _ => Qos::ExactlyOnce,
            },
            retain: properties.retain_available != Some(0),
        }
    }
}

impl From<v4::Publish> for Incoming {
    fn from(publish: v4::Publish) -> Self {
        Self {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            retained: publish.retain,
            duplicate: publish.dup,
            packet: (publish.qos != v4::QoS::AtMostOnce).then_some(publish.pkid),
            acknowledgement: (publish.qos != v4::QoS::AtMostOnce)
                .then(|| Acknowledgement::V4(v4::ManualAck::PubAck(v4::PubAck::new(publish.pkid)))),
            payload: publish.payload.into(),
        }
    }
}

impl From<v5::Publish> for Incoming {
    fn from(publish: v5::Publish) -> Self {
        Self {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            retained: publish.retain,
            duplicate: publish.dup,
            packet: (publish.qos != v5::QoS::AtMostOnce).then_some(publish.pkid),
            acknowledgement: (publish.qos != v5::QoS::AtMostOnce)
                .then(|| Acknowledgement::V5(v5::ManualAck::PubAck(v5::PubAck::new(publish.pkid, None)))),
            payload: publish.payload.into(),
        }
    }
}
