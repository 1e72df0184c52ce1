//! Where an event is in the log: the sequence of its message, and its place among the events of that message.
//!
//! The last event of a message stands at the message's last place, and so does the only one. What is at or below
//! [`last_of`] a sequence is then all up to that message, however many events it holds; and whoever compares positions need
//! not know of messages.

/// The places of a message, and so the most events that it may hold.
pub(crate) const PLACES: u64 = 64;

/// The position of the event at `index` of a message that holds so many.
pub(crate) fn position_of(sequence: u64, index: usize, count: usize) -> u64 {
    if index + 1 >= count {
        last_of(sequence)
    } else {
        first_of(sequence).saturating_add(index as u64)
    }
}

/// The first position of a message.
pub(crate) fn first_of(sequence: u64) -> u64 {
    sequence.saturating_mul(PLACES)
}

/// The last position of a message.
pub(crate) fn last_of(sequence: u64) -> u64 {
    first_of(sequence).saturating_add(PLACES - 1)
}

/// The message that a position is in.
pub(crate) fn sequence_of(position: u64) -> u64 {
    position / PLACES
}

/// The last message of which everything is at or below a position.
pub(crate) fn whole_through(position: u64) -> u64 {
    sequence_of(position.saturating_add(1)).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_stand_in_their_order_and_the_last_one_ends_its_message() {
        let three = [0, 1, 2].map(|index| position_of(5, index, 3));
        assert_eq!(three, [320, 321, last_of(5)]);
        assert_eq!(position_of(5, 0, 1), last_of(5));
        let full = PLACES as usize;
        assert_eq!(position_of(5, full - 2, full) + 1, last_of(5));
        assert_eq!(last_of(5) + 1, first_of(6));
        assert!(three.map(sequence_of).iter().all(|sequence| *sequence == 5));
    }

    #[test]
    fn a_message_is_whole_at_its_last_event_only() {
        let whole = [first_of(5), first_of(5) + 7, last_of(5), first_of(6)].map(whole_through);
        assert_eq!(whole, [4, 4, 5, 5]);
        assert_eq!(whole_through(0), 0, "nothing is");
    }

    #[test]
    fn what_a_client_makes_up_is_a_position_like_any_other() {
        assert_eq!(last_of(u64::MAX), u64::MAX);
        assert_eq!(whole_through(u64::MAX), sequence_of(u64::MAX) - 1);
    }
}
