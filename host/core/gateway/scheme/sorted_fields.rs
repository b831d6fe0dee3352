//! Fields sorted by name and joined as `name=value&name=value`, the text many gateways sign.
//!
//! The join escapes nothing, so one text can be cut into fields in more than one way. A value
//! `5&refund_fee=1` joins exactly like a value `5` and a field `refund_fee` behind it: whoever
//! holds a genuine message could hide a field in its neighbour without touching the signature.
//! [`SortedFields::could_hide`] finds what a sender could have meant otherwise.

/// Fields in ascending byte order of their names.
#[derive(Clone)]
pub struct SortedFields<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> SortedFields<'a> {
    /// Sorts the fields that are signed.
    pub fn new(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut fields: Vec<_> = fields.collect();
        fields.sort_unstable();
        Self(fields)
    }

    /// The text that is signed, as bytes of whatever charset the values have.
    #[must_use]
    pub fn joined(&self) -> Vec<u8> {
        let pairs: Vec<_> =
            self.0.iter().map(|(name, value)| [*name, *value].join(b"=".as_slice())).collect();
        pairs.join(b"&".as_slice())
    }

    /// Whether another set of fields has the same text and has one of `names` as a field of its
    /// own, where these fields have it only inside a value or name.
    ///
    /// A value that merely looks like fields is no such case: a sender who meant a field would
    /// have put it in its place of the order.
    #[must_use]
    pub fn could_hide(&self, names: &[&str]) -> bool {
        self.0.iter().any(|(name, _)| !is_plain(name))
            || self.0.iter().enumerate().any(|(at, (name, value))| {
                let next = self.0.get(at.saturating_add(1)).map(|(next, _)| *next);
                names.iter().map(|hidden| hidden.as_bytes()).any(|hidden| {
                    *name < hidden
                        && next.is_none_or(|next| hidden < next)
                        && contains_field(value, hidden)
                })
            })
    }
}

/// Whether a name is of `A-Z a-z 0-9 _ . -` and cannot hold a cut itself.
fn is_plain(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte))
}

/// Whether `&name=` stands in the value.
fn contains_field(value: &[u8], name: &[u8]) -> bool {
    value
        .split(|byte| *byte == b'&')
        .skip(1)
        .any(|piece| piece.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&b'=')))
}

#[cfg(test)]
mod tests {
    use super::SortedFields;

    fn sorted<'a>(fields: &[(&'a str, &'a str)]) -> SortedFields<'a> {
        SortedFields::new(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    fn check(fields: &[(&str, &str)], expected: bool) {
        assert_eq!(sorted(fields).could_hide(&["refund_fee"]), expected, "{fields:?}");
    }

    #[test]
    fn names_are_sorted_by_bytes_and_empty_values_stay() {
        let fields = [("b", "2"), ("a_1", ""), ("B", "1"), ("a", "x&y=z")];
        assert_eq!(sorted(&fields).joined(), b"B=1&a=x&y=z&a_1=&b=2");
        assert_eq!(sorted(&[]).joined(), b"");
    }

    #[test]
    fn a_field_hidden_in_its_neighbour_is_found() {
        let told = [("out_trade_no", "1"), ("refund_fee", "5"), ("trade_no", "2")];
        let hidden = [("out_trade_no", "1&refund_fee=5"), ("trade_no", "2")];
        assert_eq!(sorted(&told).joined(), sorted(&hidden).joined());
        check(&told, false);
        check(&hidden, true);
        check(&[("out_trade_no", "1&price=2&refund_fee=5")], true);
        check(&[("out_trade_no=1&refund_fee", "5")], true);
    }

    #[test]
    fn a_value_that_only_looks_like_fields_is_no_hiding_place() {
        check(&[("attach", "a=1&refund_fee=5"), ("body", "x")], false);
        check(&[("subject", "a&refund_fee=5")], false);
        check(&[("out_trade_no", "1&refund_fee"), ("trade_no", "refund_fee=5")], false);
        check(&[("out_trade_no", "1&my_refund_fee=5"), ("trade_no", "2")], false);
        check(&[("a", "1&refund_fee=5"), ("refund_fee", "6")], false);
    }
}
