//! The nodes that were heard, and when. Knows no broker: time is given to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chatcluster_socketio::NodeId;
use tokio::time::Instant;

use super::{DEAD_AFTER, HEARTBEAT, RelayPlace};

/// More nodes are not known: a bound on what a stranger can make this node remember.
const MAX_NODES: usize = 1024;
/// A node that has not heard itself for this long cannot tell who is silent.
const DEAF_AFTER: std::time::Duration = HEARTBEAT.saturating_mul(2);

/// The other nodes.
#[derive(Default)]
pub(super) struct Table {
    nodes: BTreeMap<NodeId, Node>,
    /// When this node heard itself.
    heard_self: Option<Instant>,
}

struct Node {
    said: Said,
    /// Sockets connected to it: no news, however often it is another number.
    members: u32,
    heard: Instant,
}

/// What a node's last heartbeat said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) incarnation: u64,
    pub(super) has_log: bool,
    pub(super) relay: Option<RelayPlace>,
}

/// What a heartbeat was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// From somebody who is known, and nothing is new.
    Known,
    /// Its health is another now, or where it takes requests.
    Changed,
    /// Not known before, or another process of that name.
    New,
    /// There is no room for it.
    Full,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn contains(&self, node: &NodeId) -> bool {
        self.nodes.contains_key(node)
    }

    /// Those whose health is as wanted.
    pub(super) fn nodes(&self, wanted: impl Fn(bool) -> bool) -> Vec<NodeId> {
        let chosen = self
            .nodes
            .iter()
            .filter(|(_, node)| wanted(node.said.has_log));
        chosen.map(|(id, _)| id.clone()).collect()
    }

    /// Where the node takes requests whose sessions have this tag.
    pub(super) fn by_tag(&self, tag: &str) -> Option<SocketAddr> {
        let mut places = self.nodes.values().filter_map(|n| n.said.relay.as_ref());
        places
            .find(|place| place.tag == tag)
            .map(|place| place.address)
    }

    /// Where the nodes take requests of their sessions.
    pub(super) fn places(&self) -> Vec<RelayPlace> {
        let places = self.nodes.values().filter_map(|n| n.said.relay.clone());
        places.collect()
    }

    /// Sockets connected to all of them.
    pub(super) fn members(&self) -> usize {
        self.nodes.values().map(|node| node.members as usize).sum()
    }

    pub(super) fn hear(&mut self, id: &NodeId, said: Said, members: u32, now: Instant) -> Heard {
        if let Some(node) = self.nodes.get_mut(id) {
            let heard = if node.said.incarnation != said.incarnation {
                Heard::New
            } else if node.said != said {
                Heard::Changed
            } else {
                Heard::Known
            };
            *node = Node {
                said,
                members,
                heard: now,
            };
            return heard;
        }
        if self.nodes.len() >= MAX_NODES {
            return Heard::Full;
        }
        let node = Node {
            said,
            members,
            heard: now,
        };
        self.nodes.insert(id.clone(), node);
        Heard::New
    }

    /// This node hears. If it had not for a while, nobody's silence in that while counts.
    pub(super) fn hear_self(&mut self, now: Instant) {
        let was_deaf = self.is_deaf(now);
        self.heard_self = Some(now);
        if was_deaf {
            for node in self.nodes.values_mut() {
                node.heard = now;
            }
        }
    }

    fn is_deaf(&self, now: Instant) -> bool {
        self.heard_self.is_none_or(|heard| now - heard > DEAF_AFTER)
    }

    /// Forgets who said farewell; false if that was another process of this name.
    pub(super) fn remove(&mut self, id: &NodeId, incarnation: u64) -> bool {
        let is_it = self
            .nodes
            .get(id)
            .is_some_and(|n| n.said.incarnation == incarnation);
        is_it && self.nodes.remove(id).is_some()
    }

    /// Forgets who is dead, and names them.
    pub(super) fn bury(&mut self, now: Instant) -> Vec<NodeId> {
        if self.is_deaf(now) {
            return Vec::new();
        }
        let dead = self
            .nodes
            .extract_if(.., |_, node| now - node.heard > DEAD_AFTER);
        dead.map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn node(name: &str) -> NodeId {
        NodeId::new(name)
    }

    fn said(incarnation: u64, has_log: bool) -> Said {
        Said {
            incarnation,
            has_log,
            relay: None,
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_silent_are_found_dead_once() {
        let mut table = Table::default();
        let mut now = Instant::now();
        table.hear_self(now);
        assert_eq!(table.hear(&node("a"), said(1, true), 0, now), Heard::New);
        assert_eq!(table.hear(&node("b"), said(1, true), 0, now), Heard::New);
        let mut dead = Vec::new();
        for _ in 0..6 {
            now += SECOND;
            table.hear_self(now);
            assert_eq!(table.hear(&node("a"), said(1, true), 0, now), Heard::Known);
            dead.extend(table.bury(now));
        }
        assert_eq!(dead, [node("b")]);
        assert_eq!(table.nodes(|_| true), [node("a")]);
    }

    #[test]
    fn the_deaf_find_nobody_dead() {
        let mut table = Table::default();
        let start = Instant::now();
        table.hear_self(start);
        table.hear(&node("a"), said(1, true), 0, start);
        assert!(table.bury(start + 60 * SECOND).is_empty());
        // It hears again: the other one has its full time.
        table.hear_self(start + 60 * SECOND);
        assert!(table.bury(start + 61 * SECOND).is_empty());
        table.hear_self(start + 62 * SECOND);
        table.hear_self(start + 64 * SECOND);
        assert_eq!(table.bury(start + 64 * SECOND), [node("a")]);
    }

    #[test]
    fn a_farewell_concerns_its_own_process() {
        let mut table = Table::default();
        let now = Instant::now();
        table.hear(&node("a"), said(1, true), 0, now);
        assert_eq!(table.hear(&node("a"), said(2, true), 0, now), Heard::New);
        assert!(!table.remove(&node("a"), 1));
        assert!(table.remove(&node("a"), 2));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn health_is_known_by_the_last_heartbeat() {
        let mut table = Table::default();
        let now = Instant::now();
        table.hear(&node("a"), said(1, true), 0, now);
        table.hear(&node("b"), said(1, true), 0, now);
        assert_eq!(
            table.hear(&node("a"), said(1, false), 0, now),
            Heard::Changed
        );
        assert_eq!(table.nodes(|has_log| has_log), [node("b")]);
    }

    #[test]
    fn members_are_counted_by_the_last_heartbeats_and_are_no_news() {
        let mut table = Table::default();
        let now = Instant::now();
        table.hear(&node("a"), said(1, true), 3, now);
        table.hear(&node("b"), said(1, true), 4, now);
        let heard = table.hear(&node("a"), said(1, true), 10, now);
        assert_eq!((heard, table.members()), (Heard::Known, 14));
        table.remove(&node("b"), 1);
        assert_eq!(table.members(), 10);
    }

    #[test]
    fn more_nodes_than_can_be_known_are_refused() {
        let mut table = Table::default();
        let now = Instant::now();
        for i in 0..MAX_NODES {
            table.hear(&node(&i.to_string()), said(1, true), 0, now);
        }
        assert_eq!(
            table.hear(&node("more"), said(1, true), 0, now),
            Heard::Full
        );
        assert_eq!(table.hear(&node("7"), said(1, true), 0, now), Heard::Known);
    }

    #[test]
    fn a_node_is_found_by_the_tag_that_its_process_said_last() {
        let mut table = Table::default();
        let now = Instant::now();
        let with = |incarnation, tag: &str, address: &str| Said {
            relay: Some(RelayPlace {
                tag: tag.to_owned(),
                address: address.parse().unwrap(),
            }),
            ..said(incarnation, true)
        };
        table.hear(&node("a"), said(1, true), 0, now);
        assert_eq!(table.by_tag("x"), None);
        let heard = table.hear(&node("a"), with(1, "x", "10.0.0.1:1"), 0, now);
        assert_eq!(heard, Heard::Changed);
        table.hear(&node("b"), with(1, "y", "10.0.0.2:1"), 0, now);
        assert_eq!(table.by_tag("x"), Some("10.0.0.1:1".parse().unwrap()));
        // Another process of that name: the sessions of the old one are gone.
        table.hear(&node("a"), with(2, "z", "10.0.0.1:1"), 0, now);
        assert_eq!(table.by_tag("x"), None);
        assert!(table.remove(&node("b"), 1));
        assert_eq!(table.by_tag("y"), None);
    }
}
