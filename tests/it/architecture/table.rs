//! The strata table in the doc comment of `src/lib.rs`.

use std::collections::BTreeMap;

/// Which row each top-level module is in.
pub struct Strata {
    rows: BTreeMap<String, u32>,
}

impl Strata {
    /// Reads the lines `//! | row | `module` | … |`. Panics where a module is named twice.
    pub fn parse(lib: &str) -> Self {
        let mut rows = BTreeMap::new();
        for line in lib.lines() {
            let Some(cells) = line.strip_prefix("//! |") else { continue };
            let mut cells = cells.split('|').map(str::trim);
            let (Some(row), Some(module)) = (cells.next(), cells.next()) else { continue };
            let Ok(row) = row.parse() else { continue };
            let module = module.trim_matches('`').to_owned();
            assert!(rows.insert(module.clone(), row).is_none(), "the table names `{module}` twice");
        }
        assert!(!rows.is_empty(), "src/lib.rs has no strata table");
        Self { rows }
    }

    /// Returns the row of a top-level module; `None` for what is no module of the table.
    pub fn row(&self, module: &str) -> Option<u32> {
        self.rows.get(module).copied()
    }

    /// Returns the names of all modules, sorted.
    pub fn modules(&self) -> Vec<&str> {
        self.rows.keys().map(String::as_str).collect()
    }
}

#[test]
fn rows_are_read_and_headings_are_not() {
    let strata = Strata::parse("//! | row | module | one line |\n//! |---|---|---|\n//! | 2 | `plan` | what |\n");
    assert_eq!(strata.modules(), ["plan"]);
    assert_eq!(strata.row("plan"), Some(2));
    assert_eq!(strata.row("row"), None);
}
