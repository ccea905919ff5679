//! The sweep file: parsed with places, checked, and expanded into jobs. Every problem is reported at once.
//!
//! - `reader`: the entry points. `file`, `seeds`, `grid`, `rules`, `select`, `table`, `profile` each read a part of the file.
//! - `configuration`, `initial_weights`, `parent`: one combination of the grid becomes one configuration. `paths` lists the
//!   paths that a file may use. `checks` applies the rules across keys.
//! - `expand`: the grid becomes cells; `duplicates` finds those that are written twice; `ancestry` adds the parents of each; `selection` decides which are trained under every seed.
//! - `schema`: the JSON Schema, from the same declarations.
//! - `published`: files of published results, written in the same language.
//!
//! *Architecture invariant:* a text of any content is answered in bounded time and memory. Values are counted before
//! aliases are expanded, and jobs before the grid is expanded.

mod ancestry;
mod checks;
mod combination;
mod configuration;
mod duplicates;
mod expand;
mod file;
mod grid;
mod initial_weights;
mod parent;
mod path;
mod paths;
mod profile;
mod published;
mod reader;
mod rules;
mod schema;
mod seeds;
mod select;
mod selection;
mod sweep;
mod table;

pub use path::Path;
pub use published::{Condition, Protocol, Published, PublishedResult, Spread, read_published};
pub use reader::{MAX_JOBS, Sweeps, read, read_all, read_stored};
pub use schema::schema;
pub use selection::{Decision, Trial};
pub use sweep::{Cell, Divergence, Select, Std, Sweep, TableSpec};
