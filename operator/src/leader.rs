//! One operator acts at a time: who holds the Lease.
//!
//! Each change of the Lease names the resource version that it replaces, so of two that try at once one wins. When a lease
//! has run out is judged by this process's own clock, from when it first saw the Lease as it is: clocks of hosts need not
//! agree. A holder that could not renew in time stops acting before anybody else may begin
//! (`docs/adr/0021-own-leader-election.md`).

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::backoff::jittered;
use crate::names::MANAGER;

/// Whose turn it is.
pub(crate) struct Election {
    leases: Api<Lease>,
    name: String,
    identity: String,
    lease: Duration,
}

/// The lease is no longer held.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// Another operator has it.
    #[error("another operator holds the lease")]
    Taken,
    /// It could not be renewed in time.
    #[error("the lease could not be renewed in time")]
    Expired,
}

/// The Lease as it was first seen, and when.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    version: Option<String>,
    since: Instant,
}

/// What to do about a Lease.
#[derive(Clone, Debug, PartialEq)]
enum Turn {
    Create(Lease),
    Replace(Lease),
    Wait,
}

impl Election {
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        lease: Duration,
    ) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease,
        }
    }

    /// Returns when this operator holds the lease, and from when on.
    pub(crate) async fn win(&self) -> Instant {
        let mut seen = None;
        loop {
            let began = Instant::now();
            match self.attempt(&mut seen).await {
                Ok(true) => return began,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the lease cannot be read or written"),
            }
            sleep(jittered(self.pause())).await;
        }
    }

    /// Renews the lease that is held since `held`; returns when that has failed.
    ///
    /// Time counts from before a write was sent, and a third of it is left unused: the others wait for all of it.
    pub(crate) async fn hold(&self, mut held: Instant) -> Lost {
        loop {
            match timeout_at(held + self.lease * 2 / 3, self.renew()).await {
                Ok(Some(began)) => held = began,
                Ok(None) => return Lost::Taken,
                Err(_) => return Lost::Expired,
            }
        }
    }

    /// When it was renewed, unless another has it.
    async fn renew(&self) -> Option<Instant> {
        let mut seen = None;
        loop {
            sleep(self.pause()).await;
            let began = Instant::now();
            match self.attempt(&mut seen).await {
                Ok(true) => return Some(began),
                Ok(false) if self.is_taken(&mut seen).await => return None,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the lease cannot be renewed"),
            }
        }
    }

    /// Lets the next one in at once. Best effort: otherwise the lease runs out.
    pub(crate) async fn release(&self) {
        let freed = async {
            let mut lease = self.leases.get(&self.name).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(&self.identity) {
                spec.holder_identity = None;
                self.leases
                    .replace(&self.name, &parameters(), &lease)
                    .await?;
            }
            Ok::<_, kube::Error>(())
        };
        match timeout(self.pause(), freed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease was not released; it runs out by itself")
            }
            Err(_) => tracing::warn!("the lease was not released in time; it runs out by itself"),
        }
    }

    fn pause(&self) -> Duration {
        self.lease / 5
    }

    /// Takes or renews the lease, if it is this operator's turn.
    async fn attempt(&self, seen: &mut Option<Seen>) -> Result<bool, kube::Error> {
        let trying = async {
            let live = self.leases.get_opt(&self.name).await?;
            let written = match self.turn(live.as_ref(), seen, Instant::now()) {
                Turn::Wait => return Ok(false),
                Turn::Create(lease) => self.leases.create(&parameters(), &lease).await,
                Turn::Replace(lease) => {
                    self.leases.replace(&self.name, &parameters(), &lease).await
                }
            };
            match written {
                Ok(_) => Ok(true),
                // Somebody was faster.
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
                Err(error) => Err(error),
            }
        };
        timeout(self.pause(), trying).await.unwrap_or(Ok(false))
    }

    async fn is_taken(&self, seen: &mut Option<Seen>) -> bool {
        let read = timeout(self.pause(), self.leases.get_opt(&self.name)).await;
        let Ok(Ok(Some(live))) = read else {
            return false;
        };
        self.turn(Some(&live), seen, Instant::now()) == Turn::Wait
    }

    /// Pure but for the clock: what to do about the Lease as it is.
    fn turn(&self, live: Option<&Lease>, seen: &mut Option<Seen>, now: Instant) -> Turn {
        let Some(live) = live else {
            return Turn::Create(self.taken(&Lease::default()));
        };
        let spec = live.spec.clone().unwrap_or_default();
        let version = live.metadata.resource_version.clone();
        let since = match seen {
            Some(seen) if seen.version == version => seen.since,
            _ => {
                seen.insert(Seen {
                    version,
                    since: now,
                })
                .since
            }
        };
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
        if holder.is_empty()
            || holder == self.identity
            || now.duration_since(since) > Duration::from_secs(seconds)
        {
            Turn::Replace(self.taken(live))
        } else {
            Turn::Wait
        }
    }

    /// `live` with this operator as its holder. The resource version stays: the write is a compare-and-set.
    fn taken(&self, live: &Lease) -> Lease {
        let before = live.spec.clone().unwrap_or_default();
        let now = MicroTime(Timestamp::now());
        let is_ours = before.holder_identity.as_deref() == Some(&self.identity);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                managed_fields: None,
                ..live.metadata.clone()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(self.lease.as_secs()).ok(),
                acquire_time: if is_ours {
                    before.acquire_time.clone()
                } else {
                    Some(now.clone())
                },
                renew_time: Some(now),
                lease_transitions: Some(
                    before.lease_transitions.unwrap_or(0) + i32::from(!is_ours),
                ),
                ..before
            }),
        }
    }
}

fn parameters() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::Api as FakeApi;

    const LEASE: Duration = Duration::from_secs(15);

    fn election(client: Client, identity: &str) -> Election {
        Election::new(
            client,
            "chatcluster-system",
            "chatcluster-operator",
            identity,
            LEASE,
        )
    }

    fn held(by: &str, version: &str) -> Lease {
        Lease {
            metadata: ObjectMeta {
                resource_version: Some(version.to_owned()),
                ..Default::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(by.to_owned()),
                lease_duration_seconds: Some(15),
                lease_transitions: Some(3),
                ..Default::default()
            }),
        }
    }

    #[tokio::test]
    async fn a_lease_runs_out_by_the_clock_of_who_waits() {
        let b = election(FakeApi::default().client(), "b");
        let (mut seen, began) = (None, Instant::now());
        let after = |seconds: u64| began + Duration::from_secs(seconds);
        assert_eq!(b.turn(Some(&held("a", "1")), &mut seen, began), Turn::Wait);
        assert_eq!(
            b.turn(Some(&held("a", "1")), &mut seen, after(15)),
            Turn::Wait
        );
        // It was renewed: the time begins anew.
        assert_eq!(
            b.turn(Some(&held("a", "2")), &mut seen, after(16)),
            Turn::Wait
        );
        assert_eq!(
            b.turn(Some(&held("a", "2")), &mut seen, after(31)),
            Turn::Wait
        );
        let Turn::Replace(taken) = b.turn(Some(&held("a", "2")), &mut seen, after(32)) else {
            panic!("it ran out")
        };
        assert_eq!(taken.metadata.resource_version.as_deref(), Some("2"));
        let spec = taken.spec.unwrap();
        assert_eq!(
            (spec.holder_identity.as_deref(), spec.lease_transitions),
            (Some("b"), Some(4))
        );
    }

    #[tokio::test]
    async fn a_free_lease_is_taken_and_one_of_ones_own_renewed() {
        let a = election(FakeApi::default().client(), "a");
        assert!(matches!(
            a.turn(None, &mut None, Instant::now()),
            Turn::Create(_)
        ));
        assert!(matches!(
            a.turn(Some(&held("", "1")), &mut None, Instant::now()),
            Turn::Replace(_)
        ));
        let Turn::Replace(renewed) = a.turn(Some(&held("a", "1")), &mut None, Instant::now())
        else {
            panic!("its own")
        };
        assert_eq!(renewed.spec.unwrap().lease_transitions, Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_waits_until_the_first_lets_go() {
        let api = FakeApi::default();
        let (a, b) = (election(api.client(), "a"), election(api.client(), "b"));
        a.win().await;
        assert!(
            timeout(LEASE / 2, b.win()).await.is_err(),
            "two hold the lease"
        );
        a.release().await;
        b.win().await;
        let lost = timeout(LEASE, a.hold(Instant::now())).await.unwrap();
        assert!(matches!(lost, Lost::Taken), "{lost:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_renew_stops_before_another_begins() {
        let api = FakeApi::default();
        let (a, b) = (election(api.client(), "a"), election(api.client(), "b"));
        let began = a.win().await;
        api.fail("PUT", "/leases/chatcluster-operator", 500);
        let lost = a.hold(began).await;
        assert!(matches!(lost, Lost::Expired), "{lost:?}");
        assert!(began.elapsed() < LEASE);
        api.heal();
        b.win().await;
        assert!(began.elapsed() > LEASE, "another began within the lease");
    }
}
