//! Circles of imports between the files of a room, found in the parsed sources.
//!
//! An import is an edge to the file that defines the item, however it is named on the way there: `super::x`,
//! `crate::room::x::…`, a module imported as a whole, or a name that a `mod.rs` re-exports. `mod child;` and re-exports
//! themselves are no edges, and code for tests is not read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, Visibility};

/// A folder of `clnrm-core` is a room; each of the small crates is one.
const CRATES: &[&str] = &[
    "clnrm-core",
    "clnrm-decide",
    "clnrm-demo",
    "clnrm-forecast-bench",
    "clnrm-forecast-train",
];

#[test]
fn files_of_a_room_import_each_other_in_no_circle() {
    let mut text = String::new();
    for name in CRATES {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .unwrap()
            .join(name)
            .join("src");
        for (room, edges) in rooms(name, &Crate::read(&source)) {
            for circle in circles(&edges) {
                writeln!(text, "{room}: a circle of {} files", circle.len()).unwrap();
                describe(&mut text, &source, &circle, &edges);
            }
        }
    }
    assert!(
        text.is_empty(),
        "files import each other in circles; move what both need into a file of its own below them:\n{text}\
         alone: cargo test -p clnrm-core --test purity circle"
    );
}

#[test]
fn a_circle_is_seen_through_re_exports_modules_and_macros() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    file("lib.rs", "mod room;");
    file(
        "room/mod.rs",
        "mod a; mod b; mod c; mod d; pub use b::B; use d::D; fn f() -> D { D }",
    );
    // a → b by way of the re-export; b → a in a macro, by way of a module; c and d only look down, and d's tests up.
    file(
        "room/a.rs",
        "use super::{B, c}; pub(crate) fn f(_: B) { c::f() }",
    );
    file(
        "room/b.rs",
        "use super::a; pub struct B; fn f() { println!(\"{:?}\", a::f(B)) }",
    );
    file("room/c.rs", "pub fn f() { super::d::f() }");
    file(
        "room/d.rs",
        "pub struct D; pub fn f() {} #[cfg(test)] mod tests { use super::super::a; }",
    );
    let rooms = rooms("clnrm-core", &Crate::read(folder.path()));
    let circles = circles(&rooms["room"]);
    let expected: BTreeSet<PathBuf> = ["a.rs", "b.rs"]
        .map(|name| folder.path().join("room").join(name))
        .into();
    assert_eq!(circles, [expected]);
}

/// From a file to the files that it imports from, and the names that it imports.
type Edges = BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>;

fn rooms(name: &str, of: &Crate) -> BTreeMap<String, Edges> {
    let mut rooms: BTreeMap<String, Edges> = BTreeMap::new();
    for (index, module) in of.modules.iter().enumerate() {
        for path in &module.imports {
            let Some((target, item)) = of.definition(index, path, 0) else {
                continue;
            };
            let room = |index| match name {
                "clnrm-core" => of.room(index),
                _ => Some(name.to_owned()),
            };
            let (Some(from), Some(to)) = (room(index), room(target)) else {
                continue;
            };
            let target = &of.modules[target].file;
            if from == to && *target != module.file {
                let edges = rooms.entry(from).or_default();
                let targets = edges.entry(module.file.clone()).or_default();
                targets.entry(target.clone()).or_default().insert(item);
            }
        }
    }
    rooms
}

/// Sets of files that reach each other.
fn circles(edges: &Edges) -> Vec<BTreeSet<PathBuf>> {
    let reached: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> = edges
        .keys()
        .map(|start| {
            let mut reached = BTreeSet::new();
            let mut next = vec![start];
            while let Some(file) = next.pop() {
                let targets = edges.get(file).into_iter().flat_map(BTreeMap::keys);
                next.extend(targets.filter(|target| reached.insert(*target)));
            }
            (start, reached)
        })
        .collect();
    let reaches =
        |from: &PathBuf, to: &PathBuf| reached.get(from).is_some_and(|of| of.contains(to));
    let mut circles: Vec<BTreeSet<PathBuf>> = Vec::new();
    for file in edges.keys().filter(|file| reaches(file, file)) {
        if !circles.iter().any(|circle| circle.contains(file)) {
            let others = edges
                .keys()
                .filter(|other| reaches(file, other) && reaches(other, file));
            circles.push(others.cloned().collect());
        }
    }
    circles
}

/// The files of a circle with the imports that hold it together.
fn describe(text: &mut String, source: &Path, circle: &BTreeSet<PathBuf>, edges: &Edges) {
    let short = |file: &Path| file.strip_prefix(source).unwrap().display().to_string();
    for file in circle {
        let inside = edges[file]
            .iter()
            .filter(|(target, _)| circle.contains(*target));
        for (target, names) in inside {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            writeln!(
                text,
                "    {} → {}: {}",
                short(file),
                short(target),
                names.join(", ")
            )
            .unwrap();
        }
    }
}

/// The modules of a crate; the first is its root.
struct Crate {
    modules: Vec<Module>,
}

#[derive(Default)]
struct Module {
    name: String,
    file: PathBuf,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// What `use` binds here, re-exports included.
    bindings: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    /// Names that are defined here.
    items: BTreeSet<String>,
    /// Paths that are written here, of re-exports none.
    imports: BTreeSet<Vec<String>>,
}

impl Crate {
    fn read(source: &Path) -> Self {
        let mut all = Self {
            modules: Vec::new(),
        };
        all.read_file(None, &source.join("lib.rs"), source);
        all
    }

    /// Modules below the file's lie in `folder`; `above` is the module that it is part of, and its name there.
    fn read_file(&mut self, above: Option<(usize, &str)>, file: &Path, folder: &Path) -> usize {
        let text = fs::read_to_string(file).expect("the source file is readable");
        let parsed = syn::parse_file(&text).expect("the source file is Rust");
        self.read_items(above, file, folder, &parsed.items)
    }

    fn read_items(
        &mut self,
        above: Option<(usize, &str)>,
        file: &Path,
        folder: &Path,
        items: &[Item],
    ) -> usize {
        let index = self.modules.len();
        let mut paths = Paths::default();
        self.modules.push(Module {
            name: above.map_or("crate", |(_, name)| name).to_owned(),
            file: file.to_owned(),
            parent: above.map(|(parent, _)| parent),
            ..Module::default()
        });
        for item in items {
            match item {
                Item::Mod(module) if !is_for_tests(&module.attrs) => {
                    let child = self.read_module(index, file, folder, module);
                    let name = module.ident.to_string();
                    self.modules[index].children.insert(name, child);
                }
                Item::Mod(_) => {}
                _ => paths.visit_item(item),
            }
        }
        let module = &mut self.modules[index];
        module.bindings = paths.bindings;
        module.globs = paths.globs;
        module.items = paths.items;
        module.imports = paths.imports;
        index
    }

    fn read_module(
        &mut self,
        parent: usize,
        file: &Path,
        folder: &Path,
        module: &ItemMod,
    ) -> usize {
        let name = module.ident.to_string();
        let inside = folder.join(&name);
        let above = Some((parent, name.as_str()));
        if let Some((_, items)) = &module.content {
            return self.read_items(above, file, &inside, items);
        }
        let alone = folder.join(format!("{name}.rs"));
        let file = match alone.is_file() {
            true => alone,
            false => inside.join("mod.rs"),
        };
        self.read_file(above, &file, &inside)
    }

    /// The module below the root that a module belongs to.
    fn room(&self, index: usize) -> Option<String> {
        let module = &self.modules[index];
        match module.parent? {
            0 => Some(module.name.clone()),
            parent => self.room(parent),
        }
    }

    /// The module that defines what a path in `from` names, and the item's name; `None` for a module and for other crates.
    fn definition(&self, from: usize, path: &[String], depth: u32) -> Option<(usize, String)> {
        // A name that is bound to itself, as by `use libc;`, belongs to another crate.
        let depth = (depth < 16).then_some(depth + 1)?;
        let (first, rest) = path.split_first()?;
        let module = &self.modules[from];
        match first.as_str() {
            "crate" => self.walk(0, rest, depth),
            "self" => self.walk(from, rest, depth),
            "super" => self.walk(module.parent?, rest, depth),
            name if module.children.contains_key(name)
                || module.bindings.contains_key(name)
                || module.items.contains(name) =>
            {
                self.walk(from, path, depth)
            }
            _ => None,
        }
    }

    /// As [`Self::definition`], from a module whose names are looked up.
    fn walk(&self, index: usize, path: &[String], depth: u32) -> Option<(usize, String)> {
        let (name, rest) = path.split_first()?;
        let module = &self.modules[index];
        if name == "super" {
            return self.walk(module.parent?, rest, depth);
        }
        if let Some(child) = module.children.get(name) {
            return self.walk(*child, rest, depth);
        }
        if let Some(bound) = module.bindings.get(name) {
            let longer: Vec<String> = bound.iter().chain(rest).cloned().collect();
            return self.definition(index, &longer, depth);
        }
        if !module.items.contains(name) {
            for glob in &module.globs {
                let longer: Vec<String> = glob.iter().chain(path).cloned().collect();
                if let Some(found) = self.definition(index, &longer, depth) {
                    return Some(found);
                }
            }
            return None;
        }
        Some((index, name.clone()))
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"))
    })
}

/// What a module's items define and name.
#[derive(Default)]
struct Paths {
    bindings: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    items: BTreeSet<String>,
    imports: BTreeSet<Vec<String>>,
}

impl Paths {
    fn bind(&mut self, tree: &UseTree, before: &[String], is_import: bool) {
        let mut path = before.to_vec();
        let name = match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                return self.bind(&tree.tree, &path, is_import);
            }
            UseTree::Group(group) => {
                return group
                    .items
                    .iter()
                    .for_each(|tree| self.bind(tree, before, is_import));
            }
            UseTree::Glob(_) => return self.globs.push(path),
            UseTree::Name(name) if name.ident == "self" => path.last().cloned().unwrap_or_default(),
            UseTree::Name(name) => {
                path.push(name.ident.to_string());
                name.ident.to_string()
            }
            UseTree::Rename(tree) => {
                path.push(tree.ident.to_string());
                tree.rename.to_string()
            }
        };
        if is_import {
            self.imports.insert(path.clone());
        }
        self.bindings.insert(name, path);
    }

    /// Paths among the tokens of a macro.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(identifier) => {
                    if colons != 2 {
                        self.imports.insert(std::mem::take(&mut path));
                    }
                    path.push(identifier.to_string());
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.imports.insert(std::mem::take(&mut path));
                    self.scan(group.stream());
                }
                _ => {
                    self.imports.insert(std::mem::take(&mut path));
                    colons = 0;
                }
            }
        }
        self.imports.insert(path);
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        let (name, attributes) = match item {
            Item::Const(item) => (Some(&item.ident), &item.attrs),
            Item::Enum(item) => (Some(&item.ident), &item.attrs),
            Item::Fn(item) => (Some(&item.sig.ident), &item.attrs),
            Item::Impl(item) => (None, &item.attrs),
            Item::Macro(item) => (item.ident.as_ref(), &item.attrs),
            Item::Static(item) => (Some(&item.ident), &item.attrs),
            Item::Struct(item) => (Some(&item.ident), &item.attrs),
            Item::Trait(item) => (Some(&item.ident), &item.attrs),
            Item::Type(item) => (Some(&item.ident), &item.attrs),
            Item::Use(item) => (None, &item.attrs),
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            self.items.extend(name.map(ToString::to_string));
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_import = matches!(item.vis, Visibility::Inherited);
        self.bind(&item.tree, &[], is_import);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let segments = path.segments.iter();
            self.imports
                .insert(segments.map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        self.visit_path(&invoked.path);
        self.scan(invoked.tokens.clone());
    }
}
