// The state is asked for the engine and for every argument, and nothing but the id is bound.
#[idempotent(
    ttl = "1h", operation = "invoice", key = "id", unscoped, fingerprint = "none", store = Billing, state = App
)]
async fn invoice(tx: &mut PgConnection, id: MessageId) -> Result<(), sqlx::Error> {
    write(tx, &id).await
}

// Expands to:

#[allow(clippy::too_many_arguments)]
///
/// # Idempotency
///
/// The writes are stored once per key; a duplicate of the message is done without running.
///
/// - Key: required, `id`
/// - Scope: all messages share their keys
/// - Operation: `invoice`
/// - Remembered: 1h
/// - Bound to the key: nothing
async fn invoice(
    __idem_extracted: ::idem_consume::__private::Extracted<
        ::idem_consume::__private::CalledByTheFramework<
            ::idem_consume::__private::Named<Billing>,
            ::idem_consume::__private::InArgument,
        >,
        (MessageId,),
    >,
) -> ::idem_consume::__private::Response {
    static __IDEM_POLICY: ::idem_consume::__private::Policy = ::idem_consume::__private::Policy::new(
            ::idem_consume::__private::Duration::from_secs(3600u64),
        )
        .with_wait(::idem_consume::__private::Duration::from_secs(0u64))
        .with_replay(::idem_consume::__private::Replay::Success)
        .with_target(::idem_consume::__private::BoundTarget::Nothing)
        .with_operation("invoice");
    #[allow(clippy::unused_async)]
    async fn invoice(tx: &mut PgConnection, id: MessageId) -> Result<(), sqlx::Error> {
        write(tx, &id).await
    }
    let ::idem_consume::__private::Extracted {
        request: __idem_request,
        arguments: (__idem_arg0,),
        raw: __idem_raw,
    } = __idem_extracted;
    ::idem_consume::__private::assert_held::<
        App,
        <::idem_consume::__private::Named<
            Billing,
        > as ::idem_consume::__private::Source>::Provider,
    >();
    ::idem_consume::__private::assert_extracted::<MessageId, App>();
    let __idem_scope = ::core::option::Option::None;
    let __idem_key = {
        #[allow(unused_imports)]
        use ::idem_consume::__private::{KeyByDeref as _, KeyByDisplay as _};
        let __idem_source = &__idem_arg0;
        ::idem_consume::__private::KeyArgument::new(
            "id",
            ::idem_consume::__private::KeyProbe(__idem_source).key(),
        )
    };
    let __idem_content = {
        #[allow(unused_imports)]
        use ::idem_consume::__private::AnyReturned as _;
        ::idem_consume::__private::unless_rejected(
            ::idem_consume::__private::content_none(),
            [::idem_consume::__private::ReturnProbe(&__idem_arg0).returned()],
        )
    };
    ::idem_consume::__private::serve(
            __idem_request,
            &__IDEM_POLICY,
            __idem_key,
            __idem_scope,
            __idem_content,
            __idem_raw,
            (__idem_arg0,),
            |mut __idem_claim, __idem_attempt, (__idem_arg0,)| ::idem_consume::__private::attempting(async move {
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
                    let __idem_returned = invoice(
                            <PgConnection as ::idem_consume::__private::Open<
                                '_,
                            >>::lend(&mut __idem_opened),
                            __idem_arg0,
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
