//! A framework calls handlers with values that it owns, so in the outer signature every lifetime is `'static`.

use proc_macro2::Span;
use syn::visit_mut::{self, VisitMut};
use syn::{
    GenericParam, Generics, Lifetime, ParenthesizedGenericArguments, Type, TypeFnPtr,
    TypeReference, WherePredicate,
};

/// The generics without their lifetimes.
pub(crate) fn owned_generics(generics: &Generics) -> Generics {
    let mut owned = generics.clone();
    let mut rename = Rename::new(generics, "'static");
    owned.params = owned
        .params
        .into_iter()
        .filter(|param| !matches!(param, GenericParam::Lifetime(_)))
        .collect();
    for param in &mut owned.params {
        rename.visit_generic_param_mut(param);
    }
    if let Some(clause) = &mut owned.where_clause {
        clause.predicates = std::mem::take(&mut clause.predicates)
            .into_iter()
            .filter(|predicate| !matches!(predicate, WherePredicate::Lifetime(_)))
            .collect();
        rename.visit_where_clause_mut(clause);
    }
    owned
}

/// The type as it can be written in a signature without lifetimes.
pub(crate) fn owned_type(ty: &Type, generics: &Generics) -> Type {
    let mut ty = ty.clone();
    let mut rename = Rename::new(generics, "'static");
    rename.elided = true;
    rename.visit_type_mut(&mut ty);
    ty
}

/// The type as it can be written in the body of that function, where lifetimes are inferred.
pub(crate) fn inferred_type(ty: &Type, generics: &Generics) -> Type {
    let mut ty = ty.clone();
    Rename::new(generics, "'_").visit_type_mut(&mut ty);
    ty
}

struct Rename {
    /// The lifetimes that the function declares.
    declared: Vec<Lifetime>,
    /// Whether lifetimes that are left out, or `'_`, are renamed too.
    elided: bool,
    replacement: &'static str,
}

impl Rename {
    fn new(generics: &Generics, replacement: &'static str) -> Self {
        let declared = generics
            .lifetimes()
            .map(|param| param.lifetime.clone())
            .collect();
        Self {
            declared,
            elided: false,
            replacement,
        }
    }

    fn lifetime(&self, span: Span) -> Lifetime {
        Lifetime::new(self.replacement, span)
    }

    /// In the signature of a function pointer or an `Fn` bound, a lifetime that is left out belongs to that signature.
    fn within_signature(&mut self, visit: impl FnOnce(&mut Self)) {
        let elided = std::mem::replace(&mut self.elided, false);
        visit(self);
        self.elided = elided;
    }
}

impl VisitMut for Rename {
    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if self
            .declared
            .iter()
            .any(|declared| declared.ident == lifetime.ident)
            || (self.elided && lifetime.ident == "_")
        {
            *lifetime = self.lifetime(lifetime.span());
        }
    }

    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        if self.elided && reference.lifetime.is_none() {
            reference.lifetime = Some(self.lifetime(reference.and_token.span));
        }
        visit_mut::visit_type_reference_mut(self, reference);
    }

    fn visit_type_fn_ptr_mut(&mut self, function: &mut TypeFnPtr) {
        self.within_signature(|this| visit_mut::visit_type_fn_ptr_mut(this, function));
    }

    fn visit_parenthesized_generic_arguments_mut(
        &mut self,
        arguments: &mut ParenthesizedGenericArguments,
    ) {
        self.within_signature(|this| {
            visit_mut::visit_parenthesized_generic_arguments_mut(this, arguments);
        });
    }
}

#[cfg(test)]
mod tests {
    use quote::ToTokens;
    use syn::{ItemFn, parse_quote};

    use super::*;

    fn function() -> ItemFn {
        parse_quote! {
            async fn create<'a, 'b: 'a, C: Ledger + 'a, const N: usize>() where 'b: 'a, C: for<'c> Open<'c>, &'a C: Sync {}
        }
    }

    fn text(tokens: &impl ToTokens) -> String {
        tokens.to_token_stream().to_string()
    }

    #[test]
    fn generics_lose_their_lifetimes() {
        let generics = owned_generics(&function().sig.generics);
        let expected: ItemFn = parse_quote! {
            fn create<C: Ledger + 'static, const N: usize>() where C: for<'c> Open<'c>, &'static C: Sync {}
        };
        assert_eq!(text(&generics), text(&expected.sig.generics));
        assert_eq!(
            text(&generics.where_clause),
            text(&expected.sig.generics.where_clause)
        );
    }

    #[test]
    fn every_lifetime_of_a_signature_becomes_static() {
        let generics = function().sig.generics;
        for (ty, expected) in [
            (
                "Transaction<'_, Postgres>",
                "Transaction<'static, Postgres>",
            ),
            (
                "Transaction<'a, Postgres>",
                "Transaction<'static, Postgres>",
            ),
            ("Extension<&Config>", "Extension<&'static Config>"),
            (
                "Extension<&'b mut Config>",
                "Extension<&'static mut Config>",
            ),
            (
                "State<fn(&str) -> Cow<'_, str>>",
                "State<fn(&str) -> Cow<'_, str>>",
            ),
            (
                "State<Arc<dyn Fn(&str, Cow<'_, str>) + 'a>>",
                "State<Arc<dyn Fn(&str, Cow<'_, str>) + 'static>>",
            ),
            ("State<dyn for<'c> Open<'c>>", "State<dyn for<'c> Open<'c>>"),
        ] {
            let (ty, expected): (Type, Type) = (
                syn::parse_str(ty).unwrap(),
                syn::parse_str(expected).unwrap(),
            );
            assert_eq!(text(&owned_type(&ty, &generics)), text(&expected));
        }
    }

    #[test]
    fn declared_lifetimes_are_inferred_in_a_body() {
        let generics = function().sig.generics;
        let ty: Type = parse_quote!(Transaction<'a, Either<'static, &u8, Cow<'_, str>>>);
        let expected: Type = parse_quote!(Transaction<'_, Either<'static, &u8, Cow<'_, str>>>);
        assert_eq!(text(&inferred_type(&ty, &generics)), text(&expected));
    }
}
