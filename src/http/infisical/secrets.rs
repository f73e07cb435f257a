//! The secrets of a project: what its rotations publish, for whoever uses it.
//!
//! The third version of these routes and the fourth differ in the names of a few parameters; each is understood on
//! both. Nothing but rotations writes secrets.

use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use actix_web::{HttpResponse, web};
use ring::digest::{Context, SHA256};
use rota_aggregates::WorkspaceId;
use rota_aggregates::ids::Hash;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::super::answer::Shown;
use super::super::request::{REQUEST_ID, Request};
use super::error::Refused;
use super::folders::path;
use super::input::{Code, Input};
use super::projects::of_slug;
use super::{Outcome, ok, part, project, with};
use crate::app::managed::MappedSecret;
use crate::app::places::{FolderView, Place};
use crate::app::{Caller, Failure};

/// What stands for a value that the caller may not read, or did not ask for.
const HIDDEN: &str = "<hidden-by-infisical>";

/// A value, or what stands for it.
struct Secret<'a>(Option<Shown<'a>>);

impl Serialize for Secret<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(shown) => shown.serialize(serializer),
            None => serializer.serialize_str(HIDDEN),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    id: Uuid,
    #[serde(rename = "_id")]
    same_id: Uuid,
    workspace: WorkspaceId,
    environment: &'a str,
    version: u32,
    r#type: &'static str,
    secret_key: &'a str,
    secret_value: Secret<'a>,
    secret_value_hidden: bool,
    secret_comment: &'static str,
    secret_path: &'a str,
    created_at: String,
    updated_at: String,
    tags: [&'static str; 0],
    secret_metadata: [&'static str; 0],
    skip_multiline_encoding: bool,
    secret_reminder_note: Option<&'static str>,
    secret_reminder_repeat_days: Option<u32>,
    actor: Option<&'static str>,
    is_rotated_secret: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_id: Option<rota_aggregates::RotationId>,
}

/// Where a secret is, in the words of the format.
struct Where {
    environment: String,
    path: String,
}

fn wire<'a>(secret: &'a MappedSecret, at: &'a Where) -> Wire<'a> {
    Wire {
        id: secret.id,
        same_id: secret.id,
        workspace: secret.workspace,
        environment: &at.environment,
        version: secret.version,
        r#type: "shared",
        secret_key: &secret.key,
        secret_value: Secret(secret.value.as_ref().map(Shown)),
        secret_value_hidden: secret.value.is_none(),
        secret_comment: "",
        secret_path: &at.path,
        created_at: secret.created_at.to_millis_text(),
        updated_at: secret.updated_at.to_millis_text(),
        tags: [],
        secret_metadata: [],
        skip_multiline_encoding: false,
        secret_reminder_note: None,
        secret_reminder_repeat_days: None,
        actor: None,
        is_rotated_secret: secret.rotation.is_some(),
        rotation_id: secret.rotation,
    }
}

#[derive(Serialize)]
struct List<'a> {
    secrets: Vec<Wire<'a>>,
    /// Folders don't import from others.
    imports: [&'static str; 0],
}

#[derive(Serialize)]
struct One<'a> {
    secret: Wire<'a>,
}

/// What is asked for.
struct Asked {
    workspace: WorkspaceId,
    environment: String,
    path: String,
    with_values: bool,
    deep: bool,
}

impl Asked {
    fn place(&self) -> Place<'_> {
        Place { workspace: self.workspace, environment: &self.environment, path: &self.path }
    }
}

/// The first of some parameters that is there.
fn any_of(input: &mut Input, names: &[&str]) -> Option<String> {
    let given: Vec<_> = names.iter().filter_map(|name| input.optional_text(name)).collect();
    given.into_iter().find(|text| !text.is_empty())
}

async fn asked(request: &Request, caller: &Caller, input: &mut Input) -> Result<Asked, Refused> {
    let id = any_of(input, &["workspaceId", "projectId"]);
    let slug = any_of(input, &["workspaceSlug", "projectSlug"]);
    let environment = any_of(input, &["environment"]);
    let secret_path = path(&input.optional_text("secretPath").unwrap_or_default());
    let with_values = input.strict_word("viewSecretValue", true);
    let deep = input.strict_word("recursive", false);
    input.check()?;
    let workspace = match (id, slug) {
        (Some(id), _) => project(caller, &id)?,
        (None, Some(slug)) => of_slug(request, caller, &slug).await?.id,
        (None, None) => return Err(Refused::bad_request("name the project: its id or its slug is missing")),
    };
    let missing = || Refused::bad_request("name the environment: its slug is missing");
    let environment = environment.ok_or_else(missing)?;
    Ok(Asked { workspace, environment, path: secret_path, with_values, deep })
}

/// Changes with what is shown, and says nothing about the values.
fn etag(secrets: &[(MappedSecret, Where)]) -> String {
    let mut context = Context::new(&SHA256);
    for (secret, at) in secrets {
        context.update(secret.id.as_bytes());
        context.update(&secret.version.to_be_bytes());
        context.update(&[u8::from(secret.value.is_some()), u8::from(secret.rotation.is_some())]);
        for text in [&secret.key, &at.environment, &at.path] {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    let hash = Hash(hash).to_string();
    format!("W/\"{}\"", &hash[..32])
}

/// Gives secrets, unless the caller has what is there already.
fn answered(request: &Request, secrets: &[(MappedSecret, Where)], body: &impl Serialize) -> HttpResponse {
    let tag = etag(secrets);
    let known = request.header(IF_NONE_MATCH).is_some_and(|known| {
        known.split(',').any(|known| {
            known.trim().trim_start_matches("W/") == tag.trim_start_matches("W/") || known.trim() == "*"
        })
    });
    let mut response = if known {
        let mut builder = HttpResponse::build(StatusCode::NOT_MODIFIED);
        builder.insert_header((REQUEST_ID, request.id.to_string()));
        builder.finish()
    } else {
        ok(request, None, body)
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// `GET /api/v3/secrets/raw`, `GET /api/v4/secrets`
pub(super) async fn list(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let mut input = Input::query(request);
        let asked = asked(request, caller, &mut input).await?;
        let app = request.app();
        let place = asked.place();
        let mut folders = vec![app.folder_at(caller, &place)?];
        if asked.deep {
            folders.extend(app.folders(caller, &place, true).await?);
        }
        let mut secrets = Vec::new();
        for folder in folders {
            let here = app.mapped_secrets(caller, asked.workspace, folder.id, asked.with_values).await?;
            secrets.extend(here.into_iter().map(|secret| (secret, at(&asked.environment, &folder))));
        }
        let list = List { secrets: secrets.iter().map(|(s, at)| wire(s, at)).collect(), imports: [] };
        Ok(answered(request, &secrets, &list))
    })
    .await
}

fn at(environment: &str, folder: &FolderView) -> Where {
    Where { environment: environment.to_owned(), path: folder.path.clone() }
}

fn one(request: &Request, secret: MappedSecret, at: Where) -> HttpResponse {
    let secrets = [(secret, at)];
    let body = One { secret: wire(&secrets[0].0, &secrets[0].1) };
    answered(request, &secrets, &body)
}

/// `GET /api/v3/secrets/raw/{name}`, `GET /api/v4/secrets/{name}`
pub(super) async fn get(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let mut input = Input::query(request);
        let version = match input.optional_text("version").filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => match text.parse::<u32>() {
                Ok(version) if version > 0 => Some(version),
                _ => {
                    input.issue("version", Code::InvalidType, "Expected number, received nan");
                    None
                }
            },
        };
        let personal = match input.optional_text("type").as_deref() {
            None | Some("shared" | "") => false,
            Some("personal") => true,
            Some(_) => {
                let message = "Invalid enum value. Expected 'shared' | 'personal'";
                input.issue("type", Code::InvalidEnumValue, message);
                false
            }
        };
        let asked = asked(request, caller, &mut input).await?;
        let folder = request.app().folder_at(caller, &asked.place())?;
        let key = part(request, "name");
        // Nobody has secrets of their own.
        if personal {
            return Err(Failure::NotFound("secret").into());
        }
        let found =
            request.app().mapped_secret(caller, asked.workspace, folder.id, key, version, asked.with_values);
        Ok(one(request, found.await?, at(&asked.environment, &folder)))
    })
    .await
}

/// `GET /api/v3/secrets/raw/id/{id}`, `GET /api/v4/secrets/id/{id}`
pub(super) async fn by_id(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let mut input = Input::query(request);
        let id: Option<SecretId> = input.id("secretId", part(request, "id"));
        let named = any_of(&mut input, &["workspaceId", "projectId"]);
        let with_value = input.strict_word("viewSecretValue", true);
        input.check()?;
        let workspace = match (named, caller.workspace()) {
            (Some(id), _) => project(caller, &id)?,
            (None, Some(own)) => own,
            (None, None) => return Err(Refused::bad_request("name the project: its id is missing")),
        };
        let id = id.map(|SecretId(id)| id).unwrap_or_default();
        let secret = request.app().mapped_secret_by_id(caller, workspace, id, with_value).await?;
        let (folder, environment) = request.app().folder(caller, secret.folder).await?;
        let at = at(&environment.slug, &folder);
        Ok(one(request, secret, at))
    })
    .await
}

/// A secret's id, as a path has it.
struct SecretId(Uuid);

impl std::str::FromStr for SecretId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// Making and changing secrets by hand.
pub(super) async fn written_by_rotations_alone(request: Request) -> HttpResponse {
    with(request, async |_, _| -> Outcome {
        let message = "rota publishes what its rotations make, and nothing else: make a secret rotation";
        Err(Refused::bad_request(message))
    })
    .await
}

/// `DELETE /api/v3/secrets/raw/{name}`, `DELETE /api/v4/secrets/{name}`: of a secret that a rotation left behind.
pub(super) async fn remove(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let mut input = Input::body(payload).await?;
        if !input.has("environment") {
            input = Input::query(request);
        }
        let asked = asked(request, caller, &mut input).await?;
        let folder = request.app().folder_at(caller, &asked.place())?;
        let key = part(request, "name");
        let secret = request.app().delete_mapped_secret(caller, asked.workspace, folder.id, key).await?;
        let at = at(&asked.environment, &folder);
        Ok(ok(request, None, &One { secret: wire(&secret, &at) }))
    })
    .await
}
