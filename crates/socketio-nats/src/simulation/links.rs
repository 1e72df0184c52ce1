//! The connections of the nodes to the broker, as async-nats keeps them: in order both ways, what is under way is lost with
//! the connection, what is published without one waits in the client's buffer, and it connects again by itself.

use tokio::sync::{mpsc, watch};

use crate::ports::Letter;

use super::world::{Act, State};

/// The longest that the client takes to notice a connection on which nothing moves: two pings.
const DEAD_AFTER: u64 = 5000;

#[derive(Default)]
pub(super) struct Links {
    all: Vec<Link>,
    inboxes: u64,
}

pub(super) struct Link {
    /// Its node's name.
    name: String,
    pub(super) is_up: bool,
    /// Its node was killed.
    pub(super) is_dead: bool,
    /// Its node stops, and another takes its place.
    is_leaving: bool,
    /// Which connection it is.
    pub(super) generation: u64,
    pub(super) connections: watch::Sender<u64>,
    /// The last message of the log that its node has taken.
    pub(super) read_to: u64,
    up_clear_at: u64,
    down_clear_at: u64,
    /// Nothing moves until then.
    stalled_until: u64,
    buffer: Vec<Act>,
    subscriptions: Vec<(String, mpsc::UnboundedSender<Letter>, bool)>,
}

impl Links {
    pub(super) fn add(&mut self, name: &str) -> (usize, watch::Receiver<u64>) {
        let (connections, made) = watch::channel(0);
        self.all.push(Link {
            name: name.to_owned(),
            is_up: false,
            is_dead: false,
            is_leaving: false,
            generation: 0,
            connections,
            read_to: 0,
            up_clear_at: 0,
            down_clear_at: 0,
            stalled_until: 0,
            buffer: Vec::new(),
            subscriptions: Vec::new(),
        });
        (self.all.len() - 1, made)
    }

    pub(super) fn get(&self, link: usize) -> &Link {
        &self.all[link]
    }

    pub(super) fn has_read(&mut self, link: usize, sequence: u64) {
        // What is read once more, for a session, says nothing of how far the node is.
        let to = &mut self.all[link].read_to;
        *to = sequence.max(*to);
    }

    /// Nobody has read more of the log than there is.
    pub(super) fn log_ends(&mut self, last: u64) {
        for link in &mut self.all {
            link.read_to = link.read_to.min(last);
        }
    }

    pub(super) fn leaves(&mut self, link: usize) {
        self.all[link].is_leaving = true;
    }

    /// Whether so many nodes live, none of them on its way in or out, and have all read beyond this sequence, or none has.
    pub(super) fn agree_on(&self, sequence: u64, nodes: usize) -> bool {
        let living: Vec<_> = self.all.iter().filter(|link| !link.is_dead).collect();
        let have_read = living.iter().filter(|link| link.read_to > sequence).count();
        let are_in = living
            .iter()
            .all(|link| link.read_to > 0 && !link.is_leaving);
        living.len() == nodes && are_in && (have_read == 0 || have_read == nodes)
    }

    /// The link of a node that lives.
    pub(super) fn of(&self, name: &str) -> Option<usize> {
        self.all
            .iter()
            .position(|link| link.name == name && !link.is_dead)
    }

    pub(super) fn inbox(&mut self) -> String {
        self.inboxes += 1;
        format!("inbox.{}", self.inboxes)
    }

    fn is_current(&self, link: usize, generation: u64) -> bool {
        let link = &self.all[link];
        link.is_up && !link.is_dead && link.generation == generation
    }
}

impl State {
    /// A node says something to the broker.
    pub(super) fn send(&mut self, link: usize, command: Act) {
        let now = self.now();
        let delay = self.delay();
        let to = &mut self.links.all[link];
        if to.is_dead {
            return;
        }
        if !to.is_up {
            to.buffer.push(command);
            return;
        }
        let at = (now + delay).max(to.up_clear_at).max(to.stalled_until);
        to.up_clear_at = at;
        let generation = to.generation;
        self.at(at, move |state| {
            if state.links.is_current(link, generation) {
                command(state);
            }
        });
    }

    /// The broker says something to a node, on the connection that it has now, and after it has thought about it.
    pub(super) fn reply(&mut self, link: usize, think: u64, arrive: Act) {
        let generation = self.links.all[link].generation;
        self.after(think, move |state| {
            if !state.links.is_current(link, generation) {
                return;
            }
            let (now, delay) = (state.now(), state.delay());
            let to = &mut state.links.all[link];
            let at = (now + delay).max(to.down_clear_at).max(to.stalled_until);
            to.down_clear_at = at;
            state.at(at, move |state| {
                if state.links.is_current(link, generation) {
                    arrive(state);
                }
            });
        });
    }

    pub(super) fn subscribe(
        &mut self,
        link: usize,
        subject: String,
        into: mpsc::UnboundedSender<Letter>,
    ) {
        let subscriptions = &mut self.links.all[link].subscriptions;
        subscriptions.push((subject, into, false));
        let index = subscriptions.len() - 1;
        if self.links.all[link].is_up {
            self.announce(link, index);
        }
    }

    fn announce(&mut self, link: usize, index: usize) {
        let command = move |state: &mut State| state.links.all[link].subscriptions[index].2 = true;
        self.send(link, Box::new(command));
    }

    /// A message on a core subject has reached the broker.
    pub(super) fn publish(&mut self, subject: &str, reply: Option<&str>, payload: &bytes::Bytes) {
        for link in 0..self.links.all.len() {
            let subscriptions = self.links.all[link].subscriptions.iter();
            let wanting = subscriptions
                .filter(|(wanted, _, is_known)| *is_known && stands_for(wanted, subject));
            let wanting: Vec<_> = wanting.map(|(_, into, _)| into.clone()).collect();
            for into in wanting {
                let letter = Letter {
                    subject: subject.into(),
                    payload: payload.clone(),
                    reply: reply.map(Into::into),
                };
                let arrive = move |_: &mut State| {
                    // Who subscribed may have gone.
                    let _gone = into.send(letter);
                };
                self.reply(link, 0, Box::new(arrive));
            }
        }
    }

    // --- fates ---

    pub(super) fn connect(&mut self, link: usize) {
        let now = self.now();
        let to = &mut self.links.all[link];
        if to.is_up || to.is_dead {
            return;
        }
        if self.weather.is_down {
            return self.connect_later(link);
        }
        to.is_up = true;
        to.generation += 1;
        to.stalled_until = 0;
        (to.up_clear_at, to.down_clear_at) = (now, now);
        let (buffer, count) = (std::mem::take(&mut to.buffer), to.subscriptions.len());
        self.note(format_args!("link {link} is up"));
        for index in 0..count {
            self.announce(link, index);
        }
        for command in buffer {
            self.send(link, command);
        }
        self.links.all[link].connections.send_modify(|n| *n += 1);
    }

    fn connect_later(&mut self, link: usize) {
        let wait = 20 + self.random.below(1500) as u64;
        self.after(wait, move |state| state.connect(link));
    }

    /// The connection breaks; the client tries again soon.
    pub(super) fn cut(&mut self, link: usize) {
        let to = &mut self.links.all[link];
        if !to.is_up || to.is_dead {
            return;
        }
        to.is_up = false;
        for subscription in &mut to.subscriptions {
            subscription.2 = false;
        }
        self.note(format_args!("link {link} is cut"));
        self.broker.forget_consumers(|of| of == link);
        self.connect_later(link);
    }

    pub(super) fn cut_all(&mut self) {
        for link in 0..self.links.all.len() {
            self.cut(link);
        }
    }

    /// Nothing moves on a connection for a while; if that is too long, the client gives it up.
    pub(super) fn stall(&mut self, link: usize, time: u64) {
        let until = self.now() + time;
        self.links.all[link].stalled_until = until;
        self.note(format_args!("link {link} stalls for {time} ms"));
        if time > DEAD_AFTER {
            let generation = self.links.all[link].generation;
            self.after(DEAD_AFTER, move |state| {
                if state.links.is_current(link, generation) {
                    state.cut(link);
                }
            });
        }
    }

    /// The node at the other end was killed, or is done.
    pub(super) fn bury(&mut self, link: usize) {
        let to = &mut self.links.all[link];
        (to.is_dead, to.is_up) = (true, false);
        to.buffer.clear();
        to.subscriptions.clear();
        self.broker.forget_consumers(|of| of == link);
    }
}

/// Whether a subscription's subject stands for this one: `*` is any one token.
fn stands_for(wanted: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    let all = wanted.split('.').all(|wanted| {
        tokens
            .next()
            .is_some_and(|token| wanted == "*" || wanted == token)
    });
    all && tokens.next().is_none()
}
