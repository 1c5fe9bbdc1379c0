//! `butler udp-send`: sends UDP messages as Qlik Sense would, to try out an installation.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use anyhow::Context as _;

use crate::ingest::sample::{self, Fields, SampleKind};

const SERVICE_USER: &str = r"INTERNAL\sa_api";

/// Send a UDP message, or one that tells of an event as Qlik Sense would.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct UdpSend {
    /// Address or name to send to.
    #[arg(short, long)]
    ip: String,
    /// Port to send to.
    #[arg(short, long)]
    port: u16,
    /// Text to send.
    #[arg(short, long, default_value = "Test message", conflicts_with = "event")]
    msg: String,
    /// Event to tell of instead: reload-task.failed, reload-task.aborted, reload-task.succeeded, app-reload.failed,
    /// distribute-task.failed, user-session.started, user-connection.opened and so on.
    #[arg(long, value_name = "KIND")]
    event: Option<SampleKind>,
    /// How many to send. Of an event, each is an execution of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Id of the task; by default random, as all ids.
    #[arg(long, requires = "event", value_name = "GUID")]
    task_id: Option<String>,
    /// Name of the task.
    #[arg(long, requires = "event", value_name = "NAME")]
    task_name: Option<String>,
    /// Id of the app.
    #[arg(long, requires = "event", value_name = "GUID")]
    app_id: Option<String>,
    /// Name of the app.
    #[arg(long, requires = "event", value_name = "NAME")]
    app_name: Option<String>,
    /// Id of the execution.
    #[arg(long, requires = "event", value_name = "GUID")]
    execution_id: Option<String>,
    /// User, `DIRECTORY\id`.
    #[arg(long, requires = "event")]
    user: Option<String>,
    /// Host name of the Sense node.
    #[arg(long, requires = "event", value_name = "HOST")]
    node: Option<String>,
}

impl UdpSend {
    /// Sends, and prints one line about it.
    pub fn run(self) -> anyhow::Result<()> {
        println!("{}", self.send()?);
        Ok(())
    }

    /// Sends, and answers the line about it.
    fn send(&self) -> anyhow::Result<String> {
        let to = self.target()?;
        let local: SocketAddr =
            if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let socket = UdpSocket::bind(local).context("cannot open a UDP socket")?;
        let mut fields = self.fields()?;
        let mut bytes = 0;
        for _ in 0..self.count {
            let text = match self.event {
                Some(kind) => {
                    if self.execution_id.is_none() {
                        fields.execution_id = sample::guid()?;
                        fields.session_id = sample::guid()?;
                    }
                    sample::message(kind, &fields)
                }
                None => self.msg.clone(),
            };
            bytes += socket
                .send_to(text.as_bytes(), to)
                .with_context(|| format!("cannot send {} bytes to {to}", text.len()))?;
        }
        let (ip, port) = (&self.ip, self.port);
        Ok(match self.count {
            1 => format!("UDP message sent to {ip}:{port}, {bytes} bytes."),
            count => format!("{count} UDP messages sent to {ip}:{port}, {bytes} bytes."),
        })
    }

    /// The address to send to; IPv4 where a name has both.
    fn target(&self) -> anyhow::Result<SocketAddr> {
        let failed = || format!("cannot find an address for `{}` (`--ip`)", self.ip);
        let mut all: Vec<_> = (self.ip.as_str(), self.port).to_socket_addrs().with_context(failed)?.collect();
        all.sort_by_key(SocketAddr::is_ipv6);
        all.first().copied().with_context(failed)
    }

    fn fields(&self) -> anyhow::Result<Fields> {
        let mut fields = Fields::random()?;
        if self.event == Some(SampleKind::AppReloadFailed) {
            // One whose reloads are told by default.
            SERVICE_USER.clone_into(&mut fields.user);
        }
        for (field, wanted) in [
            (&mut fields.task_id, &self.task_id),
            (&mut fields.task_name, &self.task_name),
            (&mut fields.app_id, &self.app_id),
            (&mut fields.app_name, &self.app_name),
            (&mut fields.execution_id, &self.execution_id),
            (&mut fields.user, &self.user),
            (&mut fields.node, &self.node),
        ] {
            if let Some(wanted) = wanted {
                field.clone_from(wanted);
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::ingest;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        send: UdpSend,
    }

    fn receiver() -> (UdpSocket, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let port = socket.local_addr().unwrap().port().to_string();
        (socket, port)
    }

    fn receive(socket: &UdpSocket) -> Vec<u8> {
        let mut room = [0; 2000];
        let length = socket.recv(&mut room).unwrap();
        room[..length].to_vec()
    }

    fn send(args: &[&str]) -> anyhow::Result<String> {
        Cli::try_parse_from([&["send"], args].concat())?.send.send()
    }

    #[test]
    fn a_text_is_sent_as_it_is() {
        let (socket, port) = receiver();
        let line = send(&["-i", "127.0.0.1", "-p", &port]).unwrap();
        assert_eq!(line, format!("UDP message sent to 127.0.0.1:{port}, 12 bytes."));
        assert_eq!(receive(&socket), b"Test message");
        send(&["--ip", "localhost", "--port", &port, "--msg", "ä;b"]).unwrap();
        assert_eq!(receive(&socket), "ä;b".as_bytes());
    }

    #[test]
    fn events_are_sent_with_the_fields_asked_for_and_executions_of_their_own() {
        let (socket, port) = receiver();
        let node = "--node=n7 --task-name=Load;all --user=DIR\\joe --count=2 --event=reload-task.failed";
        let args: Vec<_> = ["-i", "127.0.0.1", "-p", &port].into_iter().chain(node.split(' ')).collect();
        let line = send(&args).unwrap();
        assert!(line.starts_with(&format!("2 UDP messages sent to 127.0.0.1:{port}, ")), "{line}");
        let [first, second] = [(); 2].map(|()| ingest::parse(&receive(&socket)).unwrap());
        assert_eq!(first.data.task, second.data.task);
        assert_eq!(first.data.task.unwrap().name, "Load;all");
        assert_eq!((first.data.node.unwrap(), first.data.user.unwrap()), ("n7".into(), "DIR\\joe".into()));
        assert_ne!(first.data.execution, second.data.execution);
    }

    #[test]
    fn wrong_options_are_refused() {
        for wrong in [
            &["-p", "9998"][..],
            &["-i", "127.0.0.1"],
            &["-i", "127.0.0.1", "-p", "1", "--event", "moon.risen"],
            &["-i", "127.0.0.1", "-p", "1", "--event", "reload-task.failed", "-m", "x"],
            &["-i", "127.0.0.1", "-p", "1", "--task-id", "x"],
            &["-i", "127.0.0.1", "-p", "1", "--count", "0"],
        ] {
            assert!(send(wrong).is_err(), "{wrong:?}");
        }
    }
}
