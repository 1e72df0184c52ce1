//! Several nodes over the in-process log, each on a thread of its own, and clients at packet level: what each client must
//! have received is computed from acknowledged positions and compared with what it did receive.

mod behaviour;
mod bounds;
mod claims;
mod client;
mod node;
mod oracle;
mod random;
mod seams;
mod steps;
