//! Messages in what a NATS server sends.

use crate::class::{self, DIGIT};
use core::ops::Range;

/// One whole message, as offsets into the chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub subject: Range<usize>,
    pub sid: u64,
    /// Empty where no answer is asked for.
    pub reply: Range<usize>,
    /// Where the header block begins; it runs to `payload`.
    pub head: usize,
    pub payload: usize,
    pub end: usize,
    /// Where the next line begins.
    pub next: usize,
}

const DIGITS: usize = 17;

/// Digits up to something else.
#[inline(always)]
fn number(data: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut value = 0usize;
    let mut end = at;
    while end < data.len() && class::is(data[end], DIGIT) {
        if end - at == DIGITS {
            return None;
        }
        value = value * 10 + usize::from(data[end] - b'0');
        end += 1;
    }
    if end == at { None } else { Some((value, end)) }
}

/// Where a token ends: at the first blank or control character, which must be a space.
#[inline(always)]
fn token(data: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    while end < data.len() && data[end] > b' ' {
        end += 1;
    }
    if end > at && data.get(end) == Some(&b' ') { Some(end) } else { None }
}

/// The sizes at the end of a line: of the header block and of all, and where the CR is.
#[inline(always)]
fn sizes(data: &[u8], at: usize, with_head: bool) -> Option<(usize, usize, usize)> {
    let (first, end) = number(data, at)?;
    if !with_head {
        return if data.get(end) == Some(&b'\r') { Some((0, first, end)) } else { None };
    }
    if data.get(end) != Some(&b' ') {
        return None;
    }
    let (second, end) = number(data, end + 1)?;
    if data.get(end) == Some(&b'\r') { Some((first, second, end)) } else { None }
}

/// How the line of a message begins, up to the blank behind the subscription id, as offsets into the chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    begin: usize,
    subject: Range<usize>,
    sid: u64,
    with_head: bool,
    end: usize,
}

impl Lead {
    #[inline]
    fn read(data: &[u8], at: usize) -> Option<Self> {
        let rest = data.get(at..)?;
        let with_head = rest.starts_with(b"HMSG ");
        if !with_head && !rest.starts_with(b"MSG ") {
            return None;
        }
        let begin = at + 4 + usize::from(with_head);
        let subject = begin..token(data, begin)?;
        let (sid, end) = number(data, subject.end + 1)?;
        if data.get(end) != Some(&b' ') {
            return None;
        }
        Some(Self { begin: at, subject, sid: sid as u64, with_head, end: end + 1 })
    }

    /// The same bytes at `at`, if they are there: the messages of a subject often come one after the other.
    #[inline(always)]
    fn again(&self, data: &[u8], at: usize) -> Option<Self> {
        let same = data.get(at..)?.starts_with(&data[self.begin..self.end]);
        same.then(|| Self {
            begin: at,
            subject: self.subject.start - self.begin + at..self.subject.end - self.begin + at,
            end: self.end - self.begin + at,
            ..*self
        })
    }
}

/// The message whose line begins at `at`; None for anything else, an unfinished message too.
///
/// `lead` is how the message before in `data` began, and is set to how this one does.
#[inline]
pub fn message(data: &[u8], at: usize, most: usize, lead: &mut Option<Lead>) -> Option<Message> {
    let found = match lead.as_ref().and_then(|before| before.again(data, at)) {
        Some(again) => again,
        None => Lead::read(data, at)?,
    };
    let Lead { ref subject, sid, with_head, end: third, .. } = *lead.insert(found);
    let (reply, (head, size, cr)) = match sizes(data, third, with_head) {
        Some(found) => (third..third, found),
        None => {
            let end = token(data, third)?;
            (third..end, sizes(data, end + 1, with_head)?)
        }
    };
    let body = cr + 2;
    if head > size || size > most || data.get(cr + 1) != Some(&b'\n') {
        return None;
    }
    let end = body + size;
    if data.get(end) != Some(&b'\r') || data.get(end + 1) != Some(&b'\n') {
        return None;
    }
    Some(Message { subject: subject.clone(), sid, reply, head: body, payload: body + head, end, next: end + 2 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(data: &[u8], at: usize, most: usize) -> Option<Message> {
        super::message(data, at, most, &mut None)
    }

    #[test]
    fn a_message_with_and_without_headers_and_reply() {
        let data = b"MSG a.b 7 2\r\nhi\r\nHMSG c 1 r.1 4 6\r\nHEADok\r\n";
        let first = message(data, 0, 1 << 20).unwrap();
        assert_eq!((&data[first.subject.clone()], first.sid, first.reply.len()), (&b"a.b"[..], 7, 0));
        assert_eq!(&data[first.payload..first.end], b"hi");
        let second = message(data, first.next, 1 << 20).unwrap();
        assert_eq!((&data[second.reply.clone()], second.sid), (&b"r.1"[..], 1));
        assert_eq!((&data[second.head..second.payload], &data[second.payload..second.end]), (&b"HEAD"[..], &b"ok"[..]));
        assert_eq!(second.next, data.len());
    }

    #[test]
    fn messages_that_begin_like_the_one_before_are_read_like_any_other() {
        let data = b"HMSG a.b 7 4 6\r\nHEADok\r\nHMSG a.b 7 4 6\r\nHEADno\r\nHMSG a.b 7 in.1 4 4\r\nHEAD\r\n\
            HMSG a.b 70 4 4\r\nHEAD\r\nMSG a.b 7 2\r\nhi\r\nMSG a.b 7 2\r\nho\r\nMSG a.b 7 2\r\nh";
        let (mut lead, mut at, mut found) = (None, 0, Vec::new());
        while let Some(next) = super::message(data, at, 1 << 20, &mut lead) {
            assert_eq!(message(data, at, 1 << 20).as_ref(), Some(&next));
            at = next.next;
            found.push((next.sid, &data[next.reply], &data[next.payload..next.end]));
        }
        let plain = |payload| (7, &b""[..], payload);
        assert_eq!(found[..2], [plain(&b"ok"[..]), plain(b"no")]);
        assert_eq!(found[2..4], [(7, &b"in.1"[..], &b""[..]), (70, b"", b"")]);
        assert_eq!(found[4..], [plain(b"hi"), plain(b"ho")]);
    }

    #[test]
    fn anything_else_is_left() {
        for data in [
            &b"PING\r\n"[..],
            b"MSG a 1 2\r\nhi\r",
            b"MSG a 1 2\r\nhix\n",
            b"MSG  a 1 2\r\nhi\r\n",
            b"MSG a 1 2 \r\nhi\r\n",
            b"MSG a x 2\r\nhi\r\n",
            b"HMSG a 1 3 2\r\nhi\r\n",
            b"MSG a 1 -2\r\nhi\r\n",
            b"MSG a 1 99999999999999999999\r\nhi\r\n",
            b"msg a 1 2\r\nhi\r\n",
            b"MSG a\x0bb 1 2\r\nhi\r\n",
            b"",
        ] {
            assert_eq!(message(data, 0, 1 << 20), None, "{data:?}");
        }
        assert_eq!(message(b"MSG a 1 2\r\nhi\r\n", 0, 1), None);
        assert_eq!(message(b"", 5, 1), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(data in proptest::collection::vec(any::<u8>(), 0..96), at in 0usize..100) {
            let _ = message(&data, at, 1 << 20);
        }

        #[test]
        fn lines_that_nearly_are_do_not_panic(line in "H?MSG [a-z.]{0,5} [0-9]{0,3} ([a-z]{0,3} )?[0-9]{0,3}( [0-9]{0,19})?\r?\n?[a-z\r\n]{0,12}") {
            let _ = message(line.as_bytes(), 0, 1 << 20);
        }
    }
}
