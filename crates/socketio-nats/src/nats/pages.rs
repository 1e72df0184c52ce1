//! All entries of the bucket, a page at a time: no more than one is in memory, and the broker sends no more than was asked for.

use async_nats::header::NATS_SUBJECT;
use async_nats::{Message, StatusCode};
use bytes::Bytes;
use chatcluster_socketio::session::Revision;
use futures_util::StreamExt as _;

use crate::cells::{Error, Page, Stored};

use super::cells::{Bucket, found};

/// Entries of one page.
const PAGE: usize = 256;
/// Entries that the broker would still send, at the end of a page.
const PENDING: &str = "Nats-Num-Pending";
/// The status at the end of a page.
const END: u16 = 204;

impl Bucket {
    /// The page that begins at a revision. The caller limits the time.
    pub(super) async fn read_page(&self, from: Revision) -> Result<Page, Error> {
        let client = self.client();
        let inbox = client.new_inbox();
        let mut answers = client
            .subscribe(inbox.clone())
            .await
            .map_err(|_| Error::Strange)?;
        let request = Bytes::from(format!(r#"{{"seq":{from},"batch":{PAGE}}}"#));
        client
            .publish_with_reply(self.direct(), inbox, request)
            .await
            .map_err(|_| Error::Strange)?;
        let mut page = Page {
            entries: Vec::new(),
            last: 0,
            pending: 0,
        };
        loop {
            let answer = answers.next().await.ok_or(Error::NoAnswer)?;
            match answer.status.map(|status| status.as_u16()) {
                None | Some(200) => self.add(&mut page, answer)?,
                Some(END) => {
                    page.pending = pending(&answer)?;
                    return Ok(page);
                }
                Some(404) => return Ok(page),
                Some(_) => return Err(broken(&answer)),
            }
        }
    }

    fn add(&self, page: &mut Page, answer: Message) -> Result<(), Error> {
        let headers = answer.headers.as_ref().ok_or(Error::Strange)?;
        let subject = headers.get(NATS_SUBJECT).ok_or(Error::Strange)?;
        let key = self.key(subject.as_str()).ok_or(Error::Strange)?.to_owned();
        let found = found(answer)?;
        page.last = found.revision;
        page.entries.push(Stored { key, found });
        Ok(())
    }
}

fn pending(end: &Message) -> Result<usize, Error> {
    let headers = end.headers.as_ref().ok_or(Error::Strange)?;
    let pending = headers.get(PENDING).ok_or(Error::Strange)?.as_str();
    pending.parse().map_err(|_| Error::Strange)
}

fn broken(answer: &Message) -> Error {
    match answer.status {
        Some(StatusCode::NO_RESPONDERS) => Error::NoHolder,
        Some(status) => Error::Broker(status.to_string()),
        None => Error::Strange,
    }
}
