//! What must not be believed.

use super::*;

#[test]
fn a_change_of_any_signed_field_is_refused() {
    for (name, value) in fields() {
        let sign = sign(&fields(), SignType::Md5);
        let flipped = format!("{value}0");
        let body = xml("xml", &with(&[(&name, &flipped), ("sign", &sign)]));
        assert_eq!(verify(&body), Err(Refusal::Signature), "{name}");
        let mut fewer = without(&name);
        fewer.insert("sign".to_owned(), sign);
        assert_eq!(verify(&xml("xml", &fewer)), Err(Refusal::Signature), "{name}");
    }
}

#[test]
fn an_added_field_is_refused_and_an_added_empty_one_means_nothing() {
    let sign = sign(&fields(), SignType::Md5);
    let body = xml("xml", &with(&[("fee", "1"), ("sign", &sign)]));
    assert_eq!(verify(&body), Err(Refusal::Signature));
    let body = xml("xml", &with(&[("sub_mch_id", ""), ("sign", &sign)]));
    assert_eq!(verify(&body), verify(&signed(&fields(), SignType::Md5)));
}

#[test]
fn a_missing_or_broken_signature_is_refused() {
    assert_eq!(verify(&xml("xml", &fields())), Err(Refusal::Signature));
    let right = sign(&fields(), SignType::Md5);
    let long = format!("{right}00");
    for sign in ["", " ", "0", "zz", &right[1..], &right[2..], &long, &"0".repeat(32), "人"] {
        let body = xml("xml", &with(&[("sign", sign)]));
        assert_eq!(verify(&body), Err(Refusal::Signature), "{sign:?}");
    }
    let body = xml("xml", &with(&[("sign", &right.to_lowercase())]));
    assert!(verify(&body).is_ok());
}

#[test]
fn a_repeated_element_is_refused() {
    let (_, body) = vector(PAYMENT);
    let body = body.replace("<total_fee>", "<total_fee>1</total_fee><total_fee>");
    assert!(matches!(verify(&body), Err(Refusal::Malformed { .. })));
}

#[test]
fn the_named_type_is_obeyed_and_never_weakened() {
    let named = |name| with(&[("sign_type", name)]);
    let md5 = signed(&named("MD5"), SignType::Md5);
    let hmac = signed(&named("HMAC-SHA256"), SignType::HmacSha256);
    let algorithm = |expected| Err(Refusal::Algorithm { expected });
    assert!(verify(&md5).is_ok());
    assert!(verify(&hmac).is_ok());
    assert!(verify_with(&hmac_gateway(), hmac.as_bytes()).is_ok());
    assert_eq!(verify_with(&hmac_gateway(), md5.as_bytes()), algorithm("HMAC-SHA256"));
    let lying = signed(&named("HMAC-SHA256"), SignType::Md5);
    assert_eq!(verify(&lying), Err(Refusal::Signature));
    for name in ["SHA1", "md5", "none", "HMAC-SHA256 "] {
        let body = signed(&named(name), SignType::Md5);
        assert_eq!(verify(&body), algorithm("MD5 or HMAC-SHA256"), "{name}");
    }
}

#[test]
fn an_unnamed_type_is_md5_first_and_then_the_configured_one() {
    let md5 = signed(&fields(), SignType::Md5);
    let hmac = signed(&fields(), SignType::HmacSha256);
    let empty = signed(&with(&[("sign_type", "")]), SignType::Md5);
    assert!(verify(&md5).is_ok() && verify(&empty).is_ok());
    assert_eq!(verify(&hmac), Err(Refusal::Signature));
    for body in [&md5, &hmac, &empty] {
        assert!(verify_with(&hmac_gateway(), body.as_bytes()).is_ok());
    }
    assert!(verify_with(&strict_gateway(), hmac.as_bytes()).is_ok());
    for body in [&md5, &empty] {
        let refused = verify_with(&strict_gateway(), body.as_bytes());
        assert_eq!(refused, Err(Refusal::Signature));
    }
}

#[test]
fn a_field_hidden_in_its_neighbour_is_refused() {
    let told = with(&[("device_info", "1"), ("fee_type", "USD")]);
    assert_eq!(
        only(verify(&signed(&told, SignType::Md5))).amount.unwrap().currency.as_str(),
        "USD"
    );
    let mut hidden = without("fee_type");
    hidden.insert("device_info".to_owned(), "1&fee_type=USD".to_owned());
    assert_eq!(sign(&told, SignType::Md5), sign(&hidden, SignType::Md5));
    let refused = verify(&signed(&hidden, SignType::Md5));
    assert!(matches!(refused, Err(Refusal::Malformed { .. })), "{refused:?}");
    let attach = with(&[("attach", "a=1&out_trade_no=2&total_fee=3")]);
    assert_eq!(only(verify(&signed(&attach, SignType::Md5))).amount, cny(1999));
}

#[test]
fn signed_content_that_is_no_payment_is_refused() {
    for changes in [
        [("result_code", "MAYBE")],
        [("result_code", "")],
        [("total_fee", "19.99")],
        [("total_fee", "-1")],
        [("total_fee", "")],
        [("total_fee", "9223372036854775808")],
        [("fee_type", "XYZ")],
        [("out_trade_no", "")],
        [("transaction_id", "")],
    ] {
        let refused = verify(&signed(&with(&changes), SignType::Md5));
        assert!(matches!(refused, Err(Refusal::Malformed { .. })), "{changes:?} {refused:?}");
    }
    let refused = verify(&signed(&with(&[("return_code", "FAIL")]), SignType::Md5));
    assert!(matches!(refused, Err(Refusal::NotANotification { .. })));
}

#[test]
fn whatever_is_wrong_inside_a_refund_the_answer_is_the_same() {
    let decrypt = Err(Refusal::Decrypt);
    for name in ["out_trade_no", "refund_id", "refund_status", "refund_fee", "total_fee"] {
        let mut fields = refund_fields();
        fields.insert(name.to_owned(), String::new());
        assert_eq!(refund_of(&fields), decrypt, "{name}");
        fields.remove(name);
        assert_eq!(refund_of(&fields), decrypt, "{name}");
    }
    let root = xml("root", &refund_fields());
    let foreign = refund_body(&encrypted(root.as_bytes(), &"0".repeat(32)));
    assert_eq!(verify(&foreign), decrypt);
    let mut bytes = STANDARD.decode(encrypted(root.as_bytes(), KEY)).unwrap();
    assert!(verify(&refund_body(&STANDARD.encode(&bytes))).is_ok());
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(verify(&refund_body(&STANDARD.encode(&bytes))), decrypt);
    bytes.pop();
    assert_eq!(verify(&refund_body(&STANDARD.encode(&bytes))), decrypt);
    for text in ["", "!", "AAAA", "人"] {
        let refused = verify(&refund_body(text));
        let expected = if text.is_empty() { Refusal::Signature } else { Refusal::Decrypt };
        assert_eq!(refused, Err(expected), "{text:?}");
    }
    for text in ["<xml/>", "", "<root>", "<!DOCTYPE root><root/>"] {
        assert_eq!(verify(&refund_body(&encrypted(text.as_bytes(), KEY))), decrypt, "{text}");
    }
}

#[test]
fn a_signature_beside_req_info_must_hold() {
    let body = refund_body(&encrypted(xml("root", &refund_fields()).as_bytes(), KEY));
    let wrong = body.replace("</xml>", &format!("<sign>{}</sign></xml>", "0".repeat(32)));
    assert_eq!(verify(&wrong), Err(Refusal::Signature));
    let fields: BTreeMap<String, String> = Flat::parse(body.as_bytes(), "xml")
        .unwrap()
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(only(verify(&signed(&fields, SignType::Md5))).amount, cny(999));
}

#[test]
fn an_unsigned_refund_under_another_account_is_refused() {
    let body = refund_body(&encrypted(xml("root", &refund_fields()).as_bytes(), KEY));
    assert_eq!(only(verify(&body)).mismatch, None);
    for changed in [
        body.replace("1900000001", "1900000002"),
        body.replace("<mch_id>1900000001</mch_id>", ""),
        body.replace("wxselfmade00000001", "wx2"),
    ] {
        assert_eq!(verify(&changed), Err(Refusal::Signature), "{changed}");
    }
    let served = gateway(&json!({"sub_merchant_ids": ["1900000009"]}));
    assert_eq!(verify_with(&served, body.as_bytes()), Err(Refusal::Signature));
    let ours = body.replace("</xml>", "<sub_mch_id>1900000009</sub_mch_id></xml>");
    assert_eq!(only(verify_with(&served, ours.as_bytes())).mismatch, None);
}

#[test]
fn a_signed_refund_under_another_account_is_a_mismatch() {
    let text = encrypted(xml("root", &refund_fields()).as_bytes(), KEY);
    let fields: BTreeMap<String, String> = [
        ("return_code", "SUCCESS"),
        ("appid", "wxselfmade00000001"),
        ("mch_id", "1900000002"),
        ("req_info", text.as_str()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let mismatch = only(verify(&signed(&fields, SignType::Md5))).mismatch;
    assert_eq!(mismatch, Some(crate::notification::AccountMismatch::Merchant));
}

#[test]
fn a_failure_that_claims_success_is_refused() {
    let fields = with(&[("result_code", "FAIL"), ("trade_state", "SUCCESS")]);
    let refused = verify(&signed(&fields, SignType::Md5));
    assert!(matches!(refused, Err(Refusal::Malformed { .. })), "{refused:?}");
}

#[test]
fn other_requests_and_hostile_xml_are_refused() {
    let headers = HeaderMap::new();
    let (_, body) = vector(PAYMENT);
    let request =
        Request { method: "GET", path: "/", query: "", headers: &headers, body: body.as_bytes() };
    let refused = gateway(&json!({})).verify(&request, Timestamp::from_ms(0));
    assert!(matches!(refused, Err(Refusal::NotItsRequest { .. })));
    let head = "<!DOCTYPE xml [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>";
    for body in [format!("{head}{body}"), body.replace("<xml>", "<root>"), String::new()] {
        assert!(matches!(verify(&body), Err(Refusal::Malformed { .. })), "{body}");
    }
}
