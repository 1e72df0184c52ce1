use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chatcluster_harness::nats::{Options as Server, User};
use chatcluster_harness::{NatsServer, until, within};
use chatcluster_socketio::adapter::{
    Adapter, Answer, Cast, Cluster as _, Local, Request, Selection, Swept,
};
use chatcluster_socketio::log::{Appended, Entry, Envelope, Target};
use chatcluster_socketio::session::StoreError;
use chatcluster_socketio::{Delivery, Event, NodeId, SessionKey};
use futures_util::future::{BoxFuture, join_all, ready};
use tokio::sync::oneshot;

use super::*;
use crate::names::Names;
use crate::testing::session_of;
use crate::{Credentials, Error, NatsCluster, Options};

/// A namespace that answers.
struct Quiet;

impl Local for Quiet {
    fn deliver(&self, _: &Arc<Entry>) {}
    fn advance(&self, _: u64) {}
    fn members(&self) -> usize {
        0
    }
    fn has_members(&self) -> bool {
        false
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

/// A user of one cluster, and what it lacks.
#[derive(Clone)]
struct Lacking {
    name: String,
    entry: String,
    permissions: Permissions,
}

impl Lacking {
    fn user(&self) -> User {
        User {
            name: self.name.clone(),
            password: "pass".to_owned(),
            permissions: self.permissions.render(),
        }
    }

    fn options(&self, server: &NatsServer) -> Options {
        Options {
            credentials: Credentials::User {
                name: self.name.clone(),
                password: "pass".to_owned(),
            },
            ..Options::new(server.url(), self.name.clone())
        }
    }

    /// Whether the server has denied this user something.
    fn is_denied(&self, server: &NatsServer) -> bool {
        let user = format!("user:{}\"", self.name);
        server.violations().iter().any(|line| line.contains(&user))
    }
}

/// For each entry of the founder's permissions a cluster of its own, whose user lacks it.
fn each_lacking_one() -> Vec<Lacking> {
    let count = |all: &Permissions| all.publish.len() + all.subscribe.len();
    let all = Permissions::founder(&Names::new("x").unwrap());
    (0..count(&all))
        .map(|index| {
            let name = format!("lacks{index}");
            let mut permissions = Permissions::founder(&Names::new(&name).unwrap());
            let published = permissions.publish.len();
            let entry = if index < published {
                format!("publish {}", permissions.publish.remove(index))
            } else {
                let index = index - published;
                format!("subscribe {}", permissions.subscribe.remove(index))
            };
            Lacking {
                name,
                entry,
                permissions,
            }
        })
        .collect()
}

/// Two nodes do everything that nodes do.
async fn do_all(options: &Options) -> Result<(), Error> {
    let join = |name| NatsCluster::join(options.clone(), NodeId::new(name), HashMap::new());
    let (a, b) = (join("a").await?, join("b").await?);
    let local: Arc<dyn Local> = Arc::new(Quiet);
    let open = |cluster: &NatsCluster| {
        let local = Arc::downgrade(&local) as Weak<dyn Local>;
        cluster.open("/", Delivery::Logged, local)
    };
    let (here, there) = (open(&a), open(&b));
    here.opened().await;
    there.opened().await;
    until("they know each other", || a.node_count() == 2).await;
    append(&*here).await;
    ask(&*here).await;
    here.sessions()
        .create(SessionKey::random(), session_of("a"))
        .await
        .ok();
    here.sessions().get(SessionKey::random()).await.ok();
    let window = Duration::from_secs(1);
    a.sessions().sweep(&|_| false, window).await.ok();
    a.peer_secret().await.ok();
    a.close().await;
    b.close().await;
    Ok(())
}

async fn append(adapter: &dyn Adapter) {
    let envelope = Envelope {
        target: Target::All,
        except: [].into_iter().collect(),
        event: Event::new("e", &1).unwrap(),
        announced_by: None,
    };
    let (done, fate) = oneshot::channel();
    // Nobody may wait for it any more.
    let done = move |outcome: Result<Appended, _>| {
        done.send(outcome.is_ok()).ok();
    };
    adapter.append(envelope, None, Box::new(done));
    // If it is not logged, the server says why.
    fate.await.ok();
}

async fn ask(adapter: &dyn Adapter) {
    adapter.cast(Cast::ServerSide {
        event: Event::new("e", &1).unwrap(),
    });
    let everybody = Selection {
        target: Target::All,
        except: [].into_iter().collect(),
    };
    let within = Duration::from_secs(1);
    adapter.request(Request::Fetch(everybody), within).await;
}

/// How long the server may take to write what it denied into its log.
const LOG_LAG: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_permission_is_needed() {
    let lacking = each_lacking_one();
    let users: Vec<User> = lacking.iter().map(Lacking::user).collect();
    let server = NatsServer::start(Server::default().with_users(&users)).await;
    let server = &server;
    let tries = lacking.iter().map(|user| async move {
        let options = user.options(server);
        let denied = until("a violation", || user.is_denied(server));
        tokio::pin!(denied);
        // What a node waits for without end is told by the server.
        tokio::select! {
            _ = do_all(&options) => {}
            () = &mut denied => return None,
        }
        // The node may have been told before the server's log says so.
        let said = tokio::time::timeout(LOG_LAG, denied).await;
        said.is_err().then(|| user.entry.clone())
    });
    let not_needed: Vec<_> = join_all(tries).await.into_iter().flatten().collect();
    assert!(not_needed.is_empty(), "not needed: {not_needed:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_permissions_are_enough() {
    let names = Names::new("whole").unwrap();
    let user = |name: &str, permissions| Lacking {
        name: name.to_owned(),
        entry: String::new(),
        permissions,
    };
    let founder = user("founder", Permissions::founder(&names));
    let node = user("node", Permissions::node(&names));
    let server = Server::default().with_users(&[founder.user(), node.user()]);
    let server = NatsServer::start(server).await;
    // The founder first: it makes what the node finds.
    for user in [founder, node] {
        let options = Options {
            prefix: names.prefix().to_owned(),
            ..user.options(&server)
        };
        within("all is done", do_all(&options)).await.unwrap();
    }
    assert_eq!(server.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_node_that_may_not_make_the_stream_says_what_is_denied() {
    let names = Names::new("denied").unwrap();
    let node = Lacking {
        name: "denied".to_owned(),
        entry: String::new(),
        permissions: Permissions::node(&names),
    };
    let server = NatsServer::start(Server::default().with_users(&[node.user()])).await;
    let joining = NatsCluster::join(node.options(&server), NodeId::new("a"), HashMap::new());
    let error = within("the node gives up", joining)
        .await
        .map(drop)
        .unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("$JS.API.STREAM.CREATE.denied_log"),
        "the subject: {said}"
    );
    assert!(said.contains("permissions"), "{said}");
    assert!(!error.is_lasting(), "the permissions can be mended");
}

#[tokio::test]
async fn what_is_denied_after_joining_is_said_with_its_subject() {
    let mut permissions = Permissions::founder(&Names::new("later").unwrap());
    permissions.publish.retain(|entry| entry != "later.ask.*");
    let node = Lacking {
        name: "later".to_owned(),
        entry: String::new(),
        permissions,
    };
    let server = NatsServer::start(Server::default().with_users(&[node.user()])).await;
    let join = |name| NatsCluster::join(node.options(&server), NodeId::new(name), HashMap::new());
    let (a, b) = (join("a").await.unwrap(), join("b").await.unwrap());
    let local: Arc<dyn Local> = Arc::new(Quiet);
    let open = |cluster: &NatsCluster| {
        let local = Arc::downgrade(&local) as Weak<dyn Local>;
        cluster.open("/", Delivery::Logged, local)
    };
    let (here, _there) = (open(&a), open(&b));
    within("it is heard", here.opened()).await;
    until("they know each other", || a.node_count() == 2).await;
    assert_eq!(a.denied(), None);
    ask(&*here).await;
    until("it is denied", || a.denied().is_some()).await;
    let denied = a.denied().unwrap();
    assert!(denied.contains("\"later.ask."), "{denied}");
    assert_eq!(b.denied(), None, "it has asked for nothing");
    a.close().await;
    b.close().await;
}

/// The documentation's blocks of nats-server configuration.
fn documented() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.strip_prefix("conf\n"));
    blocks.map(str::to_owned).collect()
}

#[test]
fn the_documentation_shows_exactly_these_permissions() {
    let names = Names::new("chatcluster").unwrap();
    let (node, founder) = (Permissions::node(&names), Permissions::founder(&names));
    let more = &founder.publish[node.publish.len()..];
    assert_eq!(node.subscribe, founder.subscribe);
    let blocks = documented();
    assert!(
        blocks.contains(&node.render()),
        "not in docs/operations.md:\n{}",
        node.render()
    );
    let more: String = more
        .iter()
        .map(|one| format!("      \"{one}\"\n"))
        .collect();
    assert!(blocks.contains(&more), "not in docs/operations.md:\n{more}");
}
