//! The role of each argument of the handler: the transaction, the attempt, or an extractor.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::visit_mut::VisitMut;
use syn::{FnArg, ItemFn, Lifetime, Pat, PatType, Type, TypeReference};

use super::known::{Known, mentioned_connection};
use crate::errors::Errors;
use crate::model::{Extractor, Role};
use crate::{pattern, suggest};

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
    /// The type that the reference is to.
    pub(crate) ty: Type,
}

impl Arguments {
    /// Reads the arguments. An extractor is never a reference, so the way in which an argument is taken gives its role.
    pub(crate) fn read(function: &ItemFn, errors: &mut Errors) -> Self {
        let mut arguments = Self::default();
        for argument in &function.sig.inputs {
            if let FnArg::Typed(argument) = argument {
                arguments.push(argument, errors);
            }
        }
        if arguments.transaction.is_none() {
            arguments.report_missing_transaction(function, errors);
        }
        arguments
    }

    /// The transaction can be there, but taken by value.
    fn report_missing_transaction(&self, function: &ItemFn, errors: &mut Errors) {
        for Extractor { ty, .. } in &self.extractors {
            let problem = match Known::of(ty) {
                Some(Known::Transaction) => by_mut("transaction is", ty),
                Some(Known::Steps) => by_mut("steps are", ty),
                Some(Known::NoTransaction(problem)) => problem,
                _ => continue,
            };
            errors.spanned(ty, problem);
            return;
        }
        let connection = mentioned_connection(&function.sig.inputs);
        errors.at(
            function.sig.paren_token.span.join(),
            format!("no transaction argument; take one by `&mut`, not by an alias, such as `tx: &mut {connection}`"),
        );
    }

    fn push(&mut self, argument: &PatType, errors: &mut Errors) {
        let Some(reference) = reference(&argument.ty) else {
            if let Some(Known::Attempt) = Known::of(&argument.ty) {
                let name = match &*argument.pat {
                    Pat::Ident(binding) => binding.ident.to_string(),
                    _ => "attempt".to_owned(),
                };
                errors.spanned(
                    &argument.ty,
                    format!("the attempt is taken by `&`; write `{name}: &Attempt`"),
                );
                return;
            }
            check_authorization(&argument.pat, errors);
            self.roles.push(Role::Extractor(self.extractors.len()));
            self.extractors.push(Extractor {
                pattern: Pat::clone(&argument.pat),
                ty: Type::clone(&argument.ty),
            });
            return;
        };
        let known = Known::of(&reference.elem);
        let is_transaction = match known {
            Some(Known::Attempt) => false,
            Some(Known::Transaction | Known::Steps | Known::NoTransaction(_)) => true,
            None => reference.mutability.is_some(),
        };
        let (role, slot, name, problem) = if is_transaction {
            (
                Role::Transaction,
                &mut self.transaction,
                "transaction",
                "second argument taken by `&mut`; a handler has one transaction",
            )
        } else {
            (
                Role::Attempt,
                &mut self.attempt,
                "attempt",
                "second argument taken by `&`; a handler has one `&Attempt`",
            )
        };
        self.roles.push(role);
        if slot.is_some() {
            errors.spanned(borrow(reference), problem);
            return;
        }
        match known {
            Some(Known::NoTransaction(problem)) => errors.spanned(&argument.ty, problem),
            Some(Known::Attempt) if reference.mutability.is_some() => {
                errors.spanned(
                    &argument.ty,
                    "the attempt is taken by `&`; write `&Attempt`",
                );
            }
            Some(Known::Transaction) if reference.mutability.is_none() => {
                errors.spanned(&argument.ty, by_mut("transaction is", &reference.elem));
            }
            Some(Known::Steps) if reference.mutability.is_none() => {
                errors.spanned(&argument.ty, by_mut("steps are", &reference.elem));
            }
            Some(Known::Steps) => check_lifetimes(reference, "argument", "", errors),
            _ => {
                let instead = if is_transaction {
                    ", or take `&mut Shared<_>`, which has no lifetime"
                } else {
                    ""
                };
                check_lifetimes(reference, name, instead, errors);
            }
        }
        *slot = Some(Borrowed {
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

/// `#[protect]` of protect-axum and actix-web-grants adds this argument, and writes its check into the body.
fn check_authorization(pattern: &Pat, errors: &mut Errors) {
    if pattern::names(pattern)
        .iter()
        .any(|name| name.starts_with("_auth_details_"))
    {
        errors.spanned(
            pattern,
            "above `#[idempotent]` this attribute checks first requests only, and no replays; move it below `#[idempotent]`",
        );
    }
}

/// `role` is the argument's, with its verb.
fn by_mut(role: &str, ty: &Type) -> String {
    let ty = suggest::source(ty).replace("'static", "'_");
    format!("the {role} taken by `&mut`; write `&mut {ty}`")
}

/// The type as a reference, without parentheses and without the invisible groups that macros leave.
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

/// The transaction and the attempt live as long as the request.
fn check_lifetimes(reference: &TypeReference, name: &str, instead: &str, errors: &mut Errors) {
    struct Statics<'a> {
        name: &'a str,
        instead: &'a str,
        errors: &'a mut Errors,
    }

    impl VisitMut for Statics<'_> {
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            if lifetime.ident == "static" {
                let Self { name, instead, .. } = *self;
                self.errors.at(
                    lifetime.span(),
                    format!("the {name} does not live as long as `'static`; write `'_`{instead}"),
                );
            }
        }
    }

    Statics {
        name,
        instead,
        errors,
    }
    .visit_type_reference_mut(&mut reference.clone());
}
