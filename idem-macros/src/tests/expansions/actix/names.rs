// The handler, its arguments and its types have names that come to mind for generated code. Constants of these names
// can be in scope too, so that a pattern `Err(error)` would compare with one of them.

#[idempotent(ttl = "24h", scope = "scope", fingerprint = content, store = Store<u8>, body = "value")]
async fn serve<Policy, Claim, const OPTIONAL: bool>(
    opened: &mut Transaction<Claim>,
    attempt: &Attempt,
    Request(scope): Request<Policy>,
    State { request, error, response, .. }: State<Response>,
    r#move: Type<u8>,
    value: Json<Body<Claim>>,
) -> Result<Response, Error> {
    insert(opened, attempt, scope, request, error, response, r#move, value).await
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
/// - Scope: each `scope` has its own keys
/// - Operation: method and route
/// - Remembered: 24h
/// - Bound to the key: path, query and `content` of the body
/// - Replayed: statuses below 400, and 4xx that are about the content
/// - Statuses: 400 without a valid key, 409 while the first request runs, 422 for another request with the same key, 503 to try again
async fn serve<Policy, Claim, const OPTIONAL: bool>(
    __idem_extracted: ::idem_actix::__private::Extracted<
        ::idem_actix::__private::CalledByTheFramework<
            ::idem_actix::__private::Named<Store<u8>>,
        >,
        (
            ::idem_actix::__private::Argument<Request<Policy>>,
            ::idem_actix::__private::Argument<State<Response>>,
            ::idem_actix::__private::Argument<Type<u8>>,
            ::idem_actix::__private::Argument<Json<Body<Claim>>>,
        ),
    >,
) -> ::idem_actix::__private::Response
where
    Policy: 'static,
    Claim: 'static,
{
    static __IDEM_POLICY: ::idem_actix::__private::Policy = ::idem_actix::__private::Policy::new(
        ::idem_actix::__private::Duration::from_secs(86400u64),
    );
    #[allow(clippy::unused_async)]
    async fn serve<Policy, Claim, const OPTIONAL: bool>(
        opened: &mut Transaction<Claim>,
        attempt: &Attempt,
        Request(scope): Request<Policy>,
        State { request, error, response, .. }: State<Response>,
        r#move: Type<u8>,
        value: Json<Body<Claim>>,
    ) -> Result<Response, Error> {
        insert(opened, attempt, scope, request, error, response, r#move, value).await
    }
    let ::idem_actix::__private::Extracted {
        request: __idem_request,
        arguments: (
            ::idem_actix::__private::Argument(__idem_arg0, __idem_reader0),
            ::idem_actix::__private::Argument(__idem_arg1, __idem_reader1),
            ::idem_actix::__private::Argument(__idem_arg2, __idem_reader2),
            ::idem_actix::__private::Argument(__idem_arg3, __idem_reader3),
        ),
        raw: __idem_raw,
        http: __idem_http,
    } = __idem_extracted;
    {
        #[allow(unused_imports)]
        use ::idem_actix::__private::{Other as _, OtherExtractor as _};
        ::idem_actix::__private::Probe::<Request<Policy>>::NEW.extracts().is_no_body();
        ::idem_actix::__private::Probe::<State<Response>>::NEW.extracts().is_no_body();
        ::idem_actix::__private::Probe::<Type<u8>>::NEW.extracts().is_no_body();
        ::idem_actix::__private::Probe::<Json<Body<Claim>>>::NEW.extracts();
    }
    let __idem_scope = {
        #[allow(unused_imports)]
        use ::idem_actix::__private::{NoScope as _, ScopeByDeref as _};
        let Request(__idem_source) = &__idem_arg0;
        ::core::option::Option::Some(
            ::idem_actix::__private::ScopeProbe(__idem_source).scope(),
        )
    };
    let __idem_content = {
        #[allow(unused_imports)]
        use ::idem_actix::__private::AnyReturned as _;
        ::idem_actix::__private::unless_rejected(
            ::idem_actix::__private::bound(
                ::idem_actix::__private::content_of(&content(&__idem_arg3)),
                [
                    (__idem_reader0, false),
                    (__idem_reader1, false),
                    (__idem_reader2, false),
                    (__idem_reader3, true),
                ],
            ),
            [
                ::idem_actix::__private::ReturnProbe(&__idem_arg0).returned(),
                ::idem_actix::__private::ReturnProbe(&__idem_arg1).returned(),
                ::idem_actix::__private::ReturnProbe(&__idem_arg2).returned(),
                ::idem_actix::__private::ReturnProbe(&__idem_arg3).returned(),
            ],
        )
    };
    ::idem_actix::__private::serve(
            __idem_request,
            &__IDEM_POLICY,
            (),
            __idem_scope,
            __idem_content,
            __idem_raw,
            (__idem_arg0, __idem_arg1, __idem_arg2, __idem_arg3, __idem_http),
            |
                mut __idem_claim,
                __idem_attempt,
                (__idem_arg0, __idem_arg1, __idem_arg2, __idem_arg3, __idem_http)|
            ::idem_actix::__private::attempting(async move {
                let mut __idem_opened = match <Transaction<
                    Claim,
                > as ::idem_actix::__private::Open<
                    '_,
                >>::open(
                        ::idem_actix::__private::connection::<
                            _,
                            Transaction<Claim>,
                        >(&mut __idem_claim),
                    )
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
                    let __idem_returned = serve::<
                        Policy,
                        Claim,
                        OPTIONAL,
                    >(
                            <Transaction<
                                Claim,
                            > as ::idem_actix::__private::Open<
                                '_,
                            >>::lend(&mut __idem_opened),
                            ::idem_actix::__private::attempt::<Attempt>(&__idem_attempt),
                            __idem_arg0,
                            __idem_arg1,
                            __idem_arg2,
                            __idem_arg3,
                        )
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
                let __idem_closed = <Transaction<
                    Claim,
                > as ::idem_actix::__private::Open<
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
