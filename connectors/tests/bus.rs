//! Goal: the embedded bus behaves as every bus must, on a file and in memory, from one handle and from several; and what
//! is its own (files, processes, crashes) holds. Method: the conformance suite, then scenarios.

use distributary_connectors::conformance;
use distributary_connectors::sqlite::{Durability, SqliteBus};
use distributary_runtime::bus::Bus;
use distributary_runtime::time::SystemClock;
use std::path::Path;
use std::sync::Arc;

fn open(path: &Path) -> SqliteBus {
    SqliteBus::open(path, Arc::new(SystemClock), Durability::Normal).unwrap()
}

#[test]
fn a_file_conforms_when_every_handle_is_as_of_another_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus.sqlite");
    let report = conformance::run(&|| Arc::new(open(&path)), "file");
    assert_eq!((report.missing, report.shown.len()), (vec![], conformance::cases().len()));
}

#[test]
fn a_bus_in_memory_conforms() {
    let bus: Arc<dyn Bus> = Arc::new(SqliteBus::in_memory(Arc::new(SystemClock)).unwrap());
    let report = conformance::run(&|| bus.clone(), "memory");
    assert_eq!((report.missing, report.shown.len()), (vec![], conformance::cases().len()));
}
