//! What each argument of the handler is: the transaction, the attempt, or something that the framework extracts.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::visit_mut::VisitMut;
use syn::{FnArg, ItemFn, Lifetime, Pat, PatType, Type, TypeReference};

use crate::errors::Errors;
use crate::model::{Extractor, Role};
use crate::pattern;

/// The arguments of a handler.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) roles: Vec<Role>,
    pub(crate) transaction: Option<Borrowed>,
    pub(crate) attempt: Option<Borrowed>,
    pub(crate) extractors: Vec<Extractor>,
}

/// An argument that is taken by reference.
pub(crate) struct Borrowed {
    pub(crate) pattern: Pat,
    /// The type behind the reference.
    pub(crate) ty: Type,
}

impl Arguments {
    /// Reads the arguments. No extractor can be a reference, so this is exact.
    pub(crate) fn read(function: &ItemFn, errors: &mut Errors) -> Self {
        let mut arguments = Self::default();
        for argument in &function.sig.inputs {
            if let FnArg::Typed(argument) = argument {
                arguments.push(argument, errors);
            }
        }
        if arguments.transaction.is_none() {
            errors.at(
                function.sig.paren_token.span.join(),
                "no transaction argument; take one by `&mut`, such as `tx: &mut PgConnection`",
            );
        }
        arguments
    }

    fn push(&mut self, argument: &PatType, errors: &mut Errors) {
        let Some(reference) = reference(&argument.ty) else {
            self.roles.push(Role::Extractor(self.extractors.len()));
            self.extractors.push(Extractor {
                pattern: Pat::clone(&argument.pat),
                ty: Type::clone(&argument.ty),
            });
            return;
        };
        let (role, seat, problem) = if reference.mutability.is_some() {
            (
                Role::Transaction,
                &mut self.transaction,
                "second argument taken by `&mut`; a handler has one transaction",
            )
        } else {
            (
                Role::Attempt,
                &mut self.attempt,
                "second argument taken by `&`; a handler has one `&Attempt`",
            )
        };
        self.roles.push(role);
        if seat.is_some() {
            errors.spanned(borrow(reference), problem);
            return;
        }
        is_lent(reference, errors);
        *seat = Some(Borrowed {
            pattern: Pat::clone(&argument.pat),
            ty: Type::clone(&reference.elem),
        });
    }

    /// The extractor that binds `name`.
    pub(crate) fn binding(&self, name: &str) -> Option<usize> {
        self.extractors.iter().position(|extractor| {
            pattern::names(&extractor.pattern)
                .iter()
                .any(|bound| bound == name)
        })
    }

    /// Every name that an extractor binds.
    pub(crate) fn names(&self) -> Vec<String> {
        self.extractors
            .iter()
            .flat_map(|extractor| pattern::names(&extractor.pattern))
            .collect()
    }
}

impl Borrowed {
    pub(crate) fn binds(&self, name: &str) -> bool {
        pattern::names(&self.pattern)
            .iter()
            .any(|bound| bound == name)
    }
}

/// The reference that a type is, behind parentheses and the invisible groups of macros.
fn reference(ty: &Type) -> Option<&TypeReference> {
    match ty {
        Type::Reference(reference) => Some(reference),
        Type::Group(group) => reference(&group.elem),
        Type::Paren(paren) => reference(&paren.elem),
        _ => None,
    }
}

/// The tokens `&mut` or `&` of a reference.
fn borrow(reference: &TypeReference) -> TokenStream {
    let mut tokens = reference.and_token.to_token_stream();
    reference.mutability.to_tokens(&mut tokens);
    tokens
}

/// Transaction and attempt last as long as the request.
fn is_lent(reference: &TypeReference, errors: &mut Errors) {
    struct Statics<'a>(&'a mut Errors);

    impl VisitMut for Statics<'_> {
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            if lifetime.ident == "static" {
                self.0.at(
                    lifetime.span(),
                    "what is lent to a handler ends with the request; write `'_` in place of `'static`",
                );
            }
        }
    }

    Statics(errors).visit_type_reference_mut(&mut reference.clone());
}
