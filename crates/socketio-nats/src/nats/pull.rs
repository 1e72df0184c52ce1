//! The messages of a pull consumer that acknowledges nothing, one batch asked for before the last one has come (ADR-13 of NATS).
//!
//! The client library's own stream hands out the whole context with each message and sets a timer for the next one: a fifth
//! of what it cost a node to read past a message that concerns none of its clients. Here a message costs one look into the
//! subscription's queue.
//!
//! While somebody waits for what comes, more is asked for before it is needed, and each message is sent when it is there.
//! While nobody does, a node is not woken for each one: it asks for what is there, and then leaves the next ones to gather.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_nats::{Client, Message, PublishError, StatusCode, Subject, SubscribeError, Subscriber};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::time::{Interval, MissedTickBehavior, Sleep, interval, sleep};

use crate::ports::{Awaited, LogOutcome};

/// So many heartbeats may be missing.
const SILENT: u32 = 2;
/// Of what was asked for, what is not sent any more.
const LEFT: &str = "Nats-Pending-Messages";

/// How messages are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batches {
    /// Messages asked for at a time.
    pub(super) size: usize,
    /// How long the server holds what was asked for.
    pub(super) expires: Duration,
    /// How often the server says that it is still there, while it has nothing else to say; at most half of `expires`.
    pub(super) heartbeat: Duration,
    /// How long messages are left to gather while nobody waits for them.
    pub(super) gather: Duration,
}

impl Batches {
    /// `is_once`: for what is there now or, if that is nothing, for the first that comes; what is then lacking in the batch
    /// is not sent.
    fn request(&self, is_once: bool) -> String {
        format!(
            r#"{{"batch":{},"expires":{},"idle_heartbeat":{},"no_wait":{is_once}}}"#,
            self.size,
            self.expires.as_nanos(),
            self.heartbeat.as_nanos()
        )
    }
}

/// Nothing more comes of a consumer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("ask for messages")]
    Ask(#[source] PublishError),
    #[error("the consumer has missed {SILENT} heartbeats")]
    Silent,
    #[error("NATS gives no messages: {0}")]
    Refused(String),
}

/// The messages of one consumer, until it is gone.
pub(super) struct Pull {
    client: Client,
    batches: Batches,
    /// Where messages are asked for.
    next: Subject,
    inbox: Subject,
    answers: Subscriber,
    /// Messages that were asked for and have not come.
    pending: usize,
    awaited: Awaited,
    /// Nobody waited when messages were asked for last.
    is_gathering: bool,
    /// Until when messages gather.
    gathering: Option<Pin<Box<Sleep>>>,
    asking: Option<BoxFuture<'static, Result<(), PublishError>>>,
    beat: Interval,
    /// Beats since anything came.
    silent: u32,
    read: fn(Message) -> LogOutcome,
}

impl Pull {
    /// Of a consumer of a stream; `read` makes of a message what the log hands on.
    pub(super) async fn open(
        client: &Client,
        (stream, consumer): (&str, &str),
        (batches, awaited): (Batches, Awaited),
        read: fn(Message) -> LogOutcome,
    ) -> Result<Self, SubscribeError> {
        let inbox = Subject::from(client.new_inbox());
        let answers = client.subscribe(inbox.clone()).await?;
        let mut beat = interval(batches.heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.reset();
        Ok(Self {
            client: client.clone(),
            batches,
            next: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}").into(),
            inbox,
            answers,
            pending: 0,
            awaited,
            is_gathering: false,
            gathering: None,
            asking: None,
            beat,
            silent: 0,
            read,
        })
    }

    /// Whether it is time to ask for the next batch: when half of the last one has come; if nobody waits, when all of it has
    /// that was there, and what follows has had its time to gather.
    fn is_due(&mut self, context: &mut Context<'_>) -> bool {
        // First, because it is asked for each message.
        let enough = if self.is_gathering {
            0
        } else {
            self.batches.size / 2
        };
        if self.asking.is_some() || self.pending > enough {
            return false;
        }
        self.is_gathering = !(self.awaited)();
        if !self.is_gathering {
            return true;
        }
        let gathering = self.gathering.as_mut();
        let is_gathered = gathering.is_none_or(|end| end.poll_unpin(context).is_ready());
        self.pending == 0 && is_gathered
    }

    /// Asks for the next batch if it is time.
    fn ask(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        if self.is_due(context) {
            self.gathering = None;
            let client = self.client.clone();
            let (next, inbox) = (self.next.clone(), self.inbox.clone());
            let request = self.batches.request(self.is_gathering);
            self.pending += self.batches.size;
            self.asking = Some(Box::pin(async move {
                let request = request.into();
                client.publish_with_reply(next, inbox, request).await
            }));
        }
        if let Some(asking) = &mut self.asking
            && let Poll::Ready(asked) = asking.poll_unpin(context)
        {
            self.asking = None;
            asked.map_err(Error::Ask)?;
        }
        Ok(())
    }

    /// What the server says instead of a message. What it does not send any more of a batch is asked for anew.
    fn on_status(&mut self, status: StatusCode, message: &Message) -> Result<(), Error> {
        let said = message.description.as_deref().unwrap_or_default();
        match status {
            StatusCode::IDLE_HEARTBEAT => Ok(()),
            // All that was there has come. A batch that came whole is not followed by this: there is more.
            StatusCode::NOT_FOUND if self.is_gathering => {
                self.pending = 0;
                self.gathering = Some(Box::pin(sleep(self.batches.gather)));
                Ok(())
            }
            // At the end of its time, or because another server leads the consumer now.
            StatusCode::TIMEOUT | StatusCode::REQUEST_TERMINATED if !is_final(said) => {
                let headers = message.headers.as_ref();
                let left = headers.and_then(|headers| headers.get(LEFT)?.as_str().parse().ok());
                self.pending = self
                    .pending
                    .saturating_sub(left.unwrap_or(self.batches.size));
                Ok(())
            }
            status => Err(Error::Refused(format!("{status} {said}"))),
        }
    }

    /// Whether the server has been silent for too long.
    fn listen(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        loop {
            ready!(self.beat.poll_tick(context));
            self.silent += 1;
            if self.silent > SILENT {
                return Poll::Ready(Error::Silent);
            }
        }
    }
}

/// Asking again would be answered in the same way.
fn is_final(said: &str) -> bool {
    said == "Consumer Deleted" || said == "Consumer is push based" || said.starts_with("Exceeded ")
}

impl Stream for Pull {
    type Item = LogOutcome;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<LogOutcome>> {
        let this = &mut *self;
        loop {
            if let Err(error) = this.ask(context) {
                return Poll::Ready(Some(Err(error.into())));
            }
            let Poll::Ready(message) = this.answers.poll_next_unpin(context) else {
                break;
            };
            let Some(message) = message else {
                return Poll::Ready(None);
            };
            this.silent = 0;
            let Some(status) = message.status else {
                this.pending = this.pending.saturating_sub(1);
                return Poll::Ready(Some((this.read)(message)));
            };
            if let Err(error) = this.on_status(status, &message) {
                return Poll::Ready(Some(Err(error.into())));
            }
        }
        this.listen(context).map(|error| Some(Err(error.into())))
    }
}

#[cfg(test)]
mod tests;
