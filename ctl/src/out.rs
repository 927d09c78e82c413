//! Writing to standard output, where the reader may go away at any moment.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde_json::Value;

use crate::failure::Failure;
use crate::look::Look;

/// Standard output. What is written is sent on with [`Out::flush`].
pub(crate) struct Out {
    stdout: BufWriter<StdoutLock<'static>>,
    /// How it looks.
    pub(crate) look: Look,
}

impl Out {
    /// Standard output with this look.
    pub(crate) fn new(look: Look) -> Self {
        Self { stdout: BufWriter::new(io::stdout().lock()), look }
    }

    /// A text as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes).map_err(failure)
    }

    /// A document.
    pub(crate) fn document(&mut self, document: &Value) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut self.stdout, document).map_err(|error| failure(error.into()))?;
        self.text("\n")?;
        self.flush()
    }

    /// A document of a stream: one line.
    pub(crate) fn line(&mut self, document: &Value) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.stdout, document).map_err(|error| failure(error.into()))?;
        self.text("\n")
    }

    /// Sends on what was written.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(failure)
    }
}

fn failure(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe { Failure::OutputClosed } else { Failure::Output(error) }
}

/// A text on standard error. Nobody can be told when that fails.
pub(crate) fn complain(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
