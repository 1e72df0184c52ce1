//! A client at packet level, and somebody who uses it: talks, joins and leaves, is cut off, vanishes, comes back elsewhere.

mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::course::{Crowd, Stage};
use super::node::{Node, Publish, WINDOW};
use super::oracle::Session;
use super::random::Random;

const URL: &str = "ws://node/socket.io/?EIO=4&transport=websocket";
/// How long a client waits for its CONNECT to be answered.
const PATIENCE: Duration = Duration::from_secs(20);
/// For how long after something was wrong a session may be lost to it.
const AFTERMATH: u64 = 15_000;

type Socket = WebSocketStream<DuplexStream>;

/// What waits for its acknowledgement.
enum Asked {
    Publish(Publish),
    Join(String),
    Leave(String),
}

/// What a client carries from one connection to the next.
struct Carried {
    pid: String,
    offset: Option<String>,
    begun_at: u64,
    /// When its connection was last known to stand.
    seen_at: u64,
    session: Session,
}

pub(super) struct Person {
    index: usize,
    crowd: Arc<Crowd>,
    random: Random,
    carried: Option<Carried>,
    asked: BTreeMap<u64, Asked>,
    next_ask: u64,
    next_id: u64,
    /// Stored messages to be sent again: without an answer, or just so.
    again: Vec<Publish>,
    /// Connections that were left without a word.
    left: Vec<Socket>,
    /// When a CONNECT was given up whose outcome is not known.
    unclear_at: Option<u64>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    ByServer,
    Cut,
    Vanished,
    /// The session is given up, too.
    Farewell,
    Over,
}

impl Person {
    pub(super) fn new(index: usize, seed: u64, crowd: Arc<Crowd>) -> Self {
        Self {
            index,
            crowd,
            random: Random::new(seed ^ (0xc11e_0000 + index as u64)),
            carried: None,
            asked: BTreeMap::new(),
            next_ask: 0,
            next_id: (index as u64 + 1) * 1_000_000,
            again: Vec::new(),
            left: Vec::new(),
            unclear_at: None,
        }
    }

    /// Lives until the end of the course.
    pub(super) async fn live(mut self) {
        loop {
            let node = self.crowd.any_node(&mut self.random);
            let socket = match node {
                Some(node) => self.enter(&node).await.map(|socket| (socket, node)),
                None => None,
            };
            let end = match socket {
                Some((socket, node)) => self.stay(socket, &node).await,
                None => End::ByServer,
            };
            self.crowd.set_connected(self.index, None);
            if end == End::Over {
                break;
            }
            if end == End::Farewell {
                self.end_session();
            }
            self.forget_asked();
            let away = self.away(end);
            sleep(Duration::from_millis(away)).await;
        }
        if let Some(mut carried) = self.carried.take() {
            carried.session.whole_to = self.crowd.whole_to();
            self.crowd.book.close(carried.session);
        }
    }

    fn away(&mut self, end: End) -> u64 {
        let is_calm = self.crowd.stage() != Stage::Storm;
        let most = match self.random.below(20) {
            _ if is_calm => 300,
            _ if end == End::Vanished => 30,
            0 => 2 * WINDOW.as_millis() as usize,
            1..8 => 6000,
            _ => 500,
        };
        10 + self.random.below(most) as u64
    }

    fn end_session(&mut self) {
        if let Some(carried) = self.carried.take() {
            self.crowd.book.close(carried.session);
        }
    }

    /// What was asked on a connection that is gone has no answer.
    fn forget_asked(&mut self) {
        for asked in std::mem::take(&mut self.asked).into_values() {
            if let Asked::Publish(publish) = asked
                && publish.is_kept
            {
                self.again.push(publish);
            }
        }
        if let Some(carried) = &mut self.carried {
            carried.seen_at = self.crowd.now();
            // Whether a change of rooms was stored is known only as long as the connection stands, if something is wrong.
            if self.crowd.was_wrong(AFTERMATH) {
                carried.session.doubt_rooms();
            }
        }
    }

    // --- connecting ---

    /// Connects and gets a session; `None` if that fails, or takes too long.
    async fn enter(&mut self, node: &Node) -> Option<Socket> {
        let begun_after = node.main().position();
        let pipe = node.knock()?;
        let begun_at = self.crowd.now();
        let connecting = timeout(PATIENCE, self.connect(pipe));
        let connected = tokio::select! {
            biased;
            _ = node.is_dead.until(|dead| dead == 1) => None,
            connected = connecting => connected.ok().flatten(),
        };
        let Some((socket, answer)) = connected else {
            self.unclear_at = Some(self.crowd.now());
            return None;
        };
        let field = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let (sid, pid) = (field("sid"), field("pid"));
        let is_recovered = self.carried.as_ref().is_some_and(|c| c.pid == pid);
        let index = self.index;
        let name = &node.name;
        self.crowd.world.note(format_args!(
            "person {index} is on {name} as {sid}, recovered: {is_recovered}"
        ));
        if self.carried.is_some() {
            self.crowd.book.found(is_recovered);
        }
        if is_recovered {
            self.check_sid(&sid);
        } else {
            self.begin(sid.clone(), pid, begun_after, begun_at);
        }
        self.crowd.set_connected(self.index, Some(sid));
        Some(socket)
    }

    async fn connect(&self, pipe: DuplexStream) -> Option<(Socket, Value)> {
        let (mut socket, _) = client_async(URL, pipe).await.ok()?;
        let mut auth = json!({});
        if let Some(carried) = &self.carried {
            auth["pid"] = carried.pid.clone().into();
            if let Some(offset) = &carried.offset {
                auth["offset"] = offset.clone().into();
            }
        }
        socket.send(Message::text(format!("40{auth}"))).await.ok()?;
        loop {
            let text = read(&mut socket).await?;
            if text == "2" {
                socket.send(Message::text("3")).await.ok()?;
            } else if let Some(answer) = text.strip_prefix("40") {
                return Some((socket, serde_json::from_str(answer).ok()?));
            } else if text.starts_with("44") {
                return None;
            }
        }
    }

    fn check_sid(&self, sid: &str) {
        let known = self.carried.as_ref().map(|c| c.session.sid.as_str());
        if known != Some(sid) {
            let known = known.unwrap_or_default();
            self.crowd
                .book
                .fail(format!("session {known} came back as {sid}"));
        }
    }

    /// A new session; the old one must have had a reason to be lost.
    fn begin(&mut self, sid: String, pid: String, begun_after: u64, begun_at: u64) {
        if let Some(old) = self.carried.take() {
            if let Some(why) = self.blame(&old, begun_at) {
                let sid = &old.session.sid;
                self.crowd
                    .book
                    .fail(format!("session {sid} was not recovered, {why}"));
            }
            self.crowd.book.close(old.session);
        }
        self.unclear_at = None;
        self.carried = Some(Carried {
            pid,
            offset: None,
            begun_at,
            seen_at: begun_at,
            session: Session::new(sid, begun_after),
        });
    }

    /// Why it should have been recovered; `None` if something excuses it.
    fn blame(&self, old: &Carried, now: u64) -> Option<String> {
        let away = now.saturating_sub(old.seen_at);
        let is_late = away + 1000 >= WINDOW.as_millis() as u64;
        // It may have begun on a node that had not yet heard of what was lost, because it could not reach the broker.
        let since = old.begun_at.saturating_sub(AFTERMATH);
        let has_lost = self.crowd.world.with(|state| state.has_lost_since(since));
        let is_unclear = self
            .unclear_at
            .is_some_and(|at| at + AFTERMATH > old.seen_at);
        let is_wrong = self.crowd.was_wrong(AFTERMATH);
        if is_late || has_lost || is_unclear || is_wrong {
            return None;
        }
        Some(format!("{away} ms after it was cut, and nothing was wrong"))
    }

    // --- connected ---

    async fn stay(&mut self, mut socket: Socket, node: &Node) -> End {
        let mut act_at = self.next_act();
        let crowd = self.crowd.clone();
        let mut stage = crowd.stage();
        let end = loop {
            tokio::select! {
                biased;
                _ = node.is_dead.until(|dead| dead == 1) => break End::ByServer,
                () = crowd.leaves(stage) => {
                    stage = crowd.stage();
                    match stage {
                        Stage::Over => break End::Over,
                        Stage::Move => break End::Cut,
                        Stage::Storm | Stage::Settle | Stage::Rest => {}
                    }
                }
                text = read(&mut socket) => match text {
                    Some(text) => self.hear(&mut socket, &text).await,
                    None => break End::ByServer,
                },
                () = sleep_until(act_at), if self.crowd.stage() == Stage::Storm => {
                    if let Some(end) = self.act(&mut socket).await {
                        break end;
                    }
                    act_at = self.next_act();
                }
            }
        };
        let index = self.index;
        self.crowd
            .world
            .note(format_args!("person {index}: {end:?}"));
        if end == End::Vanished {
            self.left.push(socket);
        } else if end == End::Farewell {
            let _closed = socket.send(Message::text("41")).await;
        }
        end
    }

    fn next_act(&mut self) -> Instant {
        Instant::now() + Duration::from_millis(5 + self.random.below(900) as u64)
    }

    async fn act(&mut self, socket: &mut Socket) -> Option<End> {
        match self.random.below(100) {
            0..60 => {
                for _ in 0..=self.random.below(3) {
                    self.publish(socket).await;
                }
            }
            60..72 => self.change(socket, true).await,
            72..80 => self.change(socket, false).await,
            80..88 => return Some(End::Cut),
            88..94 => return Some(End::Vanished),
            94 => return Some(End::Farewell),
            // It reads nothing for a while.
            _ => sleep(Duration::from_millis(self.random.below(400) as u64)).await,
        }
        None
    }
}

async fn read(socket: &mut Socket) -> Option<String> {
    loop {
        match socket.next().await? {
            Ok(Message::Text(text)) => return Some(text.as_str().to_owned()),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}
