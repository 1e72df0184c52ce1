//! No ingress: clients come to the Service, or by a route that somebody else makes.

use super::{Dialect, Route};
use crate::controller::validate::Validated;

pub(super) struct None;

impl Dialect for None {
    fn route(&self, _: &Validated) -> Route {
        Route::default()
    }
}
