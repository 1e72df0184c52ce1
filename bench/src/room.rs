//! The busy room: one publisher outside of it, a fixed number of publishes in flight, every delivery checked by its
//! receiver: none lost, none doubled, none out of order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use tokio::sync::Notify;

use crate::client::{Client, Sender};
use crate::load::{DATA_BYTES, Load, idle};
use crate::wire;

/// Each publish starts with its number, in this many digits.
const SEQUENCE_DIGITS: usize = 10;

/// A room with its members and one publisher outside of it.
pub(crate) struct Room {
    load: Load,
    flight: Rc<Flight>,
    publisher: Sender,
}

/// Publishes that not every member has seen yet.
#[derive(Default)]
struct Flight {
    members: usize,
    /// How many members have seen each publish, the oldest in flight first.
    seen: RefCell<VecDeque<usize>>,
    completed: Cell<u64>,
    landed: Notify,
    /// One delivery as it came, without its WebSocket header.
    delivery: RefCell<String>,
}

impl Flight {
    /// One member has seen the publish `number`.
    fn land(&self, number: u64) -> Result<()> {
        let mut seen = self.seen.borrow_mut();
        let index = usize::try_from(number - self.completed.get())?;
        *seen
            .get_mut(index)
            .context("a delivery of something that was not published")? += 1;
        while seen.front() == Some(&self.members) {
            seen.pop_front();
            self.completed.set(self.completed.get() + 1);
            self.landed.notify_one();
        }
        Ok(())
    }
}

impl Room {
    /// Joins all clients but the last, which publishes.
    pub(crate) async fn join(mut clients: Vec<Client>) -> Result<Self> {
        let publishing = clients.pop().context("a room needs a publisher")?;
        let publisher = publishing.sender();
        let mut load = idle(vec![publishing]);
        load.stay_awake();
        let flight = Rc::new(Flight {
            members: clients.len(),
            ..Flight::default()
        });
        for mut client in clients {
            client.send(&wire::text(r#"420["join","room"]"#)).await?;
            let mut joined = false;
            while !joined {
                client
                    .receive(|packet| {
                        joined |= packet == br#"430["ok"]"#;
                        Ok(())
                    })
                    .await?;
            }
            load.tasks
                .spawn_local(member(client, Rc::clone(&flight), Rc::clone(&load.done)));
        }
        Ok(Self {
            load,
            flight,
            publisher,
        })
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
        let both = async {
            tokio::try_join!(
                measured,
                publish(&self.publisher, &self.flight, window, &stop)
            )
        };
        let (value, ()) = self.load.during(both).await?;
        Ok(value)
    }

    /// One delivery as it came, without its WebSocket header.
    pub(crate) fn delivery(&self) -> String {
        self.flight.delivery.borrow().clone()
    }
}

/// Keeps `window` publishes in flight. What completes together is replaced with one write.
async fn publish(
    publisher: &Sender,
    flight: &Flight,
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
            while !stop.get() && seen.len() < window {
                let number = flight.completed.get() + seen.len() as u64;
                seen.push_back(0);
                let data = format!(
                    "{number:0SEQUENCE_DIGITS$}{}",
                    "x".repeat(DATA_BYTES - SEQUENCE_DIGITS)
                );
                wire::push_text(
                    &mut frames,
                    format!(r#"42["pub","room","{data}"]"#).as_bytes(),
                );
            }
        }
        publisher.send(&frames).await?;
        flight.landed.notified().await;
    }
}

/// Counts deliveries: none may be lost, doubled or out of order.
async fn member(mut client: Client, flight: Rc<Flight>, done: Rc<Cell<u64>>) -> Result<()> {
    const START: &[u8] = br#"42["m",""#;
    let mut expected = 0;
    loop {
        client
            .receive(|packet| {
                let data = packet.strip_prefix(START).context("not a delivery")?;
                let number = data.iter().take(SEQUENCE_DIGITS).fold(0, |number, digit| {
                    number * 10 + u64::from(digit.wrapping_sub(b'0'))
                });
                ensure!(
                    number == expected,
                    "delivery {number} where {expected} is due"
                );
                if expected == 0 {
                    *flight.delivery.borrow_mut() = String::from_utf8_lossy(packet).into_owned();
                }
                expected += 1;
                done.set(done.get() + 1);
                flight.land(number)
            })
            .await?;
    }
}
