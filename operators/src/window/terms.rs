//! When a window speaks, and how long it listens: the same for all kinds.

use distributary_runtime::error::Error;
use distributary_runtime::graph::Graph;
use distributary_runtime::time::{EventTime, Watermark};

/// How long a window takes records, when it says something before its end, and how long its results can be corrected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// How long new records are taken behind the end.
    pub(crate) lateness_ms: i64,
    /// How often there are results before the end.
    pub(crate) early_ms: Option<i64>,
    /// How long corrections of records that were taken are taken behind that: the graph's to say.
    corrections_ms: i64,
}

impl Terms {
    /// No lateness, no early results.
    pub(crate) const NONE: Self = Self { lateness_ms: 0, early_ms: None, corrections_ms: 0 };

    pub(crate) fn lateness(self, lateness_ms: i64) -> Self {
        Self { lateness_ms, ..self }
    }

    pub(crate) fn early(self, every_ms: i64) -> Self {
        Self { early_ms: Some(every_ms), ..self }
    }

    /// With the graph's correction horizon. What makes no sense is refused, and replaced by what does.
    pub(crate) fn for_graph(self, graph: &Graph<'_>, name: &str) -> Self {
        if self.lateness_ms < 0 {
            let what = format!("window `{name}`: a lateness of {} ms", self.lateness_ms);
            graph.refuse(Error::refused(what, "give it a lateness of at least 0 ms"));
        }
        if let Some(every_ms) = self.early_ms.filter(|every_ms| *every_ms < 1) {
            let what = format!("window `{name}`: early results every {every_ms} ms");
            graph.refuse(Error::refused(what, "give them a time of at least 1 ms"));
        }
        Self {
            lateness_ms: self.lateness_ms.max(0),
            early_ms: self.early_ms.map(|every_ms| every_ms.max(1)),
            corrections_ms: graph.correction_horizon_ms(),
        }
    }

    /// As it stands in the plan.
    pub(crate) fn detail(&self) -> String {
        let early = self.early_ms.map_or(String::new(), |every_ms| format!(", early every {every_ms} ms"));
        let corrections = match self.corrections_ms {
            0 => String::new(),
            ms => format!(", corrections {ms} ms"),
        };
        format!("lateness {} ms{early}{corrections}", self.lateness_ms)
    }

    /// A record whose own partition had claimed this much before it is late for a window with this end.
    pub(crate) fn late_from(&self, end: EventTime) -> Watermark {
        end.plus_ms(self.lateness_ms)
    }

    /// Once the pipeline's watermark is there, a window with this end is forgotten.
    pub(crate) fn gone_from(&self, end: EventTime) -> Watermark {
        self.late_from(end).plus_ms(self.corrections_ms)
    }

    /// Whether early results are due at the close of an epoch, between these watermarks. Time goes by for all alike, so nothing of it
    /// has to be remembered.
    pub(crate) fn is_early_due(&self, before: Watermark, now: Watermark) -> bool {
        self.early_ms.is_some_and(|every_ms| before.0.div_euclid(every_ms) != now.0.div_euclid(every_ms))
    }
}
