//! The random walk: clients on three nodes join, leave, publish, are cut, come back, take over, go for good.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use chatcluster_socketio::adapter::memory::Memory;
use chatcluster_socketio::{AckSender, Data, Event, SocketIo, SocketRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::client::{Carried, Client, Seen, within};
use crate::node::{Node, config};
use crate::oracle::{Published, Session};
use crate::random::Random;

const NODES: usize = 3;
const CLIENTS: usize = 4;
const STEPS: usize = 300;
const SEEDS: u64 = 100;
const ROOMS: [&str; 4] = ["a", "b", "c", "d"];

/// What the nodes saw.
#[derive(Default)]
struct Facts {
    log: Mutex<Vec<Published>>,
    /// Where new sessions were when their connect handler ran.
    connected_at: Mutex<HashMap<String, u64>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Publish {
    id: u64,
    rooms: Vec<String>,
    except: Vec<String>,
}

fn set_up(io: &SocketIo, facts: &Arc<Facts>) {
    let at_connect = facts.clone();
    let publishing = facts.clone();
    io.ns("/", move |s: SocketRef| {
        if !s.recovered() {
            let mut connected_at = at_connect.connected_at.lock().expect("no panic");
            connected_at.insert(s.id().to_string(), s.position());
        }
        std::future::ready(())
    })
    .on(
        "join",
        async |s: SocketRef, Data(room): Data<String>, ack: AckSender| {
            let position = s.join(room).await;
            ack.send(&position).expect("an acknowledgement");
        },
    )
    .on(
        "leave",
        async |s: SocketRef, Data(room): Data<String>, ack: AckSender| {
            s.leave(room).await;
            ack.send(&s.position()).expect("an acknowledgement");
        },
    )
    .on(
        "publish",
        move |s: SocketRef, Data(publish): Data<Publish>, ack: AckSender| {
            let facts = publishing.clone();
            async move {
                let position = append(&s, publish, facts).await;
                ack.send(&position).expect("an acknowledgement");
            }
        },
    );
}

/// Appends and notes the position in the callback, in the order of the log: a fence on the same node comes later.
async fn append(s: &SocketRef, publish: Publish, facts: Arc<Facts>) -> u64 {
    let event = Event::new("news", &publish.id).expect("an event");
    let Publish { id, rooms, except } = publish;
    let mut to = s.namespace().all();
    if !rooms.is_empty() {
        to = to.to(rooms.clone());
    }
    if !except.is_empty() {
        to = to.except(except.clone());
    }
    let (sender, decided) = tokio::sync::oneshot::channel();
    to.append_then(event, None, move |result| {
        let position = result.expect("the log is not busy").position;
        let published = Published {
            position,
            id,
            rooms,
            except,
        };
        facts.log.lock().expect("no panic").push(published);
        let _gone = sender.send(position);
    });
    decided.await.expect("every append is decided")
}

/// One of the people who walk.
struct Person {
    /// `None` while it is cut off.
    client: Option<Client>,
    carried: Carried,
    session: Session,
}

impl Person {
    async fn new(node: &Node) -> Self {
        let begun_after = node.main().position();
        let client = Client::connect(node.address).await;
        Self {
            carried: client.carried.clone(),
            session: Session {
                sid: client.carried.sid.clone(),
                begun_after,
                ..Session::default()
            },
            client: Some(client),
        }
    }

    /// Ends the connection under the session and keeps what it gave.
    fn part(&mut self) -> Option<Client> {
        let client = self.client.take()?;
        self.carried = client.carried.clone();
        self.session.received.extend(news(&client.seen));
        Some(client)
    }

    async fn come_back(&mut self, node: &Node) {
        let client = Client::resume(node.address, &self.carried).await;
        assert!(
            client.has_recovered(&self.carried),
            "session {} was not recovered; refused for {:?}",
            self.carried.sid,
            node.io.counters().not_recovered
        );
        self.client = Some(client);
    }
}

fn news(seen: &[Seen]) -> Vec<(u64, u64)> {
    let of_news = |seen: &Seen| match seen {
        Seen::Event {
            name,
            arg,
            position,
        } if name == "news" => Some((position.expect("an offset"), arg.as_u64().expect("an id"))),
        _ => None,
    };
    seen.iter().filter_map(of_news).collect()
}

struct Walk {
    random: Random,
    nodes: Vec<Node>,
    facts: Arc<Facts>,
    people: Vec<Person>,
    /// Sessions that were ended by their clients.
    ended: Vec<Session>,
    published: u64,
}

impl Walk {
    async fn new(seed: u64) -> Self {
        let cluster = Memory::default();
        let facts = Arc::<Facts>::default();
        let start = |index| Node::start(&cluster, index, config(), 1, |io| set_up(io, &facts));
        let nodes: Vec<Node> = (0..NODES).map(start).collect();
        let mut people = Vec::new();
        for index in 0..CLIENTS {
            people.push(Person::new(&nodes[index % NODES]).await);
        }
        Self {
            random: Random::new(seed),
            nodes,
            facts,
            people,
            ended: Vec::new(),
            published: 0,
        }
    }

    async fn step(&mut self) {
        let who = self.random.below(CLIENTS);
        if self.people[who].client.is_none() {
            if self.random.one_in(2) {
                let node = self.random.below(NODES);
                self.people[who].come_back(&self.nodes[node]).await;
            }
            return;
        }
        match self.random.below(100) {
            0..20 => self.join(who).await,
            20..34 => self.leave(who).await,
            34..74 => {
                for _ in 0..=self.random.below(4) {
                    self.publish(who).await;
                }
            }
            74..82 => {
                let client = self.people[who].client.as_mut();
                client.expect("looked at above").read_available();
            }
            82..90 => drop(self.people[who].part()),
            90..98 => self.take_over(who).await,
            _ => self.start_anew(who).await,
        }
    }

    async fn join(&mut self, who: usize) {
        let room = *self.random.pick(&ROOMS);
        let position = self.ask(who, "join", &json!(room)).await;
        self.people[who].session.join(room, position);
    }

    async fn leave(&mut self, who: usize) {
        let room = *self.random.pick(&ROOMS);
        let position = self.ask(who, "leave", &json!(room)).await;
        self.people[who].session.leave(room, position);
    }

    async fn ask(&mut self, who: usize, event: &str, arg: &Value) -> u64 {
        let client = self.people[who].client.as_mut();
        let answer = client.expect("connected").ask(event, arg).await;
        answer.as_u64().expect("a position")
    }

    /// Publishes without waiting for the acknowledgement: the log decides while others act.
    async fn publish(&mut self, who: usize) {
        self.published += 1;
        let random = &mut self.random;
        let mut rooms = |most: usize| -> Vec<String> {
            let count = random.below(most + 1);
            (0..count)
                .map(|_| (*random.pick(&ROOMS)).to_owned())
                .collect()
        };
        let mut publish = Publish {
            id: self.published,
            rooms: rooms(3),
            except: rooms(1),
        };
        let somebody = self.random.below(CLIENTS);
        let somebody = self.people[somebody].session.sid.clone();
        match self.random.below(8) {
            0 => publish.rooms = vec![somebody],
            1 => publish.except.push(somebody),
            _ => {}
        }
        let arg = serde_json::to_value(publish).expect("JSON");
        let client = self.people[who].client.as_mut().expect("connected");
        client.emit("publish", &arg).await;
    }

    /// Comes back while the old connection is open: the server closes that one, without a word to its client.
    async fn take_over(&mut self, who: usize) {
        let node = self.random.below(NODES);
        let person = &mut self.people[who];
        let mut old = person.part().expect("connected");
        let counted = old.seen.len();
        person.come_back(&self.nodes[node]).await;
        old.read_to_end(false).await;
        let late = &old.seen[counted..];
        assert!(!late.contains(&Seen::Disconnected), "the loser was told 41");
    }

    async fn start_anew(&mut self, who: usize) {
        let node = self.random.below(NODES);
        let new = Person::new(&self.nodes[node]).await;
        let old = std::mem::replace(&mut self.people[who], new);
        let mut session = old.session;
        let seen = old.client.expect("connected").disconnect().await;
        session.received.extend(news(&seen));
        self.ended.push(session);
    }

    /// Brings everybody back and waits until all have what was published; returns the position up to which that is known.
    async fn settle(&mut self) -> u64 {
        for who in 0..CLIENTS {
            if self.people[who].client.is_none() {
                let node = self.random.below(NODES);
                self.people[who].come_back(&self.nodes[node]).await;
            }
        }
        // One by each node: behind it come no notes of what that node was told before.
        let mut ends = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let event = Event::new("fence", &index).expect("an event");
            let decided = node.main().all().append(event, None).decided();
            let fence = within("a fence", decided).await.expect("an append");
            ends.push(fence.position);
        }
        for person in &mut self.people {
            let client = person.client.as_mut().expect("brought back");
            let is_last = |seen: &Seen| matches!(seen, Seen::Event { name, arg, .. } if name == "fence" && *arg == NODES - 1);
            client.read_until("the last fence", 0, is_last).await;
            drop(person.part());
        }
        ends[0]
    }

    fn check(&self, end: u64) {
        let log = self.facts.log.lock().expect("no panic");
        let connected_at = self.facts.connected_at.lock().expect("no panic");
        for person in &self.people {
            let session = &person.session;
            let expected = session.expected(&log, connected_at[&session.sid], end);
            let mut received = session.received.clone();
            received.retain(|(position, _)| *position < end);
            assert_same(session, &received, &expected);
        }
        for session in &self.ended {
            // Its client stopped reading at some point: what it has must be all up to there.
            let mut expected = session.expected(&log, connected_at[&session.sid], end);
            expected.truncate(session.received.len());
            assert_same(session, &session.received, &expected);
        }
    }
}

fn assert_same(session: &Session, received: &[(u64, u64)], expected: &[(u64, u64)]) {
    let missing: Vec<_> = expected.iter().filter(|e| !received.contains(e)).collect();
    let surplus: Vec<_> = received.iter().filter(|r| !expected.contains(r)).collect();
    assert!(
        received == expected,
        "received {} of {}: missing {missing:?}, not entitled to {surplus:?}, or doubled or out of order: {session:#?}",
        received.len(),
        expected.len(),
    );
}

/// Says which walk it was when a walk fails.
struct OnFailure(u64, usize);

impl Drop for OnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed at WALK_SEED={} in step {}", self.0, self.1);
        }
    }
}

#[tokio::test]
async fn a_random_walk_shows_each_client_exactly_what_it_was_entitled_to() {
    let only = std::env::var("WALK_SEED").ok();
    let only = only.map(|seed| seed.parse().expect("WALK_SEED is a number"));
    let seeds = only.map_or(1..=SEEDS, |seed| seed..=seed);
    let (mut published, mut received, mut recovered) = (0, 0, 0);
    for seed in seeds {
        let mut here = OnFailure(seed, 0);
        let mut walk = Walk::new(seed).await;
        for step in 0..STEPS {
            here.1 = step;
            walk.step().await;
        }
        let end = walk.settle().await;
        walk.check(end);
        published += walk.published;
        received += walk
            .people
            .iter()
            .map(|p| p.session.received.len())
            .sum::<usize>();
        recovered += walk
            .nodes
            .iter()
            .map(|n| n.io.counters().recovered.get())
            .sum::<u64>();
    }
    println!("{published} published, {received} received, {recovered} recoveries");
    assert!(received > 0 && recovered > 0, "a walk that shows nothing");
}
