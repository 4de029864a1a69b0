use super::*;
use crate::key::IdempotencyKey;
use crate::operation::Operation;

fn identity(key: &str) -> Identity {
    let key = IdempotencyKey::parse(key.as_bytes()).unwrap();
    Identity::new(Some("acme"), &Operation::named("pay"), &key)
}

fn throttle(config: &Config) -> Throttle {
    Throttle::new(config.rates)
}

/// The seconds of `Retry-After`, if the request is refused.
fn refused(throttle: &Throttle, scope: Option<&str>, key: &str) -> Option<u64> {
    let checked = throttle.check(None, scope, Some(&identity(key)));
    checked.err().map(|problem| match problem {
        Problem::TooManyRetries { retry_after } => retry_after,
        other => panic!("{other:?}"),
    })
}

#[tokio::test(start_paused = true)]
async fn l4_retry_after_is_the_time_until_the_next_request_in_whole_seconds() {
    for (limit, burst, retry_after) in [
        (RateLimit::per_second(10), 10, 1),
        (RateLimit::per_second(10).with_burst(3), 3, 1),
        (RateLimit::per_minute(1), 1, 60),
        (RateLimit::per_minute(40).with_burst(2), 2, 2),
        (RateLimit::per_minute(7).with_burst(1), 1, 9),
    ] {
        let throttle = throttle(&Config::new().with_key_rate(limit));
        for _ in 0..burst {
            assert_eq!(refused(&throttle, None, "k"), None);
        }
        assert_eq!(refused(&throttle, None, "k"), Some(retry_after));
        tokio::time::advance(Duration::from_secs(retry_after)).await;
        assert_eq!(refused(&throttle, None, "k"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn l4_refused_requests_do_not_prolong_the_wait() {
    let throttle = throttle(&Config::new().with_key_rate(RateLimit::per_minute(6).with_burst(1)));
    assert_eq!(refused(&throttle, None, "k"), None);
    for left in (1..=10).rev() {
        assert_eq!(refused(&throttle, None, "k"), Some(left));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(refused(&throttle, None, "k"), None);
}

#[tokio::test(start_paused = true)]
async fn l4_a_request_over_its_keys_limit_is_not_counted_for_the_scope() {
    let config = Config::new()
        .with_key_rate(RateLimit::per_minute(1))
        .with_scope_rate(RateLimit::per_minute(3));
    let throttle = throttle(&config);
    assert_eq!(refused(&throttle, Some("acme"), "k"), None);
    for _ in 0..10 {
        assert_eq!(refused(&throttle, Some("acme"), "k"), Some(60));
    }
    for key in ["l", "m"] {
        assert_eq!(refused(&throttle, Some("acme"), key), None);
    }
    assert_eq!(refused(&throttle, Some("acme"), "n"), Some(20));
    assert_eq!(refused(&throttle, Some("globex"), "o"), None);
}

#[test]
fn l4_requests_without_a_key_are_counted_for_their_scope() {
    let throttle = throttle(&Config::new().with_scope_rate(RateLimit::per_minute(1)));
    assert!(throttle.check(None, Some("acme"), None).is_ok());
    assert!(throttle.check(None, Some("acme"), None).is_err());
    assert!(throttle.check(Some("billing"), Some("acme"), None).is_ok());
    for _ in 0..3 {
        assert!(throttle.check(None, None, None).is_ok(), "an unscoped one");
    }
}

/// The hot key is sent once for each 100 of the others.
#[test]
fn l4_a_flood_of_keys_takes_bounded_memory_and_frees_no_hot_key() {
    let throttle = throttle(&Config::new().with_key_rate(RateLimit::per_minute(5)));
    let mut hot = 0;
    for number in 0..200_000 {
        assert_eq!(refused(&throttle, None, &format!("key-{number}")), None);
        if number % 100 == 0 && refused(&throttle, None, "hot").is_none() {
            hot += 1;
        }
    }
    let entries = throttle.keys.unwrap().states.into_state_store().0.len();
    assert!((ENTRIES / 2..=ENTRIES).contains(&entries), "{entries}");
    // As many as in one burst, and in the time that the test takes.
    assert!((5..=10).contains(&hot), "{hot}");
}

#[test]
fn l4_the_greatest_limits_can_be_given() {
    for limit in [
        RateLimit::per_second(u32::MAX),
        RateLimit::per_minute(1).with_burst(u32::MAX),
        RateLimit::per_minute(u32::MAX).with_burst(1),
    ] {
        let throttle = throttle(&Config::new().with_key_rate(limit));
        assert_eq!(refused(&throttle, None, "k"), None);
    }
}

#[test]
#[should_panic(expected = "lets no request in")]
fn l4_a_limit_of_zero_is_refused() {
    let _ = RateLimit::per_second(0);
}

#[test]
#[should_panic(expected = "lets no request in")]
fn l4_a_burst_of_zero_is_refused() {
    let _ = RateLimit::per_second(1).with_burst(0);
}
