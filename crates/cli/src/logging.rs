//! Logs: always to stderr, so that stdout belongs to what a command was asked for.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::exit::Failure;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts to log what `filter` lets through: a level, or directives such as `info,farwire_node=debug`. Called once.
///
/// # Errors
/// Wrong use, when the filter cannot be read.
pub(crate) fn init(filter: &str, format: LogFormat) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|err| {
        Failure::usage(format!(
            "--log: {err}; give off, error, warn, info, debug or trace, as in --log info,farwire_node=debug"
        ))
    })?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => {
            builder.json().flatten_event(true).init();
            // Else a panic would be several lines of text among the objects.
            std::panic::set_hook(Box::new(|panic| tracing::error!(err = %panic, "panic")));
        }
    }
    Ok(())
}
