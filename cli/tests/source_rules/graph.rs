//! Which file of a crate uses which: every import and path leads from the file that mentions it to the file that defines the item.

use crate::modules::{Import, ModuleTree};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// By using and used file: the names that are used.
#[derive(Default)]
pub struct FileGraph(pub BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl FileGraph {
    /// Declarations of modules and re-exports are no uses; code for tests is left out.
    pub fn of(tree: &ModuleTree) -> FileGraph {
        let mut graph = FileGraph::default();
        let resolver = Resolver { tree };
        for (module, content) in tree.modules.iter().enumerate().filter(|(_, module)| !module.test) {
            let mut used =
                |defining: usize, name: &str| graph.insert(&content.file, &tree.modules[defining].file, name);
            for import in content.imports.iter().filter(|import| !import.reexport) {
                match resolver.path(module, &import.path, &mut BTreeSet::new()) {
                    Target::Item(defining, name) => used(defining, name),
                    Target::Module(glob) if import.name.is_none() => used(glob, "*"),
                    // The paths through an imported module count, not its import.
                    Target::Module(_) | Target::External => {}
                }
            }
            for mention in &content.mentions {
                match resolver.path(module, &mention.path, &mut BTreeSet::new()) {
                    Target::Item(defining, name) => used(defining, name),
                    Target::External if mention.is_macro && mention.path.len() == 1 => {
                        // A macro is in scope in the modules declared after it.
                        let name = &mention.path[0];
                        let defining = tree.ancestors(module).find(|at| tree.modules[*at].items.contains(name));
                        defining.into_iter().for_each(|defining| used(defining, name));
                    }
                    Target::Module(_) | Target::External => {}
                }
            }
        }
        graph
    }

    fn insert(&mut self, from: &str, to: &str, name: &str) {
        if from != to {
            let names = self.0.entry(from.to_owned()).or_default().entry(to.to_owned()).or_default();
            names.insert(name.to_owned());
        }
    }

    /// The number of pairs of files of which one uses the other.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    pub fn uses(&self, from: &str, to: &str) -> bool {
        self.0.get(from).is_some_and(|used| used.contains_key(to))
    }

    /// The largest groups of files that all reach one another.
    pub fn cycles(&self) -> Vec<BTreeSet<&str>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            self.0.keys().map(|file| (file.as_str(), self.reached(file))).collect();
        let mut cycles: Vec<BTreeSet<&str>> = Vec::new();
        for (file, from_file) in &reached {
            let mutual = |other: &&&str| reached.get(**other).is_some_and(|from_other| from_other.contains(file));
            if from_file.contains(file) && !cycles.iter().any(|cycle| cycle.contains(file)) {
                cycles.push(from_file.iter().filter(mutual).copied().collect());
            }
        }
        cycles
    }

    /// The files that can be reached from `file`, which is among them only if a cycle leads back to it.
    fn reached<'g>(&'g self, file: &'g str) -> BTreeSet<&'g str> {
        let (mut reached, mut open) = (BTreeSet::new(), vec![file]);
        while let Some(next) = open.pop() {
            let used = self.0.get(next).into_iter().flat_map(|used| used.keys());
            open.extend(used.map(String::as_str).filter(|used| reached.insert(*used)));
        }
        reached
    }

    /// The uses that tie the files of a cycle together, a line each.
    pub fn describe(&self, cycle: &BTreeSet<&str>) -> String {
        let mut text = format!("{} files use one another:\n", cycle.len());
        for from in cycle {
            for (to, names) in self.0[*from].iter().filter(|(to, _)| cycle.contains(to.as_str())) {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                writeln!(text, "  {from} uses {to}: {}", names.join(", ")).expect("a string takes all text");
            }
        }
        text
    }
}

impl ModuleTree {
    /// The module itself and the modules around it, innermost first.
    fn ancestors(&self, module: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(module), |at| self.modules[*at].parent)
    }
}

/// The meaning of a path.
#[derive(Clone, Copy)]
enum Target<'t> {
    Module(usize),
    /// An item or a part of one, by the module that defines it and its name there.
    Item(usize, &'t str),
    /// Another crate, a local variable, a type parameter.
    External,
}

struct Resolver<'t> {
    tree: &'t ModuleTree,
}

/// The names that are being resolved, by module: imports can refer to one another in circles.
type Pending = BTreeSet<(usize, String)>;

impl<'t> Resolver<'t> {
    fn path(&self, module: usize, path: &'t [String], pending: &mut Pending) -> Target<'t> {
        let mut target = Target::Module(module);
        for (i, word) in path.iter().enumerate() {
            let Target::Module(at) = target else { break };
            let leads_on = i + 1 < path.len();
            target = match word.as_str() {
                "crate" => Target::Module(0),
                "self" => target,
                "super" => Target::Module(self.tree.modules[at].parent.unwrap_or_default()),
                name => match self.name(at, name, module, leads_on, pending) {
                    Some(found) => found,
                    None if i == 0 => Target::External,
                    // A macro must have made it.
                    None => Target::Item(at, name),
                },
            };
        }
        target
    }

    /// `name` in the module `at`, as seen from the module `viewer`. A module goes before an item of its name where the path
    /// `leads_on`.
    fn name(
        &self,
        at: usize,
        name: &'t str,
        viewer: usize,
        leads_on: bool,
        pending: &mut Pending,
    ) -> Option<Target<'t>> {
        if !pending.insert((at, name.to_owned())) {
            return None;
        }
        let found = self.defined(at, name, leads_on).or_else(|| self.imported(at, name, viewer, leads_on, pending));
        pending.remove(&(at, name.to_owned()));
        found
    }

    fn defined(&self, at: usize, name: &'t str, leads_on: bool) -> Option<Target<'t>> {
        let module = &self.tree.modules[at];
        let child = module.children.get(name).map(|child| Target::Module(*child));
        let item = module.items.contains(name).then_some(Target::Item(at, name));
        if leads_on { child.or(item) } else { item.or(child) }
    }

    fn imported(
        &self,
        at: usize,
        name: &'t str,
        viewer: usize,
        leads_on: bool,
        pending: &mut Pending,
    ) -> Option<Target<'t>> {
        let inside = self.tree.ancestors(viewer).any(|around| around == at);
        let visible = |import: &&Import| import.reexport || inside;
        let imports = || self.tree.modules[at].imports.iter().filter(visible);
        if let Some(import) = imports().find(|import| import.name.as_deref() == Some(name)) {
            return Some(self.path(at, &import.path, pending));
        }
        imports().filter(|import| import.name.is_none()).find_map(|import| match self.path(at, &import.path, pending) {
            Target::Module(glob) => self.name(glob, name, at, leads_on, pending),
            Target::Item(..) | Target::External => None,
        })
    }
}
