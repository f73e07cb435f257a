//! At most two versions of a secret are live. Rotating again during a grace period ends the older one in the
//! same append.

use serde_json::json;

use crate::support::{Service, pair};

/// If this fails, secrets pile up that nobody thinks of any more.
#[tokio::test(flavor = "multi_thread")]
async fn at_most_two_live_versions() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("two").await;
    let (id, public, first) = operator.issue(&workspace, "signing").await;
    let mut secrets = vec![first];
    for _ in 0..6 {
        secrets.push(operator.rotate(&id, json!({ "gracePeriodSeconds": 600 })).await);
        let mut live = Vec::new();
        for secret in &secrets {
            live.push(operator.verifies(&public, secret).await);
        }
        let count = live.len();
        assert_eq!(live.iter().filter(|l| **l).count(), 2, "{live:?}");
        assert!(live[count - 1] && live[count - 2], "the two newest live");
    }
    // The end of the older one and the rotation have one request and neighbouring positions.
    let page = operator.get(&format!("/v1/credentials/{id}/history?limit=1000")).await.expect(200).json();
    let events = page["items"].as_array().unwrap();
    for rotated in events.iter().filter(|e| e["type"].as_str().unwrap().contains("secret-rotated")).skip(1) {
        let before = rotated["position"].as_u64().unwrap() - 1;
        let ended = events.iter().find(|e| e["position"].as_u64() == Some(before)).unwrap();
        assert_eq!(ended["type"], "rota.credential.old-secret-expired.v1");
        assert_eq!(ended["data"]["cause"], "rotated-again");
        assert_eq!(ended["requestid"], rotated["requestid"]);
    }
}

/// If this fails, two-phase rotation leaves a third secret valid, or none.
#[tokio::test(flavor = "multi_thread")]
async fn two_phase_rotation_keeps_to_two() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("phases").await;
    let (id, public, first) = operator.issue(&workspace, "client").await;
    let path = format!("/v1/credentials/{id}");
    let second = operator.rotate(&id, json!({ "gracePeriodSeconds": 600 })).await;

    let prepared = operator.post(&format!("{path}/rotations"), json!({})).await.expect(200).json();
    let third = pair(&prepared["secrets"]).1;
    assert!(!operator.verifies(&public, &first).await, "preparing ends the retiring version");
    assert!(operator.verifies(&public, &second).await);
    let again = operator.post(&format!("{path}/rotations"), json!({})).await.expect(409);
    assert_eq!(again.code(), "rotation-pending");

    // Cancelled: nothing of it remains.
    operator.post(&format!("{path}/rotations/cancel"), json!({})).await.expect(200);
    assert!(!operator.verifies(&public, &third).await);
    assert_eq!(
        operator.post(&format!("{path}/rotations/commit"), json!({})).await.expect(409).code(),
        "nothing-prepared"
    );

    // Committed by call, and by first use, which is durable before it is answered.
    for by_use in [false, true] {
        let prepared = operator.post(&format!("{path}/rotations"), json!({})).await.expect(200).json();
        let new = pair(&prepared["secrets"]).1;
        if by_use {
            assert!(operator.verifies(&public, &new).await);
        } else {
            operator.post(&format!("{path}/rotations/commit"), json!({})).await.expect(200);
        }
        let last = operator.history(&id).await.pop().unwrap();
        assert_eq!(last, "rota.credential.prepared-secret-rotated.v1");
        assert!(operator.verifies(&public, &new).await);
        let seen = operator.get(&path).await.expect(200).json();
        let live = seen["versions"].as_array().unwrap().iter().filter(|v| v["status"] == "active").count();
        assert_eq!(live, 1);
    }
    assert!(!operator.verifies(&public, &second).await);
}
