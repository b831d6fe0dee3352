//! Tokens of front ends: of all the wrong kinds, from the back end and from the server; and which
//! pages may read the answers.

use serde_json::{Value, json};

use crate::front::{
    ORIGIN, SECOND_SECRET, SECRET, answer, claims, house, look, path, register, signed, token,
    waiting,
};
use crate::house::{House, TOKEN};

fn with(claims: &Value, field: &str, value: Value) -> Value {
    let mut changed = claims.clone();
    changed[field] = value;
    changed
}

/// A token, and the status and code that it is answered with.
type Wrong = (String, u16, &'static str);

/// Tokens that no key of the business ever signed.
fn never_signed(order_no: &str) -> Vec<Wrong> {
    let good = claims(order_no, 600);
    let token = signed(("k1", SECRET), &good);
    let (body, signature) = token.rsplit_once('.').expect("a signature");
    vec![
        (String::new(), 401, "status.token-malformed"),
        ("nonsense".to_owned(), 401, "status.token-malformed"),
        (TOKEN.to_owned(), 401, "status.token-malformed"),
        (token.replace("cgs1", "cgs2"), 401, "status.token-malformed"),
        (format!("{token}="), 401, "status.token-malformed"),
        (format!("{body}.{}", &signature[1..]), 401, "status.token-malformed"),
        ("x".repeat(4000), 401, "status.token-malformed"),
        (signed(("k1", SECOND_SECRET), &good), 401, "status.token-signature"),
        (signed(("k9", SECRET), &good), 401, "status.token-signature"),
        (token.replacen("k1", "k2", 1), 401, "status.token-signature"),
    ]
}

/// Tokens that the business signed, and that are wrong for this order.
fn signed_but_wrong(order_no: &str) -> Vec<Wrong> {
    let key = ("k1", SECRET);
    let good = claims(order_no, 600);
    vec![
        (signed(key, &with(&good, "admin", json!(true))), 401, "status.token-malformed"),
        (signed(key, &with(&good, "exp", json!(1.5e9))), 401, "status.token-malformed"),
        (signed(key, &with(&good, "exp", json!("1790000000"))), 401, "status.token-malformed"),
        (signed(key, &json!({ "order_no": order_no })), 401, "status.token-malformed"),
        (signed(key, &json!([])), 401, "status.token-malformed"),
        (signed(key, &claims(order_no, -1)), 401, "status.token-expired"),
        (signed(key, &with(&good, "exp", json!(i64::MIN))), 401, "status.token-expired"),
        (signed(key, &claims(order_no, 8000)), 401, "status.token-lifetime"),
        (signed(key, &with(&good, "exp", json!(i64::MAX))), 401, "status.token-lifetime"),
        (signed(key, &claims("ANOTHER", 600)), 403, "status.token-order"),
        (signed(key, &with(&good, "business", json!("OTHER"))), 403, "status.token-order"),
    ]
}

/// Status and code for a token in the header and in the address.
async fn by_both_ways(house: &House, path: &str, token: &str) -> Vec<(u16, Value)> {
    let url = format!("{}{path}", house.status);
    let queried = house.http.get(format!("{url}?token={token}"));
    let mut found = Vec::new();
    for request in [house.http.get(&url).bearer_auth(token), queried] {
        let (status, _, told) = answer(request.header("accept", "text/event-stream")).await;
        found.push((status, told["error"]["code"].clone()));
    }
    found
}

#[tokio::test]
async fn each_wrong_token_is_told_why_and_learns_nothing_of_the_order() {
    let Some(house) = house("") else { return };
    let paid = register(&house).await;
    let order_no = paid.order_no.as_str();
    for (token, status, code) in never_signed(order_no) {
        // The order that exists, one that does not, and a business that does not: who has no
        // token cannot tell one from another.
        for path in [path(order_no), path("NOBODYS"), path(order_no).replace("PRODUCT", "NO")] {
            for found in by_both_ways(&house, &path, &token).await {
                assert_eq!(found, (status, json!(code)), "{path} {token}");
            }
        }
    }
    for (token, status, code) in signed_but_wrong(order_no) {
        for path in [path(order_no), path("NOBODYS")] {
            for found in by_both_ways(&house, &path, &token).await {
                assert_eq!(found, (status, json!(code)), "{path} {token}");
            }
        }
    }
    let url = format!("{}{}", house.status, path(order_no));
    let (status, _, told) = answer(house.http.get(&url)).await;
    assert_eq!((status, &told["error"]["code"]), (401, &json!("status.token-missing")));
    let twice = look(&house, order_no, &format!("?token={}", token(order_no)));
    assert_eq!(answer(twice).await.2["error"]["code"], "status.token-malformed");
    let twice = house.http.get(format!("{url}?token=a&token=b"));
    assert_eq!(answer(twice).await.2["error"]["code"], "status.token-malformed");
    for query in ["", "?wait=20s&version=1"] {
        let (status, _, told) = answer(look(&house, "NOBODYS", query)).await;
        assert_eq!((status, &told["error"]["code"]), (404, &json!("status.unknown-order")));
    }
    for path in ["/", "/metrics", "/orders/PRODUCT_ORDER/N1", "/orders/PRODUCT_ORDER/%ff/status"] {
        let (status, _, told) = answer(house.http.get(format!("{}{path}", house.status))).await;
        assert_eq!((status, &told["error"]["code"]), (404, &json!("status.no-such-place")));
    }
    waiting(&house, 0).await;
    let log = house.log();
    assert!(!log.contains("cgs1"), "no token is logged: {log}");
}

#[tokio::test]
async fn both_keys_are_good_while_one_takes_the_others_place() {
    let Some(house) = house("") else { return };
    let paid = register(&house).await;
    let url = format!("{}{}", house.status, path(&paid.order_no));
    for key in [("k1", SECRET), ("k2", SECOND_SECRET)] {
        let token = signed(key, &claims(&paid.order_no, 60));
        assert_eq!(answer(house.http.get(&url).bearer_auth(token)).await.0, 200);
    }
}

async fn ask_for_token(
    house: &House,
    order: &str,
    token: &str,
    body: &'static str,
) -> (u16, Value) {
    let url = format!("{}/orders/{order}/status-token", house.private);
    let request = house.http.post(url).bearer_auth(token).body(body);
    let (status, _, told) = answer(request).await;
    (status, told)
}

#[tokio::test]
async fn a_back_end_asks_for_a_token_and_looks_itself() {
    let Some(house) = house("") else { return };
    let paid = register(&house).await;
    let order = format!("PRODUCT_ORDER/{}", paid.order_no);
    let now_ms = crate::house::now().as_ms();
    for (body, seconds) in [("", 1800), ("{}", 1800), ("{\"ttl_s\": 60}", 60)] {
        let (status, told) = ask_for_token(&house, &order, TOKEN, body).await;
        assert_eq!(status, 200, "{told}");
        let left = told["expires_at_ms"].as_i64().expect("a time").saturating_sub(now_ms);
        assert!((left.div_euclid(1000)).abs_diff(seconds) <= 30, "{left}");
        let token = told["token"].as_str().expect("a token");
        assert!(token.starts_with("cgs1.k1."), "the first key signs");
        let url = format!("{}{}", house.status, path(&paid.order_no));
        assert_eq!(answer(house.http.get(url).bearer_auth(token)).await.0, 200);
    }
    for (order, token, body, status, code) in [
        (order.as_str(), "other-token", "", 401, "private.unauthorized"),
        ("PRODUCT_ORDER/NOBODYS", TOKEN, "", 404, "private.not-found"),
        (&order, TOKEN, "{\"ttl_s\": 0}", 422, "order.field"),
        (&order, TOKEN, "{\"ttl_s\": 7201}", 422, "order.field"),
        (&order, TOKEN, "{\"life\": 1}", 422, "order.field"),
        (&order, TOKEN, "{", 422, "order.field"),
    ] {
        let (found, told) = ask_for_token(&house, order, token, body).await;
        assert_eq!((found, &told["error"]["code"]), (status, &json!(code)), "{body}");
    }
    // A business without a key.
    let url = format!("{}/orders/OTHER/{}", house.private, paid.order_no);
    let put = house.http.put(url).bearer_auth("other-token").json(&paid.registration);
    assert_eq!(put.send().await.expect("an answer").status(), 201);
    let other = format!("OTHER/{}", paid.order_no);
    let (status, told) = ask_for_token(&house, &other, "other-token", "").await;
    assert_eq!((status, &told["error"]["code"]), (409, &json!("status.no-key")));
    // The back end itself looks on the private listener, with the token of its business.
    let url = format!("{}{}", house.private, path(&paid.order_no));
    let look = || house.http.get(&url).bearer_auth(TOKEN);
    let (status, tag, told) = answer(look()).await;
    assert_eq!((status, tag.as_str(), &told["state"]), (200, "\"1\"", &json!("TO_BE_PAID")));
    assert_eq!(answer(look().header("if-none-match", "\"1\"")).await.0, 304);
    assert_eq!(answer(house.http.get(&url).bearer_auth(token(&paid.order_no))).await.0, 401);
}

#[tokio::test]
async fn only_pages_of_the_shop_may_read_the_answers() {
    let Some(house) = house("") else { return };
    let paid = register(&house).await;
    let url = format!("{}{}", house.status, path(&paid.order_no));
    for (origin, allowed) in [
        (ORIGIN, true),
        ("https://evil.example.com", false),
        ("https://shop.example.com.evil.example", false),
        ("http://shop.example.com", false),
        ("null", false),
    ] {
        let preflight = house
            .http
            .request(reqwest::Method::OPTIONS, &url)
            .header("origin", origin)
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization");
        // A refusal can be read by the page, too, so that it knows to fetch another token.
        let refused = house.http.get(&url).header("origin", origin);
        let granted = look(&house, &paid.order_no, "").header("origin", origin);
        let streamed = look(&house, &paid.order_no, "")
            .header("origin", origin)
            .header("accept", "text/event-stream");
        for (request, status) in [(preflight, 204), (refused, 401), (granted, 200), (streamed, 200)]
        {
            let response = request.send().await.expect("an answer");
            assert_eq!(response.status().as_u16(), status);
            let headers = response.headers();
            let named = headers.get("access-control-allow-origin");
            assert_eq!(named.map(|value| value.as_bytes()), allowed.then_some(origin.as_bytes()));
            assert!(headers.get("access-control-allow-credentials").is_none());
            assert!(headers.get_all("vary").iter().any(|value| value == "Origin"));
            let methods = headers.get("access-control-allow-methods");
            assert_eq!(methods.is_some(), allowed && status == 204);
        }
    }
    // Another business has no pages.
    let other = house.http.get(url.replace("PRODUCT_ORDER", "OTHER")).header("origin", ORIGIN);
    let response = other.send().await.expect("an answer");
    assert!(response.headers().get("access-control-allow-origin").is_none());
}

#[test]
fn mistakes_in_the_configuration_of_front_ends_are_named() {
    for (more, key) in [
        ("[businesses.PRODUCT_ORDER.status]\norigins = [\"*\"]\n", "status.origins[0]"),
        ("[businesses.PRODUCT_ORDER.status]\norigins = [\"https://a.b/\"]\n", "status.origins[0]"),
        ("[businesses.PRODUCT_ORDER.status]\nkey = 1\n", "PRODUCT_ORDER.status"),
        (
            "[[businesses.PRODUCT_ORDER.status.keys]]\nid = \"k\"\nsecret = \"short\"\n",
            "status.keys[0].secret",
        ),
        (
            "[[businesses.PRODUCT_ORDER.status.keys]]\nid = \"k\"\nsecret_file = \"none\"\n",
            "secret_file",
        ),
        ("[status]\nheartbeat_ms = 1\n", "status.heartbeat_ms"),
        ("[status]\nwait_max_ms = 1000000\n", "status.wait_max_ms"),
        ("[status.listener]\nheaders_max = 1\n", "status.listener.headers_max"),
    ] {
        let folder = tempfile::TempDir::new().expect("a folder");
        crate::house::write_configuration(folder.path(), more);
        let file = folder.path().join("callgate.toml").to_string_lossy().into_owned();
        let output = crate::house::callgate(&["check", "--config", &file]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(key), "{more}: {said}");
        assert!(!said.contains("short"), "{said}");
    }
}
