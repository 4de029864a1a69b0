//! The scope of an argument: of the argument itself, or of the value that an extractor points to.

use std::ops::Deref;

use crate::scope::Scope;

/// An argument, or a field of one, that is asked for its scope. Of three methods of one name the first that
/// fits is called: for a [`Scope`], by [`ScopeByDeref`], by [`NoScope`], which is always an error.
#[derive(Debug, Clone, Copy)]
pub struct ScopeProbe<'a, T: ?Sized>(pub &'a T);

impl<T: Scope + ?Sized> ScopeProbe<'_, T> {
    pub fn scope(self) -> String {
        self.0.scope().into_owned()
    }
}

/// The error for an extractor is about the value that it points to: that is the application's own type.
pub trait ScopeByDeref<T: Deref + ?Sized> {
    fn scope(self) -> String
    where
        T::Target: Scope;
}

impl<T: Deref + ?Sized> ScopeByDeref<T> for ScopeProbe<'_, T> {
    fn scope(self) -> String
    where
        T::Target: Scope,
    {
        self.0.deref().scope().into_owned()
    }
}

pub trait NoScope<T: ?Sized> {
    fn scope(self) -> String
    where
        T: Scope;
}

impl<T: ?Sized> NoScope<T> for &ScopeProbe<'_, T> {
    fn scope(self) -> String
    where
        T: Scope,
    {
        self.0.scope().into_owned()
    }
}
