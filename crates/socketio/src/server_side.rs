//! Server-side events: between the nodes, never to clients.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::adapter::{Answer, Cast, Request};
use crate::arguments::Arguments;
use crate::event::{EmitError, Event};
use crate::namespace::Namespace;
use crate::sid::NodeId;

/// What the other nodes answered to a server-side event.
#[derive(Debug, Clone, Default)]
pub struct ServerSideAnswers {
    /// The answers, by node.
    pub answers: BTreeMap<NodeId, Arguments>,
    /// Nodes that did not answer in time, or have no listener that answers.
    pub missing: Vec<NodeId>,
}

impl Namespace {
    /// Emits to the listeners of all *other* nodes, at most once.
    ///
    /// # Errors
    /// [`EmitError::Reserved`], [`EmitError::Encode`].
    pub fn server_side_emit<T: Serialize + ?Sized>(
        self: &Arc<Self>,
        event: &str,
        data: &T,
    ) -> Result<(), EmitError> {
        let event = Event::new(event, data)?;
        self.adapter().cast(Cast::ServerSide { event });
        Ok(())
    }

    /// Emits to the listeners of all *other* nodes and collects their answers.
    ///
    /// # Errors
    /// [`EmitError::Reserved`], [`EmitError::Encode`].
    pub async fn server_side_emit_with_ack<T: Serialize + ?Sized>(
        self: &Arc<Self>,
        event: &str,
        data: &T,
        timeout: Duration,
    ) -> Result<ServerSideAnswers, EmitError> {
        let event = Event::new(event, data)?;
        let asked = self
            .adapter()
            .request(Request::ServerSide { event }, timeout)
            .await;
        let mut answers = ServerSideAnswers {
            missing: asked.missing,
            ..ServerSideAnswers::default()
        };
        for (node, answer) in asked.answers {
            match answer {
                Answer::ServerSide(Some(arguments)) => {
                    drop(answers.answers.insert(node, arguments));
                }
                _ => answers.missing.push(node),
            }
        }
        Ok(answers)
    }
}
