//! The type inside of an extractor such as `Json`: what idem and the framework ask of it.

use serde::Serialize;
use serde::de::DeserializeOwned;

#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be bound to the key",
    label = "the body is bound to the key by its fields, and this type does not show them",
    note = "derive `Serialize` for `{Self}`; a generic parameter needs the bound `Serialize`",
    note = "or choose what is bound: `fingerprint = path::to::function`, or `fingerprint = \"raw\"` for the bytes"
)]
pub trait Payload: Serialize {}

#[diagnostic::do_not_recommend]
impl<T: Serialize> Payload for T {}

#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be read from a request",
    label = "the framework can't make this argument",
    note = "derive `Deserialize` for `{Self}`; its fields own their data, as `String` does and `&str` does not",
    note = "a generic parameter needs the bound `DeserializeOwned`"
)]
pub trait Readable {}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned> Readable for T {}
