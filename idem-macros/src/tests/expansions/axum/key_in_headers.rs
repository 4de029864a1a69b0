// The endpoint's own headers: those of the key in their order, and those that are bound in the order of their names.

#[idempotent(
    ttl = "24h",
    unscoped,
    key = header("webhook-id", "X-Webhook-Delivery-Id"),
    bind = header("x-variant", "if-match"),
    query = except("utm_source", "gclid"),
    body = "none"
)]
async fn received(tx: &mut PgConnection) -> StatusCode {
    insert(tx).await
}

// Expands to:

#[allow(clippy::too_many_arguments)]
///
/// # Idempotency
///
/// The writes and the response are stored once per idempotency key; a retry gets that response.
///
/// - Key: required, in the header `webhook-id` or `x-webhook-delivery-id`
/// - Scope: all clients share their keys
/// - Operation: method and route
/// - Remembered: 24h
/// - Bound to the key: path, query without `utm_source` or `gclid`, the header `if-match` and the header `x-variant`
/// - Replayed: statuses below 400, and 4xx that are about the content
/// - Statuses: 400 without a valid key, 409 while the first request runs, 422 for another request with the same key, 503 to try again
async fn received(
    __idem_request: ::idem_axum::__private::CalledByTheFramework<
        ::idem_axum::__private::Of<PgConnection>,
        ::idem_axum::__private::InHeader<
            (
                ::idem_axum::__private::Name<0x776562686f6f6b2d6964000000000000>,
                ::idem_axum::__private::Name<
                    0x782d776562686f6f6b2d64656c697665,
                    0x72792d69640000000000000000000000,
                >,
            ),
        >,
        (
            ::idem_axum::__private::Name<0x69662d6d617463680000000000000000>,
            ::idem_axum::__private::Name<0x782d76617269616e7400000000000000>,
        ),
    >,
    __idem_body: ::idem_axum::__private::Body<::idem_axum::__private::Nothing>,
) -> ::idem_axum::__private::Response {
    static __IDEM_POLICY: ::idem_axum::__private::Policy = ::idem_axum::__private::Policy::new(
            ::idem_axum::__private::Duration::from_secs(86400u64),
        )
        .with_target(
            ::idem_axum::__private::BoundTarget::QueryExcept(&["utm_source", "gclid"]),
        );
    #[allow(clippy::unused_async)]
    async fn received(tx: &mut PgConnection) -> StatusCode {
        insert(tx).await
    }
    let ::idem_axum::__private::Body { value: __idem_value, raw: __idem_raw } = __idem_body;
    let __idem_scope = ::core::option::Option::None;
    let __idem_content = ::idem_axum::__private::content_none();
    ::idem_axum::__private::serve(
            __idem_request,
            &__IDEM_POLICY,
            (),
            __idem_scope,
            __idem_content,
            __idem_raw,
            (),
            |mut __idem_claim, __idem_attempt, ()| ::idem_axum::__private::attempting(async move {
                let mut __idem_opened = match <PgConnection as ::idem_axum::__private::Open<
                    '_,
                >>::open(
                        ::idem_axum::__private::connection::<
                            _,
                            PgConnection,
                        >(&mut __idem_claim),
                    )
                    .await
                {
                    ::core::result::Result::Ok(__idem_opened) => __idem_opened,
                    ::core::result::Result::Err(__idem_error) => {
                        return ::idem_axum::__private::HandlerOutcome::Broken(
                            __idem_error,
                        );
                    }
                };
                let (__idem_response, __idem_settle) = {
                    #[allow(unused_imports)]
                    use ::idem_axum::__private::AnyReturned as _;
                    let __idem_returned = received(
                            <PgConnection as ::idem_axum::__private::Open<
                                '_,
                            >>::lend(&mut __idem_opened),
                        )
                        .await;
                    let __idem_way = ::idem_axum::__private::ReturnProbe(
                            &__idem_returned,
                        )
                        .returned();
                    let __idem_response = ::idem_axum::__private::into_response(
                        __idem_returned,
                    );
                    let __idem_settle = ::idem_axum::__private::classify(
                        &__IDEM_POLICY,
                        &__idem_response,
                        __idem_way,
                    );
                    (__idem_response, __idem_settle)
                };
                let __idem_closed = <PgConnection as ::idem_axum::__private::Open<
                    '_,
                >>::close(__idem_opened, ::idem_axum::__private::keeps(__idem_settle))
                    .await;
                ::idem_axum::__private::HandlerOutcome::Answered {
                    response: __idem_response,
                    settle: __idem_settle,
                    closed: __idem_closed,
                }
            }),
        )
        .await
}
