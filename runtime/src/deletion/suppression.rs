//! Which records some requests cover.

use super::{Cut, Request};
use crate::bus::Offset;
use std::collections::HashMap;
use std::sync::Arc;

/// The requests that hold, by subject. Cheap to copy while few hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Suppression(HashMap<String, Vec<Arc<Request>>>);

impl Suppression {
    pub(crate) fn of(requests: impl IntoIterator<Item = Arc<Request>>) -> Self {
        let mut suppression = Self::default();
        suppression.add(requests);
        suppression
    }

    pub(crate) fn add(&mut self, requests: impl IntoIterator<Item = Arc<Request>>) {
        for request in requests {
            for subject in &request.subjects {
                self.0.entry(subject.clone()).or_default().push(request.clone());
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn covers(&self, subject: &str, topic: &str, partition: u32, offset: Offset) -> bool {
        let cuts = self.0.get(subject).into_iter().flatten().map(|request| &request.cut);
        cuts.into_iter().any(|cut: &Cut| cut.covers(topic, partition, offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_request_covers_its_subjects_in_front_of_its_cut() {
        let cut = Cut::Before(BTreeMap::from([("payments".into(), BTreeMap::from([(1, Offset(7))]))]));
        let standing = Request { subjects: vec!["u2".into()], cut: Cut::Standing };
        let set = Suppression::of([Request { subjects: vec!["u1".into(), "x".into()], cut }, standing].map(Arc::new));
        assert!(set.covers("u1", "payments", 1, Offset(6)) && set.covers("x", "payments", 1, Offset(0)));
        assert!(!set.covers("u1", "payments", 1, Offset(7)) && !set.covers("u1", "payments", 0, Offset(0)));
        assert!(!set.covers("u1", "logins", 1, Offset(0)) && !set.covers("u3", "payments", 1, Offset(0)));
        assert!(set.covers("u2", "logins", 3, Offset(u64::MAX)));
    }
}
