//! What every target whose vendor chooses the secret must do, whoever the vendor is.

use std::collections::BTreeSet;

use rota_targets::{Certainty, Credential, Failure, Login, Slot, Target};

use super::random;
use crate::doubles::Double;
use crate::doubles::front::{Fault, Vendor};

/// A target, and what there is at its vendor.
pub struct Keys<'a, D> {
    pub target: &'a dyn Target,
    pub vendor: &'a Vendor<D>,
    /// The field that tells a key from others.
    pub id: &'static str,
    /// The ids of all that exist.
    pub all: fn(&D) -> Vec<String>,
    /// The method and a part of the path of the request that makes a key, and of the one that lists them.
    pub make: (&'static str, &'static str),
    pub list: (&'static str, &'static str),
}

impl<D: Double> Keys<'_, D> {
    fn ids(&self) -> BTreeSet<String> {
        (self.all)(&self.vendor.double).into_iter().collect()
    }

    fn id_of(&self, credential: &Credential) -> String {
        credential.public[self.id].clone()
    }

    pub async fn rotate(&self, slot: u8, current: Option<&Credential>) -> Credential {
        let intent = self.target.intend(Slot(slot), current, random()).await.unwrap();
        let new = self.target.set(&intent, current).await.unwrap();
        assert!(self.ids().contains(&self.id_of(&new)));
        assert_eq!(self.target.log_in(&new).await, Ok(Login::Accepted));
        new
    }

    /// Every key that is published logs in until it is retired, and then not any more; nobody else's is touched.
    pub async fn are_made_tried_and_ended(&self) {
        let strangers = self.ids();
        self.target.check().await.unwrap();
        assert!(!self.target.plan(Slot(0)).await.unwrap().steps.is_empty());
        let mut current: Option<Credential> = None;
        for turn in 0..4 {
            let new = self.rotate(turn % 2, current.as_ref()).await;
            assert!(new.public.contains_key("clientId"));
            if let Some(old) = current {
                assert_eq!(self.target.log_in(&old).await, Ok(Login::Accepted));
                self.target.retire(&old, &new, true).await.unwrap();
                self.target.retire(&old, &new, true).await.unwrap();
                assert_eq!(self.target.log_in(&old).await, Ok(Login::Refused));
                assert_eq!(self.target.log_in(&new).await, Ok(Login::Accepted));
            }
            let mut expected = strangers.clone();
            expected.insert(self.id_of(&new));
            assert_eq!(self.ids(), expected);
            current = Some(new);
        }
        let last = current.unwrap();
        assert!(self.target.retire(&last, &last, false).await.is_err());
        assert_eq!(self.target.log_in(&last).await, Ok(Login::Accepted));
        self.target.revoke(&last, random()).await.unwrap();
        self.target.revoke(&last, random()).await.unwrap();
        assert_eq!(self.target.log_in(&last).await, Ok(Login::Refused));
        assert!(!self.ids().contains(&self.id_of(&last)));
        assert!(self.ids().is_superset(&strangers));
    }

    /// An answer that is lost leaves doubt, whatever became of it, and what the attempt left is removed, once.
    pub async fn are_not_lost_with_an_answer(&self, active: &Credential) {
        let before = self.ids();
        let (method, path) = self.make;
        for fault in
            [Fault::ObeyedLost, Fault::ObeyedStatus(503), Fault::ObeyedGarbage, Fault::Status(500, None)]
        {
            let intent = self.target.intend(Slot(1), Some(active), random()).await.unwrap();
            self.vendor.fail(method, path, 1, fault);
            let failure = self.target.set(&intent, Some(active)).await.unwrap_err();
            assert_eq!(failure.certainty, Certainty::Unclear, "{fault:?}: {failure}");
            assert!(failure.may_pass);
            says_nothing(&failure);
            let left = usize::from(!matches!(fault, Fault::Status(..)));
            assert_eq!(self.ids().len(), before.len() + left, "{fault:?}");
            // The process dies here, and whoever finds the intent undoes it; twice, if it dies again.
            assert_eq!(self.target.undo(&intent, &[active]).await, Ok(left));
            assert_eq!(self.target.undo(&intent, &[active]).await, Ok(0));
            assert_eq!(self.ids(), before);
            assert_eq!(self.target.log_in(active).await, Ok(Login::Accepted));
        }
        // Or it does the same intent again, which undoes what is left of the first time.
        let intent = self.target.intend(Slot(1), Some(active), random()).await.unwrap();
        self.vendor.fail(method, path, 1, Fault::ObeyedLost);
        self.target.set(&intent, Some(active)).await.unwrap_err();
        let new = self.target.set(&intent, Some(active)).await.unwrap();
        assert_eq!(self.target.undo(&intent, &[active, &new]).await, Ok(0));
        assert_eq!(self.ids().len(), before.len() + 1);
        assert_eq!(self.target.log_in(&new).await, Ok(Login::Accepted));
        self.target.retire(&new, active, false).await.unwrap();
        assert_eq!(self.ids(), before);
    }

    /// A busy vendor is waited for if it asks for little, and left alone for as long as it asks otherwise.
    pub async fn wait_for_a_busy_vendor(&self, active: &Credential) {
        let before = self.ids();
        let (method, path) = self.make;
        let intent = self.target.intend(Slot(1), Some(active), random()).await.unwrap();
        self.vendor.fail(self.list.0, self.list.1, 2, Fault::Status(503, None));
        self.vendor.fail(method, path, 1, Fault::Status(429, Some(1)));
        let new = self.target.set(&intent, Some(active)).await.unwrap();
        self.target.retire(&new, active, false).await.unwrap();

        self.vendor.fail(method, path, 1, Fault::Status(429, Some(40)));
        let failure = self.target.set(&intent, Some(active)).await.unwrap_err();
        assert_eq!((failure.certainty, failure.may_pass), (Certainty::Unchanged, true));
        assert_eq!(failure.retry_after.map(|wait| wait.as_secs()), Some(40));
        says_nothing(&failure);
        self.vendor.fail(self.list.0, self.list.1, 3, Fault::Status(500, None));
        let failure = self.target.check().await.unwrap_err();
        assert_eq!((failure.certainty, failure.may_pass), (Certainty::Unchanged, true));
        assert_eq!(self.ids(), before);
    }
}

/// What the vendor says does not get into an error.
pub fn says_nothing(failure: &Failure) {
    assert!(!failure.text().contains("hunter2"), "{failure}");
}
