//! The secret that signs what is sent to an app's webhook: a credential of its own that belongs to the app.

use rota_aggregates::authority::Roles;
use rota_aggregates::credential::{Kind, Status};
use rota_aggregates::{CredentialId, WorkspaceId};
use serde_json::Map;

use super::change::Answer;
use super::idempotency::Idempotency;
use super::issue::Issue;
use super::lifecycle::Change;
use super::rotate::{Made, Rotate};
use super::{App, Caller, Failure};

impl App {
    /// The webhook secret of an app, if it has one.
    async fn webhook_secret(&self, parent: CredentialId) -> Result<Option<CredentialId>, Failure> {
        self.settled().await?;
        let children = self.views.children(parent).await?;
        let tip = self.tip.tip.read();
        Ok(children.into_iter().find(|id| {
            tip.live
                .credential(*id)
                .is_some_and(|c| c.state.kind == Kind::Webhook && c.state.status == Status::Active)
        }))
    }

    /// The last characters of an app's webhook secret.
    pub async fn webhook_hint(&self, parent: CredentialId) -> Result<Option<String>, Failure> {
        let Some(id) = self.webhook_secret(parent).await? else { return Ok(None) };
        Ok(self.view(id, None).await?.map(|view| view.hint().to_owned()))
    }

    fn webhook_issue(workspace: WorkspaceId, parent: CredentialId) -> Issue {
        Issue {
            workspace,
            kind: Kind::Webhook,
            name: "webhook secret".to_owned(),
            roles: Roles::NONE,
            mode: None,
            parent: Some(parent),
            profile: Map::new(),
        }
    }

    /// Gives an app a webhook secret if it has none.
    pub async fn ensure_webhook_secret(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        parent: CredentialId,
    ) -> Result<(), Failure> {
        if self.webhook_secret(parent).await?.is_none() {
            let issue = Self::webhook_issue(workspace, parent);
            self.issue(caller, &issue, None, |_| Ok(Vec::new())).await?;
        }
        Ok(())
    }

    /// Rotates an app's webhook secret; the first time, makes it.
    pub async fn rotate_webhook_secret(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        parent: CredentialId,
        rotate: &Rotate,
        idempotency: Option<&Idempotency>,
        render: impl Fn(&Made) -> Result<Vec<u8>, Failure>,
    ) -> Result<Answer, Failure> {
        if let Some(id) = self.webhook_secret(parent).await? {
            return self.rotate(caller, id, rotate, idempotency, render).await;
        }
        let issue = Self::webhook_issue(workspace, parent);
        self.issue(caller, &issue, idempotency, render).await
    }

    /// Ends an app's webhook secret with the app.
    pub async fn revoke_webhook_secret(&self, caller: &Caller, parent: CredentialId) -> Result<(), Failure> {
        if let Some(id) = self.webhook_secret(parent).await? {
            self.change(caller, id, &Change::Revoke, None).await?;
        }
        Ok(())
    }
}
