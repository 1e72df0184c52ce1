//! The address that other servers are told.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use chatcluster_chat_api as api;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

/// How long a name may take to be looked up.
const LOOK_UP: Duration = Duration::from_secs(2);

/// What the settings say; else the address that is listened on; and if that is every address of this host, the one from
/// which it speaks to NATS: where the others are, too.
pub(super) async fn advertised(
    settings: &api::Relay,
    listening: SocketAddr,
    nats: &[String],
) -> io::Result<SocketAddr> {
    if let Some(mut address) = settings.advertise {
        if address.port() == 0 {
            address.set_port(listening.port());
        }
        return Ok(address);
    }
    if !listening.ip().is_unspecified() {
        return Ok(listening);
    }
    let mut failed = io::Error::other("NATS has no address that this host can reach");
    for url in nats {
        match own_address(&host_and_port(url), listening.is_ipv4()).await {
            Ok(Some(ip)) => return Ok(SocketAddr::new(ip, listening.port())),
            Ok(None) => {}
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// From where this host speaks to another; nothing is sent.
async fn own_address(peer: &str, only_ipv4: bool) -> io::Result<Option<IpAddr>> {
    let found = timeout(LOOK_UP, lookup_host(peer)).await;
    let mut found = found.map_err(|_| io::ErrorKind::TimedOut)??;
    let Some(peer) = found.find(|peer| peer.is_ipv4() || !only_ipv4) else {
        return Ok(None);
    };
    let any = if peer.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(peer).await?;
    Ok(Some(socket.local_addr()?.ip()))
}

/// `nats://host` is on the port 4222.
fn host_and_port(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let after_host = rest.rsplit_once(']').map_or(rest, |(_, after)| after);
    if after_host.contains(':') {
        rest.to_owned()
    } else {
        format!("{rest}:4222")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(advertise: Option<&str>, listening: &str, nats: &str) -> String {
        let listening: SocketAddr = listening.parse().unwrap();
        let settings = api::Relay {
            listen: listening,
            advertise: advertise.map(|address| address.parse().unwrap()),
            secret_file: None,
        };
        let told = advertised(&settings, listening, &[nats.to_owned()]).await;
        told.unwrap().to_string()
    }

    #[tokio::test]
    async fn others_are_told_an_address_that_they_can_connect_to() {
        let nats = "nats://127.0.0.1:4222";
        assert_eq!(told(None, "10.0.0.7:3001", nats).await, "10.0.0.7:3001");
        assert_eq!(told(None, "0.0.0.0:3001", nats).await, "127.0.0.1:3001");
        assert_eq!(told(None, "[::]:3001", nats).await, "127.0.0.1:3001");
        let told = told(Some("192.0.2.1:0"), "0.0.0.0:3001", nats).await;
        assert_eq!(told, "192.0.2.1:3001");
    }

    #[test]
    fn a_url_of_nats_names_a_host_and_a_port() {
        for (url, expected) in [
            ("nats://a", "a:4222"),
            ("tls://a.example:1", "a.example:1"),
            ("nats://[::1]", "[::1]:4222"),
            ("nats://[::1]:7", "[::1]:7"),
        ] {
            assert_eq!(host_and_port(url), expected);
        }
    }
}
