//! Replicas behind what Debian has to put in between: nginx as `deploy/` sets it up, and PgBouncer before the database.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use crate::client::{Caller, Front, nginx, program};
use crate::postgres_cluster::{Cluster, unprivileged};
use crate::process::{OPERATOR, Process};

/// nginx with the configuration of `deploy/`, before these replicas.
async fn balancer(replicas: &[Process]) -> Front {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx.conf");
    let text = std::fs::read_to_string(text).unwrap();
    Front::start(|folder, own| {
        let mut text = text.replace("listen 8700", &format!("listen {own}"));
        text = text.replace("/tmp/rota-nginx", &folder.join("nginx").display().to_string());
        for (number, replica) in replicas.iter().enumerate() {
            let name = format!("rota-{}:8700", number + 1);
            assert!(text.contains(&name), "{name}");
            text = text.replace(&name, &format!("127.0.0.1:{}", replica.port()));
        }
        std::fs::write(folder.join("nginx.conf"), text).unwrap();
        nginx(folder, "nginx.conf")
    })
    .await
}

/// If this fails, callers behind the balancer notice that a replica died, or a secret outlives its rotation there.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_behind_nginx_notices_the_death_of_a_replica() {
    const ROUNDS: u64 = 60;
    let cluster = Cluster::shared();
    let store = cluster.url(&cluster.schema().await);
    let mut replicas = vec![Process::start(&store, 0).await];
    replicas.push(Process::start(&store, 0).await);
    replicas.push(Process::start(&store, 0).await);
    let front = balancer(&replicas).await;
    let caller = Caller::bearer(&front.url(), OPERATOR);
    let workspace = caller.open_workspace("balanced").await;
    let (standing, public, secret) = caller.issue(&workspace, "client").await;
    assert!(!standing.is_empty());

    let (over, verified) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let verifying = tokio::spawn({
        let (caller, over, verified) = (caller.clone(), Arc::clone(&over), Arc::clone(&verified));
        async move {
            while !over.load(Ordering::Relaxed) {
                assert!(caller.verifies(&public, &secret).await, "a verification fails");
                verified.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let (id, public, mut old) = caller.issue(&workspace, "client").await;
    for round in 0..ROUNDS {
        if round == ROUNDS / 3 {
            replicas.remove(1).kill();
        }
        // What may have arrived is repeated by its caller, with the same key.
        let (path, key) = (format!("/v1/credentials/{id}/rotate"), format!("round-{round}"));
        let named = [("idempotency-key", key.as_str())];
        let reply = loop {
            let reply =
                caller.send(reqwest::Method::POST, &path, &named, Some(b"{}".to_vec())).await.unwrap();
            if ![502, 504].contains(&reply.status.as_u16()) {
                break reply.expect(200).json();
            }
        };
        let new = reply["secrets"]["clientSecret"].as_str().unwrap().to_owned();
        assert!(!caller.verifies(&public, &old).await, "the old secret lives");
        assert!(caller.verifies(&public, &new).await, "the new secret is refused");
        old = new;
    }
    over.store(true, Ordering::Relaxed);
    verifying.await.unwrap();
    assert!(verified.load(Ordering::Relaxed) > 0);
    let metrics = caller.get("/metrics").await;
    assert_eq!(metrics.status, 404, "figures are for the monitoring, which asks each replica");
    let page =
        caller.get("/v1/events?type=rota.credential.secret-rotated.v1&limit=100").await.expect(200).json();
    assert_eq!(page["items"].as_array().unwrap().len() as u64, ROUNDS, "no rotation was made twice");
}

/// PgBouncer with session pooling, before a database of this cluster.
async fn pooler(cluster: &Cluster) -> Front {
    let server = cluster.port;
    Front::start(|folder, own| {
        let (host, port) = own.split_once(':').unwrap();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = {host}\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {users}\npool_mode = session\n\
             max_client_conn = 200\ndefault_pool_size = 60\n\
             ignore_startup_parameters = options,extra_float_digits\n",
            users = folder.join("users").display(),
        );
        std::fs::write(folder.join("users"), "\"postgres\" \"\"\n").unwrap();
        std::fs::write(folder.join("pgbouncer.ini"), settings).unwrap();
        let open = Command::new("chmod").args(["-R", "a+rX"]).arg(folder).status().unwrap();
        assert!(open.success());
        let user = unprivileged();
        let mut command = Command::new(user[0]);
        command.args(&user[1..]).arg(program("pgbouncer")).arg(folder.join("pgbouncer.ini"));
        command
    })
    .await
}

/// If this fails, what the documentation says of PgBouncer is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_of_sessions_changes_nothing() {
    let cluster = Cluster::shared();
    let database = cluster.database().await;
    let pooler = pooler(cluster).await;
    let direct = format!("postgres://postgres@127.0.0.1:{}/{database}", cluster.port);
    let pooled = format!("postgres://postgres@{}/{database}", pooler.address);
    let one = Process::start(&pooled, 0).await;
    let (two, three) = tokio::join!(Process::start(&pooled, 0), Process::start(&direct, 0));
    let workspace = one.operator.open_workspace("pooled").await;
    let (id, public, mut old) = one.operator.issue(&workspace, "client").await;
    let replicas = [&one, &two, &three];
    for round in 0..30 {
        let new = replicas[round % 3].operator.rotate(&id, json!({})).await;
        for other in replicas {
            assert!(!other.operator.verifies(&public, &old).await, "the old secret lives");
            assert!(other.operator.verifies(&public, &new).await, "the new secret is refused");
        }
        old = new;
    }
}
