//! On a real nats-server.

use async_nats::Client;
use async_nats::jetstream::{self, kv, stream::StorageType};
use bytes::Bytes;
use chatcluster_harness::nats::Options as ServerOptions;
use chatcluster_harness::{NatsServer, within};
use chatcluster_socketio::NodeId;
use futures_util::future::join_all;
use tokio::sync::watch;

use super::*;
use crate::names::Names;
use crate::testing::session_of as of_node;
use crate::{Options, nats};

/// The shortest that the broker knows.
const SHORT: Duration = Duration::from_secs(1);
/// Where something must come before the end, on a busy machine.
const WINDOW: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(600);
/// On top of a deadline, on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

struct Broker {
    server: NatsServer,
    client: Client,
    names: Names,
}

impl Broker {
    async fn start() -> Self {
        let server = NatsServer::start(ServerOptions::default()).await;
        let connecting = async_nats::ConnectOptions::new().connect(server.url());
        Self {
            client: within("a connection to NATS", connecting).await.unwrap(),
            server,
            names: Names::new("test.chat").unwrap(),
        }
    }

    async fn with_bucket() -> Self {
        let broker = Self::start().await;
        broker.ensure(1, StorageType::File).await.unwrap();
        broker
    }

    async fn ensure(&self, replicas: usize, storage: StorageType) -> Result<(), BucketError> {
        ensure_bucket(&self.jetstream(), &self.names, replicas, storage).await
    }

    fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.client.clone())
    }

    async fn bucket(&self) -> kv::Store {
        let bucket = self.jetstream();
        bucket.get_key_value(self.names.sessions()).await.unwrap()
    }

    /// The sessions as one node sees them.
    fn sessions(&self) -> KvSessions {
        let options = Arc::new(Options::new("", "test.chat"));
        let (_, connections) = watch::channel(1);
        let ports = nats::ports(&self.client, connections, &self.names, &options);
        KvSessions::new(ports.sessions, Arc::default())
    }

    /// Resolves when the server answers again, and has done what it was sent before.
    async fn answers(&self) {
        let bystander = self.sessions();
        within("NATS answers", async {
            while bystander.get(SessionKey::random()).await != Err(StoreError::Gone) {}
        })
        .await;
    }
}

fn record() -> Record {
    of_node("a")
}

fn is_dead_node(node: &NodeId) -> bool {
    node.as_str() == "dead"
}

fn away(node: &str) -> Record {
    Record {
        is_connected: false,
        ..of_node(node)
    }
}

/// Resolves when a session has expired.
async fn gone(sessions: &KvSessions, key: SessionKey) {
    within("the session expires", async {
        while sessions.get(key).await != Err(StoreError::Gone) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[test]
fn a_record_from_before_takeovers_said_more_is_read() {
    let record = of_node("a");
    let mut old = codec::encode(&record).unwrap().to_vec();
    // An array of 15, whose last two are an array of two zeros, and nothing.
    assert_eq!(
        (old[1], &old[old.len() - 4..]),
        (0x9f, &[0x92, 0, 0, 0xc0][..])
    );
    old[1] = 0x9d;
    old.truncate(old.len() - 4);
    assert_eq!(codec::decode::<Record>(&old).unwrap(), record);
}

#[tokio::test]
async fn a_session_is_read_as_it_was_written() {
    let broker = Broker::with_bucket().await;
    let (sessions, key, first) = (broker.sessions(), SessionKey::random(), record());
    let revision = sessions.create(key, first.clone()).await.unwrap();
    assert_eq!(broker.sessions().get(key).await, Ok((first, revision)));
    let second = away("a");
    let next = sessions.update(key, revision, second.clone()).await;
    let next = next.unwrap();
    assert!(next > revision);
    assert_eq!(broker.sessions().get(key).await, Ok((second, next)));
    let unknown = broker.sessions().get(SessionKey::random()).await;
    assert_eq!(unknown, Err(StoreError::Gone));
}

#[tokio::test]
async fn a_stale_owner_is_fenced() {
    let broker = Broker::with_bucket().await;
    let (stale, live) = (broker.sessions(), broker.sessions());
    let key = SessionKey::random();
    let first = stale.create(key, record()).await.unwrap();
    let (_, read) = live.get(key).await.unwrap();
    let second = live.take(key, read, of_node("b")).await.unwrap();
    let fenced = Err(StoreError::Fenced);
    assert_eq!(stale.update(key, first, record()).await, fenced);
    assert_eq!(
        stale.remove(key, first, 0).await,
        Err(StoreError::Fenced),
        "the live owner's session"
    );
    let expired = stale.expire(key, first, record(), SHORT).await;
    assert_eq!(expired, Err(StoreError::Fenced));
    assert_eq!(stale.create(key, record()).await, fenced);
    assert_eq!(stale.counters.session_conflicts.get(), 4);
    assert_eq!(live.get(key).await.unwrap().0.owner, NodeId::new("b"));

    live.remove(key, second, 0).await.unwrap();
    assert_eq!(live.remove(key, second, 0).await, Err(StoreError::Gone));
    assert_eq!(
        live.update(key, second, record()).await,
        Err(StoreError::Gone)
    );
    assert_eq!(live.get(key).await, Err(StoreError::Gone));
}

#[tokio::test]
async fn a_session_is_gone_after_the_window_unless_it_was_taken_over() {
    let broker = Broker::with_bucket().await;
    let (sessions, other) = (broker.sessions(), broker.sessions());
    let (taken, left) = (SessionKey::random(), SessionKey::random());
    let mut expired = 0;
    for key in [taken, left] {
        expired = sessions.create(key, record()).await.unwrap();
        let released = sessions.expire(key, expired, away("a"), WINDOW).await;
        released.unwrap();
        if key == taken {
            let (_, revision) = other.get(key).await.unwrap();
            other.take(key, revision, of_node("b")).await.unwrap();
        }
    }
    gone(&sessions, left).await;
    assert!(sessions.get(taken).await.is_ok(), "its expiry began first");
    let late = sessions.update(left, expired, record()).await;
    assert_eq!(late, Err(StoreError::Gone));
}

#[tokio::test]
async fn after_its_expiry_a_session_can_be_created_anew() {
    let broker = Broker::with_bucket().await;
    let (sessions, key) = (broker.sessions(), SessionKey::random());
    let revision = sessions.create(key, record()).await.unwrap();
    sessions
        .expire(key, revision, away("a"), SHORT)
        .await
        .unwrap();
    gone(&sessions, key).await;
    let again = sessions.create(key, of_node("b")).await.unwrap();
    assert_eq!(sessions.get(key).await.unwrap().1, again);
}

#[tokio::test]
async fn nothing_stays_of_sessions_that_ended() {
    let broker = Broker::with_bucket().await;
    let (sessions, removed, expired) = (
        broker.sessions(),
        SessionKey::random(),
        SessionKey::random(),
    );
    let revision = sessions.create(removed, record()).await.unwrap();
    sessions.remove(removed, revision, 0).await.unwrap();
    let revision = sessions.create(expired, record()).await.unwrap();
    let released = sessions.expire(expired, revision, away("a"), SHORT).await;
    released.unwrap();
    let bucket = broker.bucket().await;
    within("the marks go, too", async {
        while bucket.stream.get_info().await.unwrap().state.messages > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    // The server now names revision 0.
    let late = sessions.update(removed, revision, record()).await;
    assert_eq!(late, Err(StoreError::Gone));
}

#[tokio::test]
async fn of_many_writers_one_wins() {
    let broker = Broker::with_bucket().await;
    let (sessions, key) = (broker.sessions(), SessionKey::random());
    let nodes: Vec<_> = (0..20).map(|_| broker.sessions()).collect();
    let mut revision = sessions.create(key, record()).await.unwrap();
    for _ in 0..5 {
        let writes = nodes.iter().map(|s| s.update(key, revision, record()));
        let outcomes = join_all(writes).await;
        let won: Vec<_> = outcomes.iter().filter_map(|o| o.ok()).collect();
        assert_eq!(won.len(), 1, "{outcomes:?}");
        let lost = outcomes.iter().filter(|o| **o == Err(StoreError::Fenced));
        assert_eq!(lost.count(), nodes.len() - 1, "{outcomes:?}");
        revision = won[0];
    }
}

#[tokio::test]
async fn a_server_that_stops_is_unreachable_in_time_and_then_no_session_is_lost() {
    let mut broker = Broker::with_bucket().await;
    let sessions = broker.sessions();
    let keys: Vec<_> = (0..4).map(|_| SessionKey::random()).collect();
    let created = join_all(keys.iter().map(|key| sessions.create(*key, record()))).await;
    let created: Vec<_> = created.into_iter().map(Result::unwrap).collect();

    broker.server.stop().await;
    let begun = Instant::now();
    let writes = keys.iter().zip(&created);
    let updates = writes
        .clone()
        .map(|(key, revision)| sessions.update(*key, *revision, record()));
    let unknown = SessionKey::random();
    let (updates, read, written) = tokio::join!(
        join_all(updates),
        sessions.get(unknown),
        sessions.create(unknown, record())
    );
    assert!(begun.elapsed() < DEADLINE + SLACK, "{:?}", begun.elapsed());
    for outcome in updates {
        assert_eq!(outcome, Err(StoreError::Unreachable));
    }
    assert_eq!(read, Err(StoreError::Unreachable));
    assert_eq!(written, Err(StoreError::Unreachable));
    assert_eq!(sessions.counters.session_timeouts.get(), 6);

    broker.server.cont();
    broker.answers().await;
    // Stored by now, though nobody heard of it: the owner still writes over the revision that it knows.
    let owner = of_node("still a");
    let updated = sessions.update(keys[0], created[0], owner.clone()).await;
    assert_eq!(sessions.get(keys[0]).await, Ok((owner, updated.unwrap())));
    let removed = sessions.remove(keys[1], created[1], 0).await;
    assert_eq!(removed, Ok(()));
    assert_eq!(sessions.get(keys[1]).await, Err(StoreError::Gone));
    let expired = sessions.expire(keys[2], created[2], away("a"), SHORT).await;
    assert_eq!(expired, Ok(()));
    gone(&sessions, keys[2]).await;
    // But no longer once somebody has read it, to take it over.
    let (_, revision) = sessions.get(keys[3]).await.unwrap();
    let stale = sessions.update(keys[3], created[3], record()).await;
    assert_eq!(stale, Err(StoreError::Fenced));
    let taken = sessions.take(keys[3], revision, of_node("b")).await;
    assert!(taken.unwrap() > revision);
}

#[tokio::test]
async fn a_write_whose_answer_was_late_is_found_by_its_second_try() {
    let mut broker = Broker::with_bucket().await;
    let (sessions, key) = (broker.sessions(), SessionKey::random());
    let revision = sessions.create(key, record()).await.unwrap();
    broker.server.stop().await;
    let mut update = sessions.update(key, revision, of_node("b"));
    let early = timeout(TRY + PAUSE / 2, &mut update).await;
    assert!(early.is_err(), "{early:?}");
    broker.server.cont();
    let stored = within("the second try", update).await.unwrap();
    assert_eq!(sessions.counters.session_writes_found.get(), 1);
    assert!(sessions.counters.session_retries.get() >= 1);
    let (read, revision) = broker.sessions().get(key).await.unwrap();
    assert_eq!((read.owner, revision), (NodeId::new("b"), stored));
    assert!(sessions.update(key, stored, record()).await.is_ok());
}

#[tokio::test]
async fn without_a_bucket_nothing_is_reachable() {
    let broker = Broker::start().await;
    let sessions = broker.sessions();
    let begun = Instant::now();
    let key = SessionKey::random();
    let (created, read) = tokio::join!(sessions.create(key, record()), sessions.get(key));
    assert_eq!(created, Err(StoreError::Unreachable));
    assert_eq!(read, Err(StoreError::Unreachable));
    assert!(begun.elapsed() < DEADLINE + SLACK, "{:?}", begun.elapsed());
    let swept = sessions.sweep(&is_dead_node, SHORT).await;
    assert!(matches!(
        swept,
        Err(super::sweep::SweepError::List { swept: 0, .. })
    ));
}

#[tokio::test]
async fn a_record_of_another_release_is_gone_and_counted() {
    let broker = Broker::with_bucket().await;
    let (sessions, key) = (broker.sessions(), SessionKey::random());
    let mut newer = codec::encode(&record()).unwrap().to_vec();
    newer[0] = codec::NEXT + 1;
    let bucket = broker.bucket().await;
    let stored = bucket.put(session_key(key), Bytes::from(newer)).await;
    stored.unwrap();
    assert_eq!(sessions.get(key).await, Err(StoreError::Gone));
    assert_eq!(sessions.counters.records_unreadable.get(), 1);
}

#[tokio::test]
async fn a_sweep_gives_a_dead_nodes_sessions_their_window_and_no_others() {
    let broker = Broker::with_bucket().await;
    let sessions = broker.sessions();
    // More than a page, and dead ones on both sides of its end.
    let is_dead = |at: &usize| matches!(at, 250..262 | 300 | 301);
    let keys: Vec<_> = (0..302).map(|_| SessionKey::random()).collect();
    for (at, key) in keys.iter().enumerate() {
        let node = if is_dead(&at) { "dead" } else { "alive" };
        sessions.create(*key, of_node(node)).await.unwrap();
    }
    let taken = keys[300];
    let away_key = SessionKey::random();
    let revision = sessions.create(away_key, of_node("dead")).await.unwrap();
    let released = sessions.expire(away_key, revision, away("dead"), LONG);
    released.await.unwrap();
    let bucket = broker.bucket().await;
    bucket.put("unreadable", Bytes::new()).await.unwrap();
    let (record, revision) = sessions.get(taken).await.unwrap();
    let owner = NodeId::new("alive");
    let taken_over = sessions.take(taken, revision, Record { owner, ..record });
    taken_over.await.unwrap();

    assert_eq!(sessions.sweep(&is_dead_node, SHORT).await.unwrap(), 13);
    assert_eq!(sessions.counters.sessions_swept.get(), 13);
    assert_eq!(sessions.counters.records_unreadable.get(), 1);
    for (at, key) in keys.iter().enumerate() {
        match is_dead(&at) && *key != taken {
            true => gone(&sessions, *key).await,
            false => assert!(sessions.get(*key).await.is_ok(), "{at}"),
        }
    }
    assert!(sessions.get(away_key).await.is_ok(), "its window is longer");
    assert_eq!(sessions.sweep(&is_dead_node, SHORT).await.unwrap(), 0);
}

#[tokio::test]
async fn a_swept_session_can_be_taken_back_within_its_window() {
    let broker = Broker::with_bucket().await;
    let sessions = broker.sessions();
    let (key, left) = (SessionKey::random(), SessionKey::random());
    for key in [key, left] {
        sessions.create(key, of_node("dead")).await.unwrap();
    }
    assert_eq!(sessions.sweep(&is_dead_node, WINDOW).await.unwrap(), 2);
    let (record, revision) = sessions.get(key).await.unwrap();
    assert!(!record.is_connected);
    let taken = sessions.take(key, revision, of_node("b")).await;
    taken.unwrap();
    gone(&sessions, left).await;
    assert!(sessions.get(key).await.is_ok());
}

/// A session whose owner was taken for gone, with the revision that the owner knows.
async fn swept(sessions: &KvSessions) -> (SessionKey, Revision) {
    let key = SessionKey::random();
    let revision = sessions.create(key, of_node("dead")).await.unwrap();
    assert_eq!(sessions.sweep(&is_dead_node, WINDOW).await.unwrap(), 1);
    (key, revision)
}

#[tokio::test]
async fn an_owner_that_was_taken_for_gone_still_writes_its_session() {
    let broker = Broker::with_bucket().await;
    let (sessions, owner) = (broker.sessions(), broker.sessions());
    let (left, known) = swept(&sessions).await;
    let released = owner.expire(left, known, away("dead"), LONG).await;
    released.unwrap();
    let (ended, known) = swept(&sessions).await;
    owner.remove(ended, known, 0).await.unwrap();
    assert_eq!(sessions.get(ended).await, Err(StoreError::Gone));

    let (changes, stays) = (SessionKey::random(), SessionKey::random());
    let known = sessions.create(changes, of_node("dead")).await.unwrap();
    sessions.create(stays, of_node("dead")).await.unwrap();
    assert_eq!(sessions.sweep(&is_dead_node, WINDOW).await.unwrap(), 2);
    let changed = Record {
        data: "changed".into(),
        ..of_node("dead")
    };
    let written = owner.update(changes, known, changed.clone()).await;
    assert_eq!(sessions.get(changes).await, Ok((changed, written.unwrap())));
    gone(&sessions, stays).await;
    assert!(sessions.get(changes).await.is_ok(), "its window is over");
    assert!(sessions.get(left).await.is_ok(), "its window is longer");
    assert_eq!(owner.counters.session_conflicts.get(), 0);
}

#[tokio::test]
async fn an_owner_that_was_taken_for_gone_is_fenced_once_its_session_was_taken_over() {
    let broker = Broker::with_bucket().await;
    let (sessions, owner) = (broker.sessions(), broker.sessions());
    let (key, known) = swept(&sessions).await;
    let (record, revision) = sessions.get(key).await.unwrap();
    let taken = Record {
        takeovers: record.takeovers + 1,
        ..of_node("b")
    };
    let late = owner.take(key, known, taken.clone()).await;
    assert_eq!(late, Err(StoreError::Fenced), "who takes it has read it");
    let revision = sessions.take(key, revision, taken.clone()).await.unwrap();
    // Also when the client has left there.
    for (is_left, revision) in [(false, revision), (true, revision)] {
        if is_left {
            let left = Record {
                is_connected: false,
                ..taken.clone()
            };
            sessions.expire(key, revision, left, LONG).await.unwrap();
        }
        let fenced = Err(StoreError::Fenced);
        assert_eq!(owner.update(key, known, of_node("dead")).await, fenced);
        let expired = owner.expire(key, known, away("dead"), LONG).await;
        assert_eq!(expired, Err(StoreError::Fenced));
        let removed = owner.remove(key, known, 0).await;
        assert_eq!(removed, Err(StoreError::Fenced));
    }
}

#[tokio::test]
async fn who_was_taken_for_gone_is_told_before_the_first_write_and_after_the_last() {
    let broker = Broker::with_bucket().await;
    let (sessions, owner) = (broker.sessions(), broker.sessions());
    let dead = NodeId::new("dead");
    for node in ["alive", "dead", "dead"] {
        let key = SessionKey::random();
        sessions.create(key, of_node(node)).await.unwrap();
    }
    assert_eq!(owner.notice(&dead).await, Ok(None));
    assert_eq!(sessions.sweep(&is_dead_node, WINDOW).await.unwrap(), 2);
    let told = owner.notice(&dead).await.unwrap().unwrap();
    // Three sessions, the notice, what was swept, the notice again.
    assert_eq!((told.since(), told.revision), (4, 7));
    assert!(told.notice.is_over);
    assert_eq!(owner.notice(&NodeId::new("alive")).await, Ok(None));
    let found = parking_lot::Mutex::new(Vec::new());
    let note = |page| {
        found.lock().extend(page);
        std::future::ready(Ok(()))
    };
    owner.swept(&dead, (4, 7), note).await.unwrap();
    let revisions: Vec<_> = found.lock().iter().map(|swept| swept.revision).collect();
    assert_eq!(revisions, [5, 6]);
    // A sweep that finds nothing tells nobody; one that finds more tells of all.
    assert_eq!(sessions.sweep(&is_dead_node, SHORT).await.unwrap(), 0);
    assert_eq!(owner.notice(&dead).await, Ok(Some(told)));
    swept(&sessions).await;
    let told = owner.notice(&dead).await.unwrap().unwrap();
    assert_eq!((told.since(), told.notice.is_over), (4, true));
}

#[tokio::test]
async fn a_sweep_stops_for_a_node_that_is_there_again() {
    let broker = Broker::with_bucket().await;
    let sessions = broker.sessions();
    for _ in 0..60 {
        let key = SessionKey::random();
        sessions.create(key, of_node("dead")).await.unwrap();
    }
    // Gone for as long as all of a page is looked at, and a little longer.
    let looks = std::sync::atomic::AtomicUsize::new(0);
    let is_gone = |_: &NodeId| looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 65;
    assert_eq!(sessions.sweep(&is_gone, LONG).await.unwrap(), 5);
    let told = sessions.notice(&NodeId::new("dead")).await.unwrap();
    assert!(told.unwrap().notice.is_over);
}

#[tokio::test]
async fn a_sweep_of_an_empty_bucket_finds_nothing() {
    let broker = Broker::with_bucket().await;
    let swept = broker.sessions().sweep(&is_dead_node, SHORT).await;
    assert_eq!(swept.unwrap(), 0);
}

#[tokio::test]
async fn a_bucket_is_created_once_and_its_settings_are_checked() {
    let broker = Broker::start().await;
    let (one, two) = tokio::join!(
        broker.ensure(1, StorageType::Memory),
        broker.ensure(1, StorageType::Memory)
    );
    one.unwrap();
    two.unwrap();
    broker.ensure(1, StorageType::Memory).await.unwrap();
    let error = broker.ensure(1, StorageType::File).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the bucket test_chat_sessions has storage = Memory, and File is needed: change the bucket, or the setting here"
    );
    let error = broker.ensure(3, StorageType::Memory).await.unwrap_err();
    assert!(error.to_string().contains("num_replicas = 1, and 3"));
}

#[tokio::test]
async fn a_bucket_without_expiry_per_key_is_refused() {
    let broker = Broker::start().await;
    let config = kv::Config {
        bucket: broker.names.sessions(),
        history: 1,
        ..kv::Config::default()
    };
    broker.jetstream().create_key_value(config).await.unwrap();
    let error = broker.ensure(1, StorageType::File).await.unwrap_err();
    assert!(error.to_string().contains("allow_msg_ttl = false"));
}

mod verdict {
    use super::*;

    const KEY: &str = "k";

    fn write(expected: Revision) -> Write {
        Write::new(KEY.to_owned(), expected, Change::Remove { mark: MARK })
    }

    fn found(revision: Revision, id: WriteId) -> Found {
        Found {
            revision,
            value: Bytes::new(),
            is_mark: false,
            id: Some(id),
        }
    }

    #[test]
    fn a_replica_that_lags_decides_nothing() {
        let (write, other) = (write(5), WriteId::random());
        let lagging = found(6, other);
        assert_eq!(judge(None, &write, Some(7), &[]), Verdict::Unclear);
        assert_eq!(
            judge(Some(&lagging), &write, Some(7), &[]),
            Verdict::Unclear
        );
        let fenced = Verdict::Refused(StoreError::Fenced);
        assert_eq!(judge(Some(&lagging), &write, Some(6), &[]), fenced);
    }

    #[test]
    fn a_write_that_waits_behind_another_is_tried_again() {
        let (write, other) = (write(5), WriteId::random());
        assert_eq!(
            judge(Some(&found(5, other)), &write, None, &[]),
            Verdict::Unclear
        );
        let fenced = Verdict::Refused(StoreError::Fenced);
        assert_eq!(judge(Some(&found(6, other)), &write, None, &[]), fenced);
    }

    #[test]
    fn what_its_writer_stored_may_be_written_over() {
        let (write, earlier) = (write(5), WriteId::random());
        let stored = found(6, write.id);
        assert_eq!(
            judge(Some(&stored), &write, Some(6), &[]),
            Verdict::Stored(6)
        );
        let stored = found(6, earlier);
        let own = [earlier];
        assert_eq!(
            judge(Some(&stored), &write, Some(6), &own),
            Verdict::Over(6)
        );
    }

    #[test]
    fn a_mark_is_no_session() {
        let mark = Found {
            is_mark: true,
            ..found(6, WriteId::random())
        };
        let gone = Verdict::Refused(StoreError::Gone);
        assert_eq!(judge(Some(&mark), &write(5), Some(6), &[]), gone);
        assert_eq!(
            judge(Some(&mark), &write(0), Some(6), &[]),
            Verdict::Over(6)
        );
    }
}
