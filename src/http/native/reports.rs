//! `/v1/reports`: the auditors' questions, as of any position or time.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rota_aggregates::credential::Kind;
use rota_aggregates::{CredentialId, Position, RotationId, Timestamp, WorkspaceId};
use rota_projections::reports::catalogue::{ALL, ELSEWHERE};
use rota_projections::reports::{Definition, Question, find};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use super::super::body;
use super::super::request::Request;
use super::events::actor;
use super::query::{as_of, time};
use super::{builder, ok, with};
use crate::app::Failure;
use crate::app::reports::{Ask, Reported};
use crate::csv;

/// Rows of a page, unless another number is asked for.
const ROWS: usize = 1_000;
/// Rows of a page at most.
const ROWS_MAX: usize = 10_000;

/// `GET /v1/reports`
pub(super) async fn list(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let Nothing {} = body::query(request.http.query_string())?;
        request.app().may_read_events(&caller, None)?;
        let elsewhere: Vec<_> = ELSEWHERE
            .iter()
            .map(|(question, answer)| json!({ "question": question, "answer": answer }))
            .collect();
        let items: Vec<_> = ALL.iter().map(described).collect();
        Ok(ok(request, &json!({ "items": items, "elsewhere": elsewhere, "next": null })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The parameters that every report takes.
const COMMON: [(&str, &str); 5] = [
    ("asOf", "what the ledger knew: after the event at this position, or at this time"),
    ("workspaceId", "only this workspace; by default the caller's own, for the operator all of them"),
    ("format", "json or csv"),
    ("limit", "at most so many rows, up to 10000; 1000 by default"),
    ("after", "`next` of the page before"),
];

fn described(report: &Definition) -> Value {
    let own = report.parameters.iter().flat_map(|parameter| parameter.described()).copied();
    let parameters: Vec<_> =
        own.chain(COMMON).map(|(name, meaning)| json!({ "name": name, "meaning": meaning })).collect();
    json!({
        "name": report.name,
        "question": report.question,
        "limits": report.limits,
        "parameters": parameters,
        "columns": report.columns,
        "eventTypes": report.types,
    })
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Csv,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ReportQuery {
    as_of: Option<String>,
    workspace_id: Option<WorkspaceId>,
    format: Option<Format>,
    limit: Option<usize>,
    after: Option<String>,
    credential_id: Option<CredentialId>,
    kind: Option<Kind>,
    owner_id: Option<CredentialId>,
    rotation_id: Option<RotationId>,
    actor: Option<String>,
    at: Option<String>,
    from: Option<String>,
    to: Option<String>,
    since: Option<u64>,
    version: Option<u32>,
    older_than_days: Option<u32>,
    target_seconds: Option<u64>,
}

impl ReportQuery {
    /// The parameters that are not every report's, and whether each is given.
    fn given(&self) -> [(&'static str, bool); 12] {
        [
            ("credentialId", self.credential_id.is_some()),
            ("kind", self.kind.is_some()),
            ("ownerId", self.owner_id.is_some()),
            ("rotationId", self.rotation_id.is_some()),
            ("actor", self.actor.is_some()),
            ("at", self.at.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
            ("since", self.since.is_some()),
            ("version", self.version.is_some()),
            ("olderThanDays", self.older_than_days.is_some()),
            ("targetSeconds", self.target_seconds.is_some()),
        ]
    }

    fn ask(&self, request: &Request, report: &Definition) -> Result<Ask, Failure> {
        if let Some((name, _)) = self.given().iter().find(|(name, given)| *given && !report.takes(name)) {
            return Err(Failure::invalid(name, "is no parameter of this report; GET /v1/reports lists them"));
        }
        let limit @ 1..=ROWS_MAX = self.limit.unwrap_or(ROWS) else {
            return Err(Failure::invalid("limit", "must be between 1 and 10000"));
        };
        let wrong = || Failure::invalid("after", "must be `next` of an earlier page");
        let after = self.after.as_deref().map(|text| text.parse().map_err(|()| wrong())).transpose()?;
        let from = time("from", self.from.as_deref())?;
        let to = time("to", self.to.as_deref())?;
        if from.zip(to).is_some_and(|(from, to)| from >= to) {
            return Err(Failure::invalid("to", "must be after `from`"));
        }
        let question = Question {
            workspace: self.workspace_id,
            credential: self.credential_id,
            kind: self.kind,
            owner: self.owner_id,
            owned: None,
            rotation: self.rotation_id,
            actor: self.actor.as_deref().map(|text| actor(request.app(), text)).transpose()?,
            at: Timestamp::default(),
            from,
            to,
            since: self.since.map(Position),
            version: self.version,
            older_than_days: self.older_than_days,
            target_seconds: self.target_seconds,
        };
        if report.needs_credential() && question.credential.is_none() {
            return Err(Failure::invalid("credentialId", "must name the credential that is asked about"));
        }
        Ok(Ask {
            name: report.name.to_owned(),
            question,
            as_of: as_of(self.as_of.as_deref())?,
            at: time("at", self.at.as_deref())?,
            after,
            limit,
        })
    }
}

/// `GET /v1/reports/{name}`
pub(super) async fn get(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let name = request.http.match_info().get("name").unwrap_or_default();
        let report = find(name).ok_or(Failure::NotFound("report"))?;
        let query: ReportQuery = body::query(request.http.query_string())?;
        let ask = query.ask(request, report)?;
        let reported = request.app().report(&caller, ask).await?;
        let mut builder = builder(request, StatusCode::OK);
        builder.insert_header((CACHE_CONTROL, "no-store"));
        if let Some(position) = last(&reported) {
            builder.insert_header(("Rota-Position", position.to_string()));
        }
        match query.format.unwrap_or_default() {
            Format::Json => Ok(builder.json(Answer { reported: &reported, query: &query })),
            Format::Csv => {
                builder.insert_header(("Rota-At", reported.question.at.to_string()));
                builder.insert_header(("Rota-Row-Count", reported.count.to_string()));
                if let Some(checkpoint) = &reported.checkpoint {
                    builder.insert_header(("Rota-Checkpoint", STANDARD.encode(checkpoint)));
                }
                if let Some(next) = reported.next {
                    builder.insert_header(("Rota-Next", next.to_string()));
                }
                builder.insert_header((CONTENT_TYPE, "text/csv; charset=utf-8"));
                let file = format!("attachment; filename=\"{name}.csv\"");
                builder.insert_header((CONTENT_DISPOSITION, file));
                Ok(builder.body(csv::table(reported.definition.columns, &reported.rows)))
            }
        }
    })
    .await
}

/// The last position that an answer rests on.
fn last(reported: &Reported) -> Option<Position> {
    reported.end.0.checked_sub(1).map(Position)
}

/// A report as JSON: what was asked, as of what, and the rows of the page.
struct Answer<'a> {
    reported: &'a Reported,
    query: &'a ReportQuery,
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Reported { definition, question, end, rows, count, next, checkpoint } = self.reported;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("report", definition.name)?;
        map.serialize_entry("asOf", &self.query.as_of)?;
        map.serialize_entry("position", &last(self.reported))?;
        map.serialize_entry("treeSize", end)?;
        map.serialize_entry("checkpoint", checkpoint)?;
        map.serialize_entry("at", &question.at)?;
        map.serialize_entry("workspaceId", &question.workspace)?;
        map.serialize_entry("parameters", &self.parameters())?;
        map.serialize_entry("rowCount", count)?;
        map.serialize_entry("columns", definition.columns)?;
        map.serialize_entry("rows", &Rows(definition.columns, rows))?;
        map.serialize_entry("next", &next.map(|next| next.to_string()))?;
        map.end()
    }
}

impl Answer<'_> {
    fn parameters(&self) -> Value {
        let query = self.query;
        let all = json!({
            "credentialId": query.credential_id,
            "kind": query.kind,
            "ownerId": query.owner_id,
            "rotationId": query.rotation_id,
            "actor": query.actor,
            "at": query.at,
            "from": self.reported.question.from,
            "to": self.reported.question.to,
            "since": query.since,
            "version": query.version,
            "olderThanDays": query.older_than_days,
            "targetSeconds": query.target_seconds,
        });
        let Value::Object(all) = all else { return Value::Null };
        all.into_iter().filter(|(_, value)| !value.is_null()).collect::<serde_json::Map<_, _>>().into()
    }
}

/// Rows as objects, their members in the order of the columns.
struct Rows<'a>(&'a [&'a str], &'a [Vec<Value>]);

struct Row<'a>(&'a [&'a str], &'a [Value]);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.1.len()))?;
        for row in self.1 {
            list.serialize_element(&Row(self.0, row))?;
        }
        list.end()
    }
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(self.1))
    }
}
