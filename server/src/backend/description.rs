//! The API's OpenAPI description, made from the handlers and their types.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{emit, messages, sockets};

/// Where it is; nobody needs a token to read it.
pub(super) const PATH: &str = "/api/v1/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ChatCluster",
        description = "What a backend may do in the chat. Refusals, retries and examples: docs/http-api.md."
    ),
    paths(
        messages::in_lobby,
        messages::in_room,
        emit::to_lobby,
        emit::to_room,
        emit::to_user,
        sockets::in_lobby,
        sockets::in_room,
        sockets::of_user,
        sockets::disconnect_socket,
        sockets::disconnect_room,
        sockets::disconnect_user,
    ),
    modifiers(&Token),
    security(("token" = []))
)]
struct Description;

struct Token;

impl Modify for Token {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The description as JSON text, with the limit of messages that holds here.
pub(super) fn text(message_characters: usize) -> String {
    let written = serde_json::to_value(Description::openapi());
    let mut description = written.expect("a description can be written");
    let content = "/components/schemas/NewMessage/properties/content";
    if let Some(content) = description.pointer_mut(content) {
        content["maxLength"] = message_characters.into();
    }
    description.to_string()
}
