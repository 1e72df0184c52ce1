//! How far the delivery has come.

/// How far a node has come in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// Everything up to here has been delivered.
    pub(crate) completed: u64,
    /// Where the log ended when the node began to read it: before that, it is not up to date.
    pub(crate) target: u64,
}

impl Progress {
    pub(crate) fn is_caught_up(&self) -> bool {
        self.completed >= self.target
    }
}
