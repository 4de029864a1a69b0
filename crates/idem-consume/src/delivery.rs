//! A delivery, and the arguments that are made of it.

use std::fmt::{self, Display};
use std::ops::Deref;

use bytes::Bytes;
use idem_core::{Content, EncodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One delivery of a message or a job, by any broker or queue.
///
/// ```
/// # use idem_consume::Delivery;
/// let delivery = Delivery::new(r#"{"order": 7}"#)
///     .with_id("01J9Z")
///     .with_attribute("tenant", "acme");
/// assert_eq!(delivery.id(), Some("01J9Z"));
/// assert_eq!(delivery.attribute("tenant"), Some("acme"));
/// ```
#[derive(Debug, Clone)]
pub struct Delivery {
    payload: Bytes,
    id: Option<String>,
    attributes: Vec<(String, String)>,
}

impl Delivery {
    /// A delivery of `payload`.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            payload: payload.into(),
            id: None,
            attributes: Vec::new(),
        }
    }

    /// The message's id, where the broker has it outside of the payload: for the argument [`MessageId`].
    #[must_use]
    pub fn with_id(self, id: impl Display) -> Self {
        Self {
            id: Some(id.to_string()),
            ..self
        }
    }

    /// A header or a property of the message, for arguments of your own.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// The bytes of the message.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The message's id, if the delivery has one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The first attribute with this name, byte for byte.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let mut attributes = self.attributes.iter();
        attributes
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }
}

/// An argument of a consumer whose state is an `S`.
///
/// An argument that verifies a signature or reads an attribute implements it:
///
/// ```
/// use idem_consume::{Delivery, FromDelivery, Rejection, Scope};
/// # use std::borrow::Cow;
///
/// struct Tenant(String);
///
/// impl<S> FromDelivery<S> for Tenant {
///     fn from_delivery(delivery: &Delivery, _: &S) -> Result<Self, Rejection> {
///         let tenant = delivery.attribute("tenant");
///         let tenant = tenant.ok_or_else(|| Rejection::new("the message has no tenant"))?;
///         Ok(Self(tenant.to_owned()))
///     }
/// }
///
/// // So that `scope = "tenant"` can name it.
/// impl Scope for Tenant {
///     fn scope(&self) -> Cow<'_, str> {
///         Cow::Borrowed(&self.0)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be made of a delivery, by a consumer with the state `{S}`",
    label = "not an argument of a consumer",
    note = "take the content by `Event<T>`, the message's id by `MessageId`, and a part of the state by `State<T>`; an argument of your own implements `FromDelivery`"
)]
pub trait FromDelivery<S>: Sized {
    /// The argument.
    ///
    /// # Errors
    ///
    /// If no repetition of the delivery changes that the argument can't be made. The message is then
    /// [dead](crate::Verdict::Dead), and leaves no record.
    fn from_delivery(delivery: &Delivery, state: &S) -> Result<Self, Rejection>;
}

/// Why an argument can't be made of a delivery. `?` makes one of any error.
#[derive(Debug)]
pub struct Rejection(String);

impl Rejection {
    /// A rejection for `reason`.
    pub fn new(reason: impl Display) -> Self {
        Self(reason.to_string())
    }

    pub(crate) fn into_reason(self) -> String {
        self.0
    }
}

impl<E: std::error::Error> From<E> for Rejection {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// The content of a message, which is bound to its key.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be bound to the key",
    label = "the last argument is the content of the message, and nothing binds this one to the key",
    note = "derive `Serialize` for the content, or choose what is bound: `fingerprint = path::to::function`, `fingerprint = \"raw\"` for the bytes, or `fingerprint = \"none\"` for the id alone",
    note = "`body = \"event\"` names another argument; an argument of your own can implement `MessageContent`"
)]
pub trait MessageContent {
    /// What is bound.
    ///
    /// # Errors
    ///
    /// If the content's own `Serialize` fails.
    fn content(&self) -> Result<Content, EncodeError>;
}

/// The content of a message that is JSON. It is bound to the key by its fields, so their order doesn't matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<T>(pub T);

impl<T> Deref for Event<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[diagnostic::do_not_recommend]
impl<S, T: DeserializeOwned> FromDelivery<S> for Event<T> {
    fn from_delivery(delivery: &Delivery, _: &S) -> Result<Self, Rejection> {
        let content = serde_json::from_slice(&delivery.payload);
        content.map(Self).map_err(|error| {
            Rejection::new(format_args!(
                "the content is not the expected JSON: {error}"
            ))
        })
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize> MessageContent for Event<T> {
    fn content(&self) -> Result<Content, EncodeError> {
        Content::of(&self.0)
    }
}

/// The message's id: see [`Delivery::with_id`]. A delivery without one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageId(pub String);

impl Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<S> FromDelivery<S> for MessageId {
    fn from_delivery(delivery: &Delivery, _: &S) -> Result<Self, Rejection> {
        let id = delivery.id().map(str::to_owned).map(Self);
        id.ok_or_else(|| Rejection::new("the delivery has no id"))
    }
}

/// The delivery itself.
#[diagnostic::do_not_recommend]
impl<S> FromDelivery<S> for Delivery {
    fn from_delivery(delivery: &Delivery, _: &S) -> Result<Self, Rejection> {
        Ok(delivery.clone())
    }
}

impl MessageContent for Delivery {
    fn content(&self) -> Result<Content, EncodeError> {
        Ok(Content::Raw)
    }
}

/// A part of the consumer's state.
#[derive(Debug, Clone, Copy)]
pub struct State<T>(pub T);

#[diagnostic::do_not_recommend]
impl<S, T: FromRef<S>> FromDelivery<S> for State<T> {
    fn from_delivery(_: &Delivery, state: &S) -> Result<Self, Rejection> {
        Ok(Self(T::from_ref(state)))
    }
}

/// A part of a state `S`. The state is a part of itself.
#[diagnostic::on_unimplemented(
    message = "the state `{S}` holds no `{Self}`",
    label = "not a part of the state",
    note = "implement `idem_consume::FromRef<{S}>` for it, or take `State<{S}>`"
)]
pub trait FromRef<S> {
    /// The part.
    fn from_ref(state: &S) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Clone> FromRef<T> for T {
    fn from_ref(state: &T) -> T {
        state.clone()
    }
}

macro_rules! tuples {
    ($($name:ident)*) => {
        #[diagnostic::do_not_recommend]
        impl<S, $($name: FromDelivery<S>),*> FromDelivery<S> for ($($name,)*) {
            #[allow(unused_variables)]
            fn from_delivery(delivery: &Delivery, state: &S) -> Result<Self, Rejection> {
                Ok(($($name::from_delivery(delivery, state)?,)*))
            }
        }
    };
}

tuples!();
tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);
