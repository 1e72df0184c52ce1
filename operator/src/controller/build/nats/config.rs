//! What nats-server reads. The settings are those of `docs/operations.md`, and the permissions are the same list that the
//! servers' own tests hold to what servers do (`crates/nats-names`).

use crate::controller::validate::{ManagedNats, Validated};
use crate::names::{NATS_USER, paths, ports};

/// The password is drawn at random, too long to be guessed: a dear hash would only slow down NATS when all servers
/// return at once.
const HASH_COST: u32 = 4;

pub(super) fn render(cluster: &Validated, nats: &ManagedNats) -> String {
    let name = cluster.names.nats();
    let permissions = nats.permissions.render();
    let sync = match nats.spec.sync_interval_seconds {
        0 => "always".to_owned(),
        seconds => format!("\"{seconds}s\""),
    };
    format!(
        r#"# Written by chatcluster-operator. What is changed here by hand is put back.
server_name: "{name}"
listen: "0.0.0.0:{client}"
http: "0.0.0.0:{monitor}"

# A server that stands still does not slow down the others, and is let go soon.
no_fast_producer_stall: true
max_pending: 32MB
write_deadline: "2s"

jetstream {{
  store_dir: "{data}"
  max_memory_store: 0
  max_file_store: {store}
  sync_interval: {sync}
}}

# The password is hashed; it stands in the Secret {name}.
authorization {{
  users: [
    {{ user: "{NATS_USER}", password: "{hash}"
{permissions} }}
  ]
}}
"#,
        client = ports::NATS,
        monitor = ports::MONITOR,
        data = paths::NATS_DATA,
        store = nats.store_bytes(),
        hash = hash(&nats.password.0),
    )
}

/// The same password has the same hash: what is built from the same must be the same, to the byte. The salt need not be random,
/// as the password is.
fn hash(password: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(format!("salt of {password}"));
    let mut salt = [0; 16];
    salt.copy_from_slice(&digest[..16]);
    let hash = bcrypt::hash_with_salt(password, HASH_COST, salt);
    hash.expect("a cost that is allowed, and a password without zeros")
        .format_for_version(bcrypt::Version::TwoA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_its_password_and_always_the_same() {
        let (one, other) = ("5a".repeat(32), "5b".repeat(32));
        assert_eq!(hash(&one), hash(&one));
        assert_ne!(hash(&one), hash(&other));
        assert!(
            hash(&one).starts_with("$2a$"),
            "the form that nats-server knows"
        );
        assert!(bcrypt::verify(&one, &hash(&one)).unwrap());
        assert!(!bcrypt::verify(&other, &hash(&one)).unwrap());
    }
}
