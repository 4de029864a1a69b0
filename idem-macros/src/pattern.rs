//! The names that an argument's pattern binds, and a pattern that binds only one of them.

use syn::visit_mut::{self, VisitMut};
use syn::{FieldPat, Ident, Pat, PatIdent, PatWild, Token};

/// The names that `pattern` binds, in order.
pub(crate) fn names(pattern: &Pat) -> Vec<String> {
    bindings(pattern).iter().map(Ident::to_string).collect()
}

/// The token at which `pattern` binds `name`.
pub(crate) fn binding(pattern: &Pat, name: &str) -> Option<Ident> {
    let mut bindings = bindings(pattern).into_iter();
    bindings.find(|binding| binding == name)
}

fn bindings(pattern: &Pat) -> Vec<Ident> {
    let mut visitor = Bindings {
        kept: None,
        found: Vec::new(),
    };
    visitor.visit_pat_mut(&mut pattern.clone());
    visitor.found
}

/// `pattern` with only `name` bound, as `replacement`. It borrows: matched against a reference, a plain binding is one.
pub(crate) fn binding_only(pattern: &Pat, name: &str, replacement: &Ident) -> Pat {
    let mut pattern = pattern.clone();
    Bindings {
        kept: Some((name, replacement)),
        found: Vec::new(),
    }
    .visit_pat_mut(&mut pattern);
    pattern
}

struct Bindings<'a> {
    kept: Option<(&'a str, &'a Ident)>,
    found: Vec<Ident>,
}

impl Bindings<'_> {
    /// The pattern in place of a binding: the wanted one gets its new name, any other leaves the pattern after its `@`.
    fn rebind(&mut self, binding: PatIdent) -> Pat {
        let name = binding.ident.to_string();
        if is_binding(&binding) {
            self.found.push(binding.ident.clone());
        }
        let subpat = binding.subpat.map(|(at, mut inner)| {
            self.visit_pat_mut(&mut inner);
            (at, inner)
        });
        match (self.kept, subpat) {
            (Some((kept, replacement)), subpat) if kept == name => Pat::Ident(PatIdent {
                attrs: Vec::new(),
                by_ref: None,
                mutability: None,
                ident: replacement.clone(),
                subpat,
            }),
            (_, Some((_, inner))) => *inner,
            (_, None) => Pat::Wild(PatWild {
                attrs: Vec::new(),
                underscore_token: Token![_](binding.ident.span()),
            }),
        }
    }
}

impl VisitMut for Bindings<'_> {
    fn visit_pat_mut(&mut self, pattern: &mut Pat) {
        match pattern {
            Pat::Ident(binding) => *pattern = self.rebind(binding.clone()),
            // Matched against a reference, a pattern must not have a `&` of its own, and needs none.
            Pat::Reference(reference) => {
                self.visit_pat_mut(&mut reference.pat);
                *pattern = Pat::clone(&reference.pat);
            }
            _ => visit_mut::visit_pat_mut(self, pattern),
        }
    }

    fn visit_field_pat_mut(&mut self, field: &mut FieldPat) {
        // `Claims { tenant }` is short for `Claims { tenant: tenant }`, and only the long form can bind another name.
        field.colon_token.get_or_insert_with(<Token![:]>::default);
        self.visit_pat_mut(&mut field.pat);
    }
}

/// Whether the pattern binds a name. A constant or a unit struct looks the same but for its capital letter.
fn is_binding(binding: &PatIdent) -> bool {
    let upper = binding.ident.to_string().starts_with(char::is_uppercase);
    !upper || binding.by_ref.is_some() || binding.mutability.is_some() || binding.subpat.is_some()
}

#[cfg(test)]
mod tests {
    use quote::{ToTokens, format_ident, quote};
    use syn::parse::Parser;

    use super::*;

    fn pattern(text: &str) -> Pat {
        Pat::parse_single.parse_str(text).unwrap()
    }

    #[test]
    fn every_binding_is_listed() {
        for (text, expected) in [
            ("tenant", vec!["tenant"]),
            ("mut tenant", vec!["tenant"]),
            ("_", vec![]),
            ("Extension(mut tenant)", vec!["tenant"]),
            (
                "Query(Params { tenant, page: Page(number, ..), .. })",
                vec!["tenant", "number"],
            ),
            ("claims @ Claims { ref id, .. }", vec!["claims", "id"]),
            ("(Left(x) | Right(x))", vec!["x", "x"]),
            ("[first, .., &last]", vec!["first", "last"]),
            ("Marker", vec![]),
        ] {
            assert_eq!(names(&pattern(text)), expected, "{text}");
        }
    }

    #[test]
    fn only_the_wanted_name_stays_bound() {
        for (text, expected) in [
            ("tenant", quote!(whose)),
            ("mut tenant", quote!(whose)),
            ("ref tenant", quote!(whose)),
            ("Extension(mut tenant)", quote!(Extension(whose))),
            ("Pair(tenant, mut other)", quote!(Pair(whose, _))),
            (
                "Query(Params { tenant, ref page, .. })",
                quote!(Query(Params {
                    tenant: whose,
                    page: _,
                    ..
                })),
            ),
            (
                "tenant @ Claims { id, .. }",
                quote!(whose @ Claims { id: _, .. }),
            ),
            (
                "claims @ Claims { tenant, .. }",
                quote!(Claims { tenant: whose, .. }),
            ),
            ("Extension(&tenant)", quote!(Extension(whose))),
            ("all @ tenant", quote!(whose)),
            ("tenant @ all", quote!(whose @ _)),
            (
                "(Left(tenant) | Right(tenant))",
                quote!((Left(whose) | Right(whose))),
            ),
            ("(Marker, tenant)", quote!((_, whose))),
        ] {
            let bound = binding_only(&pattern(text), "tenant", &format_ident!("whose"));
            assert_eq!(
                bound.to_token_stream().to_string(),
                expected.to_string(),
                "{text}"
            );
        }
    }
}
