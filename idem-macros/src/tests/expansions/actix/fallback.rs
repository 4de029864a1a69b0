// After mistakes only these are reported, and the function stays for those who refer to it.

#[idempotent(tll = "24h", scope = "tennant")]
/// Creates an order.
#[tracing::instrument(skip(tx))]
#[idem::idempotent]
pub fn create_order<'a, C: Ledger>(tx: &'a mut C, Path(tenant): Path<String>) -> StatusCode {
    insert(tx, &tenant).await
}

// Expands to:

::core::compile_error! {
    "unknown argument `tll`; did you mean `ttl`?"
}
::core::compile_error! {
    "no argument named `tennant`; did you mean `tenant`?"
}
::core::compile_error! {
    "duplicate `#[idempotent]`; remove one of the two"
}
::core::compile_error! {
    "the `async` keyword is missing; `#[idempotent]` goes on an `async fn`"
}
::core::compile_error! {
    "a generic handler has to name its body; add `body = \"order\"` with the argument's name, or `body = \"none\"`"
}
/// Creates an order.
#[allow(dead_code)]
pub async fn create_order<C: Ledger>() -> ::idem_actix::__private::Response {
    #[tracing::instrument(skip(tx))]
    async fn create_order<'a, C: Ledger>(
        tx: &'a mut C,
        Path(tenant): Path<String>,
    ) -> StatusCode {
        insert(tx, &tenant).await
    }
    ::core::unreachable!()
}
