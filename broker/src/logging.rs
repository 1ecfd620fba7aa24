//! Log lines on stderr: for people, or one JSON object each. Holds: no thread waits or fails because of what it has to say
//! ([`log_lines`](crate::log_lines)), assertions that fail included.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::cli::LogFormat;
use crate::log_lines::LogLines;

/// Longest wait for the last lines to be taken when the process ends.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Of the process, once logging was set up.
static LINES: OnceLock<&(LogLines, LogFormat)> = OnceLock::new();

/// Sets up logging for the process. A filter that cannot be understood is an error with a text for people.
pub fn start(format: LogFormat, filter: &str) -> Result<(), String> {
    let wrong =
        |why: String| format!("--log {filter}: {why}; write error, warn, info, debug, trace, off or module=level,...");
    if let Some(word) = filter.split(',').find(|directive| !is_level(directive) && !directive.contains('=')) {
        return Err(wrong(format!("{word:?} is not a level")));
    }
    let filter = EnvFilter::try_new(filter).map_err(|e| wrong(e.to_string()))?;
    let all: &(LogLines, LogFormat) = Box::leak(Box::new((LogLines::new(form_of(format)), format)));
    let (lines, _) = all;
    let thread = std::thread::Builder::new().name("log".into()).stack_size(128 << 10);
    thread.spawn(|| lines.write_to(std::io::stderr())).map_err(|e| format!("cannot start a thread: {e}"))?;
    // Only now: without the thread nobody would write what is told. Of two, what is told goes the way of the first.
    let _ = LINES.set(all);
    let builder = fmt().with_env_filter(filter).log_internal_errors(false).with_writer(move || lines);
    let started = match format {
        LogFormat::Human => {
            builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| e.to_string())?;
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let backtrace = Backtrace::capture();
        let captured = backtrace.status() == BacktraceStatus::Captured;
        let trace = if captured { format!("\n{backtrace}") } else { String::new() };
        tell(&format!("the thread {} {panic}{trace}", thread.name().unwrap_or("without a name")));
    }));
    Ok(())
}

/// Says what is not to be filtered: why the process ends, or a thread.
pub fn tell(text: &str) {
    match LINES.get() {
        Some((lines, format)) => lines.push(form_of(*format)(text).as_bytes()),
        // Before there are threads. Nobody can be told that nobody can be told.
        None => drop(std::io::stderr().write_all(for_people(text).as_bytes())),
    }
}

/// Gives the last lines a moment to be taken.
pub fn flush() {
    if let Some((lines, _)) = LINES.get() {
        lines.flush(LAST_LINES);
    }
}

/// Ends the process, with the reason.
pub fn end(text: &str) -> ! {
    tell(text);
    flush();
    std::process::exit(1)
}

/// Log lines that stderr did not take.
pub fn lost() -> u64 {
    LINES.get().map_or(0, |(lines, _)| lines.lost())
}

fn form_of(format: LogFormat) -> fn(&str) -> String {
    match format {
        LogFormat::Human => for_people,
        LogFormat::Json => as_json,
    }
}

fn for_people(text: &str) -> String {
    format!("pyralog: {text}\n")
}

/// As the subscriber writes an error.
fn as_json(text: &str) -> String {
    let mut timestamp = String::new();
    // Writing to a String cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    format!("{}\n", serde_json::json!({ "timestamp": timestamp, "level": "ERROR", "message": text }))
}

/// A word alone that is none would be taken for a module, of which nothing is logged, and all else not either.
fn is_level(directive: &str) -> bool {
    directive.trim().is_empty() || directive.trim().parse::<tracing_subscriber::filter::LevelFilter>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for good in ["info", "WARN", "off", "info,pyralog_node=debug", "pyralog_broker::session=trace", ""] {
            assert!(good.split(',').all(|word| is_level(word) || word.contains('=')), "{good}");
        }
        for typing_error in ["warning", "inof", "debug,inof", "pyralog_node"] {
            let refused = start(LogFormat::Human, typing_error).unwrap_err();
            assert!(refused.contains("is not a level; write error"), "{refused}");
        }
    }

    #[test]
    fn what_is_told_beside_the_filter_is_one_line_of_the_form_that_was_chosen() {
        assert_eq!(for_people("it ends"), "pyralog: it ends\n");
        let line = as_json("it\n\"ends\"");
        let told: serde_json::Value = serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap();
        assert!(!line.trim_end().contains('\n'), "{line}");
        assert_eq!((&told["level"], &told["message"]), (&"ERROR".into(), &"it\n\"ends\"".into()));
        assert!(told["timestamp"].as_str().unwrap().starts_with("20"), "{line}");
    }
}
