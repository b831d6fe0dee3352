//! Every case: its name, what it shows, for which gateways, and its steps.

use super::{
    CLOSED, Expected, Order, Post, REFUNDED, REFUNDING, Stage, Step, TO_BE_DELIVERED, TO_BE_PAID,
};
use crate::burst::Burst;
use crate::channel::Channel;
use crate::draw::Draw;
use crate::message::{Flaw, Notice, other_last};
use crate::purchase::{Part, Purchase, Refund, RefundResult};
use crate::{alipay, wechat_v3};

pub(super) struct Story {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) channels: &'static [Channel],
    pub(super) tell: fn(&Stage, &mut Draw) -> Vec<Step>,
}

pub(super) const ALL: [Story; 31] = [
    story("payment", "an order is paid", EVERY, payment),
    story("certificate", "a payment signed by the platform certificate", V3, certificate),
    story("gbk", "a payment told in GBK", ALIPAY, gbk),
    story("combined", "one payment of three orders", V3, combined),
    story("refund", "half of it goes back, then the rest", EVERY, refund),
    story("refund-abnormal", "the payer's bank refuses a refund", WECHAT, refund_abnormal),
    story("late-part", "a part of a refund told after the whole", ALIPAY, late_part),
    story("closed", "nobody paid and the gateway gave up", CLOSING, closed),
    story("duplicate", "the same notice three times", EVERY, duplicate),
    story("reordered", "the refund arrives before the payment", EVERY, reordered),
    story("before-order", "the payment arrives before the order is known", EVERY, before_order),
    story("closed-then-paid", "a payment for an order that was closed", EVERY, closed_then_paid),
    story("paid-twice", "two payments of one order", EVERY, paid_twice),
    story("wrong-amount", "a genuine payment of another amount", EVERY, wrong_amount),
    story("wrong-merchant", "a genuine payment to another merchant", EVERY, wrong_merchant),
    story("forged", "one bit flipped after signing", EVERY, |s, d| refused(s, d, Flaw::FlippedBit)),
    story("wrong-key", "signed with a key nobody configured", EVERY, |s, d| {
        refused(s, d, Flaw::WrongKey)
    }),
    story("weak-algorithm", "names an algorithm the channel does not allow", EVERY, |s, d| {
        refused(s, d, Flaw::WeakAlgorithm)
    }),
    story("late", "signed ten minutes ago", V3, |s, d| refused(s, d, Flaw::Stale)),
    story("ahead", "signed ten minutes from now", V3, |s, d| refused(s, d, Flaw::Ahead)),
    story("unknown-serial", "names a certificate nobody configured", NAMING, |s, d| {
        refused(s, d, Flaw::UnknownSerial)
    }),
    story("bad-tag", "rightly signed, but its resource does not decrypt", V3, |s, d| {
        refused_then_genuine(s, d, Flaw::BadTag)
    }),
    story(
        "probe",
        "the gateway tests us with a wrong signature, then sends the right one",
        V3,
        |s, d| refused_then_genuine(s, d, Flaw::Probe),
    ),
    story("repeated-header", "a signature header stands there twice", V3, |s, d| {
        refused(s, d, Flaw::RepeatedHeader)
    }),
    story("missing-header", "a header of the signature is absent", V3, |s, d| {
        refused(s, d, Flaw::MissingHeader)
    }),
    story("xxe", "XML that names a file of the host", V2, |s, d| {
        refused(s, d, Flaw::ExternalEntity)
    }),
    story("repeated-field", "a field stands there twice", LISTING, |s, d| {
        refused(s, d, Flaw::RepeatedField)
    }),
    story("foreign-refund", "a refund encrypted with another key", V2, foreign_refund),
    story("browser-return", "the browser's return posted as a notice", ALIPAY, |s, d| {
        refused(s, d, Flaw::BrowserReturn)
    }),
    story("finished", "a paid order can be refunded no more", ALIPAY, finished),
    story("burst", "100 orders, each payment told ten times, shuffled", EVERY, burst),
];

const fn story(
    name: &'static str,
    about: &'static str,
    channels: &'static [Channel],
    tell: fn(&Stage, &mut Draw) -> Vec<Step>,
) -> Story {
    Story { name, about, channels, tell }
}

fn payment(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let notice = stage.payment(&purchase, draw);
    vec![register(stage, &purchase), genuine(notice), paid(&purchase)]
}

fn certificate(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let notice = by_certificate(stage.payment(&purchase, draw));
    vec![register(stage, &purchase), genuine(notice), paid(&purchase)]
}

fn gbk(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let notice = match stage.payment(&purchase, draw) {
        Notice::Alipay(notice) => Notice::Alipay(notice.in_charset(alipay::Charset::Gbk)),
        other @ (Notice::WechatV3(_) | Notice::WechatV2(_)) => other,
    };
    vec![register(stage, &purchase), genuine(notice), paid(&purchase)]
}

fn combined(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchases = [stage.purchase(draw), stage.purchase(draw), stage.purchase(draw)];
    let number = format!("CGC{}", draw.digits(24));
    let notice = wechat_v3::Notice::combined(&stage.merchant, &number, &purchases, draw);
    let mut steps: Vec<Step> = purchases.iter().map(|part| register(stage, part)).collect();
    steps.push(genuine(Notice::WechatV3(notice)));
    steps.extend(purchases.iter().map(paid));
    steps
}

fn refund(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let total = purchase.amount.minor;
    let half = total.div_euclid(2);
    let first = purchase.partial_refund(Part { minor: half, already_minor: 0 }, draw);
    let rest = Part { minor: total.saturating_sub(half), already_minor: half };
    let second = purchase.partial_refund(rest, draw);
    vec![
        register(stage, &purchase),
        genuine(stage.payment(&purchase, draw)),
        paid(&purchase),
        genuine(stage.refund(&purchase, &first, draw)),
        expect(&purchase, (REFUNDING, &[PAID, REFUNDED_PART])),
        genuine(stage.refund(&purchase, &second, draw)),
        expect(&purchase, (REFUNDED, &[PAID, REFUNDED_PART, REFUNDED_WHOLE])),
    ]
}

fn refund_abnormal(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let refund = Refund { result: RefundResult::Abnormal, ..purchase.full_refund(draw) };
    vec![
        register(stage, &purchase),
        genuine(stage.payment(&purchase, draw)),
        paid(&purchase),
        genuine(stage.refund(&purchase, &refund, draw)),
        expect(&purchase, (TO_BE_DELIVERED, &[PAID, REFUND_ABNORMAL])),
    ]
}

fn late_part(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let half = purchase.amount.minor.div_euclid(2);
    let part = purchase.partial_refund(Part { minor: half, already_minor: 0 }, draw);
    let rest = purchase.amount.minor.saturating_sub(half);
    let whole = purchase.partial_refund(Part { minor: rest, already_minor: half }, draw);
    vec![
        register(stage, &purchase),
        genuine(stage.payment(&purchase, draw)),
        paid(&purchase),
        genuine(stage.refund(&purchase, &whole, draw)),
        expect(&purchase, (REFUNDED, &[PAID, REFUNDED_WHOLE])),
        genuine(stage.refund(&purchase, &part, draw)),
        expect(&purchase, (REFUNDED, &[PAID, REFUNDED_WHOLE])),
    ]
}

fn closed(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let mut steps = vec![register(stage, &purchase)];
    steps.extend(stage.payment_closed(&purchase, draw).map(genuine));
    steps.push(expect(&purchase, (CLOSED, &[GIVEN_UP])));
    steps
}

fn duplicate(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let notice = stage.payment(&purchase, draw);
    vec![
        register(stage, &purchase),
        genuine(notice.clone()),
        // In the days of a key migration a repeat can be signed by the other key.
        genuine(by_certificate(notice.clone())),
        paid(&purchase),
        genuine(notice),
        paid(&purchase),
    ]
}

fn reordered(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let refund = purchase.full_refund(draw);
    vec![
        register(stage, &purchase),
        genuine(stage.refund(&purchase, &refund, draw)),
        expect(&purchase, (TO_BE_PAID, &[])),
        genuine(stage.payment(&purchase, draw)),
        expect(&purchase, (REFUNDED, &[PAID, REFUNDED_WHOLE])),
    ]
}

fn before_order(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let notice = stage.payment(&purchase, draw);
    let unknown = Expected {
        order_no: purchase.order_no.clone(),
        state: None,
        events: Vec::new(),
        review: None,
    };
    vec![genuine(notice), Step::Expect(unknown), register(stage, &purchase), paid(&purchase)]
}

fn closed_then_paid(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let notice = stage.payment(&purchase, draw);
    vec![
        Step::Register(Order { state: CLOSED, ..stage.order(&purchase) }),
        genuine(notice),
        expect(&purchase, (CLOSED, &[PAID_AFTER_CLOSE])),
    ]
}

fn paid_twice(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let other = stage.purchase(draw);
    let again = Purchase { transaction_id: other.transaction_id, ..purchase.clone() };
    vec![
        register(stage, &purchase),
        genuine(stage.payment(&purchase, draw)),
        paid(&purchase),
        genuine(stage.payment(&again, draw)),
        expect(&purchase, (TO_BE_DELIVERED, &[PAID, PAID_TWICE])),
    ]
}

fn wrong_amount(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let mut paid = purchase.clone();
    paid.amount.minor = paid.amount.minor.saturating_sub(1);
    let notice = stage.payment(&paid, draw);
    vec![register(stage, &purchase), genuine(notice), review(&purchase, "order.amount-mismatch")]
}

fn wrong_merchant(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let mut other = stage.clone();
    other.merchant.merchant_id = other_last(&other.merchant.merchant_id);
    let notice = other.payment(&purchase, draw);
    vec![register(stage, &purchase), genuine(notice), review(&purchase, "order.merchant-mismatch")]
}

fn refused(stage: &Stage, draw: &mut Draw, flaw: Flaw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let notice = stage.payment(&purchase, draw);
    vec![register(stage, &purchase), flawed(notice, flaw), expect(&purchase, (TO_BE_PAID, &[]))]
}

/// What was refused must not stand in the way of the genuine message with the same id.
fn refused_then_genuine(stage: &Stage, draw: &mut Draw, flaw: Flaw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let notice = stage.payment(&purchase, draw);
    vec![
        register(stage, &purchase),
        flawed(notice.clone(), flaw),
        expect(&purchase, (TO_BE_PAID, &[])),
        genuine(notice),
        paid(&purchase),
    ]
}

fn foreign_refund(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let refund = purchase.full_refund(draw);
    vec![
        register(stage, &purchase),
        genuine(stage.payment(&purchase, draw)),
        paid(&purchase),
        flawed(stage.refund(&purchase, &refund, draw), Flaw::WrongKey),
        paid(&purchase),
    ]
}

fn finished(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let purchase = stage.purchase(draw);
    let finished = alipay::Notice::payment_finished(&stage.merchant, &purchase, draw);
    let finished = finished.signed_by(stage.alipay_mode());
    vec![
        register(stage, &purchase),
        genuine(stage.payment(&purchase, draw)),
        paid(&purchase),
        genuine(Notice::Alipay(finished)),
        paid(&purchase),
    ]
}

fn burst(stage: &Stage, draw: &mut Draw) -> Vec<Step> {
    let seed = draw.number();
    vec![Step::Burst(Burst { stage: stage.clone(), seed, orders: 100, deliveries: 10 })]
}

fn by_certificate(notice: Notice) -> Notice {
    match notice {
        Notice::WechatV3(notice) => {
            Notice::WechatV3(notice.signed_by(wechat_v3::KeyMode::Certificate))
        }
        other @ (Notice::WechatV2(_) | Notice::Alipay(_)) => other,
    }
}

fn register(stage: &Stage, purchase: &Purchase) -> Step {
    Step::Register(stage.order(purchase))
}

fn genuine(notice: Notice) -> Step {
    Step::Post(Post { notice, flaw: None })
}

fn flawed(notice: Notice, flaw: Flaw) -> Step {
    Step::Post(Post { notice, flaw: Some(flaw) })
}

fn paid(purchase: &Purchase) -> Step {
    expect(purchase, (TO_BE_DELIVERED, &[PAID]))
}

fn expect(purchase: &Purchase, (state, events): (&'static str, &[&'static str])) -> Step {
    Step::Expect(Expected {
        order_no: purchase.order_no.clone(),
        state: Some(state),
        events: events.to_vec(),
        review: None,
    })
}

fn review(purchase: &Purchase, reason: &'static str) -> Step {
    Step::Expect(Expected {
        order_no: purchase.order_no.clone(),
        state: Some(TO_BE_PAID),
        events: Vec::new(),
        review: Some(reason),
    })
}

const EVERY: &[Channel] = &Channel::ALL;
const V3: &[Channel] = &[Channel::WechatV3Main];
const V2: &[Channel] = &[Channel::WechatV2Main, Channel::WechatV2Hmac];
const ALIPAY: &[Channel] = &[Channel::AlipayMain, Channel::AlipayCert];
/// The channels that tell what became of one refund, not the sum of all.
const WECHAT: &[Channel] = &[Channel::WechatV3Main, Channel::WechatV2Main, Channel::WechatV2Hmac];
/// The channels that tell of payments which can no longer succeed.
const CLOSING: &[Channel] = &[Channel::WechatV3Main, Channel::AlipayMain, Channel::AlipayCert];
/// The channels whose messages name the certificate that signed.
const NAMING: &[Channel] = &[Channel::WechatV3Main, Channel::AlipayCert];
/// The channels whose messages are lists of fields.
const LISTING: &[Channel] =
    &[Channel::WechatV2Main, Channel::WechatV2Hmac, Channel::AlipayMain, Channel::AlipayCert];

/// Events of the processors of this business (`plugins/order-payment`, `plugins/order-refund`).
const PAID: &str = "order.paid";
const PAID_TWICE: &str = "order.paid-twice";
const GIVEN_UP: &str = "order.closed";
const REFUND_ABNORMAL: &str = "order.refund-abnormal";
const PAID_AFTER_CLOSE: &str = "order.paid-after-close";
const REFUNDED_PART: &str = "order.refunded-in-part";
const REFUNDED_WHOLE: &str = "order.refunded";
