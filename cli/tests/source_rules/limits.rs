//! The lengths of files, functions and names of tests.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

pub const LINES_PER_FILE: usize = 450;
pub const LINES_PER_FUNCTION: usize = 80;
pub const CHARACTERS_PER_TEST_NAME: usize = 70;

/// The names and the lengths in lines, from `fn` to the closing brace, of the functions of a file that are not for tests.
pub fn functions(text: &str) -> Vec<(String, usize)> {
    let mut lengths = Lengths(Vec::new());
    lengths.visit_file(&syn::parse_file(text).expect("a source file is Rust"));
    lengths.0
}

struct Lengths(Vec<(String, usize)>);

impl Lengths {
    fn push(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let (first, last) = (signature.fn_token.span().start().line, body.span().end().line);
        self.0.push((signature.ident.to_string(), last + 1 - first));
    }
}

impl<'ast> Visit<'ast> for Lengths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !item.attrs.iter().any(crate::modules::for_tests) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.push(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.push(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        item.default.iter().for_each(|body| self.push(&item.sig, body));
        visit::visit_trait_item_fn(self, item);
    }
}

/// The names of the functions marked `#[test]` or `#[tokio::test]`, also within macros.
pub fn tests(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    collect_tests(text.parse().expect("a source file is Rust"), &mut names);
    names
}

fn collect_tests(tokens: TokenStream, names: &mut Vec<String>) {
    let (mut marked, mut keyword) = (false, false);
    for token in tokens {
        match &token {
            TokenTree::Ident(ident) if keyword => {
                names.extend(marked.then(|| ident.to_string()));
                (marked, keyword) = (false, false);
            }
            TokenTree::Ident(ident) => keyword = *ident == "fn",
            TokenTree::Group(group) => {
                marked |= is_test(group);
                collect_tests(group.stream(), names);
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Whether a group is the `[test]` or the `[tokio::test(…)]` of an attribute.
fn is_test(group: &proc_macro2::Group) -> bool {
    let text: String = group.stream().to_string().split_whitespace().collect();
    let bracket = group.delimiter() == proc_macro2::Delimiter::Bracket;
    bracket && (text == "test" || text == "tokio::test" || text.starts_with("tokio::test("))
}
