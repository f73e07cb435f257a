//! `auth0-client-secret` on a double behind Auth0's published schema.

use rota_aggregates::secret::Secret;
use rota_targets::auth0_client_secret::{Auth0ClientSecret, Settings};
use rota_targets::surroundings::Endpoints;
use rota_targets::target::Intent;
use rota_targets::{Certainty, Login, Slot, Target};

use crate::doubles::auth0::{ADMIN, APP, Auth0};
use crate::doubles::front::{Fault, Vendor};
use crate::support::rotation::says_nothing;
use crate::support::{around, random};

fn target(vendor: &Vendor<Auth0>, secret: &str, app: &str) -> Auth0ClientSecret {
    let settings = Settings {
        domain: vendor.url.clone(),
        client_id: ADMIN.0.to_owned(),
        client_secret: Secret::new(secret.to_owned()),
        audience: format!("{}/api/v2/", vendor.url),
        application_id: app.to_owned(),
    };
    Auth0ClientSecret::new(settings, &around(Endpoints::default(), None)).unwrap()
}

/// The one secret is rota's own choice: whatever became of a request, the same again is the same.
#[tokio::test]
async fn the_secret_is_rotated() {
    let Some(vendor) = Vendor::start(Auth0::default()).await else { return };
    let auth0 = target(&vendor, ADMIN.1, APP);
    auth0.check().await.unwrap();
    auth0.plan(Slot(0)).await.unwrap();
    let mut old: Option<rota_targets::Credential> = None;
    for (turn, fault) in [
        None,
        Some(Fault::ObeyedLost),
        Some(Fault::ObeyedStatus(502)),
        Some(Fault::Status(500, None)),
        Some(Fault::Status(429, Some(60))),
    ]
    .into_iter()
    .enumerate()
    {
        let intent = auth0.intend(Slot(turn as u8 % 2), old.as_ref(), random()).await.unwrap();
        let Intent::Set { credential: intended, .. } = &intent else { panic!("rota chooses") };
        if let Some(fault) = fault {
            vendor.fail("PATCH", "/clients/", 1, fault);
            let failure = auth0.set(&intent, old.as_ref()).await.unwrap_err();
            says_nothing(&failure);
            let throttled = matches!(fault, Fault::Status(429, _));
            assert_eq!(failure.certainty == Certainty::Unchanged, throttled, "{fault:?}");
            // What became of it is told by a login with what was intended.
            let obeyed = matches!(fault, Fault::ObeyedLost | Fault::ObeyedStatus(_));
            let expected = if obeyed { Login::Accepted } else { Login::Refused };
            assert_eq!(auth0.log_in(intended).await, Ok(expected), "{fault:?}");
            assert_eq!(auth0.undo(&intent, &[]).await, Ok(0));
        }
        let new = auth0.set(&intent, old.as_ref()).await.unwrap();
        assert_eq!(new.secret.expose(), intended.secret.expose());
        assert_eq!(vendor.double.0.lock().unwrap().secret, new.secret.expose());
        assert_eq!(auth0.log_in(&new).await, Ok(Login::Accepted));
        if let Some(old) = &old {
            assert_eq!(auth0.log_in(old).await, Ok(Login::Refused));
            auth0.retire(old, &new, false).await.unwrap();
            assert_eq!(auth0.log_in(&new).await, Ok(Login::Accepted));
        }
        old = Some(new);
    }
    let last = old.unwrap();

    // Applications that may have no token of their own.
    let state = |change: fn(&mut crate::doubles::auth0::State)| change(&mut vendor.double.0.lock().unwrap());
    let wrong =
        rota_targets::Credential { public: last.public.clone(), secret: Secret::new("wrong".to_owned()) };
    state(|state| state.grant = Some("access_denied"));
    assert_eq!(auth0.log_in(&last).await, Ok(Login::Accepted));
    assert_eq!(auth0.log_in(&wrong).await, Ok(Login::Refused));
    state(|state| state.grant = Some("unauthorized_client"));
    assert_eq!(auth0.log_in(&last).await, Ok(Login::Accepted));
    assert_eq!(auth0.log_in(&wrong).await, Ok(Login::Refused));
    state(|state| state.keys = false);
    let failure = auth0.log_in(&last).await.unwrap_err();
    assert!(failure.text().contains("read:client_keys"), "{failure}");
    state(|state| state.grant = None);

    auth0.revoke(&last, random()).await.unwrap();
    assert_eq!(auth0.log_in(&last).await, Ok(Login::Refused));

    state(|state| state.read_only = true);
    let intent = auth0.intend(Slot(0), None, random()).await.unwrap();
    let refused = auth0.set(&intent, None).await.unwrap_err();
    assert!(refused.text().contains("update:client_keys"), "{refused}");
    assert_eq!((refused.certainty, refused.may_pass), (Certainty::Unchanged, false));
    for wrong in [target(&vendor, "hunter2", APP), target(&vendor, ADMIN.1, "nobody")] {
        let refused = wrong.check().await.unwrap_err();
        assert!(!refused.may_pass, "{refused}");
        says_nothing(&refused);
    }
}
