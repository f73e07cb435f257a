//! The wire formats that rota speaks, over HTTP, on a server in this process.

#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/signer.rs"]
mod signer;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/users.rs"]
mod users;

mod fluide;
mod fluide_rotate;
mod fluide_session;
mod fluide_token;
mod forward_auth;
mod hopae;
mod hopae_apps;
mod hopae_batch;
mod hopae_errors;
mod hopae_keys;
mod hopae_rotate;
mod infisical;
mod infisical_connections;
mod infisical_identity;
mod infisical_moves;
mod infisical_places;
mod infisical_rotations;
mod infisical_sdk;
mod infisical_secrets;
mod infisical_target;
mod introspect;
mod nginx;
mod spritz;
mod spritz_regenerate;
mod spritz_signatures;
mod spritz_tokens;
mod spritz_webhook_secret;
mod spritz_webhooks;
mod token_keys;
