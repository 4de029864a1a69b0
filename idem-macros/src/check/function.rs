//! Rules about the function itself and about its other attributes.

use proc_macro2::Span;
use syn::visit_mut::{self, VisitMut};
use syn::{
    FnArg, GenericArgument, Item, ItemFn, Path, PathArguments, Receiver, ReturnType, Safety,
    Signature, Type, TypeImplTrait, TypeReference,
};

use crate::errors::Errors;
use crate::framework::Framework;
use crate::{attributes, suggest};

/// `allows_get` says that the key comes with a GET, in an argument.
pub(crate) fn check<F: Framework>(function: &ItemFn, allows_get: bool, errors: &mut Errors) {
    check_async(&function.sig, errors);
    check_qualifiers(&function.sig, errors);
    check_receiver(&function.sig, errors);
    check_self_types(function, errors);
    check_impl_types(&function.sig, errors);
    check_response::<F>(&function.sig.output, errors);
    check_conditions(&function.sig, errors);
    check_http_method(function, allows_get, errors);
    check_duplicate(function, errors);
}

/// The handler awaits its statements.
fn check_async(signature: &Signature, errors: &mut Errors) {
    if signature.asyncness.is_none() {
        errors.at(
            signature.fn_token.span,
            "the `async` keyword is missing; `#[idempotent]` goes on an `async fn`",
        );
    }
}

/// The generated code calls the handler as a plain function.
fn check_qualifiers(signature: &Signature, errors: &mut Errors) {
    let mut refuse = |tokens: &dyn quote::ToTokens, what: &str| {
        errors.spanned(
            tokens.to_token_stream(),
            format!("a handler can't be `{what}`; remove it"),
        );
    };
    if let Some(constness) = &signature.constness {
        refuse(constness, "const");
    }
    match &signature.safety {
        Safety::Unsafe(token) => refuse(token, "unsafe"),
        Safety::Safe(token) => refuse(token, "safe"),
        Safety::Default => {}
    }
    if let Some(abi) = &signature.abi {
        refuse(abi, "extern");
    }
    if let Some(variadic) = &signature.variadic {
        errors.spanned(variadic.dots, "a handler can't be variadic; remove `...`");
    }
}

/// A framework has no value to call a method on.
fn check_receiver(signature: &Signature, errors: &mut Errors) {
    if let Some(receiver) = signature.receiver() {
        errors.at(
            receiver.self_token.span,
            "a handler can't have `self`; `#[idempotent]` goes on a free function, which takes shared values by extractors",
        );
    }
}

/// The handler becomes an item in a function, and an item can't use the `Self` of the `impl` around that function.
fn check_self_types(function: &ItemFn, errors: &mut Errors) {
    for span in self_types(function) {
        errors.at(span, "a handler can't use `Self`; write the type's name");
    }
}

/// Where the function mentions `Self`. An item within it has its own.
pub(crate) fn self_types(function: &ItemFn) -> Vec<Span> {
    struct SelfTypes(Vec<Span>);

    impl VisitMut for SelfTypes {
        fn visit_path_mut(&mut self, path: &mut Path) {
            let first = path
                .segments
                .first()
                .filter(|segment| segment.ident == "Self");
            self.0.extend(first.map(|segment| segment.ident.span()));
            visit_mut::visit_path_mut(self, path);
        }

        fn visit_item_mut(&mut self, _: &mut Item) {}

        // `check_receiver` reports it.
        fn visit_receiver_mut(&mut self, _: &mut Receiver) {}
    }

    let mut found = SelfTypes(Vec::new());
    found.visit_item_fn_mut(&mut function.clone());
    found.0
}

/// The generated code repeats each argument's type, and each `impl Trait` would be another type.
fn check_impl_types(signature: &Signature, errors: &mut Errors) {
    struct Impls<'a>(&'a mut Errors);

    impl VisitMut for Impls<'_> {
        fn visit_type_impl_trait_mut(&mut self, ty: &mut TypeImplTrait) {
            let bounds = suggest::source(&ty.bounds);
            let message = if bounds.contains("Executor<") || bounds.contains("Acquire<") {
                "no extractor makes an executor; the transaction is the one argument taken by `&mut`".to_owned()
            } else {
                format!(
                    "`impl Trait` in an argument; name the type by a generic parameter, such as `<T: {bounds}>`"
                )
            };
            self.0.spanned(&*ty, message);
            visit_mut::visit_type_impl_trait_mut(self, ty);
        }
    }

    for argument in &signature.inputs {
        if let FnArg::Typed(argument) = argument {
            Impls(errors).visit_type_mut(&mut argument.ty.clone());
        }
    }
}

/// A response leaves the handler, whose transaction and attempt end. Only the types that a framework never serializes
/// are looked into.
fn check_response<F: Framework>(output: &ReturnType, errors: &mut Errors) {
    struct Borrows<'a> {
        cow: bool,
        errors: &'a mut Errors,
    }

    impl VisitMut for Borrows<'_> {
        fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
            if reference
                .lifetime
                .as_ref()
                .is_some_and(|lifetime| lifetime.ident == "static")
            {
                return;
            }
            let remedy = match &*reference.elem {
                Type::Path(ty) if ty.path.is_ident("str") => {
                    "return `String`, or `&'static str` for a constant text"
                }
                _ => "return an owned value",
            };
            self.errors
                .spanned(&*reference, format!("a response can't borrow; {remedy}"));
        }

        fn visit_path_mut(&mut self, path: &mut Path) {
            let last = path
                .segments
                .last()
                .map(|segment| segment.ident.to_string());
            match last.as_deref() {
                Some("Result" | "Option" | "Html") => visit_mut::visit_path_mut(self, path),
                Some("Cow") if !self.cow && !is_static(path) => self.errors.spanned(
                    &*path,
                    "a response can't borrow; return `String`, or `Cow<'static, str>`",
                ),
                _ => {}
            }
        }

        fn visit_type_impl_trait_mut(&mut self, _: &mut TypeImplTrait) {}
    }

    if let ReturnType::Type(_, ty) = output {
        let cow = F::COW_RESPONSES;
        Borrows { cow, errors }.visit_type_mut(&mut ty.clone());
    }
}

/// Whether the path's last segment has the lifetime `'static`.
fn is_static(path: &Path) -> bool {
    let last = path.segments.last().map(|segment| &segment.arguments);
    let Some(PathArguments::AngleBracketed(arguments)) = last else {
        return false;
    };
    arguments.args.iter().any(
        |argument| matches!(argument, GenericArgument::Lifetime(lifetime) if lifetime.ident == "static"),
    )
}

/// A call can't leave out an argument under a condition.
fn check_conditions(signature: &Signature, errors: &mut Errors) {
    for argument in &signature.inputs {
        let attributes = match argument {
            FnArg::Receiver(receiver) => &receiver.attrs,
            FnArg::Typed(argument) => &argument.attrs,
        };
        for attribute in attributes {
            if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
                let name = attribute
                    .path()
                    .require_ident()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                errors.spanned(
                    attribute,
                    format!("`#[{name}]` on an argument; put it on the whole function"),
                );
            }
        }
    }
}

/// A read-only request is safe to repeat, so clients send no key in a header with it.
fn check_http_method(function: &ItemFn, allows_get: bool, errors: &mut Errors) {
    for (path, name) in attributes::paths(&function.attrs) {
        let remedy = match name.as_str() {
            "get" if !allows_get => {
                "remove one of the two attributes, or take the key from an argument, as in `key = \"path.order_id\"`"
            }
            "head" => "remove one of the two attributes",
            _ => continue,
        };
        errors.spanned(
            path,
            format!("`#[{name}]` is read-only and needs no idempotency key; {remedy}"),
        );
    }
}

/// The second attribute would take the generated function for a handler, and that one has no transaction.
fn check_duplicate(function: &ItemFn, errors: &mut Errors) {
    for (path, name) in attributes::paths(&function.attrs) {
        if name == attributes::IDEMPOTENT {
            errors.spanned(path, "duplicate `#[idempotent]`; remove one of the two");
        }
    }
}
