//! The configuration is read again while callbacks come: keys and tokens change, and what is wrong
//! changes nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use callgate::inbound::tokens::hash_text;
use callgate_trigger::channel::Channel;
use callgate_trigger::keys::Keys;
use callgate_trigger::message::{Message, Notice, Sending};
use callgate_trigger::wechat_v3::KeyMode;
use serde_json::Value;
use tempfile::TempDir;

use crate::house::{House, OPERATOR, TOKEN, binary, keys, now, stage};

/// Keys of one owner as files of a folder, each with a beginning to its name.
pub(crate) fn write_keys(folder: &Path, prefix: &str, keys: &Keys) {
    fs::create_dir_all(folder.join("keys")).expect("a folder for keys");
    for file in keys.files().expect("key files") {
        write(&folder.join("keys").join(format!("{prefix}{}", file.name)), &file.content);
    }
}

/// Puts a file in the place of another, as an editor or a deployment does.
pub(crate) fn write(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).expect("a file is written");
    fs::rename(&next, path).expect("it takes the place");
}

/// A configuration without plugins: callbacks are stored and answered, which is what is looked at.
pub(crate) fn configuration(operator: &str, channels: &str, more: &str) -> String {
    format!(
        "[public]\nlisten = \"127.0.0.1:0\"\n[private]\nlisten = \"127.0.0.1:0\"\n\
         [operator]\ntoken_sha256 = [\"{}\"]\n[businesses.PRODUCT_ORDER]\ntoken_sha256 = [\"{}\"]\n\
         {more}\n{channels}",
        hash_text(operator),
        hash_text(TOKEN),
    )
}

/// The WeChat channel with these certificates and APIv3 keys.
pub(crate) fn wechat(keys: &Keys, more: &str) -> String {
    format!(
        "[channels.wechat-v3-main]\ngateway = \"wechat-v3\"\nbusiness = \"PRODUCT_ORDER\"\n\
         scene = \"WE_CHAT_PAY\"\nmerchant_id = {:?}\napplication_ids = [{:?}]\n{more}\n",
        keys.accounts.wechat_merchant_id, keys.accounts.wechat_application_id,
    )
}

/// A callback under the platform certificate of these keys.
pub(crate) fn callback(keys: &Keys) -> Message {
    let (stage, mut draw) = stage(Channel::WechatV3Main);
    let purchase = stage.purchase(&mut draw);
    let Notice::WechatV3(notice) = stage.payment(&purchase, &mut draw) else {
        panic!("a notice of WeChat's");
    };
    let notice = Notice::WechatV3(notice.signed_by(KeyMode::Certificate));
    notice.sign(keys, Sending::genuine(now()), &mut draw).expect("a callback")
}

/// A house with a configuration of its own and the keys of `old` beside it.
pub(crate) fn house(old: &Keys, text: &str, others: &[(&str, &Keys)]) -> House {
    let folder = TempDir::new().expect("a folder");
    write_keys(folder.path(), "old-", old);
    for (prefix, keys) in others {
        write_keys(folder.path(), prefix, keys);
    }
    fs::write(folder.path().join("callgate.toml"), text).expect("the configuration");
    House::start_in(folder)
}

pub(crate) fn folder_of(house: &House) -> std::path::PathBuf {
    house.configuration().parent().expect("a folder").to_path_buf()
}

/// Looks until a count is reached.
pub(crate) async fn count_when(house: &House, line: &str, least: u64) {
    for _ in 0..1500 {
        if house.metric(line).await >= least {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{line} never came to {least}:\n{}", house.log());
}

/// Looks until the log, which is written by a thread of its own, says something.
pub(crate) async fn logged(house: &House, words: &str) {
    for _ in 0..1500 {
        if house.log().contains(words) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the log never says `{words}`:\n{}", house.log());
}

pub(crate) fn operate(house: &House, words: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("operate").args(words).env("CALLGATE_OPERATOR_URL", &house.private);
    command.env("CALLGATE_OPERATOR_TOKEN", OPERATOR).output().expect("the binary runs")
}

fn hang_up(house: &House) {
    let id = house.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &id]).status().expect("kill runs").success());
}

const DONE: &str = "callgate_reloads_total{outcome=\"done\"}";
const REFUSED: &str = "callgate_reloads_total{outcome=\"refused\"}";

/// Posts callbacks until it is told to stop, each of which must be taken.
async fn stream(
    house: Arc<House>,
    signers: Vec<Arc<Keys>>,
    (posted, stop): (Arc<AtomicU32>, Arc<AtomicBool>),
) {
    while !stop.load(Ordering::SeqCst) {
        for keys in &signers {
            let (status, body) = house.send(&callback(keys)).await;
            assert_eq!(status, 200, "{body}\n{}", house.log());
            posted.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Does something while callbacks come; at least so many before and after it.
async fn under_load(house: &Arc<House>, signers: &[&Arc<Keys>], work: impl AsyncFnOnce()) {
    let (posted, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let streams: Vec<_> = (0..4)
        .map(|_| {
            let signers = signers.iter().map(|keys| Arc::clone(keys)).collect();
            let hand = (Arc::clone(&posted), Arc::clone(&stop));
            tokio::spawn(stream(Arc::clone(house), signers, hand))
        })
        .collect();
    let more = async |least: u32| {
        let begun = posted.load(Ordering::SeqCst);
        while posted.load(Ordering::SeqCst).saturating_sub(begun) < least
            && !streams.iter().any(tokio::task::JoinHandle::is_finished)
        {
            tokio::task::yield_now().await;
        }
    };
    more(20).await;
    work().await;
    more(20).await;
    stop.store(true, Ordering::SeqCst);
    for stream in streams {
        stream.await.expect("every callback was taken");
    }
}

fn generated() -> Arc<Keys> {
    Arc::new(Keys::generate(now()).expect("keys"))
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_change_under_load_and_no_callback_is_refused() {
    let (old, new) = (generated(), generated());
    let certificate = |prefix: &str| format!("\"keys/{prefix}wechat-v3-platform.crt.pem\"");
    let text = |prefixes: &[&str], api: &str, previous: &str| {
        let files: Vec<_> = prefixes.iter().map(|prefix| certificate(prefix)).collect();
        let channel = format!(
            "platform_certificate_files = [{}]\napi_v3_key_file = \"keys/{api}wechat-v3-api.key\"\n\
             {previous}",
            files.join(", ")
        );
        configuration(OPERATOR, &wechat(&old, &channel), "[reload]\nwatch_ms = 100\n")
    };
    let before = text(&["old-"], "old-", "");
    let previous = "previous_api_v3_key_file = \"keys/old-wechat-v3-api.key\"\n";
    let overlap = text(&["old-", "new-"], "new-", previous);
    let after = text(&["new-"], "new-", "");
    let house = Arc::new(house(&old, &before, &[("new-", &new)]));
    assert_eq!(house.send(&callback(&new)).await.0, 401);

    let (file, broken) = (house.configuration(), folder_of(&house).join("keys"));
    under_load(&house, &[&old], async || {
        write(&file, &overlap);
        count_when(&house, DONE, 1).await;
    })
    .await;
    under_load(&house, &[&old, &new], async || {
        // A file that is not whole, and one that is no key at all, put nothing out of force.
        let path = broken.join("new-wechat-v3-platform.crt.pem");
        let whole = fs::read_to_string(&path).expect("the certificate");
        for (text, least) in [(&whole[..whole.len() / 2], 1), ("sesame", 2)] {
            fs::write(&path, text).expect("written in place");
            count_when(&house, REFUSED, least).await;
        }
        let said = operate(&house, &["keys"]);
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("refused: config.key channels.wechat-v3-main"), "{said}");
        assert!(said.contains(&new.accounts.wechat_certificate_serial), "{said}");
        assert!(house.metric("callgate_reload_refused 1").await == 1, "{}", house.log());
        write(&path, &whole);
        count_when(&house, DONE, 2).await;
        assert!(house.metric("callgate_reload_refused").await == 0);
    })
    .await;
    under_load(&house, &[&new], async || {
        write(&file, &after);
        count_when(&house, DONE, 3).await;
    })
    .await;
    assert_eq!(house.send(&callback(&old)).await.0, 401, "its certificate is out of force");
    let code = "callgate_callbacks_total{channel=\"wechat-v3-main\",outcome=\"refused\",\
                code=\"gateway.key-unknown\"}";
    assert_eq!(house.metric(code).await, 2, "none but the two that had to be");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_changes_tokens_and_what_has_to_wait_is_named() {
    let (old, _) = keys();
    let channel = "platform_certificate_files = [\"keys/old-wechat-v3-platform.crt.pem\"]\n\
                   api_v3_key_file = \"keys/old-wechat-v3-api.key\"\n";
    let text = |operator: &str, more: &str| {
        configuration(operator, &wechat(old, channel), &format!("[reload]\nwatch_ms = 0\n{more}"))
    };
    let house = house(old, &text(OPERATOR, ""), &[]);
    let metrics = async |token: &str| {
        let request = house.http.get(format!("{}/metrics", house.private)).bearer_auth(token);
        request.send().await.expect("an answer").status().as_u16()
    };
    let named = format!("[operators.ada]\ntoken_sha256 = [\"{}\"]\n", hash_text("ada-token"));
    write(&house.configuration(), &text(OPERATOR, &format!("{named}[engine]\nworkers = 3\n")));
    assert_eq!((metrics(OPERATOR).await, metrics("ada-token").await), (200, 401));
    hang_up(&house);
    count_when(&house, DONE, 1).await;
    assert_eq!((metrics(OPERATOR).await, metrics("ada-token").await), (200, 200));
    logged(&house, "engine.workers").await;

    // The same again, by hand: what waits is named until the next start.
    let said = operate(&house, &["reload"]);
    let shown = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success() && shown.contains("engine.workers"), "{shown}");

    write(&house.configuration(), &text("another", &named));
    hang_up(&house);
    for _ in 0..1500 {
        if metrics(OPERATOR).await == 401 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!((metrics(OPERATOR).await, metrics("another").await), (401, 200));
    assert!(house.stop());
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a list of mistakes, each with what is said of it")]
async fn each_mistake_has_a_code_of_its_own_and_changes_nothing() {
    let (old, _) = keys();
    let good = "platform_certificate_files = [\"keys/old-wechat-v3-platform.crt.pem\"]\n\
                api_v3_key_file = \"keys/old-wechat-v3-api.key\"\n";
    let watch = "[reload]\nwatch_ms = 0\n";
    let house = house(old, &configuration(OPERATOR, &wechat(old, good), watch), &[]);
    let alipay = |more: &str| {
        format!(
            "[channels.alipay-cert]\ngateway = \"alipay\"\nbusiness = \"PRODUCT_ORDER\"\n\
             scene = \"ALI_PAY\"\napplication_ids = [\"2021000000000001\"]\n{more}\n"
        )
    };
    let own = |more: &str| {
        let inquiry = "[channels.wechat-v3-main.inquiry]\n\
                       merchant_private_key_file = \"keys/old-wechat-v3-platform.key.pem\"\n";
        wechat(old, &format!("{good}{inquiry}{more}"))
    };
    let serial = &old.accounts.wechat_certificate_serial;
    let api = |file: &str| good.replace("keys/old-wechat-v3-api.key", file);
    let cases = [
        (wechat(old, &api("keys/old-wechat-v3-platform.crt.pem")), "config.key", "api_v3_key"),
        (wechat(old, &api("keys/nowhere.key")), "config.file", "nowhere.key"),
        (
            wechat(old, &good.replace("platform.crt.pem", "api.key")),
            "config.key",
            "platform_certificates[0]",
        ),
        (
            alipay(
                "certificate_files = [\"keys/old-alipay-certificate.crt.pem\"]\n\
                 root_certificate_file = \"keys/old-wechat-v3-platform.crt.pem\"",
            ),
            "config.chain",
            "root_certificate",
        ),
        (
            own(&format!(
                "merchant_serial = \"{}\"\n\
                 merchant_certificate_file = \"keys/old-wechat-v3-platform.crt.pem\"",
                "AB12"
            )),
            "config.serial",
            "AB12",
        ),
        (
            own(&format!(
                "merchant_serial = \"{serial}\"\n\
                 merchant_certificate_file = \"keys/old-wechat-v3-platform.crt.pem\""
            ))
            .replace("old-wechat-v3-platform.key.pem", "old-stranger.key.pem"),
            "config.pair",
            "merchant_private_key",
        ),
        ("[channels".to_owned(), "config.syntax", "line"),
    ];
    for (channels, code, word) in cases {
        write(&house.configuration(), &configuration(OPERATOR, &channels, watch));
        let said = operate(&house, &["reload"]);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.status.success(), "{code}");
        assert!(text.contains(code) && text.contains(word), "expected {code} and {word}: {text}");
        logged(&house, code).await;
        assert_eq!(house.send(&callback(old)).await.0, 200, "{code}: the old key stays in use");
        let check = Command::new(binary())
            .args(["check", "--config"])
            .arg(house.configuration())
            .output()
            .expect("the binary runs");
        let text = String::from_utf8_lossy(&check.stderr).into_owned();
        assert!(!check.status.success() && text.contains(code), "{text}");
    }
    let secret = fs::read_to_string(folder_of(&house).join("keys/old-wechat-v3-api.key"));
    assert!(!house.log().contains(secret.expect("a key").trim()), "no secret in the log");
}

/// Reads an answer of the operator calls.
pub(crate) async fn shown(house: &House, path: &str) -> Value {
    let url = format!("{}/operator/{path}", house.private);
    let request = house.http.get(url).bearer_auth(OPERATOR);
    request.send().await.expect("an answer").json().await.expect("JSON")
}
