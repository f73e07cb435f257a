//! `databricks-service-principal-secret` on a double behind a schema in our words.

use rota_aggregates::secret::Secret;
use rota_targets::databricks_service_principal_secret::{DatabricksServicePrincipalSecret, Settings};
use rota_targets::surroundings::Endpoints;
use rota_targets::{Login, Slot, Target};

use crate::doubles::databricks::{ADMIN, CLIENT, Databricks, PRINCIPAL};
use crate::doubles::front::Vendor;
use crate::support::rotation::{Keys, says_nothing};
use crate::support::{around, random};

fn settings(vendor: &Vendor<Databricks>) -> Settings {
    Settings {
        workspace_url: vendor.url.clone(),
        client_id: ADMIN.0.to_owned(),
        client_secret: Secret::new(ADMIN.1.to_owned()),
        service_principal_id: PRINCIPAL.to_owned(),
        application_id: CLIENT.to_owned(),
        lifetime_days: Some(63),
    }
}

fn target(settings: Settings) -> DatabricksServicePrincipalSecret {
    DatabricksServicePrincipalSecret::new(settings, &around(Endpoints::default(), None)).unwrap()
}

#[tokio::test]
async fn secrets_are_rotated() {
    let Some(vendor) = Vendor::start(Databricks::default()).await else { return };
    let databricks = target(settings(&vendor));
    let keys = Keys {
        target: &databricks,
        vendor: &vendor,
        id: "secretId",
        all: Databricks::secrets,
        make: ("POST", "/credentials/secrets"),
        list: ("GET", "/credentials/secrets"),
    };
    // Three of somebody else, on two pages.
    for _ in 0..3 {
        vendor.double.strangers_secret();
    }
    keys.are_made_tried_and_ended().await;
    assert_eq!(vendor.double.0.lock().unwrap().issued, 1, "a token serves until it is old");

    let active = keys.rotate(0, None).await;
    assert_eq!(vendor.double.lifetimes().last().unwrap(), &format!("{}s", 63 * 86_400));
    keys.are_not_lost_with_an_answer(&active).await;
    keys.wait_for_a_busy_vendor(&active).await;

    // A token that was taken back is replaced.
    vendor.double.forget_tokens();
    databricks.check().await.unwrap();

    let intent = databricks.intend(Slot(1), Some(&active), random()).await.unwrap();
    let new = databricks.set(&intent, Some(&active)).await.unwrap();
    vendor.double.0.lock().unwrap().lag = 2;
    assert_eq!(databricks.log_in(&new).await, Ok(Login::Accepted));

    // Five are all that there can be.
    assert_eq!(vendor.double.secrets().len(), 5);
    let refused = databricks.has_room(None).await.unwrap_err();
    for id in vendor.double.secrets() {
        assert!(refused.text().contains(&id), "{refused}");
    }
    databricks.has_room(Some(&active)).await.unwrap();
    databricks.retire(&active, &new, false).await.unwrap();

    vendor.double.0.lock().unwrap().read_only = true;
    let refused = databricks.revoke(&new, random()).await.unwrap_err();
    assert!(refused.text().contains("must be a manager"), "{refused}");
    assert_eq!(databricks.log_in(&new).await, Ok(Login::Accepted));

    let wrong_secret = Settings { client_secret: Secret::new("hunter2".to_owned()), ..settings(&vendor) };
    let other_principal = Settings { service_principal_id: "4712".to_owned(), ..settings(&vendor) };
    for wrong in [wrong_secret, other_principal] {
        let refused = target(wrong).check().await.unwrap_err();
        assert!(!refused.may_pass, "{refused}");
        says_nothing(&refused);
    }
    let no_number = Settings { service_principal_id: CLIENT.to_owned(), ..settings(&vendor) };
    assert!(DatabricksServicePrincipalSecret::new(no_number, &around(Endpoints::default(), None)).is_err());
}
