//! The names of `idem-axum`.

pub(crate) mod __private {
    use std::marker::PhantomData;

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

    pub(crate) struct Probe<T, S>(PhantomData<(T, S)>);

    impl<T, S> Probe<T, S> {
        pub(crate) const NEW: Self = Self(PhantomData);
    }

    impl<T: ToString, S> Probe<T, S> {
        pub(crate) fn content(self, body: &T) -> Content {
            content(body)
        }
    }

    pub(crate) trait ContentOfHead {}

    pub(crate) trait ContentOfOther {}

    pub(crate) trait OfBody {}

    pub(crate) trait OfOtherState {}

    pub(crate) trait OfHead {
        fn comes_earlier(&self) {}

        fn reads_nothing(&self) {}
    }

    impl<T, S> OfHead for Probe<T, S> {}

    pub(crate) trait OtherExtractor {
        fn extracts(&self) -> &Self {
            self
        }
    }

    impl<T, S> OtherExtractor for Probe<T, S> {}

    pub(crate) fn classify(_: &Policy, response: &Response, is_value: bool) -> bool {
        is_value && !response.contains("failed")
    }

    pub(crate) fn into_response(response: String) -> Response {
        response
    }
}
