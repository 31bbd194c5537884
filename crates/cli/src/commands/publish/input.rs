//! Stdin as messages: as a whole, or a line each. Bounded: of a line that is too long only its end is looked for.

use std::io;

use bytes::Bytes;
use farwire_wire::limits::PAYLOAD_BYTES_MAX;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt};

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// It fits into a message.
    Payload(Bytes),
    /// It does not.
    TooLong,
}

/// Takes the next line from `input`; `None` at the end.
///
/// Not cancel safe: what was read of a line is lost.
///
/// # Errors
/// What the system says.
pub(super) async fn next_line(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut begun = false;
    loop {
        let chunk = input.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(begun.then(|| finished(line)));
        }
        begun = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let consumed = end.map_or(chunk.len(), |end| end + 1);
        input.consume(consumed);
        if end.is_some() {
            return Ok(Some(finished(line)));
        }
    }
}

/// Takes all of `input`; `None` when it is more than a message may have.
///
/// Not cancel safe: what was read is lost.
///
/// # Errors
/// What the system says.
pub(super) async fn whole(input: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    input.take(PAYLOAD_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).await?;
    Ok((bytes.len() <= PAYLOAD_BYTES_MAX).then(|| bytes.into()))
}

fn finished(mut line: Vec<u8>) -> Line {
    line.pop_if(|byte| *byte == b'\r');
    if line.len() > PAYLOAD_BYTES_MAX { Line::TooLong } else { Line::Payload(line.into()) }
}

/// A payload and the carriage return that some systems put after it.
const LINE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 1;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::BufReader;

    async fn lines(input: &[u8]) -> Vec<Line> {
        // A small buffer, so that lines lie across its ends.
        let mut input = BufReader::with_capacity(7, input);
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut input).await.expect("memory can be read") {
            lines.push(line);
        }
        lines
    }

    fn payload(text: impl Into<Bytes>) -> Line {
        Line::Payload(text.into())
    }

    #[tokio::test]
    async fn lines_end_with_a_line_feed_or_with_the_input() {
        assert_eq!(lines(b"").await, []);
        assert_eq!(lines(b"one\nand a long two\n\nlast").await, ["one", "and a long two", "", "last"].map(payload));
        assert_eq!(lines(b"one\r\n\xff\n").await, [payload("one"), payload(&b"\xff"[..])]);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_hides_none_that_follows() {
        let fits = "x".repeat(PAYLOAD_BYTES_MAX);
        let input = format!("{fits}\r\n{fits}y\n{fits}{fits}\nnext\n");
        assert_eq!(lines(input.as_bytes()).await, [payload(fits), Line::TooLong, Line::TooLong, payload("next")]);
    }

    #[tokio::test]
    async fn the_whole_input_is_one_message_if_it_fits() {
        assert_eq!(whole(&mut &b"a\nb\n"[..]).await.expect("read"), Some("a\nb\n".into()));
        assert_eq!(whole(&mut &vec![0; PAYLOAD_BYTES_MAX + 1][..]).await.expect("read"), None);
    }
}
