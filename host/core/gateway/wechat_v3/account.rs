//! To whom a notification is addressed: merchant and application, held against the channel.

use crate::gateway::SettingsError;
use crate::notification::AccountMismatch;

use super::envelope::is_identifier;

/// The account of a channel.
#[derive(Debug, Clone)]
pub(super) struct Account {
    merchant_id: String,
    application_ids: Vec<String>,
    sub_merchant_ids: Vec<String>,
}

/// The account fields of a plaintext, as far as it has them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Addressee<'a> {
    pub(super) merchant: Option<&'a str>,
    pub(super) partner: Option<&'a str>,
    pub(super) sub_merchant: Option<&'a str>,
    pub(super) application: Option<&'a str>,
}

impl Account {
    /// Takes the account fields of the settings.
    pub(super) fn new(
        merchant_id: String,
        application_ids: Vec<String>,
        sub_merchant_ids: Vec<String>,
    ) -> Result<Self, SettingsError> {
        let lists = [
            ("merchant_id", std::slice::from_ref(&merchant_id)),
            ("application_ids", application_ids.as_slice()),
            ("sub_merchant_ids", sub_merchant_ids.as_slice()),
        ];
        for (field, ids) in lists {
            if !ids.iter().all(|id| is_identifier(id)) {
                let problem = "an id is empty or malformed, expected 1 to 64 visible characters";
                return Err(SettingsError::new(field, problem));
            }
        }
        if application_ids.is_empty() && sub_merchant_ids.is_empty() {
            let problem = "found none, expected at least one (or sub_merchant_ids of a partner)";
            return Err(SettingsError::new("application_ids", problem));
        }
        Ok(Self { merchant_id, application_ids, sub_merchant_ids })
    }

    pub(super) fn merchant_id(&self) -> &str {
        &self.merchant_id
    }

    pub(super) fn sub_merchant_ids(&self) -> &[String] {
        &self.sub_merchant_ids
    }

    /// A payment must name the merchant or the partner, and the application where one is
    /// configured.
    pub(super) fn check_payment(&self, to: Addressee<'_>) -> Option<AccountMismatch> {
        self.check_refund(to).or_else(|| match to.application {
            None if self.application_ids.is_empty() => None,
            None => Some(AccountMismatch::Application),
            Some(_) => self.check_application(to),
        })
    }

    /// A refund must name the merchant or the partner; it has no application.
    pub(super) fn check_refund(&self, to: Addressee<'_>) -> Option<AccountMismatch> {
        if to.merchant.is_none() && to.partner.is_none() {
            return Some(AccountMismatch::Merchant);
        }
        self.check_merchant(to)
    }

    /// What names nobody cannot be held against the channel; what names someone is.
    pub(super) fn check_other(&self, to: Addressee<'_>) -> Option<AccountMismatch> {
        self.check_merchant(to).or_else(|| self.check_application(to))
    }

    /// Of a combined order the combiner must be this account, and the merchant of the part this
    /// account or one that is listed.
    pub(super) fn check_combined(
        &self,
        combiner: Addressee<'_>,
        part: Addressee<'_>,
    ) -> Option<AccountMismatch> {
        let is_ours = |id: &str| id == self.merchant_id || contains(&self.sub_merchant_ids, id);
        self.check_payment(combiner).or_else(|| {
            let is_known = part.merchant.is_some_and(is_ours) && self.is_sub_merchant(part);
            (!is_known).then_some(AccountMismatch::Merchant)
        })
    }

    fn check_merchant(&self, to: Addressee<'_>) -> Option<AccountMismatch> {
        let is_ours = |id: Option<&str>| id.is_none_or(|id| id == self.merchant_id);
        let needs_sub = to.partner.is_some() && to.sub_merchant.is_none();
        let is_known = is_ours(to.merchant)
            && is_ours(to.partner)
            && self.is_sub_merchant(to)
            && (!needs_sub || self.sub_merchant_ids.is_empty());
        (!is_known).then_some(AccountMismatch::Merchant)
    }

    fn is_sub_merchant(&self, to: Addressee<'_>) -> bool {
        let listed = |id| contains(&self.sub_merchant_ids, id);
        self.sub_merchant_ids.is_empty() || to.sub_merchant.is_none_or(listed)
    }

    fn check_application(&self, to: Addressee<'_>) -> Option<AccountMismatch> {
        let listed = |id| contains(&self.application_ids, id);
        let is_known = self.application_ids.is_empty() || to.application.is_none_or(listed);
        (!is_known).then_some(AccountMismatch::Application)
    }
}

fn contains(ids: &[String], id: &str) -> bool {
    ids.iter().any(|known| known == id)
}
