//! Goal: no change of a stored object goes unnoticed. Method: flip every bit, cut at every length, of a small object.

use super::*;

fn object() -> (String, Bytes, Written) {
    let header = ObjectHeader {
        pipeline: "fraud.spend".into(),
        generation: 1,
        epoch: Epoch(70),
        token: Token(5),
        worker: 0,
        state: "spend".into(),
        type_fingerprint: u64::MAX,
    };
    let mut writer = ObjectWriter::new(header);
    writer.push(&Slice { group: 3, kind: SliceKind::Base, entries: 2, bytes: b"\x01a\x01\x02xy\x01b\x00".to_vec() });
    writer.push(&Slice { group: 9, kind: SliceKind::Base, entries: 0, bytes: Vec::new() });
    writer.push(&Slice { group: 200, kind: SliceKind::Delta, entries: 1, bytes: b"\x01c\x00".to_vec() });
    writer.finish()
}

#[test]
fn an_object_reads_back() {
    let (name, bytes, written) = object();
    assert_eq!(name, "state/fraud.spend/1/00000000000000000070/spend-w0-5.state");
    let read = StateObject::read(&name, &bytes).unwrap();
    assert_eq!(read.header.state, "spend");
    let slices: Vec<_> = read.slices.iter().map(|(group, at, _)| (*group, at.clone())).collect();
    assert_eq!(slices, written.slices);
    for (_, at, content) in &read.slices {
        assert_eq!(content, &bytes[at.offset as usize..][..at.len as usize]);
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let (name, bytes, _) = object();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = StateObject::read(&name, &flipped.into()).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "bit {bit}: {error}");
    }
    for len in 0..bytes.len() {
        assert!(matches!(StateObject::read(&name, &bytes.slice(..len)), Err(Error::Damaged { .. })), "cut at {len}");
    }
    let longer = [&bytes[..], b"\0"].concat();
    assert!(StateObject::read(&name, &longer.into()).is_err());
}

#[test]
fn a_newer_format_is_refused_with_a_remedy() {
    let (name, bytes, _) = object();
    let mut newer = bytes.to_vec();
    newer[MAGIC.len()] = VERSION + 1;
    let end = PREFIX + newer[MAGIC.len() + 1] as usize;
    let crc = crc32fast::hash(&newer[..end]).to_le_bytes();
    newer[end..end + CRC].copy_from_slice(&crc);
    assert!(matches!(StateObject::read(&name, &newer.into()), Err(Error::Refused { .. })));
}
