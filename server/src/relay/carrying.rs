//! The bytes of a WebSocket, both ways, until one end closes.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::timeout;

/// In each direction. Small: an idle WebSocket keeps both.
const BUFFER_BYTES: usize = 4 << 10;
/// How long an end may take nothing of what is written to it.
const WRITE: Duration = Duration::from_secs(30);
/// How long the other direction goes on after one has ended: for the answer to a close frame.
const LINGER: Duration = Duration::from_secs(2);

/// Carries until one end closes or breaks, or is silent for `silence`: pings and pongs pass in both directions. Then both are
/// closed.
pub(super) async fn carry<A, B>(client: A, owner: B, silence: Duration)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (from_client, to_client) = split(client);
    let (from_owner, to_owner) = split(owner);
    let up = one_way(from_client, to_owner, silence);
    let down = one_way(from_owner, to_client, silence);
    tokio::pin!(up, down);
    let (ended, rest) = tokio::select! {
        ended = &mut up => (ended, timeout(LINGER, &mut down).await),
        ended = &mut down => (ended, timeout(LINGER, &mut up).await),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a relayed WebSocket broke");
    } else if rest.is_err() {
        tracing::trace!("a relayed WebSocket was closed by one end only");
    }
}

async fn one_way<R, W>(mut from: R, mut to: W, silence: Duration) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = timeout(silence, from.read(&mut buffer)).await;
        let read = read.map_err(|_| io::ErrorKind::TimedOut)??;
        if read == 0 {
            return timeout(WRITE, to.shutdown())
                .await
                .map_err(|_| io::ErrorKind::TimedOut)?;
        }
        let written = timeout(WRITE, to.write_all(&buffer[..read])).await;
        written.map_err(|_| io::ErrorKind::TimedOut)??;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};
    use tokio::task::JoinHandle;

    const SILENCE: Duration = Duration::from_secs(60);

    /// The far ends, and what carries between.
    fn carried() -> (DuplexStream, DuplexStream, JoinHandle<()>) {
        let (client, near_client) = duplex(64);
        let (owner, near_owner) = duplex(64);
        let carrying = tokio::spawn(carry(near_client, near_owner, SILENCE));
        (client, owner, carrying)
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_pass_both_ways_and_the_last_words_too() {
        let (mut client, mut owner, carrying) = carried();
        let sent: Vec<u8> = (0..20_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut got = vec![0; sent.len()];
        let (written, read) = tokio::join!(client.write_all(&sent), owner.read_exact(&mut got));
        written.unwrap();
        read.unwrap();
        assert_eq!(got, sent);
        client.shutdown().await.unwrap();
        let mut rest = Vec::new();
        owner.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
        owner.write_all(b"bye").await.unwrap();
        drop(owner);
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"bye");
        carrying.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_is_gone_ends_both() {
        let (mut client, owner, carrying) = carried();
        drop(owner);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        carrying.await.unwrap();
        assert!(client.write_all(b"x").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it() {
        let (mut client, _owner, carrying) = carried();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        carrying.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_takes_nothing_ends_it() {
        let (mut client, _owner, carrying) = carried();
        let flood = vec![0; 1 << 20];
        assert!(client.write_all(&flood).await.is_err());
        carrying.await.unwrap();
    }
}
