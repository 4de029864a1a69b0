//! Whether a handler has returned an `Err` (rule O15).

use std::any::type_name;

use crate::policy::Returned;

/// A returned value that is asked whether it is an `Err`. The inherent method wins over the one of
/// [`AnyReturned`] for a `Result`, under any name of that type.
#[derive(Debug)]
pub struct ReturnProbe<'a, R>(pub &'a R);

impl<T, E> ReturnProbe<'_, Result<T, E>> {
    pub fn returned(&self) -> Returned {
        if self.0.is_err() {
            Returned::Err
        } else {
            Returned::Value
        }
    }
}

pub trait AnyReturned {
    fn returned(&self) -> Returned;
}

impl<R> AnyReturned for ReturnProbe<'_, R> {
    /// The type behind an `impl Trait` has no methods here, but it has a name.
    fn returned(&self) -> Returned {
        if type_name::<R>().starts_with("core::result::Result<") {
            Returned::HiddenResult
        } else {
            Returned::Value
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden() -> impl std::fmt::Debug {
        Result::<u8, u8>::Ok(1)
    }

    #[test]
    fn o15_an_err_is_recognised_by_its_type() {
        type Reply = Result<u8, String>;
        let err: Reply = Err(String::new());
        assert_eq!(ReturnProbe(&err).returned(), Returned::Err);
        assert_eq!(ReturnProbe(&Reply::Ok(1)).returned(), Returned::Value);
        assert_eq!(ReturnProbe(&Some(1)).returned(), Returned::Value);
        assert_eq!(ReturnProbe(&hidden()).returned(), Returned::HiddenResult);
    }
}
