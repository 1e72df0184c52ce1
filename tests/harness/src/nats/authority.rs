//! An authority that signs certificates, for servers and clients on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tempfile::TempDir;

/// An authority that nobody else trusts; its files go with it.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When its files cannot be written.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        write(
            &folder.path().join("roots.pem"),
            "CERTIFICATE",
            certificate.der(),
        );
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    /// The file for those who trust it.
    #[must_use]
    pub fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    /// Files with a certificate for a host name or an address, and with its key.
    ///
    /// # Panics
    /// When the name is none, or the files cannot be written.
    #[must_use]
    pub fn certificate(&self, name: &str) -> (PathBuf, PathBuf) {
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a signature");
        let path = |end: &str| self.folder.path().join(format!("{name}.{end}"));
        let (certificate_file, key_file) = (path("crt"), path("key"));
        write(&certificate_file, "CERTIFICATE", certificate.der());
        write(&key_file, "PRIVATE KEY", &key.serialize_der());
        (certificate_file, key_file)
    }

    /// Settings of a server whose certificate is for this name; with `verify` it takes only clients that have one, too.
    #[must_use]
    pub fn server_settings(&self, name: &str, verify: bool) -> String {
        let (certificate, key) = self.certificate(name);
        format!(
            "tls {{ cert_file: {}, key_file: {}, ca_file: {}, verify: {verify} }}",
            json!(certificate),
            json!(key),
            json!(self.roots())
        )
    }
}

fn write(path: &Path, label: &str, content: &[u8]) {
    let content = STANDARD.encode(content);
    let text = format!("-----BEGIN {label}-----\n{content}\n-----END {label}-----\n");
    fs::write(path, text).expect("a file");
}
