//! [`Store`]'s methods for inquiries.

use callgate_core::time::Timestamp;

use super::{
    BeginInquiry, COLUMNS, ClaimInquiries, ClaimedInquiries, Inquired, Inquiring, InquiryBegun,
    InquiryEnd, InquiryKey, NewInquiry, StoredInquiry,
};
use crate::error::StoreError;
use crate::group::Operation;
use crate::sql::query;
use crate::store::Store;

/// Questions to gateways.
impl Store {
    /// Hands out questions that are due, no more than the merchant may put, each to one host. Those
    /// whose order was heard of meanwhile are over, and cost nothing.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn claim_inquiries(
        &self,
        claim: ClaimInquiries,
        now: Timestamp,
    ) -> Result<ClaimedInquiries, StoreError> {
        match self.inquire(Inquiring::Claim(claim, now)).await? {
            Inquired::Claimed(claimed) => Ok(claimed),
            other @ (Inquired::Begun(_) | Inquired::Ended(_) | Inquired::Count(_)) => {
                Err(astray(&other))
            }
        }
    }

    /// Begins a question out of turn, unless it was put a moment ago or somebody puts it now.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for an impossible number, else as the database fails.
    pub async fn begin_inquiry(
        &self,
        begin: BeginInquiry,
        now: Timestamp,
    ) -> Result<InquiryBegun, StoreError> {
        check(std::slice::from_ref(&begin.new))?;
        match self.inquire(Inquiring::Begin(begin, now)).await? {
            Inquired::Begun(begun) => Ok(begun),
            other @ (Inquired::Claimed(_) | Inquired::Ended(_) | Inquired::Count(_)) => {
                Err(astray(&other))
            }
        }
    }

    /// Ends a question; tells whether its lease still held. If not, nothing was written.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn end_inquiry(&self, end: InquiryEnd, now: Timestamp) -> Result<bool, StoreError> {
        match self.inquire(Inquiring::End(end, now)).await? {
            Inquired::Ended(held) => Ok(held),
            other @ (Inquired::Claimed(_) | Inquired::Begun(_) | Inquired::Count(_)) => {
                Err(astray(&other))
            }
        }
    }

    /// Puts inquiries on the schedule; those that are over begin anew, those that are open stay as
    /// they are. Tells how many are new or anew.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for an impossible number, else as the database fails.
    pub async fn open_inquiries(
        &self,
        new: Vec<NewInquiry>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        check(&new)?;
        self.count(Inquiring::Open(new, now)).await
    }

    /// Forgets a few inquiries that were over before a moment; tells how many.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn forget_inquiries(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.count(Inquiring::Forget(before)).await
    }

    /// The inquiries about an order, by its own number; at most a few hundred.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn inquiries_of(
        &self,
        business: &str,
        order_no: &str,
    ) -> Result<Vec<StoredInquiry>, StoreError> {
        let sql = format!(
            "select {COLUMNS} from inquiries t where t.business = $1 and t.order_no = $2 \
             order by t.channel, t.number, t.refund_no limit {SHOWN}"
        );
        let look = query(sql).bind(business).bind(order_no);
        let rows = look.fetch_all(self.readers()).await?;
        Ok(rows.iter().map(StoredInquiry::read).collect::<Result<_, _>>()?)
    }

    pub(crate) async fn count(&self, inquiring: Inquiring) -> Result<usize, StoreError> {
        match self.inquire(inquiring).await? {
            Inquired::Count(count) => Ok(count),
            other @ (Inquired::Claimed(_) | Inquired::Begun(_) | Inquired::Ended(_)) => {
                Err(astray(&other))
            }
        }
    }

    async fn inquire(&self, inquiring: Inquiring) -> Result<Inquired, StoreError> {
        self.ask(|reply| Operation::Inquire(Box::new(inquiring), reply)).await
    }
}

fn astray(found: &Inquired) -> StoreError {
    StoreError::corrupt(format!("an answer to another question: {found:?}"))
}

/// Holds texts against their bounds.
fn check(new: &[NewInquiry]) -> Result<(), StoreError> {
    let bad = |text: &str| !(1..=256).contains(&text.chars().count()) || text.contains('\0');
    let refund = |key: &InquiryKey| key.refund_no.as_deref().is_some_and(bad);
    if new.iter().any(|one| bad(&one.key.order_no) || bad(&one.key.number) || refund(&one.key)) {
        return Err(StoreError::invalid("numbers of orders and refunds have 1 to 256 characters"));
    }
    Ok(())
}

/// Inquiries of one order that are shown.
const SHOWN: i64 = 256;
