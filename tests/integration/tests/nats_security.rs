//! Who is let in by NATS, how the connection is secured, and that clusters beside each other do not mix.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chatcluster_harness::adapters::Joining;
use chatcluster_harness::nats::{Authority, Operator, Options as Server, User};
use chatcluster_harness::{NatsServer, Nodes, until, within};
use chatcluster_integration::recovering;
use chatcluster_socketio::NodeId;
use chatcluster_socketio_nats::names::Names;
use chatcluster_socketio_nats::permissions::Permissions;
use chatcluster_socketio_nats::{Credentials, Error, NatsCluster, Options, StorageType, Tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Joins and leaves.
async fn join(options: &Options) -> Result<(), Error> {
    let joining = NatsCluster::join(options.clone(), NodeId::new("a"), HashMap::new());
    within("joining has an end", joining).await?.close().await;
    Ok(())
}

/// Why joining is refused, as an operator reads it.
async fn refusal(options: &Options) -> String {
    let error = join(options).await.unwrap_err();
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}

fn secured(server: &NatsServer, tls: Tls) -> Options {
    Options {
        tls,
        ..Options::new(format!("tls://{}", server.address()), "test")
    }
}

fn trusting(authority: &Authority) -> Tls {
    Tls {
        roots: Some(authority.roots()),
        certificate: None,
    }
}

async fn server_with_certificate(authority: &Authority, name: &str, verify: bool) -> NatsServer {
    let settings = authority.server_settings(name, verify);
    NatsServer::start(Server::default().with_settings(&settings)).await
}

#[tokio::test]
async fn a_server_is_trusted_for_its_authority_and_its_name_only() {
    let ours = Authority::new("ours");
    let server = server_with_certificate(&ours, "127.0.0.1", false).await;
    join(&secured(&server, trusting(&ours))).await.unwrap();

    let other = Authority::new("other");
    for tls in [trusting(&other), Tls::default()] {
        let said = refusal(&secured(&server, tls)).await;
        assert!(said.contains("certificate"), "{said}");
        assert!(said.contains("UnknownIssuer"), "{said}");
    }

    let elsewhere = server_with_certificate(&ours, "nats.example.com", false).await;
    let said = refusal(&secured(&elsewhere, trusting(&ours))).await;
    assert!(said.contains("not valid for name"), "{said}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let plain = NatsServer::start(Server::default()).await;
    let said = refusal(&secured(&plain, Tls::default())).await;
    assert!(said.starts_with("connect to NATS at tls://"), "{said}");
}

/// Whoever answers at an address, or was told of by a server, may be anybody.
#[tokio::test]
async fn nobody_is_told_the_password_before_a_certificate_was_shown() {
    const INFO: &[u8] = b"INFO {\"server_id\":\"x\",\"version\":\"2.15.2\",\"max_payload\":1048576,\"proto\":1}\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let told = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        client.write_all(INFO).await.unwrap();
        let mut bytes = [0; 8];
        client.read_exact(&mut bytes).await.unwrap();
        bytes
    });
    // An address without a scheme that asks for TLS, beside one that does: as a server tells of others.
    let options = Options {
        servers: vec![format!("nats://{address}"), "tls://127.0.0.1:1".to_owned()],
        credentials: Credentials::User {
            name: "chat".to_owned(),
            password: "hush".to_owned(),
        },
        ..Options::new("", "test")
    };
    join(&options).await.unwrap_err();
    let told = within("the client says something", told).await.unwrap();
    // A handshake, its version; not CONNECT.
    assert_eq!(told[..2], [0x16, 0x03], "{told:?}");
}

#[tokio::test]
async fn a_server_may_want_a_certificate_of_the_node() {
    let authority = Authority::new("ours");
    let server = server_with_certificate(&authority, "127.0.0.1", true).await;
    let certified = |certificate| Tls {
        certificate: Some(certificate),
        ..trusting(&authority)
    };
    let node = certified(authority.certificate("node"));
    join(&secured(&server, node)).await.unwrap();

    let said = refusal(&secured(&server, trusting(&authority))).await;
    assert!(said.to_lowercase().contains("certificate"), "{said}");
    let stranger = certified(Authority::new("other").certificate("node"));
    // Files of an authority that is gone.
    let said = refusal(&secured(&server, stranger)).await;
    assert!(said.starts_with("read the NATS TLS file"), "{said}");
    let other = Authority::new("other");
    let said = refusal(&secured(&server, certified(other.certificate("node")))).await;
    assert!(said.contains("UnknownCA"), "{said}");
}

/// Lets nobody in but who says this.
struct Guard {
    settings: String,
    right: Credentials,
    wrong: Credentials,
}

fn guards(operator: &Operator, folder: &std::path::Path) -> Vec<Guard> {
    let user = |password: &str| Credentials::User {
        name: "chat".to_owned(),
        password: password.to_owned(),
    };
    let permissions = Permissions::founder(&Names::new("test").unwrap());
    let file = |operator: &Operator| {
        operator
            .user(&permissions.publish, &permissions.subscribe)
            .0
    };
    let stranger = folder.join("stranger.creds");
    std::fs::copy(file(&Operator::new()), &stranger).unwrap();
    vec![
        Guard {
            settings: r#"authorization { user: "chat", password: "right-hush" }"#.to_owned(),
            right: user("right-hush"),
            wrong: user("wrong-hush"),
        },
        Guard {
            settings: r#"authorization { token: "right-hush" }"#.to_owned(),
            right: Credentials::Token("right-hush".to_owned()),
            wrong: Credentials::Token("wrong-hush".to_owned()),
        },
        Guard {
            settings: operator.server_settings(),
            right: Credentials::File(file(operator)),
            wrong: Credentials::File(stranger),
        },
    ]
}

/// What must not be seen: passwords, and the beginning of a user's seed and of its token's signature.
fn secrets(credentials: &Credentials) -> Vec<String> {
    match credentials {
        Credentials::None => Vec::new(),
        Credentials::User { password, .. } => vec![password.clone()],
        Credentials::Token(token) => vec![token.clone()],
        Credentials::UserFile { file, .. } | Credentials::TokenFile(file) => {
            vec![std::fs::read_to_string(file).unwrap()]
        }
        Credentials::File(path) => {
            let text = std::fs::read_to_string(path).unwrap();
            let lines = text
                .lines()
                .filter(|line| !line.is_empty() && !line.starts_with('-'));
            lines
                .map(|line| line[line.len() - 20..].to_owned())
                .collect()
        }
    }
}

/// Everything that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

#[tokio::test]
async fn the_right_credentials_are_let_in_and_the_wrong_ones_are_told_so_and_none_are_shown() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // Of all tests of this process: none of the others knows these secrets.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let operator = Operator::new();
    for guard in guards(&operator, folder.path()) {
        let server = Server::default().with_settings(&guard.settings);
        let server = NatsServer::start(server).await;
        let with = |credentials: &Credentials| Options {
            credentials: credentials.clone(),
            ..Options::new(server.url(), "test")
        };
        join(&with(&guard.right)).await.unwrap();
        let mut shown = String::new();
        for refused in [&guard.wrong, &Credentials::None] {
            let said = refusal(&with(refused)).await;
            assert!(said.contains("authorization"), "{refused:?}: {said}");
            shown.push_str(&format!("{said} {:?}", with(refused)));
        }
        shown.push_str(&log.text());
        for secret in secrets(&guard.right).iter().chain(&secrets(&guard.wrong)) {
            assert!(!shown.contains(secret), "{secret} is shown: {shown}");
        }
    }
    let log = log.text();
    assert!(log.contains("connected to NATS"), "it is a log: {log}");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named_and_no_further_attempt_is_of_use() {
    let missing = || PathBuf::from("/nowhere/secret.pem");
    let server = NatsServer::start(Server::default()).await;
    let authority = Authority::new("ours");
    let mut options = [
        secured(&server, Tls::default()),
        secured(&server, Tls::default()),
        Options::new(server.url(), "test"),
    ];
    options[0].tls.roots = Some(missing());
    options[1].tls.certificate = Some((authority.roots(), missing()));
    options[2].credentials = Credentials::File(missing());
    for options in options {
        let error = join(&options).await.unwrap_err();
        assert!(error.is_lasting());
        let said = error.to_string();
        assert!(said.contains("/nowhere/secret.pem"), "{said}");
    }
}

#[tokio::test]
async fn a_stream_with_another_setting_is_left_alone_and_the_setting_is_named() {
    let server = NatsServer::start(Server::default()).await;
    let usual = Options::new(server.url(), "team.chat");
    join(&usual).await.unwrap();
    let other = |change: &dyn Fn(&mut Options)| {
        let mut options = usual.clone();
        change(&mut options);
        options
    };
    let others = [
        ("subjects", other(&|o| o.prefix = "team_chat".to_owned())),
        ("storage", other(&|o| o.storage = StorageType::Memory)),
        (
            "retention",
            other(&|o| o.retention = Duration::from_secs(60)),
        ),
        (
            "retentionBytes",
            other(&|o| o.retention_bytes = Some(1 << 20)),
        ),
    ];
    for (setting, options) in others {
        let error = join(&options).await.unwrap_err();
        assert!(error.is_lasting(), "{setting}");
        let said = refusal(&options).await;
        let named = format!("the stream team_chat_log is there with {setting} = ");
        assert!(said.contains(&named), "{said}");
    }
    join(&usual).await.unwrap();
}

/// A user for each of two clusters, with the permissions of a node that makes what it needs.
async fn two_clusters() -> (NatsServer, [Options; 2]) {
    let prefixes = ["team.a", "team.b"];
    let users = prefixes.map(|prefix| User {
        name: prefix.to_owned(),
        password: prefix.to_owned(),
        permissions: Permissions::founder(&Names::new(prefix).unwrap()).render(),
    });
    let server = NatsServer::start(Server::default().with_users(&users)).await;
    let options = prefixes.map(|prefix| Options {
        credentials: Credentials::User {
            name: prefix.to_owned(),
            password: prefix.to_owned(),
        },
        ..Options::new(server.url(), prefix)
    });
    (server, options)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_on_one_nats_do_not_see_each_other() {
    let (server, [a, b]) = two_clusters().await;
    let (a, b) = (Joining(a), Joining(b));
    let ours = Nodes::plain(2, &recovering(), &a).await;
    let theirs = Nodes::plain(1, &recovering(), &b).await;
    // By the heartbeats that came so far; each cluster was waited for, so a foreign one would have been heard.
    assert_eq!(ours[0].main().node_count(), 2);
    assert_eq!(theirs[0].main().node_count(), 1);

    let here = ours[0].connect().await;
    let there = theirs[0].connect().await;
    ours[1].main().emit("ours", &1).unwrap();
    theirs[0].main().emit("theirs", &1).unwrap();
    ours.fence(&[&here]).await;
    theirs.fence(&[&there]).await;
    let seen = |client: &chatcluster_harness::Client| {
        (client.events("ours").len(), client.events("theirs").len())
    };
    assert_eq!((seen(&here), seen(&there)), ((1, 0), (0, 1)));

    let carried = here.cut().await;
    let stranger = theirs[0].resume(&carried).await;
    assert!(
        !stranger.has_recovered(&carried),
        "a session of the other cluster"
    );
    let back = ours[1].resume(&carried).await;
    assert!(back.has_recovered(&carried));
    assert_eq!(server.violations(), Vec::<String>::new());
    ours.stop().await;
    theirs.stop().await;
}

#[tokio::test]
async fn a_node_of_one_cluster_is_denied_the_subjects_of_the_other() {
    let (server, [a, b]) = two_clusters().await;
    join(&b).await.unwrap();
    // Each subject by itself: nothing else is denied so far.
    let client =
        async_nats::ConnectOptions::with_user_and_password("team.a".into(), "team.a".into());
    let client = client.connect(server.url()).await.unwrap();
    let Permissions { publish, subscribe } = Permissions::founder(&Names::new("team.b").unwrap());
    // Every user may ask about its account.
    let publish = publish
        .into_iter()
        .filter(|subject| subject != "$JS.API.INFO");
    let mut count = 0;
    for subject in publish {
        let subject = subject.replace(['*', '>'], "x");
        client.publish(subject, "".into()).await.unwrap();
        count += 1;
    }
    let mut subscriptions = Vec::new();
    for subject in subscribe.into_iter().chain(["team.b.log.>".to_owned()]) {
        subscriptions.push(client.subscribe(subject).await.unwrap());
        count += 1;
    }
    client.flush().await.unwrap();
    until("every one is denied", || server.violations().len() == count).await;

    let foreign = Options {
        prefix: b.prefix.clone(),
        ..a
    };
    let error = join(&foreign).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
}
