use std::sync::Arc;
use std::time::Duration;

use chatcluster_chat_api::ServerConfig;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Another server, as far as its connections go: what it was sent, and on how many connections.
#[derive(Clone, Default)]
struct Received {
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

/// What it does with the requests of one connection, in turn. After the last one it closes.
#[derive(Clone, Copy)]
enum Does {
    Say(&'static str),
    Nothing,
}

async fn owner(script: &'static [Does]) -> (Owner, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let received = Received::default();
    let seen = received.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            *seen.connections.lock() += 1;
            tokio::spawn(serve(stream, seen.clone(), script));
        }
    });
    (at(address), received)
}

fn at(address: SocketAddr) -> Owner {
    Owner {
        tag: SidTag::random(),
        address,
        token: HeaderValue::from_static("v1.token"),
    }
}

async fn serve(mut stream: TcpStream, received: Received, script: &'static [Does]) {
    for does in script {
        let Some(request) = read(&mut stream).await else {
            return;
        };
        received.requests.lock().push(request);
        match does {
            Does::Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Does::Nothing => {}
        }
    }
    if matches!(script.last(), Some(Does::Nothing)) {
        std::future::pending::<()>().await;
    }
}

/// One request with its body.
async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            return None;
        }
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
    }
}

fn relay(time: Duration) -> Relay {
    let yaml = "listen: 127.0.0.1:0\nnats: {urls: ['nats://127.0.0.1:1']}\nengine: {maxPayloadBytes: 1000}\nlimits: {messageCharacters: 100}";
    let config = ServerConfig::parse(yaml).unwrap().validate().unwrap();
    let mut relay = Relay::bind(&config).unwrap().unwrap();
    Arc::get_mut(&mut relay.0).unwrap().bounds.time = time;
    relay
}

fn request(method: Method, body: impl Into<Body>) -> Request {
    let mut request = Request::new(body.into());
    *request.method_mut() = method;
    *request.uri_mut() = "/socket.io/?EIO=4&sid=x".parse().unwrap();
    request
}

async fn pass(relay: &Relay, owner: &Owner, request: Request) -> Passed {
    let kind = kind(&request).unwrap();
    timeout(DEADLINE, relay.pass_to(owner, kind, request))
        .await
        .unwrap()
}

async fn status_and_body(passed: Passed) -> (u16, String) {
    let Passed::Elsewhere(answer) = passed else {
        panic!("not answered elsewhere");
    };
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn count(relay: &Relay, kind: Kind, outcome: Outcome) -> u64 {
    let labels = super::super::measures::labels(kind, outcome);
    relay.0.measures.relayed.get_or_create(&labels).get()
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let relay = relay(DEADLINE);
    let (owner, received) = owner(&[Does::Say(OK), Does::Say(OK), Does::Say(OK)]).await;
    for method in [Method::POST, Method::GET, Method::POST] {
        let passed = pass(&relay, &owner, request(method, "4x")).await;
        assert_eq!(status_and_body(passed).await, (200, "ok".to_owned()));
    }
    assert_eq!(*received.connections.lock(), 1);
    assert_eq!(relay.0.measures.under_way.get(), 0);
    assert_eq!(count(&relay, Kind::Post, Outcome::Ok), 2);
}

#[tokio::test]
async fn a_post_whose_answer_does_not_come_is_sent_once_and_never_answered_with_ok() {
    let relay = relay(DEADLINE);
    // Closes in the middle of the second answer, on a connection that had served before.
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no";
    let script = Box::leak(Box::new([Does::Say(OK), Does::Say(half)]));
    let (owner, received) = owner(script).await;
    let passed = pass(&relay, &owner, request(Method::POST, "4first")).await;
    assert_eq!(status_and_body(passed).await.0, 200);
    let passed = pass(&relay, &owner, request(Method::POST, "4second")).await;
    assert!(matches!(passed, Passed::Here(_)));
    assert_eq!(count(&relay, Kind::Post, Outcome::Failed), 1);
    // Nor is it sent again later: a third request is the next thing that the other server sees.
    let passed = pass(&relay, &owner, request(Method::POST, "4third")).await;
    assert_eq!(status_and_body(passed).await.0, 200);
    let requests = received.requests.lock();
    let bodies: Vec<&str> = requests
        .iter()
        .filter_map(|request| request.split("\r\n\r\n").nth(1))
        .collect();
    assert_eq!(bodies, ["4first", "4second", "4third"]);
}

#[tokio::test]
async fn an_answer_that_does_not_come_or_end_is_not_waited_for() {
    let relay = relay(Duration::from_millis(200));
    for script in [
        &[Does::Nothing],
        &[
            Does::Say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n4"),
            Does::Nothing,
        ] as &[Does],
    ] {
        let (owner, _) = owner(script).await;
        let passed = pass(&relay, &owner, request(Method::GET, "")).await;
        assert!(matches!(passed, Passed::Here(_)));
    }
    assert_eq!(count(&relay, Kind::Poll, Outcome::Failed), 2);
    assert_eq!(relay.0.measures.under_way.get(), 0);
}

#[tokio::test]
async fn where_nobody_listens_the_owner_is_gone() {
    let relay = relay(DEADLINE);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let passed = pass(&relay, &at(address), request(Method::POST, "4x")).await;
    assert!(matches!(passed, Passed::Here(_)));
    assert_eq!(count(&relay, Kind::Post, Outcome::Gone), 1);
}

#[tokio::test]
async fn a_refusal_at_the_entrance_is_not_shown_to_the_client() {
    let relay = relay(DEADLINE);
    let refusal =
        "HTTP/1.1 403 Forbidden\r\nX-Chatcluster-Relay: refused\r\nContent-Length: 0\r\n\r\n";
    let script = Box::leak(Box::new([Does::Say(refusal)]));
    let (owner, _) = owner(script).await;
    let passed = pass(&relay, &owner, request(Method::POST, "4x")).await;
    assert!(matches!(passed, Passed::Here(_)));
    assert_eq!(count(&relay, Kind::Post, Outcome::Refused), 1);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_where_it_arrives() {
    let relay = relay(DEADLINE);
    let (owner, received) = owner(&[Does::Say(OK)]).await;
    let announced = Body::from("4".repeat(1001));
    let chunks = futures_util::stream::iter(["4".repeat(600), "4".repeat(401)]);
    let chunks = futures_util::StreamExt::map(chunks, Ok::<_, std::io::Error>);
    for body in [announced, Body::from_stream(chunks)] {
        let passed = pass(&relay, &owner, request(Method::POST, body)).await;
        assert_eq!(status_and_body(passed).await.0, 413);
    }
    assert_eq!(*received.connections.lock(), 0);
    let passed = pass(&relay, &owner, request(Method::POST, "4".repeat(1000))).await;
    assert_eq!(status_and_body(passed).await.0, 200);
}

#[tokio::test]
async fn the_hop_shows_the_client_s_address_and_nothing_of_its_connection() {
    let relay = relay(DEADLINE);
    let (owner, received) = owner(&[Does::Say(OK)]).await;
    let mut request = request(Method::POST, "4x");
    let client = SocketAddr::from(([192, 0, 2, 1], 7));
    request.extensions_mut().insert(RemoteAddr(client));
    for (name, value) in [
        ("host", "chat.example"),
        ("cookie", "a=b"),
        ("connection", "close, x-mine"),
        ("x-mine", "1"),
        ("x-chatcluster-relay", "forged"),
        ("x-chatcluster-client", "203.0.113.9:1"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    pass(&relay, &owner, request).await;
    let requests = received.requests.lock();
    let mut lines: Vec<&str> = requests[0]
        .split("\r\n")
        .take_while(|line| !line.is_empty())
        .collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "POST /socket.io/?EIO=4&sid=x HTTP/1.1",
            "content-length: 2",
            "cookie: a=b",
            "host: chat.example",
            "x-chatcluster-client: 192.0.2.1:7",
            "x-chatcluster-relay: v1.token",
        ]
    );
}

/// The client's default is to send it again, for the request has not been written yet: on the next connection it would meet
/// whoever has that address now.
#[tokio::test]
async fn a_connection_that_was_closed_unnoticed_costs_the_request_and_is_not_replaced() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (close, told) = std::sync::mpsc::channel();
    let (tell, closed) = std::sync::mpsc::channel();
    let connections = Arc::new(Mutex::new(0));
    let seen = connections.clone();
    // A thread of its own: the runtime must not get to see the end of the connection before the next request is made.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read as _, Write as _};
            let mut stream = stream.unwrap();
            *seen.lock() += 1;
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(OK.as_bytes()).unwrap();
            if told.recv().is_err() {
                return;
            }
            drop(stream);
            tell.send(()).unwrap();
        }
    });
    let relay = relay(DEADLINE);
    let passed = pass(&relay, &at(address), request(Method::POST, "4x")).await;
    assert_eq!(status_and_body(passed).await.0, 200);
    close.send(()).unwrap();
    closed.recv_timeout(DEADLINE).unwrap();
    // The runtime hears of it; the connection's task runs only after this one has made its request.
    tokio::task::yield_now().await;
    let passed = pass(&relay, &at(address), request(Method::POST, "4x")).await;
    assert!(matches!(passed, Passed::Here(_)));
    assert_eq!(count(&relay, Kind::Post, Outcome::Failed), 1);
    assert_eq!(*connections.lock(), 1);
}
