// The compiler is asked whether a type under another name has a lease.

#[idempotent(ttl = "24h", unscoped, lease = "10s", body = "none")]
async fn create_ride<'a>(steps: &mut crate::Rides<'a>) -> Result<StatusCode, RideError> {
    steps.commit("ride", async |tx| insert(tx).await).await
}

// Expands to:

#[allow(clippy::too_many_arguments)]
///
/// # Idempotency
///
/// Each step is recorded once per idempotency key. A retry resumes after the recorded steps; once there is a response, it gets that response.
///
/// - Key: required
/// - Scope: all clients share their keys
/// - Operation: method and route
/// - Remembered: 24h
/// - Bound to the key: path and query
/// - Replayed: statuses below 400, and 4xx that are about the content
/// - Statuses: 400 without a valid key, 409 while the first request runs, 422 for another request with the same key, 503 to try again
/// - Lease: 10s
async fn create_ride(
    __idem_request: ::idem_axum::__private::CalledByTheFramework<
        ::idem_axum::__private::Of<crate::Rides<'static>>,
    >,
    __idem_body: ::idem_axum::__private::Body<::idem_axum::__private::Nothing>,
) -> ::idem_axum::__private::Response {
    static __IDEM_POLICY: ::idem_axum::__private::Policy = ::idem_axum::__private::Policy::new(
            ::idem_axum::__private::Duration::from_secs(86400u64),
        )
        .with_lease(::idem_axum::__private::Duration::from_secs(10u64));
    #[allow(clippy::unused_async)]
    async fn create_ride<'a>(
        steps: &mut crate::Rides<'a>,
    ) -> Result<StatusCode, RideError> {
        steps.commit("ride", async |tx| insert(tx).await).await
    }
    ::idem_axum::__private::leased::<crate::Rides<'_>>();
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
                let mut __idem_opened = match <crate::Rides<
                    '_,
                > as ::idem_axum::__private::Open<
                    '_,
                >>::open(
                        ::idem_axum::__private::connection::<
                            _,
                            crate::Rides<'_>,
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
                    let __idem_returned = create_ride(
                            <crate::Rides<
                                '_,
                            > as ::idem_axum::__private::Open<
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
                let __idem_closed = <crate::Rides<
                    '_,
                > as ::idem_axum::__private::Open<
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
