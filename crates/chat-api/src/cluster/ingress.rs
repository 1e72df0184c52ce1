//! `spec.ingress`.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GatewayReference, SecretReference};

/// How clients reach the servers from outside.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.controller in ['None', 'ClientIP'] || has(self.host)")
        .message("`host` must be set unless `controller` is 'None' or 'ClientIP', such as 'chat.example.com'"),
    validation = Rule::new("self.controller != 'None' || !(has(self.host) || has(self.className) || has(self.tlsSecretRef) || size(self.annotations) > 0)")
        .message("`host`, `className`, `tlsSecretRef` and `annotations` may not be specified when `controller` is 'None': name the controller, such as 'Traefik'"),
    validation = Rule::new("self.controller != 'ClientIP' || !(has(self.className) || has(self.tlsSecretRef))")
        .message("`className` and `tlsSecretRef` may not be specified when `controller` is 'ClientIP': nothing on the way reads HTTP or holds a certificate; name an ingress controller instead, such as 'Traefik'"),
    validation = Rule::new("self.controller != 'EnvoyGateway' || !(has(self.className) || has(self.tlsSecretRef))")
        .message("`className` and `tlsSecretRef` may not be specified when `controller` is 'EnvoyGateway': class and certificate are the Gateway's; name it, and its listener for HTTPS, in `gatewayRef`"),
    validation = Rule::new("(self.controller == 'EnvoyGateway') == has(self.gatewayRef)")
        .message("`gatewayRef` must be set when `controller` is 'EnvoyGateway', such as '{name: public}', and may not be specified otherwise"),
    validation = Rule::new("self.annotations.all(key, !key.startsWith('nginx.ingress.kubernetes.io/affinity') && !key.startsWith('nginx.ingress.kubernetes.io/session-cookie-') && !key.startsWith('haproxy-ingress.github.io/affinity') && !key.startsWith('haproxy-ingress.github.io/session-cookie-') && !key.startsWith('chatcluster.dev/'))")
        .message("`annotations` must not hold keys of session affinity or of 'chatcluster.dev/', which the operator writes: use `affinity`")
        .field_path(".annotations"),
    validation = Rule::new("!(self.controller in ['HAProxyTech', 'ClientIP']) || (self.affinity.maxAgeSeconds == 0 && self.affinity.sameSite == 'Lax' && self.affinity.secure == 'Auto')")
        .message("`affinity.maxAgeSeconds`, `affinity.sameSite` and `affinity.secure` may not be changed when `controller` is 'HAProxyTech', whose cookie has a name and nothing else, or 'ClientIP', which has none: leave them out")
        .field_path(".affinity"),
    validation = Rule::new("self.affinity.sameSite != 'None' || self.controller in ['HAProxyTech', 'ClientIP'] || self.affinity.secure == 'Always' || (self.affinity.secure == 'Auto' && has(self.tlsSecretRef))")
        .message("`affinity.sameSite: None` needs a secure cookie: set `tlsSecretRef`, or `affinity.secure: Always`, or use `sameSite: Lax`"),
)]
pub struct IngressSpec {
    /// controller is the one that shall serve the ingress: sticky sessions are asked of each in its own words.
    /// 'Nginx': the annotations of the community's retired ingress-nginx, which Traefik 3.7 and newer read, too.
    /// 'Traefik': Traefik's own annotations. 'HAProxyTech': the ingress controller of HAProxy Technologies ('haproxy.org/').
    /// 'HAProxyIngress': the community's haproxy-ingress ('haproxy-ingress.github.io/'). 'EnvoyGateway': an HTTPRoute and a
    /// BackendTrafficPolicy at the Gateway in `gatewayRef`. 'ClientIP': no ingress; the Service `<name>` becomes a load
    /// balancer that tells clients apart by their address. 'None': nothing is made; the Service `<name>` takes clients.
    /// See docs/ingress.md.
    #[serde(default)]
    pub controller: IngressController,

    /// className is the name of the IngressClass. Without it, the Kubernetes cluster's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub class_name: Option<String>,

    /// host is the name by which clients reach the chat, such as 'chat.example.com'.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub host: Option<String>,

    /// tlsSecretRef names a Secret of type kubernetes.io/tls with the certificate for `host`. The controller reads it; it
    /// may come later, such as from cert-manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_secret_ref: Option<SecretReference>,

    /// gatewayRef names the Gateway that clients come through, with controller 'EnvoyGateway'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_ref: Option<GatewayReference>,

    /// annotations are put on what leads clients in (the Ingress, the HTTPRoute, with 'ClientIP' the Service) beside the
    /// operator's own, such as 'cert-manager.io/cluster-issuer'. One with the same key as the operator's time-outs replaces
    /// it.
    #[serde(default)]
    #[schemars(schema_with = "super::schema::annotations")]
    pub annotations: BTreeMap<String, String>,

    /// affinity is the cookie by which a client's requests reach the pod that holds its session.
    #[serde(default)]
    pub affinity: AffinitySpec,
}

/// Who serves the ingress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IngressController {
    /// Nobody.
    #[default]
    None,
    /// A controller that reads the annotations of the community's ingress-nginx.
    Nginx,
    /// Traefik, by its own annotations.
    Traefik,
    /// The ingress controller of HAProxy Technologies.
    #[serde(rename = "HAProxyTech")]
    HaProxyTech,
    /// The community's haproxy-ingress.
    #[serde(rename = "HAProxyIngress")]
    HaProxyIngress,
    /// Envoy Gateway, by the Gateway API.
    EnvoyGateway,
    /// A load balancer that knows connections only.
    #[serde(rename = "ClientIP")]
    ClientIp,
}

impl IngressController {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Nginx,
        Self::Traefik,
        Self::HaProxyTech,
        Self::HaProxyIngress,
        Self::EnvoyGateway,
        Self::ClientIp,
    ];
}

/// The cookie of sticky sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AffinitySpec {
    /// cookieName is the cookie's name.
    #[serde(default = "cookie_name")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[-_a-zA-Z0-9]+$"))]
    pub cookie_name: String,
    /// maxAgeSeconds is how long browsers keep the cookie; 0 keeps it until they are closed.
    #[serde(default)]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub max_age_seconds: i32,
    /// sameSite says with requests from which pages browsers send the cookie. 'None' is for pages of other sites.
    #[serde(default)]
    pub same_site: SameSite,
    /// secure says whether browsers send the cookie by HTTPS only. 'Auto': when `tlsSecretRef` is set. 'Always' also makes
    /// the address in status one of HTTPS.
    #[serde(default)]
    pub secure: SecureCookie,
}

impl Default for AffinitySpec {
    fn default() -> Self {
        Self {
            cookie_name: cookie_name(),
            max_age_seconds: 0,
            same_site: SameSite::default(),
            secure: SecureCookie::default(),
        }
    }
}

/// With requests from which pages browsers send a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SameSite {
    /// Of the same site, and when a link is followed.
    #[default]
    Lax,
    /// Of the same site only.
    Strict,
    /// Of any site.
    None,
}

impl SameSite {
    /// As HTTP writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }
}

/// Whether browsers send a cookie by HTTPS only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SecureCookie {
    /// If the ingress has a certificate.
    #[default]
    Auto,
    /// Yes; something before the ingress has the certificate.
    Always,
    /// No.
    Never,
}

fn cookie_name() -> String {
    "chatcluster".to_owned()
}
