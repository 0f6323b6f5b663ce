//! What two streams make together in each window.

use super::{KeyedStream, Stream, Tumbling};
use distributary_operators as operators;
use distributary_runtime::key::Key;
use distributary_runtime::update::Data;

impl<'s, K: Key, L: Data> KeyedStream<'s, K, L> {
    /// What `f` makes of every record here with every record of the other one that has the same key and lies in the same window, when the
    /// window ends; corrected within its lateness. State goes with the window. Records that come too late go to the pipeline's late
    /// topic. `name` names the state.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, job, mins, secs, topic, tumbling};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "views", id = "view", time = "at", no_personal_data)]
    /// struct View { view: u64, ad: u32, at: Timestamp }
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "clicks", id = "click", time = "at", no_personal_data)]
    /// struct Click { click: u64, ad: u32, at: Timestamp }
    ///
    /// #[job(team = "bi")]
    /// fn clicked(flow: &Flow) -> Result<()> {
    ///     let (views, clicks) = (flow.read::<View>()?.key_by(|v| v.ad), flow.read::<Click>()?.key_by(|c| c.ad));
    ///     views.join_in(tumbling(mins(1)), "clicked", &clicks, |ad, v, c| (*ad, v.view, c.click)).to(topic("bi.clicked"));
    ///     Ok(())
    /// }
    ///
    /// let mut t = TestJob::new(clicked);
    /// t.push(View { view: 1, ad: 7, at: secs(3).into() }).push(Click { click: 2, ad: 7, at: secs(59).into() });
    /// t.push(Click { click: 3, ad: 7, at: secs(60).into() }).advance_to(secs(60));
    /// assert_eq!(t.rows("bi.clicked").json(), [serde_json::json!([7, 1, 2])]);
    /// ```
    pub fn join_in<R: Data, O: Data>(
        self,
        windows: Tumbling,
        name: &str,
        other: &KeyedStream<'s, K, R>,
        f: impl Fn(&K, &L, &R) -> O + 'static,
    ) -> Stream<'s, O> {
        let name = name.to_string();
        self.with_other(other, move |graph, left, right| operators::window_join(graph, left, right, &name, windows.0, f))
    }
}
