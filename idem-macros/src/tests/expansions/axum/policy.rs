// The options of the policy. A request without a key passes, which the type of the first argument says.

#[idempotent(
    ttl = "1d 12h",
    unscoped,
    wait = "0s",
    respond_within = "20s",
    deadline = "1m 30s",
    replay = "all",
    key = "optional",
    isolation = "serializable",
    record = cookie("_flash", "theme"),
    response_limit = "4MiB",
    operation = "orders.create"
)]
async fn create_order(tx: &mut PgConnection, order: Json<NewOrder>) -> StatusCode {
    insert(tx, &order).await
}

// Expands to:

#[allow(clippy::too_many_arguments)]
///
/// # Idempotency
///
/// The writes and the response are stored once per idempotency key; a retry gets that response.
///
/// - Key: optional; without it the request runs unrecorded
/// - Scope: all clients share their keys
/// - Operation: `orders.create`
/// - Remembered: 1d 12h
/// - Bound to the key: path, query and body
/// - Replayed: statuses below 400, 5xx, and 4xx that are about the content
/// - Statuses: 400 for a malformed key, 409 while the first request runs, 422 for another request with the same key, 503 to try again
/// - Answered early: 202 after 20s, for a client that sends `Prefer: respond-async`; the same request again gets the result
/// - Isolation: serializable; 503 if another transaction is in the way at the commit
async fn create_order(
    __idem_request: ::idem_axum::__private::CalledByTheFramework<
        ::idem_axum::__private::Of<PgConnection>,
        ::idem_axum::__private::InHeader<(), true>,
    >,
    __idem_body: ::idem_axum::__private::Body<Json<NewOrder>>,
) -> ::idem_axum::__private::Response {
    static __IDEM_POLICY: ::idem_axum::__private::Policy = ::idem_axum::__private::Policy::new(
            ::idem_axum::__private::Duration::from_secs(129600u64),
        )
        .with_wait(::idem_axum::__private::Duration::from_secs(0u64))
        .with_respond_within(::idem_axum::__private::Duration::from_secs(20u64))
        .with_deadline(::idem_axum::__private::Duration::from_secs(90u64))
        .with_replay(::idem_axum::__private::Replay::All)
        .with_isolation(::idem_axum::__private::Isolation::Serializable)
        .with_operation("orders.create")
        .with_recorded_cookies(&["_flash", "theme"])
        .with_response_limit(4194304);
    #[allow(clippy::unused_async)]
    async fn create_order(tx: &mut PgConnection, order: Json<NewOrder>) -> StatusCode {
        insert(tx, &order).await
    }
    let ::idem_axum::__private::Body { value: __idem_value, raw: __idem_raw } = __idem_body;
    {
        #[allow(unused_imports)]
        use ::idem_axum::__private::{
            OfBody as _, OfHead as _, OfOtherState as _, OtherExtractor as _,
        };
        ::idem_axum::__private::Probe::<Json<NewOrder>, ()>::NEW.extracts();
    }
    let __idem_scope = ::core::option::Option::None;
    let __idem_content = {
        #[allow(unused_imports)]
        use ::idem_axum::__private::AnyReturned as _;
        ::idem_axum::__private::unless_rejected(
            {
                #[allow(unused_imports)]
                use ::idem_axum::__private::{ContentOfHead as _, ContentOfOther as _};
                ::idem_axum::__private::Probe::<Json<NewOrder>, ()>::NEW
                    .content(&__idem_value)
            },
            [::idem_axum::__private::ReturnProbe(&__idem_value).returned()],
        )
    };
    ::idem_axum::__private::serve(
            __idem_request,
            &__IDEM_POLICY,
            (),
            __idem_scope,
            __idem_content,
            __idem_raw,
            (__idem_value,),
            |mut __idem_claim, __idem_attempt, (__idem_value,)| ::idem_axum::__private::attempting(async move {
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
                    let __idem_returned = create_order(
                            <PgConnection as ::idem_axum::__private::Open<
                                '_,
                            >>::lend(&mut __idem_opened),
                            __idem_value,
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
