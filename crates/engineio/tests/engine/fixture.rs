//! A server whose upper layer writes down everything it is told.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chatcluster_engineio::serve::{self, serve};
use chatcluster_engineio::{
    Accept, CloseReason, Config, Connection, Engine, Flow, Frame, Handshake, Message, Refusal,
    Session, Sid,
};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Long enough for a loaded machine; reached only when a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    Opened,
    Message(Message),
    Closed(CloseReason),
    Timeout(u32),
}

type OnOpen = fn(&Arc<Session>);
type OnMessage = Box<dyn Fn(&Arc<Session>, &Message) -> Flow + Send + Sync>;

/// The upper layer of the tests.
pub(crate) struct Upper {
    told: Mutex<Vec<(Sid, Told)>>,
    on_message: OnMessage,
    pub(crate) on_open: Mutex<Option<OnOpen>>,
    pub(crate) refusal: Mutex<Option<Refusal>>,
    pub(crate) admitted: Mutex<Vec<String>>,
}

struct Peer(Arc<Upper>);

impl Connection for Peer {
    fn message(&self, session: &Arc<Session>, message: Message) -> Flow {
        self.0.tell(session, Told::Message(message.clone()));
        (self.0.on_message)(session, &message)
    }

    fn closed(&self, session: &Arc<Session>, reason: CloseReason) {
        self.0.tell(session, Told::Closed(reason));
    }

    fn timeout(&self, session: &Arc<Session>, token: u32) {
        self.0.tell(session, Told::Timeout(token));
    }
}

impl Upper {
    fn tell(&self, session: &Arc<Session>, told: Told) {
        self.told.lock().push((*session.id(), told));
    }
}

struct Acceptor(Arc<Upper>);

impl Accept for Acceptor {
    fn admit(&self, handshake: &Handshake) -> Result<(), Refusal> {
        self.0.admitted.lock().push(handshake.uri().to_owned());
        self.0.refusal.lock().clone().map_or(Ok(()), Err)
    }

    fn open(&self, session: &Arc<Session>) -> Arc<dyn Connection> {
        self.0.tell(session, Told::Opened);
        if let Some(on_open) = *self.0.on_open.lock() {
            on_open(session);
        }
        Arc::new(Peer(Arc::clone(&self.0)))
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) engine: Engine,
    pub(crate) address: SocketAddr,
    pub(crate) upper: Arc<Upper>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// A server that echoes.
    pub(crate) async fn echo(config: Config) -> Self {
        Self::start(config, |session, message| {
            session.send(&[echo(message)]).expect("room for an echo");
            Flow::Continue
        })
        .await
    }

    /// A server that only listens.
    pub(crate) async fn silent(config: Config) -> Self {
        Self::start(config, |_, _| Flow::Continue).await
    }

    pub(crate) async fn start(
        config: Config,
        on_message: impl Fn(&Arc<Session>, &Message) -> Flow + Send + Sync + 'static,
    ) -> Self {
        let upper = Arc::new(Upper {
            told: Mutex::default(),
            on_message: Box::new(on_message),
            on_open: Mutex::default(),
            refusal: Mutex::default(),
            admitted: Mutex::default(),
        });
        let engine =
            Engine::new(config, Arc::new(Acceptor(Arc::clone(&upper)))).expect("a usable config");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = engine.service();
        let task = tokio::spawn(serve(
            listener,
            service,
            serve::Options::default(),
            std::future::pending::<()>(),
        ));
        Self {
            engine,
            address,
            upper,
            task,
        }
    }

    pub(crate) fn session(&self, sid: &str) -> Arc<Session> {
        let sid = Sid::parse(sid).unwrap();
        let found = self
            .engine
            .sessions()
            .into_iter()
            .find(|session| *session.id() == sid);
        found.expect("an open session")
    }

    /// What the upper layer was told about a session, without its opening.
    pub(crate) fn told(&self, sid: &str) -> Vec<Told> {
        let sid = Sid::parse(sid).unwrap();
        let told = self.upper.told.lock();
        told.iter()
            .filter(|(of, told)| *of == sid && *told != Told::Opened)
            .map(|(_, told)| told.clone())
            .collect()
    }

    pub(crate) fn texts(&self, sid: &str) -> Vec<String> {
        self.told(sid)
            .into_iter()
            .filter_map(|told| match told {
                Told::Message(Message::Text(text)) => Some(text.as_str().to_owned()),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn reasons(&self, sid: &str) -> Vec<CloseReason> {
        self.told(sid)
            .into_iter()
            .filter_map(|told| match told {
                Told::Closed(reason) => Some(reason),
                _ => None,
            })
            .collect()
    }

    /// Waits until the session is closed, and says why. Fails if that is told twice.
    pub(crate) async fn reason(&self, sid: &str) -> CloseReason {
        eventually("the session is closed", || !self.reasons(sid).is_empty()).await;
        let reasons = self.reasons(sid);
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert!(
            matches!(self.told(sid).last(), Some(Told::Closed(_))),
            "something came after the end"
        );
        reasons[0]
    }

    pub(crate) async fn message_count(&self, sid: &str, count: usize) {
        eventually("the messages arrive", || self.texts(sid).len() >= count).await;
    }
}

pub(crate) fn echo(message: &Message) -> Frame {
    match message {
        Message::Text(text) => Frame::text(text),
        Message::Binary(bytes) => Frame::binary(bytes.clone()),
    }
}

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        tokio::time::timeout(DEADLINE, wait).await.is_ok(),
        "waited in vain until {what}"
    );
}

/// Waits for a future, but not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Heartbeats that no test waits for.
pub(crate) fn quiet() -> Config {
    Config::default()
}

/// Short heartbeats.
pub(crate) fn quick() -> Config {
    Config {
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(150),
        ..Config::default()
    }
}
