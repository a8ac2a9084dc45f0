//! Plain tables: each column is as wide as its widest cell, with two blanks between columns.

use crate::output::escape_controls;

/// Formats a table with a row of headings. Cells are escaped; those of the last column are not padded.
pub fn text(headings: &[&str], rows: &[Vec<String>]) -> String {
    let escaped = |row: &Vec<String>| row.iter().map(|cell| escape_controls(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(escaped).collect();
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        format!("{}\n", line.trim_end())
    };
    let mut text = line(headings.to_vec());
    for row in &rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up() {
        let rows = [vec!["web".to_owned(), "ok".to_owned()], vec!["worker".to_owned(), String::new()]];
        assert_eq!(super::text(&["NAME", "STATE"], &rows), "NAME    STATE\nweb     ok\nworker\n");
    }

    #[test]
    fn a_cell_stays_on_its_line() {
        let rows = [vec!["web".to_owned(), "a\n::stop-commands::x\u{1b}[2J".to_owned()]];
        let shown = super::text(&["NAME", "IMAGE"], &rows);
        assert_eq!(shown, "NAME  IMAGE\nweb   a\\n::stop-commands::x\\u{1b}[2J\n");
    }
}
