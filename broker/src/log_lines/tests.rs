//! Against writers that fail, stand still and do half of it.

use std::sync::{Arc, mpsc};

use super::*;

const LONG: Duration = Duration::from_secs(30);

/// Takes what the next of the answers says of each write: so many bytes of it, or none for this reason.
struct Odd {
    answers: mpsc::Receiver<Result<usize, ErrorKind>>,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Write for Odd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // No more answers: the test is over, and the thread waits for the process to end.
        let answer = self.answers.recv().unwrap_or_else(|_| {
            loop {
                std::thread::park()
            }
        });
        let bytes = &bytes[..answer.map_err(io::Error::from)?.min(bytes.len())];
        self.taken.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Case {
    lines: Arc<LogLines>,
    answers: mpsc::Sender<Result<usize, ErrorKind>>,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Case {
    fn new() -> Self {
        let (answers, answered) = mpsc::channel();
        let taken = Arc::new(Mutex::default());
        let lines = Arc::new(LogLines::new(|text| format!("note: {text}\n")));
        let (odd, writing) = (Odd { answers: answered, taken: Arc::clone(&taken) }, Arc::clone(&lines));
        std::thread::spawn(move || writing.write_to(odd));
        Self { lines, answers, taken }
    }

    /// Hands in a line, whose writes get these answers, and waits until it is settled.
    fn push(&self, line: &str, answers: &[Result<usize, ErrorKind>]) {
        answers.iter().for_each(|answer| self.answers.send(*answer).unwrap());
        self.lines.push(line.as_bytes());
        self.lines.flush(LONG);
    }

    fn taken(&self) -> String {
        String::from_utf8(self.taken.lock().clone()).unwrap()
    }
}

#[test]
fn what_cannot_be_written_is_lost_and_told_of_once_something_can() {
    for why in [ErrorKind::BrokenPipe, ErrorKind::StorageFull, ErrorKind::Other] {
        let case = Case::new();
        case.push("one\n", &[Ok(100)]);
        case.push("two\n", &[Err(why)]);
        case.push("three\n", &[Err(why), Err(why)]);
        case.push("four\n", &[Err(why), Err(why)]);
        case.push("five\n", &[Ok(200), Ok(100)]);
        let told = "one\nnote: 3 log lines were lost here, because stderr did not take them\nfive\n";
        assert_eq!((case.taken().as_str(), case.lines.lost()), (told, 3), "{why}");
        case.push("six\n", &[Ok(100)]);
        assert!(case.taken().ends_with("five\nsix\n"), "it is told once: {}", case.taken());
    }
}

#[test]
fn a_pipe_that_takes_a_little_at_a_time_loses_nothing() {
    let case = Case::new();
    let (busy, interrupted) = (Err(ErrorKind::WouldBlock), Err(ErrorKind::Interrupted));
    case.push("one\n", &[Ok(1), busy, busy, Ok(2), interrupted, Ok(1)]);
    assert_eq!((case.taken().as_str(), case.lines.lost()), ("one\n", 0));
}

#[test]
fn what_follows_a_line_that_was_cut_off_begins_a_line() {
    let case = Case::new();
    case.push("one\n", &[Ok(2), Err(ErrorKind::StorageFull)]);
    // The end of the line does not go either, before the note and before the line.
    case.push("two\n", &[Err(ErrorKind::StorageFull), Err(ErrorKind::StorageFull)]);
    case.push("three\n", &[Ok(1), Ok(200), Ok(100)]);
    assert_eq!(case.taken(), "on\nnote: 2 log lines were lost here, because stderr did not take them\nthree\n");
}

#[test]
fn nobody_waits_for_a_reader_that_stands_still_and_what_waits_is_bounded() {
    let case = Case::new();
    let until = Instant::now() + LONG;
    case.lines.push(b"first\n");
    while !case.lines.state.lock().waiting.is_empty() {
        assert!(Instant::now() < until, "the thread takes what there is");
        std::thread::yield_now();
    }
    let line = format!("{}\n", "x".repeat(999));
    for _ in 0..3000 {
        case.lines.push(line.as_bytes());
    }
    case.lines.flush(Duration::from_millis(10));
    assert!(Instant::now() < until, "nobody waits");
    let lost = 3000 - WAITING_BYTES as u64 / 1000;
    assert_eq!(case.lines.lost(), lost);
    // It reads on.
    (0..4).for_each(|_| case.answers.send(Ok(usize::MAX)).unwrap());
    case.lines.flush(LONG);
    case.lines.push(b"last\n");
    case.lines.flush(LONG);
    let note = format!("x\nnote: {lost} log lines were lost here, because stderr did not take them\nlast\n");
    assert!(case.taken().ends_with(&note), "{note}");
    assert_eq!(case.taken().lines().count() as u64, 1 + 3000 - lost + 2);
}
