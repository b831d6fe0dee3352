//! What is not believed: the gateway's own words of failure, a counted reason, one line, no row.

use callgate_trigger::channel::Channel;
use callgate_trigger::message::{Flaw, Sending};

use crate::house::{House, keys, now, stage};

/// Posts one message with each flaw that the channel's gateway can have.
async fn each_flaw(channel: Channel, flaws: &[Flaw]) {
    let Some(house) = House::start() else { return };
    let (stage, mut draw) = stage(channel);
    let purchase = stage.purchase(&mut draw);
    for flaw in flaws {
        let code = flaw.refusal(channel.gateway()).expect("this gateway can have the flaw");
        let counted = format!(
            "callgate_callbacks_total{{channel=\"{}\",outcome=\"refused\",code=\"{code}\"}}",
            channel.name()
        );
        let before = house.metric(&counted).await;
        let notice = stage.payment(&purchase, &mut draw);
        let message =
            notice.sign(keys().0, Sending::flawed(now(), *flaw), &mut draw).expect("a message");
        let (status, body) = house.send(&message).await;
        let answer = callgate_trigger::answer::Answer {
            status,
            content_type: Some("application/json"),
            body: body.as_bytes(),
        };
        let met = callgate_trigger::answer::meets(message.expect, channel.gateway(), answer);
        assert_eq!(met, Ok(()), "{flaw:?}: {status} {body}");
        let after = house.metric(&counted).await;
        assert_eq!(after, before.saturating_add(1), "{flaw:?}");
    }
    assert_eq!(house.rows().await, 0, "a refused callback left an open row");
    let heard = house.heard_of(&purchase.order_no).await;
    assert!(heard.is_empty(), "a refused callback left a row: {heard:?}");
    let refused = |log: &str| log.matches("callback refused").count();
    let log = house.log_when(|log| refused(log) >= flaws.len()).await;
    assert_eq!(refused(&log), flaws.len(), "{log}");
    assert!(!log.contains(&purchase.order_no), "a refused callback's content is in the log");
}

#[tokio::test]
async fn flawed_callbacks_of_wechat_v3_leave_no_row() {
    let flaws = [
        Flaw::Stale,
        Flaw::Ahead,
        Flaw::FlippedBit,
        Flaw::WrongKey,
        Flaw::UnknownSerial,
        Flaw::WeakAlgorithm,
        Flaw::BadTag,
        Flaw::Probe,
        Flaw::RepeatedHeader,
        Flaw::MissingHeader,
    ];
    each_flaw(Channel::WechatV3Main, &flaws).await;
}

#[tokio::test]
async fn flawed_callbacks_of_wechat_v2_leave_no_row() {
    let flaws = [Flaw::FlippedBit, Flaw::WrongKey, Flaw::RepeatedField, Flaw::ExternalEntity];
    each_flaw(Channel::WechatV2Main, &flaws).await;
}

#[tokio::test]
async fn a_weaker_signature_than_the_channel_wants_leaves_no_row() {
    each_flaw(Channel::WechatV2Hmac, &[Flaw::WeakAlgorithm]).await;
}

#[tokio::test]
async fn flawed_callbacks_of_alipay_leave_no_row() {
    let flaws = [
        Flaw::FlippedBit,
        Flaw::WrongKey,
        Flaw::WeakAlgorithm,
        Flaw::RepeatedField,
        Flaw::BrowserReturn,
    ];
    each_flaw(Channel::AlipayMain, &flaws).await;
}
