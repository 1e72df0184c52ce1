//! Core subjects.

use std::sync::atomic::Ordering;

use async_nats::connection::State;
use async_nats::{Client, PublishError, Subject, SubscribeError};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;

use crate::ports::{Letter, Letters, Wire};

/// One ordered connection, without `no_echo`.
pub(crate) struct ClientWire {
    client: Client,
}

impl ClientWire {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }
}

impl Wire for ClientWire {
    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    fn connection(&self) -> u64 {
        // Not the client's event of it, which another task tells of later than the connection is used.
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    fn inbox(&self) -> Subject {
        self.client.new_inbox().into()
    }

    fn subscribe(&self, subject: Subject) -> BoxFuture<'_, Result<Letters, SubscribeError>> {
        Box::pin(async move {
            let messages = self.client.subscribe(subject).await?;
            let letters = messages.map(|message| Letter {
                subject: message.subject,
                payload: message.payload,
                reply: message.reply,
            });
            Ok(letters.boxed())
        })
    }

    fn publish(
        &self,
        subject: Subject,
        reply: Option<Subject>,
        payload: Bytes,
    ) -> BoxFuture<'_, Result<(), PublishError>> {
        Box::pin(async move {
            match reply {
                Some(reply) => {
                    self.client
                        .publish_with_reply(subject, reply, payload)
                        .await
                }
                None => self.client.publish(subject, payload).await,
            }
        })
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // An error is that of a client that has ended: then nobody can be told.
            drop(self.client.flush().await);
        })
    }
}
