// The adapter is re-exported under another name.

#[idempotent(ttl = "24h", scope = "tenant", crate = crate::web::idem)]
async fn create_order(
    tx: &mut PgConnection,
    attempt: &Attempt,
    tenant: Tenant,
    order: Json<NewOrder>,
) -> StatusCode {
    insert(tx, attempt.downstream_key("psp"), tenant, &order).await
}

// Expands to:

#[allow(clippy::too_many_arguments)]
///
/// # Idempotency
///
/// The writes and the response are stored once per idempotency key; a retry gets that response.
///
/// - Key: required
/// - Scope: each `tenant` has its own keys
/// - Operation: method and route
/// - Remembered: 24h
/// - Bound to the key: path, query and body
/// - Replayed: statuses below 400, and 4xx that are about the content
/// - Statuses: 400 without a valid key, 409 while the first request runs, 422 for another request with the same key, 503 to try again
async fn create_order(
    __idem_request: crate::web::idem::__private::CalledByTheFramework<
        crate::web::idem::__private::Of<PgConnection>,
    >,
    __idem_arg0: Tenant,
    __idem_body: crate::web::idem::__private::Body<Json<NewOrder>>,
) -> crate::web::idem::__private::Response {
    static __IDEM_POLICY: crate::web::idem::__private::Policy = crate::web::idem::__private::Policy::new(
        crate::web::idem::__private::Duration::from_secs(86400u64),
    );
    #[allow(clippy::unused_async)]
    async fn create_order(
        tx: &mut PgConnection,
        attempt: &Attempt,
        tenant: Tenant,
        order: Json<NewOrder>,
    ) -> StatusCode {
        insert(tx, attempt.downstream_key("psp"), tenant, &order).await
    }
    let crate::web::idem::__private::Body { value: __idem_value, raw: __idem_raw } = __idem_body;
    {
        #[allow(unused_imports)]
        use crate::web::idem::__private::{
            OfBody as _, OfHead as _, OfOtherState as _, OtherExtractor as _,
        };
        crate::web::idem::__private::Probe::<Tenant, ()>::NEW.extracts().comes_earlier();
        crate::web::idem::__private::Probe::<Json<NewOrder>, ()>::NEW.extracts();
    }
    let __idem_scope = {
        #[allow(unused_imports)]
        use crate::web::idem::__private::{NoScope as _, ScopeByDeref as _};
        let __idem_source = &__idem_arg0;
        ::core::option::Option::Some(
            crate::web::idem::__private::ScopeProbe(__idem_source).scope(),
        )
    };
    let __idem_content = {
        #[allow(unused_imports)]
        use crate::web::idem::__private::AnyReturned as _;
        crate::web::idem::__private::unless_rejected(
            {
                #[allow(unused_imports)]
                use crate::web::idem::__private::{
                    ContentOfHead as _, ContentOfOther as _,
                };
                crate::web::idem::__private::Probe::<Json<NewOrder>, ()>::NEW
                    .content(&__idem_value)
            },
            [
                crate::web::idem::__private::ReturnProbe(&__idem_arg0).returned(),
                crate::web::idem::__private::ReturnProbe(&__idem_value).returned(),
            ],
        )
    };
    crate::web::idem::__private::serve(
            __idem_request,
            &__IDEM_POLICY,
            (),
            __idem_scope,
            __idem_content,
            __idem_raw,
            (__idem_arg0, __idem_value),
            |mut __idem_claim, __idem_attempt, (__idem_arg0, __idem_value)| crate::web::idem::__private::attempting(async move {
                let mut __idem_opened = match <PgConnection as crate::web::idem::__private::Open<
                    '_,
                >>::open(
                        crate::web::idem::__private::connection::<
                            _,
                            PgConnection,
                        >(&mut __idem_claim),
                    )
                    .await
                {
                    ::core::result::Result::Ok(__idem_opened) => __idem_opened,
                    ::core::result::Result::Err(__idem_error) => {
                        return crate::web::idem::__private::HandlerOutcome::Broken(
                            __idem_error,
                        );
                    }
                };
                let (__idem_response, __idem_settle) = {
                    #[allow(unused_imports)]
                    use crate::web::idem::__private::AnyReturned as _;
                    let __idem_returned = create_order(
                            <PgConnection as crate::web::idem::__private::Open<
                                '_,
                            >>::lend(&mut __idem_opened),
                            crate::web::idem::__private::attempt::<
                                Attempt,
                            >(&__idem_attempt),
                            __idem_arg0,
                            __idem_value,
                        )
                        .await;
                    let __idem_way = crate::web::idem::__private::ReturnProbe(
                            &__idem_returned,
                        )
                        .returned();
                    let __idem_response = crate::web::idem::__private::into_response(
                        __idem_returned,
                    );
                    let __idem_settle = crate::web::idem::__private::classify(
                        &__IDEM_POLICY,
                        &__idem_response,
                        __idem_way,
                    );
                    (__idem_response, __idem_settle)
                };
                let __idem_closed = <PgConnection as crate::web::idem::__private::Open<
                    '_,
                >>::close(
                        __idem_opened,
                        crate::web::idem::__private::keeps(__idem_settle),
                    )
                    .await;
                crate::web::idem::__private::HandlerOutcome::Answered {
                    response: __idem_response,
                    settle: __idem_settle,
                    closed: __idem_closed,
                }
            }),
        )
        .await
}
