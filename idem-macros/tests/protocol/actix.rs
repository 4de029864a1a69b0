//! The names of `idem-actix`.

pub(crate) mod __private {
    use std::marker::PhantomData;

    pub(crate) use crate::adapter::*;

    pub(crate) struct Extracted<R, A> {
        pub(crate) request: R,
        pub(crate) arguments: A,
        pub(crate) raw: &'static str,
        pub(crate) http: &'static str,
    }

    pub(crate) struct Argument<T>(pub(crate) T, pub(crate) Option<&'static str>);

    #[derive(Clone, Copy)]
    pub(crate) enum Role {
        Part,
        Body,
    }

    impl Role {
        pub(crate) const fn is_body(self) -> bool {
            matches!(self, Self::Body)
        }
    }

    /// The body, as far as types say.
    pub(crate) trait RequestBody {}

    impl RequestBody for String {}

    pub(crate) struct Probe<T>(PhantomData<T>);

    impl<T> Probe<T> {
        pub(crate) const NEW: Self = Self(PhantomData);
    }

    impl<T: RequestBody> Probe<T> {
        pub(crate) const IS_BODY: bool = true;
    }

    pub(crate) trait Other {
        const IS_BODY: bool = false;
        const IS_PART: bool = true;
        const READS: bool = false;

        fn reads_nothing(&self) {}

        fn is_no_body(&self) {}
    }

    impl<T> Other for Probe<T> {}

    pub(crate) trait OtherExtractor {
        fn extracts(&self) -> &Self {
            self
        }
    }

    impl<T> OtherExtractor for Probe<T> {}

    #[derive(Clone, Copy)]
    pub(crate) struct Answers {
        pub(crate) is_body: bool,
        pub(crate) is_part: bool,
        pub(crate) reads: bool,
    }

    pub(crate) const fn roles<const COUNT: usize>(arguments: [Answers; COUNT]) -> [Role; COUNT] {
        let mut roles = [Role::Part; COUNT];
        let mut index = 0;
        while index < COUNT {
            let Answers {
                is_body,
                is_part,
                reads,
            } = arguments[index];
            assert!(is_part && !reads);
            if is_body {
                roles[index] = Role::Body;
            }
            index += 1;
        }
        roles
    }

    pub(crate) const fn check<const ROLE: u8, T>() {}

    pub(crate) struct Nothing;

    pub(crate) struct Choice<const FIRST: bool>;

    pub(crate) trait Choose<A, B> {
        type Chosen;

        fn choose(first: A, second: B) -> Self::Chosen;
    }

    impl<A, B> Choose<A, B> for Choice<true> {
        type Chosen = A;

        fn choose(first: A, _: B) -> A {
            first
        }
    }

    impl<A, B> Choose<A, B> for Choice<false> {
        type Chosen = B;

        fn choose(_: A, second: B) -> B {
            second
        }
    }

    pub(crate) fn choose<const FIRST: bool, A, B>(
        first: A,
        second: B,
    ) -> <Choice<FIRST> as Choose<A, B>>::Chosen
    where
        Choice<FIRST>: Choose<A, B>,
    {
        Choice::<FIRST>::choose(first, second)
    }

    /// Only the argument that is bound reads the body.
    pub(crate) fn bound<const COUNT: usize>(
        content: Content,
        arguments: [(Option<&'static str>, bool); COUNT],
    ) -> Content {
        for (reader, is_bound) in arguments {
            assert_eq!(reader.is_some(), is_bound);
        }
        content
    }

    pub(crate) fn classify(
        _: &Policy,
        response: &Response,
        is_value: bool,
        _: &&'static str,
    ) -> bool {
        is_value && !response.contains("failed")
    }

    pub(crate) fn into_response(response: String, http: &&'static str) -> Response {
        response + " " + http
    }
}
