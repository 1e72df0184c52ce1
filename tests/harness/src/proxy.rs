//! A TCP proxy before a server, to come between it and its clients.
//!
//! It passes bytes on, or holds them as a network does that drops packets, or refuses connections as a host does where
//! nobody listens. It stands between any two that speak TCP; what lies between an adapter and its node is the business of
//! the [`Gate`](crate::Gate).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::wait::{DEADLINE, within};

/// Connections that may wait to be accepted: more than a test opens at once.
const BACKLOG: u32 = 1024;

/// Bytes taken from one side before they are given to the other.
const CHUNK: usize = 16 * 1024;

/// What the proxy does with connections and bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    Stall,
    StallAnswers,
    Cut,
}

/// The direction of bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

impl Mode {
    fn passes(self, way: Way) -> bool {
        match self {
            Self::Pass => true,
            Self::StallAnswers => way == Way::ToServer,
            Self::Stall | Self::Cut => false,
        }
    }
}

/// A proxy with a port of its own. Dropped, it closes all that goes through it.
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Whether the port takes connections, told by the task that owns it.
    listens: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Stands before the server at this address and passes everything. To be called in a runtime, whose task it becomes.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn before(server: SocketAddr) -> Self {
        let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .and_then(|socket| socket.listen(BACKLOG))
            .expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let (mode, modes) = watch::channel(Mode::Pass);
        let (tell, listens) = watch::channel(true);
        let door = Door {
            server,
            modes,
            tell,
        };
        let task = tokio::spawn(door.keep(listener));
        Self {
            address,
            mode,
            listens,
            task,
        }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds all bytes, both ways, and goes on taking connections: the network drops packets.
    pub async fn stall(&self) {
        self.change(Mode::Stall).await;
    }

    /// Holds what the server sends and passes what it is sent: it does as told, and nobody learns it.
    pub async fn stall_answers(&self) {
        self.change(Mode::StallAnswers).await;
    }

    /// Ends all connections, with what they held, and refuses new ones.
    pub async fn cut(&self) {
        self.change(Mode::Cut).await;
    }

    /// Passes what was held, and everything.
    pub async fn heal(&self) {
        self.change(Mode::Pass).await;
    }

    async fn change(&self, mode: Mode) {
        self.mode.send_replace(mode);
        let mut listens = self.listens.clone();
        let listened = listens.wait_for(|listens| *listens == (mode != Mode::Cut));
        let listened = within("the proxy opens or closes its port", listened).await;
        listened.expect("the proxy's task runs");
    }
}

/// A socket of this port, which nobody else gets from then on.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // The connections of the listener before linger in the kernel.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Owns the port and the connections.
struct Door {
    server: SocketAddr,
    modes: watch::Receiver<Mode>,
    tell: watch::Sender<bool>,
}

impl Door {
    /// Ends with the proxy.
    async fn keep(mut self, mut listener: TcpListener) {
        let address = listener.local_addr().expect("a bound listener");
        loop {
            let is_cut = self.serve(&listener).await;
            drop(listener);
            if !is_cut {
                return;
            }
            // Bound and not listening: the kernel refuses connections, and gives the port to nobody.
            let socket = bind(address).expect("the port is still ours");
            self.tell.send_replace(false);
            if self.modes.wait_for(|m| *m != Mode::Cut).await.is_err() {
                return;
            }
            listener = socket.listen(BACKLOG).expect("a bound socket");
            self.tell.send_replace(true);
        }
    }

    /// Takes connections until the mode is to refuse them, which is true, or the proxy has gone.
    async fn serve(&self, listener: &TcpListener) -> bool {
        let mut connections = JoinSet::new();
        let mut modes = self.modes.clone();
        let is_cut = loop {
            tokio::select! {
                cut = modes.wait_for(|m| *m == Mode::Cut) => break cut.is_ok(),
                accepted = listener.accept() => {
                    let (client, _) = accepted.expect("a listener accepts");
                    connections.spawn(carry(client, self.server, self.modes.clone()));
                }
                Some(_) = connections.join_next() => {}
            }
        };
        connections.shutdown().await;
        is_cut
    }
}

/// Carries one connection until a side ends it.
async fn carry(client: TcpStream, server: SocketAddr, mut modes: watch::Receiver<Mode>) {
    // A connection that begins in a stall reaches the server when it is over.
    if modes.wait_for(|m| m.passes(Way::ToServer)).await.is_err() {
        return;
    }
    let connected = tokio::time::timeout(DEADLINE, TcpStream::connect(server)).await;
    // Where nobody listens, the client sees its connection end.
    let Ok(Ok(server)) = connected else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a TCP option");
    }
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    // The end of one way is the end of both; an error is the end of a way.
    tokio::select! {
        _ = pump(client_reads, server_writes, modes.clone(), Way::ToServer) => {}
        _ = pump(server_reads, client_writes, modes, Way::ToClient) => {}
    }
}

/// What is held stays in the kernel's buffers, but for one chunk: so a stall is bounded, and at length felt by the sender.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
    way: Way,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk).await?;
        // Asked after reading: bytes that were sent after `stall` do not slip through.
        if length == 0 || modes.wait_for(|m| m.passes(way)).await.is_err() {
            return Ok(());
        }
        to.write_all(&chunk[..length]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it is sent, and a proxy before it.
    async fn echo() -> (Proxy, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::before(listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    let (mut reads, mut writes) = stream.split();
                    tokio::io::copy(&mut reads, &mut writes).await
                });
            }
        });
        (proxy, serving)
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        within("a connection", TcpStream::connect(proxy.address()))
            .await
            .unwrap()
    }

    async fn say(stream: &mut TcpStream, text: &str) {
        stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn hear(stream: &mut TcpStream, text: &str) {
        let mut heard = vec![0; text.len()];
        let read = within("the echo", stream.read_exact(&mut heard)).await;
        read.unwrap();
        assert_eq!(heard, text.as_bytes());
    }

    #[tokio::test]
    async fn a_stall_holds_bytes_and_new_connections_until_it_is_healed() {
        let (proxy, _serving) = echo().await;
        let mut old = connect(&proxy).await;
        say(&mut old, "before").await;
        hear(&mut old, "before").await;
        proxy.stall().await;
        say(&mut old, "held").await;
        let mut new = connect(&proxy).await;
        say(&mut new, "held").await;
        // What would come has the time of an exchange through another proxy to do so.
        let (other, _other_serving) = echo().await;
        let mut witness = connect(&other).await;
        say(&mut witness, "witness").await;
        hear(&mut witness, "witness").await;
        for stream in [&old, &new] {
            let error = stream.try_read(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
        proxy.heal().await;
        hear(&mut old, "held").await;
        hear(&mut new, "held").await;
    }

    #[tokio::test]
    async fn a_cut_ends_connections_and_refuses_new_ones_until_it_is_healed() {
        let (proxy, _serving) = echo().await;
        let mut old = connect(&proxy).await;
        say(&mut old, "before").await;
        hear(&mut old, "before").await;
        for _ in 0..2 {
            proxy.cut().await;
            let ended = within("the end", old.read(&mut [0; 8])).await;
            assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
            let refused = within("a refusal", TcpStream::connect(proxy.address())).await;
            assert_eq!(
                refused.unwrap_err().kind(),
                io::ErrorKind::ConnectionRefused
            );
            proxy.heal().await;
            old = connect(&proxy).await;
            say(&mut old, "after").await;
            hear(&mut old, "after").await;
        }
    }
}
