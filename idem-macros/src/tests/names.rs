//! Names of the generated code and names of the user's can't be taken for each other.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, File, Ident, Item, Label, PatIdent, Path, Stmt, UseRename};

use super::expansions::Case;
use super::{expand, expand_for};
use crate::framework::{Actix, Axum, Framework};

/// The names in generated code that a user's name could stand for, or that could stand for a user's.
struct Names {
    /// The identifiers in the handler and its attribute.
    given: BTreeSet<String>,
    /// The names that the code declares without the prefix.
    declared: Vec<String>,
    /// The paths that begin neither at a crate nor with a given name.
    relative: Vec<String>,
}

impl Names {
    fn of(mut file: File, handler: &str) -> Self {
        let mut given = BTreeSet::new();
        identifiers(handler.parse().unwrap(), &mut given);
        let mut names = Self {
            given,
            declared: Vec::new(),
            relative: Vec::new(),
        };
        // The handler stays as it was written, in the function that the framework calls.
        for item in &mut file.items {
            if let Item::Fn(function) = item {
                function
                    .block
                    .stmts
                    .retain(|statement| !matches!(statement, Stmt::Item(Item::Fn(_))));
            }
        }
        names.visit_file_mut(&mut file);
        names
    }

    fn declare(&mut self, name: &Ident) {
        let name = name.to_string();
        if !name.starts_with("__idem_") && !name.starts_with("__IDEM_") {
            self.declared.push(name);
        }
    }
}

impl VisitMut for Names {
    fn visit_pat_ident_mut(&mut self, pattern: &mut PatIdent) {
        self.declare(&pattern.ident);
        visit_mut::visit_pat_ident_mut(self, pattern);
    }

    fn visit_item_mut(&mut self, item: &mut Item) {
        match item {
            Item::Const(item) => self.declare(&item.ident),
            Item::Static(item) => self.declare(&item.ident),
            // A function is called as the handler is, `visit_use_rename_mut` looks at an import, and the macros are
            // the messages of a fallback.
            Item::Fn(_) | Item::Use(_) | Item::Macro(_) => {}
            _ => panic!("an item of another kind: say here how it is named"),
        }
        visit_mut::visit_item_mut(self, item);
    }

    fn visit_use_rename_mut(&mut self, rename: &mut UseRename) {
        if rename.rename != "_" {
            self.declare(&rename.rename);
        }
    }

    fn visit_use_name_mut(&mut self, name: &mut syn::UseName) {
        self.declare(&name.ident);
    }

    fn visit_use_glob_mut(&mut self, _: &mut syn::UseGlob) {
        self.declared.push("*".to_owned());
    }

    fn visit_label_mut(&mut self, label: &mut Label) {
        self.declare(&label.name.ident);
    }

    fn visit_path_mut(&mut self, path: &mut Path) {
        let first = path.segments[0].ident.to_string();
        let is_known = path.leading_colon.is_some()
            || first.to_lowercase().starts_with("__idem_")
            || self.given.contains(&first);
        if !is_known {
            self.relative.push(first);
        }
        visit_mut::visit_path_mut(self, path);
    }

    // Attributes have names of their own.
    fn visit_attribute_mut(&mut self, _: &mut Attribute) {}
}

fn identifiers(tokens: TokenStream, found: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => drop(found.insert(ident.to_string())),
            TokenTree::Group(group) => identifiers(group.stream(), found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn check_all<F: Framework>() {
    for case in Case::all::<F>() {
        let names = Names::of(case.expand::<F>(), &case.handler);
        let none: [String; 0] = [];
        assert_eq!(names.declared, none, "declared in {}", case.name());
        assert_eq!(names.relative, none, "used in {}", case.name());
    }
}

#[test]
fn generated_names_have_the_prefix_and_generated_paths_begin_at_a_crate() {
    check_all::<Axum>();
    check_all::<Actix>();
}

#[test]
fn names_and_paths_of_every_kind_are_found() {
    let file = syn::parse_quote! {
        fn pay(a: A, __idem_b: ::b::B<C>) {
            const D: u8 = 1;
            static __IDEM_E: given::E = 1;
            use ::f::F as _;
            use ::g::{G as H, I};
            fn pay(ignored: Ignored) {}
            if let Ok(j @ k) = 'l: { l } {}
            match m { Some(n) | ::o::Some(n) => |p| q, }
        }
    };
    let names = Names::of(file, "given");
    assert_eq!(
        names.declared,
        ["a", "D", "H", "I", "j", "k", "l", "n", "n", "p"]
    );
    assert_eq!(
        names.relative,
        ["A", "C", "u8", "Ok", "l", "m", "Some", "q"]
    );
}

#[test]
fn a_renamed_adapter_is_the_only_one_that_is_named() {
    let source = r#"#[idempotent(ttl = "1s", scope = "id", crate = crate::web::idem)]
        async fn pay(tx: &mut PgConnection, attempt: &Attempt, id: Path<i64>) -> StatusCode {}"#;
    for text in [
        expand(source).to_string(),
        expand(&source.replace("1s", "0s")).to_string(),
        expand_for::<Actix>(source).to_string(),
        expand_for::<Actix>(&source.replace("1s", "0s")).to_string(),
    ] {
        assert!(text.contains("crate :: web :: idem :: __private :: Response"));
        assert!(!text.contains("idem_axum") && !text.contains("idem_actix"));
    }
}
