//! Small files of an hour become larger ones.
//!
//! Only neighbours become one, which is named by its newest epoch: in the order of their epochs, the files of an hour have their rows in the
//! order in which they were written. While rows come into an hour, its files are joined when they make a large one, when there are many of
//! them, or when they are tiny; when none come any more, whichever clock they go by, all that are left. Files go together with older ones that
//! are not much larger than they are together, so that a row is written again once or twice and not as often as others come; a large file is
//! left alone.

use super::data_files::{DataFiles, Place, Written, hour_of, written_by};
use super::log::TableFile;
use distributary_runtime::bus::Token;
use distributary_runtime::error::Result;
use distributary_runtime::time::{Epoch, WallTime};
use std::collections::BTreeMap;

/// So many commits of a lane lie between two looks; so many tiny files are joined.
pub(super) const SOME: usize = 16;
/// So many small files of an hour are joined, whatever they make.
const MANY: usize = 64;
/// What files grow to, and what is written again at once: it holds up what is committed meanwhile.
const LARGE: u64 = 256 << 20;
/// What is less is small.
const SMALL: u64 = LARGE / 2;
/// What is less together is tiny, and joined as soon as there are some.
const TINY: u64 = 8 << 20;
/// An older file is joined if it is not larger than so many times all that are newer.
const RATIO: u64 = 4;

/// Joins small files. `None` when there is nothing to do. An hour is quiet if it has no files of epochs behind `seen`.
pub(super) fn compact<'a>(
    files: &DataFiles,
    there: impl Iterator<Item = &'a TableFile>,
    seen: Epoch,
    (token, closed_at): (Token, WallTime),
) -> Result<Option<Written>> {
    let mut hours: BTreeMap<&str, Vec<&TableFile>> = BTreeMap::new();
    for file in there {
        hours.entry(file.path.rsplit_once('/').map_or("", |(folder, _)| folder)).or_default().push(file);
    }
    let mut written = Written::default();
    let mut bytes = 0;
    for (folder, mut of_hour) in hours.into_iter().rev() {
        of_hour.sort_by_key(|file| (written_by(&file.path), &file.path));
        let newest = of_hour.last().and_then(|file| written_by(&file.path)).unwrap_or_default().0;
        for together in joints(&of_hour, newest <= seen.0) {
            if bytes > 0 && bytes + bytes_of(together) > LARGE {
                break;
            }
            bytes += bytes_of(together);
            let hour = hour_of(folder).ok_or_else(|| files.damaged(&format!("{folder} is no hour")))?;
            let epoch = together.last().and_then(|file| written_by(&file.path)).unwrap_or_default().0;
            let paths: Vec<_> = together.iter().map(|file| file.path.clone()).collect();
            let place = Place { token, hour, epoch: Epoch(epoch), closed_at };
            let joint = files.write(place, paths.join("\n").as_bytes(), |joint| {
                together.iter().try_for_each(|file| files.rows(file)?.try_for_each(|rows| joint.add(&rows?)))
            })?;
            written.adds.extend(joint);
            written.removes.extend(paths);
        }
    }
    Ok((!written.removes.is_empty()).then_some(written))
}

fn bytes_of(files: &[&TableFile]) -> u64 {
    files.iter().map(|file| file.size_bytes).sum()
}

/// Which files of an hour, which are in their order, become one.
fn joints<'a>(files: &'a [&'a TableFile], is_quiet: bool) -> Vec<&'a [&'a TableFile]> {
    let is_due = |group: &&[&TableFile]| {
        let bytes = bytes_of(group);
        is_quiet || group.len() >= MANY || bytes >= SMALL || (group.len() >= SOME && bytes <= TINY)
    };
    let small = files.split(|file| file.size_bytes >= SMALL);
    small.flat_map(alike).filter(is_due).flat_map(packed).collect()
}

/// The newest of these files with those before them that are not much larger, then the newest of the rest, and so on.
fn alike<'a>(files: &'a [&'a TableFile]) -> Vec<&'a [&'a TableFile]> {
    let (mut groups, mut end, mut bytes) = (Vec::new(), files.len(), 0);
    for (index, file) in files.iter().enumerate().rev() {
        let behind = end - (index + 1);
        let are_many_and_tiny = behind >= SOME && bytes + file.size_bytes <= TINY;
        if behind > 0 && file.size_bytes > RATIO * bytes && !are_many_and_tiny {
            groups.push(&files[index + 1..end]);
            (end, bytes) = (index + 1, 0);
        }
        bytes += file.size_bytes;
    }
    groups.push(&files[..end]);
    groups
}

/// In pieces that are no more than [`LARGE`], of two at least.
fn packed<'a>(files: &'a [&'a TableFile]) -> Vec<&'a [&'a TableFile]> {
    let (mut packs, mut from, mut bytes) = (Vec::new(), 0, 0);
    for (index, file) in files.iter().enumerate() {
        if bytes + file.size_bytes > LARGE {
            packs.push(&files[from..index]);
            (from, bytes) = (index, 0);
        }
        bytes += file.size_bytes;
    }
    packs.push(&files[from..]);
    packs.into_iter().filter(|pack| pack.len() > 1).collect()
}

#[cfg(test)]
mod tests;
