//! Views: what follows from several collections by rules, kept up to date by differential dataflow.

use super::{Flow, KeyOf, Kind, Stream, lazy};
use crate::codec::key_text;
use crate::table::About;
use distributary_operators::{self as operators, Rows};
use distributary_runtime::key::Key;
use distributary_runtime::time::EventTime;
use std::rc::Rc;

/// A view while its function describes it.
pub struct View<'v, 's>(&'v operators::View<'s>);

impl<'s> View<'_, 's> {
    /// The rows of a stream, as they come and go. `name` names them within the view, and so their state. They have to be ordered
    /// (`derive(PartialEq, Eq, PartialOrd, Ord)`); what the view does not need of a row is best left out before.
    pub fn of<D: Key>(&self, name: &str, rows: &Stream<'s, D>) -> Rows<'s, D> {
        self.0.of(name, &rows.collection)
    }
}

impl<'s> Flow<'s> {
    /// Gives what `build` makes of streams by rules of a database: joins of any number of them, the best of each key, counts, and what follows
    /// from what follows. At the close of each epoch it gives the rows that changed: of a row that changes, the old goes and the new comes.
    /// `key` is the key of a row in an upsert topic.
    ///
    /// All rows that come in stay, in the state `name` and in memory, until they are taken back: it is for tables, and for streams that
    /// something before it makes small. A result has no event time: windows and interval joins refuse it as late.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, job, upsert};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "logins", id = "login", time = "at", subject = "account")]
    /// struct Login { login: u64, account: String, device: String, at: Timestamp }
    ///
    /// #[derive(Serialize, Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord)]
    /// struct Ring { first: String, accounts: Vec<String> }
    ///
    /// /// Accounts that share a device, or whose devices share an account, and so on: at least three.
    /// #[job(team = "fraud")]
    /// fn rings(flow: &Flow) -> Result<()> {
    ///     let uses = flow.read::<Login>()?.map(|l| (l.account, l.device));
    ///     flow.view("rings", |ring: &Ring| ring.first.clone(), move |v| {
    ///         let uses = v.of("uses", &uses).distinct();
    ///         // Of each account the first one that it is known to belong to; to begin with, itself.
    ///         let alone = uses.map(|(account, _)| (account.clone(), account.clone())).distinct();
    ///         let belongs = alone.iterate(|rounds, belongs| {
    ///             let uses = uses.within(rounds);
    ///             let devices = belongs.key_by(|b| b.0.clone()).join(&uses.key_by(|u| u.0.clone()), |_, b, u| (u.1.clone(), b.1.clone()));
    ///             let devices = devices.key_by(|d| d.0.clone()).bottom(1);
    ///             let accounts = devices.key_by(|d| d.0.clone()).join(&uses.key_by(|u| u.1.clone()), |_, d, u| (u.0.clone(), d.1.clone()));
    ///             accounts.key_by(|a| a.0.clone()).bottom(1)
    ///         });
    ///         belongs.key_by(|b| b.1.clone()).reduce(|first, accounts| {
    ///             let accounts: Vec<_> = accounts.iter().map(|(account, _)| account.0.clone()).collect();
    ///             (accounts.len() >= 3).then(|| Ring { first: first.clone(), accounts })
    ///         })
    ///     })
    ///     .to(upsert("fraud.rings"));
    ///     Ok(())
    /// }
    ///
    /// let login = |login, account: &str, device: &str| {
    ///     Login { login, account: account.into(), device: device.into(), at: Timestamp::from_millis(0) }
    /// };
    /// let mut t = TestJob::new(rings);
    /// t.push(login(1, "ada", "x")).push(login(2, "bob", "x")).push(login(3, "bob", "y")).push(login(4, "eve", "y"));
    /// t.push(login(5, "joe", "z"));
    /// let rows = t.rows("fraud.rings").json();
    /// assert_eq!(rows.len(), 1);
    /// assert_eq!(rows[0]["accounts"], serde_json::json!(["ada", "bob", "eve"]));
    /// ```
    pub fn view<O: Key, K: Key>(
        &self,
        name: &str,
        key: impl Fn(&O) -> K + 'static,
        build: impl FnOnce(&View<'_, 's>) -> Rows<'s, O> + 's,
    ) -> Stream<'s, O> {
        let (graph, name) = (self.graph.clone(), name.to_string());
        let collection = lazy(move || operators::view(&graph, &name, |_| EventTime::MIN, |v| build(&View(v))));
        let key: KeyOf<O> = Rc::new(move |row| key_text(&key(row)));
        Stream { flow: self.clone(), collection, key: Some(key), about: About::default(), kind: Kind::Table }
    }
}
