//! The owner of a key (rules S2 to S4).

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

/// A value that identifies the owner of a key: a tenant, a user, an account.
///
/// Two values are the same scope if and only if their texts are equal, byte for byte. The text is
/// hashed before it reaches a database, so no collation can merge two scopes. An empty text is
/// refused at run time.
///
/// A client that knows a key of a scope can read the recorded answer. So a scope comes from a verified
/// source, such as the claims of a token, and not from the path or the body, where a client would
/// choose it. `uuid::Uuid` is a scope with the feature `uuid`.
///
/// ```
/// # use idem_core::Scope;
/// use std::borrow::Cow;
///
/// struct Tenant(String);
///
/// impl Scope for Tenant {
///     fn scope(&self) -> Cow<'_, str> {
///         Cow::Borrowed(&self.0)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a scope",
    label = "this type does not say whose keys these are",
    note = "name a field that is a string or an integer, such as `scope = \"claims.tenant_id\"`, or implement `Scope` for a type of your own",
    note = "`Uuid` is a scope with the feature `uuid` of the adapter crate; wrap any other type of another crate in a struct of your own",
    note = "an `Option` has no owner when it is `None`: let the extractor refuse such a request, or give it an owner in a `Scope` of your own"
)]
pub trait Scope {
    /// The scope as text. It must not be empty, and it must stay the same for an owner as long as a
    /// record of that owner lives.
    fn scope(&self) -> Cow<'_, str>;
}

impl Scope for str {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(self)
    }
}

impl Scope for String {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(self)
    }
}

macro_rules! through {
    ($($pointer:ty),*) => {$(
        #[diagnostic::do_not_recommend]
        impl<T: Scope + ?Sized> Scope for $pointer {
            fn scope(&self) -> Cow<'_, str> {
                T::scope(self)
            }
        }
    )*};
}

through!(&T, Box<T>, Rc<T>, Arc<T>);

impl Scope for Cow<'_, str> {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(self)
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Scope for $integer {
            fn scope(&self) -> Cow<'_, str> {
                Cow::Owned(self.to_string())
            }
        }
    )*};
}

integers!(
    u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize
);

#[cfg(feature = "uuid")]
impl Scope for uuid::Uuid {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Owned(self.hyphenated().to_string())
    }
}
