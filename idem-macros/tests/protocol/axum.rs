//! The names of `idem-axum`.

pub(crate) mod __private {
    pub(crate) use crate::adapter::*;

    pub(crate) struct Nothing;

    impl std::fmt::Display for Nothing {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Ok(())
        }
    }

    pub(crate) struct Body<T> {
        pub(crate) value: T,
        pub(crate) raw: &'static str,
    }

    pub(crate) fn into_response(response: String) -> Response {
        response
    }
}
