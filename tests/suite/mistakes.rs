//! Files that hold no key, certificates that do not belong together, secrets that are none: each has a
//! reason code of its own, at the start, where it is checked and at a reload, and what works stays in use.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::house::{House, callgate, keys, write_configuration};
use crate::https::authority::{Authority, tls_toml};
use crate::https::client::{Terms, notice, post, success};
use crate::reload::{folder_of, logged, operate, shown};

/// What is wrong, and what is to be said of it.
struct Mistake {
    toml: String,
    code: &'static str,
    key: &'static str,
    /// What the text says besides: what was expected, or what to do; and which file it is.
    words: [&'static str; 2],
}

/// A file with something in it; its path, quoted.
fn file(folder: &Path, name: &str, text: &str) -> String {
    fs::write(folder.join(name), text).expect("a file");
    format!("{:?}", folder.join(name).display().to_string())
}

fn listener(folder: &Path, good: &Authority) -> Vec<Mistake> {
    let other = Authority::new();
    other.signs(folder, "other", "localhost");
    good.dated(folder, ("ended", "localhost"), (2020, 2021));
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a file");
    fs::write(folder.join("garbage.key"), "sesame").expect("a file");
    fs::write(folder.join("garbage.pem"), read("server.pem")).expect("a file");
    fs::write(folder.join("stranger.key"), read("other.key")).expect("a file");
    fs::write(folder.join("stranger.pem"), read("server.pem")).expect("a file");
    let chain = format!("{}{}", read("server.pem"), other.pem());
    fs::write(folder.join("chain.pem"), chain).expect("a file");
    fs::write(folder.join("chain.key"), read("server.key")).expect("a file");
    let whole = read("server.pem");
    fs::write(folder.join("half.pem"), &whole[..whole.len() / 2]).expect("a file");
    fs::write(folder.join("half.key"), read("server.key")).expect("a file");
    let of = |name: &'static str, code, key, words| {
        let toml = tls_toml(folder, name);
        Mistake { toml, code, key, words: [words, name] }
    };
    vec![
        of("garbage", "config.key", "public.tls.key_file", "expected PEM"),
        of("half", "config.key", "public.tls.certificate_file", "half.pem"),
        of("stranger", "config.pair", "public.tls.key_file", "renewed without the other"),
        of(
            "chain",
            "config.chain",
            "public.tls.certificate_file",
            "expected the server's own first",
        ),
        of("ended", "config.ended", "public.tls.certificate_file", "renew it"),
        of("absent", "config.file", "public.tls.certificate_file", "cannot be read"),
    ]
}

fn outside(folder: &Path) -> Vec<Mistake> {
    let garbage = file(folder, "garbage", "sesame-sesame-sesame");
    let bell = file(folder, "bell", "Bearer sesame\u{7}");
    let whsec = format!("{:?}", crate::sinks::secret(b'a'));
    let sink = "[sinks.erp]\nkind = \"http\"\nurl = \"https://erp.example/\"\ntopics = [\"*\"]\n";
    let crm = "[endpoints.crm]\nbase_url = \"https://crm.example\"\nmethods = [\"GET\"]\n";
    let duty = "[alerts.webhooks.duty]\nkind = \"json\"\nurl = \"https://duty.example/\"\n";
    let key = |toml: String, key, words| {
        let file = if key == "endpoints.crm.headers" { "/bell" } else { "/garbage" };
        Mistake { toml, code: "config.key", key, words: [words, file] }
    };
    vec![
        key(format!("{sink}secret_file = {garbage}\n"), "sinks.erp.secret", "whsec_"),
        key(
            format!("{sink}secret = {whsec}\nca_file = {garbage}\n"),
            "sinks.erp.ca",
            "expected one at least, in PEM",
        ),
        key(format!("{crm}ca_file = {garbage}\n"), "endpoints.crm.ca", "expected one at least"),
        key(
            format!("{crm}[endpoints.crm.headers]\nauthorization_file = {bell}\n"),
            "endpoints.crm.headers",
            "`authorization` is no header that can be sent",
        ),
        key(format!("{duty}secret_file = {garbage}\n"), "alerts.webhooks.duty.secret", "whsec_"),
        key(
            format!(
                "[[businesses.PRODUCT_ORDER.status.keys]]\nid = \"k1\"\nsecret_file = {garbage}\n"
            ),
            "businesses.PRODUCT_ORDER.status.keys[0].secret",
            "expected 32 to 512 bytes",
        ),
        key(
            format!(
                "[[businesses.PRODUCT_ORDER.plugin_keys]]\nid = \"k1\"\n\
                 public_key_file = {garbage}\n"
            ),
            "businesses.PRODUCT_ORDER.plugin_keys[0].public_key",
            "expected",
        ),
    ]
}

/// Another channel.
fn second(gateway: &str, scene: &str, more: &str) -> String {
    format!(
        "[channels.second]\ngateway = {gateway:?}\nbusiness = \"PRODUCT_ORDER\"\n\
         scene = {scene:?}\napplication_ids = [\"wx0000000000000001\"]\n{more}\n"
    )
}

fn channels(folder: &Path) -> Vec<Mistake> {
    let (_, keys) = keys();
    let named = |name: &str| format!("{:?}", keys.join(name).display().to_string());
    let garbage = file(folder, "garbage.api", "sesame");
    let whole = fs::read_to_string(keys.join("wechat-v3-platform.crt.pem")).expect("a file");
    let half = file(folder, "half-platform.pem", &whole[..whole.len() / 2]);
    let (api, platform) = (named("wechat-v3-api.key"), named("wechat-v3-platform.crt.pem"));
    let key = named("wechat-v3-platform.key.pem");
    let wechat = |api: &str, certificate: &str, more: &str| {
        let more = format!(
            "merchant_id = \"1900000001\"\napi_v3_key_file = {api}\n\
             platform_certificate_files = [{certificate}]\n{more}"
        );
        second("wechat-v3", "WE_CHAT_PAY", &more)
    };
    let alipay = |more: &str| second("alipay", "ALI_PAY", more);
    let foreign_root = format!(
        "certificate_files = [{}]\nroot_certificate_file = {platform}",
        named("alipay-certificate.crt.pem")
    );
    let inquiry = format!(
        "[channels.second.inquiry]\nmerchant_private_key_file = {key}\n\
         merchant_serial = \"AB12\"\nmerchant_certificate_file = {platform}"
    );
    let of = |toml, code, key, words| Mistake { toml, code, key, words };
    vec![
        of(
            wechat(&garbage, &platform, ""),
            "config.key",
            "channels.second.api_v3_key",
            ["expected exactly 32", "/garbage.api"],
        ),
        of(
            wechat(&api, &half, ""),
            "config.key",
            "channels.second.platform_certificates[0]",
            ["cut off", "/half-platform.pem"],
        ),
        of(
            alipay(&format!("public_key_file = {platform}")),
            "config.key",
            "channels.second.public_key",
            ["expected PUBLIC KEY", "/wechat-v3-platform.crt.pem"],
        ),
        of(
            alipay(&foreign_root),
            "config.chain",
            "channels.second.certificates",
            ["may be missing", "/alipay-certificate.crt.pem"],
        ),
        of(
            wechat(&api, &platform, &inquiry),
            "config.serial",
            "channels.second.inquiry.merchant_certificate",
            ["merchant_serial is AB12", "/wechat-v3-platform.crt.pem"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_is_named_and_what_works_stays_in_use() {
    let (good, folder) = (Authority::new(), TempDir::new().expect("a folder"));
    good.signs(folder.path(), "server", "localhost");
    let calm = "[reload]\nwatch_ms = 0\n";
    let tls = tls_toml(folder.path(), "server");
    let own = TempDir::new().expect("a folder for the house");
    write_configuration(own.path(), &format!("{tls}{calm}"));
    let house = House::start_in(own);
    let terms = Terms::new(good.roots()).speaking(&["http/1.1"]);
    let mut all: Vec<(Mistake, &str)> =
        listener(folder.path(), &good).into_iter().map(|one| (one, "")).collect();
    let others = channels(folder.path()).into_iter().chain(outside(folder.path()));
    all.extend(others.map(|one| (one, tls.as_str())));
    for (Mistake { toml, code, key, words }, tls) in all {
        write_configuration(&folder_of(&house), &format!("{tls}{toml}{calm}"));
        let said = operate(&house, &["reload"]);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        let [expected, file] = words;
        let names = |text: &str| [code, key, expected, file].iter().all(|one| text.contains(one));
        assert!(!said.status.success() && names(&text), "{code} {key}: {text}");
        logged(&house, code).await;
        let last = shown(&house, "keys").await["last_reload"].clone();
        assert_eq!((&last["code"], &last["key"]), (&json!(code), &json!(key)), "{last:#}");
        let mut stream = terms.clone().connect(&house.public).await.expect("a handshake");
        assert_eq!(post(&mut stream, &notice()).await, success(), "{code} {key}");
        let place = house.configuration().display().to_string();
        for command in ["check", "serve"] {
            // A server starts with a certificate that has ended: it has more to do.
            if (command, code) == ("serve", "config.ended") {
                continue;
            }
            let refused = callgate(&[command, "--config", &place]);
            let text = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success() && names(&text), "{command} {key}: {text}");
            assert!(!text.contains("sesame"), "{text}");
        }
    }
    assert!(!house.log().contains("sesame"), "no secret in the log");
    write_configuration(&folder_of(&house), &format!("{tls}{calm}"));
    assert!(operate(&house, &["reload"]).status.success(), "{}", house.log());
}
