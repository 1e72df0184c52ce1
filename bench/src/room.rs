//! Busy rooms: one publisher outside of them, a fixed number of publishes in flight that go to each room in turn, every
//! delivery checked by its receiver: none lost, none doubled, none out of order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::client::{Client, Sender};
use crate::load::{DATA_BYTES, Latencies, Load, idle};
use crate::wire;

/// Each publish starts with its number, in this many digits.
const SEQUENCE_DIGITS: usize = 10;

/// A member and the rooms that it is in.
pub(crate) struct Seat {
    pub(crate) client: Client,
    pub(crate) rooms: Vec<usize>,
}

/// What the rooms are.
#[derive(Clone, Copy)]
pub(crate) struct House {
    pub(crate) rooms: usize,
    pub(crate) members_each: usize,
}

/// Rooms with their members and one publisher outside of them.
pub(crate) struct Rooms {
    load: Load,
    flight: Rc<Flight>,
    publisher: Sender,
    house: House,
}

/// Publishes that not every member has seen yet.
struct Flight {
    house: House,
    /// When each publish was sent and how many members have seen it, the oldest in flight first.
    seen: RefCell<VecDeque<(Instant, usize)>>,
    completed: Cell<u64>,
    landed: Notify,
    /// From the send to the last member, in microseconds.
    latencies: Latencies,
    /// One delivery as it came, without its WebSocket header.
    delivery: RefCell<String>,
}

impl Flight {
    /// One member has seen the publish `number`.
    fn land(&self, number: u64) -> Result<()> {
        let mut seen = self.seen.borrow_mut();
        let index = usize::try_from(
            number
                .checked_sub(self.completed.get())
                .context("a delivery too many")?,
        )?;
        seen.get_mut(index)
            .context("a delivery of something that was not published")?
            .1 += 1;
        while let Some((sent, _)) =
            seen.pop_front_if(|(_, count)| *count == self.house.members_each)
        {
            let elapsed = u32::try_from(sent.elapsed().as_micros())?;
            self.latencies.borrow_mut().push(elapsed);
            self.completed.set(self.completed.get() + 1);
            self.landed.notify_one();
        }
        Ok(())
    }
}

impl Rooms {
    /// One room of all clients but the last, which publishes.
    pub(crate) async fn one(mut clients: Vec<Client>) -> Result<Self> {
        let publishing = clients.pop().context("a room needs a publisher")?;
        let house = House {
            rooms: 1,
            members_each: clients.len(),
        };
        let seats = clients.into_iter().map(|client| Seat {
            client,
            rooms: vec![0],
        });
        Self::join(house, seats.collect(), publishing).await
    }

    /// Lets every member join its rooms.
    pub(crate) async fn join(house: House, seats: Vec<Seat>, publishing: Client) -> Result<Self> {
        let publisher = publishing.sender();
        let mut load = idle(vec![publishing]);
        let flight = Rc::new(Flight {
            house,
            seen: RefCell::default(),
            completed: Cell::default(),
            landed: Notify::new(),
            latencies: Latencies::default(),
            delivery: RefCell::default(),
        });
        let mut joining = JoinSet::new();
        for seat in seats {
            joining.spawn_local(take(seat));
        }
        while let Some(client) = joining.join_next().await {
            load.tasks
                .spawn_local(member(client??, Rc::clone(&flight), Rc::clone(&load.done)));
        }
        Ok(Self {
            load,
            flight,
            publisher,
            house,
        })
    }

    /// Keeps the client's core awake from here on ([`Load::stay_awake`]).
    pub(crate) fn stay_awake(&mut self) {
        self.load.stay_awake();
    }

    /// Runs `measure`, which is given the count of deliveries, while `window` publishes are in flight;
    /// returns when all of them have landed.
    pub(crate) async fn publishing<T>(
        &mut self,
        window: usize,
        measure: impl AsyncFnOnce(&Cell<u64>) -> Result<T>,
    ) -> Result<T> {
        let done = Rc::clone(&self.load.done);
        let stop = Cell::new(false);
        let measured = async {
            let value = measure(&done).await?;
            stop.set(true);
            Ok(value)
        };
        let publishing = publish(&self.publisher, &self.flight, self.house, window, &stop);
        let both = async { tokio::try_join!(measured, publishing) };
        let (value, ()) = self.load.during(both).await?;
        Ok(value)
    }

    /// The times from a send to its last delivery since this was asked last, in microseconds.
    pub(crate) fn latencies(&self) -> Vec<u32> {
        self.flight.latencies.take()
    }

    /// One delivery as it came, without its WebSocket header.
    pub(crate) fn delivery(&self) -> String {
        self.flight.delivery.borrow().clone()
    }
}

/// Joins the rooms of one member, one after another.
async fn take(Seat { mut client, rooms }: Seat) -> Result<Client> {
    for room in rooms {
        let join = format!(r#"420["join","room{room}"]"#);
        client.send(&wire::text(&join)).await?;
        let mut joined = false;
        while !joined {
            client
                .receive(|packet| {
                    joined |= packet == br#"430["ok"]"#;
                    Ok(())
                })
                .await?;
        }
    }
    Ok(client)
}

/// Keeps `window` publishes in flight. What completes together is replaced with one write.
async fn publish(
    publisher: &Sender,
    flight: &Flight,
    house: House,
    window: usize,
    stop: &Cell<bool>,
) -> Result<()> {
    loop {
        let mut frames = Vec::new();
        {
            let mut seen = flight.seen.borrow_mut();
            if stop.get() && seen.is_empty() {
                return Ok(());
            }
            let now = Instant::now();
            while !stop.get() && seen.len() < window {
                let number = flight.completed.get() + seen.len() as u64;
                let room = number % house.rooms as u64;
                seen.push_back((now, 0));
                let data = data(number);
                wire::push_text(
                    &mut frames,
                    format!(r#"42["pub","room{room}","{data}"]"#).as_bytes(),
                );
            }
        }
        publisher.send(&frames).await?;
        flight.landed.notified().await;
    }
}

/// What the publish `number` carries.
pub(crate) fn data(number: u64) -> String {
    format!(
        "{number:0SEQUENCE_DIGITS$}{}",
        "x".repeat(DATA_BYTES - SEQUENCE_DIGITS)
    )
}

/// The number of the publish that a packet delivers, and what follows its data.
pub(crate) fn delivered(packet: &[u8]) -> Result<(u64, &[u8])> {
    let data = packet
        .strip_prefix(br#"42["m",""#)
        .with_context(|| format!("not a delivery: {}", String::from_utf8_lossy(packet)))?;
    let (data, rest) = data
        .split_at_checked(DATA_BYTES)
        .context("a delivery that is cut")?;
    let digits = data.iter().take(SEQUENCE_DIGITS);
    let number = digits.fold(0, |number, digit| {
        number * 10 + u64::from(digit.wrapping_sub(b'0'))
    });
    Ok((number, rest))
}

/// Counts deliveries: none may be doubled or out of order; one that is lost never lands.
async fn member(mut client: Client, flight: Rc<Flight>, done: Rc<Cell<u64>>) -> Result<()> {
    let mut least = 0;
    loop {
        client
            .receive(|packet| {
                let (number, _) = delivered(packet)?;
                ensure!(
                    number >= least,
                    "delivery {number} where at least {least} is due"
                );
                if least == 0 {
                    *flight.delivery.borrow_mut() = String::from_utf8_lossy(packet).into_owned();
                }
                least = number + 1;
                done.set(done.get() + 1);
                flight.land(number)
            })
            .await?;
    }
}
