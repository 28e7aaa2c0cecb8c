//! Tables as the peer prints them: columns end at tab stops of eight, padded with tabs.

/// Aligns lines of cells; the last cell of a line has no column. Text is taken apart at its own newlines and tabs, as the
/// peer's writer does.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let text: String = rows.iter().map(|row| format!("{}\n", row.join("\t"))).collect();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut widths = vec![Vec::new(); lines.len()];
    measure(&lines, &mut widths, 0, 0..lines.len());
    let mut out = String::new();
    for (line, widths) in lines.iter().zip(&widths) {
        for (cell, width) in line.iter().zip(widths.iter().map(Some).chain(std::iter::repeat(None))) {
            out.push_str(cell);
            if let Some(width) = width {
                let n_missing: usize = width - cell.chars().count();
                out.push_str(&"\t".repeat(n_missing.div_ceil(TAB)));
            }
        }
        out.push('\n');
    }
    out
}

const TAB: usize = 8;

/// Finds the width of each column: a column is a run of lines that all go on after the cell.
fn measure(lines: &[Vec<&str>], widths: &mut [Vec<usize>], column: usize, range: std::ops::Range<usize>) {
    let mut line = range.start;
    while line < range.end {
        if lines[line].len() <= column + 1 {
            line += 1;
            continue;
        }
        let end = (line..range.end).find(|at| lines[*at].len() <= column + 1).unwrap_or(range.end);
        let widest = (line..end).map(|at| lines[at][column].chars().count()).max().unwrap_or(0);
        let width = (widest + 1).div_ceil(TAB) * TAB;
        for widths in &mut widths[line..end] {
            widths.push(width);
        }
        measure(lines, widths, column + 1, line..end);
        line = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_end_at_tab_stops() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let rows = [row(&["TARGET", "DESCRIPTION"]), row(&["a", ""]), row(&["seventeen-letters", "x\ny"])];
        assert_eq!(table(&rows), "TARGET\t\t\tDESCRIPTION\na\t\t\t\nseventeen-letters\tx\ny\n");
    }
}
