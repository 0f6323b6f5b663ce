//! What becomes of the records of a stream, as far as a join that keeps them has to know.

use super::{KeyedStream, Stream};
use distributary_runtime::error::Error;
use distributary_runtime::graph::Graph;

/// What a stream is. It stays what it is when its records are changed, sorted out or get a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Records come and stay: there are more and more of them.
    Stream,
    /// Rows that go when they change or are deleted: there are as many as keys.
    Table,
}

impl Kind {
    /// What two of them are together.
    pub(super) fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::Stream }
    }

    /// Refuses a join that keeps all records of what is no table.
    pub(super) fn check_join(self, graph: &Graph<'_>, name: &str) {
        if self == Self::Stream {
            let what = format!("join `{name}`: one of its sides is a stream, of which it would keep all records for ever");
            let remedy = "join what is near in time with `.join_within(..)` or `.join_in(..)`; aggregate the stream before; or, if it stays \
                          small, say so: `.as_table()`";
            graph.refuse(Error::refused(what, remedy));
        }
    }
}

impl<D> Stream<'_, D> {
    /// Says that so few records come that all of them may be kept: they are the rows of a table, and may be joined with one for ever.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, job, topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "shops", id = "shop", time = "since", no_personal_data)]
    /// struct Shop { shop: u64, city: String, since: Timestamp }
    ///
    /// #[job(team = "bi")]
    /// fn neighbours(flow: &Flow) -> Result<()> {
    ///     let shops = flow.read::<Shop>()?.as_table();
    ///     let others = shops.clone().key_by(|s| s.city.clone());
    ///     let pairs = shops.key_by(|s| s.city.clone()).join("neighbours", &others, |_, a, b| (a.shop, b.shop));
    ///     pairs.filter(|(a, b)| a < b).to(topic("bi.neighbours"));
    ///     Ok(())
    /// }
    ///
    /// let mut t = TestJob::new(neighbours);
    /// for shop in [1, 2] {
    ///     t.push(Shop { shop, city: "Linz".into(), since: Timestamp::from_millis(0) });
    /// }
    /// assert_eq!(t.rows("bi.neighbours").json(), [serde_json::json!([1, 2])]);
    /// ```
    ///
    /// Without it the plan is refused, and says why:
    ///
    /// ```
    /// # use distributary::{Event, Flow, Result, Timestamp, job, topic};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Event, Serialize, Deserialize, Clone)]
    /// # #[event(topic = "shops", id = "shop", time = "since", no_personal_data)]
    /// # struct Shop { shop: u64, city: String, since: Timestamp }
    /// #[job(team = "bi")]
    /// fn neighbours(flow: &Flow) -> Result<()> {
    ///     let shops = flow.read::<Shop>()?;
    ///     let others = shops.clone().key_by(|s| s.city.clone());
    ///     shops.key_by(|s| s.city.clone()).join("neighbours", &others, |_, a, b| (a.shop, b.shop)).to(topic("bi.neighbours"));
    ///     Ok(())
    /// }
    /// let refused = distributary_runtime::engine::plan(&distributary::run::pipeline(neighbours)).unwrap_err().to_string();
    /// assert!(refused.contains("join `neighbours`: one of its sides is a stream, of which it would keep all records for ever"));
    /// assert!(refused.contains("`.join_within(..)`") && refused.contains("`.as_table()`"));
    /// ```
    #[must_use]
    pub fn as_table(self) -> Self {
        Self { kind: Kind::Table, ..self }
    }
}

impl<K, V> KeyedStream<'_, K, V> {
    /// See [`Stream::as_table`].
    #[must_use]
    pub fn as_table(self) -> Self {
        Self { kind: Kind::Table, ..self }
    }
}
