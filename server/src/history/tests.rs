use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::{Duration, Instant, SystemTime},
};

use proptest::prelude::*;

use super::*;

const WAIT: Duration = Duration::from_secs(20);

pub(super) fn record(key: u64, room: &str, content: &str, at: u64) -> Record {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&key.to_le_bytes());
    Record {
        key: bytes,
        room: Arc::from(room),
        body: encode_body("ann", content, at),
    }
}

fn now() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

fn open(dir: &Path) -> History {
    History::open(&Options::new(dir)).unwrap()
}

/// Commits (position, record) in order and returns what became of each, in the order of `done`.
pub(super) fn commit_all(history: &History, records: Vec<(u64, Record)>) -> Vec<(u64, Committed)> {
    let (sender, receiver) = mpsc::channel();
    let count = records.len();
    for (position, record) in records {
        let sender = sender.clone();
        let done = Box::new(move |committed| sender.send((position, committed)).unwrap());
        history.commit(position, record, done).unwrap();
    }
    (0..count)
        .map(|_| receiver.recv_timeout(WAIT).unwrap())
        .collect()
}

pub(super) fn contents(messages: &[Message]) -> Vec<(u64, &str)> {
    messages
        .iter()
        .map(|message| (message.position, message.content.as_str()))
        .collect()
}

pub(super) async fn until<F: AsyncFnMut() -> bool>(mut condition: F) {
    let deadline = Instant::now() + WAIT;
    while !condition().await {
        assert!(Instant::now() < deadline, "the condition did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn done_is_called_in_the_order_of_the_calls() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let records = (1..=2000)
        .map(|n| (n * 10, record(n, "", "x", 1)))
        .collect();
    let results = commit_all(&history, records);
    let expected: Vec<_> = (1..=2000).map(|n| (n * 10, Committed::Stored)).collect();
    assert_eq!(results, expected);
    assert_eq!(history.last_position(), 20_000);
    assert!(
        history.measures().commits.get() < 2000,
        "waiting records share a commit"
    );
}

#[tokio::test]
async fn a_repeated_key_is_a_duplicate_within_a_batch_and_across_batches() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let first = commit_all(
        &history,
        vec![
            (1, record(7, "", "one", 1)),
            (2, record(7, "", "again", 1)),
            (3, record(8, "", "two", 1)),
        ],
    );
    let duplicate = Committed::Duplicate { first: 1 };
    assert_eq!(
        first,
        [
            (1, Committed::Stored),
            (2, duplicate),
            (3, Committed::Stored)
        ]
    );
    assert_eq!(
        commit_all(&history, vec![(4, record(7, "r", "later", 1))]),
        [(4, duplicate)]
    );
    assert_eq!(
        contents(&history.newest("", 10).await.unwrap()),
        [(1, "one"), (3, "two")]
    );
    assert_eq!(
        history.last_position(),
        4,
        "a duplicate's position is given out too"
    );
}

#[test]
fn positions_that_clients_may_have_been_told_are_not_given_out_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let taken = |taken_positions| Options {
        taken_positions,
        ..Options::new(dir.path())
    };
    let history = History::open(&taken(1_000)).unwrap();
    assert_eq!(history.last_position(), 1_000);
    commit_all(&history, vec![(1_001, record(1, "", "one", 1))]);
    drop(history);
    // The clock was set back.
    let history = History::open(&taken(500)).unwrap();
    assert_eq!(history.last_position(), 1_001);
    drop(history);
    let history = History::open(&taken(2_000)).unwrap();
    assert_eq!(history.last_position(), 2_000);
}

#[tokio::test]
async fn a_bad_record_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let mut broken = record(2, "", "", 1);
    broken.body = bytes::Bytes::from_static(b"{}");
    let results = commit_all(
        &history,
        vec![
            (1, record(1, "", "one", 1)),
            (2, broken),
            (1, record(3, "", "position taken", 1)),
            (4, record(4, "", "four", 1)),
        ],
    );
    let results: Vec<_> = results.into_iter().map(|(_, result)| result).collect();
    use Committed::{Stored, Unfit};
    assert_eq!(results, [Stored, Unfit, Unfit, Stored]);
    assert_eq!(
        contents(&history.newest("", 9).await.unwrap()),
        [(1, "one"), (4, "four")]
    );
}

#[tokio::test]
async fn what_was_stored_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    commit_all(&history, vec![(5, record(1, "room", "hello", 42))]);
    history.close();
    assert!(matches!(
        history.newest("room", 1).await,
        Err(ReadError::Closed)
    ));
    assert!(
        !dir.path().join("chat.db-wal").exists(),
        "closing folds the log into the file"
    );
    assert_eq!(
        history.commit(6, record(2, "", "late", 1), Box::new(|_| ())),
        Err(Busy)
    );

    let history = open(dir.path());
    assert_eq!(history.last_position(), 5);
    let message = Message {
        position: 5,
        content: "hello".into(),
        author: "ann".into(),
        at: 42,
    };
    assert_eq!(history.newest("room", 10).await.unwrap(), [message]);
    assert_eq!(
        history.position_of(record(1, "", "", 0).key).await.unwrap(),
        Some(5)
    );
    assert_eq!(
        history.position_of(record(9, "", "", 0).key).await.unwrap(),
        None
    );
    assert_eq!(history.last_position_in("room").await.unwrap(), 5);
    assert_eq!(history.last_position_in("").await.unwrap(), 0);
}

#[test]
fn closing_commits_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let (sender, receiver) = mpsc::channel();
    for n in 1..=3000 {
        let sender = sender.clone();
        let done = Box::new(move |committed| sender.send(committed).unwrap());
        history.commit(n, record(n, "", "x", 1), done).unwrap();
    }
    history.close();
    let results: Vec<_> = receiver.try_iter().collect();
    assert_eq!(results, vec![Committed::Stored; 3000]);
}

#[test]
fn a_full_queue_is_busy_and_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        queue_records: 2,
        ..Options::new(dir.path())
    };
    let history = History::open(&options).unwrap();
    // The first record's `done` holds the writer, so that the queue cannot be emptied.
    let (started, is_started) = mpsc::channel();
    let (release, is_released) = mpsc::channel::<()>();
    let hold = Box::new(move |_| {
        started.send(()).unwrap();
        is_released.recv_timeout(WAIT).unwrap();
    });
    history.commit(1, record(1, "", "x", 1), hold).unwrap();
    is_started.recv_timeout(WAIT).unwrap();
    let (sender, receiver) = mpsc::channel();
    let done = |position: u64| {
        let sender = sender.clone();
        Box::new(move |committed| sender.send((position, committed)).unwrap())
    };
    history.commit(2, record(2, "", "x", 1), done(2)).unwrap();
    history.commit(3, record(3, "", "x", 1), done(3)).unwrap();
    assert_eq!(history.commit(4, record(4, "", "x", 1), done(4)), Err(Busy));
    assert_eq!(history.measures().busy.get(), 1);
    release.send(()).unwrap();
    history.close();
    let results: Vec<_> = receiver.try_iter().collect();
    assert_eq!(results, [(2, Committed::Stored), (3, Committed::Stored)]);
}

#[tokio::test]
async fn a_full_disk_fails_the_commit_and_keeps_what_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        max_bytes: Some(200_000),
        ..Options::new(dir.path())
    };
    let history = History::open(&options).unwrap();
    let big = "x".repeat(10_000);
    let mut stored = Vec::new();
    let mut failed = 0;
    for n in 1..=40 {
        match commit_all(&history, vec![(n, record(n, "", &big, 1))])[0].1 {
            Committed::Stored => stored.push(n),
            Committed::Failed => failed += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(
        stored.len() > 5 && failed > 5,
        "{stored:?}, {failed} failed"
    );
    assert_eq!(history.measures().failed.get(), failed);
    history.close();
    let history = open(dir.path());
    let positions: Vec<u64> = history
        .newest("", 100)
        .await
        .unwrap()
        .iter()
        .map(|message| message.position)
        .collect();
    assert_eq!(positions, stored);
}

#[test]
fn an_answer_that_panics_takes_no_other_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let poison = Box::new(|_| panic!("an answer that panics, on purpose"));
    history.commit(1, record(1, "", "x", 1), poison).unwrap();
    let results = commit_all(&history, vec![(2, record(2, "", "x", 1))]);
    assert_eq!(results, [(2, Committed::Stored)]);
    assert!(history.is_writing());
}

#[test]
fn a_folder_has_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let error = History::open(&Options::new(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(
        error.to_string().contains("in use by another server"),
        "{error}"
    );
    history.close();
    open(dir.path());
}

#[test]
fn files_of_others_and_of_later_releases_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.db");
    std::fs::write(
        &path,
        "just a text that is long enough to be looked at ".repeat(10),
    )
    .unwrap();
    let error = History::open(&Options::new(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");

    std::fs::remove_file(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(other);
    let error = History::open(&Options::new(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");

    std::fs::remove_file(&path).unwrap();
    open(dir.path()).close();
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 2).unwrap();
    drop(newer);
    let error = History::open(&Options::new(dir.path())).unwrap_err();
    assert!(
        matches!(error, OpenError::NewerSchema { found: 2, .. }),
        "{error:?}"
    );
}

#[test]
fn a_place_where_nothing_can_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = History::open(&Options::new(file.path().join("data"))).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot make the data folder "),
        "{error}"
    );

    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("chat.db")).unwrap();
    let error = History::open(&Options::new(dir.path())).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot open the history "),
        "{error}"
    );
}

#[tokio::test]
async fn old_messages_go_and_positions_are_not_given_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let old = now() - 3_600_000;
    let history = open(dir.path());
    commit_all(
        &history,
        (1..=2500).map(|n| (n, record(n, "", "old", old))).collect(),
    );
    history.close();

    let options = Options {
        retention: Some(Duration::from_secs(60)),
        trim_every: Duration::from_millis(10),
        ..Options::new(dir.path())
    };
    let history = History::open(&options).unwrap();
    until(async || history.last_position_in("").await.unwrap() == 0).await;
    assert_eq!(history.measures().trimmed.get(), 2500);
    history.close();
    assert_eq!(open(dir.path()).last_position(), 2500);
}

#[tokio::test]
async fn only_a_prefix_of_the_log_is_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let old = now() - 3_600_000;
    let options = Options {
        retention: Some(Duration::from_secs(60)),
        trim_every: Duration::from_millis(10),
        ..Options::new(dir.path())
    };
    let history = History::open(&options).unwrap();
    // A clock that was set back: an old message behind a young one, in another room.
    commit_all(
        &history,
        vec![
            (1, record(1, "a", "old", old)),
            (2, record(2, "b", "young", now())),
            (3, record(3, "a", "old by its clock", old)),
        ],
    );
    until(async || history.measures().trimmed.get() == 1).await;
    history.close();
    let history = open(dir.path());
    assert_eq!(
        contents(&history.newest("a", 9).await.unwrap()),
        [(3, "old by its clock")]
    );
    assert_eq!(
        contents(&history.newest("b", 9).await.unwrap()),
        [(2, "young")]
    );
}

#[tokio::test]
async fn counting_stops_where_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    commit_all(
        &history,
        (1..=50).map(|n| (n, record(n, "", "x", 1))).collect(),
    );
    assert_eq!(history.count_after("", 0, 1000).await.unwrap(), 50);
    assert_eq!(history.count_after("", 45, 1000).await.unwrap(), 5);
    assert_eq!(history.count_after("", 0, 10).await.unwrap(), 10);
    assert_eq!(history.count_after("other", 0, 10).await.unwrap(), 0);
}

/// Reads a whole room page by page.
async fn walk(history: &History, room: &str, limit: usize, is_backwards: bool) -> Vec<u64> {
    let mut cursor = if is_backwards {
        Cursor::Newest
    } else {
        Cursor::After(0)
    };
    let mut pages = Vec::new();
    loop {
        let page = history.page(room, cursor, limit).await.unwrap();
        let positions: Vec<u64> = page
            .messages
            .iter()
            .map(|message| message.position)
            .collect();
        assert!(positions.len() <= limit);
        assert!(
            positions.len() == limit || !page.more,
            "only the last page is short"
        );
        if let (Some(first), Some(last)) = (positions.first(), positions.last()) {
            cursor = if is_backwards {
                Cursor::Before(*first)
            } else {
                Cursor::After(*last)
            };
        }
        pages.push(positions);
        if !page.more {
            break;
        }
    }
    if is_backwards {
        pages.reverse();
    }
    pages.concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn pages_meet_without_hole_or_overlap(
        steps in proptest::collection::vec((1_u64..5, 0_usize..3), 0..60),
        limit in 1_usize..9,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let options = Options { durability: Durability::Normal, ..Options::new(dir.path()) };
            let history = History::open(&options).unwrap();
            let rooms = ["", "r", "s"];
            let mut model: [Vec<u64>; 3] = Default::default();
            let mut position = 0;
            let mut records = Vec::new();
            for (step, room) in steps {
                position += step;
                model[room].push(position);
                records.push((position, record(position, rooms[room], "x", 1)));
            }
            commit_all(&history, records);
            for (room, positions) in rooms.iter().zip(&model) {
                assert_eq!(&walk(&history, room, limit, true).await, positions);
                assert_eq!(&walk(&history, room, limit, false).await, positions);
            }
        });
    }
}
