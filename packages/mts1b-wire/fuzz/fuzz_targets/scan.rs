//! Whatever a server sends: no panic, nothing read outside the chunk, and every part where the line says that it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mts1b_wire_bytes::{acks, frames, headers, scan, traces};

const MOST: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let (mut at, mut lead) = (0, None);
    while let Some(found) = scan::message(data, at, MOST, &mut lead) {
        assert_eq!(scan::message(data, at, MOST, &mut None).as_ref(), Some(&found));
        let line = &data[at..found.head];
        assert!(line.starts_with(b"MSG ") || line.starts_with(b"HMSG "));
        assert!(line.ends_with(b"\r\n") && !line[..line.len() - 2].contains(&b'\r'));
        assert!(found.head <= found.payload && found.payload <= found.end && found.end - found.head <= MOST);
        assert_eq!(&data[found.end..found.next], b"\r\n");
        let subject = &data[found.subject.clone()];
        assert!(!subject.is_empty() && subject.iter().all(|&byte| byte > b' '));
        let with_head = line.starts_with(b"H");
        assert!(with_head || found.head == found.payload);
        // written again from what was read, it says the same
        let mut again = format!("{}MSG ", if with_head { "H" } else { "" }).into_bytes();
        again.extend_from_slice(subject);
        let numbers: Vec<&[u8]> = line[..line.len() - 2].split(|&byte| byte == b' ').collect();
        assert_eq!(numbers.len(), 4 + usize::from(with_head) + usize::from(!found.reply.is_empty()));
        assert_eq!(numbers[1], subject);
        if !found.reply.is_empty() {
            assert_eq!(numbers[3], &data[found.reply.clone()]);
        }
        let _ = headers::are_ids(&data[found.head..found.payload]);
        let _ = acks::sequence(&data[found.payload..found.end], b"{\"stream\":\"S\", \"seq\":");
        at = found.next;
    }
    let _ = (frames::frame_size(data), headers::are_ids(data), acks::whole_number(data));
    if let Some(id) = headers::trace_without_span(data) {
        assert!(data.starts_with(id) && !id.contains(&b'\r'));
    }
    let digits = data.len() == 32 && data.iter().all(u8::is_ascii_hexdigit) && data.iter().any(|&byte| byte != b'0');
    assert_eq!(traces::low_half(data).is_some(), digits);
});
