//! What a channel may be configured with.

use super::*;

#[test]
fn wrong_settings_name_their_field() {
    let field = |name: &str, value: Value| {
        let mut settings = json!({"merchant_id": "1", "application_ids": ["wx"], "api_key": KEY});
        settings[name] = value;
        WechatV2::new(serde_json::from_value(settings).unwrap()).err().map(|error| error.field)
    };
    assert_eq!(field("merchant_id", json!("1")), None);
    assert_eq!(field("merchant_id", json!("")).as_deref(), Some("merchant_id"));
    assert_eq!(field("application_ids", json!([])).as_deref(), Some("application_ids"));
    assert_eq!(field("application_ids", json!([""])).as_deref(), Some("application_ids"));
    assert_eq!(field("sub_merchant_ids", json!([""])).as_deref(), Some("sub_merchant_ids"));
    for key in ["", &KEY[1..], &format!("{KEY}0"), &"人".repeat(32), &" ".repeat(32)] {
        assert_eq!(field("api_key", json!(key)).as_deref(), Some("api_key"), "{key:?}");
    }
    assert!(serde_json::from_value::<Settings>(json!({"merchant": "1"})).is_err());
}
