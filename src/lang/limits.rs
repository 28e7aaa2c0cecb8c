//! What a bakefile may ask of memory and time. A file ends at these limits in an error, long before the machine does.

/// How deep evaluation may nest, through variables and functions too, and values in values: deeper would overflow the
/// stack.
pub const MAX_DEPTH: usize = 300;

/// Bytes of a text; a Dockerfile or script that is written inline has thousands.
pub const MAX_TEXT: usize = 16 << 20;

/// Bytes of one value, written out: see [`Value::size`](super::value::Value::size).
pub const MAX_VALUE: usize = 64 << 20;

/// Bytes of all arguments of one call, written out.
pub const MAX_ARGUMENTS: usize = 2 * MAX_VALUE;

/// Elements of a list that a function makes: as many as fit a value.
pub const MAX_ITEMS: usize = MAX_VALUE / ELEMENT;

/// Bytes of all values that a run makes, those that are dropped again included. Twenty thousand targets that merge a
/// hundred arguments each fit.
pub const MAX_VALUES: usize = 512 << 20;

/// What evaluating all files of a run may cost, in steps: an expression, an element that is looked at, or
/// [`BYTES_PER_STEP`] bytes that are handled. Twenty thousand targets take a hundredth of it; what goes round and round in
/// functions ends here.
pub const MAX_STEPS: usize = 50_000_000;

/// How many bytes that are handled count as one step.
pub const BYTES_PER_STEP: usize = 64;

/// Bytes of a value beside its text and elements.
pub(super) const ELEMENT: usize = 64;

/// Says that a text would be too long.
///
/// # Errors
/// `size`, in bytes, is more than [`MAX_TEXT`] or cannot be counted.
pub(super) fn text_fits(size: Option<usize>) -> Result<(), String> {
    match size {
        Some(..=MAX_TEXT) => Ok(()),
        _ => Err(format!("the text would be longer than {} MiB", MAX_TEXT >> 20)),
    }
}

/// Says that a list would be too long.
///
/// # Errors
/// `n` is more than [`MAX_ITEMS`] or cannot be counted.
pub(super) fn items_fit(n: Option<usize>) -> Result<(), String> {
    match n {
        Some(..=MAX_ITEMS) => Ok(()),
        _ => Err(format!("there would be more than {MAX_ITEMS} elements")),
    }
}

/// Says that a value would be too large.
///
/// # Errors
/// `size`, in bytes, is more than [`MAX_VALUE`] or cannot be counted.
pub(super) fn value_fits(size: Option<usize>) -> Result<(), String> {
    match size {
        Some(..=MAX_VALUE) => Ok(()),
        _ => Err(format!("the value would be larger than {} MiB", MAX_VALUE >> 20)),
    }
}
