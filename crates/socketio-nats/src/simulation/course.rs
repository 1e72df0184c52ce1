//! One run: a storm, then calm, in which everything must become right again.

use std::collections::BTreeSet;
use std::sync::Arc;

use chatcluster_socketio::Event;
use chatcluster_socketio::level::Level;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::node::Node;
use super::oracle::{Book, Counts};
use super::person::Person;
use super::random::Random;
use super::world::{State, World};

pub(super) const NODES: usize = 3;
const PEOPLE: usize = 4;
/// Ids of the messages that everybody waits for at the end.
const FENCE: u64 = 1_000_000_000_000;
/// How long what must happen in the end may take.
const IN_THE_END: Duration = Duration::from_secs(60);

/// Where the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Storm,
    /// Nothing goes wrong any more, and nobody acts.
    Settle,
    /// Everybody goes to another connection.
    Move,
    Rest,
    Over,
}

const STAGES: [Stage; 5] = [
    Stage::Storm,
    Stage::Settle,
    Stage::Move,
    Stage::Rest,
    Stage::Over,
];

/// Who is there, for all to see.
pub(super) struct Crowd {
    pub(super) world: Arc<World>,
    pub(super) book: Arc<Book>,
    nodes: Mutex<Vec<Option<Arc<Node>>>>,
    people: Mutex<Vec<Presence>>,
    stage: Level,
    whole_to: Mutex<Option<u64>>,
}

#[derive(Debug, Clone, Default)]
struct Presence {
    sid: Option<String>,
    connections: usize,
    fences: BTreeSet<u64>,
}

impl Crowd {
    fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            book: Book::new(world.clone()),
            world,
            nodes: Mutex::new(vec![None; NODES]),
            people: Mutex::new(vec![Presence::default(); PEOPLE]),
            stage: Level::default(),
            whole_to: Mutex::default(),
        })
    }

    pub(super) fn now(&self) -> u64 {
        self.world.with(|state| state.now())
    }

    pub(super) fn was_wrong(&self, within: u64) -> bool {
        self.world
            .with(|state| state.weather.wrong_until + within > state.now())
    }

    pub(super) fn stage(&self) -> Stage {
        let index = usize::try_from(self.stage.get()).unwrap_or(0);
        STAGES[index.min(STAGES.len() - 1)]
    }

    pub(super) async fn leaves(&self, stage: Stage) {
        self.stage.until(|now| now != stage as u64).await;
    }

    pub(super) fn whole_to(&self) -> Option<u64> {
        *self.whole_to.lock()
    }

    pub(super) fn any_node(&self, random: &mut Random) -> Option<Arc<Node>> {
        let nodes: Vec<_> = self.nodes.lock().iter().flatten().cloned().collect();
        (!nodes.is_empty()).then(|| random.pick(&nodes).clone())
    }

    /// The room of somebody who is connected.
    pub(super) fn somebody(&self, random: &mut Random) -> Option<String> {
        random.pick(&self.people.lock()).sid.clone()
    }

    pub(super) fn set_connected(&self, person: usize, sid: Option<String>) {
        let presence = &mut self.people.lock()[person];
        presence.connections += usize::from(sid.is_some());
        presence.sid = sid;
    }

    pub(super) fn heard(&self, person: usize, id: u64) {
        if id >= FENCE {
            self.people.lock()[person].fences.insert(id);
        }
    }

    fn living(&self) -> Vec<Arc<Node>> {
        self.nodes.lock().iter().flatten().cloned().collect()
    }

    /// Waits for what must come; without it the run has failed.
    async fn must(&self, what: &str, holds: impl Fn() -> bool) -> Result<(), ()> {
        let end = Instant::now() + IN_THE_END;
        while !holds() {
            if self.book.broken().is_some() {
                return Err(());
            }
            if Instant::now() > end {
                self.book.fail(format!("not in the end: {what}"));
                return Err(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// What a run was.
pub(super) struct Run {
    pub(super) broken: Option<String>,
    pub(super) counts: Counts,
    /// Lines of the trace, and what they hash to.
    pub(super) hash: (u64, u64),
    pub(super) trace: String,
}

/// Runs a seed, on a runtime whose time is paused.
pub(super) async fn run(seed: u64) -> Run {
    let world = World::new(seed);
    let crowd = Crowd::new(world.clone());
    tokio::spawn(world.clone().run());
    let mut course = Course {
        crowd: crowd.clone(),
        random: Random::new(seed),
        started: 0,
        seed,
    };
    // An error is in the book.
    let _broken = course.run().await;
    let (hash, trace) = world.with(|state| (state.trace.hash(), state.trace.text()));
    Run {
        broken: crowd.book.broken(),
        counts: crowd.book.counts(),
        hash,
        trace,
    }
}

struct Course {
    crowd: Arc<Crowd>,
    random: Random,
    started: usize,
    seed: u64,
}

impl Course {
    async fn run(&mut self) -> Result<(), ()> {
        let (has_replicas, loses_data) = (self.random.one_in(2), self.random.one_in(3));
        self.crowd.world.with(|state| {
            state.weather.has_replicas = has_replicas;
            state.weather.loses_data = loses_data;
        });
        for slot in 0..NODES {
            self.start(slot, 0);
        }
        let living = || self.crowd.living().len() == NODES;
        self.crowd.must("the nodes start", living).await?;
        let people: Vec<JoinHandle<()>> = (0..PEOPLE)
            .map(|index| Person::new(index, self.seed, self.crowd.clone()))
            .map(|person| tokio::spawn(person.live()))
            .collect();
        self.storm().await?;
        self.settle().await?;
        self.to_stage(Stage::Over);
        for person in people {
            if timeout(IN_THE_END, person).await.is_err() {
                self.crowd.book.fail("a person does not end".to_owned());
            }
        }
        self.crowd.book.judge();
        Ok(())
    }

    fn to_stage(&self, stage: Stage) {
        self.crowd.world.note(format_args!("stage {stage:?}"));
        self.crowd.stage.set(stage as u64);
    }

    /// A new node in this place, after a while.
    fn start(&mut self, slot: usize, after: u64) {
        self.started += 1;
        let name = format!("node-{slot}-{}", self.started);
        let crowd = self.crowd.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(after)).await;
            let node = Node::start(&crowd.world, &crowd.book, name).await;
            crowd.nodes.lock()[slot] = Some(node);
        });
    }

    async fn storm(&mut self) -> Result<(), ()> {
        let seconds = 20 + self.random.below(50) as u64;
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            let pause = match self.random.below(3) {
                0 => 200,
                _ => 5000,
            };
            sleep(Duration::from_millis(self.random.below(pause) as u64)).await;
            if self.crowd.book.broken().is_some() {
                return Err(());
            }
            match self.random.below(12) {
                0 => self.end_node(true),
                1 => self.end_node(false),
                _ => {
                    let links: Vec<_> = self.crowd.living().iter().map(|n| n.link).collect();
                    if !links.is_empty() {
                        self.crowd.world.with(|state| state.storm(&links));
                    }
                }
            }
        }
        Ok(())
    }

    /// A node is killed or stopped, and another takes its place.
    fn end_node(&mut self, is_killed: bool) {
        let slot = self.random.below(NODES);
        let may_die = |state: &mut State| state.now() > state.weather.no_deaths_until;
        if !self.crowd.world.with(may_die) {
            return;
        }
        let Some(node) = self.crowd.nodes.lock()[slot].take() else {
            return;
        };
        self.crowd.world.with(|state| state.wrong(5000));
        if is_killed {
            node.kill(&self.crowd.world);
        } else {
            let world = self.crowd.world.clone();
            world.with(|state| state.links.leaves(node.link));
            tokio::spawn(async move { node.stop(&world).await });
        }
        let after = self.random.below(8000) as u64;
        self.start(slot, after);
    }

    async fn settle(&mut self) -> Result<(), ()> {
        self.crowd.world.with(State::calm);
        self.to_stage(Stage::Settle);
        let crowd = self.crowd.clone();
        let is_well = |node: &Arc<Node>| node.cluster.trouble().is_none() && node.is_ready();
        let are_well = || {
            let living = crowd.living();
            living.len() == NODES && living.iter().all(is_well)
        };
        self.crowd
            .must("all nodes follow the log", are_well)
            .await?;
        let are_there = || crowd.people.lock().iter().all(|p| p.sid.is_some());
        self.crowd
            .must("all people are connected", are_there)
            .await?;
        sleep(Duration::from_secs(20)).await;
        self.fence(0).await?;
        let before: Vec<_> = crowd.people.lock().iter().map(|p| p.connections).collect();
        self.to_stage(Stage::Move);
        let have_moved = || {
            let people = crowd.people.lock();
            let mut moved = people.iter().zip(&before);
            moved.all(|(p, before)| p.sid.is_some() && p.connections > *before)
        };
        self.crowd.must("all people come back", have_moved).await?;
        self.to_stage(Stage::Rest);
        self.fence(1).await?;
        self.check_places();
        Ok(())
    }

    /// Every node publishes something for everybody.
    async fn fence(&self, round: u64) -> Result<(), ()> {
        let mut ids = BTreeSet::new();
        for (index, node) in self.crowd.living().iter().enumerate() {
            let id = FENCE + round * 100 + index as u64;
            let event = Event::new("news", &id).unwrap();
            let decided = node.main().all().append(event, None).decided();
            match timeout(IN_THE_END, decided).await {
                Ok(Ok(appended)) => *self.crowd.whole_to.lock() = Some(appended.position),
                other => {
                    self.crowd
                        .book
                        .fail(format!("{} cannot append: {other:?}", node.name));
                    return Err(());
                }
            }
            ids.insert(id);
        }
        let people = || self.crowd.people.lock().clone();
        let have_all = || people().iter().all(|person| ids.is_subset(&person.fences));
        self.crowd
            .must("everybody has what was published last", have_all)
            .await
    }

    /// Each session is on one node.
    fn check_places(&self) {
        let mut places: Vec<(String, String)> = Vec::new();
        for node in self.crowd.living() {
            for socket in node.main().local_sockets() {
                places.push((socket.id().to_string(), node.name.clone()));
            }
        }
        for sid in self
            .crowd
            .people
            .lock()
            .iter()
            .filter_map(|p| p.sid.clone())
        {
            let on: Vec<_> = places.iter().filter(|(id, _)| *id == sid).collect();
            if on.len() != 1 {
                self.crowd.book.fail(format!("session {sid} is on {on:?}"));
            }
        }
    }
}
