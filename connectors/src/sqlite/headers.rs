//! Headers of a record as one blob: a version byte, then per header a name (2-byte length) and a value (4-byte length),
//! little-endian. No headers, no blob.

use bytes::Bytes;
use distributary_runtime::bus::{BusError, Header};

const VERSION: u8 = 1;

/// The blob of these headers, written into `blob` (which is cleared first); `None` without headers.
pub(super) fn encode<'a>(headers: &[Header], blob: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>, BusError> {
    if headers.is_empty() {
        return Ok(None);
    }
    blob.clear();
    blob.push(VERSION);
    for (name, value) in headers {
        let (Ok(name_len), Ok(value_len)) = (u16::try_from(name.len()), u32::try_from(value.len())) else {
            return Err(BusError::Invalid("a header's name is longer than 65,535 bytes".to_string()));
        };
        blob.extend_from_slice(&name_len.to_le_bytes());
        blob.extend_from_slice(name.as_bytes());
        blob.extend_from_slice(&value_len.to_le_bytes());
        blob.extend_from_slice(value);
    }
    Ok(Some(blob))
}

/// Reads what [`encode`] wrote; `None` when the blob is damaged or of a later version.
pub(super) fn decode(blob: Option<&[u8]>) -> Option<Vec<Header>> {
    let Some(blob) = blob else { return Some(Vec::new()) };
    let (version, mut rest) = blob.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut headers = Vec::new();
    while !rest.is_empty() {
        let name_len = u16::from_le_bytes(take(&mut rest, 2)?.try_into().ok()?);
        let name = std::str::from_utf8(take(&mut rest, usize::from(name_len))?).ok()?.to_string().into();
        let value_len = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
        headers.push((name, Bytes::copy_from_slice(take(&mut rest, value_len as usize)?)));
    }
    Some(headers)
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(n)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::{Bytes, decode, encode};

    #[test]
    fn headers_come_back_and_damage_is_seen() {
        let headers = vec![("op".into(), "+".into()), ("".into(), Bytes::new()), ("ü".into(), vec![0, 255].into())];
        let mut blob = Vec::new();
        assert_eq!(encode(&[], &mut blob).unwrap(), None);
        assert_eq!(decode(None), Some(Vec::new()));
        let blob = encode(&headers, &mut blob).unwrap().unwrap().to_vec();
        assert_eq!(decode(Some(&blob)), Some(headers));
        assert_eq!(decode(Some(&blob[..blob.len() - 1])), None, "cut");
        assert_eq!(decode(Some(&[9])), None, "a later version");
    }

    /// The format as it stands on disk: a change of it must come with a new version.
    #[test]
    fn the_format_is_pinned() {
        let mut blob = Vec::new();
        encode(&[("op".into(), "-".into())], &mut blob).unwrap();
        assert_eq!(blob, b"\x01\x02\x00op\x01\x00\x00\x00-");
    }
}
