//! The core on its own: every answer must be the same whole and split anywhere, and nothing may panic.

use proptest::prelude::*;

use crate::body::Chunked;
use crate::error::WireError;
use crate::framing::{self, Body};
use crate::{head, request};

const LIMIT: usize = 1 << 20;

/// Payload, bytes used up, whether it ended; fed in pieces that end at `cuts`.
fn decode(input: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, usize, bool), WireError> {
    let mut decoder = Chunked::new(LIMIT);
    let mut payload = Vec::new();
    let mut used = 0;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.push(input.len());
    ends.sort_unstable();
    for end in ends {
        while used < end && !decoder.done() {
            let step = decoder.step(&input[..end], used, usize::MAX)?;
            payload.extend_from_slice(&input[step.start..step.end]);
            assert!(step.next > used, "a step must make progress");
            used = step.next;
        }
    }
    Ok((payload, used, decoder.done()))
}

fn encode(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
        out.extend_from_slice(format!("{:x};ext=1\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
    out
}

/// Field lines, most of them well-formed.
fn field_line() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(
        [
            &b"A: b\r\n"[..],
            b"A: b\n",
            b"A: one\r\n two\r\n",
            b"Content-Length: 5\r\n",
            b"A:\r\n",
            b"A: \xe9\x01\r\n",
            b"Set-Cookie: a=b; Path=/\r\n",
        ]
        .map(<[u8]>::to_vec)
        .to_vec(),
    )
}

/// Lines that say how long a body is, rightly or wrongly.
fn framing_line() -> impl Strategy<Value = String> {
    prop::sample::select(
        [
            "Content-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: 6\r\n",
            "content-length: x\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: identity\r\n",
            "Connection: close\r\n",
            "Connection: keep-alive\r\n",
            "Keep-Alive: timeout=5\r\n",
            "A: b\r\n",
        ]
        .map(str::to_owned)
        .to_vec(),
    )
}

proptest! {
    #[test]
    fn a_chunked_body_is_what_was_encoded_however_it_is_split(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
        excess in prop::collection::vec(any::<u8>(), 0..10),
    ) {
        let mut wire = encode(&chunks);
        let end = wire.len();
        wire.extend_from_slice(&excess);
        let (payload, used, done) = decode(&wire, &cuts).expect("well-formed");
        prop_assert_eq!(payload, chunks.concat());
        prop_assert_eq!((used, done), (end, true));
    }

    #[test]
    fn any_bytes_get_the_same_answer_whole_and_split(
        input in prop::collection::vec(prop::sample::select(b"0123afAF;\r\n xX:=\0".to_vec()), 0..60),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        prop_assert_eq!(decode(&input, &[]), decode(&input, &cuts));
    }

    #[test]
    fn a_head_never_panics_and_never_reads_past_its_end(
        input in prop::collection::vec(any::<u8>(), 0..80),
        tail in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut data = b"HTTP/1.1 200 OK\r\n".to_vec();
        data.extend_from_slice(&input);
        if let Ok(Some(first)) = head::parse(&data, LIMIT) {
            let _ = framing::of(&first, false);
            let len = first.len;
            let fields = first.fields.len();
            let mut longer = data.clone();
            longer.extend_from_slice(&tail);
            let again = head::parse(&longer, LIMIT).expect("accepted before").expect("complete before");
            prop_assert_eq!((again.len, again.fields.len()), (len, fields));
        }
        let _ = head::parse(&input, LIMIT);
    }

    #[test]
    fn a_head_is_complete_at_one_place_only_and_refused_for_good(
        lines in prop::collection::vec(field_line(), 0..6),
        end in prop::sample::select(vec![&b"\r\n"[..], b"\n"]),
        at in any::<prop::sample::Index>(),
        byte in prop::option::of(any::<u8>()),
    ) {
        let mut data = b"HTTP/1.1 200 OK\r\n".to_vec();
        data.extend(lines.concat());
        data.extend_from_slice(end);
        if let Some(byte) = byte {
            let at = at.index(data.len());
            data[at] = byte;
        }
        let whole = head::parse(&data, LIMIT).map(|head| head.map(|head| head.len));
        let mut refused = false;
        for cut in 0..data.len() {
            match head::parse(&data[..cut], LIMIT) {
                Ok(None) => prop_assert!(!refused, "refused before, and now it may go on"),
                Ok(Some(first)) => prop_assert_eq!(Ok(Some(first.len)), whole.clone()),
                Err(_) => refused = true,
            }
        }
        if refused {
            prop_assert!(whole.is_err());
        }
        if let Ok(Some(len)) = whole {
            prop_assert!(len <= data.len());
        }
    }

    #[test]
    fn any_fields_have_one_framing_or_none(
        lines in prop::collection::vec(framing_line(), 0..5),
        minor in 0..2u8,
        to_head in any::<bool>(),
    ) {
        let fields = lines.concat();
        if let Ok(framing) = framing_of(&fields, minor, to_head) {
            prop_assert!(!to_head || framing.body == Body::None);
            prop_assert!(!framing.keep || framing.body != Body::Close);
            // The order of the lines decides nothing but which coding is the last.
            let mut turned = lines.clone();
            turned.reverse();
            let lower = fields.to_ascii_lowercase();
            if lower.matches("transfer-encoding").count() <= 1 {
                prop_assert_eq!(framing_of(&turned.concat(), minor, to_head), Ok(framing));
            }
        }
    }

    #[test]
    fn digests_differ_where_keys_or_messages_do(
        key in any::<[u8; 32]>(), other in any::<[u8; 32]>(),
        message in prop::collection::vec(any::<u8>(), 0..200),
        longer in prop::collection::vec(any::<u8>(), 1..20),
    ) {
        let digest = crate::digest::keyed(&key, &message);
        prop_assert_eq!(digest, crate::digest::keyed(&key, &message));
        prop_assert!(key == other || digest != crate::digest::keyed(&other, &message));
        let extended = [message, longer].concat();
        prop_assert!(digest != crate::digest::keyed(&key, &extended));
    }

    #[test]
    fn split_url_gives_the_url_back(url in "https?://[a-z0-9.:-]{0,12}(/[ -~]{0,12})?") {
        if let Some((origin, target)) = request::split_url(&url) {
            let whole = format!("{origin}{target}");
            let rooted = format!("{url}/");
            prop_assert!(whole == url || whole == rooted);
            prop_assert!(!target.contains(['#', ' ', '"']) && !target.starts_with("//"));
        }
    }
}

fn framing_of(fields: &str, minor: u8, to_head: bool) -> Result<framing::Framing, WireError> {
    let data = format!("HTTP/1.{minor} 200 OK\r\n{fields}\r\n");
    let parsed = head::parse(data.as_bytes(), LIMIT)?.expect("complete");
    framing::of(&parsed, to_head)
}

#[test]
fn framing_follows_rfc_9112_section_6_3() {
    let cases = [
        ("", 1, Ok(Body::Close)),
        ("Content-Length: 7\r\n", 1, Ok(Body::Length(7))),
        ("Content-Length: 7, 7\r\n", 1, Ok(Body::Length(7))),
        (
            "Content-Length: 18446744073709551615\r\n",
            1,
            Ok(Body::Length(u64::MAX)),
        ),
        (
            "Content-Length: 18446744073709551616\r\n",
            1,
            Err(WireError::ContentLength),
        ),
        ("Content-Length: 7, 8\r\n", 1, Err(WireError::ContentLength)),
        ("Content-Length: 7 7\r\n", 1, Err(WireError::ContentLength)),
        (
            "Transfer-Encoding: gzip , Chunked\r\n",
            1,
            Ok(Body::Chunked),
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
            1,
            Err(WireError::TransferEncoding),
        ),
        ("Transfer-Encoding: gzip\r\n", 1, Ok(Body::Close)),
        (
            "Transfer-Encoding: xchunked\r\n",
            1,
            Err(WireError::TransferEncoding),
        ),
        (
            "Transfer-Encoding: identity\r\nContent-Length: 1\r\n",
            1,
            Ok(Body::Length(1)),
        ),
    ];
    for (fields, minor, expected) in cases {
        assert_eq!(
            framing_of(fields, minor, false).map(|f| f.body),
            expected,
            "{fields}"
        );
    }
    assert_eq!(
        framing_of("Content-Length: 7\r\n", 1, true).map(|f| f.body),
        Ok(Body::None)
    );
}

#[test]
fn a_connection_is_kept_as_rfc_9112_section_9_3_says() {
    for (fields, minor, keep) in [
        ("Content-Length: 0\r\n", 1, true),
        (
            "Content-Length: 0\r\nConnection: keep-alive, close\r\n",
            1,
            false,
        ),
        ("Content-Length: 0\r\n", 0, false),
        ("Content-Length: 0\r\nConnection: Keep-Alive\r\n", 0, true),
        (
            "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n",
            0,
            false,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            1,
            false,
        ),
    ] {
        assert_eq!(
            framing_of(fields, minor, false).map(|f| f.keep),
            Ok(keep),
            "{fields}"
        );
    }
    let hint = framing_of("Keep-Alive: max=5, Timeout=12\r\n", 1, false).map(|f| f.idle_hint);
    assert_eq!(hint, Ok(Some(12)));
}

#[test]
fn a_digest_is_hmac_sha256() {
    // RFC 4231 has no key of 32 bytes; this one was computed with Python's hmac module.
    let digest = crate::digest::keyed(b"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk", b"x");
    assert_eq!(digest[..4], [0x50, 0x11, 0xcc, 0x61]);
}

#[cfg(unix)]
mod sockets {
    use std::io::Write;
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use crate::body::Chunked;
    use proptest::prelude::*;

    use crate::socket::{drain_chunked, drain_length, read_exact, readable, Outcome, Patience};

    fn patience(millis: u64) -> Patience {
        Patience {
            stall: None,
            deadline: Instant::now().checked_add(Duration::from_millis(millis)),
        }
    }

    #[test]
    fn reads_end_as_they_should() {
        let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
        assert!(!readable(theirs.as_fd()));
        ours.write_all(b"hello").expect("written");
        assert!(readable(theirs.as_fd()));
        let mut buffer = [MaybeUninit::uninit(); 8];
        assert_eq!(
            read_exact(theirs.as_fd(), &mut buffer[..5], patience(5000)),
            (5, Outcome::Complete)
        );
        assert_eq!(
            read_exact(theirs.as_fd(), &mut buffer, patience(20)),
            (0, Outcome::Deadline)
        );
        let stall = Patience {
            stall: Some(Duration::from_millis(20)),
            deadline: None,
        };
        assert_eq!(
            read_exact(theirs.as_fd(), &mut buffer, stall),
            (0, Outcome::Stalled)
        );
        ours.write_all(b"abc").expect("written");
        drop(ours);
        assert_eq!(
            read_exact(theirs.as_fd(), &mut buffer, patience(5000)),
            (3, Outcome::Eof)
        );
    }

    #[test]
    fn drains_stop_at_the_end_of_the_message_or_at_the_limit() {
        let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
        ours.write_all(b"0123456789").expect("written");
        assert_eq!(
            drain_length(theirs.as_fd(), 10, patience(5000)),
            (10, Outcome::Complete)
        );
        ours.write_all(b"5\r\nhello\r\n0\r\n\r\n").expect("written");
        let drained = drain_chunked(theirs.as_fd(), &mut Chunked::new(99), 100, patience(5000))
            .expect("well-formed");
        assert_eq!(
            (drained.bytes, drained.outcome, drained.excess),
            (15, Outcome::Complete, false)
        );
        ours.write_all(b"5\r\nhello\r\n").expect("written");
        let drained = drain_chunked(theirs.as_fd(), &mut Chunked::new(99), 4, patience(5000))
            .expect("well-formed");
        assert_eq!((drained.bytes, drained.outcome), (4, Outcome::Limit));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_drain_of_known_length_leaves_what_follows(
            length in 0..5000usize,
            behind in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
            ours.write_all(&vec![b'x'; length]).expect("written");
            ours.write_all(&behind).expect("written");
            prop_assert_eq!(
                drain_length(theirs.as_fd(), length as u64, patience(5000)),
                (length as u64, Outcome::Complete)
            );
            let mut rest = vec![MaybeUninit::uninit(); behind.len()];
            prop_assert_eq!(
                read_exact(theirs.as_fd(), &mut rest, patience(5000)),
                (behind.len(), Outcome::Complete)
            );
            prop_assert!(!readable(theirs.as_fd()));
        }

        #[test]
        fn a_drain_of_chunks_says_what_the_decoder_says(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            behind in prop::collection::vec(any::<u8>(), 0..20),
            broken in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let mut wire = super::encode(&chunks);
            wire.extend_from_slice(&behind);
            if let Some((at, byte)) = broken {
                let at = at.index(wire.len());
                wire[at] = byte;
            }
            let expected = super::decode(&wire, &[]);
            let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
            ours.write_all(&wire).expect("written");
            drop(ours);
            let drained = drain_chunked(
                theirs.as_fd(), &mut Chunked::new(super::LIMIT), 1 << 20, patience(5000),
            );
            match (drained, expected) {
                (Err(one), Err(other)) => prop_assert_eq!(one, other),
                (Ok(drained), Ok((_, used, true))) => {
                    prop_assert_eq!(drained.outcome, Outcome::Complete);
                    prop_assert_eq!(drained.excess, used < wire.len());
                }
                (Ok(drained), Ok((_, _, false))) => prop_assert_eq!(drained.outcome, Outcome::Eof),
                (drained, expected) => prop_assert!(false, "{:?} {:?}", drained, expected),
            }
        }
    }
}
