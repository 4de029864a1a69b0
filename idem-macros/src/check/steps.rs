//! The names of a handler's steps: each is a literal, and is used once.

use std::mem;

use proc_macro2::Span;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Block, Expr, ExprClosure, ExprForLoop, ExprIf, ExprLit, ExprLoop, ExprMatch, ExprMethodCall,
    ExprWhile, Ident, Item, Lit, LitStr, LocalInit, Pat,
};

use super::arguments::{Arguments, Borrowed};
use super::known::{Known, is_connection};
use crate::errors::Errors;
use crate::options::Name;
use crate::parse::Given;
use crate::value;

const METHODS: [&str; 3] = ["commit", "call", "call_once"];

/// Checks the names of all steps that the handler makes by its own argument. A function that gets the steps from the
/// handler is not seen.
pub(crate) fn check(given: &Given, arguments: &Arguments, body: &Block, errors: &mut Errors) {
    let Some(Borrowed { pattern, ty }) = &arguments.transaction else {
        return;
    };
    let has_lease = given.entry(Name::Lease).is_some() && !is_connection(ty);
    if let Pat::Ident(argument) = pattern
        && (has_lease || matches!(Known::of(ty), Some(Known::Steps)))
    {
        let mut steps = Steps {
            argument: &argument.ident,
            is_loop: false,
            used: Vec::new(),
            errors,
        };
        steps.visit_block_mut(&mut body.clone());
    }
}

struct Steps<'a> {
    argument: &'a Ident,
    /// Whether the code that is visited can run more than once.
    is_loop: bool,
    /// The names that can have been used when this code runs, and their places.
    used: Vec<(String, Span)>,
    errors: &'a mut Errors,
}

impl Steps<'_> {
    /// Visits one of several branches, and returns the names that it uses.
    fn branch(&mut self, visit: impl FnOnce(&mut Self)) -> Vec<(String, Span)> {
        let before = self.used.len();
        visit(self);
        self.used.split_off(before)
    }

    fn in_loop(&mut self, visit: impl FnOnce(&mut Self)) {
        let outside = mem::replace(&mut self.is_loop, true);
        visit(self);
        self.is_loop = outside;
    }

    fn step(&mut self, name: &Expr) {
        let (literal, is_numbered) = match (literal(name), bare(name)) {
            (Some(literal), _) => (literal, false),
            (None, Expr::Tuple(tuple)) if tuple.elems.len() == 2 => {
                match literal(&tuple.elems[0]) {
                    Some(literal) => (literal, true),
                    None => return self.refuse(&tuple.elems[0]),
                }
            }
            _ => return self.refuse(name),
        };
        let name = match value::step(literal) {
            Ok(name) => name,
            Err(error) => return self.errors.push(error),
        };
        if is_numbered {
            return;
        }
        if self.is_loop {
            return self.errors.at(
                literal.span(),
                format!("the step `{name}` is in a loop, and a name is used once; name it `({name:?}, id)`"),
            );
        }
        if let Some((_, first)) = self.used.iter().find(|(used, _)| *used == name) {
            let line = first.start().line;
            return self.errors.at(
                literal.span(),
                format!("the step `{name}` is used twice, in line {line} first; rename one of the two, or name both as in `({name:?}, id)`"),
            );
        }
        self.used.push((name, literal.span()));
    }

    fn refuse(&mut self, name: &Expr) {
        self.errors.spanned(
            name,
            r#"a step is named by a literal, such as `"charge"`, or `("charge", id)` in a loop"#,
        );
    }
}

impl VisitMut for Steps<'_> {
    fn visit_expr_method_call_mut(&mut self, call: &mut ExprMethodCall) {
        visit_mut::visit_expr_method_call_mut(self, call);
        let is_step = METHODS.iter().any(|method| call.method == method);
        if let (true, Expr::Path(receiver), Some(name)) =
            (is_step, bare(&call.receiver), call.args.first())
            && receiver.path.is_ident(self.argument)
        {
            self.step(name);
        }
    }

    fn visit_expr_if_mut(&mut self, branches: &mut ExprIf) {
        self.visit_expr_mut(&mut branches.cond);
        let then = self.branch(|steps| steps.visit_block_mut(&mut branches.then_branch));
        if let Some((_, other)) = &mut branches.else_branch {
            let other = self.branch(|steps| steps.visit_expr_mut(other));
            self.used.extend(other);
        }
        self.used.extend(then);
    }

    fn visit_expr_match_mut(&mut self, branches: &mut ExprMatch) {
        self.visit_expr_mut(&mut branches.expr);
        let mut all = Vec::new();
        for arm in &mut branches.arms {
            // Guards run one after another.
            self.visit_pat_mut(&mut arm.pat);
            all.extend(self.branch(|steps| steps.visit_expr_mut(&mut arm.body)));
        }
        self.used.extend(all);
    }

    fn visit_local_init_mut(&mut self, init: &mut LocalInit) {
        self.visit_expr_mut(&mut init.expr);
        if let Some((_, other)) = &mut init.diverge {
            // Nothing runs after this branch.
            self.branch(|steps| steps.visit_expr_mut(other));
        }
    }

    fn visit_expr_for_loop_mut(&mut self, each: &mut ExprForLoop) {
        self.visit_expr_mut(&mut each.expr);
        self.in_loop(|steps| steps.visit_block_mut(&mut each.body));
    }

    fn visit_expr_while_mut(&mut self, body: &mut ExprWhile) {
        self.in_loop(|steps| visit_mut::visit_expr_while_mut(steps, body));
    }

    fn visit_expr_loop_mut(&mut self, body: &mut ExprLoop) {
        self.in_loop(|steps| visit_mut::visit_expr_loop_mut(steps, body));
    }

    // The argument is borrowed while a step runs, so a closure has no steps of its own.
    fn visit_expr_closure_mut(&mut self, _: &mut ExprClosure) {}

    fn visit_item_mut(&mut self, _: &mut Item) {}
}

fn literal(name: &Expr) -> Option<&LitStr> {
    match bare(name) {
        Expr::Lit(ExprLit {
            lit: Lit::Str(literal),
            ..
        }) => Some(literal),
        _ => None,
    }
}

/// The expression without parentheses and without the invisible groups that macros leave.
fn bare(expression: &Expr) -> &Expr {
    match expression {
        Expr::Group(group) => bare(&group.expr),
        Expr::Paren(paren) => bare(&paren.expr),
        _ => expression,
    }
}
