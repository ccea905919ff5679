//! Reads the module tree of a crate: the file of every module, the names that it defines and imports, and the paths that it mentions.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use syn::visit::{self, Visit};

/// The text of every file below `src`, by its path relative to that folder.
pub type Sources = BTreeMap<String, String>;

/// The modules of a crate; the first is the root.
#[derive(Default)]
pub struct ModuleTree {
    pub modules: Vec<Module>,
}

#[derive(Default)]
pub struct Module {
    /// Relative to `src`. An inline module has its parent's file.
    pub file: String,
    pub parent: Option<usize>,
    /// Whether it is compiled for tests alone.
    pub test: bool,
    pub children: BTreeMap<String, usize>,
    /// Names of functions, types, traits, constants and macros.
    pub items: BTreeSet<String>,
    pub imports: Vec<Import>,
    pub mentions: Vec<Mention>,
}

/// One leaf of a `use` tree.
pub struct Import {
    pub path: Vec<String>,
    /// The name that the import brings into scope; absent for a glob.
    pub name: Option<String>,
    pub reexport: bool,
}

/// A path in an expression, a type, a pattern, a bound or a macro call.
pub struct Mention {
    pub path: Vec<String>,
    pub is_macro: bool,
}

impl ModuleTree {
    /// Reads the crate whose root is the file `root`, which is `lib.rs` or `main.rs`.
    ///
    /// # Panics
    /// If a file is missing or is not Rust.
    pub fn read(sources: &Sources, root: &str) -> ModuleTree {
        let mut tree = ModuleTree::default();
        tree.modules.push(Module { file: root.to_owned(), ..Module::default() });
        Reader { sources, tree: &mut tree }.file(0, "");
        tree
    }

    /// The files that are compiled without tests.
    pub fn files(&self) -> BTreeSet<&str> {
        self.modules.iter().filter(|module| !module.test).map(|module| module.file.as_str()).collect()
    }
}

struct Reader<'s> {
    sources: &'s Sources,
    tree: &'s mut ModuleTree,
}

impl Reader<'_> {
    /// Reads the file of `module`, whose children lie in `folder`.
    fn file(&mut self, module: usize, folder: &str) {
        let file = &self.tree.modules[module].file;
        let text = self.sources.get(file).unwrap_or_else(|| panic!("{file} is missing"));
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        self.items(module, folder, &parsed.items);
    }

    fn items(&mut self, module: usize, folder: &str, items: &[syn::Item]) {
        for item in items {
            match item {
                syn::Item::Mod(item) => self.child(module, folder, item),
                _ if attributes(item).iter().any(for_tests) => {}
                syn::Item::Macro(item) if item.ident.is_none() => {
                    for name in modules_in(item.mac.tokens.clone()) {
                        self.child(module, folder, &syn::parse_quote!(mod #name;));
                    }
                    Collector { module: &mut self.tree.modules[module] }.visit_item_macro(item);
                }
                _ => {
                    let module = &mut self.tree.modules[module];
                    module.items.extend(name(item));
                    Collector { module }.visit_item(item);
                }
            }
        }
    }

    fn child(&mut self, parent: usize, folder: &str, item: &syn::ItemMod) {
        let (name, child) = (item.ident.to_string(), self.tree.modules.len());
        let test = self.tree.modules[parent].test || item.attrs.iter().any(for_tests);
        let mut file = self.tree.modules[parent].file.clone();
        let inner = format!("{folder}{name}/");
        let flat = format!("{folder}{name}.rs");
        if item.content.is_none() {
            file = if self.sources.contains_key(&flat) { flat } else { format!("{inner}mod.rs") };
        }
        self.tree.modules[parent].children.insert(name, child);
        self.tree.modules.push(Module { file, parent: Some(parent), test, ..Module::default() });
        match &item.content {
            Some((_, items)) => self.items(child, &inner, items),
            None => self.file(child, &inner),
        }
    }
}

/// Collects the imports and the paths of one module.
struct Collector<'m> {
    module: &'m mut Module,
}

impl Collector<'_> {
    fn import(&mut self, tree: &syn::UseTree, before: &[String], reexport: bool) {
        let mut import = |path: Vec<String>, name| self.module.imports.push(Import { path, name, reexport });
        match tree {
            syn::UseTree::Path(path) => {
                self.import(&path.tree, &[before, &[path.ident.to_string()]].concat(), reexport);
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, before, reexport)),
            syn::UseTree::Name(name) if name.ident == "self" => import(before.to_vec(), before.last().cloned()),
            syn::UseTree::Name(name) => {
                import([before, &[name.ident.to_string()]].concat(), Some(name.ident.to_string()));
            }
            syn::UseTree::Rename(rename) => {
                let last = rename.ident.to_string();
                let path = if last == "self" { before.to_vec() } else { [before, &[last]].concat() };
                import(path, Some(rename.rename.to_string()));
            }
            syn::UseTree::Glob(_) => import(before.to_vec(), None),
        }
    }

    /// Finds paths in the arguments of a macro, which are not parsed: identifiers joined by `::`, besides fields and lifetimes.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let sign =
            |at: usize, sign: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == sign);
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident) if at == 0 || !(sign(at - 1, '.') || sign(at - 1, '\'')) => {
                    let mut path = vec![ident.to_string()];
                    while sign(at + 1, ':') && sign(at + 2, ':') {
                        let Some(TokenTree::Ident(next)) = tokens.get(at + 3) else { break };
                        path.push(next.to_string());
                        at += 3;
                    }
                    let is_macro = sign(at + 1, '!') && !sign(at + 2, '=');
                    let called = matches!(tokens.get(at + 1), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis);
                    // A lone lowercase word is a variable more often than an item.
                    if path.len() > 1 || is_macro || called || path[0].starts_with(char::is_uppercase) {
                        self.module.mentions.push(Mention { path, is_macro });
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !attributes(item).iter().any(for_tests) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !item.attrs.iter().any(for_tests) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&item.tree, &[], !matches!(item.vis, syn::Visibility::Inherited));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.module.mentions.push(Mention { path: words(path), is_macro: false });
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.module.mentions.push(Mention { path: words(&call.path), is_macro: true });
        self.tokens(call.tokens.clone());
    }
}

fn words(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

/// Whether an attribute restricts its item to tests: `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, unix))]`.
pub fn for_tests(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return attribute.path().is_ident("test") };
    let condition = list.tokens.to_string();
    let words: Vec<&str> = condition.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    list.path.is_ident("cfg") && words.contains(&"test") && !words.contains(&"not")
}

/// The modules that a macro declares by passing `mod name;` on.
fn modules_in(tokens: TokenStream) -> Vec<proc_macro2::Ident> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let declared = tokens.windows(3).filter_map(|window| match window {
        [TokenTree::Ident(keyword), TokenTree::Ident(name), TokenTree::Punct(end)]
            if *keyword == "mod" && end.as_char() == ';' =>
        {
            Some(name.clone())
        }
        _ => None,
    });
    let nested = tokens.iter().filter_map(|token| match token {
        TokenTree::Group(group) => Some(modules_in(group.stream())),
        _ => None,
    });
    declared.chain(nested.flatten()).collect()
}

fn name(item: &syn::Item) -> Option<String> {
    let ident = match item {
        syn::Item::Const(item) => &item.ident,
        syn::Item::Enum(item) => &item.ident,
        syn::Item::Fn(item) => &item.sig.ident,
        syn::Item::Macro(item) => item.ident.as_ref()?,
        syn::Item::Static(item) => &item.ident,
        syn::Item::Struct(item) => &item.ident,
        syn::Item::Trait(item) => &item.ident,
        syn::Item::Type(item) => &item.ident,
        syn::Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
