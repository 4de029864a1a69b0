//! Servers that let nobody in without a password.

use idem_core::StoreError;
use idem_redis::RedisStore;
use redis::Client;

use crate::server::Private;
use crate::service::Service;

async fn start() -> Private {
    let server = Private::start();
    let user = "ACL SETUSER app on >word ~idem:* +@all";
    server.run::<()>(user).await;
    // From now on its own connections are refused.
    server.set("requirepass word").await;
    server
}

fn url(server: &Private, credentials: &str) -> String {
    let with = format!("redis://{credentials}");
    server.url().replace("redis://", &with)
}

#[tokio::test]
async fn a_password_and_a_user_are_those_of_the_url() {
    let server = start().await;
    for credentials in [":word@", "app:word@"] {
        let store = RedisStore::connect(&url(&server, credentials)).await;
        let store = store.expect("connects");
        store.check().await.expect("fit");
        let service = Service::new(&store);
        for is_replayed in [false, true] {
            let answer = service.pay(credentials).await;
            assert_eq!((answer.status, answer.is_replayed), (201, is_replayed));
        }
    }
}

/// The error at the start names the fault. A request can be sent again, as after a change of the password.
#[tokio::test]
async fn a_wrong_password_is_said_at_the_start_and_enters_no_handler() {
    let server = start().await;
    for credentials in ["", ":wrong@", "app:wrong@", "nobody:word@"] {
        let client = Client::open(url(&server, credentials)).expect("a URL");
        let store = RedisStore::new(client);
        let reason = match store.check().await {
            Err(StoreError::Misconfigured(reason)) => reason.to_string(),
            other => panic!("{credentials}: {other:?}"),
        };
        assert!(reason.contains("uthentication"), "{credentials}: {reason}");
        assert!(!reason.contains("word@"), "{reason}");
        let service = Service::new(&store);
        let answer = service.pay("k").await;
        assert!(
            answer.is_problem("unavailable"),
            "{credentials}: {answer:?}"
        );
        assert_eq!((answer.status, service.entered()), (503, 0));
        if !credentials.is_empty() {
            let connected = RedisStore::connect(&url(&server, credentials)).await;
            let is_told = matches!(connected, Err(StoreError::Misconfigured(_)));
            assert!(is_told, "{credentials}: {connected:?}");
        }
    }
}
