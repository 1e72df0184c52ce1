//! What NATS is told is read for each connection.

use std::collections::HashMap;

use chatcluster_harness::nats::Options as Server;
use chatcluster_harness::{NatsServer, within};
use chatcluster_socketio::NodeId;
use chatcluster_socketio_nats::{Credentials, NatsCluster, Options};

#[tokio::test]
async fn a_password_that_was_exchanged_is_used_for_the_next_connection() {
    let settings =
        |password: &str| format!(r#"authorization {{ user: "chat", password: "{password}" }}"#);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "the-old-one\n").unwrap();
    let server = Server::default().with_settings(&settings("the-old-one"));
    let mut server = NatsServer::start(server).await;
    let options = Options {
        credentials: Credentials::UserFile {
            name: "chat".to_owned(),
            file: file.clone(),
        },
        ..Options::new(server.url(), "test")
    };
    let joining = NatsCluster::join(options, NodeId::new("a"), HashMap::new());
    let cluster = within("the cluster is joined", joining).await.unwrap();
    std::fs::write(&file, "the-new-one\n").unwrap();
    server.restart_with(&settings("the-new-one")).await;
    let is_let_in = async {
        while server.monitor("/connz?auth=1").await["connections"][0]["authorized_user"] != "chat" {
            tokio::task::yield_now().await;
        }
    };
    within("the new password is used", is_let_in).await;
    cluster.close().await;
}
