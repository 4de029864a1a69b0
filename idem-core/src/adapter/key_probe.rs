//! The key in an argument: in the argument itself, or in the value that an extractor points to.

use std::fmt::Display;
use std::ops::Deref;

/// An argument, or a field of one, that is asked for its key. Of three methods of one name the first that
/// fits is called: for an `Option`, by [`KeyByDisplay`], by [`KeyByDeref`].
#[derive(Debug, Clone, Copy)]
pub struct KeyProbe<'a, T: ?Sized>(pub &'a T);

impl<T> KeyProbe<'_, Option<T>> {
    pub fn key(self) -> Option<String>
    where
        T: Key,
    {
        self.0.as_ref().map(T::to_string)
    }
}

#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a key",
    label = "this type has no text",
    note = "name a field that implements `Display`, as strings, integers and `Uuid` do, such as `key = \"form.idempotency_key\"`, or implement `Display` for a type of your own"
)]
pub trait Key: Display {}

#[diagnostic::do_not_recommend]
impl<T: Display> Key for T {}

pub trait KeyByDisplay {
    fn key(self) -> Option<String>;
}

impl<T: Display + ?Sized> KeyByDisplay for KeyProbe<'_, T> {
    fn key(self) -> Option<String> {
        Some(self.0.to_string())
    }
}

pub trait KeyByDeref<T: ?Sized> {
    fn key(self) -> Option<String>
    where
        T: PointsToKey;
}

impl<T: ?Sized> KeyByDeref<T> for &KeyProbe<'_, T> {
    fn key(self) -> Option<String>
    where
        T: PointsToKey,
    {
        Some(self.0.target_key())
    }
}

#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a key",
    label = "this type has no text",
    note = "name a field that implements `Display`, as strings, integers and `Uuid` do, such as `key = \"form.idempotency_key\"`, or implement `Display` for a type of your own"
)]
pub trait PointsToKey {
    fn target_key(&self) -> String;
}

#[diagnostic::do_not_recommend]
impl<P> PointsToKey for P
where
    P: Deref + ?Sized,
    P::Target: Display,
{
    fn target_key(&self) -> String {
        self.deref().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyByDeref as _, KeyByDisplay as _, KeyProbe};

    #[test]
    fn k1_a_key_is_the_text_of_a_value_or_of_what_it_points_to() {
        struct Points(u64);
        impl std::ops::Deref for Points {
            type Target = u64;

            fn deref(&self) -> &u64 {
                &self.0
            }
        }

        assert_eq!(KeyProbe("a").key().as_deref(), Some("a"));
        assert_eq!(KeyProbe(&7).key().as_deref(), Some("7"));
        assert_eq!(KeyProbe(&Points(7)).key().as_deref(), Some("7"));
        assert_eq!(KeyProbe(&Some("a".to_owned())).key().as_deref(), Some("a"));
        assert_eq!(KeyProbe(&None::<u8>).key(), None);
    }
}
