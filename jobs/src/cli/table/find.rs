//! `table find`: how many files and rows of a table hold a subject.

use super::{folder, none_at};
use crate::cli::context::Context;
use crate::cli::out::{Out, grouped};
use crate::cli::progress::Progress;
use crate::{Error, Result};
use distributary_connectors::lake::{Found, TableView, find_subject};
use serde::Serialize;
use std::io::Read;

/// More than any key has.
const SUBJECT_MAX: u64 = 1 << 16;

/// Say how many files and rows of a table hold a subject, which is read from standard input: `find alerts < subject.txt`.
///
/// On a command line others would see it, in the list of processes and in the history of the shell.
#[derive(clap::Args)]
pub(in crate::cli) struct Find {
    /// The table.
    name: String,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told {
    version: u64,
    #[serde(flatten)]
    found: Found,
}

impl Find {
    pub(super) fn run(self, context: &Context<'_>, out: &mut Out) -> Result<()> {
        let (store, url) = folder(context, &self.name)?;
        let view = TableView::open(&store, &url)?.ok_or_else(|| none_at(&url))?;
        let subject = read(&mut std::io::stdin().lock())?;
        let mut progress = Progress::new("reading files that may hold it", None);
        let found = find_subject(&view, &subject, || progress.add(1))?;
        progress.finish();
        let told = Told { version: view.version, found };
        if self.json {
            return out.json(&told);
        }
        let Told { version, found } = told;
        let [files, rows, by_index, unknown] = [found.files, found.rows, found.files_by_index, found.files_unknown].map(grouped);
        out.line(format_args!("{} version {version}: {rows} rows in {files} files hold it", self.name))?;
        out.line(format_args!("of {} files, indexes name it in {by_index}", grouped(view.files.len() as u64)))?;
        if found.files_unknown > 0 {
            out.line(format_args!("{unknown} files were read because no index says whether they hold it"))?;
        }
        Ok(())
    }
}

/// The subject: all there is, but for the end of the line.
fn read(from: &mut impl Read) -> Result<String> {
    let refuse = |what: &str| {
        let what = format!("standard input {what}");
        Error::refused(what, "write the subject to standard input, as it stands in the table: a text, or the digits of a number")
    };
    let mut bytes = Vec::new();
    let failed = |source| Error::Io { what: "reading standard input".into(), source };
    from.take(SUBJECT_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SUBJECT_MAX {
        return Err(refuse(&format!("has more than {SUBJECT_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse("is no UTF-8"))?;
    let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if line.is_empty() { Err(refuse("is empty")) } else { Ok(line.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn the_subject_is_what_stands_on_standard_input() {
        for (input, expected) in [("u1", "u1"), ("u1\n", "u1"), ("u1\r\n", "u1"), (" a b\n\n", " a b\n"), ("42", "42")] {
            assert_eq!(read(&mut input.as_bytes()).unwrap(), expected);
        }
        for (input, expected) in [
            (vec![], "standard input is empty"),
            (b"\n".to_vec(), "standard input is empty"),
            (vec![b's', 0xff], "standard input is no UTF-8"),
            (vec![b's'; 70_000], "standard input has more than 65536 bytes"),
        ] {
            let error = read(&mut &input[..]).unwrap_err().to_string();
            assert!(error.starts_with(expected) && error.contains("write the subject to standard input"), "{error}");
        }
    }
}
