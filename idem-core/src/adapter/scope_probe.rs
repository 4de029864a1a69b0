//! The scope of an argument: of the argument itself, or of the value that an extractor points to.

use std::ops::Deref;

use crate::scope::Scope;

/// An argument that is asked for its scope. The inherent method wins over the one of
/// [`ScopeByDeref`] where its bound holds.
#[derive(Debug)]
pub struct ScopeProbe<'a, T: ?Sized>(pub &'a T);

impl<T: Scope + ?Sized> ScopeProbe<'_, T> {
    pub fn scope(&self) -> String {
        self.0.scope().into_owned()
    }
}

pub trait ScopeByDeref<T: ?Sized> {
    fn scope(&self) -> String
    where
        T: PointsToScope;
}

impl<T: ?Sized> ScopeByDeref<T> for ScopeProbe<'_, T> {
    fn scope(&self) -> String
    where
        T: PointsToScope,
    {
        self.0.target_scope()
    }
}

#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a scope",
    label = "this type does not say whose keys these are",
    note = "name a field that is a string or an integer, such as `scope = \"claims.tenant_id\"`, or implement `Scope` for a type of your own",
    note = "`Uuid` is a scope with the feature `uuid` of the adapter crate; wrap any other type of another crate in a struct of your own",
    note = "an `Option` has no owner when it is `None`: let the extractor refuse such a request, or give it an owner in a `Scope` of your own"
)]
pub trait PointsToScope {
    fn target_scope(&self) -> String;
}

#[diagnostic::do_not_recommend]
impl<P> PointsToScope for P
where
    P: Deref + ?Sized,
    P::Target: Scope,
{
    fn target_scope(&self) -> String {
        self.deref().scope().into_owned()
    }
}
