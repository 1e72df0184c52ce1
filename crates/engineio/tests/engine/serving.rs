//! The accept loop: other services, clients that leave something undone, too many of them, and the graceful end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use chatcluster_engineio::serve::{Options, serve};
use chatcluster_engineio::{Accept, CloseReason, Config, Connection, Engine, RemoteAddr, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::client::{Poller, open_websocket, read_reply, request, send, send_request, text};
use crate::fixture::{Server, eventually, quick, soon};

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(router: Router, options: Options) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(serve(listener, router, options, stopped));
    Running {
        address,
        stop,
        task,
    }
}

struct Echo;

impl Accept for Echo {
    fn open(&self, _: &Arc<Session>) -> Arc<dyn Connection> {
        Arc::new(Echo)
    }
}

impl Connection for Echo {
    fn message(
        &self,
        session: &Arc<Session>,
        message: chatcluster_engineio::Message,
    ) -> chatcluster_engineio::Flow {
        session.send(&[crate::fixture::echo(&message)]).unwrap();
        chatcluster_engineio::Flow::Continue
    }

    fn closed(&self, _: &Arc<Session>, _: CloseReason) {}
}

#[tokio::test]
async fn a_router_serves_the_engine_beside_other_routes() {
    let engine = Engine::new(Config::default(), Arc::new(Echo)).unwrap();
    let router = Router::new()
        .route_service("/engine.io/", engine.service())
        .route(
            "/who",
            get(
                |Extension(remote): Extension<RemoteAddr>| async move { remote.0.ip().to_string() },
            ),
        );
    let running = start(router, Options::default()).await;
    assert_eq!(
        request(running.address, "GET", "/who", "", "").await.body,
        "127.0.0.1"
    );
    let (mut ws, _) = open_websocket(running.address).await;
    send(&mut ws, "4through the router").await;
    assert_eq!(text(&mut ws).await, "4through the router");
}

/// What is sent to a server that wants more, byte by byte, until the server ends the connection; what it answered.
async fn drip(address: SocketAddr, begin: &str) -> Vec<u8> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    writer.write_all(begin.as_bytes()).await.unwrap();
    let dripping = tokio::spawn(async move {
        while writer.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut answer = Vec::new();
    // A server that leaves input unread resets the connection; what it answered before arrives all the same.
    soon("the end", reader.read_to_end(&mut answer)).await.ok();
    dripping.abort();
    answer
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let options = Options {
        header_read_timeout: Duration::from_millis(100),
        ..Options::default()
    };
    let running = start(Router::new(), options).await;
    for begin in ["", "GET / HTTP/1.1\r\nHost"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(begin.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        soon("the end", stream.read_to_end(&mut rest))
            .await
            .unwrap();
    }
    // Bytes that go on coming gain no time.
    let answer = drip(running.address, "GET / HTTP/1.1\r\nHost: ").await;
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn a_body_that_does_not_end_ends_with_the_session() {
    let server = Server::silent(quick()).await;
    let poller = Poller::open(server.address).await;
    let path = poller.path();
    let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n4");
    let answer = drip(server.address, &head).await;
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{answer:?}");
    assert_eq!(server.reason(&poller.sid).await, CloseReason::PingTimeout);
    assert_eq!(server.texts(&poller.sid), [""; 0]);
}

#[tokio::test]
async fn a_body_that_nobody_reads_ends_with_the_answer() {
    let running = start(Router::new(), Options::default()).await;
    let head = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n";
    let answer = drip(running.address, head).await;
    assert!(answer.starts_with(b"HTTP/1.1 404 "), "{answer:?}");
}

fn large(bytes: usize) -> Router {
    Router::new().route("/large", get(move || async move { vec![b'x'; bytes] }))
}

#[tokio::test]
async fn answers_that_are_never_read_end_the_connection() {
    let options = Options {
        write_timeout: Duration::from_millis(200),
        ..Options::default()
    };
    let running = start(large(1 << 20), options.clone()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let begin = Instant::now();
    let asking = async {
        let request = b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n";
        while stream.write_all(request).await.is_ok() {}
    };
    soon("the connection to be dropped", asking).await;
    assert!(begin.elapsed() >= options.write_timeout);
}

#[tokio::test]
async fn an_answer_that_is_never_read_does_not_stay_with_the_system() {
    let options = Options {
        write_timeout: Duration::from_millis(200),
        ..Options::default()
    };
    let running = start(large(64 << 20), options).await;
    // Nothing more is sent: a close alone would queue behind the answer, and the client would not hear of it.
    let stream = send_request(running.address, "GET", "/large", "", "").await;
    eventually("the connection is reset", || {
        stream.take_error().unwrap().is_some()
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_read_slowly_arrives_whole() {
    const BYTES: usize = 16 << 20;
    let options = Options {
        write_timeout: Duration::from_secs(3),
        ..Options::default()
    };
    let running = start(large(BYTES), options.clone()).await;
    let mut stream = send_request(running.address, "GET", "/large", "", "").await;
    let begin = Instant::now();
    let mut received = 0;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match soon("more", stream.read(&mut buffer)).await.unwrap() {
            0 => break,
            length => received += length,
        }
        // A slow client, far from the deadline with each piece, and beyond it with all of them.
        tokio::time::sleep(Duration::from_millis(16)).await;
    }
    assert!(received > BYTES, "{received}");
    assert!(begin.elapsed() > options.write_timeout);
}

/// Whether a new connection is served.
async fn is_served(address: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let mut answer = Vec::new();
    // The connection may be closed before, or while, the request is sent.
    if stream.write_all(request).await.is_ok() {
        soon("an answer or the end", stream.read_to_end(&mut answer))
            .await
            .ok();
    }
    !answer.is_empty()
}

#[tokio::test]
async fn one_connection_too_many_is_closed_until_another_ends() {
    let engine = Engine::new(Config::default(), Arc::new(Echo)).unwrap();
    let router = Router::new().route_service("/engine.io/", engine.service());
    let options = Options {
        max_connections: Some(std::sync::Arc::new(2.into())),
        ..Options::default()
    };
    let running = start(router, options).await;
    let idle = TcpStream::connect(running.address).await.unwrap();
    let served = async |why| {
        let trying = async { while !is_served(running.address).await {} };
        soon(why, trying).await;
    };
    // These go out of the count with their upgrade; each needs the second place for a moment.
    let mut websockets = Vec::new();
    for _ in 0..3 {
        served("a free place").await;
        websockets.push(open_websocket(running.address).await);
    }
    served("a place that the last WebSocket left").await;
    let second = TcpStream::connect(running.address).await.unwrap();
    assert!(!is_served(running.address).await);
    assert!(!is_served(running.address).await);
    drop(second);
    served("the place of a connection that has ended").await;
    drop(idle);
}

/// In a process of its own, which may open few files.
#[tokio::test]
async fn when_files_run_out_connections_wait_until_they_are_back() {
    const CHILD: &str = "ENGINEIO_TEST_FEW_FILES";
    const NAME: &str = "serving::when_files_run_out_connections_wait_until_they_are_back";
    if std::env::var_os(CHILD).is_none() {
        let mut shell = tokio::process::Command::new("sh");
        shell
            .args(["-c", "ulimit -n 64 && exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(CHILD, "1");
        let output = soon("the child", shell.kill_on_drop(true).output())
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(said.contains("1 passed"), "{output:?}");
        return;
    }
    let running = start(Router::new(), Options::default()).await;
    let mut files: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    // The client's end takes this one; none is left for the server's.
    files.pop();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let unserved = tokio::time::timeout(Duration::from_millis(300), stream.readable()).await;
    assert!(unserved.is_err(), "served without a file descriptor");
    assert!(!running.task.is_finished());
    drop(files);
    assert_eq!(read_reply(stream).await.status, 404);
}

#[tokio::test]
async fn the_end_waits_for_requests_and_closes_idle_connections() {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let router = Router::new().route(
        "/slow",
        get({
            let (entered, leave) = (Arc::clone(&entered), Arc::clone(&leave));
            async move || {
                entered.notify_one();
                leave.notified().await;
                "done"
            }
        }),
    );
    let running = start(router, Options::default()).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET /other HTTP/1.1\r\nHost: test\r\n\r\n")
        .await
        .unwrap();
    idle.readable().await.unwrap();
    let slow = send_request(running.address, "GET", "/slow", "", "").await;
    soon("the request", entered.notified()).await;

    running.stop.send(()).unwrap();
    let mut rest = Vec::new();
    soon("the idle connection to end", idle.read_to_end(&mut rest))
        .await
        .unwrap();
    assert!(
        TcpStream::connect(running.address).await.is_err(),
        "nothing is accepted any more"
    );
    assert!(!running.task.is_finished());
    leave.notify_one();
    assert_eq!(read_reply(slow).await.body, "done");
    soon("the server to end", running.task).await.unwrap();
}

#[tokio::test]
async fn the_end_does_not_wait_longer_than_the_grace_time() {
    let entered = Arc::new(Notify::new());
    let router = Router::new().route(
        "/stuck",
        get({
            let entered = Arc::clone(&entered);
            async move || {
                entered.notify_one();
                std::future::pending::<()>().await;
            }
        }),
    );
    let running = start(
        router,
        Options {
            grace: Duration::from_millis(100),
            ..Options::default()
        },
    )
    .await;
    let _stuck = send_request(running.address, "GET", "/stuck", "", "").await;
    soon("the request", entered.notified()).await;
    let begin = Instant::now();
    running.stop.send(()).unwrap();
    soon("the server to end", running.task).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(100));
}
