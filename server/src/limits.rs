//! What one client may take: events per second, connections, lengths.
//!
//! Lengths count Unicode characters. Nothing here waits or logs; a refusal is a [`Code`].

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::codes::{Code, Refusal};

/// Longest name of a room or person, in characters.
pub const NAME_CHARACTERS: usize = 64;
/// Longest `clientOffset`, in characters.
pub const CLIENT_OFFSET_CHARACTERS: usize = 128;

/// `Retry-After` of a handshake that was refused because the server is full.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How many events one socket may send; shared by all sockets.
#[derive(Clone, Copy, Debug)]
pub struct EventRate {
    start: Instant,
    interval_nanos: u64,
    burst_nanos: u64,
}

impl EventRate {
    /// `per_second` events in the long run, `burst` at once.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let interval_nanos = 1_000_000_000 / u64::from(per_second.max(1));
        Self {
            start: Instant::now(),
            interval_nanos,
            burst_nanos: interval_nanos * u64::from(burst.max(1)),
        }
    }

    /// Another pace for the same sockets.
    #[must_use]
    pub fn changed(&self, per_second: u32, burst: u32) -> Self {
        Self {
            start: self.start,
            ..Self::new(per_second, burst)
        }
    }
}

/// The token bucket of one socket: eight bytes, no lock, no timer.
///
/// It holds the moment at which the bucket is full again; an event moves it by one interval, and
/// is refused if that is more than a burst ahead.
#[derive(Debug, Default)]
pub struct EventBucket(AtomicU64);

impl EventBucket {
    /// Takes one event at `now`.
    pub fn take(&self, rate: &EventRate, now: Instant) -> Result<(), Code> {
        let elapsed = now.saturating_duration_since(rate.start).as_nanos();
        let now_nanos = u64::try_from(elapsed).unwrap_or(u64::MAX / 2);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                let next = full_at.max(now_nanos) + rate.interval_nanos;
                (next - now_nanos <= rate.burst_nanos).then_some(next)
            })
            .map(drop)
            .map_err(|_| Code::TooManyEvents)
    }
}

/// Counts connections in all and per address.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    most: AtomicUsize,
    /// `usize::MAX` is no limit.
    most_per_address: AtomicUsize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One counted connection, until it is dropped.
#[derive(Debug)]
pub struct Admission {
    counts: Arc<Counts>,
    address: IpAddr,
}

impl Connections {
    /// At most `most` in all, and `most_per_address` from one address if given.
    pub fn new(most: usize, most_per_address: Option<usize>) -> Self {
        Self(Arc::new(Counts {
            most: most.into(),
            most_per_address: most_per_address.unwrap_or(usize::MAX).into(),
            open: Mutex::default(),
        }))
    }

    /// Other limits from now on. Who is in stays in.
    pub fn limit(&self, most: usize, most_per_address: Option<usize>) {
        let most_per_address = most_per_address.unwrap_or(usize::MAX);
        self.0.most.store(most, Ordering::Relaxed);
        self.0
            .most_per_address
            .store(most_per_address, Ordering::Relaxed);
    }

    /// Counts one more, or says which limit is reached.
    pub fn admit(&self, address: IpAddr) -> Result<Admission, Code> {
        let address = counted(address);
        let counts = &self.0;
        let mut open = counts.open.lock();
        if open.all >= counts.most.load(Ordering::Relaxed) {
            return Err(Code::TooManyConnections);
        }
        // Counted without a limit, too: one may be set while connections are open.
        let from_address = open.by_address.entry(address).or_default();
        if *from_address >= counts.most_per_address.load(Ordering::Relaxed) {
            return Err(Code::TooManyFromAddress);
        }
        *from_address += 1;
        open.all += 1;
        Ok(Admission {
            counts: Arc::clone(counts),
            address,
        })
    }

    /// Connections now.
    pub fn open(&self) -> usize {
        self.0.open.lock().all
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self.counts.open.lock();
        open.all -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// The address that is counted: one IPv6 customer has a whole /64, and `::ffff:1.2.3.4` is IPv4.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Whether a text may name a room or a person: 1 to 64 characters, no control characters.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && is_within(text, NAME_CHARACTERS) && !text.chars().any(char::is_control)
}

/// Checks a room's name.
pub fn check_room(room: &str) -> Result<(), Refusal> {
    if is_name(room) {
        Ok(())
    } else {
        Err(Refusal::of(Code::RoomName, "room"))
    }
}

/// Checks a message: not empty, at most `characters`.
pub fn check_content(content: &str, characters: usize) -> Result<(), Refusal> {
    if !content.is_empty() && is_within(content, characters) {
        Ok(())
    } else {
        Err(Refusal::of(Code::ContentLength, "content"))
    }
}

/// Checks a client's message id: 1 to 128 characters.
pub fn check_client_offset(client_offset: &str) -> Result<(), Refusal> {
    if !client_offset.is_empty() && is_within(client_offset, CLIENT_OFFSET_CHARACTERS) {
        Ok(())
    } else {
        Err(Refusal::of(Code::ClientOffset, "clientOffset"))
    }
}

/// Whether `text` has at most `characters`, without counting all of a huge one.
fn is_within(text: &str, characters: usize) -> bool {
    text.len() <= characters || text.chars().nth(characters).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_next_event_is_refused() {
        let (rate, bucket) = (EventRate::new(10, 5), EventBucket::default());
        for _ in 0..5 {
            assert_eq!(bucket.take(&rate, rate.start), Ok(()));
        }
        assert_eq!(bucket.take(&rate, rate.start), Err(Code::TooManyEvents));
    }

    #[test]
    fn the_bucket_fills_at_its_rate_and_no_further_than_a_burst() {
        let (rate, bucket) = (EventRate::new(10, 2), EventBucket::default());
        let at = |milliseconds| rate.start + Duration::from_millis(milliseconds);
        let taken = |now| (0..10).filter(|_| bucket.take(&rate, now).is_ok()).count();
        assert_eq!(taken(at(0)), 2);
        assert_eq!(taken(at(99)), 0);
        assert_eq!(taken(at(100)), 1);
        assert_eq!(taken(at(60_000)), 2);
        let steady = (0..1000).filter(|tenth| bucket.take(&rate, at(70_000 + tenth * 10)).is_ok());
        assert_eq!(steady.count(), 101);
    }

    #[test]
    fn another_pace_holds_for_sockets_that_are_there() {
        let (rate, bucket) = (EventRate::new(10, 2), EventBucket::default());
        let at = |milliseconds| rate.start + Duration::from_millis(milliseconds);
        let taken =
            |rate: &EventRate, now| (0..10).filter(|_| bucket.take(rate, now).is_ok()).count();
        assert_eq!(taken(&rate, at(0)), 2);
        let faster = rate.changed(1000, 5);
        assert_eq!(taken(&faster, at(300)), 5);
        assert_eq!(taken(&faster.changed(100, 1), at(301)), 0);
    }

    #[test]
    fn limits_that_change_count_for_the_next_and_throw_nobody_out() {
        let connections = Connections::new(2, None);
        let [one, other] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let first = connections.admit(one).unwrap();
        let _second = connections.admit(one).unwrap();
        connections.limit(4, Some(2));
        let refused = connections.admit(one).unwrap_err();
        assert_eq!(
            refused,
            Code::TooManyFromAddress,
            "counted before the limit"
        );
        connections.limit(1, None);
        let refused = connections.admit(other).unwrap_err();
        assert_eq!(refused, Code::TooManyConnections);
        assert_eq!(connections.open(), 2);
        drop(first);
        connections.limit(2, Some(2));
        connections.admit(one).unwrap();
    }

    #[test]
    fn connections_are_counted_in_all_and_given_back() {
        let connections = Connections::new(2, None);
        let address = IpAddr::from([10, 0, 0, 1]);
        let first = connections.admit(address).unwrap();
        let _second = connections.admit(address).unwrap();
        assert_eq!(
            connections.admit(address).unwrap_err(),
            Code::TooManyConnections
        );
        drop(first);
        assert_eq!(connections.open(), 1);
        connections.admit(address).unwrap();
    }

    #[test]
    fn an_address_has_its_own_limit() {
        let connections = Connections::new(100, Some(1));
        let first = connections.admit(IpAddr::from([10, 0, 0, 1])).unwrap();
        let _other = connections.admit(IpAddr::from([10, 0, 0, 2])).unwrap();
        let refused = connections.admit("::ffff:10.0.0.1".parse().unwrap());
        assert_eq!(refused.unwrap_err(), Code::TooManyFromAddress);
        assert_eq!(connections.open(), 2, "a refused connection is not counted");
        drop(first);
        assert_eq!(
            connections.0.open.lock().by_address.len(),
            1,
            "an address left is forgotten"
        );
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let connections = Connections::new(100, Some(1));
        let _first = connections
            .admit("2001:db8:1:2::1".parse().unwrap())
            .unwrap();
        let same = connections.admit("2001:db8:1:2:ffff::9".parse().unwrap());
        assert_eq!(same.unwrap_err(), Code::TooManyFromAddress);
        connections
            .admit("2001:db8:1:3::1".parse().unwrap())
            .unwrap();
    }

    #[test]
    fn lengths_count_characters() {
        assert!(is_name(&"ü".repeat(64)));
        for name in ["", "a\nb", "a\u{7f}", &"a".repeat(65)] {
            assert!(!is_name(name), "{name:?}");
        }
        assert_eq!(check_room("").unwrap_err().code, Code::RoomName);
        assert_eq!(check_content(&"😀".repeat(10), 10), Ok(()));
        assert_eq!(
            check_content(&"a".repeat(11), 10).unwrap_err().code,
            Code::ContentLength
        );
        assert_eq!(check_content("", 10).unwrap_err().code, Code::ContentLength);
        assert_eq!(check_client_offset(&"a".repeat(128)), Ok(()));
        assert_eq!(
            check_client_offset(&"a".repeat(129)).unwrap_err().code,
            Code::ClientOffset
        );
    }
}
