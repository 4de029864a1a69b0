// An item can't use generic parameters, so the compiler is asked by a block.

#[idempotent(ttl = "24h", unscoped, body = "none")]
async fn create_ride<C: Ledger>(tx: &mut C) -> Result<HttpResponse, RideError> {
    tx.insert().await
}

// Expands to:

#[allow(clippy::too_many_arguments)]
#[allow(clippy::multiple_bound_locations, clippy::trait_duplication_in_bounds)]
///
/// # Idempotency
///
/// The writes and the response are stored once per idempotency key; a retry gets that response.
///
/// - Key: required
/// - Scope: all clients share their keys
/// - Operation: method and route
/// - Remembered: 24h
/// - Bound to the key: path and query
/// - Replayed: statuses below 400, and 4xx that are about the content
/// - Statuses: 400 without a valid key, 409 while the first request runs, 422 for another request with the same key, 503 to try again
async fn create_ride<C: Ledger>(
    __idem_extracted: ::idem_actix::__private::Extracted<
        ::idem_actix::__private::CalledByTheFramework<::idem_actix::__private::Of<C>>,
        (),
    >,
) -> ::idem_actix::__private::Response
where
    C: 'static,
{
    static __IDEM_POLICY: ::idem_actix::__private::Policy = ::idem_actix::__private::Policy::new(
        ::idem_actix::__private::Duration::from_secs(86400u64),
    );
    #[allow(clippy::unused_async)]
    async fn create_ride<C: Ledger>(tx: &mut C) -> Result<HttpResponse, RideError> {
        tx.insert().await
    }
    const {
        ::core::assert!(
            ! < C as ::idem_actix::__private::Transaction > ::IS_LEASED,
            "a handler that takes `&mut Steps<_>` holds its key by a lease, and this attribute has none; add `lease = \"10s\"`"
        )
    };
    let ::idem_actix::__private::Extracted {
        request: __idem_request,
        arguments: (),
        raw: __idem_raw,
        http: __idem_http,
    } = __idem_extracted;
    let __idem_scope = ::core::option::Option::None;
    let __idem_content = ::idem_actix::__private::content_none();
    ::idem_actix::__private::serve(
            __idem_request,
            &__IDEM_POLICY,
            (),
            __idem_scope,
            __idem_content,
            __idem_raw,
            (__idem_http),
            |mut __idem_claim, __idem_attempt, (__idem_http)| ::idem_actix::__private::attempting(async move {
                let mut __idem_opened = match <C as ::idem_actix::__private::Open<
                    '_,
                >>::open(::idem_actix::__private::connection::<_, C>(&mut __idem_claim))
                    .await
                {
                    ::core::result::Result::Ok(__idem_opened) => __idem_opened,
                    ::core::result::Result::Err(__idem_error) => {
                        return ::idem_actix::__private::HandlerOutcome::Broken(
                            __idem_error,
                        );
                    }
                };
                let (__idem_response, __idem_settle) = {
                    #[allow(unused_imports)]
                    use ::idem_actix::__private::AnyReturned as _;
                    let __idem_returned = create_ride::<
                        C,
                    >(<C as ::idem_actix::__private::Open<'_>>::lend(&mut __idem_opened))
                        .await;
                    let __idem_way = ::idem_actix::__private::ReturnProbe(
                            &__idem_returned,
                        )
                        .returned();
                    let __idem_response = ::idem_actix::__private::into_response(
                        __idem_returned,
                        &__idem_http,
                    );
                    let __idem_settle = ::idem_actix::__private::classify(
                        &__IDEM_POLICY,
                        &__idem_response,
                        __idem_way,
                        &__idem_http,
                    );
                    (__idem_response, __idem_settle)
                };
                let __idem_closed = <C as ::idem_actix::__private::Open<
                    '_,
                >>::close(__idem_opened, ::idem_actix::__private::keeps(__idem_settle))
                    .await;
                ::idem_actix::__private::HandlerOutcome::Answered {
                    response: __idem_response,
                    settle: __idem_settle,
                    closed: __idem_closed,
                }
            }),
        )
        .await
}
