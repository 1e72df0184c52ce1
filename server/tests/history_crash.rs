//! kill -9 in a storm of writes: whatever was acknowledged is there afterwards, and nothing twice.
//!
//! Without the test harness, because this program starts itself as the process that is killed.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex, mpsc},
};

use chatcluster_server::history::{
    Committed, Durability, History, Options, Record, Store, encode_body,
};

const STORM: &str = "storm-in";
const ROUNDS: usize = 4;
const ACKNOWLEDGED_PER_ROUND: usize = 700;

fn main() {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some(STORM) => storm(Path::new(&args.next().expect("a folder"))),
        _ => nothing_acknowledged_is_lost_by_kill_9(),
    }
}

fn nothing_acknowledged_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut acknowledged = HashSet::new();
    for round in 0..ROUNDS {
        acknowledged.extend(run_and_kill(dir.path()));
        let history = History::open(&options(dir.path())).expect("the history opens after a kill");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let stored = runtime
            .block_on(history.newest("", 10_000_000))
            .expect("all messages");
        let contents: HashSet<u64> = stored
            .iter()
            .map(|message| message.content.parse().expect("a number"))
            .collect();
        assert_eq!(
            contents.len(),
            stored.len(),
            "round {round}: a message is stored twice"
        );
        let lost: Vec<_> = acknowledged.difference(&contents).collect();
        assert!(
            lost.is_empty(),
            "round {round}: acknowledged, then lost: {lost:?}"
        );
        let last = stored.last().expect("some messages").position;
        assert!(
            history.last_position() >= last,
            "round {round}: a position would be reused"
        );
    }
    println!(
        "{} acknowledged in {ROUNDS} rounds, none lost, none twice",
        acknowledged.len()
    );
}

/// Runs a storm until enough is acknowledged, kills it, and returns what it acknowledged.
fn run_and_kill(dir: &Path) -> Vec<u64> {
    let program = std::env::current_exe().expect("the path of this program");
    let mut child = Command::new(program)
        .arg(STORM)
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the storm starts");
    let output = child.stdout.take().expect("a pipe");
    let mut acknowledged = Vec::new();
    let mut lines = BufReader::new(output).lines();
    while acknowledged.len() < ACKNOWLEDGED_PER_ROUND {
        let line = lines
            .next()
            .expect("the storm goes on until it is killed")
            .expect("a line");
        acknowledged.push(line.parse().expect("a number"));
    }
    child.kill().expect("the storm is killed");
    child.wait().expect("the storm is dead");
    // What was still in the pipe was acknowledged too; the last line may be cut.
    acknowledged.extend(
        lines
            .map_while(Result::ok)
            .filter_map(|line| complete(&line)),
    );
    acknowledged
}

/// Acknowledgements have a fixed width, so that a cut one is recognised.
fn complete(line: &str) -> Option<u64> {
    (line.len() == 12).then(|| line.parse().ok()).flatten()
}

/// Eight senders, each sending every message twice, as a client does that missed the acknowledgement.
fn storm(dir: &Path) {
    let history = History::open(&options(dir)).expect("the history opens");
    let position = Mutex::new(history.last_position());
    let first = history.last_position() * 1000;
    std::thread::scope(|scope| {
        for sender in 0..8 {
            let (history, position) = (&history, &position);
            scope.spawn(move || {
                for number in (first + sender..).step_by(8) {
                    send(history, position, number);
                    send(history, position, number);
                    let mut output = std::io::stdout().lock();
                    writeln!(output, "{number:012}").expect("the parent reads");
                    output.flush().expect("the parent reads");
                }
            });
        }
    });
}

/// Sends and waits for the acknowledgement.
fn send(history: &History, position: &Mutex<u64>, number: u64) {
    let (done, is_done) = mpsc::channel();
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    let record = Record {
        key,
        room: Arc::from(""),
        body: encode_body("storm", &number.to_string(), 1),
    };
    {
        let mut position = position.lock().expect("no sender panics");
        *position += 1;
        let done = Box::new(move |committed| done.send(committed).expect("the sender waits"));
        history
            .commit(*position, record, done)
            .expect("the queue holds eight");
    }
    assert_ne!(is_done.recv().expect("an answer"), Committed::Failed);
}

fn options(dir: &Path) -> Options {
    Options {
        durability: Durability::Normal,
        ..Options::new(dir)
    }
}
