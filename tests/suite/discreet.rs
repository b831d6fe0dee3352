//! What must not show: keys, tokens, signatures, bodies, and who paid.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate::config::{Config, Layers};
use callgate_trigger::channel::Channel;
use callgate_trigger::keys::Keys;
use callgate_trigger::message::Sending;
use serde_json::json;

use crate::house::{House, OPERATOR, TOKEN, keys, now, stage};
use crate::reload::{
    callback, configuration, count_when, folder_of, house, logged, operate, wechat, write,
};

#[tokio::test]
async fn the_log_holds_no_secret_no_body_and_nobody() {
    let Some(house) = House::start_set(&["log.filter=trace", "log.format=json"]) else { return };
    let mut hidden = vec![TOKEN.to_owned(), OPERATOR.to_owned()];
    for file in keys().0.files().expect("key files") {
        if file.name.ends_with(".key") {
            hidden.push(file.content.trim().to_owned());
        } else if file.name.ends_with(".key.pem") {
            hidden.extend(file.content.lines().nth(1).map(str::to_owned));
        }
    }
    for channel in Channel::ALL {
        let (stage, mut draw) = stage(channel);
        let purchase = stage.purchase(&mut draw);
        let order = stage.order(&purchase);
        let body = json!({ "amount_minor": order.amount.minor, "currency": "CNY",
            "state": order.state, "body": { "note": "free text of the shop" } });
        assert_eq!(house.put_order(&order.order_no, &body).await.0, 201);
        let notice = stage.payment(&purchase, &mut draw);
        let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
        assert_eq!(house.send(&message).await.0, 200);
        house.order_when(&order.order_no, |order| order["state"] == "TO_BE_DELIVERED").await;
        hidden.push(purchase.payer.clone());
        hidden.extend(message.header("Wechatpay-Signature").map(str::to_owned));
        hidden.push(String::from_utf8_lossy(&message.body).into_owned());
    }
    hidden.push("free text of the shop".to_owned());
    let log = house.log_when(|log| log.contains("callback stored")).await;
    for secret in hidden {
        assert!(!log.contains(&secret), "the log shows {secret}");
    }
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        assert!(line["level"].is_string(), "{line}");
    }
}

/// Whatever of a key file is secret: each long line of it, and the whole.
fn secrets_of(keys: &Keys) -> Vec<String> {
    let mut hidden = Vec::new();
    for file in keys.files().expect("key files") {
        if file.name.ends_with(".key") {
            hidden.push(file.content.trim().to_owned());
        } else if file.name.ends_with(".key.pem") {
            let lines = file.content.lines().filter(|line| !line.starts_with("-----"));
            let solid: String = lines.clone().collect();
            let der = STANDARD.decode(solid).expect("base64");
            // As text, and as bytes would be printed; the head of every key is the same.
            hidden.extend(lines.skip(2).filter(|line| line.len() > 40).map(str::to_owned));
            let (_, behind) = der.split_at(der.len() / 2);
            let middle = &behind[..24];
            hidden.push(format!("{middle:?}").trim_matches(['[', ']']).to_owned());
            hidden.push(middle.iter().map(|byte| format!("{byte:02x}")).collect());
        }
    }
    hidden
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story: every place where a secret could show")]
async fn reloads_questions_and_refusals_show_no_secret_at_any_level() {
    let (keys, _) = keys();
    // Nobody listens there: the question is made, signed and goes nowhere.
    let channel = format!(
        "{}api_v3_key_file = \"keys/old-wechat-v3-api.key\"\n\
         previous_api_v3_key_file = \"keys/old-stranger-api.key\"\n\
         platform_certificate_files = [\"keys/old-wechat-v3-platform.crt.pem\"]\n\
         fetch_certificates = true\nask = {{ allow_private = true }}\n\
         [channels.wechat-v3-main.inquiry]\n\
         base_url = \"http://127.0.0.1:1\"\nmerchant_serial = \"AB12\"\n\
         merchant_private_key_file = \"keys/old-wechat-v3-platform.key.pem\"\n\
         [channels.wechat-v2-main]\ngateway = \"wechat-v2\"\nbusiness = \"PRODUCT_ORDER\"\n\
         scene = \"WE_CHAT_PAY\"\nmerchant_id = \"1900000001\"\napplication_ids = [\"wx1\"]\n\
         api_key_file = \"keys/old-wechat-v2-api.key\"\n\
         [channels.alipay-main]\ngateway = \"alipay\"\nbusiness = \"PRODUCT_ORDER\"\n\
         scene = \"ALI_PAY\"\napplication_ids = [\"2021000000000001\"]\n\
         public_key_file = \"keys/old-alipay.pub.pem\"\n[channels.alipay-main.inquiry]\n\
         application_private_key_file = \"keys/old-alipay.key.pem\"\n",
        wechat(keys, "")
    );
    let sink = "[sinks.erp]\nkind = \"http\"\nurl = \"http://127.0.0.1:1/\"\ntopics = [\"*\"]\n\
                allow_private = true\nsecret = \"whsec_c2VzYW1lLXNlc2FtZS1zZXNhbWUtc2VzYW1lLTEy\"\n";
    let settings = format!(
        "[reload]\nwatch_ms = 100\n[keys]\nlook_ms = 100\n\
         fetch_again_ms = 1000\n[log]\nfilter = \"trace\"\n{sink}"
    );
    let text = configuration(OPERATOR, &channel, &settings);
    let house = house(keys, &text, &[]);
    let mut hidden = secrets_of(keys);
    hidden.extend([TOKEN, OPERATOR, "whsec_c2Vz", "sesame-sesame"].map(str::to_owned));
    assert!(hidden.len() > 40, "{}", hidden.len());

    // A callback that is taken, and some that are refused.
    let message = callback(keys);
    assert_eq!(house.send(&message).await.0, 200);
    hidden.extend(message.header("Wechatpay-Signature").map(str::to_owned));
    let mut forged = message.clone();
    forged.body.push(b' ');
    assert_eq!(house.send(&forged).await.0, 401);
    for (name, value) in &mut forged.headers {
        if name == "Wechatpay-Serial" {
            *value = "0BADBAD".to_owned();
        }
    }
    assert_eq!(house.send(&forged).await.0, 401);
    let unreachable = "callgate_certificates_asked_total{channel=\"wechat-v3-main\",\
                       outcome=\"certificates.unreachable\"}";
    count_when(&house, unreachable, 2).await;

    // A secret in the place of something else: in the place of a certificate, of a number, of a
    // word, of the whole file.
    let secret = secrets_of(keys).into_iter().find(|text| text.len() == 32).expect("an API key");
    let key_file = folder_of(&house).join("keys/old-wechat-v3-platform.key.pem");
    let private = std::fs::read_to_string(key_file).expect("a key file");
    let certificates = "\"keys/old-wechat-v3-platform.crt.pem\"";
    for wrong in [
        text.replace(certificates, "\"keys/old-wechat-v3-platform.key.pem\""),
        text.replace(certificates, "\"keys/old-wechat-v3-api.key\""),
        text.replace(
            "merchant_serial = \"AB12\"",
            "merchant_serial_file = \"keys/old-stranger.key.pem\"",
        ),
        text.replace("watch_ms = 100", &format!("watch_ms = \"{secret}\"")),
        text.replace("look_ms = 100", "fetch_every_ms = 1"),
        private,
        text.replace("[log]", &format!("[log]\n{secret}")),
        format!("{text}\n{secret} = 1"),
    ] {
        write(&house.configuration(), &wrong);
        let said = operate(&house, &["reload"]);
        assert!(!said.status.success(), "{wrong}");
        shows_nothing(&hidden, "an answer", &String::from_utf8_lossy(&said.stderr));
    }
    write(&house.configuration(), &text);
    let said = operate(&house, &["reload"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said = operate(&house, &["--json", "keys"]);
    shows_nothing(&hidden, "the list of keys", &String::from_utf8_lossy(&said.stdout));
    let metrics = house.http.get(format!("{}/metrics", house.private)).bearer_auth(OPERATOR);
    let metrics = metrics.send().await.expect("metrics").text().await.expect("text");
    shows_nothing(&hidden, "the metrics", &metrics);

    let layers = Layers { file: Some(house.configuration()), ..Layers::default() };
    let config = Config::load(&layers).expect("the configuration");
    shows_nothing(&hidden, "Debug of the configuration", &format!("{config:?} {config:#?}"));
    for words in ["configuration not taken", "configuration read again", "callback refused"] {
        logged(&house, words).await;
    }
    let log = house.log();
    shows_nothing(&hidden, "the log", &log);
    let command = std::fs::read(format!("/proc/{}/cmdline", house.id())).expect("a process");
    shows_nothing(&hidden, "the command line", &String::from_utf8_lossy(&command));
}

fn shows_nothing(hidden: &[String], what: &str, text: &str) {
    for secret in hidden {
        if let Some(place) = text.find(secret.as_str()) {
            let before: String = text[..place].chars().rev().take(300).collect();
            let before: String = before.chars().rev().collect();
            panic!("{what} shows {secret} behind {before}");
        }
    }
}
