//! Which functions a template calls, so that an unknown one is refused when stages are loaded, as Go does.

use gotmpl::{
    Template,
    parse::{CommandNode, Expr, ListNode, Node, PipeNode},
};

/// The functions that every Go template has.
const BUILTINS: [&str; 20] = [
    "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "call", "eq", "ne", "lt", "le", "gt",
    "ge", "html", "js", "urlquery", "nil",
];

/// The first function called that is neither in `known` nor built in.
pub(super) fn unknown_function(template: &Template, known: &[String]) -> Option<String> {
    let is_known = |name: &str| BUILTINS.contains(&name) || known.iter().any(|known| known == name);
    let mut called = Vec::new();
    for name in template.templates() {
        if let Some(body) = template.lookup(name) {
            list(body, &mut called);
        }
    }
    called.into_iter().find(|name| !is_known(name))
}

fn list(body: &ListNode, called: &mut Vec<String>) {
    body.nodes.iter().for_each(|inner| node(inner, called));
}

fn node(inner: &Node, called: &mut Vec<String>) {
    match inner {
        Node::List(body) => list(body, called),
        Node::Action(action) => pipe(&action.pipe, called),
        Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
            pipe(&branch.pipe, called);
            list(&branch.body, called);
            branch.else_body.iter().for_each(|body| list(body, called));
        }
        Node::Template(invoked) => invoked.pipe.iter().for_each(|inner| pipe(inner, called)),
        Node::Define(defined) => list(&defined.body, called),
        Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
    }
}

fn pipe(inner: &PipeNode, called: &mut Vec<String>) {
    inner.commands.iter().for_each(|inner| command(inner, called));
}

fn command(inner: &CommandNode, called: &mut Vec<String>) {
    inner.args.iter().for_each(|argument| expression(argument, called));
}

fn expression(inner: &Expr, called: &mut Vec<String>) {
    match inner {
        Expr::Identifier(_, name) => called.push(name.to_string()),
        Expr::Pipe(_, inner) => pipe(inner, called),
        Expr::Chain(_, inner, _) => expression(inner, called),
        Expr::Dot(_)
        | Expr::Field(..)
        | Expr::Variable(..)
        | Expr::String(..)
        | Expr::Number(..)
        | Expr::Bool(..)
        | Expr::Nil(_) => {}
    }
}
