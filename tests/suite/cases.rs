//! Every case of every gateway, played by the trigger command as a person would play them.

use crate::house::{House, callgate, keys};

/// Plays all cases of one channel and wants each to come out as expected.
fn all_cases(channel: &str) {
    let Some(house) = House::start() else { return };
    let folder = keys().1.to_string_lossy().into_owned();
    let output = callgate(&[
        "trigger",
        "run",
        "all",
        "--channel",
        channel,
        "--keys",
        &folder,
        "--url",
        &house.public,
        "--orders-url",
        &house.private,
    ]);
    let table = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{table}\n{errors}\n{}", house.log());
    assert!(table.contains("all as expected"), "{table}");
    assert!(house.stop(), "the server ends well");
}

#[test]
fn every_case_of_wechat_v3_comes_out_as_expected() {
    all_cases("wechat-v3-main");
}

#[test]
fn every_case_of_wechat_v2_comes_out_as_expected() {
    all_cases("wechat-v2-main");
}

#[test]
fn every_case_of_wechat_v2_with_hmac_comes_out_as_expected() {
    all_cases("wechat-v2-hmac");
}

#[test]
fn every_case_of_alipay_in_key_mode_comes_out_as_expected() {
    all_cases("alipay-main");
}

#[test]
fn every_case_of_alipay_in_certificate_mode_comes_out_as_expected() {
    all_cases("alipay-cert");
}

#[test]
fn a_door_that_cannot_be_reached_is_the_only_complaint() {
    let Some(house) = House::start() else { return };
    let folder = keys().1.to_string_lossy().into_owned();
    let closed = "http://127.0.0.1:1";
    let words = ["trigger", "run", "all", "--channel", "alipay-main", "--keys", &folder];
    let output =
        callgate(&[&words[..], &["--url", closed, "--orders-url", &house.private]].concat());
    assert!(!output.status.success());
    let table = String::from_utf8_lossy(&output.stdout);
    let cases = table.matches("NOT AS EXPECTED").count();
    assert!(cases > 5, "{table}");
    let complaints: Vec<_> = table.lines().filter(|line| line.trim().starts_with('✗')).collect();
    assert_eq!(complaints.len(), cases, "{table}");
    assert!(complaints.iter().all(|line| line.contains(closed)), "{table}");
}

#[test]
fn an_answer_in_other_words_than_the_gateways_is_found_out() {
    let Some(house) = House::start() else { return };
    let folder = keys().1.to_string_lossy().into_owned();
    // The wrong door: it answers 404 without the words that the gateway wants.
    let output = callgate(&[
        "trigger",
        "run",
        "probe",
        "--gateway",
        "wechat-v3",
        "--keys",
        &folder,
        "--url",
        &house.private,
    ]);
    assert!(!output.status.success());
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("NOT AS EXPECTED"), "{table}");
}
