//! Rules about the function itself, and about what is beside it.

use proc_macro2::Span;
use syn::visit_mut::{self, VisitMut};
use syn::{FnArg, Item, ItemFn, Path, Receiver, Safety, Signature, TypeImplTrait};

use crate::attributes;
use crate::errors::Errors;

pub(crate) fn check(function: &ItemFn, errors: &mut Errors) {
    is_async(&function.sig, errors);
    is_plain(&function.sig, errors);
    is_free(&function.sig, errors);
    names_no_self(function, errors);
    names_its_types(&function.sig, errors);
    has_unconditional_arguments(&function.sig, errors);
    writes(function, errors);
    is_protected_once(function, errors);
}

/// The handler waits for its transaction.
fn is_async(signature: &Signature, errors: &mut Errors) {
    if signature.asyncness.is_none() {
        errors.at(
            signature.fn_token.span,
            "the `async` keyword is missing; `#[idempotent]` goes on an `async fn`",
        );
    }
}

/// The framework calls the function, so it has to be callable like any other.
fn is_plain(signature: &Signature, errors: &mut Errors) {
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
fn is_free(signature: &Signature, errors: &mut Errors) {
    if let Some(receiver) = signature.receiver() {
        errors.at(
            receiver.self_token.span,
            "a handler can't have `self`; `#[idempotent]` goes on a free function, which extracts what it shares",
        );
    }
}

/// The handler moves into a function, where the `Self` around it means nothing.
fn names_no_self(function: &ItemFn, errors: &mut Errors) {
    for span in self_types(function) {
        errors.at(span, "a handler can't use `Self`; write the type's name");
    }
}

/// Where the function mentions `Self`. Items within it have their own.
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

        // A receiver is a mistake of its own.
        fn visit_receiver_mut(&mut self, _: &mut Receiver) {}
    }

    let mut found = SelfTypes(Vec::new());
    found.visit_item_fn_mut(&mut function.clone());
    found.0
}

/// Every argument's type is repeated in the generated code, and `impl Trait` would be another type each time.
fn names_its_types(signature: &Signature, errors: &mut Errors) {
    struct Impls<'a>(&'a mut Errors);

    impl VisitMut for Impls<'_> {
        fn visit_type_impl_trait_mut(&mut self, ty: &mut TypeImplTrait) {
            let bounds = quote::ToTokens::to_token_stream(&ty.bounds);
            let message = format!(
                "`impl Trait` in an argument; name the type by a generic parameter, such as `<T: {bounds}>`"
            );
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

/// A call can't leave an argument out under a condition.
fn has_unconditional_arguments(signature: &Signature, errors: &mut Errors) {
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

/// A read-only request can be repeated as it is: it needs no key, and clients send none.
fn writes(function: &ItemFn, errors: &mut Errors) {
    for (path, name) in attributes::paths(&function.attrs) {
        if name == "get" || name == "head" {
            errors.spanned(path, format!("`#[{name}]` is read-only and needs no idempotency key; remove one of the two attributes"));
        }
    }
}

/// A second transaction around the first one would protect nothing.
fn is_protected_once(function: &ItemFn, errors: &mut Errors) {
    for (path, name) in attributes::paths(&function.attrs) {
        if name == "idempotent" {
            errors.spanned(path, "duplicate `#[idempotent]`; remove one of the two");
        }
    }
}
