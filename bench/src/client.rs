//! One Socket.IO connection over WebSocket: handshake, reads into a buffer that all connections share, pongs.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::wire::{self, Frames};

const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 256 * 1024;

thread_local! {
    /// The client runs on one thread and never holds this across an await: one buffer serves every connection.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// A connected socket of the main namespace.
pub(crate) struct Client {
    stream: Sender,
    frames: Frames,
}

/// Sends on a connection that a [`Client`] reads.
#[derive(Clone)]
pub(crate) struct Sender(Rc<TcpStream>);

impl Sender {
    /// Sends whole frames. A send that is dropped half-way may cut a frame, so only its connection's owner may drop it.
    pub(crate) async fn send(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.0.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.0.writable().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Client {
    /// Connects from `source` (loopback has as many addresses as one needs ports) and joins the main namespace.
    pub(crate) async fn connect(server: SocketAddr, source: Ipv4Addr) -> Result<Self> {
        let (client, _) = Self::enter(server, source, "40", |_| Ok(())).await?;
        Ok(client)
    }

    /// Connects and sends this CONNECT packet; returns the answer to it, too. Events before and behind the answer
    /// are handed to `each`.
    pub(crate) async fn enter(
        server: SocketAddr,
        source: Ipv4Addr,
        connect: &str,
        each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<(Self, String)> {
        let entering = async {
            let mut client = Self::handshake(server, source).await?;
            let answer = client.join(connect, each).await?;
            Ok((client, answer))
        };
        timeout(CONNECT_DEADLINE, entering)
            .await
            .context("no answer to the handshake in time")?
    }

    async fn handshake(server: SocketAddr, source: Ipv4Addr) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let stream = socket
            .connect(server)
            .await
            .with_context(|| format!("connect from {source}"))?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream: Sender(Rc::new(stream)),
            frames: Frames::default(),
        };
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.send(request.as_bytes()).await?;
        let mut opened = client.upgraded().await?;
        while !opened {
            client
                .receive(|packet| {
                    opened |= packet.starts_with(b"0{");
                    Ok(())
                })
                .await?;
        }
        Ok(client)
    }

    async fn join(
        &mut self,
        connect: &str,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<String> {
        self.send(&wire::text(connect)).await?;
        let mut answer = String::new();
        while answer.is_empty() {
            self.receive(|packet| {
                // Node replays what was missed before it answers.
                if !answer.is_empty() || packet.starts_with(b"42") {
                    return each(packet);
                }
                let text = String::from_utf8_lossy(packet);
                ensure!(text.starts_with("40"), "refused: {text}");
                answer = text.into_owned();
                Ok(())
            })
            .await?;
        }
        Ok(answer)
    }

    /// Reads the answer to the upgrade; true if Engine.IO's open packet came with it.
    async fn upgraded(&mut self) -> Result<bool> {
        let mut answer = Vec::new();
        loop {
            self.stream.0.readable().await?;
            let mut part = [0; 1024];
            match self.stream.0.try_read(&mut part) {
                Ok(0) => bail!(
                    "closed during the handshake: {}",
                    String::from_utf8_lossy(&answer)
                ),
                Ok(length) => answer.extend_from_slice(&part[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
                ensure!(
                    answer.starts_with(b"HTTP/1.1 101"),
                    "no upgrade: {}",
                    String::from_utf8_lossy(&answer)
                );
                let mut opened = false;
                self.frames.feed(&answer[end + 4..], |packet| {
                    opened |= packet.starts_with(b"0{");
                    Ok(())
                })?;
                return Ok(opened);
            }
        }
    }

    /// Sends whole frames.
    pub(crate) async fn send(&self, bytes: &[u8]) -> Result<()> {
        self.stream.send(bytes).await
    }

    /// A second handle, to send while this one reads.
    pub(crate) fn sender(&self) -> Sender {
        self.stream.clone()
    }

    /// Waits for the next bytes and hands each Engine.IO packet in them to `each`; pings are answered here.
    pub(crate) async fn receive(
        &mut self,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut pings = 0;
        let mut packets = |packet: &[u8]| {
            if packet == b"2" {
                pings += 1;
                return Ok(());
            }
            each(packet)
        };
        loop {
            self.stream.0.readable().await?;
            if self.read(&mut packets)? {
                break;
            }
        }
        if pings > 0 {
            self.send(&wire::text("3")).await?;
        }
        Ok(())
    }

    /// Reads once; false if there was nothing to read.
    fn read(&mut self, each: impl FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        BUFFER.with_borrow_mut(|buffer| match self.stream.0.try_read(buffer) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(length) => self.frames.feed(&buffer[..length], each).map(|()| true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        })
    }
}

/// One page with its headers; by HTTP/1.0, which knows no chunks.
pub(crate) async fn get(server: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(server).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(
        answer.get(..12).is_some_and(|line| line.ends_with(" 200")),
        "no page: {}",
        answer.lines().next().unwrap_or_default()
    );
    Ok(answer)
}
