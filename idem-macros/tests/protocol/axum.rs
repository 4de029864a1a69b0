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

    pub(crate) struct Unknown;

    pub(crate) struct Probe<T, K>(PhantomData<(T, K)>);

    impl<T, K> Probe<T, K> {
        pub(crate) const NEW: Self = Self(PhantomData);
    }

    impl<T: ToString, K> Probe<T, K> {
        pub(crate) fn content(self, body: &T) -> Content {
            content(body)
        }
    }

    pub(crate) trait ContentOfHead {}

    pub(crate) trait ContentOfOther {}

    pub(crate) trait NotReader {
        fn comes_earlier(&self) {}

        fn reads_nothing(&self) {}
    }

    impl<T, K> NotReader for Probe<T, K> {}

    pub(crate) trait OtherExtractor<T> {
        fn extracts(&self) -> &Self {
            self
        }

        fn extracts_last<M>(&self) -> &Self
        where
            T: Last<M>,
        {
            self
        }
    }

    impl<T, K> OtherExtractor<T> for Probe<T, K> {}

    pub(crate) trait Last<M> {}

    impl<T> Last<()> for T {}

    pub(crate) fn into_response(response: String) -> Response {
        response
    }
}
