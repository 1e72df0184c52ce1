//! No ingress: clients come to the Service, or by a route that somebody else makes.

use super::{Dialect, Entrance, Route, Serving};
use crate::controller::validate::Validated;

pub(super) struct None;

impl Dialect for None {
    fn route(&self, _: &Validated) -> Route {
        Route::default()
    }

    fn serving(&self, _: &Entrance) -> Serving {
        let message = "`spec.ingress.controller` is 'None': clients come to the Service, or by a route that is not the operator's";
        Serving::unknown("NoIngress", message)
    }
}
