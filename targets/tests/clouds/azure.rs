//! `azure-client-secret` on a double behind a schema after Microsoft's published types.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::KeyPair as _;
use rota_aggregates::secret::Secret;
use rota_targets::azure_client_secret::{Authority, AzureClientSecret, Settings};
use rota_targets::surroundings::Endpoints;
use rota_targets::{Login, Slot, Target};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::doubles::front::{Fault, Vendor};
use crate::doubles::graph::{ADMIN, APP, Microsoft, OBJECT, TENANT};
use crate::support::rotation::{Keys, says_nothing};
use crate::support::{around, random};

fn settings() -> Settings {
    Settings {
        authority: Authority::ClientSecret(Secret::new(ADMIN.1.to_owned())),
        client_id: ADMIN.0.to_owned(),
        tenant_id: TENANT.to_owned(),
        object_id: OBJECT.to_owned(),
        application_id: APP.to_owned(),
    }
}

fn target(vendor: &Vendor<Microsoft>, settings: Settings) -> AzureClientSecret {
    let (microsoft_login, microsoft_graph) = (vendor.url.clone(), vendor.url.clone());
    let endpoints = Endpoints { microsoft_login, microsoft_graph, ..Endpoints::default() };
    AzureClientSecret::new(settings, &around(endpoints, None)).unwrap()
}

#[tokio::test]
async fn secrets_are_rotated() {
    let Some(vendor) = Vendor::start(Microsoft::default()).await else { return };
    let azure = target(&vendor, settings());
    let keys = Keys {
        target: &azure,
        vendor: &vendor,
        id: "keyId",
        all: Microsoft::passwords,
        make: ("POST", "/addPassword"),
        list: ("GET", "/applications/"),
    };
    vendor.double.strangers_password();
    keys.are_made_tried_and_ended().await;

    let active = keys.rotate(0, None).await;
    let end = vendor.double.ends().pop().unwrap();
    assert!(end.as_str().is_some_and(|end| end.ends_with('Z')), "{end}");
    keys.are_not_lost_with_an_answer(&active).await;
    keys.wait_for_a_busy_vendor(&active).await;

    // Others make passwords while an attempt is interrupted: the label tells which is whose.
    let intent = azure.intend(Slot(1), Some(&active), random()).await.unwrap();
    vendor.fail("POST", "/addPassword", 1, Fault::ObeyedLost);
    azure.set(&intent, Some(&active)).await.unwrap_err();
    let strangers = vendor.double.strangers_password();
    assert_eq!(azure.undo(&intent, &[&active]).await, Ok(1));
    assert!(vendor.double.passwords().contains(&strangers));

    // What was just made does not show at once.
    vendor.double.0.lock().unwrap().list_lag = 2;
    vendor.fail("POST", "/addPassword", 1, Fault::ObeyedLost);
    azure.set(&intent, Some(&active)).await.unwrap_err();
    assert_eq!(azure.undo(&intent, &[&active]).await, Ok(1));
    vendor.double.0.lock().unwrap().list_lag = 0;

    // Another change is under way, and is over soon, or not.
    vendor.double.0.lock().unwrap().busy = 2;
    let new = azure.set(&intent, Some(&active)).await.unwrap();
    vendor.double.0.lock().unwrap().lag = 2;
    assert_eq!(azure.log_in(&new).await, Ok(Login::Accepted));
    vendor.double.0.lock().unwrap().busy = 2;
    azure.retire(&new, &active, false).await.unwrap();
    vendor.double.0.lock().unwrap().busy = 100;
    let failure = azure.revoke(&active, random()).await.unwrap_err();
    assert!(failure.may_pass && failure.text().contains("others are changing"), "{failure}");
    vendor.double.0.lock().unwrap().busy = 0;

    vendor.double.0.lock().unwrap().read_only = true;
    let refused = azure.revoke(&active, random()).await.unwrap_err();
    assert!(refused.text().contains("Application.ReadWrite.OwnedBy"), "{refused}");
    says_nothing(&refused);
    assert_eq!(azure.log_in(&active).await, Ok(Login::Accepted));
    vendor.double.0.lock().unwrap().read_only = false;

    let wrong_secret =
        Settings { authority: Authority::ClientSecret(Secret::new("hunter2".to_owned())), ..settings() };
    let other_object = Settings { object_id: APP.to_owned(), ..settings() };
    let other_client = Settings { application_id: ADMIN.0.to_owned(), ..settings() };
    let other_tenant = Settings { tenant_id: OBJECT.to_owned(), ..settings() };
    for wrong in [wrong_secret, other_object, other_client, other_tenant] {
        let refused = target(&vendor, wrong).check().await.unwrap_err();
        assert!(!refused.may_pass, "{refused}");
        says_nothing(&refused);
    }
}

/// The certificate and its key in PEM, the certificate's fingerprint, and the key as in PKCS #1.
fn certificate() -> (String, String, String, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = (folder.path().join("key"), folder.path().join("certificate"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=rota", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is installed: ./test does it");
    assert!(made.status.success());
    let (key, certificate) =
        (std::fs::read_to_string(key).unwrap(), std::fs::read_to_string(certificate).unwrap());
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let fingerprint = URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, &der));
    let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let pair = ring::signature::RsaKeyPair::from_pkcs8(pkcs8.secret_pkcs8_der()).unwrap();
    let public = pair.public_key().as_ref().to_vec();
    (certificate, key, fingerprint, public)
}

#[tokio::test]
async fn a_certificate_serves_as_well() {
    let Some(vendor) = Vendor::start(Microsoft::default()).await else { return };
    let (certificate, key, fingerprint, public) = certificate();
    let with = |certificate: &str, key: &str| Settings {
        authority: Authority::Certificate {
            certificate: certificate.to_owned(),
            key: Secret::new(key.to_owned()),
        },
        ..settings()
    };
    let unknown = target(&vendor, with(&certificate, &key)).check().await.unwrap_err();
    assert!(unknown.text().contains("invalid_client"), "{unknown}");
    vendor.double.0.lock().unwrap().certificate = Some((fingerprint, public));
    target(&vendor, with(&certificate, &key)).check().await.unwrap();
    let around = around(Endpoints::default(), None);
    for (certificate, key) in [("x", &*key), (&*certificate, "x"), (&*certificate, &*certificate)] {
        let refused = AzureClientSecret::new(with(certificate, key), &around).err().unwrap();
        assert!(refused.text().contains("PEM"), "{refused}");
    }
}
