//! Log lines on stderr: for people, or one JSON object each.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::cli::LogFormat;

/// Sets up logging for the process. A filter that cannot be understood is an error with a text for people.
pub fn start(format: LogFormat, filter: &str) -> Result<(), String> {
    let wrong =
        |why: String| format!("--log {filter}: {why}; write error, warn, info, debug, trace, off or module=level,...");
    if let Some(word) = filter.split(',').find(|directive| !is_level(directive) && !directive.contains('=')) {
        return Err(wrong(format!("{word:?} is not a level")));
    }
    let filter = EnvFilter::try_new(filter).map_err(|e| wrong(e.to_string()))?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Human => {
            builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| e.to_string())
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
}
