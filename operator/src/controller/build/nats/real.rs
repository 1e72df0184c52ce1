//! A real nats-server reads what is rendered, lets in who has the password, and lets them do what servers do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use chatcluster_harness::nats::Options as Server;
use chatcluster_harness::{NatsServer, until, within};
use chatcluster_socketio::adapter::{Adapter, Answer, Cast, Cluster as _, Local, Request, Swept};
use chatcluster_socketio::log::{Entry, Envelope, Target};
use chatcluster_socketio::session::StoreError;
use chatcluster_socketio::{Delivery, Event, NodeId};
use chatcluster_socketio_nats::{Credentials, NatsCluster, Options};
use futures_util::future::{BoxFuture, ready};

use super::config;
use crate::controller::validate::Validated;
use crate::fixtures;
use crate::names::NATS_USER;

/// A namespace that counts what the log brings it.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Local for Counting {
    fn deliver(&self, _: &Arc<Entry>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn advance(&self, _: u64) {}
    fn has_members(&self) -> bool {
        true
    }
    fn members(&self) -> usize {
        0
    }
    fn restart(&self, _: u64, _: u64) {}
    fn receive(&self, _: Cast) {}
    fn answer(self: Arc<Self>, _: Request) -> BoxFuture<'static, Answer> {
        Box::pin(ready(Answer::Done(1)))
    }
    fn assert(self: Arc<Self>, _: Swept) -> BoxFuture<'static, Result<bool, StoreError>> {
        Box::pin(ready(Ok(false)))
    }
}

async fn server(valid: &Validated) -> NatsServer {
    let file = config::render(valid, valid.nats.managed().unwrap());
    let options = Server {
        file: Some(file),
        ..Server::default()
    };
    NatsServer::start(options).await
}

/// As the rendered configuration of a server says it.
fn options(valid: &Validated, server: &NatsServer, password: &str) -> Options {
    let nats = &valid.config.nats;
    assert_eq!(nats.user.as_deref(), Some(NATS_USER));
    Options {
        credentials: Credentials::User {
            name: NATS_USER.to_owned(),
            password: password.to_owned(),
        },
        retention_bytes: Some(nats.retention_bytes),
        ..Options::new(server.url(), nats.prefix.clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_join_and_read_what_they_write() {
    for cluster in [fixtures::minimal(), fixtures::managed()] {
        let valid = fixtures::validate(&cluster).unwrap();
        let server = server(&valid).await;
        let password = &valid.nats.managed().unwrap().password.0;
        let options = options(&valid, &server, password);
        let joining = NatsCluster::join(options, NodeId::new("chat-0"), HashMap::new());
        let node = within("a server joins", joining)
            .await
            .map_err(|error| error.to_string());
        let node = node.unwrap();
        let local = Arc::new(Counting::default());
        let dynamic: Arc<dyn Local> = local.clone();
        let adapter = node.open(
            "/",
            Delivery::Logged,
            Arc::downgrade(&dynamic) as Weak<dyn Local>,
        );
        within("it is heard", adapter.opened()).await;
        append(&*adapter);
        until("it comes back from the log", || {
            local.0.load(Ordering::Relaxed) == 1
        })
        .await;
        node.close().await;
        assert_eq!(server.violations(), Vec::<String>::new());
        let warned: Vec<_> = server
            .log()
            .lines()
            .filter(|line| line.contains("[WRN]"))
            .map(str::to_owned)
            .collect();
        assert_eq!(
            warned,
            Vec::<String>::new(),
            "settings that NATS does not like"
        );
    }
}

fn append(adapter: &dyn Adapter) {
    let envelope = Envelope {
        target: Target::All,
        except: [].into_iter().collect(),
        event: Event::new("e", &1).unwrap(),
        announced_by: None,
    };
    adapter.append(
        envelope,
        None,
        Box::new(|fate| {
            fate.expect("it is logged");
        }),
    );
}

#[tokio::test]
async fn nobody_else_is_let_in() {
    let valid = fixtures::validate(&fixtures::minimal()).unwrap();
    let server = server(&valid).await;
    let strangers = [
        options(&valid, &server, "guessed"),
        Options {
            credentials: Credentials::None,
            ..options(&valid, &server, "")
        },
    ];
    for options in strangers {
        let joining = NatsCluster::join(options, NodeId::new("a"), HashMap::new());
        let refused = within("it is refused", joining).await;
        assert!(refused.is_err());
    }
    assert!(
        server.log().contains("Authorization Violation")
            || server.log().contains("authentication error")
    );
}
