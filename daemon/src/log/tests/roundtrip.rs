//! Whatever comes in comes back.

use mcpd_config::spec::{LogFormat, LogTarget};
use mcpd_proto::log::Stream;
use proptest::prelude::*;

use super::{Lab, concatenated, joined, pipe, spec, text, texts, until, write_all};
use crate::log::LogPipe;

/// One write of one stream.
type Piece = (bool, Vec<u8>);

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let byte = prop_oneof![3 => Just(b'\n'), 4 => Just(b'a'), 1 => Just(0_u8), 2 => any::<u8>()];
    let small = prop::collection::vec(byte, 0..200);
    // Not of newlines: with the tiny files below each of them would be a file of its own, and a disk that makes 150,000
    // files is one that is too slow, for which lines may be dropped.
    let byte_of_a_line = any::<u8>().prop_filter("no newline", |&byte| byte != b'\n');
    let large = (byte_of_a_line, 60_000..150_000_usize).prop_map(|(byte, size)| vec![byte; size]);
    prop::collection::vec((any::<bool>(), prop_oneof![20 => small, 1 => large]), 1..40)
}

/// Pieces, and the size at which their file is rotated. Where nearly every line is a file of its own they are few: a disk
/// that has to make thousands of files in a moment, beside other work, is one that is too slow.
fn case() -> impl Strategy<Value = (Vec<Piece>, u64)> {
    (pieces(), 1..5000_u64).prop_map(|(mut pieces, max_size)| {
        if max_size < 200 {
            pieces.truncate(6);
        }
        (pieces, max_size)
    })
}

fn ended(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last().is_some_and(|&last| last != b'\n') {
        bytes.push(b'\n');
    }
    bytes
}

/// Writes the pieces through real pipes; gives what each stream was told.
fn play(lab: &Lab, pieces: &[Piece], format: LogFormat, max_size: u64) -> [Vec<u8>; 2] {
    let (mut out, mut err) = lab.service(1, "svc", &spec(LogTarget::File, format, max_size, 1_000_000));
    let mut said = [Vec::new(), Vec::new()];
    for (is_err, data) in pieces {
        let to = if *is_err { &mut err } else { &mut out };
        write_all(to, data);
        said[usize::from(*is_err)].extend_from_slice(data);
    }
    drop((out, err));
    lab.settle(1);
    said
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn both_streams_come_back_through_records((pieces, max_size) in case(), json in any::<bool>()) {
        let format = if json { LogFormat::Json } else { LogFormat::Text };
        let lab = Lab::new();
        let [out, err] = play(&lab, &pieces, format, max_size);
        let lines = lab.lines("svc", format, None);
        prop_assert!(lines.is_sorted_by_key(|line| line.time.clone()));
        prop_assert!(joined(&lines, Stream::Out) == ended(out));
        prop_assert!(joined(&lines, Stream::Err) == ended(err));
        for last in [0, 1, 2, lines.len() / 2, lines.len(), lines.len() + 7] {
            let from = lines.len().saturating_sub(last);
            prop_assert!(lab.lines("svc", format, Some(last)) == lines[from..], "the last {last}");
        }
    }

    #[test]
    fn raw_is_the_bytes_as_they_came((pieces, max_size) in case()) {
        let lab = Lab::new();
        let pieces: Vec<_> = pieces.into_iter().map(|(_, data)| (false, data)).collect();
        let [out, _] = play(&lab, &pieces, LogFormat::Raw, max_size);
        prop_assert!(concatenated(&lab.path(), "svc") == out);
        let mut back = Vec::new();
        for line in lab.lines("svc", LogFormat::Raw, None) {
            back.extend(super::bytes(&line));
            if !line.continues {
                back.push(b'\n');
            }
        }
        prop_assert!(back == ended(out));
    }
}

#[test]
fn nothing_comes_back_of_nothing() {
    let lab = Lab::new();
    play(&lab, &[(false, Vec::new())], LogFormat::Raw, 500);
    assert!(concatenated(&lab.path(), "svc").is_empty());
    assert!(lab.lines("svc", LogFormat::Raw, None).is_empty());
}

#[test]
fn ten_megabytes_in_one_line_are_cut_and_whole() {
    let line: Vec<u8> = (0..10 * 1024 * 1024_u32).map(|n| b'a' + u8::try_from(n % 26).unwrap()).collect();
    for format in [LogFormat::Text, LogFormat::Json] {
        let lab = Lab::new();
        let [out, _] = play(&lab, &[(false, line.clone()), (false, b"\nafter\n".to_vec())], format, 1 << 30);
        let lines = lab.lines("svc", format, None);
        assert_eq!(lines.len(), 161);
        assert!(lines[..159].iter().all(|line| line.continues && line.text.len() == 65536));
        assert!(joined(&lines, Stream::Out) == out);
    }
}

#[test]
fn the_text_format_is_as_documented() {
    let lab = Lab::new();
    let (mut out, mut err) = lab.service(1, "svc", &text(0, 8));
    write_all(&mut out, b"one\n");
    lab.settle(1);
    write_all(&mut err, b"two \xff\n");
    lab.settle(1);
    let file = std::fs::read(lab.path().join("svc.log")).unwrap();
    let lines: Vec<_> = file.split(|&b| b == b'\n').collect();
    assert_eq!(&lines[0][27..], b" out one");
    assert_eq!(&lines[1][27..], b" err two \xff");
    let time = std::str::from_utf8(&lines[0][..27]).unwrap();
    time.parse::<jiff::Timestamp>().unwrap();
}

#[test]
fn a_partial_line_waits_for_its_newline_and_is_not_torn_by_the_other_stream() {
    let lab = Lab::new();
    let (mut out, mut err) = lab.service(1, "svc", &text(0, 8));
    write_all(&mut out, b"half ");
    // The tail shows the second write, so the pump has seen the first.
    write_all(&mut err, b"other\n");
    until(|| !lab.tail(1, 1).is_empty());
    write_all(&mut out, b"whole\nlast");
    lab.settle(1);
    assert_eq!(texts(&lab.lines("svc", LogFormat::Text, None)), ["other", "half whole", "last"]);
}

#[test]
fn a_log_that_was_torn_by_a_kill_goes_on_on_a_fresh_line() {
    let lab = Lab::new();
    std::fs::create_dir_all(lab.path()).unwrap();
    std::fs::write(lab.path().join("svc.log"), b"2026-11-22T11:30:00.123456Z out whole\n2026-11-22T11:3")
        .unwrap();
    let (mut out, _err) = lab.service(1, "svc", &text(0, 8));
    write_all(&mut out, b"new\n");
    lab.settle(1);
    let lines = lab.lines("svc", LogFormat::Text, None);
    assert_eq!(texts(&lines), ["whole", "2026-11-22T11:3", "new"]);
    assert_eq!(lines[1].time, None);
}

#[test]
fn the_console_gets_prefixed_lines() {
    use std::io::Read as _;
    let (out, mut shown) = pipe_ends();
    let (err, mut shown_err) = pipe_ends();
    let lab = Lab::with(crate::log::console::Outputs { out: Box::new(out), err: Box::new(err) });
    let (mut out, mut err) = lab.service(1, "web", &spec(LogTarget::Inherit, LogFormat::Text, 0, 0));
    write_all(&mut out, b"one\ntwo\n");
    write_all(&mut err, b"bad");
    drop((out, err));
    lab.settle(1);
    let mut buffer = [0; 100];
    let count = shown.read(&mut buffer).unwrap();
    assert_eq!(&buffer[..count], b"web | one\nweb | two\n");
    let count = shown_err.read(&mut buffer).unwrap();
    assert_eq!(&buffer[..count], b"web | bad\n");
    assert!(!lab.path().exists(), "no file is made for it");
}

fn pipe_ends() -> (mio::unix::pipe::Sender, LogPipe) {
    let (sender, receiver) = pipe();
    receiver.set_nonblocking(false).unwrap();
    (sender, receiver)
}
