//! One of each job: what falls due is done once among all replicas, and goes on when the one that does it dies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rota::app::App;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::watched::{OPERATOR, Site, Watched};

/// A replica on threads of its own, which can be taken from it.
struct Mortal {
    app: Arc<App>,
    runtime: Runtime,
}

impl Mortal {
    async fn start(site: &Site) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = site.options(Watched::new(&site.shared));
        let opened = runtime.spawn(App::open(options, |_, _| ())).await.unwrap().unwrap();
        Self { app: Arc::clone(&opened.app), runtime }
    }

    /// It is gone, and gave nothing back.
    fn kill(self) {
        self.runtime.shutdown_background();
    }
}

async fn until(what: &str, limit: Duration, condition: impl AsyncFn() -> bool) -> Duration {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < limit, "{what} within {limit:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    started.elapsed()
}

/// If this fails, what is due is done twice, or not at all after a death.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_done_once_and_by_somebody() {
    let site = Site::new();
    let asked = site.replica().await;
    let operator = asked.operator.with_bearer(OPERATOR);
    let mut others = vec![Mortal::start(&site).await, Mortal::start(&site).await];
    assert!(asked.app.does_upkeep(), "the first has the job");
    assert!(others.iter().all(|other| !other.app.does_upkeep()), "and nobody else");
    let workspace = operator.open_workspace("due").await;
    let mut credentials = Vec::new();
    for _ in 0..30 {
        let (id, ..) = operator.issue(&workspace, "client").await;
        operator.rotate(&id, json!({ "gracePeriodSeconds": 60 })).await;
        credentials.push(id);
    }
    let expired = async |id: &String| {
        operator.history(id).await.iter().filter(|t| t.contains("old-secret-expired")).count()
    };
    let all = async |times: usize| {
        for id in &credentials {
            if expired(id).await < times {
                return false;
            }
        }
        true
    };
    site.clock.advance(Duration::from_secs(61));
    until("expiries", Duration::from_secs(10), async || all(1).await).await;

    // The job is given up by one, and then taken from one that dies with it.
    asked.app.give_up_upkeep().await;
    until("a successor", Duration::from_secs(5), async || others.iter().any(|o| o.app.does_upkeep())).await;
    assert!(!asked.app.does_upkeep());
    let holder = others.iter().position(|o| o.app.does_upkeep()).unwrap();
    for id in &credentials {
        operator.rotate(id, json!({ "gracePeriodSeconds": 60 })).await;
    }
    others.swap_remove(holder).kill();
    site.clock.advance(Duration::from_secs(61));
    let took = until("expiries after a death", Duration::from_secs(5), async || all(2).await).await;
    println!("the job moved and was done {took:?} after the death");
    for id in &credentials {
        assert_eq!(expired(id).await, 2, "exactly once each");
    }
    others.into_iter().for_each(Mortal::kill);
    asked.stop().await;
}

/// If this fails, two replicas that both believe to have the job record its work twice.
#[tokio::test(flavor = "multi_thread")]
async fn two_that_believe_to_have_the_job_do_it_once() {
    let site = Site::new();
    let (one, two) = (site.replica().await, site.replica().await);
    let workspace = one.operator.open_workspace("both").await;
    let mut credentials = Vec::new();
    for _ in 0..20 {
        let (id, ..) = one.operator.issue(&workspace, "client").await;
        one.operator.rotate(&id, json!({ "gracePeriodSeconds": 60 })).await;
        credentials.push(id);
    }
    site.clock.advance(Duration::from_secs(61));
    // The lease is not asked: this is what a deposed holder does that has not noticed.
    let (a, b) = tokio::join!(one.app.do_due(), two.app.do_due());
    a.unwrap();
    b.unwrap();
    for id in &credentials {
        let types = one.operator.history(id).await;
        assert_eq!(types.iter().filter(|t| t.contains("old-secret-expired")).count(), 1, "{types:?}");
    }
    one.stop().await;
    two.stop().await;
}
