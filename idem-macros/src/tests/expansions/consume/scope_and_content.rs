// The last argument is the content; key and scope are fields of it.
#[idempotent(ttl = "14d", operation = "ship_order", key = "event.id", scope = "event.tenant")]
async fn ship_order(
    tx: &mut PgConnection,
    attempt: &Attempt,
    State(stock): State<Stock>,
    event: Event<OrderPaid>,
) -> Result<(), Failure> {
    ship(tx, attempt, &stock, &event).await
}

// Expands to:

#[allow(clippy::too_many_arguments)]
///
/// # Idempotency
///
/// The writes are stored once per key; a duplicate of the message is done without running.
///
/// - Key: required, `event.id`
/// - Scope: each `event.tenant` has its own keys
/// - Operation: `ship_order`
/// - Remembered: 14d
/// - Bound to the key: content
async fn ship_order(
    __idem_extracted: ::idem_consume::__private::Extracted<
        ::idem_consume::__private::CalledByTheFramework<
            ::idem_consume::__private::Of<PgConnection>,
            ::idem_consume::__private::InArgument,
        >,
        (State<Stock>, Event<OrderPaid>),
    >,
) -> ::idem_consume::__private::Response {
    static __IDEM_POLICY: ::idem_consume::__private::Policy = ::idem_consume::__private::Policy::new(
            ::idem_consume::__private::Duration::from_secs(1209600u64),
        )
        .with_wait(::idem_consume::__private::Duration::from_secs(0u64))
        .with_operation("ship_order");
    #[allow(clippy::unused_async)]
    async fn ship_order(
        tx: &mut PgConnection,
        attempt: &Attempt,
        State(stock): State<Stock>,
        event: Event<OrderPaid>,
    ) -> Result<(), Failure> {
        ship(tx, attempt, &stock, &event).await
    }
    let ::idem_consume::__private::Extracted {
        request: __idem_request,
        arguments: (__idem_arg0, __idem_arg1),
        raw: __idem_raw,
    } = __idem_extracted;
    let __idem_scope = {
        #[allow(unused_imports)]
        use ::idem_consume::__private::{NoScope as _, ScopeByDeref as _};
        let __idem_source = &__idem_arg1;
        ::core::option::Option::Some(
            ::idem_consume::__private::ScopeProbe(&__idem_source.tenant).scope(),
        )
    };
    let __idem_key = {
        #[allow(unused_imports)]
        use ::idem_consume::__private::{KeyByDeref as _, KeyByDisplay as _};
        let __idem_source = &__idem_arg1;
        ::idem_consume::__private::KeyArgument::new(
            "id",
            ::idem_consume::__private::KeyProbe(&__idem_source.id).key(),
        )
    };
    let __idem_content = {
        #[allow(unused_imports)]
        use ::idem_consume::__private::AnyReturned as _;
        ::idem_consume::__private::unless_rejected(
            ::idem_consume::__private::content::<Event<OrderPaid>>(&__idem_arg1),
            [
                ::idem_consume::__private::ReturnProbe(&__idem_arg0).returned(),
                ::idem_consume::__private::ReturnProbe(&__idem_arg1).returned(),
            ],
        )
    };
    ::idem_consume::__private::serve(
            __idem_request,
            &__IDEM_POLICY,
            __idem_key,
            __idem_scope,
            __idem_content,
            __idem_raw,
            (__idem_arg0, __idem_arg1),
            |mut __idem_claim, __idem_attempt, (__idem_arg0, __idem_arg1)| ::idem_consume::__private::attempting(async move {
                let mut __idem_opened = match <PgConnection as ::idem_consume::__private::Open<
                    '_,
                >>::open(
                        ::idem_consume::__private::connection::<
                            _,
                            PgConnection,
                        >(&mut __idem_claim),
                    )
                    .await
                {
                    ::core::result::Result::Ok(__idem_opened) => __idem_opened,
                    ::core::result::Result::Err(__idem_error) => {
                        return ::idem_consume::__private::HandlerOutcome::Broken(
                            __idem_error,
                        );
                    }
                };
                let (__idem_response, __idem_settle) = {
                    #[allow(unused_imports)]
                    use ::idem_consume::__private::AnyReturned as _;
                    let __idem_returned = ship_order(
                            <PgConnection as ::idem_consume::__private::Open<
                                '_,
                            >>::lend(&mut __idem_opened),
                            ::idem_consume::__private::attempt::<
                                Attempt,
                            >(&__idem_attempt),
                            __idem_arg0,
                            __idem_arg1,
                        )
                        .await;
                    let __idem_way = ::idem_consume::__private::ReturnProbe(
                            &__idem_returned,
                        )
                        .returned();
                    let __idem_response = ::idem_consume::__private::into_response(
                        __idem_returned,
                    );
                    let __idem_settle = ::idem_consume::__private::classify(
                        &__IDEM_POLICY,
                        &__idem_response,
                        __idem_way,
                    );
                    (__idem_response, __idem_settle)
                };
                let __idem_closed = <PgConnection as ::idem_consume::__private::Open<
                    '_,
                >>::close(__idem_opened, ::idem_consume::__private::keeps(__idem_settle))
                    .await;
                ::idem_consume::__private::HandlerOutcome::Answered {
                    response: __idem_response,
                    settle: __idem_settle,
                    closed: __idem_closed,
                }
            }),
        )
        .await
}
