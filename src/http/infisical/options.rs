//! What kinds of rotations and connections there are.

use actix_web::HttpResponse;
use rota_targets::{App, Kind};
use serde_json::{Map, Value, json};

use super::super::request::Request;
use super::{ok, with};

fn rotation(kind: Kind) -> Value {
    let about = kind.description();
    let mapping: Map<_, _> =
        about.fields.iter().map(|field| (field.name.to_owned(), field.mapped.into())).collect();
    let mut template = json!({ "secretsMapping": mapping });
    if let Some(statement) = kind.create_user_statement() {
        template["createUserStatement"] = statement.into();
    }
    if let Some(statement) = kind.rotation_statement() {
        template["rotationStatement"] = statement.into();
    }
    json!({ "name": about.name, "type": about.id, "connection": about.app.id(), "template": template })
}

/// `GET /api/v2/secret-rotations/options`
pub(super) async fn rotations(request: Request) -> HttpResponse {
    with(request, async |request, _| {
        let mut kinds = Kind::ALL;
        kinds.sort_by_key(|kind| kind.description().name);
        let options: Vec<_> = kinds.into_iter().map(rotation).collect();
        Ok(ok(request, None, &json!({ "secretRotationOptions": options })))
    })
    .await
}

/// `GET /api/v1/app-connections/options`
pub(super) async fn connections(request: Request) -> HttpResponse {
    with(request, async |request, _| {
        let mut apps = App::ALL;
        apps.sort_by_key(|app| app.name());
        let option = |app: App| {
            let methods: Vec<_> = app.methods().iter().map(|method| method.id).collect();
            json!({ "name": app.name(), "app": app.id(), "methods": methods })
        };
        let options: Vec<_> = apps.into_iter().map(option).collect();
        Ok(ok(request, None, &json!({ "appConnectionOptions": options })))
    })
    .await
}
