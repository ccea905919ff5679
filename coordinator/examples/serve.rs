//! Scratch.
#![allow(warnings)]
use plusminus_coordinator::Coordinator;
use plusminus_core::scheduler::Policy;
use std::time::Duration;
use tracing::{Event, Metadata, Subscriber, span};
struct Log;
struct V(String);
impl tracing::field::Visit for V {
    fn record_debug(&mut self, f: &tracing::field::Field, v: &dyn std::fmt::Debug) {
        self.0 += &format!(" {}={:?}", f.name(), v);
    }
}
impl Subscriber for Log {
    fn enabled(&self, m: &Metadata<'_>) -> bool {
        *m.level() <= tracing::Level::INFO
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, e: &Event<'_>) {
        let mut v = V(String::new());
        e.record(&mut v);
        eprintln!("{}{}", e.metadata().level(), v.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
fn main() {
    tracing::subscriber::set_global_default(Log).unwrap();
    let a: Vec<String> = std::env::args().collect();
    let get = |n: &str| a.iter().position(|x| x == n).map(|i| a[i + 1].clone());
    let rt = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    rt.block_on(async {
        let lease = get("--lease").map_or(15, |l| l.parse().unwrap());
        let policy = Policy { lease: Duration::from_secs(lease), ..Policy::default() };
        let c = Coordinator::bind(get("--listen").unwrap().parse().unwrap(), get("--state").unwrap().as_ref(), policy)
            .await
            .unwrap();
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        c.run(async move {
            term.recv().await;
        })
        .await
        .unwrap();
    });
    rt.shutdown_background();
}
