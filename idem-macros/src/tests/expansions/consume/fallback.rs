// No operation.
#[idempotent(ttl = "1h", key = "id", unscoped)]
async fn invoice(tx: &mut PgConnection, id: MessageId) -> Result<(), sqlx::Error> {
    write(tx, &id).await
}

// Expands to:

::core::compile_error! {
    "missing argument `operation`; a message has no route, so name the consumer, such as `operation = \"ship_order\"`"
}
#[allow(dead_code)]
async fn invoice() -> ::idem_consume::__private::Response {
    async fn invoice(tx: &mut PgConnection, id: MessageId) -> Result<(), sqlx::Error> {
        write(tx, &id).await
    }
    ::core::unreachable!()
}
