//! Keeps the labels of sweeps that users ask about. They follow from the sweep file, and making them for a large sweep takes seconds.

use crate::answer::Labels;
use plusminus_core::id::SweepName;
use plusminus_core::scheduler::SweepView;
use plusminus_proto::v1;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// How long a reply waits for labels. They are made meanwhile, and a later reply has them.
const WAIT: Duration = Duration::from_secs(2);
/// The most sweeps and labels that are kept.
const SWEEPS: usize = 64;
const LABELS: usize = 500_000;

/// The labels of sweeps, shared by all replies.
#[derive(Clone, Default)]
pub(super) struct LabelCache {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    sweeps: BTreeMap<SweepName, Entry>,
    /// Counts lookups.
    time: u64,
}

struct Entry {
    source: Arc<str>,
    labels: Arc<OnceCell<Arc<Labels>>>,
    used: u64,
}

impl LabelCache {
    /// The labels of a sweep. Nothing if they take long to make, or this version cannot read the sweep file.
    pub async fn of(&self, sweep: &SweepView) -> Arc<Labels> {
        let cell = self.cell(sweep);
        if let Some(labels) = cell.get() {
            return Arc::clone(labels);
        }
        let (source, name, cache) = (Arc::clone(&sweep.source), sweep.name.clone(), self.clone());
        let making = tokio::spawn(async move {
            let make = || async {
                let made = tokio::task::spawn_blocking(move || Labels::of(&source, &name).unwrap_or_default()).await;
                Arc::new(made.unwrap_or_default())
            };
            let labels = Arc::clone(cell.get_or_init(make).await);
            cache.forget_old();
            labels
        });
        let made = tokio::time::timeout(WAIT, making).await;
        made.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Labels the running jobs of a sweep.
    pub async fn label(&self, sweep: &SweepView, status: &mut [v1::SweepStatus]) {
        if status.iter().all(|status| status.running_jobs.is_empty()) {
            return;
        }
        let labels = self.of(sweep).await;
        for job in status.iter_mut().flat_map(|status| &mut status.running_jobs) {
            job.label = job.cell.parse().map(|cell| labels.label(cell)).unwrap_or_default();
        }
    }

    fn cell(&self, sweep: &SweepView) -> Arc<OnceCell<Arc<Labels>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.time += 1;
        let used = kept.time;
        let fresh = || Entry { source: Arc::clone(&sweep.source), labels: Arc::default(), used };
        let entry = kept.sweeps.entry(sweep.name.clone()).or_insert_with(fresh);
        entry.used = used;
        if entry.source != sweep.source {
            *entry = fresh();
        }
        Arc::clone(&entry.labels)
    }

    /// Forgets what was used longest ago, if too much is kept.
    fn forget_old(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let labels: usize = kept.sweeps.values().filter_map(|entry| Some(entry.labels.get()?.len())).sum();
            let oldest = kept.sweeps.iter().min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone());
            match oldest {
                Some(name) if kept.sweeps.len() > 1 && (kept.sweeps.len() > SWEEPS || labels > LABELS) => {
                    kept.sweeps.remove(&name);
                }
                _ => return,
            }
        }
    }
}
