//! Deliveries never lead where they must not, whatever a name says today.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use rota::egress::{Egress, Names};
use serde_json::json;

use crate::receiver::{Desk, Receiver};
use crate::support::until;

/// Says of every name what it is told to say.
#[derive(Default)]
struct Says {
    addresses: Mutex<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Says {
    fn now(addresses: &[&str]) -> Arc<Self> {
        let says = Arc::new(Self::default());
        says.set(addresses);
        says
    }

    fn set(&self, addresses: &[&str]) {
        *self.addresses.lock().unwrap() = addresses.iter().map(|text| text.parse().unwrap()).collect();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Names for Says {
    async fn look_up(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.addresses.lock().unwrap().clone())
    }
}

fn named(receiver: &Receiver) -> String {
    receiver.url.replace("127.0.0.1", "hooks.example")
}

async fn first_error(desk: &Desk, webhook: &str) -> String {
    let read = async || {
        let deliveries = desk.deliveries(webhook).await;
        deliveries.first().and_then(|d| d["attempts"][0]["error"].as_str().map(str::to_owned))
    };
    until("an attempt failed", async || read().await.is_some()).await;
    read().await.unwrap()
}

#[tokio::test]
async fn an_address_of_this_machine_or_its_networks_is_refused_when_it_is_given() {
    let desk = Desk::with(Egress::new(false)).await;
    for url in [
        "http://127.0.0.1:8080/",
        "http://localhost:8080/",
        "http://2130706433:8080/",
        "http://[::1]:8080/",
        "http://[::ffff:192.168.0.1]/",
        "http://10.0.0.1/",
        "http://100.64.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://[64:ff9b::a00:1]/",
    ] {
        let reply = desk.server.post(&desk.admin(), "/v1/webhooks", &json!({ "url": url })).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["field"]), (400, &json!("url")), "{url}");
        assert!(
            reply.json()["detail"].as_str().unwrap().contains("ROTA_ALLOW_PRIVATE_NETWORKS"),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_is_found_out_at_the_delivery_and_at_every_one() {
    let receiver = Receiver::start();
    let says = Says::now(&["127.0.0.1"]);
    let desk = Desk::with(Egress::new(false).with_names(says.clone())).await;
    let (webhook, _) = desk.register(json!({ "url": named(&receiver) })).await;
    assert_eq!(says.asked(), 0, "making a webhook resolves no name");
    let path = format!("/v1/webhooks/{webhook}/test");
    desk.server.post(&desk.admin(), &path, &json!({})).await;
    assert_eq!(first_error(&desk, &webhook).await, "address-refused");
    assert_eq!(says.asked(), 1);
    // Again, and in other clothes.
    for (asked, addresses) in (2..).zip([
        &["::1"][..],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::7f00:1", "169.254.169.254"],
        &["10.0.0.1", "192.168.0.1", "fd00::1"],
    ]) {
        says.set(addresses);
        desk.server.post(&desk.admin(), &path, &json!({})).await;
        until("the name is asked for", async || says.asked() >= asked).await;
        let failed = async || {
            let deliveries = desk.deliveries(&webhook).await;
            deliveries[0]["attempts"][0]["error"] == "address-refused"
        };
        desk.advance(86_400);
        until("it is refused", failed).await;
    }
    assert_eq!(receiver.seen().len(), 0, "nobody was connected to");
}

#[tokio::test]
async fn each_delivery_asks_once_and_goes_where_that_answer_leads() {
    let receiver = Receiver::start();
    let says = Says::now(&["127.0.0.1"]);
    let desk = Desk::with(Egress::new(true).with_names(says.clone())).await;
    let (webhook, _) = desk.register(json!({ "url": named(&receiver) })).await;
    let path = format!("/v1/webhooks/{webhook}/test");
    for count in 1..=3 {
        desk.server.post(&desk.admin(), &path, &json!({})).await;
        receiver.wait(count).await;
        // A second look-up could give another address than the one that was checked.
        assert_eq!(says.asked(), count);
    }
    assert!(receiver.seen()[0].header("host").starts_with("hooks.example:"));
}

#[tokio::test]
async fn of_several_addresses_only_the_allowed_ones_are_left() {
    let says = Says::now(&["10.0.0.1", "8.8.8.8", "169.254.169.254", "::1"]);
    let left = Egress::new(false).with_names(says.clone()).resolve("hooks.example").await.unwrap();
    assert_eq!(left, ["8.8.8.8".parse::<IpAddr>().unwrap()]);
    let left = Egress::new(true).with_names(says).resolve("hooks.example").await.unwrap();
    assert_eq!(left.len(), 3, "metadata is never reached: {left:?}");
}
