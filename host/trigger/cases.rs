//! The stories worth telling a payment engine, by name. A case is plain data: what is
//! registered, what is posted, what must be true afterwards.

use callgate_core::money::Money;
use callgate_core::time::Timestamp;

use crate::burst::Burst;
use crate::channel::{Channel, Gateway};
use crate::draw::Draw;
use crate::keys::{Accounts, Keys, Merchant};
use crate::message::{CannotSign, Flaw, Message, Notice, Sending};
use crate::purchase::{Purchase, Refund};
use crate::wechat_v2::SignType;
use crate::{alipay, wechat_v2, wechat_v3};

mod stories;

/// A named story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The name, such as `wrong-amount`.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// The channel it is told through.
    pub channel: Channel,
    /// What happens, in this order.
    pub steps: Vec<Step>,
}

/// One step of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An order is registered.
    Register(Order),
    /// A callback is posted.
    Post(Post),
    /// Many orders are registered and their callbacks posted at once.
    Burst(Burst),
    /// Sooner or later this is true; work behind the answer may still be under way.
    Expect(Expected),
}

/// An order as it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its number.
    pub order_no: String,
    /// Its total.
    pub amount: Money,
    /// The channel it is to be paid through.
    pub channel: Channel,
    /// Its state at the start.
    pub state: &'static str,
}

/// A callback to be signed when it is posted, so that it is fresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// What it tells.
    pub notice: Notice,
    /// What is wrong with it, if anything.
    pub flaw: Option<Flaw>,
}

impl Post {
    /// Signs the callback at the time of posting.
    ///
    /// # Errors
    /// As [`Notice::sign`].
    pub fn message(
        &self,
        keys: &Keys,
        now: Timestamp,
        draw: &mut Draw,
    ) -> Result<Message, CannotSign> {
        self.notice.sign(keys, Sending { at: now, flaw: self.flaw }, draw)
    }
}

/// What is true of one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its number.
    pub order_no: String,
    /// Its state; `None` where nobody registered it.
    pub state: Option<&'static str>,
    /// Topics of all events about it so far, each as often as it was sent, in their order.
    pub events: Vec<&'static str>,
    /// The reason for which a notification about it waits for a person, if one does.
    pub review: Option<&'static str>,
}

/// Where and when a case is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The channel.
    pub channel: Channel,
    /// Who is paid.
    pub merchant: Merchant,
    /// When it is told; purchases were paid a few seconds earlier.
    pub at: Timestamp,
}

impl Stage {
    /// A stage for the merchant of these accounts.
    #[must_use]
    pub fn new(accounts: &Accounts, channel: Channel, at: Timestamp) -> Self {
        Self { channel, merchant: accounts.merchant(channel.gateway()), at }
    }

    /// Draws a purchase in the gateway's formats.
    pub fn purchase(&self, draw: &mut Draw) -> Purchase {
        Purchase::draw(self.channel.gateway(), self.at.plus_ms(-SINCE_PAID_MS), draw)
    }

    /// The order of a purchase before it is paid.
    #[must_use]
    pub fn order(&self, purchase: &Purchase) -> Order {
        Order {
            order_no: purchase.order_no.clone(),
            amount: purchase.amount,
            channel: self.channel,
            state: TO_BE_PAID,
        }
    }

    /// Tells of a payment that succeeded.
    #[must_use]
    pub fn payment(&self, purchase: &Purchase, draw: &mut Draw) -> Notice {
        let merchant = &self.merchant;
        match self.channel {
            Channel::WechatV3Main => {
                Notice::WechatV3(wechat_v3::Notice::payment(merchant, purchase, draw))
            }
            Channel::WechatV2Main | Channel::WechatV2Hmac => {
                let sign_type = self.sign_type();
                Notice::WechatV2(wechat_v2::Notice::payment(sign_type, merchant, purchase))
            }
            Channel::AlipayMain | Channel::AlipayCert => {
                let notice = alipay::Notice::payment(merchant, purchase, draw);
                Notice::Alipay(notice.signed_by(self.alipay_mode()))
            }
        }
    }

    /// Tells what became of a refund.
    #[must_use]
    pub fn refund(&self, purchase: &Purchase, refund: &Refund, draw: &mut Draw) -> Notice {
        let merchant = &self.merchant;
        match self.channel {
            Channel::WechatV3Main => {
                Notice::WechatV3(wechat_v3::Notice::refund(merchant, purchase, refund, draw))
            }
            Channel::WechatV2Main | Channel::WechatV2Hmac => {
                let sign_type = self.sign_type();
                Notice::WechatV2(wechat_v2::Notice::refund(sign_type, merchant, purchase, refund))
            }
            Channel::AlipayMain | Channel::AlipayCert => {
                let notice = alipay::Notice::refund(merchant, purchase, refund, draw);
                Notice::Alipay(notice.signed_by(self.alipay_mode()))
            }
        }
    }

    /// Tells of a payment that can no longer succeed; `None` where the gateway never tells that.
    #[must_use]
    pub fn payment_closed(&self, purchase: &Purchase, draw: &mut Draw) -> Option<Notice> {
        let merchant = &self.merchant;
        match self.channel {
            Channel::WechatV3Main => {
                let notice = wechat_v3::Notice::payment_closed(merchant, purchase, draw);
                Some(Notice::WechatV3(notice))
            }
            Channel::WechatV2Main | Channel::WechatV2Hmac => None,
            Channel::AlipayMain | Channel::AlipayCert => {
                let notice = alipay::Notice::payment_closed(merchant, purchase, draw);
                Some(Notice::Alipay(notice.signed_by(self.alipay_mode())))
            }
        }
    }

    fn sign_type(&self) -> SignType {
        if self.channel == Channel::WechatV2Hmac { SignType::HmacSha256 } else { SignType::Md5 }
    }

    fn alipay_mode(&self) -> alipay::KeyMode {
        if self.channel == Channel::AlipayCert {
            alipay::KeyMode::Certificate
        } else {
            alipay::KeyMode::Key
        }
    }
}

/// Name and purpose of the cases that make sense on a channel, in the order of telling.
pub fn told_on(channel: Channel) -> impl Iterator<Item = (&'static str, &'static str)> {
    let fits = stories::ALL.iter().filter(move |story| story.channels.contains(&channel));
    fits.map(|story| (story.name, story.about))
}

/// The names of the cases that make sense on the main channel of a gateway.
#[must_use]
pub fn names(gateway: Gateway) -> Vec<&'static str> {
    told_on(gateway.main_channel()).map(|(name, _)| name).collect()
}

/// Makes a case; its numbers are drawn, so the same case can be told again with others.
///
/// # Errors
/// [`UnknownCase`] where the stage's channel has no case of this name.
pub fn case(name: &str, stage: &Stage, draw: &mut Draw) -> Result<Case, UnknownCase> {
    let channel = stage.channel;
    let found =
        stories::ALL.iter().find(|story| story.name == name && story.channels.contains(&channel));
    let story = found.ok_or_else(|| UnknownCase {
        name: name.chars().take(40).collect(),
        channel: channel.name(),
        known: told_on(channel).map(|(name, _)| name).collect::<Vec<_>>().join(", "),
    })?;
    let steps = (story.tell)(stage, draw);
    Ok(Case { name: story.name, about: story.about, channel, steps })
}

/// Makes every case that makes sense for a stage.
#[must_use]
pub fn all(stage: &Stage, draw: &mut Draw) -> Vec<Case> {
    told_on(stage.channel).filter_map(|(name, _)| case(name, stage, draw).ok()).collect()
}

/// A name that is no case of a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{channel} has no case `{name}`, expected one of {known}")]
pub struct UnknownCase {
    name: String,
    channel: &'static str,
    known: String,
}

/// The state of an order that waits for its payment.
pub const TO_BE_PAID: &str = "TO_BE_PAID";
/// The state of a paid order.
pub const TO_BE_DELIVERED: &str = "TO_BE_DELIVERED";
/// The state of an order that was given up before it was paid.
pub const CLOSED: &str = "CLOSED";
/// The state of an order of which a part went back.
pub const REFUNDING: &str = "REFUNDING";
/// The state of an order of which everything went back.
pub const REFUNDED: &str = "REFUNDED";

/// Long enough that a refund told at once lies in the past as well.
const SINCE_PAID_MS: i64 = 10_000;

#[cfg(test)]
mod tests;
