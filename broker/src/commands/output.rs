//! What commands print: tables for people, JSON for scripts, both from the same values.
//!
//! Holds: text that others chose (groups, clients, hosts) cannot control the terminal, control characters are escaped; an
//! output that is closed ends the command silently. JSON is one document per command: an array for a listing, an object
//! where one thing was asked for. Field names are part of the interface (`docs/CLI.md`).

use std::fmt::Write as _;
use std::io::{ErrorKind, Write};

use serde::Serialize;

use super::failure::Failure;

/// One line of a table.
pub trait Row: Serialize {
    /// Heads of the columns.
    const COLUMNS: &'static [&'static str];
    /// What stands in them.
    fn cells(&self) -> Vec<String>;
}

/// Writes to stdout.
pub fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Writes bytes to stdout, and takes care that they are there.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        Err(error) => Err(Failure::other(format!("the output cannot be written: {error}"))),
    }
}

/// Prints one document of JSON.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::other(error.to_string()))?;
    print(&format!("{text}\n"))
}

/// Prints a listing. An empty one is an empty array, or the heads alone.
pub fn print_rows<R: Row>(json: bool, rows: &[R]) -> Result<(), Failure> {
    if json { print_json(&rows) } else { print(&table(rows)) }
}

/// A listing with its columns below each other; those of numbers are aligned to the right.
pub fn table<R: Row>(rows: &[R]) -> String {
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| row.cells().iter().map(|cell| harmless(cell)).collect()).collect();
    let column = |at: usize| cells.iter().filter_map(move |row| row.get(at));
    let widths: Vec<(usize, bool)> = (0..R::COLUMNS.len())
        .map(|at| {
            let head = R::COLUMNS.get(at).map_or(0, |head| head.len());
            let width = column(at).map(|cell| cell.chars().count()).max().unwrap_or(0).max(head);
            let is_number = column(at).all(|cell| cell == "-" || cell.starts_with(|c: char| c.is_ascii_digit()));
            (width, is_number && !rows.is_empty())
        })
        .collect();
    let heads: Vec<String> = R::COLUMNS.iter().map(|head| (*head).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(&cells) {
        let mut line = String::new();
        for (cell, (width, is_number)) in row.iter().zip(&widths) {
            let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
            let (before, behind) = if *is_number { (gap.as_str(), "") } else { ("", gap.as_str()) };
            // A string takes what is written to it.
            let _ = write!(line, "{before}{cell}{behind}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Lines of `name: value`, the values below each other.
pub fn fields(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len() + 1).max().unwrap_or(0);
    pairs.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{:width$} {}", format!("{name}:"), harmless(value));
        text
    })
}

/// The text with control characters escaped: whoever chose it does not control the terminal that shows it.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let is_invisible = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || is_invisible { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// Bytes for eyes: `512 B`, `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // Tenths of the unit, so that no precision is lost on the way.
    let mut tenths = u128::from(count) * 10 / 1024;
    for unit in UNITS {
        if tenths < 10_240 {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        tenths /= 1024;
    }
    format!("{count} B")
}

/// A yes or no for eyes.
pub fn yes_no(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

/// Numbers as a list: `1,2,3`, `-` when there are none.
pub fn list(numbers: &[impl ToString]) -> String {
    if numbers.is_empty() {
        return "-".to_owned();
    }
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Pair(&'static str, &'static str);

    impl Row for Pair {
        const COLUMNS: &'static [&'static str] = &["NAME", "COUNT"];
        fn cells(&self) -> Vec<String> {
            vec![self.0.to_owned(), self.1.to_owned()]
        }
    }

    #[test]
    fn columns_are_aligned_and_numbers_stand_to_the_right() {
        let shown = table(&[Pair("a", "5"), Pair("longer", "12345678")]);
        assert_eq!(shown, "NAME       COUNT\na              5\nlonger  12345678\n");
        assert_eq!(table::<Pair>(&[]), "NAME  COUNT\n");
    }

    #[test]
    fn a_name_from_outside_does_not_control_the_terminal() {
        let shown = table(&[Pair("\u{1b}[31mred\nnext\u{202e}", "1")]);
        assert!(!shown.contains('\u{1b}') && shown.lines().count() == 2, "{shown:?}");
        assert!(shown.contains("\\u{1b}[31mred\\nnext\\u{202e}"), "{shown}");
        assert_eq!(harmless("Grüße, 世界"), "Grüße, 世界");
    }

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        for (count, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(bytes(count), shown);
        }
    }
}
