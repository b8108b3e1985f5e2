//! Frames that we send.

use crate::headers::MSG_ID_LINE;
use crate::numbers::{digits, put_unsigned};

/// What repeats in the frames of a subject and its static headers.
#[derive(Debug, Clone, Copy)]
pub struct Lead<'a> {
    /// `HPUB <subject> `.
    pub line: &'a [u8],
    /// From `NATS/1.0` to `mts-trace-id: `.
    pub block: &'a [u8],
}

/// What is new in each.
#[derive(Debug, Clone, Copy, Default)]
pub struct Message<'a> {
    /// Where the ack goes, up to its number; empty when none is asked for.
    pub reply: &'a [u8],
    pub token: Option<u64>,
    pub trace_id: &'a [u8],
    pub msg_id: Option<&'a [u8]>,
    /// Further header lines, each with its CRLF.
    pub extra: &'a [u8],
    /// Header lines of a batch behind these, up to the number of the message in it, and the number.
    pub numbered: Option<(&'a [u8], u64)>,
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// Bytes of the header block and payload, which the server holds against `max_payload`.
    pub fn size(&self, lead: &Lead<'_>) -> usize {
        self.head(lead) + self.payload.len()
    }

    fn head(&self, lead: &Lead<'_>) -> usize {
        let id = self.msg_id.map_or(0, |id| 2 + MSG_ID_LINE.len() + id.len());
        let numbered = self.numbered.map_or(0, |(lines, number)| lines.len() + digits(number) + 2);
        lead.block.len() + self.trace_id.len() + id + self.extra.len() + numbered + 4
    }

    /// Append the whole frame.
    pub fn put(&self, lead: &Lead<'_>, out: &mut Vec<u8>) {
        let head = self.head(lead);
        out.reserve(lead.line.len() + self.reply.len() + 64 + head + self.payload.len());
        out.extend_from_slice(lead.line);
        if !self.reply.is_empty() {
            out.extend_from_slice(self.reply);
            if let Some(token) = self.token {
                put_unsigned(out, token);
            }
            out.push(b' ');
        }
        put_unsigned(out, head as u64);
        out.push(b' ');
        put_unsigned(out, (head + self.payload.len()) as u64);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(lead.block);
        out.extend_from_slice(self.trace_id);
        if let Some(id) = self.msg_id {
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(MSG_ID_LINE);
            out.extend_from_slice(id);
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.extra);
        if let Some((lines, number)) = self.numbered {
            out.extend_from_slice(lines);
            put_unsigned(out, number);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.payload);
        out.extend_from_slice(b"\r\n");
    }
}

/// Append the frame that acknowledges the delivery with this reply subject.
pub fn put_ack(out: &mut Vec<u8>, reply: &[u8]) {
    out.extend_from_slice(b"PUB ");
    out.extend_from_slice(reply);
    out.extend_from_slice(b" 4\r\n+ACK\r\n");
}

/// What the server holds against `max_payload`, from the line of a frame of ours; None when it is none.
pub fn frame_size(frame: &[u8]) -> Option<usize> {
    let end = frame.iter().position(|&byte| byte == b'\r')?;
    let begin = frame[..end].iter().rposition(|&byte| byte == b' ')? + 1;
    core::str::from_utf8(&frame[begin..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAD: Lead<'_> = Lead { line: b"HPUB a ", block: b"NATS/1.0\r\nmts-trace-id: " };

    fn frame(message: Message<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        message.put(&LEAD, &mut out);
        assert_eq!(frame_size(&out), Some(message.size(&LEAD)));
        out
    }

    #[test]
    fn whole_frames() {
        let plain = frame(Message { trace_id: b"t", payload: b"{}", ..Message::default() });
        assert_eq!(plain, b"HPUB a 29 31\r\nNATS/1.0\r\nmts-trace-id: t\r\n\r\n{}\r\n");
        let full = frame(Message {
            reply: b"in.",
            token: Some(12),
            trace_id: b"t",
            msg_id: Some(b"i"),
            extra: b"x: y\r\n",
            payload: b"{}",
            ..Message::default()
        });
        let batched = frame(Message { trace_id: b"t", numbered: Some((b"n: ", 1000)), ..Message::default() });
        assert_eq!(batched, b"HPUB a 38 38\r\nNATS/1.0\r\nmts-trace-id: t\r\nn: 1000\r\n\r\n\r\n");
        assert_eq!(full, b"HPUB a in.12 51 53\r\nNATS/1.0\r\nmts-trace-id: t\r\nNats-Msg-Id: i\r\nx: y\r\n\r\n{}\r\n");
    }

    #[test]
    fn acks() {
        let mut out = Vec::new();
        put_ack(&mut out, b"$JS.ACK.1");
        assert_eq!(out, b"PUB $JS.ACK.1 4\r\n+ACK\r\n");
        assert_eq!(frame_size(b"nothing"), None);
    }
}
