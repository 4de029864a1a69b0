//! Connections over TLS.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use idem_core::StoreError;
use idem_redis::RedisStore;
use rcgen::CertifiedKey;
use redis::{Client, TlsCertificates};
use tempfile::TempDir;
use xtask::server::free_port;

use crate::server::Private;
use crate::service::Service;

/// A server with a certificate that only this test trusts, and with a password.
struct Encrypted {
    url: String,
    certificate: String,
    _server: Private,
    _folder: TempDir,
}

impl Encrypted {
    async fn start() -> Self {
        // Fails if another test was first.
        drop(rustls::crypto::ring::default_provider().install_default());
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
        let CertifiedKey { cert, signing_key } = made.expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        // The server can have a user of its own.
        let everybody = Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), everybody).expect("the folder is ours");
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("a file");
            path.to_str().expect("text").to_owned()
        };
        let certificate = file("certificate", cert.pem());
        let key = file("key", signing_key.serialize_pem());
        let port = free_port().expect("a free port");
        let server = Private::with(&[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-auth-clients",
            "no",
        ]);
        server.set("requirepass word").await;
        Self {
            url: format!("rediss://:word@127.0.0.1:{port}/"),
            certificate: cert.pem(),
            _server: server,
            _folder: folder,
        }
    }

    fn trusting(&self) -> RedisStore {
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: Some(self.certificate.clone().into()),
        };
        let client = Client::build_with_tls(&*self.url, certificates);
        RedisStore::new(client.expect("a certificate"))
    }
}

#[tokio::test]
async fn a_service_works_over_tls_with_a_password() {
    let server = Encrypted::start().await;
    let store = server.trusting();
    store.check().await.expect("fit");
    let service = Service::new(&store);
    for is_replayed in [false, true] {
        let answer = service.pay("k").await;
        assert_eq!((answer.status, answer.is_replayed), (201, is_replayed));
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_enters_no_handler() {
    let server = Encrypted::start().await;
    let reason = match RedisStore::connect(&server.url).await {
        Err(StoreError::Unavailable(reason)) => reason.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(reason.contains("certificate"), "{reason}");
    let client = Client::open(&*server.url).expect("a URL");
    let service = Service::new(&RedisStore::new(client));
    let answer = service.pay("k").await;
    assert!(answer.is_problem("unavailable"), "{answer:?}");
    assert_eq!(service.entered(), 0);
}
