//! Reads one table of an SQLite database (SQLite's *Database File Format*): its rows in order, nothing else.
//!
//! A driver would be a megabyte of C and would open a hostile file with all of SQL at hand. What is needed of the format is a
//! walk down a tree of pages. A journal beside the file is not looked at.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::Bytes;

/// Bytes of one row; more is an error.
const MAX_ROW: u64 = 16 << 20;

/// Rows of a table; more is an error.
const MAX_ROWS: usize = 1 << 20;

/// A column's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL, or a floating-point number, which nobody here asks for.
    Other,
    /// An integer.
    Integer(i64),
    /// A text, as it is.
    Text(Vec<u8>),
    /// Bytes.
    Blob(Vec<u8>),
}

/// A database.
struct Database<'a> {
    file: &'a dyn Bytes,
    page_size: u64,
    /// Bytes of a page that rows may use.
    usable: u64,
    n_pages: u64,
    /// Bytes of rows that may still come: a sound database has no more of them than bytes.
    budget: Cell<u64>,
}

/// Returns the rows of the table called `name`; `None` where the database has no such table.
///
/// # Errors
/// It is no database, or a broken one: says why.
pub fn rows(file: &dyn Bytes, name: &str) -> Result<Option<Vec<Vec<Value>>>, &'static str> {
    let database = Database::open(file)?;
    for row in database.table(1)? {
        let [Value::Text(kind), Value::Text(found), _, Value::Integer(root), ..] = &row[..] else { continue };
        if kind == b"table" && found == name.as_bytes() {
            let root = u64::try_from(*root).map_err(|_| "a table has no place")?;
            return database.table(root).map(Some);
        }
    }
    Ok(None)
}

impl<'a> Database<'a> {
    fn open(file: &'a dyn Bytes) -> Result<Database<'a>, &'static str> {
        let header =
            file.at(0, 100).filter(|header| header.starts_with(b"SQLite format 3\0")).ok_or("is no database")?;
        let page_size = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65536,
            size => u64::from(size),
        };
        if page_size < 512 || !page_size.is_power_of_two() {
            return Err("has pages of a strange size");
        }
        let usable = page_size - u64::from(header[20]);
        if usable < 480 {
            return Err("has pages of a strange size");
        }
        Ok(Database { file, page_size, usable, n_pages: file.size() / page_size, budget: Cell::new(file.size()) })
    }

    fn page(&self, number: u64) -> Result<Vec<u8>, &'static str> {
        let length = usize::try_from(self.page_size).map_err(|_| "has a strange page")?;
        let offset = number.checked_sub(1).ok_or("names a page that is not there")? * self.page_size;
        self.file.at(offset, length).ok_or("names a page that is not there")
    }

    /// Returns the rows of the table whose first page is `root`.
    fn table(&self, root: u64) -> Result<Vec<Vec<Value>>, &'static str> {
        let mut rows = Vec::new();
        let mut seen = BTreeSet::new();
        let mut pending = vec![root];
        while let Some(number) = pending.pop() {
            if number > self.n_pages || !seen.insert(number) {
                return Err("has pages that lead nowhere");
            }
            let page = self.page(number)?;
            // The first page begins with the database's own header.
            let start = if number == 1 { 100 } else { 0 };
            let kind = page[start];
            let n_cells = usize::from(u16::from_be_bytes([page[start + 3], page[start + 4]]));
            let header = if kind == 5 { 12 } else { 8 };
            let cells = (0..n_cells).map(|index| {
                let at = start + header + 2 * index;
                page.get(at..at + 2).map(|bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
            });
            let cells: Vec<usize> = cells.collect::<Option<_>>().ok_or("has a broken page")?;
            match kind {
                5 => {
                    let child = |at: usize| page.get(at..at + 4).map(be32).ok_or("has a broken page");
                    pending.push(child(start + 8)?);
                    for cell in cells.iter().rev() {
                        pending.push(child(*cell)?);
                    }
                }
                13 => {
                    for cell in cells {
                        rows.push(self.row(&page, cell)?);
                    }
                }
                _ => return Err("has a page of a strange kind"),
            }
            if rows.len() > MAX_ROWS {
                return Err("has too many rows");
            }
        }
        Ok(rows)
    }

    /// Reads the row whose cell begins at `at`.
    fn row(&self, page: &[u8], at: usize) -> Result<Vec<Value>, &'static str> {
        let broken = "has a broken row";
        let mut cell = page.get(at..).ok_or(broken)?;
        let size = varint(&mut cell).filter(|size| *size <= MAX_ROW).ok_or(broken)?;
        varint(&mut cell).ok_or(broken)?;
        self.budget.set(self.budget.get().checked_sub(size).ok_or("has more rows than bytes")?);
        let local = usize::try_from(self.local_size(size)).map_err(|_| broken)?;
        let size = usize::try_from(size).map_err(|_| broken)?;
        let mut payload = cell.get(..local).ok_or(broken)?.to_vec();
        let mut next = if local < size { cell.get(local..local + 4).map(be32).ok_or(broken)? } else { 0 };
        while payload.len() < size {
            let page = self.page(next)?;
            next = be32(&page[..4]);
            let usable = usize::try_from(self.usable).map_err(|_| broken)?;
            let length = (size - payload.len()).min(usable - 4);
            payload.extend_from_slice(&page[4..4 + length]);
        }
        values(&payload).ok_or(broken)
    }

    /// Returns how many bytes of a row are on its leaf page; the others are on pages of their own.
    fn local_size(&self, size: u64) -> u64 {
        let most = self.usable - 35;
        if size <= most {
            return size;
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let wanted = least + (size - least) % (self.usable - 4);
        if wanted <= most { wanted } else { least }
    }
}

/// Reads a record: the kinds of its columns, then their values.
fn values(payload: &[u8]) -> Option<Vec<Value>> {
    let mut head = payload;
    let head_size = usize::try_from(varint(&mut head)?).ok()?;
    let mut kinds = payload.get(payload.len() - head.len()..head_size)?;
    let mut body = payload.get(head_size..)?;
    let mut values = Vec::new();
    while !kinds.is_empty() {
        let kind = varint(&mut kinds)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            kind => (kind - 12) / 2,
        };
        let (bytes, rest) = body.split_at_checked(usize::try_from(length).ok()?)?;
        body = rest;
        values.push(match kind {
            1..=6 => {
                let first = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
                Value::Integer(bytes.iter().fold(first, |sum: i64, byte| sum << 8 | i64::from(*byte)))
            }
            8 | 9 => Value::Integer(i64::from(kind == 9)),
            0 | 7 => Value::Other,
            kind if kind % 2 == 0 => Value::Blob(bytes.to_vec()),
            _ => Value::Text(bytes.to_vec()),
        });
    }
    Some(values)
}

/// Takes an integer of one to nine bytes from the front.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for index in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if index == 8 {
            return Some(value << 8 | u64::from(*byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn be32(bytes: &[u8]) -> u64 {
    bytes.iter().take(4).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
