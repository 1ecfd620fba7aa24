//! The standard input, line by line, for commands that write records. Memory is bounded by the longest line allowed.

use std::io::{BufRead, Read};

use tokio::sync::mpsc;

/// The longest line. Brokers have a limit of their own (`max.message.bytes`, 1 MiB unless it is changed).
pub const LINE_BYTES_MAX: usize = 64 << 20;
/// Records that are on their way before reading waits.
pub const UNACKNOWLEDGED_MAX: usize = 10_000;
/// Lines that were read and not handed over yet.
const LINES_AHEAD: usize = 16;

/// A line, or what is wrong with it.
pub type Line = Result<Vec<u8>, String>;

/// Lines of the standard input, read on a thread of their own, because there is no way to wait for a pipe and a socket at
/// once on every platform.
pub fn read_lines(end: u8) -> mpsc::Receiver<Line> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        let mut input = std::io::BufReader::with_capacity(1 << 16, std::io::stdin());
        while let Some(line) = read_line(&mut input, end) {
            let is_last = line.is_err();
            if sender.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

/// The next line without its end; `None` behind the last one.
fn read_line(input: &mut impl BufRead, end: u8) -> Option<Line> {
    let mut line = Vec::new();
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    match input.by_ref().take(limit).read_until(end, &mut line) {
        Ok(0) => None,
        Ok(_) => {
            if line.last() == Some(&end) {
                line.pop();
                if end == b'\n' && line.last() == Some(&b'\r') {
                    line.pop();
                }
            }
            let too_long = format!("it is longer than {LINE_BYTES_MAX} bytes");
            Some(if line.len() > LINE_BYTES_MAX { Err(too_long) } else { Ok(line) })
        }
        Err(error) => Some(Err(format!("it cannot be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_they_are_told_to() {
        let read = |text: &[u8], end: u8| -> Vec<Vec<u8>> {
            let mut input = text;
            std::iter::from_fn(|| read_line(&mut input, end)).map(Result::unwrap).collect()
        };
        assert_eq!(read(b"a\r\n\nb", b'\n'), [&b"a"[..], b"", b"b"]);
        assert_eq!(read(b"a\nb\0\0c\r", 0), [&b"a\nb"[..], b"", b"c\r"]);
        assert!(read(b"", b'\n').is_empty());
        let endless = std::io::repeat(b'x');
        assert!(read_line(&mut std::io::BufReader::new(endless), b'\n').unwrap().unwrap_err().contains("longer"));
    }
}
