//! What a node must be allowed on NATS: the list is in `chatcluster-nats-names`, and the tests here hold it to what nodes do.

pub use chatcluster_nats_names::Permissions;

#[cfg(test)]
mod tests;
