//! `okta-client-secret` on a double behind Okta's published schema.

use std::time::{Duration, Instant};

use rota_aggregates::secret::Secret;
use rota_targets::okta_client_secret::{OktaClientSecret, Settings};
use rota_targets::surroundings::Endpoints;
use rota_targets::{Certainty, Login, Slot, Target};

use crate::doubles::front::{Fault, Vendor};
use crate::doubles::okta::{APP, Okta, TOKEN};
use crate::support::rotation::{Keys, says_nothing};
use crate::support::{around, random};

fn target(vendor: &Vendor<Okta>, token: &str, app: &str) -> OktaClientSecret {
    let settings = Settings {
        instance_url: vendor.url.clone(),
        api_token: Secret::new(token.to_owned()),
        client_id: app.to_owned(),
    };
    OktaClientSecret::new(settings, &around(Endpoints::default(), None)).unwrap()
}

fn ids(double: &Okta) -> Vec<String> {
    double.secrets().into_iter().map(|(id, _)| id).collect()
}

#[tokio::test]
async fn secrets_are_rotated() {
    let Some(vendor) = Vendor::start(Okta::default()).await else { return };
    let okta = target(&vendor, TOKEN, APP);
    let keys = Keys {
        target: &okta,
        vendor: &vendor,
        id: "secretId",
        all: ids,
        make: ("POST", "/credentials/secrets"),
        list: ("GET", "/credentials/secrets"),
    };
    keys.are_made_tried_and_ended().await;
    // The very last one was revoked by putting one in its place that nobody has seen.
    let replacement = ids(&vendor.double);
    assert_eq!(replacement.len(), 1);

    // It stands in for a stranger's here: it is there, and it is not rota's.
    let active = keys.rotate(0, None).await;
    let refused = okta.has_room(None).await.unwrap_err();
    for id in ids(&vendor.double) {
        assert!(refused.text().contains(&id), "{refused}");
    }
    assert!(!refused.may_pass);
    let intent = okta.intend(Slot(1), Some(&active), random()).await.unwrap();
    assert_eq!(okta.set(&intent, Some(&active)).await.map(drop), Err(refused));
    okta.has_room(Some(&active)).await.unwrap();
    assert_eq!(ids(&vendor.double).len(), 2);
    vendor.double.0.lock().unwrap().no_grant = true;
    assert_eq!(okta.log_in(&active).await, Ok(Login::Accepted), "who it is was found right");
    vendor.double.0.lock().unwrap().no_grant = false;

    // With one secret of its own, and room for another.
    okta.revoke(&active, random()).await.unwrap();
    assert_eq!(ids(&vendor.double), replacement);
    let stray = rota_targets::Credential {
        public: [("secretId".to_owned(), replacement[0].clone())].into(),
        secret: Secret::new("x".to_owned()),
    };
    let active = keys.rotate(0, None).await;
    okta.retire(&stray, &active, false).await.unwrap();
    keys.are_not_lost_with_an_answer(&active).await;
    keys.wait_for_a_busy_vendor(&active).await;

    // A login that comes too early.
    let intent = okta.intend(Slot(1), Some(&active), random()).await.unwrap();
    let new = okta.set(&intent, Some(&active)).await.unwrap();
    vendor.double.0.lock().unwrap().lag = 2;
    assert_eq!(okta.log_in(&new).await, Ok(Login::Accepted));
    okta.retire(&new, &active, false).await.unwrap();

    // Of two that nobody knows, neither is deleted.
    let intent = okta.intend(Slot(1), None, random()).await.unwrap();
    okta.revoke(&active, random()).await.unwrap();
    vendor.double.strangers_secret();
    assert_eq!(ids(&vendor.double).len(), 2);
    assert!(okta.undo(&intent, &[]).await.unwrap_err().text().contains("somebody else"));
    assert_eq!(ids(&vendor.double).len(), 2);

    vendor.double.0.lock().unwrap().read_only = true;
    let refused = okta.revoke(&stray_of(&vendor), random()).await.unwrap_err();
    assert!(refused.text().contains("does not allow") && !refused.may_pass, "{refused}");
    for wrong in [target(&vendor, &TOKEN.replace('a', "b"), APP), target(&vendor, TOKEN, "0oaother")] {
        let refused = wrong.check().await.unwrap_err();
        assert!(!refused.may_pass);
        says_nothing(&refused);
    }
}

fn stray_of(vendor: &Vendor<Okta>) -> rota_targets::Credential {
    rota_targets::Credential {
        public: [("secretId".to_owned(), ids(&vendor.double)[0].clone())].into(),
        secret: Secret::new("x".to_owned()),
    }
}

/// Nobody waits for ever, and what became of the request is then not known.
#[tokio::test]
async fn an_answer_that_does_not_come_leaves_doubt() {
    let Some(vendor) = Vendor::start(Okta::default()).await else { return };
    let okta = target(&vendor, TOKEN, APP);
    let intent = okta.intend(Slot(0), None, random()).await.unwrap();
    vendor.fail("POST", "/credentials/secrets", 1, Fault::ObeyedSlow);
    let started = Instant::now();
    let failure = okta.set(&intent, None).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(failure.certainty, Certainty::Unclear);
    assert!(failure.text().contains("took too long"), "{failure}");
    assert_eq!(ids(&vendor.double).len(), 1);
}
